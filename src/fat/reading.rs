//! Reading a file system that need not be fit for editing: nothing is checked but what is read.

use std::io::{self, Read};

use super::damaged::damaged;
use super::directory::{MAX_SLOTS, SLOT};
use super::file_system::{Fat, runs};
use super::geometry::Geometry;
use super::table::Table;
use super::time::DosTime;
use crate::disk::{ReadAt, Window};
use crate::error::Result;

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its long name, or its short one when there is no long one.
    pub name: String,
    pub is_folder: bool,
    /// Bytes of a file; 0 for a folder.
    pub size: u64,
    /// First cluster; 0 for an empty file.
    cluster: u32,
}

impl Fat {
    /// Opens the file system in `window` for reading. Files and folders are not looked at.
    pub fn for_reading(window: Window) -> Result<Self> {
        let geometry = Geometry::read(&window)?;
        Ok(Self {
            table: Table::first_copy(&window, &geometry)?,
            window,
            geometry,
            time: DosTime::from_unix(0),
        })
    }

    /// What is in `folder`, or in the root folder, in the order of the folder.
    pub fn items(&self, folder: Option<&Item>) -> Result<Vec<Item>> {
        let cluster = folder.map_or(self.geometry.root_cluster, |folder| folder.cluster);
        let len = self.table.chain(cluster)?.len() as u64 * self.geometry.cluster_size;
        if len == 0 || len > (MAX_SLOTS * SLOT) as u64 {
            return Err(damaged("a folder has an impossible size"));
        }
        let entries = self.directory(cluster)?.entries.into_iter();
        let items = entries.map(|entry| Item {
            is_folder: entry.is_dir(),
            size: u64::from(entry.size),
            cluster: entry.cluster,
            name: entry.name,
        });
        Ok(items.collect())
    }

    /// The bytes of the file `item`.
    pub fn content(&self, item: &Item) -> Result<FileReader> {
        let chain = self.table.chain(item.cluster)?;
        if item.size > chain.len() as u64 * self.geometry.cluster_size {
            return Err(damaged("a file is longer than its clusters"));
        }
        let pieces = runs(&chain).map(|(first, count)| {
            let start = self.geometry.cluster_offset(first);
            (start, count * self.geometry.cluster_size)
        });
        let mut pieces: Vec<(u64, u64)> = pieces.collect();
        pieces.reverse();
        Ok(FileReader {
            window: self.window.clone(),
            pieces,
            left: item.size,
        })
    }
}

/// Reads a file.
pub struct FileReader {
    window: Window,
    /// Where the bytes to come are (offset and length), the last ones first.
    pieces: Vec<(u64, u64)>,
    left: u64,
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((at, len)) = self.pieces.last_mut() else {
            return Ok(0);
        };
        let n = self.left.min(*len).min(buf.len() as u64);
        self.window.read_at(*at, &mut buf[..n as usize])?;
        (*at, *len) = (*at + n, *len - n);
        if *len == 0 {
            self.pieces.pop();
        }
        self.left -= n;
        Ok(n as usize)
    }
}
