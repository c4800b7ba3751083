//! What becomes of every symbol of a block whose text is patched.
//!
//! Up to the first symbol that a patch changes, chunks are copied as they are: their symbols are only
//! decoded, because what follows depends on the probabilities. From there on every symbol is decoded
//! and encoded again at once, by a decoder and an encoder that each have probabilities of their own.
//! A symbol that neither reads nor writes patched text is the same in both; the others are covered
//! piece by piece with whatever fits the new text. When a chunk of the input resets the state, decoder
//! and encoder agree again, and chunks are copied again.

use super::chunk::{Chunk, END, Payload, Reset};
use super::decode::{Symbol, symbol};
use super::encode;
use super::finder::{Finder, WORD};
use super::limits::{MAX_TEXT, damaged};
use super::model::{History, LEN_MAX, Model, Place, Properties};
use super::new_text::{Coding, NewText, Replacement};
use super::range::{CHUNK_SIZE, Decoder};
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::job::Cancel;

/// A block of compressed data.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The LZMA2 stream, with its end mark.
    pub lzma2: &'a [u8],
    /// Bytes that it decodes to, at most [`MAX_TEXT`].
    pub len: usize,
    /// How many bytes back matches may reach.
    pub dictionary: u64,
}

/// A block with patches applied.
#[derive(Debug)]
pub struct Transcoded {
    /// The new LZMA2 stream, with its end mark.
    pub lzma2: Vec<u8>,
    /// The text before the patches, as far as it had to be decoded: what follows is patched. Its
    /// integrity is not checked.
    pub text: Vec<u8>,
}

/// Makes an LZMA2 stream of what `block` decodes to with `patches` on top, which must be in order.
/// What it makes depends on nothing else.
///
/// Errors when the block is damaged as far as it has to be decoded (which not every defect shows), or
/// when the patches do not fit.
pub fn transcode(
    block: &Block<'_>,
    patches: &[Replacement<'_>],
    cancel: &Cancel,
) -> Result<Transcoded> {
    if block.len > MAX_TEXT {
        return Err(Error::failed(format!(
            "a block of {} bytes is too large to be changed",
            block.len
        )));
    }
    let mut transcoder = Transcoder::new(block, patches)?;
    transcoder.run(block.lzma2, cancel)?;
    let Transcoder {
        writer,
        mut text,
        position,
        ..
    } = transcoder;
    text.truncate(position);
    Ok(Transcoded {
        lzma2: writer.out,
        text,
    })
}

type Input = [u8; CHUNK_SIZE];

/// Of every symbol of new text, the finder remembers this many positions: what a long match covers is
/// known already, and long rows of zeros would fill it with themselves.
const REMEMBERED: usize = 32;
/// Text buffers are longer by this than the text, for copies in steps.
const SLACK: usize = 512;
/// Bytes copied in one step.
const STEP: usize = 16;

struct Transcoder<'a> {
    overlay: NewText<'a>,
    /// Patches that are not coded as an edit and still to come.
    runs: std::vec::IntoIter<&'a Replacement<'a>>,
    /// Where the first patch starts; the end if there is none.
    first: usize,
    /// Everything from here on is runs, and need not be decoded.
    needed: usize,
    len: usize,
    dictionary: usize,

    /// Decoded text up to `position`, unpatched.
    text: Vec<u8>,
    position: usize,
    /// Where the dictionary was reset; `None` before the first chunk.
    origin: Option<usize>,
    model: Model,
    /// Whether the properties of `model` are known from the input.
    known: bool,

    writer: Writer,
    /// The counterpart of `origin` for the output.
    target_origin: usize,
    /// Text that is written. Ahead of `position` by no more than the patch there.
    done: usize,
    /// Whether a decoder of the output would have the probabilities of `model` now.
    synced: bool,
    /// The model at the start of a chunk that may have to be decoded twice.
    snapshot: Model,
    finder: Finder,
}

/// Why the fast loop ends.
enum Stop {
    /// It is at the end.
    End,
    /// The chunk of the output is full.
    Full,
    /// A symbol, decoded and not yet encoded, may be affected by a patch.
    Affected { start: usize, distance: Option<u32> },
}

impl<'a> Transcoder<'a> {
    fn new(block: &Block<'_>, patches: &'a [Replacement<'a>]) -> Result<Self> {
        let overlay = NewText::new(patches, block.len)?;
        let is_run =
            |patch: &&Replacement<'_>| patch.coding != Coding::Edit && !patch.bytes.is_empty();
        let runs: Vec<&Replacement<'_>> = patches.iter().filter(is_run).collect();
        let mut needed = block.len;
        for run in runs.iter().rev() {
            if run.range().end == needed {
                needed = run.start;
            }
        }
        let first = patches.iter().find(|patch| !patch.bytes.is_empty());
        let size = block.lzma2.len();
        Ok(Self {
            overlay,
            runs: runs.into_iter(),
            first: first.map_or(block.len, |patch| patch.start),
            needed,
            len: block.len,
            dictionary: usize::try_from(block.dictionary).unwrap_or(usize::MAX),
            text: vec![0; block.len + SLACK],
            position: 0,
            origin: None,
            model: Model::new(Properties::USUAL),
            known: false,
            writer: Writer::new(size + size / 64 + 1024),
            target_origin: 0,
            done: 0,
            synced: true,
            snapshot: Model::new(Properties::USUAL),
            finder: Finder::new(),
        })
    }

    fn run(&mut self, lzma2: &[u8], cancel: &Cancel) -> Result<()> {
        let mut rest = lzma2;
        let mut input = Box::new([0; CHUNK_SIZE]);
        while self.position < self.needed {
            cancel.check()?;
            let chunk = Chunk::take(&mut rest)?.ok_or_else(|| damaged("it ends early"))?;
            self.chunk(&chunk, &mut input)?;
        }
        let whole = self.position == self.len;
        if whole && (Chunk::take(&mut rest)?.is_some() || !rest.is_empty()) {
            return Err(damaged("it goes on behind its end"));
        }
        self.cover(self.needed, self.len, None);
        if !self.synced {
            self.finish_chunk(self.done);
        }
        self.writer.out.push(END);
        Ok(())
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, input: &mut Input) -> Result<()> {
        if chunk.reset == Reset::Dictionary {
            self.origin = Some(self.position);
            self.known = false;
            if self.synced {
                self.target_origin = self.position;
            }
        }
        let origin = self
            .origin
            .ok_or_else(|| damaged("it does not begin with an empty dictionary"))?;
        let room = self.len - self.position;
        match chunk.payload {
            Payload::Stored(text) if text.len() <= room => self.stored(chunk, text),
            Payload::Packed {
                bytes,
                unpacked,
                properties,
            } if unpacked <= room => {
                self.known |= properties.is_some();
                if !self.known {
                    return Err(damaged("it has no properties"));
                }
                if chunk.reset >= Reset::State {
                    self.reset(chunk.reset, properties.unwrap_or(self.model.properties));
                }
                if let Some(front) = input.get_mut(..bytes.len()) {
                    front.copy_from_slice(bytes);
                }
                let packed = Packed {
                    input,
                    size: bytes.len(),
                    end: self.position + unpacked,
                    origin,
                };
                return self.packed(chunk, &packed);
            }
            _ => return Err(damaged("it holds too much")),
        }
        Ok(())
    }

    /// The state of the decoder is reset. If nothing is in the way, decoder and encoder agree again.
    fn reset(&mut self, reset: Reset, properties: Properties) {
        self.model.reset(properties);
        if self.synced {
            return;
        }
        let at = self.done.max(self.position);
        self.finish_chunk(at);
        // Positions count, too: they select probabilities.
        let aligned = reset == Reset::Dictionary || self.origin == Some(self.target_origin);
        if at == self.position && aligned && self.writer.reset() <= reset {
            self.synced = true;
            if reset == Reset::Dictionary {
                self.target_origin = at;
            }
        } else {
            // The old text may stay in the dictionary.
            self.writer.model.reset(properties);
            self.writer.want_reset(reset.min(Reset::Properties));
        }
    }

    /// A stored chunk stays one.
    fn stored(&mut self, chunk: &Chunk<'_>, text: &[u8]) {
        let (start, end) = (self.position, self.position + text.len());
        if let Some(place) = self.text.get_mut(start..end) {
            place.copy_from_slice(text);
        }
        self.position = end;
        if self.synced && !self.overlay.touches(start..end) {
            self.writer.copy(chunk);
            self.done = end;
            return;
        }
        if self.synced {
            self.writer.want_reset(chunk.reset);
        } else {
            self.finish_chunk(self.done.max(start));
        }
        let mut at = self.done.max(start);
        while at < end {
            let stop = self.next_run().min(end);
            if at < stop {
                let mut new = Vec::with_capacity(stop - at);
                self.overlay.copy(&self.text, at..stop, &mut new);
                self.writer.stored(&new);
                self.writer.begin(stop);
                self.done = stop;
            } else {
                self.insert_run();
            }
            at = self.done;
        }
    }

    fn packed(&mut self, chunk: &Chunk<'_>, packed: &Packed<'_>) -> Result<()> {
        if self.synced {
            let start = self.position;
            let clean = match packed.end <= self.first {
                true => self.scan::<false>(packed)?,
                false => {
                    self.snapshot.copy_from(&self.model);
                    self.scan::<true>(packed)?
                }
            };
            if clean {
                self.writer.copy(chunk);
                self.done = packed.end;
                return Ok(());
            }
            self.model.copy_from(&self.snapshot);
            self.position = start;
            self.writer.want_reset(chunk.reset);
            self.part();
        }
        self.recode(packed)
    }

    /// From here on the encoder goes its own way.
    fn part(&mut self) {
        self.synced = false;
        self.done = self.done.max(self.position);
        self.writer.begin(self.done);
        self.writer.model.copy_from(&self.model);
    }

    /// Only decodes a chunk. With `CHECK`, `false` as soon as a symbol is affected by a patch.
    fn scan<const CHECK: bool>(&mut self, packed: &Packed<'_>) -> Result<bool> {
        let run = self.next_run();
        let Self { text, overlay, .. } = self;
        let Model {
            probabilities: p,
            history,
            properties,
        } = &mut self.model;
        let (mut rc, mut h) = (packed.decoder()?, *history);
        let mut position = self.position;
        let mut before = packed.before(text, position);
        while position < packed.end {
            let (start, last) = (position, h);
            let place = packed.place(position, before);
            let other = |distance| back(text, position, distance);
            let symbol = symbol(&mut rc, p, &mut h, properties, place, other);
            match symbol {
                Symbol::Literal(byte) => {
                    text[position] = byte;
                    before = byte;
                    position += 1;
                }
                Symbol::Match { distance, len } => {
                    packed.check(position, distance, len, self.dictionary)?;
                    copy_back(text, position, distance, len);
                    position += len;
                    before = text[position - 1];
                }
            }
            if CHECK && (position > run || is_affected(overlay, text, start, symbol, &last)) {
                return Ok(false);
            }
        }
        *history = h;
        self.position = position;
        packed.check_end(rc)?;
        Ok(true)
    }

    /// Decodes a chunk and encodes its symbols anew.
    fn recode(&mut self, packed: &Packed<'_>) -> Result<()> {
        let mut rc = packed.decoder()?;
        loop {
            match self.recode_untouched(packed, &mut rc)? {
                Stop::End => break,
                Stop::Full => self.finish_chunk(self.done),
                Stop::Affected { start, distance } => {
                    self.cover(start, self.position, distance);
                }
            }
        }
        match self.position == packed.end {
            true => packed.check_end(rc),
            false => Ok(()),
        }
    }

    /// The fast loop: symbols that have nothing to do with a patch. All that it works with lies in
    /// local variables, so that the compiler can keep it in registers.
    fn recode_untouched(&mut self, packed: &Packed<'_>, decoder: &mut Decoder<'_>) -> Result<Stop> {
        let Self { text, overlay, .. } = self;
        let text = &mut text[..];
        let (p, properties) = (&mut *self.model.probabilities, self.model.properties);
        let mut h = self.model.history;
        let limit = self.writer.limit();
        let Writer { rc, model, .. } = &mut self.writer;
        let (q, target_properties) = (&mut *model.probabilities, model.properties);
        let mut g = model.history;
        let mut coder = rc.coder();
        let mut rd = *decoder;

        let end = packed.end.min(self.needed);
        // Where the input knows no byte before, but the output does.
        let odd = match packed.origin == self.target_origin {
            true => usize::MAX,
            false => packed.origin,
        };
        let mut position = self.position;
        let mut before = packed.before(text, position);
        let stop = loop {
            if position >= end {
                break Stop::End;
            }
            if !Writer::has_room(coder.len(), limit, position) {
                break Stop::Full;
            }
            let start = position;
            let place = packed.place(start, before);
            let other = |distance| back(text, start, distance);
            match symbol(&mut rd, p, &mut h, &properties, place, other) {
                Symbol::Literal(byte) => {
                    text[start] = byte;
                    position += 1;
                    let source = start.wrapping_sub(1).wrapping_sub(g.reps[0] as usize);
                    if overlay.may_touch(start.wrapping_sub(1), 2)
                        || overlay.may_touch(source, 1)
                        || start == odd
                    {
                        break Stop::Affected {
                            start,
                            distance: None,
                        };
                    }
                    let place = Place {
                        position: start.wrapping_sub(self.target_origin),
                        before,
                    };
                    let other = |distance| back(text, start, distance);
                    encode::literal(
                        &mut coder,
                        q,
                        &mut g,
                        &target_properties,
                        place,
                        byte,
                        other,
                    );
                    before = byte;
                }
                Symbol::Match { distance, len } => {
                    packed.check(start, distance, len, self.dictionary)?;
                    copy_back(text, start, distance, len);
                    position += len;
                    let source = start.wrapping_sub(1).wrapping_sub(distance as usize);
                    if overlay.may_touch(start, len)
                        || overlay.may_touch(source, len)
                        || (len == 1 && distance != g.reps[0])
                    {
                        break Stop::Affected {
                            start,
                            distance: Some(distance),
                        };
                    }
                    let at = start.wrapping_sub(self.target_origin);
                    encode::matched(&mut coder, q, &mut g, &target_properties, at, distance, len);
                    before = text[position - 1];
                }
            }
        };
        let left = coder.left();
        rc.put_back(left);
        model.history = g;
        self.model.history = h;
        *decoder = rd;
        self.position = position;
        self.done = self.done.max(match stop {
            Stop::Affected { start, .. } => start,
            _ => position,
        });
        Ok(stop)
    }

    /// Writes the new text from `start` to `end` as far as it is not written yet. What is there now
    /// was a match at `distance`, if any.
    fn cover(&mut self, start: usize, end: usize, distance: Option<u32>) {
        if start < end && self.synced {
            self.part();
        }
        self.done = self.done.max(start);
        while self.done < end {
            let run = self.next_run();
            if self.done >= run {
                self.insert_run();
                continue;
            }
            let (len, limit) = (self.writer.rc.len(), self.writer.limit());
            if !Writer::has_room(len, limit, self.done) {
                self.finish_chunk(self.done);
            }
            self.piece(end.min(run), run, distance);
        }
    }

    /// Writes one symbol at `done`: whatever seems to be the best. The new text is known up to `end`,
    /// and to the end of the patch here, but not beyond `run`.
    fn piece(&mut self, end: usize, run: usize, distance: Option<u32>) {
        let at = self.done;
        let patch = self.overlay.covering(at);
        let known = patch.map_or(end, |patch| patch.range().end.max(end).min(run));
        let max = known.saturating_sub(at).min(LEN_MAX);
        let new = self.overlay.stretch(&self.text, at);
        let new = new.get(..known.saturating_sub(at)).unwrap_or(new);
        let word = new.first_chunk::<WORD>();

        let reps = self.writer.model.history.reps;
        let reach = (at - self.target_origin).min(self.dictionary);
        let mut best = Choice::LITERAL;
        let found = word
            .into_iter()
            .flat_map(|word| self.finder.candidates(*word));
        let found = found.filter_map(|place| at.checked_sub(place + 1));
        let distances = distance.into_iter().chain(reps).chain([0]);
        for distance in distances.map(|d| d as usize).chain(found) {
            if best.len == max && max > 1 {
                break;
            }
            if distance < reach {
                let len = self.overlay.equal(&self.text, at, distance + 1, max);
                best = best.better(Choice::new(distance as u32, len, &reps));
            }
        }
        let words = new.windows(WORD).take(best.len.min(REMEMBERED));
        for (i, word) in words.enumerate() {
            if let Some(word) = word.first_chunk() {
                self.finder.insert(*word, at + i);
            }
        }
        let position = at - self.target_origin;
        match best.distance {
            Some(distance) => self.writer.matched(position, distance, best.len),
            None => self.literal(at, position),
        }
        self.done = at + best.len;
    }

    fn literal(&mut self, at: usize, position: usize) {
        let new = |place: usize| self.overlay.byte(&self.text, place);
        let before = if position == 0 { 0 } else { new(at - 1) };
        let place = Place { position, before };
        let other = |distance: u32| new(at.wrapping_sub(1).wrapping_sub(distance as usize));
        self.writer.literal(place, new(at), other);
    }

    /// Where the next patch is that is not coded as an edit.
    fn next_run(&self) -> usize {
        let next = self.runs.as_slice().first();
        next.map_or(usize::MAX, |patch| patch.start)
    }

    /// Writes the next such patch, which starts at `done`.
    fn insert_run(&mut self) {
        let Some(patch) = self.runs.next() else {
            return;
        };
        if self.synced {
            self.part();
        }
        self.finish_chunk(patch.start);
        match patch.coding {
            Coding::Stream(lzma2) if self.takes_stream(patch.start) => self.writer.stream(lzma2),
            _ => self.writer.stored(patch.bytes),
        }
        self.done = patch.range().end;
        self.writer.begin(self.done);
    }

    /// Whether a stream that was made without knowledge of what comes before decodes to the same at
    /// `start`: positions and the byte before select probabilities.
    fn takes_stream(&self, start: usize) -> bool {
        let position = start - self.target_origin;
        let low = |place: usize| self.overlay.byte(&self.text, place) < 32;
        position.is_multiple_of(16) && (position == 0 || low(start - 1))
    }

    fn finish_chunk(&mut self, position: usize) {
        let (start, overlay, text) = (self.writer.start(), &self.overlay, &self.text);
        self.writer
            .finish(position, |out| overlay.copy(text, start..position, out));
    }
}

/// A packed chunk of the input.
struct Packed<'a> {
    input: &'a Input,
    /// Bytes of `input` that belong to it.
    size: usize,
    /// Where its text ends.
    end: usize,
    /// Where the dictionary was reset.
    origin: usize,
}

impl<'a> Packed<'a> {
    fn decoder(&self) -> Result<Decoder<'a>> {
        Decoder::new(self.input).ok_or_else(|| damaged("a chunk does not begin with zero"))
    }

    #[inline(always)]
    fn place(&self, position: usize, before: u8) -> Place {
        Place {
            position: position.wrapping_sub(self.origin),
            before,
        }
    }

    fn before(&self, text: &[u8], position: usize) -> u8 {
        match position > self.origin {
            true => back(text, position, 0),
            false => 0,
        }
    }

    /// Errors unless a match stays within the dictionary and the chunk.
    #[inline(always)]
    fn check(&self, position: usize, distance: u32, len: usize, dictionary: usize) -> Result<()> {
        let reach = position.wrapping_sub(self.origin).min(dictionary);
        match (distance as usize) < reach && len <= self.end.wrapping_sub(position) {
            true => Ok(()),
            false => Err(damaged("a match leaves the text")),
        }
    }

    fn check_end(&self, rc: Decoder<'_>) -> Result<()> {
        match rc.is_finished(self.size) {
            true => Ok(()),
            false => Err(damaged("a chunk does not end where it should")),
        }
    }
}

/// A way to code what comes next.
#[derive(Clone, Copy)]
struct Choice {
    distance: Option<u32>,
    len: usize,
    /// Bits saved over literals, about.
    gain: i32,
}

impl Choice {
    const LITERAL: Self = Self {
        distance: None,
        len: 1,
        gain: 0,
    };

    /// What a literal takes, about.
    const LITERAL_BITS: i32 = 6;

    fn new(distance: u32, len: usize, reps: &[u32; 4]) -> Self {
        let cost = match reps.contains(&distance) {
            true if len == 1 && distance != reps[0] => return Self::LITERAL,
            true if len == 1 => 4,
            true => 7,
            false if len < 2 => return Self::LITERAL,
            false => 9 + (distance | 1).ilog2() as i32,
        };
        match len {
            0 => Self::LITERAL,
            _ => Self {
                distance: Some(distance),
                len,
                gain: len as i32 * Self::LITERAL_BITS - cost,
            },
        }
    }

    fn better(self, other: Self) -> Self {
        if other.gain > self.gain { other } else { self }
    }
}

/// Whether a patch changes what `symbol` at `start` means. `last` is what came before it.
fn is_affected(
    overlay: &NewText<'_>,
    text: &[u8],
    start: usize,
    symbol: Symbol,
    last: &History,
) -> bool {
    let source = |distance: u32| start.wrapping_sub(1).wrapping_sub(distance as usize);
    let changed = |place: usize| {
        overlay.may_touch(place, 1)
            && text
                .get(place)
                .is_some_and(|&old| overlay.byte(text, place) != old)
    };
    match symbol {
        Symbol::Literal(_) => {
            changed(start)
                || changed(start.wrapping_sub(1))
                || (!last.state.after_literal() && changed(source(last.reps[0])))
        }
        Symbol::Match { distance, len } => {
            (overlay.may_touch(start, len) || overlay.may_touch(source(distance), len))
                && overlay.equal(text, start, distance as usize + 1, len) < len
        }
    }
}

/// The byte `distance` + 1 back from `position`; 0 if there is none.
#[inline(always)]
fn back(text: &[u8], position: usize, distance: u32) -> u8 {
    let place = position.wrapping_sub(1).wrapping_sub(distance as usize);
    text.get(place).copied().unwrap_or_default()
}

/// Copies `len` bytes to `position` from `distance` + 1 bytes before it, which may overlap: then what
/// is between repeats. Bytes behind may be overwritten; there must be [`SLACK`] of them.
#[inline(always)]
fn copy_back(text: &mut [u8], position: usize, distance: u32, len: usize) {
    let back = distance as usize + 1;
    let source = position.wrapping_sub(back);
    if back >= STEP {
        let mut i = 0;
        while i < len {
            let Some(step) = text.get(source + i..).and_then(|t| t.first_chunk::<STEP>()) else {
                return;
            };
            let step = *step;
            if let Some(place) = text
                .get_mut(position + i..)
                .and_then(|t| t.first_chunk_mut())
            {
                *place = step;
            }
            i += STEP;
        }
    } else if back == 1 {
        let byte = text.get(source).copied().unwrap_or_default();
        if let Some(place) = text.get_mut(position..position + len) {
            place.fill(byte);
        }
    } else {
        for i in 0..len {
            let byte = text.get(source + i).copied().unwrap_or_default();
            if let Some(place) = text.get_mut(position + i) {
                *place = byte;
            }
        }
    }
}
