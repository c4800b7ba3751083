//! Reads a root file system with ext4-view and debugfs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ext4_view::{Ext4, Ext4Read, FileType, Metadata, Timestamp};
use sha2::Digest;

use crate::common::tools::{accepts, hex, output, tool};

/// What is at a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    File { len: u64, sha256: String },
    Dir,
    Link(String),
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    pub atime: (i64, u32),
    pub crtime: Option<(i64, u32)>,
}

/// Everything in a file system, by path. A name that is not UTF-8 is escaped.
pub type Tree = BTreeMap<String, Entry>;

struct Part {
    file: File,
    start: u64,
}

impl Ext4Read for Part {
    fn read(
        &mut self,
        start: u64,
        dst: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.file.read_exact_at(dst, self.start + start)?)
    }
}

/// The root file system at byte `start` of `image`.
pub fn open(image: &Path, start: u64) -> Ext4 {
    let file = File::open(image).unwrap();
    Ext4::load(Box::new(Part { file, start }))
        .unwrap_or_else(|e| panic!("{}: ext4-view refuses it: {e}", image.display()))
}

/// Everything in it.
pub fn read(fs: &Ext4) -> Tree {
    let mut tree = Tree::new();
    let root = ext4_view::PathBuf::try_from("/").unwrap();
    let metadata = fs.metadata(&root).unwrap();
    tree.insert("/".to_owned(), entry(fs, &root, &metadata));
    let mut pending = vec![root];
    while let Some(folder) = pending.pop() {
        for found in fs.read_dir(&folder).unwrap() {
            let found = found.unwrap();
            let name = found.file_name();
            if [&b"."[..], b".."].contains(&name.as_ref()) {
                continue;
            }
            let path = found.path();
            let metadata = found.metadata().unwrap();
            let read = entry(fs, &path, &metadata);
            if read.kind == Kind::Dir {
                pending.push(path.clone());
            }
            tree.insert(name_of(path.as_ref()), read);
        }
    }
    tree
}

fn name_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("not UTF-8: {}", bytes.escape_ascii()),
    }
}

fn entry(fs: &Ext4, path: &ext4_view::PathBuf, metadata: &Metadata) -> Entry {
    let time = |t: Timestamp| (t.seconds(), t.nanoseconds());
    let kind = match metadata.file_type() {
        FileType::Regular => {
            let (len, sha256) = digest(fs, path);
            assert_eq!(len, metadata.len(), "{path:?}: length");
            Kind::File { len, sha256 }
        }
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link(name_of(fs.read_link(path).unwrap().as_ref())),
        other => Kind::Other(format!("{other:?}")),
    };
    Entry {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: time(metadata.modified()),
        atime: time(metadata.accessed()),
        crtime: metadata.created().map(time),
    }
}

fn digest(fs: &Ext4, path: &ext4_view::PathBuf) -> (u64, String) {
    let mut file = fs
        .open(path)
        .unwrap_or_else(|e| panic!("{path:?} cannot be read: {e}"));
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut len = 0;
    loop {
        let got = file.read_bytes(&mut buffer).unwrap();
        if got == 0 {
            return (len, hex(&hash.finalize()));
        }
        hash.update(&buffer[..got]);
        len += got as u64;
    }
}

/// What must and what does differ, in words.
pub fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let paths: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    paths
        .into_iter()
        .filter_map(|path| match (expected.get(path), found.get(path)) {
            (a, b) if a == b => None,
            (Some(a), Some(b)) => Some(format!("{path}: expected {a:?}\n      found {b:?}")),
            (Some(a), None) => Some(format!("{path}: missing, expected {a:?}")),
            (None, b) => Some(format!("{path}: must not be there, found {b:?}")),
        })
        .collect()
}

/// `debugfs stat` of every path: all of the inode with its extended attributes and its extents.
pub fn inodes<'a>(
    image: &Path,
    start: u64,
    paths: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, String> {
    const ECHO: &str = "debugfs: stat \"";
    let mut script = tempfile::NamedTempFile::new().unwrap();
    for path in paths.filter(|p| p.starts_with('/') && !p.contains(['"', '\n'])) {
        writeln!(script, "stat \"{path}\"").unwrap();
    }
    script.flush().unwrap();
    let out = output(
        tool("debugfs")
            .arg("-f")
            .arg(script.path())
            .arg(at(image, start)),
    );
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.split(ECHO)
        .skip(1)
        .map(|part| {
            let (path, stat) = part.split_once("\"\n").unwrap();
            (path.to_owned(), stat.to_owned())
        })
        .collect()
}

/// Takes whole folders out, owners and all as far as this user may.
pub fn extract(image: &Path, start: u64, folder: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let command = format!("rdump {folder} {}", to.display());
    accepts(
        folder,
        tool("debugfs").args(["-R", &command]).arg(at(image, start)),
    );
}

/// How e2fsprogs are told about a file system inside a disk image.
pub fn at(image: &Path, start: u64) -> String {
    format!("{}?offset={start}", image.display())
}

/// `s_wtime` of the superblock, with its high byte: when the file system was last written.
pub fn last_written(image: &Path, start: u64) -> i64 {
    let file = File::open(image).unwrap();
    let mut block = [0; 1024];
    file.read_exact_at(&mut block, start + 1024).unwrap();
    let low = u32::from_le_bytes(block[0x30..0x34].try_into().unwrap());
    i64::from(low) | i64::from(block[0x274]) << 32
}

/// Bytes that the superblock says the file system has.
pub fn fs_len(image: &Path, start: u64) -> u64 {
    let file = File::open(image).unwrap();
    let mut block = [0; 1024];
    file.read_exact_at(&mut block, start + 1024).unwrap();
    let field = |at: usize| u64::from(u32::from_le_bytes(block[at..at + 4].try_into().unwrap()));
    let is_64bit = field(0x60) & 0x80 != 0;
    let high = if is_64bit { field(0x150) } else { 0 };
    (field(0x4) | high << 32) * (1024 << field(0x18))
}
