//! The image inside an `.img.xz`, read without unpacking it.
//!
//! The index of the file says where its blocks are (`container`). A block is decoded when
//! something in it is read, its check is verified, and it stays in memory until others push it out.
//! Small reads are the metadata of file systems, which every node reads again: what they gave is kept
//! longer, and so is the knowledge which pages are zeros.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Display;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};
use sha2::{Digest, Sha256};

use super::container::{Check, XzBlock, XzLayout, dictionary_size};
use super::file::XzFile;
use super::known_pages::{DataMap, KnownPages};
use crate::disk::{Blocks, Content, PAGE_SIZE, ReadAt, check_bounds, is_zero};
use crate::error::{Error, Result, ResultExt};
use crate::job::Cancel;
use crate::parallel::{in_order, lock};

/// Compressed bytes are read in pieces of this many.
const PIECE: usize = 128 << 10;
/// Blocks whose compressed form is no longer than this may be zeros: 24 MiB of them take 3.7 KiB.
const TINY: u64 = 16 << 10;
/// So many different compressed forms of zeros are remembered. A file has two or three, for blocks of
/// the usual length and the last one.
const ZERO_FORMS: usize = 8;
/// Smallest dictionary that liblzma takes.
const MIN_DICTIONARY: u64 = 4 << 10;

/// What an [`XzImage`] may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XzImageOptions {
    /// Bytes of decoded blocks that are kept; those being decoded count. At least one block is.
    pub cache: u64,
    /// Blocks decoded at the same time for those who read here and there.
    pub decoders: usize,
}

impl Default for XzImageOptions {
    fn default() -> Self {
        Self {
            cache: 72 << 20,
            decoders: std::thread::available_parallelism().map_or(1, |n| n.get().min(4)),
        }
    }
}

/// A compressed image as a base. Shared by all nodes that are built from it.
pub struct XzImage {
    file: Arc<XzFile>,
    options: XzImageOptions,
    buffers: Arc<Buffers>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The content of a block.
pub struct Block {
    /// Empty when the content is zeros.
    data: Vec<u8>,
    buffers: Arc<Buffers>,
}

impl Content for Block {
    fn data(&self) -> Option<&[u8]> {
        (!self.data.is_empty()).then_some(&self.data)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.data));
    }
}

/// Memory of blocks that are gone, for those to come: to ask the system for 24 MiB again and again
/// costs time, and holes in what it hands out.
struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    most: usize,
}

impl Buffers {
    fn take(&self, len: usize) -> Vec<u8> {
        // What is left in it need not be cleared: it is filled, or given back.
        let mut buffer = self.lock().pop().unwrap_or_default();
        buffer.reserve_exact(len.saturating_sub(buffer.len()));
        buffer.resize(len, 0);
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = self.lock();
        if buffer.capacity() > 0 && free.len() < self.most {
            free.push(buffer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        lock(&self.free)
    }
}

#[derive(Default)]
struct State {
    slots: BTreeMap<usize, Slot>,
    /// Bytes of all blocks in `slots`.
    bytes: u64,
    decoding: usize,
    /// Counts uses, to know the one that was longest ago.
    clock: u64,
    decoded: BTreeSet<usize>,
    zero_forms: Vec<ZeroForm>,
    known: KnownPages,
    /// How much of `known` is from an earlier build.
    recalled: usize,
}

enum Slot {
    Decoding,
    Ready { block: Arc<Block>, used: u64 },
}

/// What is stored of a block of zeros: another with the same is one, too.
#[derive(PartialEq, Eq)]
struct ZeroForm {
    dictionary: u8,
    len: u64,
    /// LZMA2 data, padding and check.
    stored: Vec<u8>,
}

impl XzImage {
    /// The image in `file`.
    pub fn new(file: Arc<XzFile>, options: XzImageOptions) -> Self {
        Self {
            file,
            options,
            buffers: Arc::new(Buffers {
                free: Mutex::default(),
                most: 2,
            }),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Where the blocks are.
    pub fn layout(&self) -> &XzLayout {
        self.file.layout()
    }

    fn name(&self) -> Display<'_> {
        self.file.path().display()
    }

    /// What was read here and there so far, for later builds from the same file
    /// (see [`known_pages`](super::known_pages)). `None` if that is not more than
    /// [`recall`](Self::recall) was given.
    pub fn known_pages(&self) -> Option<Vec<u8>> {
        let state = self.lock();
        let news = state.known.count() > state.recalled;
        news.then(|| state.known.to_bytes(self.layout()))
    }

    /// Takes what [`known_pages`](Self::known_pages) gave, unless it is damaged or of another file.
    pub fn recall(&self, bytes: &[u8]) {
        if let Some(known) = KnownPages::from_bytes(bytes, self.layout()) {
            let mut state = self.lock();
            state.recalled = known.count();
            state.known = known;
        }
    }

    /// How many different blocks have been decoded so far.
    pub fn decoded(&self) -> usize {
        self.lock().decoded.len()
    }

    /// The content of block `index`, to be used once: it is not kept.
    pub fn block(&self, index: usize) -> Result<Arc<Block>> {
        if let Some(Slot::Ready { block, .. }) = self.lock().slots.get(&index) {
            return Ok(block.clone());
        }
        self.decode(index).map(Arc::new)
    }

    /// Decodes all blocks with `threads` threads, and hands each and its place in the image to
    /// `take`, in order. Not more than `threads + 2` of them are in memory.
    pub fn blocks_in_order(
        &self,
        threads: usize,
        cancel: &Cancel,
        mut take: impl FnMut(&XzBlock, &Block) -> Result<()>,
    ) -> Result<()> {
        let blocks: Vec<(usize, &XzBlock)> = self.layout().blocks.iter().enumerate().collect();
        let decode = |(index, _): &(usize, &XzBlock)| self.block(*index);
        in_order(&blocks, threads, cancel, decode, |(_, place), block| {
            take(place, &block)
        })
    }

    fn place(&self, index: usize) -> Result<&XzBlock> {
        let block = self.layout().blocks.get(index);
        block.ok_or_else(|| Error::failed(format!("{} has no block {index}", self.name())))
    }

    /// The content of block `index`, kept as long as there is room.
    fn kept(&self, index: usize) -> Result<Arc<Block>> {
        let len = self.place(index)?.uncompressed_size;
        let mut state = self.lock();
        loop {
            state.clock += 1;
            let now = state.clock;
            let busy = state.decoding >= self.options.decoders.max(1);
            match state.slots.get_mut(&index) {
                Some(Slot::Ready { block, used }) => {
                    *used = now;
                    return Ok(block.clone());
                }
                // Somebody is at it, or enough are at others.
                Some(Slot::Decoding) => {}
                None if busy => {}
                None => break,
            }
            state = (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
        state.slots.insert(index, Slot::Decoding);
        state.decoding += 1;
        state.bytes += len;
        self.make_room(&mut state);
        drop(state);
        let mut claim = Claim {
            image: self,
            index,
            len,
            result: None,
        };
        let block = Arc::new(self.decode(index)?);
        claim.result = Some(block.clone());
        Ok(block)
    }

    /// Drops the blocks whose last use is longest ago.
    fn make_room(&self, state: &mut State) {
        while state.bytes > self.options.cache {
            let ready = state.slots.iter().filter_map(|(&index, slot)| match slot {
                Slot::Ready { used, .. } => Some((*used, index)),
                Slot::Decoding => None,
            });
            let Some((_, index)) = ready.min() else {
                return;
            };
            state.slots.remove(&index);
            state.bytes -= self.layout().blocks[index].uncompressed_size;
        }
    }

    fn decode(&self, index: usize) -> Result<Block> {
        let place = self.place(index)?;
        self.decode_inner(index, place).context(|| {
            format!(
                "block {} of {} of {}, at byte {} of the file",
                index + 1,
                self.layout().blocks.len(),
                self.name(),
                place.offset
            )
        })
    }

    fn decode_inner(&self, index: usize, place: &XzBlock) -> Result<Block> {
        let form = self.zero_form(place)?;
        let known = |form: &ZeroForm| self.lock().zero_forms.contains(form);
        if form.as_ref().is_some_and(known) {
            self.lock().known.add_map(index, DataMap::zeros());
            return Ok(self.hold(Vec::new()));
        }
        let mut data = self.buffers.take(place.uncompressed_size as usize);
        let result = self
            .lzma2(place, &mut data)
            .and_then(|()| self.verify(place, &data));
        if let Err(error) = result {
            self.buffers.give(data);
            return Err(error);
        }
        let map = DataMap::of(&data);
        let zero = map.next_run(0).is_none();
        let mut state = self.lock();
        state.decoded.insert(index);
        state.known.add_map(index, map);
        if !zero {
            return Ok(self.hold(data));
        }
        if let Some(form) = form
            && state.zero_forms.len() < ZERO_FORMS
        {
            state.zero_forms.push(form);
        }
        self.buffers.give(data);
        Ok(self.hold(Vec::new()))
    }

    fn hold(&self, data: Vec<u8>) -> Block {
        Block {
            data,
            buffers: self.buffers.clone(),
        }
    }

    /// What is stored of a block, if that is little enough to be zeros.
    fn zero_form(&self, place: &XzBlock) -> Result<Option<ZeroForm>> {
        let len = place.total_size() - place.header_size;
        // Few bytes may also be a few bytes: to decode them is no work.
        if len > TINY || place.uncompressed_size < TINY {
            return Ok(None);
        }
        let mut stored = vec![0; len as usize];
        self.file
            .read_at(place.offset + place.header_size, &mut stored)?;
        Ok(Some(ZeroForm {
            dictionary: place.dictionary,
            len: place.uncompressed_size,
            stored,
        }))
    }

    /// Decodes the LZMA2 data of a block, which must fill `data`.
    fn lzma2(&self, place: &XzBlock, data: &mut [u8]) -> Result<()> {
        let mut stream = decoder(place)?;
        let mut piece = vec![0; PIECE];
        let start = place.offset + place.header_size;
        let end = start + place.compressed_size();
        let mut at = start;
        let mut status = Status::Ok;
        while at < end {
            let n = (end - at).min(PIECE as u64) as usize;
            self.file.read_at(at, &mut piece[..n])?;
            let mut rest = &piece[..n];
            while !rest.is_empty() && status == Status::Ok {
                let (read, written) = (stream.total_in(), stream.total_out() as usize);
                let room = data.get_mut(written..).unwrap_or_default();
                status = stream
                    .process(rest, room, Action::Run)
                    .map_err(|error| damaged("its data makes no sense").with_source(error))?;
                rest = &rest[(stream.total_in() - read) as usize..];
            }
            if !rest.is_empty() {
                return Err(damaged("its data is not as long as the index says"));
            }
            at += n as u64;
        }
        if status != Status::StreamEnd || stream.total_out() != place.uncompressed_size {
            return Err(damaged("its content is not as long as the index says"));
        }
        Ok(())
    }

    /// Compares the padding and the check behind a block's data with what they must be.
    fn verify(&self, place: &XzBlock, data: &[u8]) -> Result<()> {
        let stored_at = place.offset + place.header_size + place.compressed_size();
        let len = place.offset + place.total_size() - stored_at;
        // At most 3 of padding and 32 of check.
        let mut stored = vec![0; len as usize];
        self.file.read_at(stored_at, &mut stored)?;
        let (padding, check) = stored.split_at(stored.len() - place.check.size() as usize);
        if !is_zero(padding) {
            return Err(damaged("its padding is not zero"));
        }
        match check == check_of(place.check, data) {
            true => Ok(()),
            false => Err(damaged("its content does not match its checksum")),
        }
    }

    fn read_block(&self, index: usize, within: u64, buf: &mut [u8]) -> Result<()> {
        let range = within..within + buf.len() as u64;
        // A block that is in memory is faster than its pages.
        let state = self.lock();
        if !matches!(state.slots.get(&index), Some(Slot::Ready { .. }))
            && state.known.read(index, &range, buf)
        {
            return Ok(());
        }
        drop(state);
        let block = self.kept(index)?;
        let Some(data) = block.data() else {
            buf.fill(0);
            return Ok(());
        };
        let bytes = data.get(range.start as usize..range.end as usize);
        buf.copy_from_slice(bytes.ok_or_else(|| Error::failed("a block is too short"))?);
        self.lock().known.keep(index, &range, data);
        Ok(())
    }

    /// The map of block `index`, if it is known or cheap to know.
    fn map(&self, index: usize) -> Result<Option<Arc<DataMap>>> {
        let known = || self.lock().known.map(index);
        if let Some(map) = known() {
            return Ok(Some(map));
        }
        let place = self.place(index)?;
        if place.total_size() - place.header_size > TINY {
            return Ok(None);
        }
        self.block(index)?;
        Ok(known())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A block that is being decoded to be kept. However that ends, others can go on.
struct Claim<'a> {
    image: &'a XzImage,
    index: usize,
    len: u64,
    result: Option<Arc<Block>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.image.lock();
        state.decoding -= 1;
        state.clock += 1;
        let used = state.clock;
        match self.result.take() {
            Some(block) => {
                state.slots.insert(self.index, Slot::Ready { block, used });
            }
            None => {
                state.slots.remove(&self.index);
                state.bytes -= self.len;
            }
        }
        drop(state);
        self.image.changed.notify_all();
    }
}

impl ReadAt for XzImage {
    fn len(&self) -> u64 {
        self.layout().uncompressed_size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.len())
            .context(|| format!("reading the image in {}", self.name()))?;
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let index = self.layout().block_at(at);
            let range = self.place(index)?.range();
            let n = (range.end - at).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(n);
            self.read_block(index, at - range.start, now)?;
            rest = later;
            at += n as u64;
        }
        Ok(())
    }

    /// Blocks that were never decoded may hold anything, but for those that are too small.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        if offset >= self.len() {
            return Ok(None);
        }
        for index in self.layout().block_at(offset)..self.layout().blocks.len() {
            let range = self.place(index)?.range();
            let start = offset.max(range.start);
            let Some(map) = self.map(index)? else {
                return Ok(Some(start..range.end));
            };
            if let Some(run) = map.next_run((start - range.start) / PAGE_SIZE) {
                let from = (range.start + run.start * PAGE_SIZE).max(start);
                let to = (range.start + run.end * PAGE_SIZE).min(range.end);
                return Ok(Some(from..to));
            }
        }
        Ok(None)
    }

    fn as_blocks(&self) -> Option<&dyn Blocks> {
        Some(self)
    }
}

impl Blocks for XzImage {
    fn ranges(&self) -> Vec<Range<u64>> {
        self.layout().blocks.iter().map(XzBlock::range).collect()
    }

    fn load(&self, index: usize) -> Result<Arc<dyn Content>> {
        Ok(self.block(index)?)
    }
}

/// A decoder for a block. The file's word for the dictionary is not taken for more than the content
/// can need: it may say 4 GiB.
fn decoder(place: &XzBlock) -> Result<Stream> {
    let failed = || "setting up the xz decoder".to_owned();
    let needed = place.uncompressed_size.max(MIN_DICTIONARY);
    let size = dictionary_size(place.dictionary).min(needed);
    let mut options = LzmaOptions::new_preset(0).context(failed)?;
    options.dict_size(size as u32);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    Stream::new_raw_decoder(&filters).context(failed)
}

fn check_of(check: Check, data: &[u8]) -> Vec<u8> {
    match check {
        Check::None => Vec::new(),
        Check::Crc32 => crc32fast::hash(data).to_le_bytes().to_vec(),
        Check::Crc64 => {
            let mut crc = crc64fast::Digest::new();
            crc.write(data);
            crc.sum64().to_le_bytes().to_vec()
        }
        Check::Sha256 => Sha256::digest(data).to_vec(),
    }
}

fn damaged(why: &str) -> Error {
    Error::verification(format!("the file is damaged: {why}"))
        .with_hint("download it again; the copy at hand is not what was published")
}
