//! What role.toml says about accounts, archives and lists of payloads, as it comes out in an image.

use std::path::PathBuf;

use imgbuild::disk::{RawFile, partition_table};

use crate::common::small_base::debugfs;
use crate::common::workbench::{Workbench, fixture};

const USAGE: i32 = 2;
const FAILED: i32 = 1;

/// The role of these tests.
const ROLE: &str = r#"
[options.uid]
type    = "integer"
default = 555
help    = "x"

[options.lists]
type    = "list"
default = ["one", "two"]
of      = "string"
help    = "x"

[options.archive]
type    = "file"
default = "tool.tar.gz"
help    = "x"

[[payload]]
name    = "tool"
file    = "{{ options.archive }}"
url     = "https://example.com/tool.tar.gz"
pin     = true
unpack  = true
strip   = 1
path    = "/opt/tool"
members = [
    { from = "bin/tool", to = "/usr/local/bin/{{ node.hostname }}-tool", mode = "0750" },
    { from = "lib/*.sh", to = "/opt/scripts", mode = "0755" },
    { from = "tool.conf", to = "/etc/tool.conf", replace = [["@NODE@", "{{ node.fqdn }}"]] },
    { from = "tool.service", to = "/etc/systemd/system/tool.service" },
]

[[payload]]
name = "list {{ item }}"
each = "options.lists"
when = "item != 'three'"
file = "{{ item }}.list"
path = "/var/lib/lists/{{ item }}"

[accounts."{{ node.hostname }}-tool"]
uid    = "{{ options.uid }}"
gid    = 556
groups = ["audio"]

[owners]
"/etc/tool.conf" = "{{ options.uid }}:556"
"/var/lib/lists" = "{{ options.uid }}:556"

[directories]
"/var/lib/lists" = "0750"

[units]
enable = ["tool.service"]
"#;

fn archive() -> Vec<u8> {
    let files = [
        ("top/bin/tool", "#!/bin/sh\n", 0o755),
        ("top/lib/a.sh", "a\n", 0o644),
        ("top/lib/b.sh", "b\n", 0o644),
        ("top/lib/c.txt", "c\n", 0o644),
        ("top/lib/deep/d.sh", "d\n", 0o644),
        ("top/tool.conf", "node = @NODE@, again @NODE@\n", 0o644),
        (
            "top/tool.service",
            "[Service]\nExecStart=/usr/local/bin/node-tool\n[Install]\nWantedBy=multi-user.target\n",
            0o644,
        ),
    ];
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(packed);
    for (path, text, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A project with the role, and a base of its own.
fn bench(role: &str) -> (Workbench, String) {
    let bench = Workbench::new();
    bench.add_role(role);
    bench.write("tool.tar.gz", archive());
    bench.write("one.list", "1\n");
    bench.write("two.list", "2\n");
    let base = fixture("trixie").to_str().unwrap().to_owned();
    (bench, base)
}

/// The image of the node, read by debugfs.
struct Image(PathBuf, u64);

impl Image {
    fn of(bench: &Workbench) -> Self {
        let path = bench.path("out/node.img");
        let disk = RawFile::open(&path).unwrap();
        let start = partition_table::read(&disk).unwrap().root.start;
        Self(path, start)
    }

    fn text(&self, path: &str) -> String {
        debugfs(&self.0, self.1, &format!("cat {path}"))
    }

    /// Mode, user and group, as `stat` of debugfs has them.
    #[track_caller]
    fn assert_attr(&self, path: &str, mode: &str, owner: (u32, u32)) {
        let said = debugfs(&self.0, self.1, &format!("stat {path}"));
        let words: Vec<&str> = said.split_whitespace().collect();
        let after = |key: &str| words[words.iter().position(|w| *w == key).unwrap() + 1];
        let found = (after("Mode:"), after("User:"), after("Group:"));
        let (user, group) = (owner.0.to_string(), owner.1.to_string());
        assert_eq!(found, (mode, &user[..], &group[..]), "{path}: {said}");
    }
}

#[test]
fn accounts_members_and_lists_are_in_the_image() {
    let (bench, base) = bench(ROLE);
    let ran = bench.build(&base);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let image = Image::of(&bench);
    let line = |file: &str| {
        let text = image.text(file);
        let found = text.lines().find(|l| l.starts_with("node-tool:"));
        found.unwrap_or_else(|| panic!("{file}: {text}")).to_owned()
    };
    assert_eq!(
        line("/etc/passwd"),
        "node-tool:x:555:556::/nonexistent:/usr/sbin/nologin"
    );
    assert!(line("/etc/shadow").starts_with("node-tool:!:"));
    assert_eq!(line("/etc/group"), "node-tool:x:556:");
    assert_eq!(line("/etc/gshadow"), "node-tool:!::");
    let audio = |text: String| {
        text.lines()
            .any(|l| l.starts_with("audio:") && l.contains("node-tool"))
    };
    assert!(audio(image.text("/etc/group")) && audio(image.text("/etc/gshadow")));

    image.assert_attr("/usr/local/bin/node-tool", "0750", (0, 0));
    image.assert_attr("/opt/tool/bin/tool", "0755", (0, 0));
    for script in ["a", "b"] {
        let path = format!("/opt/scripts/{script}.sh");
        assert_eq!(image.text(&path), format!("{script}\n"));
        image.assert_attr(&path, "0755", (0, 0));
    }
    let scripts = debugfs(&image.0, image.1, "ls -p /opt/scripts");
    assert!(
        !scripts.contains("c.txt") && !scripts.contains("d.sh"),
        "{scripts}"
    );
    let conf = image.text("/etc/tool.conf");
    assert!(
        conf.starts_with("node = node.") && !conf.contains('@'),
        "{conf}"
    );
    assert!(image.text("/opt/tool/tool.conf").contains("@NODE@"));
    image.assert_attr("/etc/tool.conf", "0644", (555, 556));
    image.assert_attr("/var/lib/lists", "0750", (555, 556));
    for (list, text) in [("one", "1\n"), ("two", "2\n")] {
        assert_eq!(image.text(&format!("/var/lib/lists/{list}")), text);
    }
    let wants = debugfs(
        &image.0,
        image.1,
        "ls -p /etc/systemd/system/multi-user.target.wants",
    );
    assert!(wants.contains("tool.service"), "{wants}");
}

#[test]
fn what_is_in_the_way_of_an_account_is_told_before_anything_is_written() {
    for (from, to, words) in [
        (
            "default = 555",
            "default = 100",
            "number 100 of the account `node-tool` is `",
        ),
        (
            "gid    = 556",
            "gid    = 101",
            "group number 101 of the account `node-tool` is `",
        ),
        (
            "{{ node.hostname }}-tool\"]",
            "messagebus\"]",
            "account `messagebus` already",
        ),
        (
            "[\"audio\"]",
            "[\"audioo\"]",
            "the base has no group `audioo`",
        ),
    ] {
        let (bench, base) = bench(&ROLE.replace(from, to));
        bench
            .build(&base)
            .assert_fails(USAGE, &["overlays/x/role.toml: ", words, "hint: "]);
        bench.assert_nothing_left();
    }
}

#[test]
fn mistakes_in_the_manifest_are_told_with_the_role() {
    for (from, to, words) in [
        (
            "gid    = 556",
            "gid    = 1000",
            "account {{ node.hostname }}-tool: 1000 is not the number of a system account",
        ),
        (
            "default = 555",
            "default = 7",
            "account node-tool: 7 is not the number of a system account",
        ),
        (
            "{{ node.hostname }}-tool\"]",
            "a b\"]",
            "account a b: its name",
        ),
        (
            "unpack  = true\nstrip   = 1",
            "unpack  = false",
            "payload tool has `members`",
        ),
        ("lib/*.sh", "lib/*/*.sh", "member lib/*/*.sh: one `*`"),
        (
            "mode = \"0750\"",
            "mode = \"rwx\"",
            "member bin/tool: `rwx` is not a mode",
        ),
        ("pin     = true\n", "", "neither `sums` nor `sha256`"),
        (
            "{{ options.archive }}",
            "tool.tar.gz",
            "a `file` that always has a value",
        ),
        (
            "{{ options.uid }}:556\"\n\"/var",
            "{{ options.uid }}\"\n\"/var",
            "`555` is not numeric uid:gid",
        ),
        (
            "path = \"/var/lib/lists/{{ item }}\"",
            "path = \"/var/lib/lists/x\"",
            "both write /var/lib/lists/x",
        ),
    ] {
        let (bench, base) = bench(&ROLE.replace(from, to));
        bench.build(&base).assert_fails(USAGE, &[words]);
        bench.assert_nothing_left();
    }
}

#[test]
fn what_an_archive_or_a_list_lacks_is_named() {
    for (from, to, words) in [
        ("bin/tool\"", "bin/tol\"", "holds no file `bin/tol`"),
        ("lib/*.sh", "lib/*.py", "holds no file like `lib/*.py`"),
        ("\"two\"]", "\"two\", \"four\"]", "four.list"),
    ] {
        let (bench, base) = bench(&ROLE.replace(from, to));
        let ran = bench.build(&base);
        assert!(matches!(ran.code, Some(FAILED | USAGE)), "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        bench.assert_nothing_left();
    }
    // What `when` leaves out is not looked for.
    let (bench, base) = bench(&ROLE.replace("\"two\"]", "\"two\", \"three\"]"));
    let ran = bench.build(&base);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// What `init --overlays` writes are the built-in roles: a project with them is the one without.
#[test]
fn copies_of_the_built_in_roles_do_what_those_do() {
    const KEY: &str = "user.ssh_keys=[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF x\"]";
    let plan = |init: &[&str]| {
        let bench = Workbench::empty();
        let made = bench.run(init);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let checked = bench.run(&["check", "--no-secrets", "--set", KEY]);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        let planned = bench.run(&["plan", "--profile", "master", "--json", "--set", KEY]);
        assert_eq!(planned.code, Some(0), "{}", planned.stderr);
        planned.stdout
    };
    let copied = plan(&["init", "--overlays"]);
    assert!(copied.contains("/etc/rancher/k3s/config.yaml"), "{copied}");
    assert_eq!(copied, plan(&["init"]));
}
