//! Builds from bases that stay packed: what comes out is what a raw base gives, and no more of the
//! base is decoded, kept or held in memory than it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::common::tools::{ok, sha256};
use crate::common::workbench::{PROFILE, Ran, Workbench, files_below, fixture};
use imgbuild::disk::RawFile;
use imgbuild::xz::{XzBlock, XzLayout};
use tempfile::TempDir;

fn xz(args: &[&str], input: &Path) -> Vec<u8> {
    ok("xz", &[args, &[input.to_str().unwrap()]].concat())
}

/// A fixture, raw and in blocks of 1 MiB.
struct Bases {
    dir: TempDir,
    raw: PathBuf,
}

/// Not a LazyLock, which would be poisoned by the first test that is skipped.
static BASES: OnceLock<Bases> = OnceLock::new();

fn bases() -> &'static Bases {
    BASES.get_or_init(make_bases)
}

fn make_bases() -> Bases {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let raw = fixture("trixie");
    let packed = xz(&["-T2", "-0", "-c", "--block-size=1MiB"], &raw);
    fs::write(dir.path().join("base.img.xz"), packed).unwrap();
    Bases { dir, raw }
}

fn raw() -> &'static str {
    bases().raw.to_str().unwrap()
}

fn packed() -> String {
    bases().dir.path().join("base.img.xz").display().to_string()
}

#[track_caller]
fn build(bench: &Workbench, base: &str, more: &[&str]) -> Ran {
    let ran = bench.run(&bench.build_args(base, more));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran
}

/// The raw image that `node` is when it is built from the raw base.
fn expected() -> &'static [u8] {
    static EXPECTED: OnceLock<Vec<u8>> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let bench = Workbench::new();
        build(&bench, raw(), &["--format", "img"]);
        fs::read(bench.path("out/node.img")).unwrap()
    })
}

fn raw_copies(bench: &Workbench) -> usize {
    let files = files_below(&bench.path("cache/raw"));
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "img"))
        .count()
}

/// “decoded N of M blocks”.
fn decoded(said: &str) -> (usize, usize) {
    let line = said
        .lines()
        .find(|line| line.contains(": decoded "))
        .unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<usize> = line
        .rsplit(": decoded ")
        .next()
        .unwrap()
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    (numbers[0], numbers[1])
}

#[test]
fn a_node_from_a_packed_base_is_that_of_the_raw_base() {
    let bench = Workbench::new();
    let ran = build(&bench, &packed(), &["--format", "img.xz", "-v"]);
    assert!(xz(&["-dc"], &bench.path("out/node.img.xz")) == expected());
    // Nothing was unpacked, and little decoded.
    assert_eq!(files_below(&bench.path("cache/raw")), Vec::<PathBuf>::new());
    assert!(!ran.stderr.contains("unpacking"), "{}", ran.stderr);
    let (some, all) = decoded(&ran.stderr);
    assert!(some * 4 < all, "{some} of {all} blocks");

    let ran = build(&bench, &packed(), &["--format", "img"]);
    assert!(fs::read(bench.path("out/node.img")).unwrap() == expected());
    assert_eq!(raw_copies(&bench), 0);
    let sums = fs::read_to_string(bench.path("out/SHA256SUMS")).unwrap();
    assert!(sums.contains(&sha256(expected())), "{sums}");
    assert!(ran.stdout.contains("SHA256SUMS"));
}

#[test]
fn what_a_build_read_of_its_base_serves_the_next() {
    let bench = Workbench::new();
    let image = bench.path("out/node.img.xz");
    let build = || {
        let ran = build(&bench, &packed(), &["-v"]);
        (fs::read(&image).unwrap(), decoded(&ran.stderr).0)
    };
    let (first, read) = build();
    assert!(read > 0);
    let kept = files_below(&bench.path("cache/blocks"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    let (second, read) = build();
    assert_eq!(read, 0);
    assert!(second == first);

    let pages = fs::read(&kept[0]).unwrap();
    let mut damaged = pages.clone();
    damaged[pages.len() / 2] ^= 1;
    for broken in [&damaged[..], &pages[..pages.len() / 2], b""] {
        fs::write(&kept[0], broken).unwrap();
        let (again, read) = build();
        assert!(read > 0);
        assert!(again == first);
        assert!(fs::read(&kept[0]).unwrap() == pages);
    }
    // A cache that cannot be written to is told of, and is no reason to fail.
    fs::remove_file(&kept[0]).unwrap();
    fs::create_dir(&kept[0]).unwrap();
    let (again, _) = build();
    assert!(again == first);
}

/// Counts who opens a file, as the kernel tells it.
#[cfg(target_os = "linux")]
struct Opens(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Opens {
    fn of(path: &str) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        // The kernel makes one event of equal ones in a row: what is done between opens keeps them apart.
        let events = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::CLOSE;
        add_watch(&watch, path, events).unwrap();
        Self(watch)
    }

    /// Since the last time.
    fn count(&self) -> usize {
        use rustix::fs::inotify::{ReadFlags, Reader};
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut room);
        let mut opens = 0;
        while let Ok(event) = reader.next() {
            opens += usize::from(event.events().contains(ReadFlags::OPEN));
        }
        opens
    }
}

/// With its digest known, a build needs the base once: index, image and splice share the open file.
#[test]
#[cfg(target_os = "linux")]
fn a_packed_base_is_opened_once() {
    let bench = Workbench::new();
    let own = bench.path("own.img.xz");
    fs::copy(packed(), &own).unwrap();
    let own = own.to_str().unwrap();
    build(&bench, own, &["--format", "img.xz"]);
    let opens = Opens::of(own);
    (0..2).for_each(|_| drop(fs::read(own).unwrap()));
    assert_eq!(opens.count(), 2, "what is counted");
    build(&bench, own, &["--format", "img.xz"]);
    assert_eq!(opens.count(), 1);
}

#[test]
fn the_digest_of_the_raw_image_is_told_when_asked_for() {
    let bench = Workbench::new();
    let ran = build(&bench, &packed(), &["--checksums", "all"]);
    let digest = sha256(expected());
    assert!(
        ran.stderr.contains(&format!("raw image: {digest}")),
        "{}",
        ran.stderr
    );
    assert_eq!(raw_copies(&bench), 0);
    let ran = build(&bench, raw(), &["--checksums", "all", "--format", "img"]);
    assert!(
        ran.stderr.contains(&format!("raw image: {digest}")),
        "{}",
        ran.stderr
    );
}

#[test]
fn without_checksums_the_image_is_the_same_and_no_old_digest_stays() {
    let bench = Workbench::new();
    let sums = bench.path("out/SHA256SUMS");
    build(&bench, &packed(), &["--format", "img"]);
    assert!(sums.exists());
    for base in [raw(), &packed()] {
        let ran = build(&bench, base, &["--format", "img", "--checksums", "none"]);
        assert!(fs::read(bench.path("out/node.img")).unwrap() == expected());
        assert!(!sums.exists());
        assert!(!ran.stdout.contains("SHA256SUMS"));
    }
    build(&bench, &packed(), &["--format", "img.xz"]);
    let ran = build(&bench, raw(), &["--format", "img", "--checksums", "none"]);
    // The digest of the packed image is still right.
    let text = fs::read_to_string(&sums).unwrap();
    assert!(
        text.contains("node.img.xz") && text.lines().count() == 1,
        "{text}"
    );
    assert!(ran.stdout.contains("SHA256SUMS"));
}

#[test]
fn an_image_that_was_replaced_has_its_new_digest_also_when_the_next_one_fails() {
    let bench = Workbench::new();
    let sums = bench.path("out/SHA256SUMS");
    build(&bench, raw(), &["--format", "img"]);
    let before = fs::read_to_string(&sums).unwrap();
    // Nothing can be put in the place of a folder.
    fs::create_dir(bench.path("out/node.img.xz")).unwrap();
    let more = [
        "--format",
        "img",
        "--format",
        "img.xz",
        "--set",
        "locale.timezone=Europe/Berlin",
    ];
    let ran = bench.run(&bench.build_args(raw(), &more));
    ran.assert_fails(1, &["node.img.xz is a folder"]);
    let after = fs::read_to_string(&sums).unwrap();
    assert_ne!(before, after);
    let digest = sha256(&fs::read(bench.path("out/node.img")).unwrap());
    assert_eq!(after, format!("{digest}  node.img\n"));
}

#[test]
fn several_raw_images_are_made_from_one_unpacking() {
    let bench = Workbench::new();
    let other = PROFILE
        .replace("\"node\"", "\"other\"")
        .replace("10.0.0.2", "10.0.0.3");
    bench.write("profiles/other.toml", other);
    let both = |base: &str, out: &str| {
        let args = ["--all", "--base", base, "--offline", "--format", "img"];
        let ran = bench.run(&[&args[..], &["-v", "--out", out]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    };
    let ran = both(&packed(), "out");
    assert_eq!(ran.stderr.matches("unpacking").count(), 1, "{}", ran.stderr);
    assert_eq!(raw_copies(&bench), 1);
    both(raw(), "from-raw");
    // Records name the file that the base was.
    let sums = |out: &str| -> Vec<String> {
        let text = fs::read_to_string(bench.path(out).join("SHA256SUMS")).unwrap();
        let images = text.lines().filter(|line| line.ends_with(".img"));
        images.map(str::to_owned).collect()
    };
    assert_eq!(sums("out").len(), 2);
    assert_eq!(sums("out"), sums("from-raw"));
    fs::remove_file(bench.path("profiles/other.toml")).unwrap();
    // The copy is used from then on.
    let ran = build(&bench, &packed(), &["-v"]);
    assert!(
        ran.stderr.contains("read from a raw image"),
        "{}",
        ran.stderr
    );
}

#[test]
fn bases_packed_in_other_ways_give_the_same_node() {
    let folder = bases().dir.path();
    let split = |name: &str, part: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, part).unwrap();
        xz(&["-T2", "-0", "-c", "--block-size=4MiB"], &path)
    };
    let whole = fs::read(raw()).unwrap();
    let (a, b) = whole.split_at(77 << 20);
    let ways = [
        (
            "streams",
            [split("a", a), vec![0; 8], split("b", b)].concat(),
            true,
        ),
        ("one-block", xz(&["-T1", "-0", "-c"], &bases().raw), false),
    ];
    for (name, bytes, in_place) in ways {
        let path = folder.join(format!("{name}.img.xz"));
        fs::write(&path, bytes).unwrap();
        let bench = Workbench::new();
        let ran = build(&bench, path.to_str().unwrap(), &["--format", "img", "-v"]);
        assert!(
            fs::read(bench.path("out/node.img")).unwrap() == expected(),
            "{name}"
        );
        assert_eq!(raw_copies(&bench) == 0, in_place, "{name}");
        assert_eq!(
            ran.stderr.contains("not packed in blocks"),
            !in_place,
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn damage_in_a_packed_base_is_found_wherever_it_is() {
    let whole = fs::read(packed()).unwrap();
    let layout = XzLayout::read(&RawFile::open(Path::new(&packed())).unwrap());
    let blocks = layout.unwrap().unwrap().blocks;
    let largest = |blocks: &[XzBlock]| {
        let largest = blocks.iter().max_by_key(|block| block.total_size());
        largest.unwrap().offset as usize + 2000
    };
    // In the boot partition, in files of the root partition, and in the last block.
    let half = blocks.len() / 2;
    let last = blocks.last().unwrap().offset as usize + 20;
    for at in [largest(&blocks[..half]), largest(&blocks[half..]), last] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let bench = Workbench::new();
        bench.write("bad.img.xz", &bytes);
        for format in ["img", "img.xz"] {
            let ran = bench.run(&bench.build_args("bad.img.xz", &["--format", format]));
            ran.assert_fails(3, &["of 280 of bad.img.xz", "damaged"]);
            bench.assert_nothing_left();
        }
        let args = [
            "flash",
            "-p",
            "node",
            "--base",
            "bad.img.xz",
            "--to",
            "card",
        ];
        let ran = bench.run(&args);
        ran.assert_fails(3, &["of 280 of bad.img.xz", "damaged"]);
        assert!(!bench.path("card").exists());
    }
}

#[test]
fn a_packed_base_of_the_users_own_is_verified_once() {
    let bench = Workbench::new();
    bench.write("base.img.xz", fs::read(packed()).unwrap());
    let verifies = |more: &[&str]| {
        let ran = build(&bench, "base.img.xz", more);
        ran.stderr.contains("verifying base.img.xz")
    };
    // All of it is decoded anyway.
    assert!(!verifies(&["--format", "img"]));
    assert!(verifies(&[]));
    assert!(!verifies(&[]));
    assert!(!verifies(&["--format", "img", "--format", "img.xz"]));
    // Another file in its place, with one bit less.
    let mut bytes = fs::read(packed()).unwrap();
    let (at, digest) = (bytes.len() / 2, sha256(&bytes));
    bytes[at] ^= 1;
    fs::remove_file(bench.path("base.img.xz")).unwrap();
    bench.write("base.img.xz", &bytes);
    let again = || bench.run(&bench.build_args("base.img.xz", &[]));
    again().assert_fails(3, &["verifying base.img.xz", "damaged"]);
    let words = ["base.img.xz has the wrong sha256", &digest];
    let more = ["--base-sha256", &digest];
    let ran = bench.run(&bench.build_args("base.img.xz", &more));
    ran.assert_fails(3, &words);
    fs::copy(packed(), bench.path("base.img.xz")).unwrap();
    fs::remove_dir_all(bench.path("cache")).unwrap();
    assert!(!verifies(&more));
}

/// As many nodes as anybody has, at once, with more payload than the memory could hold.
#[test]
#[cfg(target_os = "linux")]
fn fifty_nodes_stay_within_the_memory() {
    const MEMORY_KIB: usize = 256 << 10;
    let bench = Workbench::empty();
    let file = bench.path("blob").display().to_string();
    let role = format!(
        "[[payload]]\nname = \"blob\"\nfile = {file:?}\npath = \"/opt/blob\"\nmode = \"0644\"\n"
    );
    let line = |n: u32| format!("line {n} of many\n").into_bytes();
    let blob: Vec<u8> = (0..100_000).flat_map(line).collect();
    bench.write("blob", &blob);
    bench.add_role(&role);
    let common = PROFILE
        .replace("hostname = \"node\"", "")
        .replace("address  = \"10.0.0.2\"", "")
        .replace("roles    = []", "roles    = [\"x\"]");
    fs::remove_file(bench.path("profiles/node.toml")).unwrap();
    bench.write("profiles/cluster.toml", common);
    for node in 0..50 {
        let text = format!(
            "extends = \"cluster\"\nhostname = \"node-{node}\"\naddress = \"10.0.0.{}\"\n",
            node + 10
        );
        bench.write(&format!("profiles/node-{node}.toml"), text);
    }
    let base = packed();
    let args = [
        "--all",
        "--base",
        &base,
        "--offline",
        "--jobs",
        "50",
        "--format",
        "img.xz",
    ];
    // The kernel refuses more memory than this, and then the program ends.
    let mut command = Command::new("sh");
    command.args([
        "-c",
        &format!("ulimit -d {MEMORY_KIB} && exec \"$@\""),
        "sh",
    ]);
    command.arg(env!("CARGO_BIN_EXE_imgbuild")).args(args);
    bench.surround(&mut command);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // An image and three records each, and the checksums.
    assert_eq!(ran.stdout.lines().count(), 50 * 4 + 1);
    // Each is a node of its own, with the payload.
    let image = |node: &str| xz(&["-dc"], &bench.path(&format!("out/{node}.img.xz")));
    let (first, last) = (image("node-0"), image("node-49"));
    assert!(first != last);
    for image in [first, last] {
        let mut lines = image.split(|&byte| byte == b'\n');
        assert!(lines.any(|line| line == b"line 99999 of many"));
    }
}
