//! All files of an image, for reading only: of one that could not be edited, too.
//!
//! Images come from anywhere, so what one claims is bounded: how deep folders are, how many files there
//! are, and how long a file is.

use std::cmp::Ordering;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use super::root_partition::{locate_with, root_window};
use crate::disk::{CowDisk, ReadAt};
use crate::error::{Error, Result, ResultExt};
use crate::ext4::{self, FileKind, ReadOnly};
use crate::fat::{self, Fat};

/// Folders in folders. A loop ends here, too.
const MAX_DEPTH: usize = 64;
/// Files of an image.
const MAX_ENTRIES: usize = 4 << 20;
/// Bytes of a file: more is no image's, and a hole of it would be read for hours.
const MAX_FILE: u64 = 64 << 30;

/// Which of the two file systems of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileSystem {
    Boot,
    Root,
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Root => "root",
        })
    }
}

/// The file systems of an image.
pub struct Tree {
    boot: Fat,
    root: ReadOnly,
}

/// A file, folder or whatever else is at a path.
#[derive(Debug, Clone)]
pub struct Entry {
    pub on: FileSystem,
    /// From the root of its file system, with a `/` in front.
    pub path: Vec<u8>,
    pub kind: FileKind,
    /// Permission bits and owner; all 0 on the boot partition, which has none.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of a file or of a link's target; 0 of anything else.
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Option<Vec<u8>>,
    /// Where it is on the boot partition.
    boot: Option<fat::Item>,
    depth: usize,
}

impl Entry {
    /// The order of a walk: the boot partition first, then as folders are nested.
    pub fn order<'a>(&'a self, other: &'a Self) -> Ordering {
        let names = |entry: &'a Self| entry.path.split(|byte| *byte == b'/');
        (self.on.cmp(&other.on)).then_with(|| names(self).cmp(names(other)))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.on, String::from_utf8_lossy(&self.path))
    }
}

impl Tree {
    /// Finds the file systems of the image on `disk`.
    pub fn open(disk: Arc<dyn ReadAt>) -> Result<Self> {
        let disk = Arc::new(CowDisk::new(disk));
        let (chosen, boot) = locate_with(&disk, Fat::for_reading)?;
        let root = ReadOnly::open(root_window(&disk, &chosen.table)?)
            .context(|| "reading the root file system (ext4)".into())?;
        Ok(Self { boot, root })
    }

    /// All that is in the image but the two root folders, sorted (see [`Entry::order`]). After an error
    /// there is nothing more.
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            tree: self,
            pending: Vec::new(),
            left: Some([FileSystem::Root, FileSystem::Boot].to_vec()),
            seen: 0,
        }
    }

    /// What is at `path`, if anything, with its path as a walk has it. A symbolic link at its end is
    /// followed only with `through`.
    pub fn find(&self, on: FileSystem, path: &str, through: bool) -> Result<Option<Entry>> {
        match on {
            FileSystem::Boot => self.find_on_boot(path),
            FileSystem::Root => match self.root.find(path.as_bytes(), through)? {
                Some((path, item)) => {
                    let depth = path.split(|byte| *byte == b'/').count();
                    self.root_entry(path, &item, depth).map(Some)
                }
                None => Ok(None),
            },
        }
    }

    /// FAT knows no case.
    fn find_on_boot(&self, path: &str) -> Result<Option<Entry>> {
        let mut found: Option<Entry> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if found
                .as_ref()
                .is_some_and(|folder| folder.kind != FileKind::Directory)
            {
                return Ok(None);
            }
            let is_it = |entry: &Entry| {
                let last = entry.path.rsplit(|byte| *byte == b'/').next();
                last.is_some_and(|last| last.eq_ignore_ascii_case(name.as_bytes()))
            };
            let entries = self.below(FileSystem::Boot, found.as_ref())?;
            found = entries.into_iter().find(is_it);
            if found.is_none() {
                return Ok(None);
            }
        }
        Ok(found)
    }

    /// The bytes of the file `entry`.
    pub fn content(&self, entry: &Entry) -> Result<Box<dyn Read>> {
        if entry.size > MAX_FILE {
            return Err(Error::failed(format!(
                "{entry} claims to be {} GiB long",
                entry.size >> 30
            )));
        }
        Ok(match &entry.boot {
            Some(item) => Box::new(self.boot.content(item).context(|| entry.to_string())?),
            None => Box::new(self.root.content(&entry.path)?),
        })
    }

    /// What is in `folder`, or in the root folder of `on`; sorted, the last first.
    fn below(&self, on: FileSystem, folder: Option<&Entry>) -> Result<Vec<Entry>> {
        let path = folder.map_or(&b""[..], |folder| &folder.path);
        let depth = folder.map_or(0, |folder| folder.depth + 1);
        let mut entries = match on {
            FileSystem::Boot => self.boot_entries(path, folder, depth)?,
            FileSystem::Root => self.root_entries(path, depth)?,
        };
        entries.sort_by(|a, b| b.path.cmp(&a.path));
        Ok(entries)
    }

    fn boot_entries(
        &self,
        path: &[u8],
        folder: Option<&Entry>,
        depth: usize,
    ) -> Result<Vec<Entry>> {
        let items = self.boot.items(folder.and_then(|f| f.boot.as_ref()))?;
        let entries = items.into_iter().map(|item| Entry {
            on: FileSystem::Boot,
            path: joined(path, item.name.as_bytes()),
            kind: if item.is_folder {
                FileKind::Directory
            } else {
                FileKind::File
            },
            mode: 0,
            uid: 0,
            gid: 0,
            size: item.size,
            target: None,
            boot: Some(item),
            depth,
        });
        Ok(entries.collect())
    }

    fn root_entries(&self, path: &[u8], depth: usize) -> Result<Vec<Entry>> {
        let folder = if path.is_empty() { &b"/"[..] } else { path };
        let items = self.root.items(folder)?.into_iter();
        let entries = items.map(|item| self.root_entry(joined(path, &item.name), &item, depth));
        entries.collect()
    }

    fn root_entry(&self, path: Vec<u8>, item: &ext4::Item, depth: usize) -> Result<Entry> {
        let target = match item.kind {
            FileKind::Symlink => Some(self.root.link(&path)?),
            _ => None,
        };
        let has_size = matches!(item.kind, FileKind::File | FileKind::Symlink);
        Ok(Entry {
            on: FileSystem::Root,
            path,
            kind: item.kind,
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            size: if has_size { item.size } else { 0 },
            target,
            boot: None,
            depth,
        })
    }
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    [folder, b"/", name].concat()
}

/// A walk through an image.
pub struct Walk<'a> {
    tree: &'a Tree,
    /// What comes next, the last first.
    pending: Vec<Entry>,
    /// Partitions to come, the last first; `None` after an error.
    left: Option<Vec<FileSystem>>,
    seen: usize,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<Option<Entry>> {
        while self.pending.is_empty() {
            let Some(on) = self.left.as_mut().and_then(Vec::pop) else {
                return Ok(None);
            };
            self.pending = self.tree.below(on, None)?;
        }
        let Some(entry) = self.pending.pop() else {
            return Ok(None);
        };
        self.seen += 1;
        if self.seen > MAX_ENTRIES || entry.depth >= MAX_DEPTH {
            return Err(Error::failed(format!(
                "{entry}: the image has more files or deeper folders than can be"
            )));
        }
        if entry.kind == FileKind::Directory {
            self.pending
                .extend(self.tree.below(entry.on, Some(&entry))?);
        }
        Ok(Some(entry))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left.as_ref()?;
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.left = None;
        }
        step
    }
}
