//! Small ext4 file systems to test on, and the tools that judge them: e2fsck and debugfs.

#![allow(dead_code)]

pub mod kernel;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::common::tools::ends_with;
use imgbuild::disk::{CowDisk, PAGE_SIZE, RawFile, ReadAt, Window};
use imgbuild::error::Result;
use imgbuild::ext4::Ext4;
use tempfile::TempDir;

/// When all edits happen.
pub const TIME: i64 = 1_700_000_000;
/// Where the file system begins on its disk: nothing may assume that it is at 0.
pub const START: u64 = 1 << 20;

/// A way to make a file system.
#[derive(Clone, Copy, Debug)]
pub struct Flavour {
    pub name: &'static str,
    pub args: &'static [&'static str],
}

const fn flavour(name: &'static str, args: &'static [&'static str]) -> Flavour {
    Flavour { name, args }
}

/// mke2fs gets its whole feature set here, so that the machine's mke2fs.conf decides nothing.
const BASE: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,\
sparse_super,large_file,dir_nlink,extra_isize";

pub const FLAVOURS: &[Flavour] = &[
    flavour("pigen", &["-O", "BASE,metadata_csum"]),
    flavour(
        "trixie",
        &["-O", "BASE,metadata_csum,metadata_csum_seed,orphan_file"],
    ),
    flavour("genimg", &["-O", "BASE,metadata_csum,64bit,huge_file"]),
    flavour("old", &["-O", "BASE,huge_file"]),
    flavour("gdtcsum", &["-O", "BASE,uninit_bg"]),
    flavour("1k", &["-b", "1024", "-O", "BASE,metadata_csum"]),
    flavour("1k64", &["-b", "1024", "-O", "BASE,metadata_csum,64bit"]),
    flavour("2k", &["-b", "2048", "-O", "BASE,metadata_csum,64bit"]),
    flavour("2kold", &["-b", "2048", "-O", "BASE,64bit"]),
    flavour("i128", &["-I", "128", "-O", "BASE,metadata_csum"]),
    flavour("nojournal", &["-O", "BASE,^has_journal,metadata_csum"]),
    flavour(
        "plain",
        &["-O", "none,filetype,extent,dir_index,has_journal"],
    ),
    flavour("noflex", &["-O", "BASE,^flex_bg,metadata_csum"]),
];

pub fn flavour_named(name: &str) -> Flavour {
    *FLAVOURS.iter().find(|f| f.name == name).unwrap()
}

impl Flavour {
    fn arguments(&self) -> Vec<String> {
        let mut args: Vec<String> = self.args.iter().map(|a| a.replace("BASE", BASE)).collect();
        for (option, default) in [("-b", "4096"), ("-I", "256")] {
            if !self.args.contains(&option) {
                args.extend([option.into(), default.into()]);
            }
        }
        args
    }
}

/// Runs a tool of e2fsprogs; `ok` are the exit codes that are fine.
pub fn tool(name: &str, args: &[&str], ok: &[i32]) -> String {
    String::from_utf8_lossy(&ends_with(ok, name, args)).into_owned()
}

/// A file system in a file of its own.
pub struct Image {
    dir: Arc<TempDir>,
    pub path: PathBuf,
}

impl Image {
    /// An empty file system of `mib` MiB.
    pub fn empty(flavour: Flavour, mib: u64) -> Self {
        Self::make(flavour, mib, None)
    }

    /// A file system with a tree like a small Raspberry Pi OS and a directory of `entries` files.
    pub fn populated(flavour: Flavour, mib: u64, entries: usize) -> Self {
        let tree = tempfile::tempdir().unwrap();
        populate(tree.path(), entries);
        let image = Self::make(flavour, mib, Some(tree.path()));
        // Gives large directories their index, as the kernel would have.
        tool("e2fsck", &["-fyD", image.str()], &[0, 1]);
        image
    }

    fn make(flavour: Flavour, mib: u64, tree: Option<&Path>) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let path = dir.path().join("root.img");
        let mut args = flavour.arguments();
        args.extend(["-q", "-F", "-U", "00000000-1111-2222-3333-444455556666"].map(String::from));
        if let Some(tree) = tree {
            args.extend(["-d".into(), tree.to_str().unwrap().into()]);
        }
        args.extend([path.to_str().unwrap().into(), format!("{mib}M")]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        tool("mke2fs", &args, &[0]);
        Self { dir, path }
    }

    pub fn str(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// A (sparse) copy of the image.
    pub fn copy_to(&self, path: &Path) {
        let copied = Command::new("cp")
            .args(["--sparse=always", self.str()])
            .arg(path)
            .status();
        assert!(copied.unwrap().success());
    }

    /// The image that is at `path`, in the folder of this one, as a new base.
    pub fn replaced_by(&self, path: &Path) -> Self {
        std::fs::rename(path, &self.path).unwrap();
        Self {
            dir: self.dir.clone(),
            path: self.path.clone(),
        }
    }

    /// The image as a disk, with room for the file system to grow to `len` bytes.
    pub fn disk(&self, len: Option<u64>) -> Disk {
        let base = Shifted(RawFile::open(&self.path).unwrap());
        let own = base.0.len();
        let disk = Arc::new(CowDisk::new(Arc::new(base)));
        let len = len.unwrap_or(own).max(own);
        disk.grow(START + len).unwrap();
        Disk {
            disk,
            len,
            dir: self.dir.clone(),
        }
    }
}

fn populate(root: &Path, entries: usize) {
    for dir in [
        "etc/network",
        "home/pi/.config",
        "usr/bin",
        "many",
        "var/lib/empty",
    ] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("etc/hostname"), "raspberrypi\n").unwrap();
    std::fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    std::fs::write(root.join("usr/bin/tool"), pattern(3, 300_000)).unwrap();
    std::fs::write(root.join("home/pi/.bashrc"), pattern(4, 3_500)).unwrap();
    std::fs::write(root.join("home/pi/.config/a"), "a").unwrap();
    for i in 0..entries {
        std::fs::write(root.join(format!("many/entry-number-{i:05}")), [b'x'; 3]).unwrap();
    }
    let link = |target: &str, at: &str| std::os::unix::fs::symlink(target, root.join(at)).unwrap();
    link("usr/bin", "bin");
    link("/etc", "var/lib/etc");
    link("../lib/etc/hostname", "var/lib/name");
    link("loop-b", "var/lib/loop-a");
    link("loop-a", "var/lib/loop-b");
    let fifo = root.join("var/lib/fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o644),
        0,
    )
    .unwrap();
    // Only root can make device nodes; without them the test of removing one is less.
    let _ = rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("var/lib/device"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from(0o600),
        rustix::fs::makedev(5, 1),
    );
}

/// `len` bytes that differ from block to block.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A base with something else before the file system.
struct Shifted(RawFile);

impl ReadAt for Shifted {
    fn len(&self) -> u64 {
        START + self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let before = START.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (head, tail) = buf.split_at_mut(before);
        head.fill(0xAA);
        match tail.len() {
            0 => Ok(()),
            _ => self.0.read_at(offset + before as u64 - START, tail),
        }
    }
}

/// A copy-on-write disk with a file system at [`START`].
pub struct Disk {
    pub disk: Arc<CowDisk>,
    pub len: u64,
    dir: Arc<TempDir>,
}

impl Disk {
    pub fn window(&self) -> Window {
        Window::new(self.disk.clone(), START, self.len).unwrap()
    }

    pub fn open(&self) -> Result<Ext4> {
        Ext4::open(self.window(), TIME)
    }

    /// Offsets (in the file system) of the pages that were changed.
    pub fn dirty(&self) -> Vec<u64> {
        let pages = self.disk.settle().unwrap();
        pages.iter().map(|page| page * PAGE_SIZE - START).collect()
    }

    /// The bytes that were changed, with where they are.
    pub fn changes(&self) -> Vec<(u64, Vec<u8>)> {
        let window = self.window();
        let read = |at: u64| {
            let mut page = vec![0; PAGE_SIZE.min(self.len - at) as usize];
            window.read_at(at, &mut page).unwrap();
            (at, page)
        };
        self.dirty().into_iter().map(read).collect()
    }

    /// Writes the file system to a (sparse) file.
    pub fn save(&self, base: &Image) -> PathBuf {
        use std::os::unix::fs::FileExt;
        let path = self.dir.path().join("edited.img");
        base.copy_to(&path);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(self.len).unwrap();
        for (at, page) in self.changes() {
            file.write_all_at(&page, at).unwrap();
        }
        path
    }
}

/// e2fsck must find nothing at all.
pub fn fsck(path: &Path) {
    fsck_but_for(path, None);
}

/// e2fsck must find nothing but lines with `allowed` in them, which are no errors.
pub fn fsck_but_for(path: &Path, allowed: Option<&str>) {
    let text = tool("e2fsck", &["-fn", path.to_str().unwrap()], &[0]);
    for line in text.lines() {
        let usual = line.starts_with("Pass ") || line.contains(" files (") || line.is_empty();
        let usual = usual || allowed.is_some_and(|part| line.contains(part));
        assert!(usual, "e2fsck says:\n{text}");
    }
}

/// What debugfs answers to `request`.
pub fn debugfs(path: &Path, request: &str) -> String {
    tool("debugfs", &["-R", request, path.to_str().unwrap()], &[0])
}
