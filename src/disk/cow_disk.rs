//! The copy-on-write disk: a base that is never touched, and the pages that differ from it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use super::{ReadAt, check_bounds};
use crate::error::{Error, Result};

/// Bytes of a copy-on-write page.
pub const PAGE_SIZE: u64 = 4096;

type Page = Box<[u8; PAGE_SIZE as usize]>;

/// A base image plus dirty pages plus a length. What is dirty at the end is what a node adds.
///
/// Shared (`Arc`) between the file systems that write to it. Beyond the end of the base it reads as
/// zeros, so growing costs nothing.
pub struct CowDisk {
    base: Arc<dyn ReadAt>,
    state: RwLock<State>,
}

struct State {
    len: u64,
    pages: BTreeMap<u64, Page>,
}

impl CowDisk {
    /// A disk that reads as `base` does.
    pub fn new(base: Arc<dyn ReadAt>) -> Self {
        let len = base.len();
        Self {
            base,
            state: RwLock::new(State {
                len,
                pages: BTreeMap::new(),
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
                "a disk of {} bytes can not shrink to {len}",
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
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (index, within) = (at / PAGE_SIZE, (at % PAGE_SIZE) as usize);
            let n = (PAGE_SIZE as usize - within).min(data.len() - done);
            let chunk = &data[done..done + n];
            match state.pages.entry(index) {
                std::collections::btree_map::Entry::Occupied(mut page) => {
                    page.get_mut()[within..within + n].copy_from_slice(chunk);
                }
                std::collections::btree_map::Entry::Vacant(slot) => {
                    let mut page = Box::new([0; PAGE_SIZE as usize]);
                    if n < PAGE_SIZE as usize {
                        read_padded(self.base.as_ref(), index * PAGE_SIZE, page.as_mut())?;
                    }
                    page[within..within + n].copy_from_slice(chunk);
                    slot.insert(page);
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
        let mut same = Vec::new();
        let mut before = [0; PAGE_SIZE as usize];
        for (&index, page) in &state.pages {
            read_padded(self.base.as_ref(), index * PAGE_SIZE, &mut before)?;
            if before == **page {
                same.push(index);
            }
        }
        for index in same {
            state.pages.remove(&index);
        }
        Ok(state.pages.keys().copied().collect())
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
            buf[(start - offset) as usize..][..n].copy_from_slice(&page[within..within + n]);
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
    use crate::disk::Memory;

    fn disk(len: usize) -> CowDisk {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        CowDisk::new(Arc::new(Memory::from(bytes)))
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
