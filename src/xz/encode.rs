//! One `.xz` block: raw LZMA2 by liblzma in a container block of our own.

use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};

use super::container;
use crate::error::{Error, Result, ResultExt};
use crate::job::Cancel;

/// Input goes to the encoder in pieces of this many bytes, with a look at the cancel flag between.
const PIECE: usize = 1 << 20;
const EXTREME: u32 = 1 << 31;

/// How blocks are encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder {
    preset: u32,
    dictionary: u8,
}

/// A complete block as it stands in a file.
pub(super) struct Encoded {
    pub bytes: Vec<u8>,
    pub unpadded_size: u64,
}

impl Encoder {
    /// An encoder for an xz preset, 0 to 9, with or without “extreme” (bit 31).
    pub fn new(preset: u32) -> Result<Self> {
        // Dictionary sizes of the presets 0 to 9 as LZMA2 properties (format 5.3.1): 256 KiB, 1, 2,
        // 4, 4, 8, 8, 16, 32 and 64 MiB.
        const DICTIONARIES: [u8; 10] = [12, 16, 18, 20, 20, 22, 22, 24, 26, 28];
        match DICTIONARIES.get((preset & !EXTREME) as usize) {
            Some(&dictionary) => Ok(Self { preset, dictionary }),
            None => Err(Error::usage(format!("there is no xz preset {preset}"))
                .with_hint("the presets are 0 (fast) to 9 (small); 6 is the default")),
        }
    }

    /// The preset, with “extreme” as bit 31.
    pub fn preset(&self) -> u32 {
        self.preset
    }

    /// The same with a dictionary no larger than that of the given LZMA2 properties.
    #[must_use]
    pub fn with_dictionary_up_to(&self, dictionary: u8) -> Self {
        Self {
            dictionary: self.dictionary.min(dictionary),
            ..*self
        }
    }

    /// Encodes `data` as one block of a file whose full blocks hold `block_size` bytes.
    pub fn encode(&self, data: &[u8], block_size: u64, cancel: &Cancel) -> Result<Encoded> {
        let lzma2 = self.lzma2(data, cancel)?;
        let mut check = crc64fast::Digest::new();
        check.write(data);
        Ok(block(
            &lzma2,
            data.len() as u64,
            block_size,
            self.dictionary,
            check.sum64(),
        ))
    }

    /// Encodes `data` as an LZMA2 stream.
    pub fn lzma2(&self, data: &[u8], cancel: &Cancel) -> Result<Vec<u8>> {
        let failed = || "encoding with xz".to_owned();
        let mut options = LzmaOptions::new_preset(self.preset).context(failed)?;
        options.dict_size(container::dictionary_size(self.dictionary) as u32);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut stream = Stream::new_raw_encoder(&filters).context(failed)?;
        let mut out = Vec::with_capacity(PIECE);
        for piece in data.chunks(PIECE) {
            cancel.check()?;
            let mut rest = piece;
            while !rest.is_empty() {
                let before = stream.total_in();
                make_room(&mut out);
                stream
                    .process_vec(rest, &mut out, Action::Run)
                    .context(failed)?;
                rest = &rest[(stream.total_in() - before) as usize..];
            }
        }
        loop {
            cancel.check()?;
            make_room(&mut out);
            let status = stream
                .process_vec(&[], &mut out, Action::Finish)
                .context(failed)?;
            if status == Status::StreamEnd {
                return Ok(out);
            }
        }
    }
}

/// A block of a file whose full blocks hold `block_size` bytes: an LZMA2 stream that decodes to
/// `len` bytes with the CRC64 `check`.
pub(super) fn block(
    lzma2: &[u8],
    len: u64,
    block_size: u64,
    dictionary: u8,
    check: u64,
) -> Encoded {
    let mut bytes = container::block_header(lzma2.len() as u64, len, block_size, dictionary);
    bytes.reserve_exact(lzma2.len() + 16);
    bytes.extend_from_slice(lzma2);
    let unpadded_size = bytes.len() as u64 + 8;
    // The padding lies between data and check, and is not part of the unpadded size.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(check.to_le_bytes());
    Encoded {
        bytes,
        unpadded_size,
    }
}

fn make_room(out: &mut Vec<u8>) {
    if out.capacity() - out.len() < PIECE / 4 {
        out.reserve(PIECE);
    }
}
