//! Opening a file system for editing, and the edits.

use super::check;
use super::damaged::damaged;
use super::directory::{self, Directory, Entry, SLOT};
use super::file_system::{Fat, runs};
use super::name;
use super::time::DosTime;
use crate::disk::{ReadAt, Window};
use crate::error::{Error, Result, ResultExt};

/// Largest file FAT32 can hold: its size is a 32-bit number.
const MAX_FILE: u64 = u32::MAX as u64;
/// Zeros and copies go through a buffer of this many bytes.
const BUFFER: usize = 128 * 1024;

impl Fat {
    /// Opens the file system in `window` after checking all of it.
    ///
    /// `time` (Unix seconds, UTC) becomes the time of everything written, rounded down to 2 seconds
    /// and moved into 1980..=2107, which is what FAT can say.
    pub fn open(window: Window, time: i64) -> Result<Self> {
        let open = || -> Result<Self> {
            let fat = Self::unchecked(window.clone())?;
            check::check(&fat)?;
            Ok(fat.dated(time))
        };
        open().context(|| {
            format!(
                "opening the FAT file system of the boot partition at byte {} of the image",
                window.start()
            )
        })
    }

    /// The same with `time` for everything that is written from now on.
    #[must_use]
    pub fn dated(mut self, time: i64) -> Self {
        self.time = DosTime::from_unix(time);
        self
    }

    /// Creates the file at `path` with `data`, or replaces its content; makes parent folders.
    ///
    /// When the partition is too full nothing is changed.
    pub fn write_file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.write_inner(path, data)
            .context(|| format!("writing “{path}” to the boot partition"))
    }

    /// Removes the file or the empty folder at `path`. Says whether there was one.
    pub fn remove(&mut self, path: &str) -> Result<bool> {
        let parts = name::split(path)?;
        let Some((last, parents)) = parts.split_last() else {
            return Err(Error::failed("the root folder cannot be removed"));
        };
        let Some(parent) = self.find_dir(parents)? else {
            return Ok(false);
        };
        let mut dir = self.directory(parent)?;
        let Some(entry) = dir.find(last).cloned() else {
            return Ok(false);
        };
        if entry.is_dir() && !self.directory(entry.cluster)?.entries.is_empty() {
            return Err(Error::failed(format!(
                "“{path}” cannot be removed from the boot partition: the folder is not empty"
            )));
        }
        dir.delete(&entry);
        self.store(&mut dir)?;
        self.release(entry.cluster)?;
        self.flush()?;
        Ok(true)
    }

    /// Ends the editing. Nothing is lost without it; it is there to say where editing ends.
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }

    fn write_inner(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let parts = name::split(path)?;
        let Some((last, parents)) = parts.split_last() else {
            return Err(Error::failed("a file needs a name"));
        };
        if data.len() as u64 > MAX_FILE {
            return Err(
                Error::failed(format!("a file of {} bytes is too large", data.len()))
                    .with_hint("FAT holds files of up to 4 GiB - 1 byte"),
            );
        }
        // The folders that are there, and how many parts of the path they cover.
        let (mut parent, found) = self.descend(parents)?;
        let dir = self.directory(parent)?;
        if found == parents.len()
            && let Some(entry) = dir.find(last).cloned()
        {
            return self.replace(dir, entry, data);
        }
        self.check_space(&dir, &parts[found..], data.len())?;
        for folder in &parents[found..] {
            parent = self.create_dir(parent, folder)?;
        }
        // The entry first: what is placed next is to know which part of the folder changes.
        self.add(parent, Entry::file(last, 0, 0, self.time))?;
        let dir = self.directory(parent)?;
        match dir.find(last).cloned() {
            Some(entry) => self.replace(dir, entry, data),
            None => Err(damaged("a folder lost a new entry")),
        }
    }

    /// Gives an existing file new content: in its own clusters as far as they reach, or in others
    /// when that is cheaper (see `placement.rs`).
    fn replace(&mut self, mut dir: Directory, mut entry: Entry, data: &[u8]) -> Result<()> {
        if entry.is_dir() {
            return Err(Error::failed("there is a folder of that name"));
        }
        let mut chain = self.table.chain(entry.cluster)?;
        let need = self.geometry.clusters_for(data.len() as u64);
        self.check_free(need.saturating_sub(chain.len()))?;
        dir.update(&entry, self.time);
        self.store(&mut dir)?;
        if !self.changes_anyway(&chain)
            && let Some(moved) = self.allocate_cheaply(need)
        {
            self.leave(&std::mem::replace(&mut chain, moved))?;
        }
        let more = need.saturating_sub(chain.len());
        let surplus = chain.split_off(need.min(chain.len()));
        self.zero(&surplus)?;
        self.table.free_chain(&surplus);
        chain.extend(self.allocate(more)?);
        self.table.link(&chain);
        self.write_chain(&chain, data)?;
        entry.cluster = chain.first().copied().unwrap_or(0);
        entry.size = data.len() as u32;
        dir.update(&entry, self.time);
        self.store(&mut dir)?;
        self.flush()
    }

    /// Errors unless there is room for a file of `len` bytes at the path `missing` below `dir`, of
    /// which nothing is there yet.
    fn check_space(&self, dir: &Directory, missing: &[&str], len: usize) -> Result<()> {
        let Some((first, deeper)) = missing.split_first() else {
            return Ok(());
        };
        if !dir.has_slots(first) {
            return Err(Error::failed(
                "the folder is full: FAT allows 65,536 slots in one",
            ));
        }
        let mut clusters = self.geometry.clusters_for(len as u64) + dir.growth(first);
        for name in deeper {
            let slots = 2 + name::slots(name);
            clusters += self.geometry.clusters_for((slots * SLOT) as u64);
        }
        self.check_free(clusters)
    }

    fn check_free(&self, clusters: usize) -> Result<()> {
        if clusters as u64 <= u64::from(self.table.free()) {
            return Ok(());
        }
        let need = clusters as u64 * self.geometry.cluster_size;
        Err(Error::failed(format!(
            "the boot partition is full: {need} more bytes are needed, {} are free",
            self.free_bytes()
        ))
        .with_hint("put less on the boot partition, or use a base image with a larger one"))
    }

    fn create_dir(&mut self, parent: u32, name: &str) -> Result<u32> {
        let chain = self.allocate(1)?;
        let cluster = chain[0];
        // To say “the root” in `..` is to say 0, wherever the root directory is.
        let up = match parent == self.geometry.root_cluster {
            true => 0,
            false => parent,
        };
        self.write_chain(&chain, &directory::dot_entries(cluster, up, self.time))?;
        self.add(parent, Entry::folder(name, cluster, self.time))?;
        Ok(cluster)
    }

    /// Puts `entry` into the folder at `parent`, which grows when it is full.
    fn add(&mut self, parent: u32, entry: Entry) -> Result<()> {
        let mut dir = self.directory(parent)?;
        let growth = dir.growth(&entry.name);
        if growth > 0 {
            let more = self.allocate(growth)?;
            dir.grow(&more);
            self.table.link(&dir.chain);
            self.zero(&more)?;
        }
        dir.insert(entry)?;
        self.store(&mut dir)
    }

    /// Writes the changed parts of a folder; the table is to be flushed after.
    fn store(&mut self, dir: &mut Directory) -> Result<()> {
        let size = self.geometry.cluster_size as usize;
        for range in dir.take_changes() {
            self.move_folder_cluster(dir, range.start / size)?;
            let cluster = dir.chain[range.start / size];
            let at = self.geometry.cluster_offset(cluster) + (range.start % size) as u64;
            self.window.write_at(at, &dir.bytes[range])?;
        }
        Ok(())
    }

    fn allocate(&mut self, clusters: usize) -> Result<Vec<u32>> {
        self.check_free(clusters)?;
        let all = 2..self.geometry.clusters + 2;
        let chain = match self.allocate_cheaply(clusters) {
            Some(chain) => chain,
            None => self
                .table
                .allocate(clusters, std::slice::from_ref(&all))
                .ok_or_else(|| damaged("its free clusters are not where they were counted"))?,
        };
        self.table.link(&chain);
        Ok(chain)
    }

    /// Frees the chain that starts at `cluster` (0: none) and zeros its content.
    fn release(&mut self, cluster: u32) -> Result<()> {
        let chain = self.table.chain(cluster)?;
        self.zero(&chain)?;
        self.table.free_chain(&chain);
        Ok(())
    }

    /// Writes `data` and zeros up to the end of `chain`.
    pub(super) fn write_chain(&self, chain: &[u32], data: &[u8]) -> Result<()> {
        let size = self.geometry.cluster_size;
        let mut rest = data;
        for (first, count) in runs(chain) {
            let at = self.geometry.cluster_offset(first);
            let (now, later) = rest.split_at(rest.len().min((count * size) as usize));
            self.window.write_at(at, now)?;
            self.zero_bytes(at + now.len() as u64, count * size - now.len() as u64)?;
            rest = later;
        }
        Ok(())
    }

    pub(super) fn zero(&self, clusters: &[u32]) -> Result<()> {
        self.write_chain(clusters, &[])
    }

    /// Zeros `len` bytes, without touching what is zero already.
    fn zero_bytes(&self, mut at: u64, mut len: u64) -> Result<()> {
        let mut buffer = vec![0; BUFFER.min(len as usize)];
        while len > 0 {
            let n = len.min(BUFFER as u64) as usize;
            self.window.read_at(at, &mut buffer[..n])?;
            if !crate::disk::is_zero(&buffer[..n]) {
                buffer[..n].fill(0);
                self.window.write_at(at, &buffer[..n])?;
            }
            at += n as u64;
            len -= n as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.table.flush(&self.window, &self.geometry)
    }
}
