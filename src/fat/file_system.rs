//! A file system and what is read of it.

use super::directory::{Directory, Entry};
use super::geometry::Geometry;
use super::name;
use super::table::Table;
use super::time::DosTime;
use crate::disk::{ReadAt, Window};
use crate::error::{Error, Result, ResultExt};

/// A FAT32 file system on a partition of a disk image.
///
/// Paths are `/`-separated and relative to the root directory; names are compared without regard to
/// case, as FAT does. Every call leaves the file system in good order.
pub struct Fat {
    pub(super) window: Window,
    pub(super) geometry: Geometry,
    pub(super) table: Table,
    pub(super) time: DosTime,
}

impl Fat {
    /// Opens the file system in `window` without looking at more of it than its table.
    pub(super) fn unchecked(window: Window) -> Result<Self> {
        let geometry = Geometry::read(&window)?;
        let table = Table::read(&window, &geometry)?;
        Ok(Self {
            window,
            geometry,
            table,
            time: DosTime::from_unix(0),
        })
    }

    /// The bytes of the file at `path`; `None` when there is none (or a folder).
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.find(&name::split(path)?)? {
            Some(entry) if !entry.is_dir() => self
                .read_chain(entry.cluster, u64::from(entry.size))
                .context(|| format!("reading “{path}” of the boot partition"))
                .map(Some),
            _ => Ok(None),
        }
    }

    /// All files, with path and size in bytes, sorted by path.
    pub fn list(&self) -> Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let mut open = vec![(String::new(), self.geometry.root_cluster)];
        while let Some((prefix, cluster)) = open.pop() {
            for entry in self.directory(cluster)?.entries {
                let path = format!("{prefix}{}", entry.name);
                match entry.is_dir() {
                    true => open.push((path + "/", entry.cluster)),
                    false => files.push((path, u64::from(entry.size))),
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// The label: an entry of the root directory, which is where Linux looks. Empty without one.
    pub fn label(&self) -> Result<String> {
        let root = self.directory(self.geometry.root_cluster)?;
        Ok(root.label().unwrap_or_default())
    }

    /// Bytes of the clusters that nothing uses.
    pub fn free_bytes(&self) -> u64 {
        u64::from(self.table.free()) * self.geometry.cluster_size
    }

    /// Walks down existing folders. Returns the deepest one and how many of `parts` led to it.
    pub(super) fn descend(&self, parts: &[&str]) -> Result<(u32, usize)> {
        let mut cluster = self.geometry.root_cluster;
        for (depth, part) in parts.iter().enumerate() {
            match self.directory(cluster)?.find(part) {
                None => return Ok((cluster, depth)),
                Some(entry) if entry.is_dir() => cluster = entry.cluster,
                Some(_) => {
                    return Err(Error::failed(format!(
                        "“{part}” is a file, so nothing can be put below it"
                    )));
                }
            }
        }
        Ok((cluster, parts.len()))
    }

    pub(super) fn find_dir(&self, parts: &[&str]) -> Result<Option<u32>> {
        let mut cluster = self.geometry.root_cluster;
        for part in parts {
            match self.directory(cluster)?.find(part) {
                Some(entry) if entry.is_dir() => cluster = entry.cluster,
                _ => return Ok(None),
            }
        }
        Ok(Some(cluster))
    }

    pub(super) fn find(&self, parts: &[&str]) -> Result<Option<Entry>> {
        let Some((last, parents)) = parts.split_last() else {
            return Ok(None);
        };
        match self.find_dir(parents)? {
            Some(cluster) => Ok(self.directory(cluster)?.find(last).cloned()),
            None => Ok(None),
        }
    }

    /// Reads the folder whose first cluster is `cluster`.
    pub(super) fn directory(&self, cluster: u32) -> Result<Directory> {
        let chain = self.table.chain(cluster)?;
        let len = chain.len() as u64 * self.geometry.cluster_size;
        let bytes = self.read_clusters(&chain, len)?;
        Ok(Directory::parse(
            chain,
            bytes,
            self.geometry.cluster_size as usize,
        ))
    }

    pub(super) fn read_chain(&self, cluster: u32, len: u64) -> Result<Vec<u8>> {
        self.read_clusters(&self.table.chain(cluster)?, len)
    }

    /// Reads the first `len` bytes of `chain`.
    pub(super) fn read_clusters(&self, chain: &[u32], len: u64) -> Result<Vec<u8>> {
        let size = self.geometry.cluster_size;
        let mut bytes = vec![0; len.min(chain.len() as u64 * size) as usize];
        let mut done = 0;
        for (first, count) in runs(chain) {
            let n = ((count * size) as usize).min(bytes.len() - done);
            let at = self.geometry.cluster_offset(first);
            self.window.read_at(at, &mut bytes[done..done + n])?;
            done += n;
        }
        Ok(bytes)
    }
}

/// Runs of consecutive clusters in `chain`, as (first cluster, how many).
pub(super) fn runs(chain: &[u32]) -> impl Iterator<Item = (u32, u64)> {
    chain
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| (run[0], run.len() as u64))
}
