//! What only the base knows is told before anything is written: by `build`, and by `check --base`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::common::workbench::{PROFILE, Ran, Workbench, fixture, fixture_xz};
use imgbuild::disk::{CowDisk, RawFile, ReadAt, Window, partition_table};
use imgbuild::ext4::{Attr, Ext4};

const USAGE: i32 = 2;
/// When the fixtures were made.
const TIME: i64 = 1_776_038_400;

/// A copy of the trixie fixture that tests change.
struct Base {
    path: PathBuf,
}

impl Base {
    fn in_bench(bench: &Workbench) -> Self {
        let path = bench.path("base.img");
        fs::copy(fixture("trixie"), &path).unwrap();
        Self { path }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Edits the root file system with the library.
    fn edit(&self, edit: impl FnOnce(&mut Ext4)) {
        let raw = Arc::new(RawFile::open(&self.path).unwrap());
        let disk = Arc::new(CowDisk::new(raw));
        let table = partition_table::read(disk.as_ref()).unwrap();
        let window = Window::new(disk.clone(), table.root.start, table.root.len).unwrap();
        let mut fs = Ext4::open(window, TIME).unwrap();
        edit(&mut fs);
        fs.finish().unwrap();
        let mut content = vec![0; disk.len() as usize];
        disk.read_at(0, &mut content).unwrap();
        fs::write(&self.path, content).unwrap();
    }

    /// Puts `to` in the place of `from`, which must be in the file.
    fn replace(&self, path: &str, from: &str, to: &str) {
        self.edit(|fs| {
            let text = String::from_utf8(fs.read(path).unwrap()).unwrap();
            assert!(text.contains(from), "no {from:?} in {path}");
            write(fs, path, text.replace(from, to).as_bytes());
        });
    }

    fn offset_of_root(&self) -> u64 {
        let raw = RawFile::open(&self.path).unwrap();
        partition_table::read(&raw).unwrap().root.start
    }
}

fn attr(mode: u32) -> Attr {
    Attr {
        mode,
        uid: 0,
        gid: 0,
        mtime: TIME,
    }
}

fn write(fs: &mut Ext4, path: &str, content: &[u8]) {
    let (folder, _) = path.rsplit_once('/').unwrap();
    if !folder.is_empty() {
        fs.make_dirs(folder).unwrap();
    }
    let (mut bytes, len) = (content, content.len() as u64);
    fs.write_file(path, &mut bytes, len, &attr(0o644)).unwrap();
}

/// The profile of the tests with more tables behind it, and `user` in its table [user].
fn profile(user: &str, tables: &str) -> String {
    let text = PROFILE.replace("[user]\n", &format!("[user]\n{user}"));
    format!("{text}{tables}")
}

fn check(bench: &Workbench, base: &str) -> Ran {
    bench.run(&["check", "--base", base])
}

#[track_caller]
fn assert_fine(ran: &Ran) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// The lines of the list of problems, without their places.
fn count(ran: &Ran) -> usize {
    ran.stderr.lines().filter(|l| l.starts_with("  ")).count()
}

#[test]
fn all_that_the_base_lacks_is_told_at_once_and_nothing_is_written() {
    let bench = Workbench::new();
    // A payload that is not there would be the next error: nothing is fetched before.
    bench.add_role(
        "[[payload]]\nname = \"tool\"\nfile = \"no-such-file\"\npath = \"/opt/tool\"\n\
         [units]\nenable = [\"avahi-deamon.service\"]\n[modes]\n\"/etc/hostss\" = \"0644\"\n",
    );
    let text = profile(
        "shell = \"/usr/bin/zsh\"\ngroups = [\"sudoo\", \"gpio\"]\n",
        "[locale]\ntimezone = \"US/Eastern\"\nlang = \"de_DE.ISO-8859-7\"\nkeyboard = \"us,de(nodeadkey)\"\n\
         [disk]\nsize = \"100MiB\"\n",
    )
    .replace("roles    = []", "roles    = [\"x\"]");
    bench.write("profiles/node.toml", &text);
    let place = |key: &str| {
        let line = text.lines().position(|l| l.starts_with(key)).unwrap() + 1;
        format!("profiles/node.toml:{line}: ")
    };
    let base = fixture("trixie").display().to_string();
    for ran in [bench.build(&base), check(&bench, &base)] {
        let told = |key: &str, words: &str| format!("{}{words}", place(key));
        ran.assert_fails(
            USAGE,
            &[
                "8 problems:",
                &told("size = ", "`disk.size` is 100 MiB, but the base image takes"),
                &told("shell = ", "`user.shell`: the base has no `/usr/bin/zsh`"),
                &told("groups = ", "`user.groups`: the base has no group `sudoo` (did you mean `sudo`?)"),
                &told("timezone = ", "`locale.timezone`: the base has no time zone `US/Eastern` (write `America/New_York`"),
                &told("lang = ", "`locale.lang`: the base has no locale `de_DE.ISO-8859-7`"),
                &told("keyboard = ", "`locale.keyboard`: the base's keyboard layout `de` has no variant `nodeadkey` (did you mean `de(nodeadkeys)`?)"),
                "overlays/x/role.toml: there is no unit avahi-deamon.service to enable",
                "did you mean `avahi-daemon.service`?",
                "overlays/x/role.toml: [modes] names `/etc/hostss`",
                "did you mean `/etc/hosts`?",
            ],
        );
        assert_eq!(count(&ran), 8, "{}", ran.stderr);
        assert!(!ran.stderr.contains("no-such-file"), "{}", ran.stderr);
    }
    bench.assert_nothing_left();
}

#[test]
fn what_the_base_has_is_fine() {
    let bench = Workbench::new();
    let zones = |name| format!("[locale]\ntimezone = \"{name}\"\n");
    let cases = [
        ("trixie", "", zones("Asia/Kolkata")),
        ("trixie", "", zones("UTC")),
        ("bookworm", "", zones("US/Eastern")),
        ("trixie", "shell = \"/usr/bin/bash\"\n", String::new()),
        (
            "gpt",
            "groups = [\"sudo\", \"alice\"]\nname = \"alice\"\n",
            String::new(),
        ),
        (
            "trixie",
            "groups = [\"plugdev\", \"lpadmin\"]\n",
            String::new(),
        ),
        (
            "trixie",
            "",
            "[locale]\nlang = \"C.UTF-8\"\nkeyboard = \"us,de(nodeadkeys)\"\n".into(),
        ),
        (
            "bookworm",
            "",
            "[locale]\nlang = \"de_DE.UTF-8\"\nwifi_country = \"AQ\"\n".into(),
        ),
    ];
    for (base, user, tables) in cases {
        bench.write("profiles/node.toml", profile(user, &tables));
        let ran = check(&bench, fixture(base).to_str().unwrap());
        // Printers are not in the fixture.
        if user.contains("lpadmin") {
            ran.assert_fails(USAGE, &["no group `lpadmin`"]);
        } else {
            assert_fine(&ran);
        }
    }
}

#[test]
fn files_that_raspberry_pi_os_has_and_the_fixtures_lack() {
    let bench = Workbench::new();
    let base = Base::in_bench(&bench);
    base.edit(|fs| {
        write(
            fs,
            "/etc/shells",
            b"# shells\n/bin/sh\n/usr/bin/bash\n/bin/bash\n",
        );
        write(
            fs,
            "/usr/share/i18n/SUPPORTED",
            b"de_AT.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\nfr_FR.UTF-8 UTF-8\n",
        );
        let xkb = b"! layout\n  us  English (US)\n  zz  Test\n\n! variant\n  euro  us: Euro on 5\n";
        write(fs, "/usr/share/X11/xkb/rules/evdev.lst", xkb);
        // An alternative, as Debian has it.
        fs.make_dirs("/etc/alternatives").unwrap();
        write(
            fs,
            "/usr/lib/firmware/regulatory.db-debian",
            b"RGDB\0\0\0\x1400\x04\xa7GB\x05\xd4\0\0\0\0",
        );
        let links = [
            (
                "/usr/lib/firmware/regulatory.db",
                "/etc/alternatives/regulatory.db",
            ),
            (
                "/etc/alternatives/regulatory.db",
                "/lib/firmware/regulatory.db-debian",
            ),
        ];
        for (path, target) in links {
            fs.symlink(path, target, &attr(0o777)).unwrap();
        }
    });
    let text = profile(
        "shell = \"/usr/bin/passwd\"\n",
        "[locale]\nlang = \"en_US.UTF-8\"\nkeyboard = \"de\"\nwifi_country = \"AQ\"\n",
    );
    bench.write("profiles/node.toml", text);
    check(&bench, base.name()).assert_fails(
        USAGE,
        &[
            "3 problems:",
            "`user.shell`: `/usr/bin/passwd` is not a login shell: the base's /etc/shells does not list it (its login shells are `/bin/bash`, `/usr/bin/bash`)",
            "`locale.keyboard`: the base has no keyboard layout `de`",
            "`locale.wifi_country`: the base's Wi-Fi rules know no country `AQ`",
        ],
    );
    let text = profile(
        "shell = \"/bin/bash\"\n",
        "[locale]\nlang = \"de_CH.UTF-8\"\nkeyboard = \"us(euro)\"\nwifi_country = \"GB\"\n",
    );
    bench.write("profiles/node.toml", text);
    check(&bench, base.name()).assert_fails(
        USAGE,
        &[
            "`locale.lang`: the base has no locale `de_CH.UTF-8`",
            "did you mean `de_DE.UTF-8`?",
        ],
    );
}

#[test]
fn accounts_of_the_base_are_in_the_way() {
    for (file, from, to, words) in [
        (
            "/etc/passwd",
            "messagebus:x:100:",
            "alice:x:100:",
            "has an account `alice` already (uid 100)",
        ),
        (
            "/etc/group",
            "sgx:",
            "alice:",
            "has a group `alice` already",
        ),
        (
            "/etc/passwd",
            "/home/pi:",
            "/opt/steam:",
            "number 1000 of the base is `pi`, at home in `/opt/steam`",
        ),
        (
            "/etc/group",
            "\npi:x:1000:",
            "\nsteam:x:1000:",
            "group number 1000 of the base is `steam`",
        ),
    ] {
        let bench = Workbench::new();
        let base = Base::in_bench(&bench);
        base.replace(file, from, to);
        bench.write("profiles/node.toml", profile("name = \"alice\"\n", ""));
        let ran = bench.build(base.name());
        ran.assert_fails(
            USAGE,
            &["profiles/node.toml:", "`user.name`: ", words, "hint: "],
        );
        bench.assert_nothing_left();
    }
}

#[test]
fn the_group_of_the_renamed_user_is_gone() {
    let bench = Workbench::new();
    let base = fixture("trixie").display().to_string();
    bench.write(
        "profiles/node.toml",
        profile("name = \"alice\"\ngroups = [\"pi\"]\n", ""),
    );
    check(&bench, &base).assert_fails(USAGE, &["the base has no group `pi`"]);
    bench.write("profiles/node.toml", profile("groups = [\"pi\"]\n", ""));
    assert_fine(&check(&bench, &base));
}

const UNIT: &str = "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n";

#[test]
fn units_that_would_never_run_are_told() {
    const MASK: &str = "/etc/systemd/system/avahi-daemon.service";
    let bench = Workbench::new();
    let base = Base::in_bench(&bench);
    base.edit(|fs| {
        fs.symlink(MASK, "/dev/null", &attr(0o777)).unwrap();
        write(fs, "/etc/systemd/system/ssh.service", b"");
        write(
            fs,
            "/usr/lib/systemd/system/static.service",
            b"[Unit]\nDescription=x\n",
        );
        write(
            fs,
            "/usr/lib/systemd/system/also.service",
            b"[Install]\nAlso=nowhere.service\n",
        );
    });
    for (manifest, words) in [
        (
            "enable = [\"avahi-daemon.service\"]",
            "`avahi-daemon.service` is masked in the base",
        ),
        (
            "enable = [\"static.service\"]",
            "/usr/lib/systemd/system/static.service cannot be enabled: it has no [Install] section",
        ),
        (
            "enable = [\"also.service\"]",
            "there is no unit nowhere.service to enable",
        ),
        (
            "disable = [\"rpi-rezise.service\"]",
            "there is no unit `rpi-rezise.service` to disable: the base has `rpi-resize.service`",
        ),
    ] {
        bench.add_role(&format!("[units]\n{manifest}\n"));
        let ran = check(&bench, base.name());
        ran.assert_fails(
            USAGE,
            &[
                "overlays/x/role.toml: ",
                words,
                "`ssh.service` is masked in the base",
            ],
        );
        assert_eq!(count(&ran), 2, "{}", ran.stderr);
    }
    let unmask = "[remove]\npaths = [\"/etc/systemd/system/ssh.service\", \"/etc/systemd/system/avahi-daemon.service\"]\n";
    for manifest in [
        "enable = [\"avahi-daemon.service\"]",
        "enable = [\"getty@tty2.service\"]",
        // A precaution, and another number.
        "disable = [\"bluetooth-mesh.service\", \"static2.service\"]",
        "mask = [\"static1.servic\", \"nmbd.service\"]",
        "enable = [\"own.service\"]",
    ] {
        bench.add_role(&format!("{unmask}[units]\n{manifest}\n"));
        bench.write("overlays/x/root/etc/systemd/system/own.service", UNIT);
        assert_fine(&check(&bench, base.name()));
    }
}

#[test]
fn units_may_come_with_an_archive() {
    let bench = Workbench::new();
    bench.write("files/usr/lib/systemd/system/packed.service", UNIT);
    crate::common::needs::programs(&["tar", "gzip"]);
    let mut tar = Command::new("tar");
    tar.args(["-czf", "a.tar.gz", "-C", "files", "usr"]);
    bench.surround(&mut tar);
    assert!(tar.status().unwrap().success());
    bench.add_role(
        "[[payload]]\nname = \"a\"\nfile = \"a.tar.gz\"\nunpack = true\npath = \"/usr\"\nstrip = 1\n\
         [units]\nenable = [\"packed.service\"]\n[modes]\n\"/usr/lib/systemd/system/packed.service\" = \"0600\"\n",
    );
    let ran = bench.build(fixture("trixie").to_str().unwrap());
    assert_fine(&ran);
}

#[test]
fn something_else_of_the_base_in_the_place_of_a_file_or_folder() {
    let base = fixture("trixie").display().to_string();
    for (manifest, file, words) in [
        (
            "",
            "etc/ssh",
            "`/etc/ssh` is to be a file, but is a folder of the base",
        ),
        (
            "",
            "etc/hostname/x",
            "`/etc/hostname/x` cannot be: `/etc/hostname` of the base is no folder",
        ),
        (
            "[directories]\n\"/etc/fstab\" = \"0755\"\n",
            "etc/x",
            "`/etc/fstab` is to be a folder",
        ),
        (
            "[links]\n\"/etc/ssh\" = \"x\"\n",
            "etc/x",
            "`/etc/ssh` is to be a file",
        ),
    ] {
        let bench = Workbench::new();
        bench.add_role(manifest);
        bench.write(&format!("overlays/x/root/{file}"), "x\n");
        let ran = bench.build(&base);
        ran.assert_fails(USAGE, &["overlays/x/role.toml: ", words]);
        bench.assert_nothing_left();
    }
}

#[test]
fn the_labels_are_those_that_the_base_really_has() {
    let bench = Workbench::empty();
    let base = Base::in_bench(&bench);
    let root = format!("{}?offset={}", base.name(), base.offset_of_root());
    let e2label = crate::common::tools::tool("e2label")
        .args([&root, "media"])
        .status();
    assert!(e2label.unwrap().success());
    let role = "description = \"x\"\n[options.label]\ntype = \"disk-label\"\ndefault = \"data\"\nhelp = \"x\"\n";
    bench.write("overlays/x/role.toml", role);
    let with = |label: &str| {
        let text = profile("", &format!("[x]\nlabel = \"{label}\"\n"));
        bench.write(
            "profiles/node.toml",
            text.replace("roles    = []", "roles    = [\"x\"]"),
        );
        check(&bench, base.name())
    };
    with("media").assert_fails(
        USAGE,
        &[
            "profiles/node.toml:",
            "`x.label`: `media` is the label of the base's own root file system",
        ],
    );
    assert_fine(&with("media2"));
}

#[test]
fn nodes_share_their_mistakes_and_have_their_own() {
    let bench = Workbench::empty();
    bench.write(
        "profiles/all.toml",
        PROFILE
            .replace(
                "hostname = \"node\"\naddress  = \"10.0.0.2\"",
                "[locale]\ntimezone = \"US/Eastern\"",
            )
            .replace("roles    = []\n", ""),
    );
    for (name, address, shell) in [("a", 2, "/bin/fish"), ("b", 3, "/bin/zsh")] {
        let text = format!(
            "extends = \"all\"\nhostname = \"{name}\"\naddress = \"10.0.0.{address}\"\n[user]\nshell = \"{shell}\"\n"
        );
        bench.write(&format!("profiles/{name}.toml"), text);
    }
    let base = fixture_xz("trixie").display().to_string();
    let build = bench.run(&["--all", "--base", &base, "--offline"]);
    for ran in [build, check(&bench, &base)] {
        ran.assert_fails(
            USAGE,
            &[
                "3 problems:",
                "US/Eastern",
                "a.toml:5: `user.shell`",
                "b.toml:5: `user.shell`",
            ],
        );
        assert_eq!(count(&ran), 3, "{}", ran.stderr);
    }
    bench.assert_nothing_left();
}

#[test]
fn check_takes_the_bases_of_the_profiles_and_downloads_none() {
    let bench = Workbench::empty();
    let trixie = fixture("trixie");
    fs::copy(&trixie, bench.path("mine.img")).unwrap();
    let node = |name: &str, address: u8, image: &str, zone: &str| {
        let text = PROFILE
            .replace("\"node\"", &format!("\"{name}\""))
            .replace("10.0.0.2", &format!("10.0.0.{address}"));
        let tables = format!("[base]\nimage = \"{image}\"\n[locale]\ntimezone = \"{zone}\"\n");
        bench.write(&format!("profiles/{name}.toml"), format!("{text}{tables}"));
    };
    node("a", 2, "./mine.img", "US/Eastern");
    node("b", 3, fixture("bookworm").to_str().unwrap(), "US/Eastern");
    node("c", 4, "raspios-lite-arm64", "UTC");
    let ran = bench.run(&["check", "--base"]);
    ran.assert_fails(
        USAGE,
        &[
            "2 problems:",
            "profiles/a.toml:",
            "no time zone `US/Eastern`",
            "profiles/c.toml:",
            "raspios-lite-arm64",
            "not in the cache",
            "`imgbuild build --profile c` downloads it",
        ],
    );
    assert_fine(&bench.run(&["check"]));
    node("c", 4, "./mine.img", "UTC");
    node("a", 2, "./mine.img", "America/New_York");
    let ran = bench.run(&["check", "--base"]);
    assert_fine(&ran);
    for name in ["mine.img", "bookworm.img"] {
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
    let ran = bench.run(&["check", "--base", "https://127.0.0.1:1/x.img.xz"]);
    ran.assert_fails(
        USAGE,
        &[
            "--base: ",
            "127.0.0.1",
            "--base https://127.0.0.1:1/x.img.xz` downloads it",
        ],
    );
    let ran = bench.run(&["check", "--base", "no/such.img"]);
    ran.assert_fails(USAGE, &["no/such.img"]);
    assert!(!Path::new("out").exists());
}

#[test]
fn nodes_without_room_are_told_together_before_one_is_built() {
    let bench = Workbench::new();
    bench.add_role("[[payload]]\nname = \"big\"\nfile = \"big\"\npath = \"/opt/big\"\n");
    let big = fs::File::create(bench.path("big")).unwrap();
    big.set_len(200 << 20).unwrap();
    let with_role = PROFILE.replace("roles    = []", "roles    = [\"x\"]");
    for (name, address, size) in [("a", 3, 300), ("b", 4, 301), ("node", 2, 900)] {
        let text = with_role
            .replace("\"node\"", &format!("\"{name}\""))
            .replace("10.0.0.2", &format!("10.0.0.{address}"));
        let disk = format!("[disk]\nsize = \"{size}MiB\"\n");
        bench.write(&format!("profiles/{name}.toml"), text + &disk);
    }
    let base = fixture("trixie").display().to_string();
    let ran = bench.run(&["--all", "--base", &base, "--offline", "--format", "img"]);
    ran.assert_fails(
        USAGE,
        &[
            "2 problems:",
            "profiles/a.toml:12: `disk.size` of 300 MiB is too little",
            "profiles/b.toml:12: `disk.size` of 301 MiB is too little",
            "set `disk.size` to at least",
        ],
    );
    assert_eq!(count(&ran), 2, "{}", ran.stderr);
    bench.assert_nothing_left();
    // All but the payload is known without it.
    assert_fine(&check(&bench, &base));
}
