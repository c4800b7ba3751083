//! Reading a file system that need not be fit for editing, such as one whose journal was not carried
//! out: what is in the journal is read from there, unless it is of a kind that the reader does not know.
//!
//! The crate `ext4-view` does it, which checks what it reads. It takes memory for every group that the
//! superblock claims and follows folders of any size, so both are bounded here.

use std::error::Error as StdError;
use std::io::{self, Read};

use ext4_view::{Ext4 as View, Ext4Error, Ext4Read, File, FileType, Metadata, Path};

use super::checksum::crc32c;
use super::file_kind::FileKind;
use super::superblock;
use crate::disk::{ReadAt, Window};
use crate::error::{Error, Result, ResultExt};

/// Offsets in the superblock (<https://docs.kernel.org/filesystems/ext4/super.html>).
const BLOCKS: usize = 0x04;
const BLOCK_SIZE: usize = 0x18;
const BLOCKS_PER_GROUP: usize = 0x20;
const INCOMPAT: usize = 0x60;
const BLOCKS_HIGH: usize = 0x150;
/// `64bit` of `s_feature_incompat`: the number of blocks has an upper half.
const BIT64: u32 = 0x80;
/// `needs_recovery` of `s_feature_incompat`.
const RECOVER: u32 = 0x4;
const CHECKSUM: usize = superblock::SIZE - 4;
/// mke2fs makes no smaller groups.
const MIN_GROUP: u32 = 256;
/// Larger folders, and more in one, are no image's.
const MAX_FOLDER: u64 = 64 << 20;
const MAX_ITEMS: usize = 1 << 20;
/// Symbolic links on the way to a file, as Linux has it.
const MAX_LINKS: usize = 40;

/// A file system that is open for reading only.
pub struct ReadOnly(View);

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub name: Vec<u8>,
    pub kind: FileKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes; of a symbolic link, the length of its target.
    pub size: u64,
}

impl ReadOnly {
    /// Opens the file system in `window`.
    pub fn open(window: Window) -> Result<Self> {
        let superblock = read_superblock(&window)?;
        check_size(&superblock, window.len())?;
        let load = |superblock| View::load(Box::new(Source(window.clone(), superblock)));
        let view = match load(superblock) {
            // A journal of a kind that cannot be read: what is on the disk without it.
            Err(Ext4Error::Incompatible(_)) if field(&superblock, INCOMPAT) & RECOVER != 0 => {
                load(recovered(superblock))
            }
            other => other,
        };
        view.map(Self).map_err(|error| {
            explained(error).with_hint("copy the image again, or repair it with e2fsck")
        })
    }

    /// What is in the folder at `path`, in no order.
    pub fn items(&self, path: &[u8]) -> Result<Vec<Item>> {
        let at = || format!("reading the folder {}", path.escape_ascii());
        self.read_items(path).context(at)
    }

    fn read_items(&self, path: &[u8]) -> Result<Vec<Item>> {
        self.check_folder(path)?;
        let folder = path_of(path)?;
        let mut items = Vec::new();
        for entry in self.0.read_dir(folder).map_err(explained)? {
            let entry = entry.map_err(explained)?;
            let name = entry.file_name();
            let name: &[u8] = name.as_ref();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = entry.metadata().map_err(explained)?;
            items.push(item(name.to_owned(), &stat));
            if items.len() > MAX_ITEMS {
                return Err(damaged(format!("a folder of more than {MAX_ITEMS} files")));
            }
        }
        Ok(items)
    }

    /// What is at `path`, and its path without symbolic links on the way; `None` when there is nothing.
    /// A link at its end is followed only with `through`.
    pub fn find(&self, path: &[u8], through: bool) -> Result<Option<(Vec<u8>, Item)>> {
        self.walk_to(path, through)
            .context(|| format!("looking for {}", path.escape_ascii()))
    }

    fn walk_to(&self, path: &[u8], through: bool) -> Result<Option<(Vec<u8>, Item)>> {
        let mut left: Vec<Vec<u8>> = parts_of(path);
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut found = None;
        while let Some(name) = left.pop() {
            if name == b".." {
                at.pop();
                found = None;
                continue;
            }
            self.check_folder(&joined(&at))?;
            at.push(name.clone());
            let here = joined(&at);
            let stat = match self.0.symlink_metadata(path_of(&here)?) {
                Ok(stat) => stat,
                Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => return Ok(None),
                Err(error) => return Err(explained(error)),
            };
            if stat.file_type() == FileType::Symlink && (through || !left.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                let target = self.link(&here)?;
                at.pop();
                if target.starts_with(b"/") {
                    at.clear();
                }
                left.extend(parts_of(&target));
                found = None;
                continue;
            }
            found = Some((here, item(name, &stat)));
        }
        Ok(found)
    }

    /// Names are looked for in all of a folder, so it must have an end.
    fn check_folder(&self, path: &[u8]) -> Result<()> {
        let size = match self.0.symlink_metadata(path_of(path)?) {
            Ok(stat) => stat.len(),
            Err(error) => return Err(explained(error)),
        };
        match size > MAX_FOLDER {
            true => Err(damaged(format!("a folder of {size} bytes"))),
            false => Ok(()),
        }
    }

    /// Where the symbolic link at `path` points.
    pub fn link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let target = self.0.read_link(path_of(path)?).map_err(explained);
        let target = target.context(|| format!("reading the link {}", path.escape_ascii()))?;
        let target: &[u8] = target.as_ref();
        Ok(target.to_owned())
    }

    /// The bytes of the file at `path`.
    pub fn content(&self, path: &[u8]) -> Result<FileReader> {
        let file = self.0.open(path_of(path)?).map_err(explained);
        let file = file.context(|| format!("reading {}", path.escape_ascii()))?;
        Ok(FileReader(file))
    }
}

/// Reads a file.
pub struct FileReader(File);

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_bytes(buf).map_err(io::Error::other)
    }
}

/// A partition with the superblock that the reader is to see.
struct Source(Window, [u8; superblock::SIZE]);

impl Ext4Read for Source {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> std::result::Result<(), Box<dyn StdError + Send + Sync>> {
        if start == superblock::OFFSET && into.len() == self.1.len() {
            into.copy_from_slice(&self.1);
            return Ok(());
        }
        Ok(self.0.read_at(start, into)?)
    }
}

fn read_superblock(window: &Window) -> Result<[u8; superblock::SIZE]> {
    let mut raw = [0; superblock::SIZE];
    if window.len() < superblock::OFFSET + raw.len() as u64 {
        return Err(damaged("the partition is too short for one"));
    }
    window.read_at(superblock::OFFSET, &mut raw)?;
    Ok(raw)
}

fn field(raw: &[u8; superblock::SIZE], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

/// The same superblock as it is when the journal has nothing to tell.
fn recovered(mut raw: [u8; superblock::SIZE]) -> [u8; superblock::SIZE] {
    let features = field(&raw, INCOMPAT) & !RECOVER;
    raw[INCOMPAT..INCOMPAT + 4].copy_from_slice(&features.to_le_bytes());
    let checksum = crc32c(!0, &raw[..CHECKSUM]);
    raw[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    raw
}

/// Refuses a file system that claims more than the `len` bytes of the partition, or countless groups.
fn check_size(raw: &[u8; superblock::SIZE], len: u64) -> Result<()> {
    let field = |at| field(raw, at);
    let high = match field(INCOMPAT) & BIT64 {
        0 => 0,
        _ => u64::from(field(BLOCKS_HIGH)) << 32,
    };
    let blocks = high | u64::from(field(BLOCKS));
    let bytes = 1024u64
        .checked_shl(field(BLOCK_SIZE))
        .and_then(|size| size.checked_mul(blocks));
    if bytes.is_none_or(|bytes| bytes > len) {
        return Err(damaged("it claims more than the partition has"));
    }
    if field(BLOCKS_PER_GROUP) < MIN_GROUP {
        return Err(damaged("its groups are too small"));
    }
    Ok(())
}

fn item(name: Vec<u8>, stat: &Metadata) -> Item {
    Item {
        name,
        kind: kind_of(stat.file_type()),
        mode: u32::from(stat.mode()),
        uid: stat.uid(),
        gid: stat.gid(),
        size: stat.len(),
    }
}

/// The names in a path, the last first.
fn parts_of(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    let names = parts.filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

fn joined(names: &[Vec<u8>]) -> Vec<u8> {
    match names {
        [] => b"/".to_vec(),
        names => names
            .iter()
            .flat_map(|name| [&b"/"[..], name].concat())
            .collect(),
    }
}

fn path_of(path: &[u8]) -> Result<Path<'_>> {
    Path::try_from(path).map_err(|error| damaged(error.to_string()))
}

fn kind_of(kind: FileType) -> FileKind {
    match kind {
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Fifo,
        FileType::Regular => FileKind::File,
        FileType::Socket => FileKind::Socket,
        FileType::Symlink => FileKind::Symlink,
    }
}

fn damaged(what: impl Into<String>) -> Error {
    Error::failed(format!("the ext4 file system is damaged: {}", what.into()))
}

fn explained(error: Ext4Error) -> Error {
    Error::failed("the ext4 file system cannot be read").with_source(error)
}
