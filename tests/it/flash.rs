//! Flashing: cards in memory that fail and lie, files, loop devices, and disks behind FUSE with the
//! same faults. The results are judged by e2fsck and fsck.vfat, and compared with an image that was
//! built.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use crate::common::flash::{
    Card, Done, Fault, FaultyDisk, Loop, Mount, bytes_at, filled, scratch, skipped,
};
use crate::common::images::{boot, build::table, tree};
use crate::common::tools::{accepts, tool};
use crate::common::workbench::{Ran, Workbench, fixture, fixture_xz};
use imgbuild::disk::{CowDisk, InMemory, RawFile, ReadAt};
use imgbuild::error::{Error, ErrorKind, Result};
use imgbuild::flash::{FlashOptions, Flashed, flash_medium};
use imgbuild::image::used_ranges;
use imgbuild::job::{Cancel, Job};

const MIB: u64 = 1 << 20;
const LEN: u64 = 24 * MIB;

/// A sector with an MBR of these partitions: type, first sector, number of sectors.
fn mbr(partitions: &[(u8, u32, u32)]) -> [u8; 512] {
    let mut sector = [0; 512];
    for (i, (kind, first, sectors)) in partitions.iter().enumerate() {
        let entry = &mut sector[446 + 16 * i..462 + 16 * i];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A disk with one partition and noise, and zeros that are in use from 6 to 12 MiB.
fn image() -> Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(new_image).clone()
}

fn new_image() -> Vec<u8> {
    let mut x = 1_u32;
    let mut noise = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    let mut image: Vec<u8> = (0..LEN).map(|_| noise()).collect();
    image[6 << 20..12 << 20].fill(0);
    image[..512].copy_from_slice(&mbr(&[(0x83, 2048, 40960)]));
    image
}

const USED: [Range<u64>; 4] = [
    0..2 * MIB,
    3 * MIB..13 * MIB,
    15 * MIB + 512..15 * MIB + 1024,
    20 * MIB..LEN,
];

fn disk() -> CowDisk {
    CowDisk::new(Arc::new(InMemory::from(image())))
}

fn flash(card: &Card, verify: bool) -> Result<Flashed> {
    flash_with(card, verify, &Job::silent())
}

fn flash_with(card: &Card, verify: bool, job: &Job) -> Result<Flashed> {
    let options = FlashOptions { verify };
    flash_medium(&disk(), &USED, card, "the card", options, job)
}

fn is_empty_head(card: &[u8]) -> bool {
    card[..MIB as usize].iter().all(|&b| b == 0)
}

#[test]
fn only_what_is_used_is_written_with_its_zeros() {
    let card = Card::new(LEN as usize + 5 * MIB as usize, Fault::None);
    let flashed = flash(&card, true).unwrap();
    let (card, image) = (card.content(), image());
    let page = 15 * MIB..15 * MIB + 4096;
    let used = [USED[0].clone(), USED[1].clone(), page, USED[3].clone()];
    for (at, (found, wanted)) in card.iter().zip(&image).enumerate() {
        let wanted = match used.iter().any(|range| range.contains(&(at as u64))) {
            true => *wanted,
            false => 0xff,
        };
        assert_eq!(*found, wanted, "at {at}");
    }
    assert!(card[LEN as usize..].iter().all(|&b| b == 0xff));
    let written: u64 = used.iter().map(|range| range.end - range.start).sum();
    assert_eq!(flashed.written, written);
    assert_eq!(flashed.skipped, LEN - written);
    assert!(flashed.verified && !flashed.wiped_backup);
}

#[test]
fn the_first_mib_is_emptied_first_and_written_last_after_everything_was_read_back() {
    let card = Card::new(LEN as usize, Fault::None);
    flash(&card, true).unwrap();
    let log = card.log();
    let head = Done::Write(0..MIB);
    assert_eq!(log[..2], [head.clone(), Done::Settle]);
    let end = log.len();
    assert_eq!(
        log[end - 3..],
        [head.clone(), Done::Settle, Done::Read(0..MIB)]
    );
    let between = &log[2..end - 3];
    assert!(!between.contains(&head));
    let settled = between.iter().position(|d| *d == Done::Settle).unwrap();
    let (writes, reads) = between.split_at(settled);
    let ranges = |done: &[Done], read: bool| -> Vec<Range<u64>> {
        let range = |done: &Done| match done {
            Done::Write(range) if !read => Some(range.clone()),
            Done::Read(range) if read => Some(range.clone()),
            Done::Settle => None,
            other => panic!("{other:?} at the wrong time"),
        };
        done.iter().filter_map(range).collect()
    };
    let written = ranges(writes, false);
    assert_eq!(written, ranges(reads, true));
    assert!(written.is_sorted_by_key(|range| range.start));
    let aligned = |range: &Range<u64>| (range.start | range.end).is_multiple_of(4096);
    assert!(written.iter().all(aligned), "{written:?}");
    assert!(written.contains(&(4 * MIB..8 * MIB)));
}

#[track_caller]
fn fails(fault: Fault, kind: ErrorKind, words: &[&str]) {
    let what = format!("{fault:?}");
    let card = Card::new(LEN as usize, fault);
    let error = flash(&card, true).expect_err(&what);
    assert_eq!(error.kind(), kind, "{what}");
    let mut said: Vec<String> = error.chain().map(ToString::to_string).collect();
    said.extend(error.hint().map(str::to_owned));
    let said = said.join("\n");
    for word in words {
        assert!(said.contains(word), "{what}: no “{word}” in:\n{said}");
    }
    assert!(said.contains("the card is not complete: its first MiB is empty"));
    assert!(is_empty_head(&card.content()), "{what}: {said}");
}

#[test]
fn a_card_that_fails_is_reported_with_offset_and_advice_and_does_not_boot() {
    let advice = "try another reader, then another card";
    let at_5_mib = "writing 4194304 bytes at offset 4194304 of the card";
    fails(
        Fault::FailWrite(5 * MIB),
        ErrorKind::Failed,
        &[at_5_mib, "os error 5", advice],
    );
    let reading = "reading back 4194304 bytes at offset 20971520 of the card";
    fails(
        Fault::FailRead(21 * MIB),
        ErrorKind::Failed,
        &[reading, advice],
    );
    for n in 0..3 {
        let words = ["the card did not take all that was written", advice];
        fails(Fault::FailSettle(n), ErrorKind::Failed, &words);
    }
}

#[test]
fn a_card_that_lies_is_found_out_and_does_not_boot() {
    let flipped = 21 * MIB + 4711;
    let at_flipped = format!("from offset {flipped} on other bytes are there");
    fails(
        Fault::Flip(flipped),
        ErrorKind::Verification,
        &[&at_flipped, "probably failing"],
    );
    // In the partition table itself, that is written last.
    fails(
        Fault::Flip(4711),
        ErrorKind::Verification,
        &["from offset 4711 on other bytes are there"],
    );
    fails(
        Fault::Lose(4 * MIB..5 * MIB),
        ErrorKind::Verification,
        &[
            "from offset 4194304 on nothing is there",
            "the card is a fake",
        ],
    );
    // Zeros that are lost are no less wrong.
    fails(
        Fault::Lose(9 * MIB..10 * MIB),
        ErrorKind::Verification,
        &["from offset 8388608 on nothing is there"],
    );
    fails(
        Fault::Fake(16 * MIB),
        ErrorKind::Verification,
        &["what was written to offset 20971520 is there", "a fake"],
    );
}

#[test]
fn without_reading_back_a_lie_is_believed() {
    let card = Card::new(LEN as usize, Fault::Lose(4 * MIB..5 * MIB));
    let flashed = flash(&card, false).unwrap();
    assert!(!flashed.verified);
    let no_reads = |done: &Done| !matches!(done, Done::Read(_));
    assert!(card.log().iter().all(no_reads));
}

#[test]
fn ctrl_c_leaves_a_card_that_does_not_boot() {
    for at in [MIB, 12 * MIB, 23 * MIB] {
        let job = Job::silent();
        let card = Card::new(LEN as usize, Fault::Interrupt(at, job.cancel.clone()));
        let error = flash_with(&card, true, &job).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        let hint = error.hint().unwrap();
        assert!(hint.contains("first MiB is empty"), "{hint}");
        assert!(is_empty_head(&card.content()));
    }
    // Before anything was done the card stays as it was.
    let job = Job::silent();
    job.cancel.cancel();
    let card = Card::new(LEN as usize, Fault::None);
    flash_with(&card, true, &job).unwrap_err();
    assert_eq!(card.log(), []);
}

#[test]
fn a_card_that_is_too_small_stays_as_it_was() {
    let card = Card::new(LEN as usize - 512, Fault::None);
    let error = flash(&card, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(card.log(), []);
}

#[test]
fn the_backup_of_an_older_partition_table_is_wiped() {
    let len = LEN as usize + 20 * 1024 + 512;
    let card = Card::new(len, Fault::None);
    card.put(len - 512, b"EFI PART");
    assert!(flash(&card, true).unwrap().wiped_backup);
    let content = card.content();
    let backup = len - 33 * 512;
    assert!(content[backup..].iter().all(|&b| b == 0));
    assert!(content[LEN as usize..backup].iter().all(|&b| b == 0xff));
    // Never a byte of the image, whatever lies there.
    let card = Card::new(LEN as usize + 512, Fault::None);
    card.put(LEN as usize, b"EFI PART");
    assert!(flash(&card, true).unwrap().wiped_backup);
    assert!(card.content()[..LEN as usize].ends_with(&image()[LEN as usize - 4096..]));
    let card = Card::new(LEN as usize, Fault::None);
    card.put(LEN as usize - 512, b"EFI PART");
    assert!(!flash(&card, true).unwrap().wiped_backup);
}

#[test]
fn odd_images_fill_their_last_sector_with_zeros() {
    for len in [777, MIB as usize + 5, 5 * MIB as usize - 1] {
        let image = image()[..len].to_vec();
        let disk = InMemory::from(image.clone());
        let card = Card::new(6 * MIB as usize, Fault::None);
        let options = FlashOptions { verify: true };
        let whole = 0..len as u64;
        flash_medium(&disk, &[whole], &card, "card", options, &Job::silent()).unwrap();
        let content = card.content();
        assert!(content[..len] == image);
        let sectors = len.next_multiple_of(512);
        assert!(content[len..sectors].iter().all(|&b| b == 0));
        assert!(content[sectors..].iter().all(|&b| b == 0xff));
    }
}

/// An image that cannot be read in one place.
struct Broken(InMemory);

impl ReadAt for Broken {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match (offset..offset + buf.len() as u64).contains(&(21 * MIB)) {
            true => Err(Error::failed("the base is damaged")),
            false => self.0.read_at(offset, buf),
        }
    }
}

#[test]
fn an_image_that_can_not_be_read_is_not_the_cards_fault() {
    let card = Card::new(LEN as usize, Fault::None);
    let options = FlashOptions { verify: true };
    let broken = Broken(InMemory::from(image()));
    let error = flash_medium(&broken, &USED, &card, "card", options, &Job::silent()).unwrap_err();
    let said: Vec<String> = error.chain().map(ToString::to_string).collect();
    assert!(said[1].contains("reading the image at byte"), "{said:?}");
    assert!(said[2].contains("the base is damaged"), "{said:?}");
    assert!(is_empty_head(&card.content()));
}

/// A node built from the small Trixie base, once for all tests.
fn built() -> &'static (Workbench, PathBuf) {
    static BUILT: OnceLock<(Workbench, PathBuf)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let bench = Workbench::new();
        let ran = bench.build(fixture("trixie").to_str().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let image = bench.path("out/node.img");
        (bench, image)
    })
}

/// `imgbuild flash` of the node of [`built`].
fn flash_node(bench: &Workbench, to: &Path) -> Ran {
    let base = fixture("trixie");
    let (base, to) = (base.to_str().unwrap(), to.to_str().unwrap());
    let node = ["flash", "--profile", "node", "--base", base, "--offline"];
    bench.run(&[&node[..], &["--to", to, "--verbose", "--yes"]].concat())
}

/// `imgbuild flash` of an image.
fn flash_image(image: &Path, to: &str, more: &[&str]) -> Ran {
    let args = ["flash", image.to_str().unwrap(), "--to", to, "--yes"];
    Workbench::empty().run(&[&args[..], more].concat())
}

/// The smallest image there is.
fn small() -> PathBuf {
    fixture("onek")
}

/// A file of 0xFF with the GPT of an earlier life, somewhat larger than the image.
fn used_card(path: &Path, image: &Path) -> u64 {
    let len = image.metadata().unwrap().len() + 9 * MIB + 512;
    filled(path, len);
    accepts("sgdisk", tool("sgdisk").args(["-o", "-Z", "-o"]).arg(path));
    assert!(bytes_at(path, len - 512..len).starts_with(b"EFI PART"));
    len
}

fn used_of(image: &Path) -> Vec<Range<u64>> {
    let disk = Arc::new(CowDisk::new(Arc::new(RawFile::open(image).unwrap())));
    used_ranges(&disk, &Cancel::default()).unwrap()
}

/// The card holds the image as far as anything is in use.
#[track_caller]
fn same_where_used(card: &Path, image: &Path) {
    for range in used_of(image) {
        let same = bytes_at(card, range.clone()) == bytes_at(image, range.clone());
        assert!(same, "{range:?} differs");
    }
}

/// The card holds the image, and both file systems are clean.
#[track_caller]
fn holds(card: &Path, image: &Path, dir: &Path) {
    same_where_used(card, image);
    let table_of_image = table(image);
    // Of a GPT whose backup is not at the end of the disk sfdisk says so, in the midst of it.
    if table_of_image.label == "dos" {
        assert_eq!(table(card), table_of_image);
    }
    let root = table_of_image.root.start;
    accepts(
        "the card",
        tool("e2fsck").arg("-fn").arg(tree::at(card, root)),
    );
    let fat = dir.join("fat");
    boot::cut_out(card, &table_of_image.boot, &fat);
    let said = accepts("the card", tool("fsck.vfat").arg("-n").arg(&fat));
    let complaints = ["irty", "differ", "rong", "orrect", "eclaim"];
    assert!(complaints.iter().all(|c| !said.contains(c)), "{said}");
}

#[test]
fn a_node_goes_straight_to_a_card_that_was_something_else() {
    let (bench, image) = built();
    let dir = scratch();
    let card = dir.path().join("card");
    let len = used_card(&card, image);
    let ran = flash_node(bench, &card);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, format!("{}\n", card.display()));
    assert!(
        ran.stderr.contains("written and read back"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("older partition table was wiped"));
    holds(&card, image, dir.path());
    let root = table(image).root.start;
    let read = |path: &Path| tree::read(&tree::open(path, root));
    let differences = tree::differences(&read(image), &read(&card));
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!(card.metadata().unwrap().len(), len, "a disk has its length");
    assert!(bytes_at(&card, len - 512..len).iter().all(|&b| b == 0));
    // What is free was not written.
    let used = used_of(image);
    let free = used.windows(2).map(|pair| pair[0].end..pair[1].start);
    let large: Vec<Range<u64>> = free.filter(|gap| gap.end - gap.start > MIB).collect();
    assert!(!large.is_empty());
    for gap in large {
        let left = bytes_at(&card, gap.clone()).iter().all(|&b| b == 0xff);
        assert!(left, "{gap:?}");
    }
}

#[test]
fn an_image_with_gpt_goes_to_a_card_that_was_something_else() {
    let (image, dir) = (fixture("gpt"), scratch());
    let card = dir.path().join("card");
    used_card(&card, &image);
    let ran = flash_image(&image, card.to_str().unwrap(), &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    holds(&card, &image, dir.path());
    // The image's own backup lies at the image's end.
    let end = image.metadata().unwrap().len();
    assert!(bytes_at(&card, end - 512..end).starts_with(b"EFI PART"));
}

#[test]
fn images_that_are_there_are_flashed_too() {
    let dir = scratch();
    let run = |image: &Path, to: &Path| {
        let ran = flash_image(image, to.to_str().unwrap(), &[]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    };
    for image in [small(), fixture_xz("onek")] {
        // A file that is not there becomes as long as the image.
        let card = dir.path().join("new");
        run(&image, &card);
        let len = |path: &Path| path.metadata().unwrap().len();
        assert_eq!(len(&card), len(&small()));
        same_where_used(&card, &small());
        std::fs::remove_file(card).unwrap();
    }
    // What is no Raspberry Pi OS is written as a whole.
    let other = dir.path().join("other");
    let mut bytes = vec![5; 3 * MIB as usize];
    bytes[..512].copy_from_slice(&mbr(&[(0xa5, 2048, 4096)]));
    std::fs::write(&other, bytes).unwrap();
    let whole = dir.path().join("whole");
    filled(&whole, 4 * MIB);
    let said = run(&other, &whole).stderr;
    assert!(said.contains("writing all of the image"), "{said}");
    assert!(bytes_at(&whole, 512..3 * MIB).iter().all(|&b| b == 5));
    assert!(
        bytes_at(&whole, 3 * MIB..4 * MIB)
            .iter()
            .all(|&b| b == 0xff)
    );
}

/// Runs imgbuild on a terminal, and types `answer` when it asks.
fn on_a_terminal(bench: &Workbench, answer: &str, args: &[&str]) -> Ran {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/common/flash/terminal.py"
    );
    let mut command = tool("/usr/bin/python3");
    command.args(["-B", script, answer, env!("CARGO_BIN_EXE_imgbuild")]);
    bench.surround(command.args(args));
    Ran::of(command.output().unwrap())
}

#[test]
fn what_a_disk_holds_is_named_and_asked_about_before_it_is_lost() {
    let dir = scratch();
    let card = dir.path().join("card");
    std::fs::copy(fixture("trixie"), &card).unwrap();
    let before = || bytes_at(&card, 0..8 * MIB);
    let held = before();
    let (image, to) = (small(), card.to_str().unwrap());
    let args = ["flash", image.to_str().unwrap(), "--to", to];
    let bench = Workbench::empty();
    // Nobody can answer.
    let holds = "holds 2 partitions: 1 (FAT32 `bootfs`, ";
    let words = [to, holds, "MiB), 2 (ext4 `rootfs`, ", "hint: `--yes`"];
    bench.run(&args).assert_fails(4, &words);
    assert!(before() == held);
    // Somebody does.
    for answer in ["n\\n", "\\n", "yep\\n", "\\x04"] {
        let ran = on_a_terminal(&bench, answer, &args);
        assert_eq!(ran.code, Some(4), "{answer}: {}", ran.stdout);
        for word in [to, holds, "Overwrite all of it? [y/N]", "stays as it is"] {
            assert!(ran.stdout.contains(word), "{answer}: {}", ran.stdout);
        }
        assert!(before() == held, "{answer}");
    }
    let ran = on_a_terminal(&bench, "\\x03", &args);
    assert_eq!(ran.code, Some(130), "{}", ran.stdout);
    assert!(ran.stdout.contains("interrupted: nothing was written"));
    assert!(before() == held);
    let ran = on_a_terminal(&bench, "y\\n", &args);
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("[y/N]").count(), 1, "{}", ran.stdout);
    same_where_used(&card, &image);
    // A word for scripts.
    let ran = on_a_terminal(&bench, "", &[&args[..], &["--yes"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    assert!(!ran.stdout.contains("[y/N]"), "{}", ran.stdout);
}

#[test]
fn blank_disks_need_no_question_and_others_do() {
    let dir = scratch();
    let card = dir.path().join("card");
    let image = small();
    let len = image.metadata().unwrap().len() + 3 * MIB;
    let args = ["flash", image.to_str().unwrap(), "--to"];
    let run = || Workbench::empty().run(&[&args[..], &[card.to_str().unwrap()]].concat());
    let blank = |make: &dyn Fn()| {
        make();
        let ran = run();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    };
    let empty = || std::fs::File::create(&card).unwrap().set_len(len).unwrap();
    blank(&|| filled(&card, len));
    blank(&empty);
    std::fs::remove_file(&card).unwrap();
    blank(&|| ());
    let mode = std::os::unix::fs::MetadataExt::mode(&card.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600, "it may hold secrets");

    let put = |at: u64, bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        empty();
        let file = std::fs::File::options().write(true).open(&card).unwrap();
        file.write_all_at(bytes, at).unwrap();
    };
    let asked = |what: &str| run().assert_fails(4, &["will not overwrite", what]);
    put(0, &mbr(&[]));
    asked("it holds an empty partition table");
    put(0, &mbr(&[(0x83, 2048, 4096), (7, 6144, 100)]));
    asked("it holds 2 partitions: 1 (2.0 MiB), 2 (50.0 KiB)");
    put(700, b"something");
    asked("it holds data of an unknown kind");
    put(len - 512, b"EFI PART");
    asked("it holds data of an unknown kind");
    put(0, b"Dear diary,");
    asked("it holds");
    let tools: [(&str, &[&str], &str); 4] = [
        (
            "mke2fs",
            &["-q", "-F", "-t", "ext4", "-L", "photos"],
            "ext4 `photos`",
        ),
        (
            "mke2fs",
            &["-q", "-F", "-t", "ext2"],
            "ext2 or ext3, without",
        ),
        ("mkfs.vfat", &["-F", "32", "-n", "CAMERA"], "FAT32 `CAMERA`"),
        ("mkswap", &["-L", "memory"], "swap `memory`"),
    ];
    for (program, options, what) in tools {
        empty();
        accepts(program, tool(program).args(options).arg(&card));
        asked(&format!("it holds {what}"));
    }
    empty();
    accepts("sgdisk", tool("sgdisk").args(["-n", "1:0:+1M"]).arg(&card));
    asked("it holds 1 partition: 1 (1.0 MiB)");
}

#[test]
fn only_images_of_disks_are_flashed() {
    let dir = scratch();
    let (file, card) = (dir.path().join("file"), dir.path().join("card"));
    filled(&card, LEN);
    let refused = |file: &Path, more: &[&str], words: &[&str]| {
        let ran = flash_image(file, card.to_str().unwrap(), more);
        ran.assert_fails(4, &["is not a disk image", "hint: "]);
        ran.assert_fails(4, words);
        assert!(is_empty_card(&card));
    };
    let bytes = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let profile = bytes("node.toml", crate::common::workbench::PROFILE.as_bytes());
    refused(
        &profile,
        &[],
        &["node.toml", "holds text", "--profile NAME"],
    );
    let long = bytes("notes", "für später ".repeat(400).as_bytes());
    refused(&long, &[], &["holds text"]);
    let packed = bytes(
        "node.toml.zst",
        &zstd::encode_all(&b"[user]\n"[..], 1).unwrap(),
    );
    refused(&packed, &[], &["node.toml.zst", "holds text"]);
    let zeros = bytes("zeros", &vec![0; 3 << 20]);
    refused(&zeros, &[], &["holds nothing"]);
    let binary = Path::new(env!("CARGO_BIN_EXE_imgbuild"));
    refused(binary, &[], &["holds a program"]);
    let qcow = bytes(
        "disk.qcow2",
        &[b"QFI\xfb\0\0\0\x03".as_slice(), &[0; 4096]].concat(),
    );
    refused(&qcow, &[], &["a qcow2 disk", "qemu-img convert"]);
    let noise = bytes("noise", &image()[MIB as usize..][..70_000]);
    refused(&noise, &[], &["data of an unknown kind"]);
    let empty = bytes("table", &mbr(&[]));
    refused(&empty, &[], &["an empty partition table"]);
    let mut nonsense = mbr(&[(0x83, 1, 1)]);
    nonsense[446] = 0x7f;
    let nonsense = bytes("nonsense", &[nonsense.as_slice(), &[0; 4096]].concat());
    refused(&nonsense, &[], &["data of an unknown kind"]);
    // A file system is no disk, though FAT's first sector looks like one.
    for (program, options) in [("mkfs.vfat", "-F32"), ("mke2fs", "-qF")] {
        std::fs::File::create(&file)
            .unwrap()
            .set_len(40 << 20)
            .unwrap();
        accepts(program, tool(program).arg(options).arg(&file));
        refused(&file, &[], &["without a partition table", "--partition"]);
    }
    // One that is not all there.
    let cut = bytes("cut.img", &image()[..12 << 20]);
    let ran = flash_image(&cut, card.to_str().unwrap(), &[]);
    ran.assert_fails(
        4,
        &["cut.img is cut short: partition 1 ends at byte 22020096"],
    );
    assert!(is_empty_card(&card));
    // A CD image that starts from a disk may claim more than it has.
    let mut hybrid = vec![0; 1 << 20];
    hybrid[..512].copy_from_slice(&mbr(&[(0x17, 64, 4096), (0xef, 100, 20)]));
    hybrid[32769..32774].copy_from_slice(b"CD001");
    let hybrid = bytes("hybrid.iso", &hybrid);
    let ran = flash_image(&hybrid, card.to_str().unwrap(), &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

fn is_empty_card(card: &Path) -> bool {
    bytes_at(card, 0..MIB).iter().all(|&b| b == 0xff)
}

#[test]
fn files_that_are_no_disks_are_kept() {
    let dir = scratch();
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "precious").unwrap();
    let to = |path: &str| flash_image(&small(), path, &[]);
    to(notes.to_str().unwrap()).assert_fails(4, &["only 8 are there", "a new file"]);
    assert_eq!(std::fs::read(&notes).unwrap(), b"precious");
    to(dir.path().to_str().unwrap()).assert_fails(4, &["it is a folder"]);
    to(small().to_str().unwrap()).assert_fails(4, &["it is the image itself"]);
    to("/dev/imgbuild-no-such-disk").assert_fails(4, &["no such device", "lsblk"]);
    to("/no/such/folder/card").assert_fails(1, &["/no/such/folder/card cannot be opened"]);
    let ran = Workbench::empty().run(&["flash", "--to", "/dev/null"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}

#[test]
fn a_loop_device_that_was_something_else() {
    const TEST: &str = "a_loop_device_that_was_something_else";
    let (bench, image) = built();
    let dir = scratch();
    let card = dir.path().join("card");
    let len = used_card(&card, image);
    let Some(device) = Loop::or_skip(TEST, &card, &[]) else {
        return;
    };
    // The file is in use, as a disk.
    let ran = flash_image(image, card.to_str().unwrap(), &[]);
    ran.assert_fails(4, &["shows its content as a disk", device.name()]);
    let ran = flash_node(bench, &device.path);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, format!("{}\n", device.name()));
    device.detach();
    holds(&card, image, dir.path());
    assert!(bytes_at(&card, len - 512..len).iter().all(|&b| b == 0));
}

#[test]
fn devices_are_refused_until_the_reason_is_gone() {
    const TEST: &str = "devices_are_refused_until_the_reason_is_gone";
    let (image, dir) = (small(), scratch());
    let len = image.metadata().unwrap().len();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(len).unwrap();
    let before = |device: &Loop| bytes_at(&device.path, 0..MIB);
    let Some(read_only) = Loop::or_skip(TEST, &disk, &["--read-only"]) else {
        return;
    };
    let run = |device: &Loop, more: &[&str]| flash_image(&image, device.name(), more);
    run(&read_only, &[]).assert_fails(4, &["it is read-only", "lock switch"]);
    read_only.detach();
    let large_sectors = Loop::over(&disk, &["--sector-size", "4096"]).unwrap();
    run(&large_sectors, &[]).assert_fails(4, &["sectors of 4096 bytes"]);
    large_sectors.detach();
    let size = (len - MIB).to_string();
    let small = Loop::over(&disk, &["--sizelimit", &size]).unwrap();
    run(&small, &[]).assert_fails(4, &["only", "use a larger card"]);
    small.detach();

    // A whole disk with a file system, mounted.
    accepts(TEST, tool("mke2fs").args(["-q", "-F"]).arg(&disk));
    let device = Loop::over(&disk, &[]).unwrap();
    let content = before(&device);
    let folder = dir.path().join("a b");
    match Mount::of(&device.path, &folder) {
        Err(why) => skipped(TEST, &format!("nothing can be mounted: {why}")),
        Ok(mount) => {
            let said = format!("{} is mounted at {}", device.name(), folder.display());
            let umount = format!("umount '{}'", folder.display());
            let again = "then run the same command again";
            run(&device, &[]).assert_fails(4, &[&said, &umount, again]);
            // The word for system disks does not help.
            let word = ["--system-disk", device.name()];
            run(&device, &word).assert_fails(4, &[&said]);
            drop(mount);
        }
    }
    assert!(before(&device) == content, "it was refused, and written to");

    // Somebody who has it open for himself alone.
    {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        let flags = rustix::fs::OFlags::EXCL.bits() as i32;
        let _other = options
            .read(true)
            .custom_flags(flags)
            .open(&device.path)
            .unwrap();
        run(&device, &[]).assert_fails(4, &["cannot be opened for writing", "fuser -v"]);
    }
    let ran = run(&device, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    device.detach();
    same_where_used(&disk, &image);

    // Now it has partitions.
    let device = Loop::over(&disk, &["--partscan"]).unwrap();
    let partition = PathBuf::from(format!("{}p2", device.name()));
    if !partition.exists() {
        skipped(TEST, "the kernel shows no partitions of loop devices");
        return;
    }
    let to = partition.to_str().unwrap();
    flash_image(&image, to, &[]).assert_fails(4, &["it is a partition", "--partition"]);
    if let Ok(mount) = Mount::of(&partition, &folder) {
        let said = format!("{to} is mounted at");
        run(&device, &[]).assert_fails(4, &[&said]);
        drop(mount);
    }
    let ran = run(&device, &["--no-verify"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("read back"), "{}", ran.stderr);
}

/// Every fault, on a file behind FUSE and, where that can be, on a loop device over it.
#[test]
fn disks_that_fail_and_lie() {
    const TEST: &str = "disks_that_fail_and_lie";
    let bench = Workbench::new();
    bench.write("image", image());
    let dir = scratch();
    let backing = dir.path().join("backing");
    let mut disks = Vec::new();
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["none"], 0, &["24 MiB written and read back"]),
        // 12 MiB: a write that spans several requests is told of as failed only when one fails
        // from its beginning on; the loop driver takes the others for done.
        (
            &["fail-write", "8388608", "20971520"],
            1,
            &["os error 5", "another card"],
        ),
        (
            &["fail-read", "8388608", "20971520"],
            1,
            &["reading back", "os error 5"],
        ),
        (&["lose", "8388608", "12582912"], 3, &["nothing is there"]),
        (&["fake", "16777216"], 3, &["it is a fake"]),
        (&["gone", "12582912"], 1, &["is not complete", "hint: "]),
    ];
    for (fault, code, words) in cases {
        for direct in [false, true] {
            filled(&backing, LEN + MIB);
            let folder = dir.path().join(format!("mount-{}-{direct}", fault[0]));
            let mut args = fault.to_vec();
            args.extend(direct.then_some("--direct"));
            let Some(faulty) = FaultyDisk::or_skip(TEST, &folder, &backing, &args) else {
                return;
            };
            // What the kernel keeps of the file would hide the lies from a loop device above it.
            let device = match direct {
                false => None,
                true => match Loop::or_skip(TEST, &faulty.file, &[]) {
                    None => continue,
                    some => some,
                },
            };
            let to = device.as_ref().map_or(&faulty.file, |device| &device.path);
            let ran = bench.run(&["flash", "image", "--to", to.to_str().unwrap()]);
            let said = format!("{fault:?} direct {direct}: {}", ran.stderr);
            assert_eq!(ran.code, Some(code), "{said}");
            assert!(words.iter().all(|word| ran.stderr.contains(word)), "{said}");
            drop(device);
            drop(faulty);
            match code {
                0 => assert!(bytes_at(&backing, 0..LEN) == image()),
                _ => {
                    assert!(said.contains("is not complete"), "{said}");
                    assert!(is_empty_head(&bytes_at(&backing, 0..MIB)), "{said}");
                }
            }
            disks.push(said);
        }
    }
    assert!(!disks.is_empty());
}

#[test]
fn ctrl_c_says_what_became_of_the_card() {
    const TEST: &str = "ctrl_c_says_what_became_of_the_card";
    let bench = Workbench::new();
    bench.write("image", image());
    let dir = scratch();
    let backing = dir.path().join("backing");
    filled(&backing, LEN);
    let folder = dir.path().join("mount");
    let Some(faulty) = FaultyDisk::or_skip(TEST, &folder, &backing, &["slow", "0.02"]) else {
        return;
    };
    let to = faulty.file.to_str().unwrap();
    let child = bench
        .imgbuild(&["flash", "image", "--to", to])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // In the midst of it.
    let untouched = |at: u64| bytes_at(&backing, at..at + 4096).iter().all(|&b| b == 0xff);
    while untouched(5 * MIB) {
        std::thread::sleep(Duration::from_millis(10));
    }
    accepts("kill", tool("kill").args(["-INT", &child.id().to_string()]));
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    let said = format!("interrupted: {to} is not complete: its first MiB is empty");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    drop(faulty);
    assert!(is_empty_head(&bytes_at(&backing, 0..MIB)));
    assert!(bytes_at(&backing, 23 * MIB..LEN).iter().all(|&b| b == 0xff));
}
