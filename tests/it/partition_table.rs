//! Partition tables, against `sfdisk` and `sgdisk`.

use std::path::Path;
use std::sync::Arc;

use imgbuild::disk::partition_table::{self, PartitionTable, TableKind};
use imgbuild::disk::{CowDisk, InMemory, PAGE_SIZE, RawFile, ReadAt};
use imgbuild::error::Result;
use proptest::prelude::*;

use crate::common::fuzz_cases::cases;
use crate::common::tools::fed;

const MIB: u64 = 1 << 20;
const LEN: u64 = 32 * MIB;

/// The first bytes of an image; the rest is zeros.
struct Padded(Vec<u8>);

impl ReadAt for Padded {
    fn len(&self) -> u64 {
        LEN
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        if let Some(from) = self.0.get(offset as usize..) {
            let n = from.len().min(buf.len());
            buf[..n].copy_from_slice(&from[..n]);
        }
        Ok(())
    }
}

/// An MBR image with boot code, made by hand: FAT at 8 MiB, Linux at 16 MiB, 16 MiB long.
fn mbr_image() -> Vec<u8> {
    let mut image = vec![0; LEN as usize];
    for (i, byte) in image[..440].iter_mut().enumerate() {
        *byte = i as u8;
    }
    image[440..444].copy_from_slice(&0x9ABC_DEF0u32.to_le_bytes());
    for (slot, kind, start, len) in [(0, 0x0c, 16_384u32, 16_384u32), (1, 0x83, 32_768, 32_768)] {
        let entry = &mut image[446 + slot * 16..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&len.to_le_bytes());
    }
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

fn disk(image: Vec<u8>) -> CowDisk {
    CowDisk::new(Arc::new(InMemory::from(image)))
}

fn message(image: Vec<u8>) -> String {
    let error = partition_table::read(&InMemory::from(image)).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error.to_string()
}

#[test]
fn reads_an_mbr() {
    let table = partition_table::read(&InMemory::from(mbr_image())).unwrap();
    assert_eq!(
        table.kind,
        TableKind::Mbr {
            disk_id: 0x9abc_def0
        }
    );
    assert_eq!(table.boot.partuuid, "9abcdef0-01");
    assert_eq!(table.root.partuuid, "9abcdef0-02");
    assert_eq!(table.boot.range(), 8 * MIB..16 * MIB);
    assert_eq!(table.root.range(), 16 * MIB..32 * MIB);
}

#[test]
fn says_what_is_wrong() {
    assert!(message(vec![0; 4096]).contains("not a disk image"));
    assert!(message(vec![1; 10]).contains("not a disk image"));
    let mut image = mbr_image();
    image.truncate(20 * MIB as usize);
    assert!(message(image).contains("cut short"));
    let mut image = mbr_image();
    image[446 + 4] = 0x07;
    assert!(message(image).contains("FAT boot"));
    let mut image = mbr_image();
    image[446 + 16 + 4] = 0;
    assert!(message(image).contains("Linux root"));
    let mut image = mbr_image();
    image[446 + 12 + 1] = 0xff;
    assert!(message(image).contains("overlap"));
}

#[test]
fn grows_an_mbr_and_nothing_else() {
    let disk = disk(mbr_image());
    let table = partition_table::read(&disk).unwrap();
    let grown = partition_table::grow_root(&disk, &table, 40 * MIB).unwrap();
    assert_eq!((grown.root.len, disk.len()), (40 * MIB, 56 * MIB));
    assert_eq!(grown.boot, table.boot);
    assert_eq!(grown.root.partuuid, table.root.partuuid);
    let mut sector = [0; 512];
    disk.read_at(0, &mut sector).unwrap();
    let before = mbr_image();
    assert_eq!(sector[..446 + 16 + 5], before[..446 + 16 + 5]);
    assert_eq!(
        sector[446 + 16 + 8..446 + 16 + 12],
        before[446 + 16 + 8..446 + 16 + 12]
    );
    assert_eq!(sector[446 + 32..], before[446 + 32..512]);
    assert_eq!(disk.settle().unwrap(), [0]);
}

#[test]
fn refuses_growth_that_can_not_be() {
    let image = mbr_image();
    let d = disk(image.clone());
    let table = partition_table::read(&d).unwrap();
    let grow = |len| {
        partition_table::grow_root(&d, &table, len)
            .unwrap_err()
            .to_string()
    };
    assert!(grow(15 * MIB).contains("only grows"));
    assert!(grow(16 * MIB + 1).contains("only grows"));
    assert!(grow(u64::MAX - 511).contains("too large"));
    assert!(grow(3 << 40).contains("2 TiB"));
    // The same length is no change at all.
    partition_table::grow_root(&d, &table, 16 * MIB).unwrap();
    assert!(d.settle().unwrap().is_empty());

    let mut image = image;
    let entry = &mut image[446 + 32..][..16];
    entry[4] = 0x83;
    entry[8..12].copy_from_slice(&65_000u32.to_le_bytes());
    entry[12..16].copy_from_slice(&8u32.to_le_bytes());
    image[446 + 16 + 12..][..4].copy_from_slice(&16_384u32.to_le_bytes());
    let d = disk(image);
    let table = partition_table::read(&d).unwrap();
    let error = partition_table::grow_root(&d, &table, 32 * MIB).unwrap_err();
    assert!(error.to_string().contains("partition 3 lies behind"));
}

/// Writes what is dirty into a sparse file as long as the disk: hashing 20 GiB of zeros as
/// `write_img` does would take minutes in a debug build.
fn written(disk: &CowDisk, dir: &Path) -> String {
    use std::os::unix::fs::FileExt;
    let path = dir.join("grown.img");
    std::fs::copy(dir.join("base.img"), &path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(disk.len()).unwrap();
    for page in disk.settle().unwrap() {
        let at = page * PAGE_SIZE;
        let mut bytes = vec![0; PAGE_SIZE.min(disk.len() - at) as usize];
        disk.read_at(at, &mut bytes).unwrap();
        file.write_all_at(&bytes, at).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

fn blank(dir: &Path, len: u64) -> String {
    let path = dir.join("base.img");
    std::fs::File::create(&path).unwrap().set_len(len).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn sfdisk_agrees_on_a_grown_mbr() {
    let dir = tempfile::tempdir().unwrap();
    let base = blank(dir.path(), 32 * MIB);
    let script =
        "label: dos\nlabel-id: 0x0a1b2c3d\nstart=16384,size=16384,type=c\nstart=32768,type=83\n";
    fed("sfdisk", &[&base], script);
    for len in [40 * MIB, 20 << 30] {
        let disk = CowDisk::new(Arc::new(RawFile::open(base.as_ref()).unwrap()));
        let table = partition_table::read(&disk).unwrap();
        partition_table::grow_root(&disk, &table, len).unwrap();
        let grown = written(&disk, dir.path());
        let verify = fed("sfdisk", &["--verify", &grown], "");
        assert!(verify.contains("No errors detected"), "{verify}");
        let dump = fed("sfdisk", &["--dump", &grown], "");
        assert!(dump.contains("label-id: 0x0a1b2c3d"), "{dump}");
        assert!(
            dump.contains(&format!(
                "start=       32768, size={:>12}, type=83",
                len / 512
            )),
            "{dump}"
        );
        // A table that sfdisk makes of this dump has the same bytes: CHS values too.
        let other = dir.path().join("other.img");
        let file = std::fs::File::create(&other).unwrap();
        file.set_len(disk.len()).unwrap();
        fed("sfdisk", &["-q", other.to_str().unwrap()], &dump);
        let head = |path: &Path| {
            let mut sector = [0; 512];
            RawFile::open(path)
                .unwrap()
                .read_at(0, &mut sector)
                .unwrap();
            sector
        };
        assert_eq!(head(&other)[440..], head(grown.as_ref())[440..]);
    }
}

/// A GPT image by sfdisk, with a name and attributes that must survive.
fn gpt_base(dir: &Path) -> String {
    let base = blank(dir, 32 * MIB);
    let script = "label: gpt\nlabel-id: 11112222-3333-4444-5555-666677778888\n\
        start=16384,size=16384,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B,name=bootfs\n\
        start=32768,type=0FC63DAF-8483-4772-8E79-3D69D8477DE4,name=rootfs,attrs=LegacyBIOSBootable,\
        uuid=AAAABBBB-CCCC-DDDD-EEEE-FFFF00001111\n";
    fed("sfdisk", &[&base], script);
    base
}

#[test]
fn sfdisk_and_sgdisk_agree_on_a_grown_gpt() {
    let dir = tempfile::tempdir().unwrap();
    let base = gpt_base(dir.path());
    let disk = CowDisk::new(Arc::new(RawFile::open(base.as_ref()).unwrap()));
    let table = partition_table::read(&disk).unwrap();
    let disk_guid = "11112222-3333-4444-5555-666677778888".to_owned();
    assert_eq!(table.kind, TableKind::Gpt { disk_guid });
    assert_eq!(table.root.partuuid, "aaaabbbb-cccc-dddd-eeee-ffff00001111");
    let grown = partition_table::grow_root(&disk, &table, 64 * MIB).unwrap();
    assert_eq!(grown.kind, table.kind);
    assert_eq!(grown.root.range(), 16 * MIB..80 * MIB);
    let path = written(&disk, dir.path());
    let verify = fed("sfdisk", &["--verify", &path], "");
    assert!(verify.contains("No errors detected"), "{verify}");
    assert!(!verify.contains("corrupt"), "{verify}");
    let verify = fed("sgdisk", &["--verify", &path], "");
    assert!(verify.contains("No problems found"), "{verify}");
    let dump = fed("sfdisk", &["--dump", &path], "");
    assert!(
        dump.contains("name=\"rootfs\", attrs=\"LegacyBIOSBootable\""),
        "{dump}"
    );
    // Growing once more finds a backup to move, and space to fill.
    let again = partition_table::grow_root(&disk, &grown, 65 * MIB).unwrap();
    let path = written(&disk, dir.path());
    let verify = fed("sfdisk", &["--verify", &path], "");
    assert!(verify.contains("No errors detected"), "{verify}");
    // The place of the first backup lies in the root partition now and holds nothing.
    let mut old = vec![1; 33 * 512];
    disk.read_at(32 * MIB - 33 * 512, &mut old).unwrap();
    assert!(old.iter().all(|&b| b == 0));
    assert_eq!(again.root.len, 65 * MIB);
}

/// Partitions 2 and 5, the entries not in the usual place, boot code in the protective MBR.
#[test]
fn an_unusual_gpt_keeps_its_numbers_and_its_places() {
    let dir = tempfile::tempdir().unwrap();
    let base = blank(dir.path(), 32 * MIB);
    let script = format!(
        "label: gpt\n{base}2 : start=16384,size=16384,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
         {base}5 : start=32768,type=0FC63DAF-8483-4772-8E79-3D69D8477DE4,name=rootfs\n"
    );
    fed("sfdisk", &[&base], &script);
    fed("sgdisk", &["--move-main-table=2048", &base], "");
    let mut image = std::fs::read(&base).unwrap();
    for (i, byte) in image[..446].iter_mut().enumerate() {
        *byte = i as u8;
    }
    // What some tools leave behind is not ours to tidy up.
    image[1024..2048].fill(7);
    std::fs::write(&base, &image).unwrap();
    let disk = CowDisk::new(Arc::new(RawFile::open(base.as_ref()).unwrap()));
    let table = partition_table::read(&disk).unwrap();
    assert_eq!((table.boot.number, table.root.number), (2, 5));
    let grown = partition_table::grow_root(&disk, &table, 64 * MIB).unwrap();
    assert_eq!((grown.boot.number, grown.root.number), (2, 5));
    assert_eq!(grown.root.partuuid, table.root.partuuid);
    let path = written(&disk, dir.path());
    let after = std::fs::read(&path).unwrap();
    assert_eq!(after[..446], image[..446]);
    assert_eq!(after[1024..2048], image[1024..2048]);
    let verify = fed("sgdisk", &["--verify", &path], "");
    assert!(verify.contains("No problems found"), "{verify}");
    let dump = |path: &str| fed("sfdisk", &["--dump", path], "");
    let kept = |text: String| -> Vec<String> {
        let fields = text.lines().flat_map(|line| line.split([',', ':']));
        let fields = fields.map(str::trim).filter(|f| !f.contains(".img"));
        fields
            .filter(|f| !f.starts_with("size=") && f.parse::<u64>().is_err())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(kept(dump(&base)), kept(dump(&path)));
}

/// `sfdisk` of other util-linux, `sgdisk` and `blkid` find nothing wrong and see what we see.
fn accepted_gpt(path: &str, table: &PartitionTable) {
    let verify = fed("sfdisk", &["--verify", path], "");
    assert!(verify.contains("No errors detected"), "{verify}");
    let verify = fed("sgdisk", &["--verify", path], "");
    let clean = verify.contains("No problems found") && !verify.contains("Warning");
    assert!(clean, "{verify}");
    let TableKind::Gpt { disk_guid } = &table.kind else {
        panic!("{table:?}")
    };
    let probed = fed("blkid", &["-p", "-o", "export", path], "");
    for line in ["PTTYPE=gpt".to_owned(), format!("PTUUID={disk_guid}")] {
        assert!(probed.lines().any(|l| l == line), "{line}: {probed}");
    }
    let columns = "NR,START,SECTORS,UUID,NAME";
    let args = ["--raw", "--noheadings", "--output", columns, path];
    let seen = fed("partx", &args, "");
    for (part, name) in [(&table.boot, "bootfs"), (&table.root, "rootfs")] {
        let (start, sectors) = (part.start / 512, part.len / 512);
        let line = format!("{} {start} {sectors} {} {name}", part.number, part.partuuid);
        assert!(seen.lines().any(|l| l == line), "{line}: {seen}");
    }
}

fn bytes(disk: &CowDisk, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    disk.read_at(range.start, &mut bytes).unwrap();
    bytes
}

#[test]
fn makes_a_gpt_of_an_mbr() {
    let image = mbr_image();
    let made = || {
        let disk = disk(image.clone());
        let converted = partition_table::to_gpt(&disk, "bondsmith").unwrap();
        (disk, converted)
    };
    let (disk, converted) = made();
    let (old, new) = (
        partition_table::read(disk.base().as_ref()).unwrap(),
        &converted.table,
    );
    assert_eq!(*new, partition_table::read(&disk).unwrap());
    assert!(matches!(new.kind, TableKind::Gpt { .. }));
    for (old, new) in [(&old.boot, &new.boot), (&old.root, &new.root)] {
        assert_eq!((old.number, old.range()), (new.number, new.range()));
        let named = format!("PARTUUID={}\t/", old.partuuid);
        let wanted = format!("PARTUUID={}\t/", new.partuuid);
        assert_eq!(converted.new_ids.replace_in(&named), wanted);
    }
    // Of the base one page changes, and in it boot code and disk id do not.
    assert_eq!(disk.len(), LEN + MIB);
    let dirty = disk.settle().unwrap();
    let (front, behind): (Vec<u64>, Vec<u64>) = dirty.iter().partition(|p| **p * PAGE_SIZE < LEN);
    assert_eq!(front, [0]);
    assert!(!behind.is_empty());
    assert_eq!(bytes(&disk, 0..446), image[..446]);
    assert_eq!(bytes(&disk, 34 * 512..LEN), image[34 * 512..]);
    // The same again is the same to the byte; another owner has other ids; a GPT is left alone.
    let (again, _) = made();
    let all = |disk: &CowDisk| bytes(disk, 0..disk.len());
    assert_eq!(all(&again), all(&disk));
    let other = CowDisk::new(Arc::new(InMemory::from(image.clone())));
    let other = partition_table::to_gpt(&other, "windrunner").unwrap();
    assert_ne!(other.table.root.partuuid, new.root.partuuid);
    let before = all(&disk);
    let twice = partition_table::to_gpt(&disk, "windrunner").unwrap();
    assert_eq!(twice.table, *new);
    assert!(twice.new_ids.is_empty());
    assert_eq!(all(&disk), before);
}

#[test]
fn says_why_there_can_be_no_gpt() {
    let message = |image: Vec<u8>| {
        let disk = disk(image);
        let error = partition_table::to_gpt(&disk, "x").unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        assert!(disk.settle().unwrap().is_empty() && disk.len() == LEN);
        error.to_string()
    };
    let mut early = mbr_image();
    early[446 + 8..446 + 12].copy_from_slice(&33u32.to_le_bytes());
    assert!(message(early).contains("partition 1 begins at sector 33, and the table takes 34"));
    for at in [512, 34 * 512 - 1] {
        let mut loader = mbr_image();
        loader[at] = 1;
        assert!(message(loader).contains("boot loader"));
    }
    let mut extended = mbr_image();
    extended[446 + 16 + 12..][..4].copy_from_slice(&16_384u32.to_le_bytes());
    let entry = &mut extended[446 + 32..][..16];
    entry[4] = 0x05;
    entry[8..12].copy_from_slice(&60_000u32.to_le_bytes());
    entry[12..16].copy_from_slice(&8u32.to_le_bytes());
    assert!(message(extended).contains("partition 3 has the MBR type 05"));
    // The first sector that a partition can begin at, and nothing in the gap.
    let mut tight = mbr_image();
    tight[446 + 8..446 + 12].copy_from_slice(&34u32.to_le_bytes());
    partition_table::to_gpt(&disk(tight), "x").unwrap();
}

/// The bytes that sfdisk writes when it is told what our table says, and the judgement of others.
#[test]
fn sfdisk_makes_the_same_gpt() {
    let dir = tempfile::tempdir().unwrap();
    let base = blank(dir.path(), 32 * MIB);
    let script = "label: dos\nlabel-id: 0x0a1b2c3d\nstart=16384,size=16384,type=c,bootable\n\
        start=32768,size=16384,type=83\n\nstart=49152,type=82\n";
    fed("sfdisk", &[&base], script);
    let disk = CowDisk::new(Arc::new(RawFile::open(base.as_ref()).unwrap()));
    let table = partition_table::to_gpt(&disk, "bondsmith").unwrap().table;
    let path = written(&disk, dir.path());
    accepted_gpt(&path, &table);
    let dump = fed("sfdisk", &["--dump", &path], "");
    for field in [
        "first-lba: 34",
        "last-lba: 67550",
        "type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
        "type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
        "name=\"bootfs\", attrs=\"LegacyBIOSBootable\"",
    ] {
        assert!(dump.contains(field), "{field}: {dump}");
    }
    let other = dir.path().join("other.img");
    std::fs::File::create(&other)
        .unwrap()
        .set_len(disk.len())
        .unwrap();
    fed("sfdisk", &["-q", other.to_str().unwrap()], &dump);
    let (ours, theirs) = (
        std::fs::read(&path).unwrap(),
        std::fs::read(&other).unwrap(),
    );
    assert_eq!(ours[446..34 * 512], theirs[446..34 * 512]);
    assert_eq!(ours[32 * MIB as usize..], theirs[32 * MIB as usize..]);
}

/// What an MBR cannot: a root partition that ends beyond 2 TiB.
#[test]
fn a_made_gpt_grows_beyond_2_tib() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base.img");
    std::fs::write(&base, mbr_image()).unwrap();
    for len in [40 * MIB, 3 << 40] {
        let disk = CowDisk::new(Arc::new(RawFile::open(&base).unwrap()));
        let made = partition_table::to_gpt(&disk, "x").unwrap().table;
        assert_eq!(made.root_end(made.root.range().end + MIB), 32 * MIB);
        let grown = partition_table::grow_root(&disk, &made, len).unwrap();
        assert_eq!((grown.root.len, disk.len()), (len, 17 * MIB + len));
        assert_eq!(grown.root_end(disk.len()), grown.root.range().end);
        assert_eq!(grown.root.partuuid, made.root.partuuid);
        // Where the first backup was, nothing is left.
        let old = bytes(&disk, LEN..LEN + MIB);
        assert!(old.iter().all(|&b| b == 0));
        let path = written(&disk, dir.path());
        accepted_gpt(&path, &grown);
    }
}

/// Logical partitions are not ours, and `mbrman` would follow them out of the address space.
#[test]
fn chains_of_logical_partitions_are_not_followed() {
    let mut image = mbr_image();
    let entry = &mut image[446 + 32..][..16];
    entry[4] = 0x05;
    entry[8..12].copy_from_slice(&60_000u32.to_le_bytes());
    entry[12..16].copy_from_slice(&8u32.to_le_bytes());
    image[446 + 16 + 12..][..4].copy_from_slice(&16_384u32.to_le_bytes());
    let ebr = &mut image[60_000 * 512..][..512];
    ebr[446 + 4] = 0x83;
    ebr[446 + 8..][..4].fill(0xff);
    ebr[510..].copy_from_slice(&[0x55, 0xaa]);
    let table = partition_table::read(&InMemory::from(image)).unwrap();
    assert_eq!(table.root.number, 2);
}

#[test]
fn a_boot_flag_that_is_none_is_damage() {
    let mut image = mbr_image();
    image[446 + 16] = 0x12;
    assert!(message(image).contains("damaged"));
}

#[test]
fn damaged_gpts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = gpt_base(dir.path());
    let image = std::fs::read(base).unwrap();
    for (at, word) in [
        (512, "EFI PART"),
        (512 + 57, "checksum of its header"),
        (1024 + 60, "checksum of its entries"),
    ] {
        let mut image = image.clone();
        image[at] ^= 1;
        let text = message(image);
        assert!(text.contains(word), "{text}");
    }
}

/// Makes the partitions of [`mbr_image`] those of a GPT with its entries in sector 2.
fn put_gpt(image: &mut [u8]) {
    image[446 + 4] = 0xee;
    image[446 + 16..510].fill(0);
    let header = &mut image[512..1024];
    header[..8].copy_from_slice(b"EFI PART");
    header[10] = 1;
    header[12] = 92;
    header[24] = 1;
    header[32..40].copy_from_slice(&(LEN / 512 - 1).to_le_bytes());
    header[72] = 2;
    header[80] = 128;
    header[84] = 128;
    // The first bytes of the types of FAT and Linux file systems.
    let efi = [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
    ];
    let linux = [
        0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d,
        0xe4,
    ];
    for (slot, kind, first, last) in [(0, efi, 16_384, 32_767), (1, linux, 32_768, 65_000u64)] {
        let entry = &mut image[1024 + slot * 128..][..128];
        entry[..16].copy_from_slice(&kind);
        entry[16] = 1 + slot as u8;
        entry[32..40].copy_from_slice(&u64::to_le_bytes(first));
        entry[40..48].copy_from_slice(&last.to_le_bytes());
    }
}

fn seal_gpt(image: &mut [u8]) {
    let entries = crc32fast::hash(&image[1024..1024 + 128 * 128]);
    image[512 + 88..][..4].copy_from_slice(&entries.to_le_bytes());
    image[512 + 16..][..4].fill(0);
    let header = crc32fast::hash(&image[512..512 + 92]);
    image[512 + 16..][..4].copy_from_slice(&header.to_le_bytes());
}

/// Without tools, and so that the fuzzer below is known to start from a table that can grow.
#[test]
fn grows_a_gpt() {
    let mut image = mbr_image();
    put_gpt(&mut image);
    seal_gpt(&mut image);
    let disk = disk(image);
    let table = partition_table::read(&disk).unwrap();
    let grown = partition_table::grow_root(&disk, &table, 40 * MIB).unwrap();
    assert_eq!(grown.root.range(), 16 * MIB..56 * MIB);
    assert_eq!(disk.len(), 57 * MIB);
    let mut backup = [0; 8];
    disk.read_at(disk.len() - 512, &mut backup).unwrap();
    assert_eq!(backup, *b"EFI PART");
}

proptest! {
    #![proptest_config(cases(400))]

    /// Whatever the first sectors say, there is an answer.
    #[test]
    fn any_bytes_are_read_without_panic(flips in prop::collection::vec((0usize..1536, any::<u8>()), 1..40), gpt in any::<bool>()) {
        let mut image = mbr_image();
        image.truncate(64 << 10);
        if gpt {
            put_gpt(&mut image);
        }
        for (at, byte) in flips {
            image[at] = byte;
        }
        if gpt {
            // With checksums put right the rest of the header is looked at, too.
            seal_gpt(&mut image);
        }
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        let disk = CowDisk::new(Arc::new(Padded(image.clone())));
        if let Ok(table) = partition_table::read(&disk) {
            let len = table.root.len.saturating_add(1 << 20);
            if let Ok(grown) = partition_table::grow_root(&disk, &table, len) {
                prop_assert_eq!((grown.root.start, grown.root.len), (table.root.start, len));
                prop_assert_eq!(&grown.root.partuuid, &table.root.partuuid);
                prop_assert_eq!((&grown.kind, &grown.boot), (&table.kind, &table.boot));
                let mut sector = [0; 512];
                disk.read_at(0, &mut sector).unwrap();
                // Nothing but the length and the CHS address of the grown entry.
                let mut before = image[..512].to_vec();
                if let TableKind::Mbr { .. } = table.kind {
                    let entry = 446 + (table.root.number as usize - 1) * 16;
                    for kept in [entry + 5..entry + 8, entry + 12..entry + 16] {
                        before[kept.clone()].copy_from_slice(&sector[kept]);
                    }
                    prop_assert_eq!(&sector[..], &before[..]);
                }
                prop_assert_eq!(&sector[..446], &before[..446]);
            }
        }
        let disk = CowDisk::new(Arc::new(Padded(image.clone())));
        if let Ok(made) = partition_table::to_gpt(&disk, "x") {
            let table = partition_table::read(disk.base().as_ref()).unwrap();
            prop_assert_eq!((made.table.root.range(), made.table.boot.range()), (table.root.range(), table.boot.range()));
            let is_gpt = matches!(made.table.kind, TableKind::Gpt { .. });
            prop_assert!(is_gpt);
            prop_assert_eq!(&bytes(&disk, 0..446), &image[..446]);
        }
    }
}
