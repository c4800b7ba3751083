//! Images read inside their `.img.xz`, as xz makes them in all its ways.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild::disk::{Content, CowDisk, InMemory, ReadAt};
use imgbuild::error::{Error, ErrorKind, Result};
use imgbuild::job::{Cancel, Job};
use imgbuild::xz::{Check, XzImage, XzImageOptions, XzLayout};
use proptest::prelude::*;

use crate::common::emit::{fast, open_splice, write_xz, xz_image};
use crate::common::fuzz_cases::cases;
use crate::common::needs;
use crate::common::sample_image::{MIB, mixed_image as image};
use crate::common::tools::ok;

/// `raw` as xz packs it with `args`.
fn packed(raw: &[u8], args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    std::fs::write(&path, raw).unwrap();
    let mut all = vec!["-c"];
    all.extend(args);
    all.push(path.to_str().unwrap());
    ok("xz", &all)
}

const BLOCKS: &[&str] = &["-T2", "-1", "--block-size=1MiB"];

/// A file in a folder of its own.
struct Saved(tempfile::TempDir, PathBuf);

fn save(bytes: &[u8]) -> Saved {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.img.xz");
    std::fs::write(&path, bytes).unwrap();
    Saved(dir, path)
}

fn options(cache: u64) -> XzImageOptions {
    XzImageOptions { cache, decoders: 2 }
}

fn open(path: &Path) -> Result<Option<XzImage>> {
    xz_image(path, options(3 << 20))
}

fn read(image: &dyn ReadAt, range: Range<usize>) -> Result<Vec<u8>> {
    let mut bytes = vec![0xEE; range.len()];
    image.read_at(range.start as u64, &mut bytes)?;
    Ok(bytes)
}

fn chain(error: &Error) -> String {
    let all: Vec<_> = error.chain().map(ToString::to_string).collect();
    all.join(": ")
}

#[test]
fn every_way_xz_packs_reads_the_same() {
    let raw = image(7 * MIB + 1234);
    let half = 3 * MIB + 77;
    let joined = |gap: usize, args: &[&str]| {
        let (a, b) = (packed(&raw[..half], args), packed(&raw[half..], args));
        [a, vec![0; gap], b, vec![0; 2 * gap]].concat()
    };
    let crc32 = packed(&raw[..half], &["-C", "crc32", "-1"]);
    let sha = packed(&raw[half..], &["-C", "sha256", "-T2", "--block-size=1MiB"]);
    let files = [
        ("blocks", packed(&raw, BLOCKS), 1),
        ("one block", packed(&raw, &["-T1", "-1"]), 1),
        (
            "odd blocks",
            packed(&raw, &["-T2", "--block-size=1000003"]),
            1,
        ),
        (
            "crc32",
            packed(&raw, &["-C", "crc32", "-T2", "--block-size=2MiB"]),
            1,
        ),
        (
            "sha256",
            packed(&raw, &["-C", "sha256", "-T2", "--block-size=2MiB"]),
            1,
        ),
        (
            "no check",
            packed(&raw, &["-C", "none", "-T2", "--block-size=2MiB"]),
            1,
        ),
        ("two streams", joined(0, BLOCKS), 2),
        ("two streams, padded", joined(8, BLOCKS), 2),
        ("padding of 100 KiB", joined(100 << 10, BLOCKS), 2),
        (
            "empty stream",
            [packed(&[], &[]), packed(&raw, BLOCKS), packed(&[], &[])].concat(),
            3,
        ),
        ("mixed checks", [crc32, sha].concat(), 2),
    ];
    for (name, bytes, streams) in files {
        let file = save(&bytes);
        assert!(
            ok("xz", &["-dc", file.1.to_str().unwrap()]) == raw,
            "{name}"
        );
        let image = open(&file.1).unwrap().expect(name);
        assert_eq!(image.layout().streams, streams, "{name}");
        assert_eq!(image.len(), raw.len() as u64, "{name}");
        // From the end, across blocks, and all at once.
        for range in [
            7 * MIB..raw.len(),
            MIB - 5..MIB + 5,
            half - 9..half + 9,
            0..raw.len(),
        ] {
            assert!(read(&image, range.clone()).unwrap() == raw[range], "{name}");
        }
        assert!(read(&image, raw.len() - 4..raw.len() + 1).is_err());
        let mut all = Vec::new();
        image
            .blocks_in_order(3, &Cancel::default(), |place, block| {
                assert_eq!(place.uncompressed_offset, all.len() as u64);
                match block.data() {
                    Some(data) => all.extend_from_slice(data),
                    None => all.resize(all.len() + place.uncompressed_size as usize, 0),
                }
                Ok(())
            })
            .unwrap();
        assert!(all == raw, "{name}");
    }
}

#[test]
fn only_the_blocks_that_are_read_are_decoded() {
    let raw = image(20 * MIB);
    let file = save(&packed(&raw, BLOCKS));
    let image = open(&file.1).unwrap().unwrap();
    assert_eq!(image.layout().blocks.len(), 20);
    for _ in 0..3 {
        read(&image, 5 * MIB..5 * MIB + 100).unwrap();
        read(&image, 10 * MIB - 4..10 * MIB + 4).unwrap();
        assert_eq!(image.decoded(), 3);
    }
    // Zeros are found by decoding one block of them; which others are the same is seen from outside.
    assert_eq!(
        image.next_data(3 * MIB as u64).unwrap().unwrap().start,
        5 * MIB as u64
    );
    let decoded = image.decoded();
    assert!(decoded <= 5, "{decoded}");
    assert_eq!(image.next_data(18 * MIB as u64).unwrap(), None);
    assert_eq!(image.decoded(), decoded);
    assert!(read(&image, 18 * MIB..20 * MIB).unwrap() == vec![0; 2 * MIB]);
    assert_eq!(image.decoded(), decoded);
}

#[test]
fn data_is_never_taken_for_zeros() {
    let raw = image(11 * MIB + 4321);
    let file = save(&packed(&raw, &["-T2", "-1", "--block-size=1500000"]));
    let image = open(&file.1).unwrap().unwrap();
    for pass in 0..2 {
        let mut at = 0;
        let mut seen = vec![false; raw.len()];
        while let Some(range) = image.next_data(at).unwrap() {
            assert!(range.start >= at && range.end > range.start);
            seen[range.start as usize..range.end as usize].fill(true);
            at = range.end;
        }
        assert!(
            raw.iter()
                .zip(&seen)
                .all(|(&byte, &seen)| seen || byte == 0)
        );
        let marked = seen.iter().filter(|&&s| s).count();
        // The second time everything is known.
        assert!(pass == 0 || marked < 900_000, "{marked}");
        read(&image, 0..raw.len()).unwrap();
    }
}

#[test]
fn many_readers_at_once_read_the_same() {
    let raw = image(12 * MIB);
    let file = save(&packed(&raw, BLOCKS));
    // Room for a single block: each pushes the other out.
    for cache in [0, 2 << 20, 100 << 20] {
        let image = xz_image(&file.1, options(cache)).unwrap().unwrap();
        std::thread::scope(|scope| {
            for reader in 0..6_usize {
                let (image, raw) = (&image, &raw);
                scope.spawn(move || {
                    for step in 0..60 {
                        let at = (reader * 7 + step * 5) % 11 * MIB + step * 1000;
                        let len = [10, 5000, 100_000, MIB][step % 4];
                        let got = read(image, at..at + len).unwrap();
                        assert!(got == raw[at..at + len], "{reader} {step}");
                    }
                });
            }
        });
        assert!(image.decoded() <= 12);
    }
}

#[test]
fn what_is_not_taken_by_blocks_is_known() {
    let raw = image(2 * MIB);
    let none = |bytes: &[u8]| open(&save(bytes).1).unwrap().is_none();
    assert!(none(&raw));
    assert!(none(&packed(&raw, &["--delta=dist=4", "--lzma2=preset=1"])));
    assert!(
        none(&packed(&raw, &["--arm64", "--lzma2=preset=1"])) || cfg!(not(target_os = "linux"))
    );
    assert!(none(&packed(&vec![0; 65 * MIB], &["-T1", "-0"])));
    assert!(none(&packed(&[], &[])));
}

#[test]
fn damage_is_named_with_the_block_and_its_place() {
    let raw = image(5 * MIB);
    for check in ["crc32", "crc64", "sha256", "none"] {
        let args = ["-T2", "-1", "--block-size=1MiB", "-C", check];
        let good = packed(&raw, &args);
        let layout = XzLayout::read(&InMemory::from(good.clone()))
            .unwrap()
            .unwrap();
        assert_eq!(layout.blocks.len(), 5);
        let block = layout.blocks[1];
        assert_eq!(block.check == Check::None, check == "none");
        let end = block.offset + block.total_size();
        // A byte of the data, the one that ends it, the check.
        let data = block.offset + block.header_size;
        let mut places = vec![data + 40, data + block.compressed_size() - 1];
        if check != "none" {
            places.push(end - 1);
        }
        for place in places {
            let mut bad = good.clone();
            bad[place as usize] ^= 0x10;
            let file = save(&bad);
            let image = open(&file.1).unwrap().unwrap();
            assert!(read(&image, 2 * MIB..3 * MIB).is_ok());
            for _ in 0..2 {
                let result = read(&image, MIB..MIB + 10);
                // Without a check some damage cannot be seen.
                let Err(error) = result else {
                    assert_eq!(check, "none");
                    continue;
                };
                let text = chain(&error);
                let offset = format!("at byte {}", block.offset);
                for part in ["block 2 of 5", "base.img.xz", &offset, "damaged"] {
                    assert!(text.contains(part), "{part}: {text}");
                }
                assert!(error.hint().is_some());
            }
            let result = image.blocks_in_order(2, &Cancel::default(), |_, _| Ok(()));
            assert!(result.is_err() || check == "none");
        }
    }
    // xz wants zeros behind the filters of a block's header, and would refuse a block that is copied.
    let mut bad = packed(&raw, BLOCKS);
    let size = (usize::from(bad[12]) + 1) * 4;
    bad[12 + size - 5] = 1;
    let checksum = crc32fast::hash(&bad[12..12 + size - 4]);
    bad[12 + size - 4..12 + size].copy_from_slice(&checksum.to_le_bytes());
    let error = open(&save(&bad).1).err().expect("an error");
    assert!(
        chain(&error).contains("header of a block"),
        "{}",
        chain(&error)
    );
    // A second stream whose index does not tell of all of it.
    let good = packed(&raw, BLOCKS);
    for cut in [1, 4, 12, 40] {
        let file = save(&[&good[..], &good[..good.len() - cut]].concat());
        let error = open(&file.1).err().expect("an error");
        assert!(chain(&error).contains("damaged"), "{}", chain(&error));
        let file = save(&[&good[..good.len() - cut], &good[..]].concat());
        assert!(open(&file.1).is_err());
    }
}

#[test]
fn cancelling_stops_a_whole_pass() {
    let file = save(&packed(&image(12 * MIB), BLOCKS));
    let image = open(&file.1).unwrap().unwrap();
    let cancel = Cancel::default();
    let error = image
        .blocks_in_order(2, &cancel, |_, _| {
            cancel.cancel();
            Ok(())
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(image.decoded() < 10);
}

#[test]
fn streams_are_spliced_into_one() {
    let raw = image(6 * MIB);
    let half = 3 * MIB;
    let bytes = [
        packed(&raw[..half], BLOCKS),
        vec![0; 4],
        packed(&raw[half..], BLOCKS),
    ]
    .concat();
    let file = save(&bytes);
    let splice = open_splice(&file.1, raw.len() as u64).unwrap().unwrap();
    let image = Arc::new(open(&file.1).unwrap().unwrap());
    let disk = CowDisk::new(image.clone());
    disk.write_at(4 * MIB as u64 + 5, b"changed").unwrap();
    let out = file.0.path().join("out.img.xz");
    write_xz(&disk, Some(&splice), &out, fast(2), &Job::silent(), "t").unwrap();
    let mut wanted = raw;
    wanted[4 * MIB + 5..4 * MIB + 12].copy_from_slice(b"changed");
    assert!(ok("xz", &["-dc", out.to_str().unwrap()]) == wanted);
    let list = String::from_utf8(ok("xz", &["-l", "--robot", out.to_str().unwrap()])).unwrap();
    assert!(list.contains("totals\t1\t6\t"), "{list}");
    assert_eq!(image.decoded(), 1);
    // Other checks than CRC64 cannot be copied into a stream that has them.
    let file = save(&packed(
        &wanted,
        &["-C", "crc32", "-T2", "--block-size=1MiB"],
    ));
    assert!(open_splice(&file.1, wanted.len() as u64).unwrap().is_none());
}

proptest! {
    #![proptest_config({ needs::programs(&["xz"]); cases(300) })]

    /// Damage anywhere gives the right bytes or an error, never a panic.
    #[test]
    fn damaged_files_give_the_right_bytes_or_an_error(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        use std::sync::OnceLock;
        static FILE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
        let (raw, good) = FILE.get_or_init(|| {
            let raw = image(60_000);
            let good = packed(&raw, &["-T2", "--block-size=8KiB"]);
            (raw, good)
        });
        let mut bytes = good.clone();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let file = save(&bytes);
        if let Ok(Some(image)) = open(&file.1)
            && let Ok(read) = read(&image, 0..raw.len())
        {
            prop_assert!(read == *raw);
        }
    }
}
