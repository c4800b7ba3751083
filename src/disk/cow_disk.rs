//! The copy-on-write disk: a base that is never touched, and the pages that differ from it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use super::read_at::{ReadAt, check_bounds};
use crate::error::{Error, Result, ResultExt};
use crate::positioned::FileExt;

/// Bytes of a copy-on-write page.
pub const PAGE_SIZE: u64 = 4096;

/// Bytes of a stretch: what `xz -T0 -6`, and so Raspberry Pi OS, packs as one block. Stretches begin
/// at multiples of it. One changed byte has the whole stretch packed anew, so edits that stay in few
/// stretches make cheap outputs.
pub const STRETCH: u64 = 24 << 20;

type PageBytes = [u8; PAGE_SIZE as usize];

/// Memory that several disks share for their pages. What does not fit goes to a file without a name,
/// one a disk.
#[derive(Debug)]
pub struct PageStore {
    /// In pages, as `used`.
    limit: u64,
    used: AtomicU64,
    folder: PathBuf,
}

impl PageStore {
    /// `limit` bytes of memory; the files are made in `folder`.
    pub fn new(limit: u64, folder: &Path) -> Self {
        Self {
            limit: limit / PAGE_SIZE,
            used: AtomicU64::new(0),
            folder: folder.to_owned(),
        }
    }

    /// Whether there is memory for one more page, which then is the caller's.
    fn take(&self) -> bool {
        let more = |used| (used < self.limit).then_some(used + 1);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, pages: u64) {
        self.used.fetch_sub(pages, Ordering::Relaxed);
    }
}

enum Page {
    Here(Box<PageBytes>),
    /// In the file, at this multiple of the page size.
    InFile(u64),
}

/// Pages that did not fit into the memory.
struct PageFile {
    file: File,
    pages: u64,
}

impl PageFile {
    fn create(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)
            .context(|| format!("making a temporary file in {}", folder.display()))?;
        Ok(Self { file, pages: 0 })
    }

    fn write(&self, slot: u64, within: usize, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all_at(bytes, slot * PAGE_SIZE + within as u64)
            .map_err(|error| {
                Error::failed("keeping changed parts of the image in a temporary file")
                    .with_source(error)
                    .with_hint("free some space in the output folder, or choose another one")
            })
    }

    fn append(&mut self, page: &PageBytes) -> Result<Page> {
        let slot = self.pages;
        self.write(slot, 0, page)?;
        self.pages += 1;
        Ok(Page::InFile(slot))
    }

    fn read(&self, slot: u64, within: usize, out: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(out, slot * PAGE_SIZE + within as u64)
            .context(|| "reading changed parts of the image back".into())
    }
}

/// A base image plus dirty pages plus a length. What is dirty at the end is what a node adds.
///
/// Shared (`Arc`) between the file systems that write to it. Beyond the end of the base it reads as
/// zeros, so growing costs nothing.
pub struct CowDisk {
    base: Arc<dyn ReadAt>,
    memory: Option<Arc<PageStore>>,
    state: RwLock<State>,
}

struct State {
    len: u64,
    pages: BTreeMap<u64, Page>,
    file: Option<PageFile>,
    /// Whether all pages are known to differ from the base.
    settled: bool,
}

impl State {
    /// Reads a part of a page.
    fn read_page(&self, page: &Page, within: usize, out: &mut [u8]) -> Result<()> {
        match (page, &self.file) {
            (Page::Here(bytes), _) => {
                out.copy_from_slice(&bytes[within..within + out.len()]);
                Ok(())
            }
            (Page::InFile(slot), Some(file)) => file.read(*slot, within, out),
            (Page::InFile(_), None) => Err(Error::failed("a page is in a file that is not there")),
        }
    }

    /// Finds a place for a page that was not there.
    fn place(&mut self, bytes: Box<PageBytes>, memory: Option<&PageStore>) -> Result<Page> {
        let Some(memory) = memory.filter(|memory| !memory.take()) else {
            return Ok(Page::Here(bytes));
        };
        let mut file = match self.file.take() {
            Some(file) => file,
            None => PageFile::create(&memory.folder)?,
        };
        let page = file.append(&bytes);
        self.file = Some(file);
        page
    }
}

impl CowDisk {
    /// A disk that reads as `base` does. Its pages are held in memory, whatever they take.
    pub fn new(base: Arc<dyn ReadAt>) -> Self {
        Self::build(base, None)
    }

    /// A disk that reads as `base` does, and shares `memory` with others.
    pub fn with_memory(base: Arc<dyn ReadAt>, memory: Arc<PageStore>) -> Self {
        Self::build(base, Some(memory))
    }

    fn build(base: Arc<dyn ReadAt>, memory: Option<Arc<PageStore>>) -> Self {
        let len = base.len();
        Self {
            base,
            memory,
            state: RwLock::new(State {
                len,
                pages: BTreeMap::new(),
                file: None,
                settled: true,
            }),
        }
    }

    /// The image below.
    pub fn base(&self) -> &Arc<dyn ReadAt> {
        &self.base
    }

    /// Makes the disk `len` bytes long. Only growing is possible: a shorter length is refused.
    pub fn grow(&self, len: u64) -> Result<()> {
        let mut state = self.write_state();
        if len < state.len {
            return Err(Error::failed(format!(
                "a disk of {} bytes cannot shrink to {len}",
                state.len
            )));
        }
        state.len = len;
        Ok(())
    }

    /// Writes `data` at `offset`. Writing past the end is an error.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.write_state();
        check_bounds(offset, data.len(), state.len)?;
        let state = &mut *state;
        state.settled = false;
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (index, within) = (at / PAGE_SIZE, (at % PAGE_SIZE) as usize);
            let n = (PAGE_SIZE as usize - within).min(data.len() - done);
            let chunk = &data[done..done + n];
            match (state.pages.get_mut(&index), &state.file) {
                (Some(Page::Here(page)), _) => page[within..within + n].copy_from_slice(chunk),
                (Some(Page::InFile(slot)), Some(file)) => file.write(*slot, within, chunk)?,
                _ => {
                    let mut page = Box::new([0; PAGE_SIZE as usize]);
                    if n < PAGE_SIZE as usize {
                        read_padded(self.base.as_ref(), index * PAGE_SIZE, page.as_mut())?;
                    }
                    page[within..within + n].copy_from_slice(chunk);
                    let page = state.place(page, self.memory.as_deref())?;
                    state.pages.insert(index, page);
                }
            }
            done += n;
        }
        Ok(())
    }

    /// Drops pages that were written but ended up as the base has them, and returns the indices of
    /// those that differ, ascending. A page is [`PAGE_SIZE`] bytes at index × `PAGE_SIZE`.
    pub fn settle(&self) -> Result<Vec<u64>> {
        let mut state = self.write_state();
        self.drop_unchanged(&mut state, 0..u64::MAX)?;
        state.settled = true;
        Ok(state.pages.keys().copied().collect())
    }

    /// [`CowDisk::settle`] for the pages in `range` (indices) alone.
    pub fn settle_pages(&self, range: Range<u64>) -> Result<Vec<u64>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = self.write_state();
        self.drop_unchanged(&mut state, range.clone())?;
        Ok(state.pages.range(range).map(|(&index, _)| index).collect())
    }

    /// Makes `len` bytes at `offset` what they are in the base again.
    pub fn revert(&self, offset: u64, len: usize) -> Result<()> {
        let mut bytes = vec![0; len];
        read_padded(self.base.as_ref(), offset, &mut bytes)?;
        self.write_at(offset, &bytes)
    }

    /// Forgets the pages in `range` that are as the base has them.
    fn drop_unchanged(&self, state: &mut State, range: Range<u64>) -> Result<()> {
        if state.settled {
            return Ok(());
        }
        for index in self.unchanged(state, range)? {
            if let Entry::Occupied(entry) = state.pages.entry(index)
                && let Page::Here(_) = entry.remove()
            {
                self.give_back(1);
            }
        }
        Ok(())
    }

    fn unchanged(&self, state: &State, range: Range<u64>) -> Result<Vec<u64>> {
        let mut same = Vec::new();
        let mut before = [0; PAGE_SIZE as usize];
        let mut now = [0; PAGE_SIZE as usize];
        for (&index, page) in state.pages.range(range) {
            read_padded(self.base.as_ref(), index * PAGE_SIZE, &mut before)?;
            state.read_page(page, 0, &mut now)?;
            if before == now {
                same.push(index);
            }
        }
        Ok(same)
    }

    fn give_back(&self, pages: u64) {
        if let Some(memory) = &self.memory {
            memory.give_back(pages);
        }
    }

    /// Whether any page in `range` (bytes) has been written since the last [`CowDisk::settle`].
    pub fn is_dirty(&self, range: Range<u64>) -> bool {
        let state = self.read_state();
        let first = range.start / PAGE_SIZE;
        let last = range.end.div_ceil(PAGE_SIZE);
        first < last && state.pages.range(first..last).next().is_some()
    }

    /// Indices of the pages in `range` (bytes) that have been written since the last
    /// [`CowDisk::settle`], ascending.
    pub fn dirty_pages(&self, range: Range<u64>) -> Vec<u64> {
        let pages = range.start / PAGE_SIZE..range.end.div_ceil(PAGE_SIZE);
        match pages.is_empty() {
            true => Vec::new(),
            false => {
                let state = self.read_state();
                state.pages.range(pages).map(|(&index, _)| index).collect()
            }
        }
    }

    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for CowDisk {
    fn drop(&mut self) {
        let state = self.read_state();
        let here = |page: &&Page| matches!(page, Page::Here(_));
        let pages = state.pages.values().filter(here).count() as u64;
        self.give_back(pages);
    }
}

impl ReadAt for CowDisk {
    fn len(&self) -> u64 {
        self.read_state().len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let state = self.read_state();
        check_bounds(offset, buf.len(), state.len)?;
        let end = offset + buf.len() as u64;
        let pages = offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        let covered = state.pages.range(pages.clone()).count() as u64;
        if covered < pages.end - pages.start {
            read_padded(self.base.as_ref(), offset, buf)?;
        }
        for (&index, page) in state.pages.range(pages) {
            let start = (index * PAGE_SIZE).max(offset);
            let stop = ((index + 1) * PAGE_SIZE).min(end);
            let within = (start % PAGE_SIZE) as usize;
            let n = (stop - start) as usize;
            state.read_page(page, within, &mut buf[(start - offset) as usize..][..n])?;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>> {
        let state = self.read_state();
        if offset >= state.len {
            return Ok(None);
        }
        let below = if offset < self.base.len() {
            self.base.next_data(offset)?
        } else {
            None
        };
        let page = state.pages.range(offset / PAGE_SIZE..).next();
        let above = page.map(|(&index, _)| {
            let start = (index * PAGE_SIZE).max(offset);
            start..((index + 1) * PAGE_SIZE).min(state.len)
        });
        Ok(match (below, above) {
            (Some(below), Some(above)) if above.start < below.start => Some(above),
            (Some(below), _) => Some(below),
            (None, above) => above,
        })
    }
}

/// Reads from `base`, with zeros for what lies beyond its end.
fn read_padded(base: &dyn ReadAt, offset: u64, buf: &mut [u8]) -> Result<()> {
    let available = base.len().saturating_sub(offset).min(buf.len() as u64) as usize;
    buf[available..].fill(0);
    match available {
        0 => Ok(()),
        n => base.read_at(offset, &mut buf[..n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::InMemory;

    fn disk(len: usize) -> CowDisk {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        CowDisk::new(Arc::new(InMemory::from(bytes)))
    }

    #[test]
    fn writes_are_seen_and_leave_the_base_alone() {
        let disk = disk(10_000);
        disk.write_at(4090, &[0xAA; 20]).unwrap();
        let mut buf = [0; 24];
        disk.read_at(4088, &mut buf).unwrap();
        assert_eq!(buf[..2], [4088_u16 as u8, 4089_u16 as u8]);
        assert_eq!(buf[2..22], [0xAA; 20]);
        assert_eq!(buf[22], 4110u16 as u8);
        let mut below = [0; 1];
        disk.base().read_at(4090, &mut below).unwrap();
        assert_eq!(below[0], 4090u16 as u8);
    }

    #[test]
    fn settle_forgets_pages_that_equal_the_base() {
        let disk = disk(10_000);
        disk.write_at(0, &[1, 2, 3]).unwrap();
        disk.write_at(0, &[0, 1, 2]).unwrap();
        disk.write_at(8192, &[0xFF]).unwrap();
        assert_eq!(disk.settle().unwrap(), [2]);
        assert!(!disk.is_dirty(0..8192));
        assert!(disk.is_dirty(9000..9001));
        assert_eq!(disk.dirty_pages(0..8193), [2]);
        assert!(disk.dirty_pages(0..8192).is_empty());
        disk.write_at(4096, &[0, 1]).unwrap();
        assert!(disk.settle_pages(0..1).unwrap().is_empty());
        assert_eq!(disk.settle_pages(1..3).unwrap(), [2]);
        disk.revert(8190, 4).unwrap();
        assert!(disk.settle().unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_into_the_memory_goes_to_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::new(PageStore::new(3 * PAGE_SIZE, folder.path()));
        let base = || Arc::new(InMemory::from(vec![7; 100_000]));
        let plain = CowDisk::new(base());
        let disk = CowDisk::with_memory(base(), memory.clone());
        for (offset, len) in [(10, 9000), (40_000, 20_000), (41_000, 50), (8000, 40_000)] {
            for disk in [&plain, &disk] {
                disk.write_at(offset, &vec![offset as u8; len]).unwrap();
            }
        }
        for disk in [&plain, &disk] {
            disk.write_at(50_000, &[7; 9000]).unwrap();
        }
        assert_eq!(memory.used.load(Ordering::Relaxed), 3);
        assert_eq!(disk.settle().unwrap(), plain.settle().unwrap());
        let (mut a, mut b) = (vec![0; 100_000], vec![0; 100_000]);
        plain.read_at(0, &mut a).unwrap();
        disk.read_at(0, &mut b).unwrap();
        assert!(a == b);
        drop(disk);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn grows_with_zeros_and_refuses_what_lies_outside() {
        let disk = disk(5000);
        disk.grow(20_000).unwrap();
        let mut buf = [9; 16];
        disk.read_at(4992, &mut buf).unwrap();
        assert_eq!(buf[8..], [0; 8]);
        assert!(disk.read_at(19_999, &mut buf).is_err());
        assert!(disk.write_at(u64::MAX, &[1]).is_err());
        assert!(disk.grow(10).is_err());
        assert_eq!(disk.next_data(5000).unwrap(), None);
        disk.write_at(12_288, &[1]).unwrap();
        assert_eq!(disk.next_data(5000).unwrap(), Some(12_288..16_384));
    }
}
