//! Damaged ext4 file systems: whatever the bytes are, the answer is an error or a file system,
//! never a panic, a hang or memory without end.
//!
//! `EXT4_FUZZ_CASES=5000 cargo test --release --test it ext4_fuzz::` looks longer than the usual run.

use std::cell::RefCell;
use std::sync::Arc;

use crate::common::ext4::{Flavour, Image, TIME, flavour_named};
use imgbuild::disk::{CowDisk, InMemory, ReadAt, Window};
use imgbuild::ext4::{Attr, Ext4, FileKind, grow};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const ATTR: Attr = Attr {
    mode: 0o644,
    uid: 1,
    gid: 2,
    mtime: TIME,
};

/// What one byte is made to be, and how it is chosen.
#[derive(Debug, Clone)]
struct Flip {
    /// Which metadata block (modulo how many there are).
    block: usize,
    offset: usize,
    value: u8,
    /// Small structures lie at the beginning of blocks: half of the flips go there.
    early: bool,
}

fn flips(most: usize) -> impl Strategy<Value = Vec<Flip>> {
    let flip = (any::<usize>(), any::<usize>(), any::<u8>(), any::<bool>()).prop_map(
        |(block, offset, value, early)| Flip {
            block,
            offset,
            value,
            early,
        },
    );
    prop::collection::vec(flip, 1..most)
}

/// From where on there is damage.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    /// Everywhere.
    All,
    /// From the first inode table on: the preflight lets these pass.
    Inodes,
}

/// A file system to damage, and where its metadata is.
struct Target {
    bytes: InMemory,
    block_size: usize,
    blocks: Vec<usize>,
}

impl Target {
    fn new(flavour: Flavour, depth: Depth) -> Self {
        let image = Image::populated(flavour, 24, 400);
        let bytes = std::fs::read(&image.path).unwrap();
        let block_size = 1024 << bytes[1024 + 0x18];
        let is_zero = |block: &[u8]| block.iter().all(|&b| b == 0);
        // Everything but file contents: those have no zero byte in them, or are one letter.
        let descriptors = if block_size == 1024 { 2048 } else { block_size };
        let inode_table = bytes[descriptors + 8..][..4].try_into().unwrap();
        let first = match depth {
            Depth::All => 0,
            Depth::Inodes => u32::from_le_bytes(inode_table) as usize,
        };
        let blocks = bytes
            .chunks(block_size)
            .enumerate()
            .skip(first)
            .filter(|(_, block)| !is_zero(block))
            .map(|(index, _)| index)
            .take(600)
            .collect();
        Self {
            bytes: InMemory::from(bytes),
            block_size,
            blocks,
        }
    }

    fn damaged(&self, flips: &[Flip]) -> Window {
        let disk = Arc::new(CowDisk::new(Arc::new(self.bytes.clone())));
        for flip in flips {
            let reach = if flip.early { 160 } else { self.block_size };
            let block = self.blocks[flip.block % self.blocks.len()];
            // The superblock of file systems with large blocks is not at a block's beginning.
            let skip = if block == 0 && self.block_size > 1024 {
                1024
            } else {
                0
            };
            let at = block * self.block_size + skip + flip.offset % (reach - skip.min(reach / 2));
            disk.write_at(at as u64, &[flip.value]).unwrap();
        }
        let len = disk.len();
        Window::new(disk, 0, len).unwrap()
    }
}

/// Reads everything that can be reached, within reason.
fn walk(fs: &Ext4) {
    let mut pending = vec![("/".to_owned(), 0)];
    let mut budget = 1500;
    while let Some((dir, depth)) = pending.pop() {
        let Ok(entries) = fs.read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            budget -= 1;
            if budget == 0 {
                return;
            }
            let path = format!("{}/{}", dir.trim_end_matches('/'), entry.name);
            let stat = fs.stat(&path);
            match entry.kind {
                FileKind::Directory if depth < 8 => pending.push((path, depth + 1)),
                FileKind::File if matches!(stat, Ok(Some(s)) if s.size < 1 << 22) => {
                    let _ = fs.read(&path);
                }
                FileKind::Symlink => {
                    let _ = fs.read_link(&path);
                    let _ = fs.read(&path);
                }
                _ => {}
            }
        }
    }
}

/// Some of every kind of edit; each may fail.
fn edit(fs: &mut Ext4) {
    for i in 0..6 {
        let content = vec![b'n'; i * 3000];
        let _ = fs.write_file(
            &format!("/many/new-{i}"),
            &mut &content[..],
            content.len() as u64,
            &ATTR,
        );
    }
    let _ = fs.make_dirs("/opt/a/b");
    let _ = fs.write_file("/etc/hostname", &mut &b"x"[..], 1, &ATTR);
    let _ = fs.symlink("/opt/link", &"t".repeat(100), &ATTR);
    let _ = fs.hard_link("/usr/bin/tool", "/opt/tool");
    let _ = fs.set_attr("/home/pi", &ATTR);
    let _ = fs.set_xattr("/usr/bin/tool", "user.a", &[1; 300]);
    let _ = fs.rename("/home/pi", "/home/other");
    let _ = fs.remove("/etc/hosts");
    let _ = fs.remove("/var/lib/fifo");
    let _ = fs.remove("/usr/bin/tool");
    let _ = fs.remove_tree("/many");
    let _ = fs.remove_tree("/var");
}

fn try_everything(window: &Window) {
    if let Ok(mut fs) = Ext4::open(window.clone(), TIME) {
        walk(&fs);
        edit(&mut fs);
        walk(&fs);
        let _ = fs.finish();
    }
    let _ = grow(window, window.len());
}

fn cases(usual: u32) -> u32 {
    match std::env::var("EXT4_FUZZ_CASES") {
        Ok(cases) => cases.parse().unwrap(),
        Err(_) => usual,
    }
}

fn fuzz(flavour: &str, depth: Depth, usual: u32) {
    let target = Target::new(flavour_named(flavour), depth);
    let config = Config {
        cases: cases(usual),
        failure_persistence: None,
        ..Config::default()
    };
    // One fixed seed per flavour: the test must not be green by luck.
    let mut seed = [0; 32];
    seed[..flavour.len()].copy_from_slice(flavour.as_bytes());
    seed[31] = std::env::var("EXT4_FUZZ_SEED").map_or(0, |s| s.parse().unwrap());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let slowest = RefCell::new(std::time::Duration::ZERO);
    TestRunner::new_with_rng(config, rng)
        .run(&flips(if depth == Depth::All { 8 } else { 30 }), |flips| {
            let begun = std::time::Instant::now();
            try_everything(&target.damaged(&flips));
            let took = begun.elapsed();
            let mut slowest = slowest.borrow_mut();
            *slowest = took.max(*slowest);
            prop_assert!(took.as_secs() < 20, "took {took:?}");
            Ok(())
        })
        .unwrap();
    eprintln!("{flavour}: the slowest case took {:?}", slowest.borrow());
}

#[test]
fn damage_with_checksums() {
    fuzz("trixie", Depth::All, 60);
    fuzz("gdtcsum", Depth::All, 60);
}

/// Without checksums damage gets deeper.
#[test]
fn damage_without_checksums() {
    fuzz("old", Depth::All, 60);
    fuzz("plain", Depth::All, 60);
}

/// With superblock, descriptors and bitmaps whole it gets deeper still.
#[test]
fn damage_beyond_the_preflight() {
    fuzz("old", Depth::Inodes, 150);
    fuzz("plain", Depth::Inodes, 150);
    fuzz("2kold", Depth::Inodes, 100);
    fuzz("genimg", Depth::Inodes, 50);
    fuzz("1k", Depth::Inodes, 50);
}
