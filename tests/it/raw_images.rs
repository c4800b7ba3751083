//! Raw images by every way they are made: decoded, copied, cloned.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use imgbuild::digest::Digest;
use imgbuild::disk::{CowDisk, PageStore, RawFile, ReadAt};
use imgbuild::emit::{Emitted, WriteOptions, can_clone, raw_digest};
use imgbuild::job::Job;
use imgbuild::xz::XzImageOptions;

use crate::common::emit::{write_img_with, xz_image};
use crate::common::needs;
use crate::common::sample_image::{MIB, noise};
use crate::common::tools::{self, sha256sum};

/// 20 MiB and a bit, a third of it noise.
fn image() -> Vec<u8> {
    let mut image = vec![0; 20 * MIB + 512];
    for at in (0..20).step_by(3) {
        image[at * MIB..(at + 1) * MIB].copy_from_slice(&noise(MIB, at as u32));
    }
    image
}

fn run(program: &str, args: &[&str]) -> bool {
    tools::run(program, args).status.success()
}

/// Changes of every kind: data over data, over zeros and at the end; zeros over data; growth.
fn edit(base: Arc<dyn ReadAt>, folder: &Path) -> CowDisk {
    // Some pages in memory, some in a file.
    let disk = CowDisk::with_memory(base, Arc::new(PageStore::new(100 << 10, folder)));
    let write = |at: usize, bytes: &[u8]| disk.write_at(at as u64, bytes).unwrap();
    write(100, b"boot");
    write(3 * MIB + 5000, &vec![0; 300_000]);
    write(4 * MIB, &noise(200_000, 99));
    write(20 * MIB + 500, b"end");
    disk.grow(23 * MIB as u64 + 1024).unwrap();
    write(22 * MIB, b"new");
    disk
}

fn expected() -> Vec<u8> {
    let mut image = image();
    image[100..104].copy_from_slice(b"boot");
    image[3 * MIB + 5000..][..300_000].fill(0);
    image[4 * MIB..][..200_000].copy_from_slice(&noise(200_000, 99));
    image[20 * MIB + 500..20 * MIB + 503].copy_from_slice(b"end");
    image.resize(23 * MIB + 1024, 0);
    image[22 * MIB..22 * MIB + 3].copy_from_slice(b"new");
    image
}

fn sparse(path: &Path, bytes: &[u8]) {
    let raw = path.with_extension("full");
    std::fs::write(&raw, bytes).unwrap();
    let (from, to) = (raw.to_str().unwrap(), path.to_str().unwrap());
    assert!(run("cp", &["--sparse=always", from, to]));
    std::fs::remove_file(raw).unwrap();
}

#[track_caller]
fn check(emitted: &Emitted, digest: bool, expected: &[u8]) {
    assert!(std::fs::read(&emitted.path).unwrap() == expected);
    assert_eq!(emitted.size, expected.len() as u64);
    let sum = digest.then(|| Digest::parse(&sha256sum(&emitted.path)).unwrap());
    assert_eq!((&emitted.sha256, &emitted.raw_sha256), (&sum, &sum));
}

fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Writes the edited image of `base` in all ways, into `folder`.
fn write_all(base: &Arc<dyn ReadAt>, folder: &Path) {
    let expected = expected();
    let disk = edit(base.clone(), folder);
    let path = folder.join("out.img");
    for digest in [true, false] {
        for threads in [1, 3] {
            let options = WriteOptions {
                digest,
                threads,
                ..WriteOptions::default()
            };
            let emitted = write_img_with(&disk, &path, options, &Job::silent(), "t").unwrap();
            check(&emitted, digest, &expected);
        }
    }
    // What xfs says of a file includes what it has put by for it.
    let sparse = allocated(&path) < 8 * MIB as u64;
    assert!(sparse || can_clone(folder, folder), "{}", allocated(&path));
    let digest = raw_digest(&disk, 2, &Job::silent(), "t").unwrap();
    assert_eq!(digest.to_string(), sha256sum(&path));
}

#[test]
fn a_packed_base_is_decoded_into_place() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("base.img");
    std::fs::write(&raw, image()).unwrap();
    for block in ["1MiB", "3000001", "24MiB"] {
        let args = [
            "-kf",
            "-T2",
            "-0",
            &format!("--block-size={block}"),
            raw.to_str().unwrap(),
        ];
        assert!(run("xz", &args));
        let packed = dir.path().join("base.img.xz");
        let options = XzImageOptions {
            cache: 2 << 20,
            decoders: 2,
        };
        let image = Arc::new(xz_image(&packed, options).unwrap().unwrap());
        write_all(&(image as Arc<dyn ReadAt>), dir.path());
    }
}

#[test]
fn a_raw_base_is_copied_with_its_holes() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("base.img");
    sparse(&raw, &image());
    write_all(
        &(Arc::new(RawFile::open(&raw).unwrap()) as Arc<dyn ReadAt>),
        dir.path(),
    );
    // Over a border between file systems the kernel may not copy.
    if let Ok(memory) = tempfile::tempdir_in("/dev/shm") {
        let base = Arc::new(RawFile::open(&raw).unwrap()) as Arc<dyn ReadAt>;
        write_all(&base, memory.path());
    }
}

#[test]
fn a_raw_base_that_changes_meanwhile_is_noticed_or_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, out) = (dir.path().join("base.img"), dir.path().join("out.img"));
    sparse(&raw, &image());
    let base = Arc::new(RawFile::open(&raw).unwrap()) as Arc<dyn ReadAt>;
    let disk = edit(base, dir.path());
    let file = std::fs::File::options().write(true).open(&raw).unwrap();
    let write = || write_img_with(&disk, &out, WriteOptions::default(), &Job::silent(), "t");
    // Longer: what was added is not in the image, where that has grown.
    file.write_all_at(&noise(MIB, 5), 20 * MIB as u64 + 512)
        .unwrap();
    check(&write().unwrap(), true, &expected());
    std::fs::remove_file(&out).unwrap();
    for digest in [true, false] {
        file.set_len(2 * MIB as u64).unwrap();
        let options = WriteOptions {
            digest,
            threads: 2,
            ..WriteOptions::default()
        };
        let result = write_img_with(&disk, &out, options, &Job::silent(), "t");
        let text = format!("{:?}", result.unwrap_err());
        assert!(text.contains("base.img"), "{text}");
    }
    assert!(!out.exists());
    let base = disk.base();
    assert_eq!(base.next_data(0).unwrap(), Some(0..MIB as u64));
    let text = base.next_data(3 * MIB as u64).unwrap_err().to_string();
    assert!(text.contains("became shorter while it was used"), "{text}");
}

/// An xfs, unmounted when dropped; `None` where one cannot be mounted.
struct Xfs {
    dir: tempfile::TempDir,
}

impl Xfs {
    fn mount() -> Option<Self> {
        needs::programs(&["mkfs.xfs", "mount", "umount"]);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("xfs");
        std::fs::File::create(&file)
            .unwrap()
            .set_len(320 << 20)
            .unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        assert!(run("mkfs.xfs", &["-q", file.to_str().unwrap()]));
        let xfs = Self { dir };
        let (from, to) = (
            file.display().to_string(),
            xfs.folder().display().to_string(),
        );
        run("mount", &["-o", "loop", &from, &to]).then_some(xfs)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("mnt")
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.folder()).unwrap();
        stat.f_bfree * stat.f_frsize
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        run("umount", &[self.folder().to_str().unwrap()]);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_raw_base_is_cloned_where_the_file_system_can() {
    let Some(xfs) = Xfs::mount() else {
        needs::say("needs root, to mount an xfs");
        return;
    };
    let folder = xfs.folder();
    assert!(can_clone(&folder, &folder));
    assert!(!can_clone(&folder, xfs.dir.path()));
    let raw = folder.join("base.img");
    sparse(&raw, &image());
    let base = Arc::new(RawFile::open(&raw).unwrap()) as Arc<dyn ReadAt>;
    let before = xfs.free();
    write_all(&base, &folder);
    std::fs::File::open(&folder).unwrap().sync_all().unwrap();
    let used = before.saturating_sub(xfs.free());
    // 7 MiB of data, of which half a MiB differs.
    assert!(used < 3 * MIB as u64, "{used}");
    assert!(std::fs::read(&raw).unwrap() == image());
    // What is added to the base's file after it was opened is in no clone.
    let disk = edit(base, &folder);
    let file = std::fs::File::options().write(true).open(&raw).unwrap();
    let end = image().len() as u64;
    file.write_all_at(&noise(MIB, 5), end).unwrap();
    let options = WriteOptions::default();
    let emitted = write_img_with(&disk, &folder.join("out.img"), options, &Job::silent(), "t");
    check(&emitted.unwrap(), true, &expected());
}
