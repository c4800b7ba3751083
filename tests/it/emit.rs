//! Outputs, read back with xz and coreutils.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use imgbuild::digest::Digest;
use imgbuild::disk::{CowDisk, InMemory, RawFile, ReadAt};
use imgbuild::emit::{WriteOptions, write_checksums};
use imgbuild::error::ErrorKind;
use imgbuild::job::{Cancel, Job, Progress, Task};
use imgbuild::xz::{XzLayout, XzOptions};
use proptest::prelude::*;

use crate::common::emit::{open_splice, packed_with, write_img, write_xz};
use crate::common::fuzz_cases::cases;
use crate::common::needs;
use crate::common::sample_image::{MIB, mixed_image as image, noise};
use crate::common::tools::{ok, run, sha256sum};

fn disk_of(bytes: Vec<u8>) -> CowDisk {
    CowDisk::new(Arc::new(InMemory::from(bytes)))
}

fn content(disk: &CowDisk) -> Vec<u8> {
    let mut all = vec![0; disk.len() as usize];
    disk.read_at(0, &mut all).unwrap();
    all
}

fn options(threads: usize) -> WriteOptions {
    packed_with(XzOptions::best(), threads)
}

/// `name.img` and `name.img.xz`, made by xz with the given arguments.
fn packed(dir: &Path, name: &str, raw: &[u8], args: &[&str]) -> PathBuf {
    let path = dir.join(format!("{name}.img"));
    std::fs::write(&path, raw).unwrap();
    let mut all = vec!["-k", "-f"];
    all.extend(args);
    all.push(path.to_str().unwrap());
    ok("xz", &all);
    dir.join(format!("{name}.img.xz"))
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn img_is_the_disk_with_holes() {
    let dir = tempfile::tempdir().unwrap();
    for len in [6 * MIB, 6 * MIB + 512, 777] {
        let disk = disk_of(image(len));
        if len > MIB {
            disk.write_at(MIB as u64 * 3 + 5000, b"changed").unwrap();
            disk.write_at(0, &[0; 70_000]).unwrap();
            disk.grow(len as u64 + 5 * MIB as u64 + 512).unwrap();
            disk.write_at(len as u64 + MIB as u64, b"new").unwrap();
        }
        let path = dir.path().join("out.img");
        let emitted = write_img(&disk, &path, &Job::silent(), "test").unwrap();
        let written = std::fs::read(&path).unwrap();
        assert!(written == content(&disk));
        assert_eq!(emitted.size, disk.len());
        assert_eq!(emitted.sha256, Digest::parse(&sha256sum(&path)));
        assert_eq!(emitted.raw_sha256, emitted.sha256);
        if len > MIB {
            let allocated = std::fs::metadata(&path).unwrap().blocks() * 512;
            assert!(allocated < 500_000, "{allocated}");
        }
        assert_eq!(names(dir.path()).len(), 1);
    }
}

#[test]
fn holes_of_a_sparse_base_are_kept_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base.img");
    write_img(
        &disk_of(image(9 * MIB + 100)),
        &base,
        &Job::silent(),
        "base",
    )
    .unwrap();
    let disk = CowDisk::new(Arc::new(RawFile::open(&base).unwrap()));
    disk.write_at(7 * MIB as u64 + 123, &[5; 9000]).unwrap();
    let path = dir.path().join("out.img");
    let emitted = write_img(&disk, &path, &Job::silent(), "test").unwrap();
    assert!(std::fs::read(&path).unwrap() == content(&disk));
    assert_eq!(emitted.sha256, Digest::parse(&sha256sum(&path)));
}

#[test]
fn xz_without_a_base_is_what_xz_makes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk_of(image(30 * MIB + 1234));
    let path = dir.path().join("out.img.xz");
    let emitted = write_xz(&disk, None, &path, options(2), &Job::silent(), "test").unwrap();
    assert_eq!(emitted.sha256, Digest::parse(&sha256sum(&path)));
    assert_eq!(emitted.size, std::fs::metadata(&path).unwrap().len());
    let name = path.to_str().unwrap();
    ok("xz", &["-t", name]);
    assert!(ok("xz", &["-dc", name]) == content(&disk));
    assert!(ok("xz", &["-T2", "-dc", name]) == content(&disk));
    let list = String::from_utf8(ok("xz", &["-l", "--robot", name])).unwrap();
    assert!(list.contains("totals\t1\t2\t"), "{list}");
    // Not promised by xz from version to version, but so it is with those at hand.
    let by_xz = packed(dir.path(), "by-xz", &content(&disk), &["-T2", "-6"]);
    if std::fs::read(&by_xz).unwrap() != std::fs::read(&path).unwrap() {
        eprintln!("note: this xz makes other bytes than liblzma does here");
    }
}

#[test]
fn every_preset_decodes() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk_of(image(2 * MIB));
    for preset in [0, 1, 3, 9, 6 | 1 << 31] {
        let path = dir.path().join("out.xz");
        let xz = XzOptions {
            preset,
            ..XzOptions::best()
        };
        let options = packed_with(xz, 1);
        write_xz(&disk, None, &path, options, &Job::silent(), "test").unwrap();
        assert!(
            ok("xz", &["-dc", path.to_str().unwrap()]) == content(&disk),
            "{preset}"
        );
    }
    let xz = XzOptions {
        preset: 10,
        ..XzOptions::best()
    };
    let options = packed_with(xz, 1);
    let path = dir.path().join("never.xz");
    let error = write_xz(&disk, None, &path, options, &Job::silent(), "test").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(!path.exists());
}

#[test]
fn an_unchanged_base_comes_out_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let raw = image(9 * MIB + 77);
    for args in [
        &["-T2", "-6", "--block-size=1MiB"][..],
        &["-T2", "-0"],
        &["-T1", "-6"],
        &["-T2", "-9", "--block-size=2MiB"],
    ] {
        let base = packed(dir.path(), "base", &raw, args);
        let splice = open_splice(&base, raw.len() as u64)
            .unwrap()
            .expect("spliceable");
        let disk = disk_of(raw.clone());
        disk.write_at(3, &raw[3..9000]).unwrap();
        let path = dir.path().join("out.img.xz");
        let emitted =
            write_xz(&disk, Some(&splice), &path, options(2), &Job::silent(), "t").unwrap();
        assert!(
            std::fs::read(&path).unwrap() == std::fs::read(&base).unwrap(),
            "{args:?}"
        );
        assert_eq!(emitted.raw_sha256, None);
    }
}

#[test]
fn a_splice_decodes_to_the_disk_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let raw = image(9 * MIB + 77);
    let base = packed(
        dir.path(),
        "base",
        &raw,
        &["-T2", "-6", "--block-size=1MiB"],
    );
    let splice = open_splice(&base, raw.len() as u64).unwrap().unwrap();
    let edit = |grow: u64| {
        let disk = disk_of(raw.clone());
        disk.write_at(MIB as u64 * 2 - 3, b"across two blocks")
            .unwrap();
        disk.write_at(MIB as u64 * 4, &vec![0; 2 * MIB]).unwrap();
        disk.write_at(MIB as u64 * 7, &noise(300_000, 99)).unwrap();
        disk.grow(raw.len() as u64 + grow).unwrap();
        disk
    };
    // Same length: the bytes of `xz -T -6` of the changed image.
    let disk = edit(0);
    let path = dir.path().join("out.img.xz");
    write_xz(&disk, Some(&splice), &path, options(2), &Job::silent(), "t").unwrap();
    assert!(ok("xz", &["-dc", path.to_str().unwrap()]) == content(&disk));
    let by_xz = packed(
        dir.path(),
        "by-xz",
        &content(&disk),
        &["-T2", "-6", "--block-size=1MiB"],
    );
    if std::fs::read(&by_xz).unwrap() != std::fs::read(&path).unwrap() {
        eprintln!("note: this xz makes other bytes than liblzma does here");
    }
    // Grown over more than a block of the usual size.
    let disk = edit(26 * MIB as u64);
    disk.write_at(30 * MIB as u64, &noise(5000, 3)).unwrap();
    let mut first = None;
    for threads in [1, 3] {
        write_xz(
            &disk,
            Some(&splice),
            &path,
            options(threads),
            &Job::silent(),
            "t",
        )
        .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            *first.get_or_insert_with(|| bytes.clone()) == bytes,
            "{threads}"
        );
    }
    let name = path.to_str().unwrap();
    ok("xz", &["-t", name]);
    let list = String::from_utf8(ok("xz", &["-l", "--robot", name])).unwrap();
    assert!(list.contains("totals\t1\t12\t"), "{list}");
    assert!(ok("xz", &["-T2", "-dc", name]) == content(&disk));
    // Our own output can be spliced again.
    let splice = open_splice(&path, disk.len()).unwrap().unwrap();
    let again = dir.path().join("again.img.xz");
    let same = disk_of(content(&disk));
    write_xz(
        &same,
        Some(&splice),
        &again,
        options(2),
        &Job::silent(),
        "t",
    )
    .unwrap();
    assert!(std::fs::read(&again).unwrap() == first.unwrap());
}

#[test]
fn what_can_not_be_spliced_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let raw = image(2 * MIB);
    let len = raw.len() as u64;
    let open = |path: &Path| open_splice(path, len).unwrap().is_some();
    let plain = packed(dir.path(), "a", &raw, &["-T2", "--block-size=1MiB"]);
    assert!(open(&plain));
    assert!(open_splice(&plain, len + 1).unwrap().is_none());
    assert!(!open(&dir.path().join("a.img")));
    assert!(!open(&packed(dir.path(), "crc32", &raw, &["-C", "crc32"])));
    assert!(!open(&packed(
        dir.path(),
        "delta",
        &raw,
        &["--delta=dist=4", "--lzma2=preset=6"]
    )));
    assert!(!open(&packed(dir.path(), "empty", &[], &[])));
    let good = std::fs::read(&plain).unwrap();
    let save = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert!(!open(&save("two", &[good.clone(), good.clone()].concat())));
    assert!(open(&save("padded", &[good.clone(), vec![0; 8]].concat())));
    let large = packed(dir.path(), "large", &vec![0; 65 * MIB], &["-T1", "-0"]);
    assert!(open_splice(&large, 65 * MIB as u64).unwrap().is_none());

    let bad = |name: &str, bytes: &[u8], word: &str| {
        let error = open_splice(&save(name, bytes), len).unwrap_err();
        let text: Vec<_> = error.chain().map(|e| e.to_string()).collect();
        assert!(text.join(": ").contains(word), "{text:?}");
        assert!(error.hint().is_some());
    };
    bad("short", &good[..good.len() - 100], "cut short");
    bad("tiny", &good[..20], "too short");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    bad("header", &flipped(8), "checksum of its header");
    bad("block", &flipped(14), "checksum of a block header");
    bad("footer", &flipped(good.len() - 7), "checksum of its footer");
    bad("index", &flipped(good.len() - 20), "checksum of its index");
}

/// Cancels once a number of bytes have been reported.
struct Stop {
    after: u64,
    seen: Arc<AtomicU64>,
    cancel: Cancel,
}

struct StopTask(u64, Arc<AtomicU64>, Cancel);

impl Progress for Stop {
    fn begin(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(StopTask(self.after, self.seen.clone(), self.cancel.clone()))
    }
    fn note(&self, _: &str) {}
}

impl Task for StopTask {
    fn advance(&mut self, bytes: u64) {
        if self.1.fetch_add(bytes, Ordering::SeqCst) + bytes >= self.0 {
            self.2.cancel();
        }
    }
}

fn stopping(after: u64) -> Job {
    let cancel = Cancel::default();
    let seen = Arc::default();
    let progress = Arc::new(Stop {
        after,
        seen,
        cancel: cancel.clone(),
    });
    Job { progress, cancel }
}

#[test]
fn cancelling_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    std::fs::write(&path, "from before").unwrap();
    let disk = disk_of(image(26 * MIB));
    for after in [1, 24 * MIB as u64] {
        let error = write_img(&disk, &path, &stopping(after), "t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        let error = write_xz(&disk, None, &path, options(2), &stopping(after), "t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
    assert_eq!(names(dir.path()).len(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), b"from before");
}

#[test]
fn progress_adds_up() {
    struct Count(Arc<Mutex<u64>>);
    impl Progress for Count {
        fn begin(&self, _: &str, total: Option<u64>) -> Box<dyn Task> {
            assert!(total.is_some());
            Box::new(Count(self.0.clone()))
        }
        fn note(&self, _: &str) {}
    }
    impl Task for Count {
        fn advance(&mut self, bytes: u64) {
            *self.0.lock().unwrap() += bytes;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = disk_of(image(5 * MIB + 3));
    let sum = Arc::new(Mutex::new(0));
    let job = Job {
        progress: Arc::new(Count(sum.clone())),
        cancel: Cancel::default(),
    };
    write_img(&disk, &dir.path().join("a"), &job, "t").unwrap();
    assert_eq!(*sum.lock().unwrap(), disk.len());
    write_xz(&disk, None, &dir.path().join("b"), options(2), &job, "t").unwrap();
    assert_eq!(*sum.lock().unwrap(), 2 * disk.len());
}

#[test]
fn places_that_can_not_be_written_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let disk = disk_of(image(1000));
    for path in [
        file.join("out.img"),
        dir.path().join("missing/out.img"),
        dir.path().to_owned(),
    ] {
        let error = write_img(&disk, &path, &Job::silent(), "t").unwrap_err();
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(names(dir.path()).len(), 1);
}

#[test]
fn stale_part_files_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir
        .path()
        .join(format!(".out.img.{}.part", std::process::id()));
    std::fs::write(&stale, "stale").unwrap();
    let disk = disk_of(image(1000));
    write_img(&disk, &dir.path().join("out.img"), &Job::silent(), "t").unwrap();
    assert_eq!(std::fs::read(&stale).unwrap(), b"stale");
}

/// A tmpfs of 2 MiB, unmounted when dropped; `None` where one cannot be mounted.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        needs::programs(&["mount", "umount"]);
        let dir = tempfile::tempdir().unwrap();
        let out = run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "size=2m",
                "tmpfs",
                dir.path().to_str().unwrap(),
            ],
        );
        out.status.success().then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[self.0.path().to_str().unwrap()]);
    }
}

#[test]
fn a_full_disk_is_named() {
    let Some(small) = SmallDisk::mount() else {
        needs::say("needs root, to mount a tmpfs");
        return;
    };
    let path = small.0.path().join("out.img");
    // Less than half of it fits, which is seen before anything is written.
    let error = write_img(&disk_of(noise(5 * MIB, 1)), &path, &Job::silent(), "t").unwrap_err();
    assert!(error.to_string().contains("not enough space"), "{error}");
    // Only seen while writing.
    let error = write_img(&disk_of(noise(3 * MIB, 1)), &path, &Job::silent(), "t").unwrap_err();
    assert!(
        error.hint().unwrap().contains("no space is left"),
        "{error}"
    );
    let disk = disk_of(noise(5 * MIB, 1));
    let error = write_xz(&disk, None, &path, options(1), &Job::silent(), "t").unwrap_err();
    assert!(
        error.hint().unwrap().contains("no space is left"),
        "{error}"
    );
    assert!(names(small.0.path()).is_empty());
    // Zeros cost nothing.
    write_img(&disk_of(vec![0; 3 * MIB]), &path, &Job::silent(), "t").unwrap();
}

#[test]
fn checksums_are_what_sha256sum_reads() {
    let dir = tempfile::tempdir().unwrap();
    for (name, data) in [("b.img", "bbb"), ("a b.img.xz", "aaa")] {
        std::fs::write(dir.path().join(name), data).unwrap();
    }
    let digest = |name: &str| Digest::parse(&sha256sum(&dir.path().join(name))).unwrap();
    let entry = |name: &str| (digest(name), name.to_owned());
    let sums = dir.path().join("SHA256SUMS");
    for _ in 0..2 {
        write_checksums(&sums, &[entry("b.img"), entry("a b.img.xz")]).unwrap();
    }
    let text = std::fs::read_to_string(&sums).unwrap();
    assert!(text.find("a b.img.xz").unwrap() < text.find("  b.img").unwrap());
    let out = Command::new("sha256sum")
        .args(["--strict", "-c", "SHA256SUMS"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(write_checksums(&sums, &[(digest("b.img"), "a\nb".into())]).is_err());
}

fn small_xz() -> &'static [u8] {
    use std::sync::OnceLock;
    static XZ: OnceLock<Vec<u8>> = OnceLock::new();
    XZ.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::read(packed(
            dir.path(),
            "a",
            &image(20_000),
            &["-T2", "--block-size=4KiB"],
        ))
        .unwrap()
    })
}

proptest! {
    #![proptest_config({ needs::programs(&["xz"]); cases(500) })]

    /// Whatever an .xz file says there is an answer, and no block reaches beyond the file.
    #[test]
    fn any_container_is_read_without_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), fix in any::<bool>(), cut in 0usize..40) {
        let mut bytes = small_xz().to_vec();
        let tail = bytes.len() - 80;
        for (at, byte) in flips {
            let at = if fix { tail + at.index(80) } else { at.index(bytes.len()) };
            bytes[at] = byte;
        }
        if fix {
            put_right(&mut bytes);
        } else {
            bytes.truncate(bytes.len() - cut / 8);
        }
        if let Ok(Some(layout)) = XzLayout::read(&InMemory::from(bytes.clone())) {
            for block in &layout.blocks {
                prop_assert!(block.offset + block.total_size() <= bytes.len() as u64);
                prop_assert!(block.compressed_size() < bytes.len() as u64);
            }
        }
    }
}

/// A footer that tells of an index of four bytes, which are the checksum of nothing, has none.
#[test]
fn an_index_without_a_body_is_refused() {
    let mut bytes = small_xz().to_vec();
    let footer = bytes.len() - 12;
    bytes[footer - 4..footer].fill(0);
    bytes[footer + 4..footer + 8].fill(0);
    put_right(&mut bytes);
    let text = format!("{:?}", XzLayout::read(&InMemory::from(bytes)).unwrap_err());
    assert!(text.contains("checksum of its index"), "{text}");
}

/// Puts the checksums of index and footer right, so that what they protect is looked at.
fn put_right(bytes: &mut [u8]) {
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(&[0, 4, b'Y', b'Z']);
    let mut words = [0; 4];
    words.copy_from_slice(&bytes[len - 8..len - 4]);
    let index = (u32::from_le_bytes(words) as usize + 1).saturating_mul(4);
    let crc = crc32fast::hash(&bytes[len - 8..len - 2]);
    bytes[len - 12..len - 8].copy_from_slice(&crc.to_le_bytes());
    if let Some(start) = (len - 12).checked_sub(index) {
        let crc = crc32fast::hash(&bytes[start..len - 16]);
        bytes[len - 16..len - 12].copy_from_slice(&crc.to_le_bytes());
    }
}
