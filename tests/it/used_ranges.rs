//! What is in use on a disk, against what dumpe2fs, fsck.vfat and sgdisk say.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::common::ext4::{FLAVOURS, Image, START, flavour_named, tool};
use crate::common::fuzz_cases::cases;
use crate::common::needs;
use crate::common::workbench::fixture;
use imgbuild::disk::partition_table::{self, PartitionTable};
use imgbuild::disk::ranges::{between, not_zero, whole_pages};
use imgbuild::disk::{CowDisk, PAGE_SIZE, RawFile, ReadAt, Window};
use imgbuild::image::used_ranges;
use imgbuild::job::Cancel;
use imgbuild::{ext4, fat};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn open(path: &Path) -> (Arc<CowDisk>, PartitionTable) {
    let disk = Arc::new(CowDisk::new(Arc::new(RawFile::open(path).unwrap())));
    let table = partition_table::read(disk.as_ref()).unwrap();
    (disk, table)
}

/// The free blocks of a file system, as dumpe2fs lists them, and the size of a block.
fn free_blocks(file_system: &str) -> (Vec<Range<u64>>, u64) {
    let text = tool("dumpe2fs", &[file_system], &[0]);
    let field = |line: &str, name: &str| Some(line.strip_prefix(name)?.trim().to_owned());
    let size = text.lines().find_map(|l| field(l, "Block size:"));
    let lists = text.lines().filter_map(|l| field(l, "  Free blocks:"));
    let mut free = Vec::new();
    for part in lists.collect::<Vec<_>>().join(", ").split(", ") {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) {
            free.push(first..last + 1);
        }
    }
    (free, size.unwrap().parse().unwrap())
}

/// In blocks, sorted and joined.
fn blocks(ranges: impl IntoIterator<Item = Range<u64>>, size: u64) -> Vec<Range<u64>> {
    let pages = |r: Range<u64>| r.start / size * PAGE_SIZE..r.end / size * PAGE_SIZE;
    let joined = whole_pages(ranges.into_iter().map(pages), u64::MAX);
    joined
        .into_iter()
        .map(|r| r.start / PAGE_SIZE..r.end / PAGE_SIZE)
        .collect()
}

#[track_caller]
fn agrees_with_dumpe2fs(window: &Window, file_system: &str) {
    let used = ext4::used_ranges(window).unwrap();
    let (free, size) = free_blocks(file_system);
    let free = blocks(free.iter().map(|r| r.start * size..r.end * size), size);
    let ours = between(&blocks(used.ranges, size), used.len / size);
    assert_eq!(ours, free, "free blocks of {file_system}");
}

#[test]
fn free_blocks_are_those_that_dumpe2fs_lists() {
    for &flavour in FLAVOURS {
        let image = Image::populated(flavour, 300, 40);
        agrees_with_dumpe2fs(&image.disk(None).window(), image.str());
    }
}

#[test]
fn free_blocks_of_a_grown_file_system_too() {
    for (name, mib) in [("pigen", 700), ("1k", 250), ("noflex", 700)] {
        let image = Image::populated(flavour_named(name), 100, 0);
        let disk = image.disk(Some(mib * MIB));
        ext4::grow(&disk.window(), disk.len).unwrap();
        let path = disk.save(&image);
        agrees_with_dumpe2fs(&disk.window(), path.to_str().unwrap());
    }
}

#[test]
fn a_damaged_file_system_is_an_error() {
    let image = Image::empty(flavour_named("pigen"), 64);
    let disk = image.disk(None);
    disk.disk.write_at(START + 4096 + 8, &[0xFF; 4]).unwrap();
    assert!(ext4::used_ranges(&disk.window()).is_err());
}

/// Bytes of the clusters that fsck.vfat counts as used.
fn used_clusters(fat: &Path) -> u64 {
    let text = tool("fsck.vfat", &["-n", "-v", fat.to_str().unwrap()], &[0]);
    let find = |end: &str| text.lines().find_map(|l| l.trim().strip_suffix(end));
    let size: u64 = find("bytes per cluster").unwrap().trim().parse().unwrap();
    let clusters = text.lines().find(|l| l.ends_with(" clusters")).unwrap();
    let (_, counts) = clusters.split_once("files, ").unwrap();
    let used: u64 = counts.split_once('/').unwrap().0.parse().unwrap();
    used * size
}

fn copy_out(disk: &dyn ReadAt, range: Range<u64>, to: &Path) {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    disk.read_at(range.start, &mut bytes).unwrap();
    std::fs::write(to, bytes).unwrap();
}

#[test]
fn used_clusters_are_as_many_as_fsck_counts() {
    let dir = tempfile::tempdir().unwrap();
    for variant in ["trixie", "gpt"] {
        let (disk, table) = open(&fixture(variant));
        let file = dir.path().join("fat");
        copy_out(disk.as_ref(), table.boot.range(), &file);
        let window = Window::new(disk, table.boot.start, table.boot.len).unwrap();
        let used = fat::used_ranges(&window).unwrap();
        let bytes: u64 = used.ranges.iter().map(|r| r.end - r.start).sum();
        // Reserved sectors and tables, from the boot sector.
        let mut boot = [0; 64];
        window.read_at(0, &mut boot).unwrap();
        let reserved = u64::from(u16::from_le_bytes([boot[14], boot[15]]));
        let sectors = u32::from_le_bytes(boot[36..40].try_into().unwrap());
        let before = (reserved + u64::from(boot[16]) * u64::from(sectors)) * 512;
        assert_eq!(bytes - before, used_clusters(&file), "{variant}");
    }
}

/// `disk` as it is on a card that was full of 0xFF and got only what is in use.
fn on_a_used_card(disk: &CowDisk, used: &[Range<u64>], path: &Path) {
    const CHUNK: usize = 1 << 20;
    let file = File::create(path).unwrap();
    let mut buffer = vec![0; CHUNK];
    let mut fill = |range: &Range<u64>, content: bool| {
        for at in range.clone().step_by(CHUNK) {
            let n = CHUNK.min((range.end - at) as usize);
            match content {
                true => disk.read_at(at, &mut buffer[..n]).unwrap(),
                false => buffer.fill(0xFF),
            }
            file.write_all_at(&buffer[..n], at).unwrap();
        }
    };
    used.iter().for_each(|range| fill(range, true));
    let free = between(used, disk.len());
    free.iter().for_each(|range| fill(range, false));
}

#[test]
fn what_is_in_use_is_all_that_a_card_needs() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let card = dir.path().join("card");
    for (variant, grow) in [("gpt", true), ("onek", false)] {
        let (disk, table) = open(&fixture(variant));
        let table = match grow {
            true => {
                let len = table.root.len + 64 * MIB;
                let grown = partition_table::grow_root(&disk, &table, len).unwrap();
                let window = Window::new(disk.clone(), grown.root.start, len).unwrap();
                ext4::grow(&window, len).unwrap();
                grown
            }
            false => table,
        };
        let used = used_ranges(&disk, &Cancel::default()).unwrap();
        assert!(used.is_sorted_by(|a, b| a.end < b.start), "{used:?}");
        assert!(used.iter().all(|r| r.start % PAGE_SIZE == 0));
        assert!(
            used.iter()
                .all(|r| r.end % PAGE_SIZE == 0 || r.end == disk.len())
        );
        assert_eq!(used[0].start, 0);
        assert!(used[0].end >= MIB, "{used:?}");
        let sum: u64 = used.iter().map(|r| r.end - r.start).sum();
        assert!(sum < disk.len() * 3 / 4, "{sum} of {}", disk.len());

        on_a_used_card(&disk, &used, &card);
        let root = format!("{}?offset={}", card.display(), table.root.start);
        tool("e2fsck", &["-fn", &root], &[0]);
        let boot = dir.path().join("boot");
        copy_out(&RawFile::open(&card).unwrap(), table.boot.range(), &boot);
        tool("fsck.vfat", &["-n", boot.to_str().unwrap()], &[0]);
        if variant == "gpt" {
            let said = tool("sgdisk", &["-v", card.to_str().unwrap()], &[0]);
            assert!(said.contains("No problems found"), "{said}");
        }
    }
}

#[test]
fn what_is_neither_file_system_nor_zero_is_in_use() {
    let (disk, table) = open(&fixture("trixie"));
    let before = used_ranges(&disk, &Cancel::default()).unwrap();
    let holds = |used: &[Range<u64>], at: u64| used.iter().any(|r| r.contains(&at));
    // The gap before the boot partition, of which only the head is in use while it is zero.
    let gap = table.boot.start - 5000;
    assert!(table.boot.start > 2 * MIB && !holds(&before, gap));
    disk.write_at(gap, b"U-Boot").unwrap();
    // A disk that is longer than its partitions.
    let end = disk.len() + 5 * MIB + 700;
    disk.grow(end).unwrap();
    disk.write_at(end - 1, &[1]).unwrap();
    let after = used_ranges(&disk, &Cancel::default()).unwrap();
    let new: Vec<_> = after.iter().filter(|r| !before.contains(r)).collect();
    let page = |at: u64| at / PAGE_SIZE * PAGE_SIZE;
    assert_eq!(
        new,
        [&(page(gap)..page(gap) + PAGE_SIZE), &(page(end)..end)]
    );
    // What is not in use is zero in an image that was zeroed where it is free.
    let free = between(&after, disk.len());
    for range in free.into_iter().filter(|r| r.end <= table.root.start) {
        let left = not_zero(disk.as_ref(), range, &Cancel::default()).unwrap();
        assert_eq!(left, []);
    }
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(used_ranges(&disk, &cancel).is_err());
}

/// Bytes to overwrite in the first pages of something.
fn damage() -> impl Strategy<Value = Vec<(u64, u8)>> {
    proptest::collection::vec((0..3 * PAGE_SIZE, any::<u8>()), 1..6)
}

proptest! {
    #![proptest_config({ fixture("onek"); needs::programs(&["mke2fs"]); cases(64) })]

    /// Whatever a damaged disk says, the answer is an error or lies within the disk.
    #[test]
    fn damaged_disks_do_no_harm(table in damage(), boot in damage(), root in damage(), which in 0..3) {
        let (disk, found) = open(&fixture("onek"));
        let parts = [(0, table), (found.boot.start, boot), (found.root.start, root)];
        // One at a time: most damage is found, and what comes after is not reached.
        let (start, bytes) = &parts[which as usize];
        for (at, byte) in bytes {
            disk.write_at(start + at, &[*byte]).unwrap();
        }
        if let Ok(used) = used_ranges(&disk, &Cancel::default()) {
            prop_assert!(used.is_sorted_by(|a, b| a.end < b.start));
            prop_assert!(used.iter().all(|r| r.end <= disk.len()));
        }
    }

    /// The same where no checksum finds it first.
    #[test]
    fn damaged_ext4_without_checksums_does_no_harm(bytes in damage()) {
        static IMAGE: std::sync::OnceLock<Image> = std::sync::OnceLock::new();
        let image = IMAGE.get_or_init(|| Image::empty(flavour_named("old"), 32));
        let disk = image.disk(None);
        for (at, byte) in bytes {
            disk.disk.write_at(START + 1024 + at, &[byte]).unwrap();
        }
        if let Ok(used) = ext4::used_ranges(&disk.window()) {
            prop_assert!(used.len <= disk.len);
            prop_assert!(used.ranges.iter().all(|r| r.end <= used.len));
        }
    }
}
