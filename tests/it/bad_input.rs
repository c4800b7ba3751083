//! Bad input, through the real binary: one clear message, the right exit code, no panic, nothing
//! partial under a final name.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common::small_base::{self, SmallBase};
use crate::common::tools;
use crate::common::workbench::{PROFILE, Ran, Workbench, fixture, fixture_xz};

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const VERIFICATION: i32 = 3;
const REFUSED: i32 = 4;
const INTERRUPTED: i32 = 130;

/// A copy of a fixture to damage.
struct Base {
    bench: Workbench,
    file: File,
}

impl Base {
    fn copy_of(variant: &str) -> Self {
        let bench = Workbench::new();
        let status = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .arg(fixture(variant))
            .arg(bench.path("base.img"))
            .status();
        assert!(status.unwrap().success());
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).open(bench.path("base.img"));
        let file = file.unwrap();
        Self { bench, file }
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    fn number(&self, at: u64, len: usize) -> u64 {
        let bytes = self.read(at, len);
        bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    }

    /// Where partition `index` (from 0) of the MBR begins, bytes.
    fn partition(&self, index: u64) -> u64 {
        self.number(446 + 16 * index + 8, 4) * 512
    }

    fn boot(&self) -> u64 {
        self.partition(0)
    }

    fn root(&self) -> u64 {
        self.partition(1)
    }

    /// Changes a field of the ext4 superblock and makes its checksum right again.
    fn patch_superblock(&self, at: usize, len: usize, change: impl Fn(u64) -> u64) {
        let start = self.root() + 1024;
        let value = change(self.number(start + at as u64, len));
        self.write(start + at as u64, &value.to_le_bytes()[..len]);
        let crc = !crc32c::crc32c(&self.read(start, 0x3fc));
        self.write(start + 0x3fc, &crc.to_le_bytes());
    }

    /// Where copy `copy` of the file allocation table begins.
    fn fat(&self, copy: u64) -> u64 {
        let (reserved, sectors) = (
            self.number(self.boot() + 14, 2),
            self.number(self.boot() + 36, 4),
        );
        self.boot() + (reserved + copy * sectors) * 512
    }

    /// Writes an entry of the file allocation table to both copies.
    fn set_fat(&self, cluster: u64, value: u32) {
        for copy in 0..2 {
            self.write(self.fat(copy) + cluster * 4, &value.to_le_bytes());
        }
    }

    #[track_caller]
    fn assert_fails(&self, code: i32, words: &[&str]) {
        self.bench.build("base.img").assert_fails(code, words);
        self.bench.assert_nothing_left();
    }
}

/// A change to a base, and what must be said about it.
type Damage = (fn(&Base), i32, &'static [&'static str]);

#[track_caller]
fn check_damages(variant: &str, damages: &[Damage]) {
    for (damage, code, words) in damages {
        let base = Base::copy_of(variant);
        damage(&base);
        base.assert_fails(*code, words);
    }
}

#[test]
fn a_base_that_is_no_disk_image() {
    let not_an_image: &[&str] = &["base.img", "not a disk image", "hint: ", "Raspberry Pi OS"];
    for (content, words) in [
        (b"#!/bin/sh\necho hello\n".repeat(100), not_an_image),
        (vec![0; 4 << 20], not_an_image),
        (vec![b'x'; 7], not_an_image),
        (Vec::new(), &["base.img", "is empty", "hint: "]),
    ] {
        let bench = Workbench::new();
        bench.write("base.img", &content);
        let code = if content.is_empty() { USAGE } else { FAILED };
        bench.build("base.img").assert_fails(code, words);
        bench.assert_nothing_left();
    }
    let bench = Workbench::new();
    for (base, words) in [
        ("missing.img", &["missing.img", "No such file", "hint: "]),
        ("profiles/", &["profiles/", "is not a file", "hint: "]),
    ] {
        bench.build(base).assert_fails(USAGE, words);
    }
    bench.assert_nothing_left();
}

#[test]
fn a_truncated_xz() {
    let whole = fs::read(fixture_xz("trixie")).unwrap();
    for len in [20, whole.len() / 3, whole.len() - 8] {
        let bench = Workbench::new();
        bench.write("base.img.xz", &whole[..len]);
        let words = ["base.img.xz", "is truncated", "hint: download it again"];
        bench
            .build("base.img.xz")
            .assert_fails(VERIFICATION, &words);
        bench.assert_nothing_left();
    }
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0xff;
    let bench = Workbench::new();
    bench.write("base.img.xz", &flipped);
    let words = ["base.img.xz", "is damaged", "hint: download it again"];
    bench
        .build("base.img.xz")
        .assert_fails(VERIFICATION, &words);
    bench.assert_nothing_left();
}

#[test]
fn a_truncated_image() {
    let cut = |base: &Base| base.file.set_len(base.root() + (1 << 20)).unwrap();
    check_damages("trixie", &[(cut, FAILED, &["cut short", "hint: "])]);
}

#[test]
fn an_mbr_without_the_partitions() {
    check_damages(
        "trixie",
        &[
            (
                |base| base.write(446 + 16 + 4, &[0x07]),
                FAILED,
                &["base.img", "no Linux root partition", "hint: "],
            ),
            (
                |base| base.write(446, &[0; 16]),
                FAILED,
                &["no FAT boot partition", "hint: "],
            ),
            (
                |base| base.write(446 + 16 + 8, &1u32.to_le_bytes()),
                FAILED,
                &["overlap", "hint: "],
            ),
        ],
    );
}

#[test]
fn a_damaged_gpt() {
    check_damages(
        "gpt",
        &[
            (
                |base| base.write(512 + 24, &[7]),
                FAILED,
                &["GPT", "checksum of its header", "hint: "],
            ),
            (
                |base| base.write(1024 + 33, &[0x55]),
                FAILED,
                &["GPT", "checksum", "hint: "],
            ),
        ],
    );
}

#[test]
fn a_damaged_fat() {
    check_damages(
        "trixie",
        &[
            (
                |base| base.write(base.boot() + 11, &[0xff; 25]),
                FAILED,
                &[
                    "opening the boot file system",
                    "FAT",
                    "sectors of 65535",
                    "hint: ",
                ],
            ),
            (
                |base| base.write(base.boot() + 510, &[0; 2]),
                FAILED,
                &["FAT file system is damaged", "55 aa", "hint: "],
            ),
            (
                |base| base.write(base.fat(1) + 400, &[1, 2, 3]),
                FAILED,
                &["FAT file system is damaged", "two copies", "cluster 100"],
            ),
            (
                // The root folder's chain leads back to its beginning.
                |base| base.set_fat(2, 2),
                FAILED,
                &["FAT file system is damaged", "loops", "hint: "],
            ),
            (
                |base| base.set_fat(2, 0),
                FAILED,
                &["FAT file system is damaged", "cluster 2", "hint: "],
            ),
            (
                |base| base.write(base.boot() + 42, &[1]),
                FAILED,
                &["FAT32 that is not supported"],
            ),
            (
                |base| base.write(base.boot() + 22, &[9]),
                FAILED,
                &["FAT12 or FAT16", "hint: "],
            ),
        ],
    );
}

#[test]
fn a_damaged_ext4() {
    check_damages(
        "trixie",
        &[
            (
                |base| base.write(base.root() + 1024 + 0x38, &[0, 0]),
                FAILED,
                &[
                    "opening the root file system",
                    "no ext4 file system",
                    "0x0000",
                    "hint: ",
                ],
            ),
            (
                |base| base.write(base.root() + 1024 + 0x78, b"flipped"),
                FAILED,
                &["ext4 file system is damaged", "checksum", "hint: "],
            ),
            (
                |base| base.patch_superblock(0x20, 4, |_| 7),
                FAILED,
                &["ext4 file system is damaged", "blocks per group"],
            ),
            (
                |base| base.patch_superblock(0x4, 4, |blocks| blocks * 4),
                FAILED,
                &["ext4 file system is damaged", "do not fit the partition"],
            ),
            (
                // The group descriptors.
                |base| base.write(base.root() + 4096, &[0xff; 64]),
                FAILED,
                &["ext4 file system is damaged", "group 0", "hint: "],
            ),
        ],
    );
}

#[test]
fn an_ext4_with_features_that_can_not_be_edited() {
    check_damages(
        "trixie",
        &[
            (
                |base| base.patch_superblock(0x60, 4, |f| f | 0x8000_0000),
                REFUSED,
                &["unknown incompat feature 0x80000000", "hint: "],
            ),
            (
                |base| base.patch_superblock(0x60, 4, |f| f | 0x1_0000),
                REFUSED,
                &["encrypt", "hint: "],
            ),
            (
                |base| base.patch_superblock(0x64, 4, |f| f | 0x200),
                REFUSED,
                &["bigalloc", "hint: "],
            ),
            (
                |base| base.patch_superblock(0x60, 4, |f| f & !0x40),
                REFUSED,
                &["no extents", "hint: "],
            ),
        ],
    );
}

#[test]
fn an_ext4_that_was_not_put_away() {
    check_damages(
        "trixie",
        &[
            (
                |base| base.patch_superblock(0x60, 4, |f| f | 0x4),
                REFUSED,
                &[
                    "journal has not been replayed",
                    "needs_recovery",
                    "hint: run e2fsck",
                ],
            ),
            (
                |base| base.patch_superblock(0x3a, 2, |_| 0),
                REFUSED,
                &["marked as in use", "hint: run e2fsck"],
            ),
            (
                |base| base.patch_superblock(0x3a, 2, |state| state | 2),
                REFUSED,
                &["marked as having errors", "hint: run e2fsck"],
            ),
        ],
    );
}

#[test]
fn a_payload_beyond_what_the_file_system_can_grow_to() {
    let base = Base::copy_of("onek");
    let bench = &base.bench;
    bench.add_role("[[payload]]\nname = \"big\"\nfile = \"big\"\npath = \"/opt/big\"\n");
    // This base is without systemd, which has it.
    let getty = "overlays/x/root/etc/systemd/system/getty@.service";
    bench.write(getty, "[Install]\nWantedBy=getty.target\n");
    let big = File::create(bench.path("big")).unwrap();
    big.write_all_at(b"\x7fELF", 0).unwrap();
    big.set_len(TOO_MUCH).unwrap();
    base.assert_fails(FAILED, &["cannot grow beyond", "MiB", "hint: "]);

    // A fixed size that leaves too little room, and one that the base does not fit into.
    big.set_len(60 << 20).unwrap();
    for (size, code, words) in [
        (
            "208MiB",
            USAGE,
            ["`disk.size` of 208 MiB", "too little", "hint: "],
        ),
        (
            "100MiB",
            USAGE,
            ["`disk.size` is 100 MiB", "cannot shrink", "hint: "],
        ),
    ] {
        let set = format!("disk.size={size}");
        let args = bench.build_args("base.img", &["--format", "img", "--set", &set]);
        bench.run(&args).assert_fails(code, &words);
        bench.assert_nothing_left();
    }
}

/// More than an ext4 of 1 KiB blocks and of the fixture's size can grow by.
const TOO_MUCH: u64 = 1 << 30;

#[test]
fn a_circle_of_extends() {
    let bench = Workbench::new();
    bench.write("profiles/node.toml", format!("extends = \"b\"\n{PROFILE}"));
    bench.write("profiles/b.toml", "\nextends = \"c\"\n");
    bench.write("profiles/c.toml", "extends = \"b\"\n");
    let words = ["profiles/c.toml:1", "circle", "b → c → b", "hint: "];
    bench.build("base.img").assert_fails(USAGE, &words);
    bench.assert_nothing_left();
}

#[test]
fn a_template_with_an_undefined_variable() {
    for (text, words) in [
        (
            "a\nb {{ nodee.hostname }}\n",
            [
                "overlays/x/root/etc/x.j2:2",
                "undefined value",
                "nodee",
                "hint: ",
            ],
        ),
        (
            "{{ node.hostnam }}\n",
            [
                "overlays/x/root/etc/x.j2:1",
                "undefined value",
                "hostnam",
                "hint: ",
            ],
        ),
        (
            "\n\n{% if x %}\n",
            [
                "overlays/x/root/etc/x.j2:",
                "syntax error",
                "unexpected",
                "hint: ",
            ],
        ),
    ] {
        let bench = Workbench::new();
        bench.add_role("");
        bench.write("overlays/x/root/etc/x.j2", text);
        bench.build("base.img").assert_fails(USAGE, &words);
        bench.assert_nothing_left();
    }
}

#[test]
fn an_overlay_that_would_escape_its_folder() {
    for (manifest, place) in [
        ("[modes]\n\"/etc/../../x\" = \"0644\"", "/etc/../../x"),
        ("[directories]\n\"etc/x\" = \"0755\"", "etc/x"),
        ("[links]\n\"/../x\" = \"y\"", "/../x"),
        ("[remove]\npaths = [\"/a/..\"]", "/a/.."),
        (
            "[[payload]]\nname = \"p\"\nfile = \"p\"\npath = \"/opt/../../p\"",
            "/opt/../../p",
        ),
    ] {
        let bench = Workbench::new();
        bench.add_role(manifest);
        bench
            .build("base.img")
            .assert_fails(USAGE, &[place, "role.toml"]);
        bench.assert_nothing_left();
    }
    for (target, why) in [
        ("/etc/passwd", "is absolute"),
        ("../../../secret", "leads out of the overlay"),
    ] {
        let bench = Workbench::new();
        bench.add_role("");
        bench.write("overlays/x/root/etc/y", "");
        symlink(target, bench.path("overlays/x/root/etc/link")).unwrap();
        let words = ["overlays/x/root/etc/link", target, why, "hint: ", "[links]"];
        bench.build("base.img").assert_fails(REFUSED, &words);
        bench.assert_nothing_left();
    }
    let bench = Workbench::new();
    bench.add_role("[secrets.s]\nrequired = true\nhelp = \"\"\n");
    bench.write("overlays/x/boot/s.txt.j2", "{{ secret('s') }}");
    let profile = fs::read_to_string(bench.path("profiles/node.toml")).unwrap();
    bench.write(
        "profiles/node.toml",
        format!("{profile}[secrets]\ns = \"cmd:echo hunter2\"\n"),
    );
    let ran = bench.build("base.img");
    ran.assert_fails(REFUSED, &["overlays/x/boot/s.txt.j2", "boot partition"]);
    assert!(!ran.stderr.contains("hunter2"));
}

/// The head of a 64-bit program for `machine`.
fn elf(machine: u16) -> Vec<u8> {
    let mut head = vec![0; 4096];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[18..20].copy_from_slice(&machine.to_le_bytes());
    head
}

#[test]
fn a_payload_of_the_wrong_architecture() {
    let base = fixture("trixie").display().to_string();
    const PAYLOAD: &str =
        "[[payload]]\nname = \"tool\"\nfile = \"tool\"\npath = \"/opt/tool\"\nelf = \"aarch64\"\n";
    for (content, words) in [
        (elf(62), ["payload tool", "for x86_64", "for aarch64"]),
        (elf(40), ["payload tool", "for arm,", "for aarch64"]),
        (
            b"<html>not found</html>".to_vec(),
            ["payload tool", "not an ELF file", "for aarch64"],
        ),
    ] {
        let bench = Workbench::new();
        bench.add_role(PAYLOAD);
        bench.write("tool", content);
        let ran = bench.build(&base);
        ran.assert_fails(VERIFICATION, &words);
        ran.assert_fails(VERIFICATION, &["hint: "]);
        bench.assert_nothing_left();
    }
    let bench = Workbench::new();
    bench.add_role(&format!("{PAYLOAD}sha256 = \"{}\"\n", "0".repeat(64)));
    bench.write("tool", elf(183));
    let words = [
        "tool has the wrong sha256",
        "expected 0000",
        "found ",
        "hint: ",
    ];
    bench.build(&base).assert_fails(VERIFICATION, &words);
    bench.assert_nothing_left();
}

/// Runs `imgbuild ARGS` where a tmpfs with `options` is mounted on `folder` for it alone. Gives what
/// it said and the names left in the folder; `None` (and says why) where that is not possible.
fn run_on_tmpfs(
    bench: &Workbench,
    folder: &str,
    options: &str,
    args: &[&str],
) -> Option<(Ran, String)> {
    const SCRIPT: &str = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" || exit 77; folder=$2; shift 2; \"$@\"; code=$?; \
        ls -AR \"$folder\" >listing; exit $code";
    fs::create_dir_all(bench.path(folder)).unwrap();
    let mut command = Command::new("unshare");
    command
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            SCRIPT,
            "sh",
            options,
            folder,
        ])
        .arg(env!("CARGO_BIN_EXE_imgbuild"))
        .args(args);
    bench.surround(&mut command);
    let output = command.output();
    let ran = output.map(Ran::of).ok().filter(|ran| {
        let possible = !ran.stderr.contains("unshare:") && ran.code != Some(77);
        if !possible {
            crate::common::needs::say(&format!("cannot mount here: {}", ran.stderr.trim_end()));
        }
        possible
    })?;
    let listing = fs::read_to_string(bench.path("listing")).unwrap_or_default();
    Some((ran, listing))
}

#[test]
fn an_output_folder_without_space() {
    let bench = Workbench::new();
    let base = fixture("trixie");
    let args = bench.build_args(base.to_str().unwrap(), &["--format", "img"]);
    assert_eq!(bench.run(&args).code, Some(0));
    let needed = fs::metadata(bench.path("out/node.img")).unwrap().blocks() * 512;
    fs::remove_dir_all(bench.path("out")).unwrap();
    // Much too small is seen beforehand, a little too small in the middle.
    for (size, words) in [
        (
            4 << 20,
            ["not enough space in out", "MB are needed", "hint: "],
        ),
        (
            needed * 9 / 10,
            ["writing out/node.img", "No space left", "hint: "],
        ),
    ] {
        let options = format!("size={size}");
        let Some((ran, listing)) = run_on_tmpfs(&bench, "out", &options, &args) else {
            return;
        };
        ran.assert_fails(FAILED, &words);
        assert_eq!(listing.trim(), "out:");
    }
}

#[test]
fn a_cache_without_space() {
    let bench = Workbench::new();
    // Of the kind that has to be unpacked.
    let raw = fs::File::open(fixture("trixie")).unwrap();
    bench.write("base.img.zst", zstd::encode_all(raw, 1).unwrap());
    let args = bench.build_args("base.img.zst", &[]);
    let Some((ran, listing)) = run_on_tmpfs(&bench, "cache", "size=8m", &args) else {
        return;
    };
    ran.assert_fails(FAILED, &["unpacking", "No space left", "hint: "]);
    assert!(!listing.contains(".part"), "{listing}");
    bench.assert_nothing_left();
}

#[test]
fn an_output_folder_without_permission() {
    let bench = Workbench::new();
    bench.write("file", "");
    for out in ["file", "file/out"] {
        let args = bench.build_args("base.img", &["--out", out]);
        let words = [
            &format!("the output folder {out} cannot be written to"),
            "hint: ",
            "is not a folder",
        ];
        bench.run(&args).assert_fails(FAILED, &words);
    }
    assert_eq!(fs::read(bench.path("file")).unwrap(), b"");
    // Seen before anything is fetched: there is no base.img.
    let args = bench.build_args("base.img", &[]);
    if let Some((ran, _)) = run_on_tmpfs(&bench, "out", "ro", &args) {
        ran.assert_fails(
            FAILED,
            &["folder out cannot", "Read-only file system", "hint: "],
        );
    }
    let folder = bench.path("closed");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let args = bench.build_args("base.img", &["--out", "closed"]);
    let Some(output) = as_a_user(&bench, &args) else {
        return;
    };
    let words = ["folder closed cannot", "Permission denied", "hint: "];
    Ran::of(output).assert_fails(FAILED, &words);
}

/// Runs imgbuild as a user whom permissions hold for: root becomes nobody. `None` (and says why)
/// where that is not possible.
fn as_a_user(bench: &Workbench, args: &[&str]) -> Option<Output> {
    let probe = bench.path("probe");
    fs::write(&probe, "").unwrap();
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o444)).unwrap();
    if OpenOptions::new().append(true).open(probe).is_err() {
        return Some(bench.imgbuild(args).output().unwrap());
    }
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(bench.path(""), open).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(env!("CARGO_BIN_EXE_imgbuild"));
    bench.surround(command.args(args));
    let output = command.output();
    let output = output.ok().filter(|o| !o.stderr.starts_with(b"setpriv:"));
    if output.is_none() {
        crate::common::needs::say("cannot become a user here");
    }
    output
}

/// Starts a build and sends it `signal` after `delay`; whether that came before its end.
fn interrupt(base: &Path, signal: &str, delay: Duration) -> bool {
    let bench = Workbench::new();
    let more = [
        "--compress",
        "best",
        "--format",
        "img.xz",
        "--format",
        "img",
    ];
    let child = bench
        .imgbuild(&bench.build_args(base.to_str().unwrap(), &more))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    let pid = child.id().to_string();
    // It may be gone already.
    let _ = Command::new("kill").args(["-s", signal, &pid]).output();
    let ran = Ran::of(child.wait_with_output().unwrap());
    if ran.code == Some(0) {
        return false;
    }
    assert_eq!(
        ran.code,
        Some(INTERRUPTED),
        "{signal} after {delay:?}: {}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert_eq!(last, "interrupted: nothing unfinished was left behind");
    assert!(
        !ran.stderr.contains("panicked") && !ran.stderr.contains("error"),
        "{}",
        ran.stderr
    );
    let whole = bench.path("out/node.img.xz");
    if whole.exists() {
        // The first of the two outputs was done.
        let status = tools::tool("xz").arg("--test").arg(&whole).status();
        assert!(status.unwrap().success());
        fs::remove_file(whole).unwrap();
    }
    bench.assert_nothing_left();
    true
}

#[test]
fn a_signal_in_the_middle() {
    let bases: [PathBuf; 2] = [fixture("trixie"), fixture_xz("trixie")];
    let mut interrupted = 0;
    for (round, delay) in [50, 200, 600, 1500].into_iter().enumerate() {
        for (base, signal) in bases.iter().zip(["INT", "TERM"]) {
            // Each signal meets each kind of base.
            let base = if round % 2 == 0 {
                base
            } else {
                &bases[usize::from(signal == "INT")]
            };
            interrupted += u32::from(interrupt(base, signal, Duration::from_millis(delay)));
        }
    }
    assert!(
        interrupted >= 4,
        "only {interrupted} of 8 came before the end"
    );
}

/// Builds `node` from a small base; `-v` tells how.
fn build_small(bench: &Workbench, more: &[&str]) -> Ran {
    let mut args = bench.build_args("base.img", &["--format", "img", "-v"]);
    args.extend(more);
    bench.run(&args)
}

#[track_caller]
fn assert_built(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// Too few inodes for what a role brings, with the folders above it.
#[test]
fn a_base_without_inodes_grows_or_is_refused() {
    let bench = Workbench::new();
    let mut base = SmallBase::new();
    base.mke2fs = vec!["-b", "4096", "-N", "512"];
    // 512 inodes less 11 that are reserved; some 50 are in the tree.
    for i in 0..400 {
        base.file(&format!("usr/e/{i}"), "");
    }
    base.make(&bench.path("base.img"), |_| {});
    bench.add_role("");
    for i in 0..80 {
        bench.write(&format!("overlays/x/root/srv/{i}/deep/file"), "x");
    }
    let smallest = {
        let ran = build_small(
            &bench,
            &["--set", "disk.size=128MiB", "--set", "disk.spare=0MiB"],
        );
        ran.assert_fails(
            USAGE,
            &["`disk.size` of 128 MiB is too little", "inodes", "hint: "],
        );
        bench.assert_nothing_left();
        let hint = ran.stderr.split("at least \"").nth(1).unwrap();
        hint.split("MiB").next().unwrap().parse::<u64>().unwrap()
    };
    let image = bench.path("out/node.img");
    let at_least = format!("disk.size={smallest}MiB");
    for (more, len) in [
        (vec!["--set", "disk.spare=0MiB"], None),
        (
            vec!["--set", "disk.spare=0MiB", "--set", &at_least],
            Some(smallest << 20),
        ),
    ] {
        assert_built(&build_small(&bench, &more));
        let at = small_base::root_at(0, base.mib);
        tools::text(
            "e2fsck",
            &["-fn", &format!("{}?offset={at}", image.display())],
        );
        assert!(small_base::debugfs(&image, at, "cat /srv/79/deep/file").starts_with('x'));
        let found = image.metadata().unwrap().len();
        assert!(found > 176 << 20, "{found}");
        assert_eq!(len.unwrap_or(found), found);
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

/// Which of two Linux partitions is edited, by what cmdline.txt and the fstabs say.
#[test]
fn of_two_linux_partitions_the_one_that_boots_is_edited() {
    const FIRST: &str = "PARTUUID=5ca1ab1e-02 / ext4 defaults 0 1\n";
    const SECOND: &str = "PARTUUID=5ca1ab1e-03 / ext4 defaults 0 1\n";
    const NONE: &str = "proc /proc proc defaults 0 0\n";
    type Case = (
        &'static str,
        [&'static str; 2],
        bool,
        Result<u64, &'static [&'static str]>,
    );
    let cases: &[Case] = &[
        ("root=PARTUUID=5ca1ab1e-02", [FIRST, SECOND], false, Ok(0)),
        ("root=PARTUUID=5CA1AB1E-03", [FIRST, SECOND], false, Ok(1)),
        (
            "root=PARTUUID=5ca1ab1e-01/PARTNROFF=2",
            [NONE, NONE],
            false,
            Ok(1),
        ),
        (
            "root=/dev/mmcblk0p3",
            [FIRST, "LABEL=root-3 / ext4 x 0 1\n"],
            false,
            Ok(1),
        ),
        (
            "root=LABEL=root-3",
            [NONE, "/dev/sda3 / ext4 x 0 1\n"],
            false,
            Ok(1),
        ),
        (
            "root=UUID=00000000-0000-0000-0000-000000000003",
            [NONE, "/dev/root / ext4 x 0 1\n"],
            false,
            Ok(1),
        ),
        (
            "root=PARTLABEL=part-3",
            [NONE, "PARTLABEL=part-3 / ext4 x 0 1\n"],
            true,
            Ok(1),
        ),
        ("root=/dev/sda2 root=/dev/sda3", [NONE, NONE], false, Ok(1)),
        (
            "quiet",
            [FIRST, SECOND],
            false,
            Err(&[
                "2 Linux partitions",
                "cmdline.txt does not say",
                "root=PARTUUID=",
            ]),
        ),
        (
            "root=PARTUUID=5ca1ab1e-04",
            [FIRST, SECOND],
            false,
            Err(&["root=PARTUUID=5ca1ab1e-04", "no partition", "5ca1ab1e-03"]),
        ),
        (
            "root=/dev/nfs",
            [FIRST, SECOND],
            false,
            Err(&["root=/dev/nfs", "no partition"]),
        ),
        (
            "root=PARTUUID=5ca1ab1e-01",
            [FIRST, SECOND],
            false,
            Err(&["partition 1", "no Linux partition"]),
        ),
        (
            "root=PARTUUID=5ca1ab1e-03",
            [FIRST, FIRST],
            false,
            Err(&[
                "contradicts itself",
                "PARTUUID=5ca1ab1e-03",
                "PARTUUID=5ca1ab1e-02",
            ]),
        ),
        (
            "root=/dev/sda3",
            [FIRST, "UUID=1234-abcd / ext4 x 0 1\n"],
            false,
            Err(&["contradicts itself", "UUID=1234-abcd"]),
        ),
    ];
    for (cmdline, fstabs, gpt, expected) in cases {
        let bench = Workbench::new();
        let mut base = SmallBase::new();
        base.cmdline = format!("console=tty1 {cmdline} rootwait");
        base.fstabs = fstabs.to_vec();
        base.gpt = *gpt;
        base.mib = 32;
        base.make(&bench.path("base.img"), |_| {});
        let ran = build_small(&bench, &["--set", "disk.spare=0MiB"]);
        let edited = match expected {
            Ok(edited) => *edited,
            Err(words) => {
                ran.assert_fails(FAILED, words);
                bench.assert_nothing_left();
                continue;
            }
        };
        assert_built(&ran);
        let image = bench.path("out/node.img");
        for index in 0..2 {
            let name = if index == edited {
                "node\n"
            } else {
                "raspberrypi\n"
            };
            let at = small_base::root_at(index, base.mib);
            let found = small_base::debugfs(&image, at, "cat /etc/hostname");
            assert_eq!(found, name, "{cmdline}: partition {}", index + 2);
        }
        // Names of partitions stay: LABEL and UUID are found as before.
        let boot = format!("{}@@8388608", image.display());
        let line = tools::text("mtype", &["-i", &boot, "::cmdline.txt"]);
        assert!(
            line.starts_with(&format!("console=tty1 {cmdline} rootwait")),
            "{line}"
        );
        // What is on a card afterwards is known, too.
        assert!(bench.path("out/SHA256SUMS").exists());
    }
    // A role that would have another one booted.
    let bench = Workbench::new();
    let mut base = SmallBase::new();
    base.fstabs = vec![FIRST, SECOND];
    base.mib = 32;
    base.make(&bench.path("base.img"), |_| {});
    bench.add_role("[cmdline]\nadd = [\"root=PARTUUID=5ca1ab1e-03\"]\n");
    let ran = build_small(&bench, &["--set", "disk.spare=0MiB"]);
    ran.assert_fails(
        USAGE,
        &["names partition 3", "boots from partition 2", "role"],
    );
    bench.assert_nothing_left();
    // The same with one Linux partition, which cmdline.txt does not name.
    let bench = Workbench::new();
    let mut base = SmallBase::new();
    base.cmdline = "root=PARTUUID=5ca1ab1e-03 rootwait".into();
    base.make(&bench.path("base.img"), |_| {});
    build_small(&bench, &[]).assert_fails(FAILED, &["root=PARTUUID=5ca1ab1e-03", "no partition"]);
}

/// Account files and others behind links: the files stay private, and the links stay.
#[test]
fn files_behind_links_keep_their_modes_and_attributes() {
    let bench = Workbench::new();
    let base = SmallBase::new();
    let moved = [
        "passwd",
        "shadow",
        "group",
        "gshadow",
        "fstab",
        "locale.gen",
    ];
    base.file("etc/fstab", small_base::FSTAB);
    for name in moved {
        base.file(&format!("usr/share/accounts/{name}"), "");
        if name != "fstab" {
            fs::rename(
                base.tree(&format!("etc/{name}")),
                base.tree(&format!("usr/share/accounts/{name}")),
            )
            .unwrap();
            base.link(
                &format!("etc/{name}"),
                &format!("../usr/share/accounts/{name}"),
            );
        }
    }
    // Leads nowhere: a file takes its place.
    fs::remove_file(base.tree("etc/default/keyboard")).unwrap();
    base.link("etc/default/keyboard", "/nowhere");
    base.make(&bench.path("base.img"), |root| {
        let root = root.to_str().unwrap();
        for name in ["shadow", "gshadow"] {
            for request in [
                format!("set_inode_field /usr/share/accounts/{name} mode 0100640"),
                format!("set_inode_field /usr/share/accounts/{name} gid 42"),
                format!("ea_set /usr/share/accounts/{name} security.selinux shadow_t"),
                format!("ea_set /usr/share/accounts/{name} user.kept yes"),
            ] {
                tools::text("debugfs", &["-w", "-R", &request, root]);
            }
        }
    });
    assert_built(&build_small(
        &bench,
        &["--set", "user.name=alice", "--set", "disk.table=gpt"],
    ));
    let image = bench.path("out/node.img");
    let at = small_base::root_at(0, base.mib);
    let debugfs = |request: &str| small_base::debugfs(&image, at, request);
    for (name, mode) in [
        ("passwd", "0644"),
        ("shadow", "0640"),
        ("group", "0644"),
        ("gshadow", "0640"),
        ("locale.gen", "0644"),
    ] {
        let path = format!("/usr/share/accounts/{name}");
        let said = debugfs(&format!("stat {path}"));
        assert!(said.contains(&format!("Mode:  {mode}")), "{said}");
        assert!(
            debugfs(&format!("stat /etc/{name}")).contains("Type: symlink"),
            "{name}"
        );
        let wanted = if name == "locale.gen" {
            "\nen_"
        } else {
            "alice"
        };
        assert!(
            format!("\n{}", debugfs(&format!("cat {path}"))).contains(wanted),
            "{name}"
        );
        if mode == "0640" {
            assert!(said.contains("Group:    42"), "{said}");
            let attributes = debugfs(&format!("ea_list {path}"));
            assert!(
                attributes.contains("security.selinux") && attributes.contains("user.kept"),
                "{attributes}"
            );
        }
    }
    let said = debugfs("stat /etc/default/keyboard");
    assert!(
        said.contains("Type: regular") && said.contains("Mode:  0644"),
        "{said}"
    );
    tools::text(
        "e2fsck",
        &["-fn", &format!("{}?offset={at}", image.display())],
    );
}

/// A base with cloud-init as Debian's package has it.
fn with_cloud_init() -> SmallBase {
    let base = SmallBase::new();
    base.file("etc/cloud/cloud.cfg", "users: []\n");
    base.file("usr/bin/cloud-init", "#!/bin/sh\n");
    base.file(
        "usr/lib/systemd/system-generators/cloud-init-generator",
        "#!/bin/sh\n",
    );
    for unit in [
        "cloud-init.target",
        "cloud-init-main.service",
        "cloud-init-local.service",
        "cloud-init-network.service",
        "cloud-config.service",
    ] {
        base.unit(unit);
    }
    base.link(
        "etc/systemd/system/cloud-init.target.wants/cloud-init-main.service",
        "/usr/lib/systemd/system/cloud-init-main.service",
    );
    base
}

/// A way to switch cloud-init off, and what must be said of it.
type Switch = (fn(&mut SmallBase), &'static str);

#[test]
fn cloud_init_that_is_switched_off_is_not_used() {
    let switches: &[Switch] = &[
        (
            |base| base.file("etc/cloud/cloud-init.disabled", ""),
            "/etc/cloud/cloud-init.disabled",
        ),
        (
            |base| base.cmdline += " cloud-init=disabled",
            "`cloud-init=disabled`",
        ),
        (
            |base| base.cmdline += " ci.di.policy=disabled",
            "`ci.di.policy=disabled`",
        ),
        (
            |base| base.file("etc/cloud/ds-identify.cfg", "policy: disabled\n"),
            "ds-identify.cfg",
        ),
        (
            |base| base.link("etc/systemd/system/cloud-init.target", "/dev/null"),
            "cloud-init.target is masked",
        ),
        (
            |base| base.link("etc/systemd/system/cloud-init-main.service", "/dev/null"),
            "cloud-init-main.service is masked",
        ),
        (
            |base| base.file("etc/systemd/system/cloud-init-local.service", ""),
            "cloud-init-local.service is masked",
        ),
        (
            |base| {
                base.link(
                    "etc/systemd/system-generators/cloud-init-generator",
                    "/dev/null",
                )
            },
            "cloud-init-generator is masked",
        ),
        (
            |base| {
                fs::remove_file(base.tree("usr/lib/systemd/system-generators/cloud-init-generator"))
                    .unwrap()
            },
            "no cloud-init-generator",
        ),
        (
            |base| {
                fs::remove_file(base.tree("usr/lib/systemd/system/cloud-init-network.service"))
                    .unwrap()
            },
            "no unit cloud-init-network.service",
        ),
        (
            |base| {
                fs::remove_dir_all(base.tree("etc/systemd/system/cloud-init.target.wants")).unwrap()
            },
            "none of its units is enabled",
        ),
    ];
    for (switch, reason) in switches {
        let bench = Workbench::new();
        let mut base = with_cloud_init();
        base.mib = 32;
        switch(&mut base);
        base.make(&bench.path("base.img"), |_| {});
        let ran = build_small(&bench, &["--set", "disk.spare=0MiB"]);
        assert_built(&ran);
        let said = "offline (cloud-init of the base is off: ";
        assert!(
            ran.stderr.contains(said) && ran.stderr.contains(reason),
            "{reason}: {}",
            ran.stderr
        );
        let keys = small_base::debugfs(
            &bench.path("out/node.img"),
            small_base::root_at(0, 32),
            "cat /home/pi/.ssh/authorized_keys",
        );
        assert!(keys.starts_with("ssh-ed25519 "), "{reason}: {keys}");
        fs::remove_dir_all(bench.path("out")).unwrap();
        let ran = build_small(
            &bench,
            &["--set", "disk.spare=0MiB", "--set", "firstboot=cloud-init"],
        );
        ran.assert_fails(
            USAGE,
            &[
                "`firstboot` is \"cloud-init\"",
                "switched off",
                reason,
                "hint: ",
            ],
        );
        bench.assert_nothing_left();
    }
    // So does a role.
    let bench = Workbench::new();
    with_cloud_init().make(&bench.path("base.img"), |_| {});
    bench.add_role("[units]\nmask = [\"cloud-init.target\"]\n");
    let by_role = build_small(&bench, &[]);
    bench.add_role("[cmdline]\nadd = [\"cloud-init=disabled\"]\n");
    let by_word = build_small(&bench, &[]);
    for (ran, reason) in [
        (by_role, "`x` masks cloud-init.target"),
        (by_word, "cmdline.txt says"),
    ] {
        assert_built(&ran);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
    // The judge must be awake: without a switch it is used.
    bench.write("profiles/node.toml", PROFILE);
    let ran = build_small(&bench, &["--set", "firstboot=cloud-init"]);
    assert_built(&ran);
    assert!(
        ran.stderr.contains("identity through cloud-init"),
        "{}",
        ran.stderr
    );
}
