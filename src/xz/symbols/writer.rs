//! Symbols to chunks.

use super::chunk::{Chunk, END, MAX_UNPACKED, Payload, Reset, put_packed, put_stored};
use super::encode;
use super::model::{LEN_MAX, Model, Place, Properties};
use super::range::{CHUNK_SIZE, Encoder};

/// More than any symbol takes: 22 bits of 6.1 bits each at the worst, and 26 without probability.
const SYMBOL_MAX: usize = 32;

/// Writes an LZMA2 stream.
pub(super) struct Writer {
    pub out: Vec<u8>,
    pub rc: Encoder,
    pub model: Model,
    /// What the next packed chunk has to reset.
    reset: Reset,
    /// Where the text of the chunk at work starts.
    start: usize,
}

impl Writer {
    pub fn new(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
            rc: Encoder::new(),
            model: Model::new(Properties::USUAL),
            reset: Reset::Dictionary,
            start: 0,
        }
    }

    /// What the next packed chunk has to reset.
    pub fn reset(&self) -> Reset {
        self.reset
    }

    /// Has the next packed chunk reset this much at the least. None may be at work.
    pub fn want_reset(&mut self, reset: Reset) {
        self.reset = self.reset.max(reset);
    }

    /// Starts a chunk whose text begins at `position`. None may be at work.
    pub fn begin(&mut self, position: usize) {
        self.start = position;
    }

    /// Where the text of the chunk at work starts.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The last position at which this chunk may get one more symbol.
    pub fn limit(&self) -> usize {
        self.start + MAX_UNPACKED - LEN_MAX
    }

    /// Whether a chunk of `len` bytes has room for a symbol at `position`.
    #[inline(always)]
    pub fn has_room(len: usize, limit: usize, position: usize) -> bool {
        len <= CHUNK_SIZE - SYMBOL_MAX && position <= limit
    }

    /// Ends the chunk at `position`, if one is at work, and begins the next there. `text` appends
    /// the text of the chunk; it is only asked for when that is smaller than the chunk.
    pub fn finish(&mut self, position: usize, text: impl FnOnce(&mut Vec<u8>)) {
        let unpacked = position.saturating_sub(self.start);
        self.start = position;
        if unpacked == 0 {
            return;
        }
        let Self { out, rc, .. } = self;
        if rc.len() < unpacked {
            let (reset, properties) = (self.reset, self.model.properties);
            rc.finish(|bytes| put_packed(out, reset, properties, unpacked, bytes));
            self.reset = Reset::Nothing;
            return;
        }
        rc.restart();
        let mut plain = Vec::with_capacity(unpacked);
        text(&mut plain);
        self.stored(&plain);
        // The decoder does not see the symbols that the probabilities have learnt from.
        self.model.reset(self.model.properties);
        self.want_reset(Reset::State);
    }

    /// Writes stored chunks. No chunk may be at work.
    pub fn stored(&mut self, text: &[u8]) {
        put_stored(&mut self.out, self.reset, text);
        self.dictionary_was_reset();
    }

    fn dictionary_was_reset(&mut self) {
        self.reset = self.reset.min(Reset::Properties);
    }

    /// Writes a chunk of another stream as it is. No chunk may be at work.
    pub fn copy(&mut self, chunk: &Chunk<'_>) {
        self.out.extend(chunk.whole);
        match chunk.payload {
            Payload::Packed { .. } => self.reset = Reset::Nothing,
            Payload::Stored(_) => self.dictionary_was_reset(),
        }
    }

    /// Writes a whole stream that was made without knowledge of what comes before. No chunk may be
    /// at work. What follows starts with new properties.
    pub fn stream(&mut self, lzma2: &[u8]) {
        let Some((&control, rest)) = lzma2.split_first() else {
            return;
        };
        // The stream begins with a reset of the dictionary, which would forbid matches across it.
        self.out.push(match (self.reset, control) {
            (Reset::Dictionary, _) => control,
            (_, 1) => 2,
            _ => control & !0x20,
        });
        self.out.extend(rest);
        self.model.reset(self.model.properties);
        self.reset = Reset::Properties;
    }

    /// Encodes a literal.
    pub fn literal(&mut self, place: Place, byte: u8, matched: impl FnOnce(u32) -> u8) {
        let Model {
            probabilities: p,
            history,
            properties,
        } = &mut self.model;
        self.rc
            .with(|rc| encode::literal(rc, p, history, properties, place, byte, matched));
    }

    /// Encodes a match of 2 to 273 bytes, or of one at the last distance.
    pub fn matched(&mut self, position: usize, distance: u32, len: usize) {
        let Model {
            probabilities: p,
            history,
            properties,
        } = &mut self.model;
        self.rc
            .with(|rc| encode::matched(rc, p, history, properties, position, distance, len));
    }
}

/// An LZMA2 stream of `len` zeros, without any search.
pub fn zeros(len: usize) -> Vec<u8> {
    let mut writer = Writer::new(1 << 12);
    let mut at = 0;
    let text = |from: usize, to: usize| move |out: &mut Vec<u8>| out.resize(to - from, 0);
    while at < len {
        if !Writer::has_room(writer.rc.len(), writer.limit(), at) {
            writer.finish(at, text(writer.start(), at));
        }
        let rest = len - at;
        if at == 0 || rest == 1 {
            let place = Place {
                position: at,
                before: 0,
            };
            writer.literal(place, 0, |_| 0);
            at += 1;
        } else {
            let n = rest.min(LEN_MAX);
            writer.matched(at, 0, n);
            at += n;
        }
    }
    writer.finish(len, text(writer.start(), len));
    writer.out.push(END);
    writer.out
}
