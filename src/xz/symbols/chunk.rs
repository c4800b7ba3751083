//! The chunks that an LZMA2 stream is a row of. Format: the comments of liblzma's
//! `lzma2_decoder.c` and section 5.3.1 of “The .xz File Format” 1.2.1.

use super::limits::damaged;
use super::model::Properties;
use super::range::{CHUNK_SIZE, FRAME};
use crate::error::Result;

/// Uncompressed bytes of a packed chunk, at most.
pub(super) const MAX_UNPACKED: usize = 1 << 21;
/// The byte behind the last chunk.
pub(super) const END: u8 = 0;

/// What a chunk makes the decoder forget. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reset {
    Nothing,
    /// The probabilities, the state and the repeated distances.
    State,
    /// And the properties, which the chunk brings.
    Properties,
    /// And all text before.
    Dictionary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    /// The text itself.
    Stored(&'a [u8]),
    Packed {
        bytes: &'a [u8],
        unpacked: usize,
        /// There if the reset says so.
        properties: Option<Properties>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub reset: Reset,
    pub payload: Payload<'a>,
    /// All of it as it stands in the stream.
    pub whole: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Takes a chunk from the front of `stream`; `None` at the end mark.
    pub fn take(stream: &mut &'a [u8]) -> Result<Option<Self>> {
        let mut rest = *stream;
        let control = byte(&mut rest)?;
        let (reset, payload) = match control {
            END => {
                *stream = rest;
                return Ok(None);
            }
            1 | 2 => {
                let size = be16(&mut rest)? + 1;
                let reset = match control {
                    1 => Reset::Dictionary,
                    _ => Reset::Nothing,
                };
                (reset, Payload::Stored(bytes(&mut rest, size)?))
            }
            3..0x80 => return Err(damaged("a chunk of unknown kind")),
            0x80.. => packed(control, &mut rest)?,
        };
        let whole = stream.get(..stream.len() - rest.len()).unwrap_or_default();
        *stream = rest;
        Ok(Some(Self {
            reset,
            payload,
            whole,
        }))
    }
}

fn packed<'a>(control: u8, rest: &mut &'a [u8]) -> Result<(Reset, Payload<'a>)> {
    let unpacked = (usize::from(control & 0x1f) << 16) + be16(rest)? + 1;
    let size = be16(rest)? + 1;
    let reset = match (control >> 5) & 3 {
        0 => Reset::Nothing,
        1 => Reset::State,
        2 => Reset::Properties,
        _ => Reset::Dictionary,
    };
    let properties = match reset >= Reset::Properties {
        true => {
            let parsed = Properties::parse(byte(rest)?);
            Some(parsed.ok_or_else(|| damaged("properties that LZMA2 does not allow"))?)
        }
        false => None,
    };
    let bytes = bytes(rest, size)?;
    if size < FRAME {
        return Err(damaged("a chunk that is too short"));
    }
    let payload = Payload::Packed {
        bytes,
        unpacked,
        properties,
    };
    Ok((reset, payload))
}

fn byte(rest: &mut &[u8]) -> Result<u8> {
    match bytes(rest, 1)? {
        [byte] => Ok(*byte),
        _ => Err(damaged("it is cut short")),
    }
}

fn be16(rest: &mut &[u8]) -> Result<usize> {
    match bytes(rest, 2)? {
        [high, low] => Ok(usize::from(*high) << 8 | usize::from(*low)),
        _ => Err(damaged("it is cut short")),
    }
}

fn bytes<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let split = rest.split_at_checked(len);
    let (taken, left) = split.ok_or_else(|| damaged("it is cut short"))?;
    *rest = left;
    Ok(taken)
}

/// Appends a packed chunk: `unpacked` bytes of text (1 to 2 MiB) in `bytes` (at most 64 KiB).
pub(super) fn put_packed(
    out: &mut Vec<u8>,
    reset: Reset,
    properties: Properties,
    unpacked: usize,
    bytes: &[u8],
) {
    debug_assert!((1..=MAX_UNPACKED).contains(&unpacked) && bytes.len() <= CHUNK_SIZE);
    let size = unpacked.saturating_sub(1);
    out.push(0x80 | (reset as u8) << 5 | (size >> 16) as u8 & 0x1f);
    out.extend((size as u16).to_be_bytes());
    out.extend((bytes.len().saturating_sub(1) as u16).to_be_bytes());
    if reset >= Reset::Properties {
        out.push(properties.byte());
    }
    out.extend(bytes);
}

/// Appends `text` in stored chunks.
pub(super) fn put_stored(out: &mut Vec<u8>, mut reset: Reset, text: &[u8]) {
    for piece in text.chunks(CHUNK_SIZE) {
        out.push(match reset {
            Reset::Dictionary => 1,
            _ => 2,
        });
        out.extend((piece.len().saturating_sub(1) as u16).to_be_bytes());
        out.extend(piece);
        reset = Reset::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back() {
        let usual = Properties::USUAL;
        let mut stream = Vec::new();
        put_stored(&mut stream, Reset::Dictionary, &[7; CHUNK_SIZE + 1]);
        let resets = [Reset::Properties, Reset::Nothing, Reset::State];
        for reset in resets {
            put_packed(&mut stream, reset, usual, MAX_UNPACKED, &[0; CHUNK_SIZE]);
        }
        stream.push(END);
        let mut rest = &stream[..];
        let mut sum = 0;
        let mut seen = Vec::new();
        while let Some(chunk) = Chunk::take(&mut rest).unwrap() {
            sum += chunk.whole.len();
            seen.push(chunk.reset);
            match chunk.payload {
                Payload::Stored(text) => assert!(text.iter().all(|&b| b == 7)),
                Payload::Packed {
                    bytes,
                    unpacked,
                    properties,
                } => {
                    assert_eq!((bytes.len(), unpacked), (CHUNK_SIZE, MAX_UNPACKED));
                    assert_eq!(properties.is_some(), chunk.reset >= Reset::Properties);
                }
            }
        }
        assert_eq!(sum + 1, stream.len());
        assert_eq!(seen[..2], [Reset::Dictionary, Reset::Nothing]);
        assert_eq!(seen[2..], resets);
        for cut in [0, 1, 2, 4, 100] {
            let mut rest = &stream[..cut];
            assert!(Chunk::take(&mut rest).is_err(), "{cut}");
        }
    }
}
