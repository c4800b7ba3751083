//! `.img.zst`, `.img.gz` and `.bmap`, judged by zstd, gzip and bmaptool.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::tools::{ok, run, sha256sum};
use crate::common::workbench::{Ran, Workbench, fixture};
use imgbuild::digest::Digest;
use imgbuild::disk::{CowDisk, InMemory, ReadAt, partition_table};
use imgbuild::emit::{self, Emitted, Format, Packing, WriteOptions, write_bmap};
use imgbuild::error::{ErrorKind, Result};
use imgbuild::job::{Cancel, Job, Progress, Task};

const MIB: usize = 1 << 20;
const PAGE: u64 = 4096;

/// Zeros, text and what looks like noise, `len` bytes long.
fn image(len: usize) -> Vec<u8> {
    let mut image = vec![0; len];
    let mut x = 1_u32;
    for (i, at) in (0..len).step_by(MIB).enumerate() {
        let room = (len - at).min(700_000);
        let part = &mut image[at..at + room];
        match i % 8 {
            0 => part.fill_with(|| {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            }),
            1 => part.copy_from_slice(&b"Raspberry Pi OS ".repeat(50_000)[..room]),
            2 => part[room - 1] = 1,
            _ => {}
        }
    }
    image
}

fn disk_of(bytes: Vec<u8>) -> CowDisk {
    CowDisk::new(Arc::new(InMemory::from(bytes)))
}

/// A disk with changes, and longer than its base.
fn changed_disk() -> CowDisk {
    let disk = disk_of(image(13 * MIB + 77));
    disk.write_at(12 * MIB as u64 - 3, b"across two chunks")
        .unwrap();
    disk.grow(25 * MIB as u64 + 512).unwrap();
    disk.write_at(25 * MIB as u64, b"the end").unwrap();
    disk
}

fn content(disk: &dyn ReadAt) -> Vec<u8> {
    let mut all = vec![0; disk.len() as usize];
    disk.read_at(0, &mut all).unwrap();
    all
}

/// What `program` makes of a packed file, whatever its name; it has tested it before.
#[track_caller]
fn unpacked(program: &str, path: &Path) -> Vec<u8> {
    let name = path.to_str().unwrap();
    crate::common::needs::programs(&[program]);
    ok(
        "sh",
        &[
            "-c",
            &format!("{program} -t < {name} && {program} -dc < {name}"),
        ],
    )
}

type Write = fn(&CowDisk, &Path, WriteOptions, &Job, &str) -> Result<Emitted>;

/// The two formats, with the programs that judge them.
const PACKED: [(&str, Write); 2] = [("zstd", write_zst), ("gzip", write_gz)];

fn options(level: i32, threads: usize) -> WriteOptions {
    let packing = Packing {
        zstd_level: level,
        gzip_level: level,
        ..Packing::fast()
    };
    WriteOptions {
        packing,
        threads,
        ..WriteOptions::default()
    }
}

fn write_zst(disk: &CowDisk, path: &Path, o: WriteOptions, job: &Job, l: &str) -> Result<Emitted> {
    emit::write(Format::ImgZst, disk, None, path, &o, job, l)
}

fn write_gz(disk: &CowDisk, path: &Path, o: WriteOptions, job: &Job, l: &str) -> Result<Emitted> {
    emit::write(Format::ImgGz, disk, None, path, &o, job, l)
}

#[test]
fn what_is_packed_is_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    for (program, write) in PACKED {
        let disks = [
            changed_disk(),
            disk_of(image(8 * MIB)),
            disk_of(vec![0; 4 * MIB + 1]),
            disk_of(vec![7]),
        ];
        for disk in disks {
            let raw = content(&disk);
            let emitted = write(&disk, &path, options(3, 2), &Job::silent(), "t").unwrap();
            assert!(unpacked(program, &path) == raw, "{program}");
            assert_eq!(emitted.sha256, Digest::parse(&sha256sum(&path)));
            assert_eq!(emitted.size, std::fs::metadata(&path).unwrap().len());
            std::fs::write(dir.path().join("raw"), &raw).unwrap();
            let digest = sha256sum(&dir.path().join("raw"));
            assert_eq!(emitted.raw_sha256, Digest::parse(&digest));
        }
    }
}

#[test]
fn bytes_do_not_depend_on_threads_or_on_who_knows_of_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    for (program, write) in PACKED {
        let mut first = None;
        for threads in [1, 2, 7] {
            // The second time the disk does not know where it is zero.
            for disk in [changed_disk(), disk_of(content(&changed_disk()))] {
                write(&disk, &path, options(1, threads), &Job::silent(), "t").unwrap();
                let bytes = std::fs::read(&path).unwrap();
                let first = first.get_or_insert_with(|| bytes.clone());
                assert!(*first == bytes, "{program} with {threads} threads");
            }
        }
    }
}

/// Offset, packed and unpacked length of every frame, read from the seek table.
fn frames(file: &[u8]) -> Vec<(usize, usize, usize)> {
    let field = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let footer = file.len() - 9;
    assert_eq!(field(footer + 5), 0x8F92_EAB1);
    assert_eq!(file[footer + 4], 0, "no checksums");
    let count = field(footer);
    let table = footer - count * 8;
    assert_eq!(field(table - 8), 0x184D_2A5E);
    assert_eq!(field(table - 4), count * 8 + 9);
    let mut offset = 0;
    let mut frames = Vec::new();
    for index in 0..count {
        let (packed, raw) = (field(table + index * 8), field(table + index * 8 + 4));
        frames.push((offset, packed, raw));
        offset += packed;
    }
    assert_eq!(offset, table - 8, "the frames end where the table begins");
    frames
}

#[test]
fn a_zst_can_be_sought_in() {
    let dir = tempfile::tempdir().unwrap();
    let (path, part) = (dir.path().join("out.zst"), dir.path().join("part.zst"));
    let disk = changed_disk();
    let raw = content(&disk);
    write_zst(&disk, &path, options(3, 2), &Job::silent(), "t").unwrap();
    let file = std::fs::read(&path).unwrap();
    let frames = frames(&file);
    let mut at = 0;
    for &(offset, packed, len) in &frames {
        std::fs::write(&part, &file[offset..offset + packed]).unwrap();
        let name = part.to_str().unwrap();
        assert!(ok("zstd", &["-dc", name]) == raw[at..at + len]);
        let said = String::from_utf8(ok("zstd", &["-lv", name])).unwrap();
        assert!(said.contains("Check: XXH64"), "{said}");
        at += len;
    }
    assert_eq!(at, raw.len());
    assert_eq!(frames.len(), 7);
    // All zeros, once from the base and once beyond its end.
    let bytes_of = |i: usize| &file[frames[i].0..][..frames[i].1];
    assert!(
        bytes_of(1) == bytes_of(4),
        "zeros are zeros wherever they come from"
    );
    assert!(frames[4].1 < 1000);
}

#[test]
fn a_gz_is_one_member_that_says_nothing_of_where_it_was_made() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.img.gz");
    let disk = changed_disk();
    write_gz(&disk, &path, options(6, 2), &Job::silent(), "t").unwrap();
    let file = std::fs::read(&path).unwrap();
    assert_eq!(file[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    let mut read = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(&file[..]);
    decoder.read_to_end(&mut read).unwrap();
    assert!(read == content(&disk), "the first member is all of it");
    assert_eq!(decoder.into_inner(), b"", "nothing follows");
    let said = String::from_utf8(ok("gzip", &["-l", path.to_str().unwrap()])).unwrap();
    assert!(said.contains(&disk.len().to_string()), "{said}");
}

#[test]
fn every_level_decodes_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let disk = disk_of(image(3 * MIB));
    for (program, write, levels) in [
        ("zstd", write_zst as Write, [1, 9, 19, 22]),
        ("gzip", write_gz, [1, 2, 6, 9]),
    ] {
        for level in levels {
            write(&disk, &path, options(level, 1), &Job::silent(), "t").unwrap();
            assert!(
                unpacked(program, &path) == content(&disk),
                "{program} -{level}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        for level in [0, 23, -5] {
            let error = write(&disk, &path, options(level, 1), &Job::silent(), "t").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
        assert!(!path.exists());
    }
}

/// Adds up what is reported, and cancels once it is more than `after`.
struct Watch {
    after: u64,
    seen: Arc<AtomicU64>,
    cancel: Cancel,
}

impl Watch {
    fn job(after: u64) -> (Job, Arc<AtomicU64>) {
        let (cancel, seen) = (Cancel::default(), Arc::<AtomicU64>::default());
        let progress = Arc::new(Self {
            after,
            seen: seen.clone(),
            cancel: cancel.clone(),
        });
        (Job { progress, cancel }, seen)
    }
}

impl Progress for Watch {
    fn begin(&self, _: &str, total: Option<u64>) -> Box<dyn Task> {
        assert!(total.is_some());
        Box::new(Self {
            after: self.after,
            seen: self.seen.clone(),
            cancel: self.cancel.clone(),
        })
    }
    fn note(&self, _: &str) {}
}

impl Task for Watch {
    fn advance(&mut self, bytes: u64) {
        if self.seen.fetch_add(bytes, Ordering::SeqCst) + bytes > self.after {
            self.cancel.cancel();
        }
    }
}

#[test]
fn progress_adds_up_and_cancelling_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let disk = changed_disk();
    let everything = 0..disk.len();
    let bmap = |disk: &CowDisk, path: &Path, _: WriteOptions, job: &Job, label: &str| {
        write_bmap(disk, std::slice::from_ref(&everything), path, 2, job, label)
    };
    type Write<'a> = &'a dyn Fn(&CowDisk, &Path, WriteOptions, &Job, &str) -> Result<Emitted>;
    let writers: [Write<'_>; 3] = [&write_zst, &write_gz, &bmap];
    for write in writers {
        let (job, seen) = Watch::job(u64::MAX);
        write(&disk, &path, options(1, 2), &job, "t").unwrap();
        assert_eq!(seen.load(Ordering::SeqCst), disk.len());
        std::fs::write(&path, "from before").unwrap();
        let job = Watch::job(0).0;
        job.cancel.cancel();
        let error = write(&disk, &path, options(1, 2), &job, "t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert_eq!(std::fs::read(&path).unwrap(), b"from before");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    let error = write_gz(&disk, &path, options(1, 2), &Watch::job(5).0, "t").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// What a `.bmap` says, without its digests.
struct Bmap {
    text: String,
    /// First and last block.
    ranges: Vec<(u64, u64)>,
}

impl Bmap {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let range = |line: &str| {
            let (_, place) = line.trim().strip_prefix("<Range")?.split_once('>')?;
            let place = place.split('<').next()?.trim().to_owned();
            let (first, last) = place.split_once('-').unwrap_or((&place, &place));
            Some((first.parse().unwrap(), last.parse().unwrap()))
        };
        let ranges = text.lines().filter_map(range).collect();
        Self { text, ranges }
    }

    fn field(&self, name: &str) -> u64 {
        let (_, rest) = self.text.split_once(&format!("\n    <{name}>")).unwrap();
        rest.split('<').next().unwrap().trim().parse().unwrap()
    }

    fn mapped(&self) -> u64 {
        let sum = self.ranges.iter().map(|(a, b)| b - a + 1).sum();
        assert_eq!(sum, self.field("MappedBlocksCount"));
        sum
    }
}

fn bmap_of(disk: &CowDisk, used: &[std::ops::Range<u64>], path: &Path) -> Bmap {
    write_bmap(disk, used, path, 3, &Job::silent(), "t").unwrap();
    Bmap::read(path)
}

#[test]
fn a_bmap_leaves_out_what_is_free_and_zero() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.bmap");
    let mut raw = vec![0; 40 * PAGE as usize + 100];
    raw[20 * PAGE as usize] = 1;
    let disk = disk_of(raw.clone());
    let used = [0..3 * PAGE, 30 * PAGE..31 * PAGE];
    let bmap = bmap_of(&disk, &used, &path);
    assert_eq!(bmap.ranges, [(0, 2), (20, 20), (30, 30)]);
    assert_eq!(bmap.field("BlocksCount"), 41);
    assert_eq!(bmap.field("ImageSize"), raw.len() as u64);
    assert_eq!(bmap.mapped(), 5);
    // The last block, which is short.
    disk.write_at(disk.len() - 1, &[1]).unwrap();
    let bmap = bmap_of(&disk, &used, &path);
    assert_eq!(bmap.ranges.last(), Some(&(40, 40)));
    let image = dir.path().join("out");
    std::fs::write(&image, content(&disk)).unwrap();
    assert!(
        copy_to_used_card(&image, &path, &dir.path().join("card"))
            .status
            .success()
    );
    // A wrong byte in a block that is mapped is found.
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[2], 20 * PAGE).unwrap();
    let copied = copy_to_used_card(&image, &path, &dir.path().join("card"));
    let said = String::from_utf8_lossy(&copied.stderr).into_owned();
    assert!(
        !copied.status.success() && said.contains("checksum mismatch"),
        "{said}"
    );
    // Long ranges are cut, so that a reader can check before it has read everything.
    disk.grow(200 * MIB as u64).unwrap();
    let all = 0..disk.len();
    let bmap = bmap_of(&disk, &[all], &path);
    let edges: Vec<u64> = bmap
        .ranges
        .iter()
        .map(|(first, _)| first * PAGE / MIB as u64)
        .collect();
    assert_eq!(edges, [0, 64, 128, 192]);
    assert_eq!(bmap.mapped() * PAGE, disk.len());
}

/// Lets bmaptool write an image to a “card” that was full of 0xFF. `bmaptool copy` itself empties
/// what is not a device, so its copier is called without it.
fn copy_to_used_card(image: &Path, bmap: &Path, card: &Path) -> Output {
    const COPY: &str = "
import sys
from bmaptools import BmapCopy
image, bmap, card = sys.argv[1:]
with open(image, 'rb') as i, open(bmap) as b, open(card, 'r+b') as c:
    BmapCopy.BmapCopy(i, c, b).copy(True, True)
";
    let len = image.metadata().unwrap().len();
    let file = File::create(card).unwrap();
    for at in (0..len).step_by(MIB) {
        let n = (len - at).min(MIB as u64) as usize;
        file.write_all_at(&vec![0xFF; n], at).unwrap();
    }
    let [image, bmap, card] = [image, bmap, card].map(|p| p.to_str().unwrap());
    // Debian's own Python, which has Debian's packages.
    run("/usr/bin/python3", &["-c", COPY, image, bmap, card])
}

/// e2fsck, fsck.vfat and sfdisk find nothing on `card`.
fn card_is_clean(card: &Path) {
    let disk = imgbuild::disk::RawFile::open(card).unwrap();
    let table = partition_table::read(&disk).unwrap();
    let name = card.to_str().unwrap();
    let root = format!("{name}?offset={}", table.root.start);
    ok("e2fsck", &["-fn", &root]);
    let mut boot = vec![0; table.boot.len as usize];
    disk.read_at(table.boot.start, &mut boot).unwrap();
    let fat = card.with_extension("fat");
    std::fs::write(&fat, boot).unwrap();
    ok("fsck.vfat", &["-n", fat.to_str().unwrap()]);
    ok("sfdisk", &["--verify", name]);
    let file = ok("debugfs", &["-R", "cat /etc/hosts", &root]);
    let file = String::from_utf8(file).unwrap();
    assert!(file.contains("node"), "{file}");
}

/// Whether the blocks of `bmap` are the same in both files.
fn mapped_blocks_are_equal(bmap: &Bmap, a: &Path, b: &Path) {
    let (a, b) = (File::open(a).unwrap(), File::open(b).unwrap());
    let (mut x, mut y) = (vec![0; MIB], vec![0; MIB]);
    for &(first, last) in &bmap.ranges {
        let end = (last + 1) * PAGE;
        for at in (first * PAGE..end).step_by(MIB) {
            let n = MIB.min((end - at) as usize);
            a.read_exact_at(&mut x[..n], at).unwrap();
            b.read_exact_at(&mut y[..n], at).unwrap();
            assert!(x[..n] == y[..n], "block {}", at / PAGE);
        }
    }
}

fn build(bench: &Workbench, base: &Path, formats: &[&str]) -> PathBuf {
    let mut args = vec!["--bmap"];
    for format in formats {
        args.extend(["--format", format]);
    }
    let args = bench.build_args(base.to_str().unwrap(), &args);
    let ran = Ran::of(bench.imgbuild(&args).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("node.img.bmap"), "{}", ran.stdout);
    bench.path("out")
}

#[test]
fn a_node_written_by_bmaptool_is_whole_on_any_card() {
    let bench = Workbench::new();
    let out = build(&bench, &fixture("trixie"), &["img", "img.zst", "img.gz"]);
    let (image, map) = (out.join("node.img"), out.join("node.img.bmap"));
    let bmap = Bmap::read(&map);
    assert_eq!(bmap.field("ImageSize"), image.metadata().unwrap().len());

    let card = bench.path("card");
    let copied = copy_to_used_card(&image, &map, &card);
    let said = String::from_utf8_lossy(&copied.stderr).into_owned();
    assert!(copied.status.success(), "{said}");
    mapped_blocks_are_equal(&bmap, &image, &card);
    card_is_clean(&card);

    // bmaptool finds the map by the name of the packed image, too.
    for name in ["node.img.zst", "node.img.gz"] {
        let packed = out.join(name);
        let args = ["copy", packed.to_str().unwrap(), card.to_str().unwrap()];
        ok("bmaptool", &args);
        // What is free is zero in this base, and bmaptool leaves holes in a file.
        ok("cmp", &[card.to_str().unwrap(), image.to_str().unwrap()]);
    }
    ok(
        "sh",
        &[
            "-c",
            &format!("cd {} && sha256sum -c --strict SHA256SUMS", out.display()),
        ],
    );
    let sums = std::fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 4 + 3, "{sums}");

    fewer_blocks_than_bmaptool_finds(&image, &bmap);
}

fn fewer_blocks_than_bmaptool_finds(image: &Path, ours: &Bmap) {
    let by_bmaptool = |image: &Path| {
        let path = image.with_extension("by-bmaptool");
        ok(
            "bmaptool",
            &[
                "create",
                "--no-checksum",
                "-o",
                path.to_str().unwrap(),
                image.to_str().unwrap(),
            ],
        );
        let bmap = Bmap::read(&path);
        std::fs::remove_file(&path).unwrap();
        bmap.mapped()
    };
    let sparse = by_bmaptool(image);
    let plain = image.with_extension("plain");
    ok(
        "cp",
        &[
            "--sparse=never",
            image.to_str().unwrap(),
            plain.to_str().unwrap(),
        ],
    );
    let full = by_bmaptool(&plain);
    std::fs::remove_file(plain).unwrap();
    eprintln!(
        "mapped blocks of {}: ours {}, bmaptool create {sparse} of the sparse image, {full} of a plain copy",
        ours.field("BlocksCount"),
        ours.mapped()
    );
    assert!(ours.mapped() <= full);
}

/// Mode of a file of the output folder.
fn mode(bench: &Workbench, name: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let path = bench.path("out").join(name);
    let metadata = path.metadata().unwrap_or_else(|e| panic!("{name}: {e}"));
    metadata.permissions().mode() & 0o777
}

#[test]
fn images_with_secrets_are_for_their_owner_alone() {
    let bench = Workbench::new();
    let base = fixture("trixie");
    let build = |formats: &[&str], images: u32| {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 022; exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_imgbuild"));
        let mut more = vec!["--bmap"];
        formats.iter().for_each(|f| more.extend(["--format", f]));
        command.args(bench.build_args(base.to_str().unwrap(), &more));
        bench.surround(&mut command);
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        for format in formats {
            assert_eq!(mode(&bench, &format!("node.{format}")), images, "{format}");
        }
        for about in ["node.img.bmap", "SHA256SUMS"] {
            assert_eq!(mode(&bench, about), 0o644, "{about}");
        }
    };
    build(&["img", "img.xz"], 0o644);
    let secrets = "[secrets]\npassword_hash = \"file:hash\"\n";
    let profile = format!("{}{secrets}", crate::common::workbench::PROFILE);
    bench.write("profiles/node.toml", profile);
    bench.write("hash", format!("$6$abcdefgh${}", "a".repeat(86)));
    build(&["img", "img.xz", "img.zst", "img.gz"], 0o600);
}

#[test]
fn parts_of_a_killed_build_are_removed_by_the_next() {
    let bench = Workbench::new();
    let base = fixture("trixie");
    let more = ["--format", "img.gz"];
    let args = bench.build_args(base.to_str().unwrap(), &more);
    let parts = || {
        let files = crate::common::workbench::files_below(&bench.path("out"));
        let is_part = |path: &PathBuf| path.to_string_lossy().ends_with(".part");
        files.into_iter().filter(is_part).collect::<Vec<_>>()
    };
    let part_of = |child: &Child| {
        let end = format!(".{}.part", child.id());
        let found = parts()
            .into_iter()
            .find(|p| p.to_string_lossy().ends_with(&end));
        found.ok_or(end)
    };
    let begin = || {
        let mut child = bench
            .imgbuild(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while part_of(&child).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "it made no part");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child
    };
    let mut killed = begin();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(part_of(&killed).is_ok());
    // Two that run at the same time: each lets the other's be.
    let mut first = begin();
    assert!(part_of(&killed).is_err(), "it was left");
    let mut second = begin();
    assert!(part_of(&first).is_ok(), "too fast, or taken away");
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    assert_eq!(parts(), Vec::<PathBuf>::new());
    unpacked("gzip", &bench.path("out/node.img.gz"));
}

#[test]
fn numbers_and_formats_that_are_none_are_refused_with_those_that_are() {
    let bench = Workbench::new();
    let refused = |args: &[&str], words: &[&str]| {
        let ran = bench.run(&[&["--profile", "node"][..], args].concat());
        ran.assert_fails(2, words);
        assert!(!bench.path("out").exists());
    };
    let values = "img, img.xz, img.zst, img.gz";
    refused(&["--format", "iso"], &["iso", values]);
    refused(&["-j", "0"], &["--jobs", "at least 1"]);
    refused(&["--jobs", "-3"], &["-3"]);
    refused(&["--jobs", "many"], &["--jobs", "at least 1"]);
    refused(&["--memory", "0"], &["--memory", "at least 1"]);
    let help = bench.run(&["build", "-h"]).stdout;
    let help: Vec<&str> = help.split_whitespace().collect();
    let help = help.join(" ");
    assert!(
        help.contains(&format!("[possible values: {values}]")),
        "{help}"
    );
}

/// The reader of stdout is gone, or that of stderr.
#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let bench = Workbench::new();
    let piped = |command: &str| {
        crate::common::needs::programs(&["bash"]);
        let mut shell = Command::new("bash");
        let script = format!("set -o pipefail; {command}");
        shell.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_imgbuild")]);
        bench.surround(&mut shell);
        let ran = Ran::of(shell.output().unwrap());
        assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        ran
    };
    for command in [
        "\"$1\" plan --json -p node | true",
        "\"$1\" plan -p node | true",
        "\"$1\" init new --overlays | head -1",
        "\"$1\" check 2>&1 | true",
        "! \"$1\" check -C /nonexistent 2>&1 | true",
    ] {
        // Whoever is late finds the pipe closed.
        piped(
            &command
                .replace("\"$1\"", "{ sleep 0.2; \"$1\"")
                .replace(" |", "; } |"),
        );
    }
    // What was to be made is made.
    assert!(bench.path("new/overlays").is_dir());
    let full = "\"$1\" plan -p node > /dev/full || test $? = 1";
    let said = piped(full).stderr;
    assert!(said.contains("error: cannot write the results"), "{said}");
}
