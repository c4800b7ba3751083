//! `.img.xz` images made from the base's own compressed data, judged by xz and 7-Zip.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::emit::{fast, open_splice, write_xz, xz_image};
use crate::common::tools::ok;
use imgbuild::disk::{CowDisk, InMemory, RawFile, ReadAt};
use imgbuild::emit::Emitted;
use imgbuild::error::ErrorKind;
use imgbuild::job::Job;
use imgbuild::xz::{Splice, XZ_ENCODER, XzImageOptions, XzLayout, XzOptions};

const MIB: usize = 1 << 20;

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..len).map(next).collect()
}

/// Lines that differ, `len` bytes of them.
fn lines(len: usize, seed: usize) -> Vec<u8> {
    let mut text = String::with_capacity(len + 64);
    let mut i = seed;
    while text.len() < len {
        i = i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text += &format!("{:x} is number {} of them\n", i >> 40, i >> 56);
    }
    text.truncate(len);
    text.into_bytes()
}

/// Eight MiB: lines, zeros, noise, and lines again.
fn image() -> Vec<u8> {
    let mut image = lines(2 * MIB + 300_000, 1);
    image.resize(4 * MIB, 0);
    image.extend(noise(MIB, 2));
    image.resize(7 * MIB, 0);
    image.extend(lines(MIB - 300, 3));
    image.resize(8 * MIB, 0);
    image
}

struct Bench {
    dir: tempfile::TempDir,
    raw: Vec<u8>,
    base: PathBuf,
}

impl Bench {
    fn new(raw: Vec<u8>, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.img");
        std::fs::write(&path, &raw).unwrap();
        let mut all = vec!["-k"];
        all.extend(args);
        all.push(path.to_str().unwrap());
        ok("xz", &all);
        let base = dir.path().join("base.img.xz");
        Self { dir, raw, base }
    }

    fn splice(&self) -> Splice {
        let splice = open_splice(&self.base, self.raw.len() as u64).unwrap();
        splice.expect("a base that can be spliced")
    }

    fn disk(&self) -> CowDisk {
        CowDisk::new(Arc::new(InMemory::from(self.raw.clone())))
    }

    fn write(&self, disk: &CowDisk, base: Option<&Splice>, threads: usize) -> (PathBuf, Emitted) {
        let path = self.dir.path().join("out.img.xz");
        let emitted = write_xz(disk, base, &path, fast(threads), &Job::silent(), "test").unwrap();
        (path, emitted)
    }

    /// Writes, has it judged, and returns it.
    fn judged(&self, disk: &CowDisk, base: Option<&Splice>) -> Vec<u8> {
        let (path, emitted) = self.write(disk, base, 2);
        judge(&path, &content(disk));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(emitted.size, bytes.len() as u64);
        self.write(disk, base, 1);
        assert!(std::fs::read(&path).unwrap() == bytes, "threads matter");
        bytes
    }
}

fn content(disk: &CowDisk) -> Vec<u8> {
    let mut all = vec![0; disk.len() as usize];
    disk.read_at(0, &mut all).unwrap();
    all
}

/// What others make of it: valid, the right content, and sizes in every block header, without which
/// Raspberry Pi Imager decodes with one thread.
fn judge(path: &Path, expected: &[u8]) {
    let name = path.to_str().unwrap();
    ok("xz", &["-t", name]);
    assert!(ok("xz", &["-T2", "-dc", name]) == expected);
    ok("7z", &["t", name]);
    assert!(ok("7z", &["e", "-so", name]) == expected);
    let list = String::from_utf8(ok("xz", &["-lvv", "--robot", name])).unwrap();
    let blocks: Vec<Vec<&str>> = list
        .lines()
        .filter(|line| line.starts_with("block\t"))
        .map(|line| line.split('\t').collect())
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        // Both sizes in the header, and LZMA2 alone (xz(1), “List mode”).
        assert_eq!(block[12], "cu", "{block:?}");
        assert!(block[15].starts_with("--lzma2=dict="), "{block:?}");
    }
}

const SMALL_BLOCKS: &[&str] = &["-T2", "-6", "--block-size=2MiB"];

#[test]
fn changed_blocks_keep_their_symbols() {
    let bench = Bench::new(image(), SMALL_BLOCKS);
    let splice = bench.splice();
    let disk = bench.disk();
    disk.write_at(5000, b"a name").unwrap();
    disk.write_at(2 * MIB as u64 - 3, b"across two blocks")
        .unwrap();
    disk.write_at(5 * MIB as u64 + 4096, &lines(9000, 9))
        .unwrap();
    disk.write_at(7 * MIB as u64 + 100, &vec![0; 9000]).unwrap();
    let bytes = bench.judged(&disk, Some(&splice));
    let base = std::fs::metadata(&bench.base).unwrap().len();
    assert!(
        (bytes.len() as u64) < base + 9000,
        "{} after {base}",
        bytes.len()
    );
    let layout = XzLayout::read(&InMemory::from(bytes)).unwrap().unwrap();
    let before: Vec<u64> = splice
        .layout()
        .blocks
        .iter()
        .map(|b| b.uncompressed_size)
        .collect();
    let after: Vec<u64> = layout.blocks.iter().map(|b| b.uncompressed_size).collect();
    assert_eq!(before, after);
}

#[test]
fn new_data_is_stored_or_packed_anew() {
    let bench = Bench::new(image(), SMALL_BLOCKS);
    let splice = bench.splice();
    let disk = bench.disk();
    let base = std::fs::metadata(&bench.base).unwrap().len() as usize;
    let (packed, plain) = (noise(1_500_000, 8), lines(1_200_000, 7));
    disk.write_at(300_000, &packed).unwrap();
    disk.write_at(5 * MIB as u64 + 7, &plain).unwrap();
    let bytes = bench.judged(&disk, Some(&splice));
    let lines_cost = 1_200_000 / 3;
    assert!(
        bytes.len() < base + packed.len() + lines_cost,
        "{}",
        bytes.len()
    );
    // The next node with the same files is made of the same streams, and is the same.
    let path = bench.write(&disk, Some(&splice), 2).0;
    assert!(std::fs::read(path).unwrap() == bytes);
    // A block of nothing but new data, ending in a run of each kind.
    for data in [
        noise(2 * MIB, 4),
        lines(2 * MIB, 5),
        [noise(MIB, 4), lines(MIB, 6)].concat(),
    ] {
        let disk = bench.disk();
        disk.write_at(2 * MIB as u64, &data).unwrap();
        bench.judged(&disk, Some(&splice));
    }
}

#[test]
fn what_is_known_of_zeros_does_not_decide_the_bytes() {
    // The second block of the base has little in it, and that goes.
    let mut raw = image();
    raw[2 * MIB..4 * MIB].fill(0);
    raw[3 * MIB + 5] = 7;
    // Holes that are too short to end a run, and some that do.
    for at in [MIB, MIB + 300_000, 6 * MIB + 100_000] {
        raw[at..at + 40_960].fill(0);
    }
    let bench = Bench::new(raw, SMALL_BLOCKS);
    let changed = |disk: CowDisk| {
        disk.write_at(3 * MIB as u64 + 5, &[0]).unwrap();
        disk
    };
    let sparse = bench.dir.path().join("sparse.img");
    let raw = bench.dir.path().join("raw");
    std::fs::write(&raw, &bench.raw).unwrap();
    let names = [raw.to_str().unwrap(), sparse.to_str().unwrap()];
    ok("cp", &["--sparse=always", names[0], names[1]]);
    let packed = || {
        xz_image(&bench.base, XzImageOptions::default())
            .unwrap()
            .unwrap()
    };
    let known = packed();
    let mut all = vec![0; bench.raw.len()];
    known.read_at(0, &mut all).unwrap();
    let bases: [Arc<dyn ReadAt>; 5] = [
        Arc::new(InMemory::from(bench.raw.clone())),
        Arc::new(RawFile::open(&raw).unwrap()),
        Arc::new(RawFile::open(&sparse).unwrap()),
        Arc::new(packed()),
        Arc::new(known),
    ];
    let splice = bench.splice();
    for splice in [None, Some(&splice)] {
        let images = bases.iter().map(|base| {
            let path = bench
                .write(&changed(CowDisk::new(base.clone())), splice, 2)
                .0;
            std::fs::read(path).unwrap()
        });
        let images: Vec<_> = images.collect();
        for image in &images[1..] {
            assert!(*image == images[0]);
        }
        bench.judged(&changed(bench.disk()), splice);
    }
}

#[test]
fn growth_appends_blocks() {
    let bench = Bench::new(image(), SMALL_BLOCKS);
    let disk = bench.disk();
    let len = bench.raw.len() as u64;
    disk.grow(len + 60 * MIB as u64 + 512).unwrap();
    disk.write_at(len + 30 * MIB as u64 + 5000, &lines(700_000, 1))
        .unwrap();
    disk.write_at(len + 60 * MIB as u64, &[7; 512]).unwrap();
    let splice = bench.splice();
    let bytes = bench.judged(&disk, Some(&splice));
    let copied = std::fs::read(&bench.base).unwrap();
    let same = splice.layout().blocks.last().unwrap();
    let end = (same.offset + same.total_size()) as usize;
    assert!(bytes[..end] == copied[..end]);
    let layout = XzLayout::read(&InMemory::from(bytes)).unwrap().unwrap();
    let sizes: Vec<u64> = layout.blocks[4..]
        .iter()
        .map(|b| b.uncompressed_size)
        .collect();
    let full = 24 * MIB as u64;
    assert_eq!(sizes, [full, full, 12 * MIB as u64 + 512]);
}

#[test]
fn a_base_without_blocks_is_packed_by_the_same_rules() {
    let bench = Bench::new(image(), &["-0"]);
    let disk = bench.disk();
    disk.write_at(0, b"changed").unwrap();
    bench.judged(&disk, None);
    // Zeros that nobody knows of.
    bench.judged(&CowDisk::new(Arc::new(InMemory::from(vec![0; MIB]))), None);
}

#[test]
fn other_block_sizes_and_presets_are_bases_too() {
    let mut raw = image();
    raw.truncate(7 * MIB + 777);
    for args in [
        &["-T1", "-6"][..],
        &[
            "-T2",
            "--lzma2=preset=0,dict=64KiB,lc=1,lp=3,pb=0",
            "--block-size=1000000",
        ],
        &["-T2", "-9", "--block-size=5MiB"],
    ] {
        let bench = Bench::new(raw.clone(), args);
        let disk = bench.disk();
        disk.write_at(999_000, &lines(3000, 4)).unwrap();
        disk.write_at(3_000_000, &lines(600_000, 4)).unwrap();
        disk.write_at(raw.len() as u64 - 5, b"the e").unwrap();
        disk.grow(raw.len() as u64 + 512).unwrap();
        let (path, _) = bench.write(&disk, Some(&bench.splice()), 2);
        let name = path.to_str().unwrap();
        ok("7z", &["t", name]);
        assert!(ok("xz", &["-dc", name]) == content(&disk), "{args:?}");
    }
}

#[test]
fn a_damaged_block_is_an_error() {
    let bench = Bench::new(image(), SMALL_BLOCKS);
    let splice = bench.splice();
    let block = splice.layout().blocks[0];
    let good = std::fs::read(&bench.base).unwrap();
    let check = (block.offset + block.total_size() - 1) as usize;
    let middle = (block.offset + block.total_size() / 2) as usize;
    for at in [check, middle] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&bench.base, bad).unwrap();
        let disk = bench.disk();
        disk.write_at(9000, b"x").unwrap();
        let path = bench.dir.path().join("out.img.xz");
        let options = fast(2);
        let made = write_xz(&disk, Some(&splice), &path, options, &Job::silent(), "test");
        let error = made.unwrap_err();
        assert!(error.hint().is_some());
        assert!(
            at != check || error.kind() == ErrorKind::Verification,
            "{error}"
        );
        assert!(!path.exists());
    }
}

#[test]
fn the_encoder_is_named() {
    let fast = XzOptions::default().encoder();
    assert!(fast.starts_with(XZ_ENCODER) && fast.ends_with(" preset 1"));
    let best = XzOptions::best().encoder();
    assert!(best.starts_with("liblzma/") && best.ends_with(" preset 6"));
    // The crate of which the version of liblzma is known. Another one: look which it brings, name it
    // in XZ_ENCODER, and set this.
    let lock = include_str!("../../Cargo.lock");
    assert!(lock.contains("name = \"liblzma-sys\"\nversion = \"0.4.9\""));
    assert!(XZ_ENCODER.ends_with("liblzma/5.8.4"));
}

/// A sparse raw base: the holes are zeros without a look.
#[test]
fn a_sparse_raw_base() {
    let bench = Bench::new(image(), &["-0"]);
    let path = bench.dir.path().join("sparse.img");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(50 * MIB as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &lines(MIB, 1), 3 * MIB as u64).unwrap();
    let disk = CowDisk::new(Arc::new(RawFile::open(&path).unwrap()));
    disk.write_at(30 * MIB as u64, b"x").unwrap();
    bench.judged(&disk, None);
}
