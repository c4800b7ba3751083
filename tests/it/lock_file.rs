//! `imgbuild.lock`: pins that stay, pins that move, and what is wrong with a lock file.

use std::fs;
use std::process::Command;

use crate::common::http_server::HttpServer;
use crate::common::small_base::{SmallBase, debugfs, root_at};
use crate::common::tools::sha256;
use crate::common::workbench::{PROFILE, Ran, Workbench};

const ROLE: &str = r#"
[options.version]
type = "string"
default = "r1"
help = "Release of the tool."

[[payload]]
name = "tool"
url = "SERVER/tool-{{ options.version }}"
sums = "SERVER/sums"
path = "/usr/bin/tool"

[[payload]]
name = "data"
url = "SERVER/data"
sums = "SERVER/sums"
path = "/usr/share/data"
"#;

/// A project with a role that fetches two files, and the server that has them.
struct Lab {
    bench: Workbench,
    server: HttpServer,
}

impl Lab {
    fn new() -> Self {
        let (bench, server) = (Workbench::new(), HttpServer::start());
        bench.add_role(&ROLE.replace("SERVER", &server.url("")));
        let lab = Self { bench, server };
        lab.serve("first");
        lab.profile("x");
        lab
    }

    /// Serves the tool in two versions, and the data as `data`.
    fn serve(&self, data: &str) {
        let mut sums = String::new();
        for (name, content) in [
            ("tool-r1", "one"),
            ("tool-r2", "two"),
            ("data", data),
            ("base.img", "not an image"),
        ] {
            self.server.serve(&format!("/{name}"), content);
            sums += &format!("{}  {name}\n", sha256(content.as_bytes()));
        }
        self.server.serve("/sums", sums);
    }

    /// A node with these roles on a base from the server.
    fn profile(&self, roles: &str) {
        let base = self.server.url("/base.img");
        let digest = sha256(b"not an image");
        let text = PROFILE.replace("roles    = []", &format!("roles = [\"{roles}\"]"));
        let text = format!("{text}\n[base]\nimage = \"{base}\"\nsha256 = \"{digest}\"\n");
        self.bench.write("profiles/node.toml", text);
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        let ran = self.bench.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.bench.path("imgbuild.lock")).unwrap()
    }

    fn forget_cache(&self) {
        fs::remove_dir_all(self.bench.path("cache")).unwrap();
    }
}

#[test]
fn the_first_run_pins_and_later_ones_stay_with_it() {
    let lab = Lab::new();
    let first = lab.run(&["fetch"]);
    assert!(
        first.stderr.contains("imgbuild.lock written with 3 pins"),
        "{}",
        first.stderr
    );
    assert!(first.stderr.contains("3 files"), "{}", first.stderr);
    let lock = lab.lock();
    for line in [
        "version = 1",
        "[[base]]",
        "name = \"base.img\"",
        &format!("request = \"{}\"", lab.server.url("/tool-r1")),
        &format!("sha256 = \"{}\"", sha256(b"one")),
        "verified = [\"sums\"]",
        "verified = [\"given\"]",
    ] {
        assert!(lock.contains(line), "no {line} in:\n{lock}");
    }
    lab.serve("second");
    let asked = lab.server.log("/sums").len();
    for args in [
        &["fetch"][..],
        &["fetch", "--locked"],
        &["fetch", "--offline"],
    ] {
        let ran = lab.run(args);
        assert!(!ran.stderr.contains("imgbuild.lock"), "{}", ran.stderr);
    }
    assert_eq!(lab.lock(), lock);
    assert_eq!(lab.server.log("/sums").len(), asked);
}

#[test]
fn what_was_replaced_upstream_is_refused_until_update() {
    let lab = Lab::new();
    lab.run(&["update"]);
    lab.serve("second");
    let ran = lab.bench.run(&["fetch"]);
    ran.assert_fails(3, &["data has the wrong sha256", "imgbuild update data"]);
    let moved = lab.run(&["update", "--dry-run"]);
    let [old, new] = ["first", "second"].map(|text| sha256(text.as_bytes())[..12].to_owned());
    let expected = format!("data: sha256 {old}… → sha256 {new}…\n");
    assert_eq!(moved.stdout, expected);
    assert!(lab.lock().contains(&sha256(b"first")));
    assert_eq!(lab.run(&["update", "tool"]).stdout, "");
    assert!(lab.lock().contains(&sha256(b"first")));
    assert_eq!(lab.run(&["update", "data"]).stdout, expected);
    assert!(lab.lock().contains(&sha256(b"second")));
    lab.run(&["fetch", "--locked"]);
}

#[test]
fn a_changed_request_is_looked_up_again_and_told() {
    let lab = Lab::new();
    lab.run(&["fetch"]);
    let args = ["fetch", "--set", "x.version=r2"];
    let ran = lab.bench.run(&[&args[..], &["--locked"]].concat());
    ran.assert_fails(2, &["--locked", "no pin of tool", "tool-r2"]);
    let ran = lab.run(&args);
    let [old, new] = ["/tool-r1", "/tool-r2"].map(|path| lab.server.url(path));
    assert!(
        ran.stderr
            .contains(&format!("imgbuild.lock: tool: {old} → {new}")),
        "{}",
        ran.stderr
    );
    assert!(!lab.lock().contains("tool-r1"), "{}", lab.lock());
    assert!(lab.lock().contains("name = \"data\""));
}

#[test]
fn two_nodes_may_want_two_versions() {
    let lab = Lab::new();
    let text = fs::read_to_string(lab.bench.path("profiles/node.toml")).unwrap();
    let other = text
        .replace("\"node\"", "\"other\"")
        .replace("10.0.0.2", "10.0.0.3");
    lab.bench.write(
        "profiles/other.toml",
        format!("{other}\n[x]\nversion = \"r2\"\n"),
    );
    lab.run(&["fetch", "--profile", "node"]);
    lab.run(&["fetch", "--profile", "other"]);
    for version in ["tool-r1", "tool-r2"] {
        assert!(lab.lock().contains(version), "{}", lab.lock());
    }
    lab.run(&["fetch", "--locked"]);
    assert_eq!(lab.run(&["update"]).stdout, "");
}

#[test]
fn an_entry_that_nobody_asks_for_stays_until_update() {
    let lab = Lab::new();
    lab.run(&["fetch"]);
    let text = fs::read_to_string(lab.bench.path("profiles/node.toml")).unwrap();
    lab.bench.write(
        "profiles/node.toml",
        text.replace("roles = [\"x\"]", "roles = []"),
    );
    let lock = lab.lock();
    lab.run(&["fetch", "--locked"]);
    assert_eq!(lab.lock(), lock);
    let gone = lab.run(&["update"]).stdout;
    assert!(gone.contains("data: "), "{gone}");
    assert!(gone.contains("is no longer pinned"), "{gone}");
    assert!(!lab.lock().contains("tool"), "{}", lab.lock());
}

#[test]
fn a_name_that_nobody_knows_is_refused_with_the_nearest() {
    let lab = Lab::new();
    let ran = lab.bench.run(&["update", "tol"]);
    ran.assert_fails(2, &["`tol`", "did you mean `tool`?"]);
    assert!(!lab.bench.path("imgbuild.lock").exists());
}

#[test]
fn a_lock_file_that_is_not_one_is_refused_by_line() {
    let lab = Lab::new();
    lab.run(&["fetch"]);
    let lock = lab.lock();
    let newer = lock.replace("version = 1", "version = 7");
    let conflict = lock.replace("[[base]]", "<<<<<<< HEAD\n[[base]]");
    let digest = lock.replace(&sha256(b"one"), "abc");
    let unknown = lock.replace("verified = [\"sums\"]", "verified = [\"faith\"]");
    let twice = format!("{lock}\n{}", &lock[lock.find("[[payload]]").unwrap()..]);
    let time = lock.replacen("locked = \"2", "locked = \"x", 1);
    for (text, words) in [
        (newer, &["version 7", "update imgbuild"][..]),
        (conflict, &["imgbuild.lock:6:", "git"]),
        (digest, &["imgbuild.lock:", "`abc` is not a sha256"]),
        (unknown, &["`faith` is no way to verify a file"]),
        (twice, &["payload data is pinned twice"]),
        (time, &["is not a time like"]),
        ("version = 1\nbase = 3\n".to_owned(), &["imgbuild.lock:2:"]),
        ("name = 1\n".to_owned(), &["`version` is not 1"]),
        (String::from("\0\u{1}"), &["imgbuild.lock:1:"]),
    ] {
        lab.bench.write("imgbuild.lock", &text);
        lab.bench.run(&["fetch"]).assert_fails(2, words);
        assert_eq!(lab.lock(), text, "a lock file that is wrong was changed");
    }
}

#[test]
fn a_lock_file_that_was_tampered_with_brings_an_error_and_no_file() {
    let lab = Lab::new();
    lab.run(&["update"]);
    let other = sha256(b"something else");
    lab.bench
        .write("imgbuild.lock", lab.lock().replace(&sha256(b"one"), &other));
    let ran = lab.bench.run(&["fetch"]);
    ran.assert_fails(3, &["tool has the wrong sha256", &other]);
}

#[test]
fn the_keys_in_a_url_are_not_in_the_lock_file() {
    let lab = Lab::new();
    let manifest = fs::read_to_string(lab.bench.path("overlays/x/role.toml")).unwrap();
    let manifest = manifest.replace("/data\"\nsums", "/data?token=hunter2\"\nsums");
    lab.bench.write("overlays/x/role.toml", manifest);
    lab.server.serve("/data?token=hunter2", "first");
    lab.run(&["fetch"]);
    assert!(!lab.lock().contains("hunter2"), "{}", lab.lock());
    assert!(lab.lock().contains("/data?token=***"), "{}", lab.lock());
    lab.forget_cache();
    lab.run(&["fetch", "--locked"]);
}

#[test]
fn what_is_not_used_leaves_the_cache_and_pins_stay() {
    let lab = Lab::new();
    lab.run(&["fetch"]);
    let list = lab.run(&["cache", "list"]);
    for name in ["tool", "data", "base.img"] {
        assert!(list.stdout.contains(name), "{}", list.stdout);
    }
    assert!(list.stderr.contains("3 files"), "{}", list.stderr);
    lab.run(&["fetch", "--set", "x.version=r2"]);
    assert_eq!(lab.run(&["cache", "prune"]).stdout, "");
    let dry = lab.run(&["cache", "prune", "--unused-for", "0", "--dry-run"]);
    assert_eq!(dry.stdout.lines().count(), 1, "{}", dry.stdout);
    let pruned = lab.run(&["cache", "prune", "--unused-for", "0"]);
    assert_eq!(pruned.stdout, dry.stdout);
    assert!(
        pruned.stderr.contains("1 file, 3 bytes removed"),
        "{}",
        pruned.stderr
    );
    lab.run(&["fetch", "--offline", "--set", "x.version=r2"]);
}

/// The time of everything written is when the base was pinned, whatever the clock says.
#[test]
fn builds_with_one_lock_file_are_the_same_bytes() {
    let lab = Lab::new();
    let image = lab.bench.path("base.img");
    let mut base = SmallBase::new();
    base.mib = 32;
    base.make(&image, |_| {});
    let bytes = fs::read(&image).unwrap();
    lab.server.serve("/base.img", bytes.clone());
    let profile = fs::read_to_string(lab.bench.path("profiles/node.toml")).unwrap();
    let profile = profile.replace(&sha256(b"not an image"), &sha256(&bytes));
    lab.bench.write("profiles/node.toml", profile);
    let build = |folder: &str, more: &[&str]| {
        let args = ["--profile", "node", "--format", "img", "-o", folder];
        let mut command: Command = lab.bench.imgbuild(&[&args[..], more].concat());
        command.env_remove("SOURCE_DATE_EPOCH");
        let ran = Ran::of(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        fs::read(lab.bench.path(folder).join("node.img")).unwrap()
    };
    let first = build("out", &[]);
    let lock = lab.lock();
    let (_, rest) = lock.split_once("locked = \"").unwrap();
    let lock = lock.replace(&format!("\"{}-", &rest[..4]), "\"2001-");
    lab.bench.write("imgbuild.lock", lock);
    let earlier = build("earlier", &["--locked"]);
    assert!(first != earlier, "the time of the lock file has no effect");
    let again = build("again", &["--locked", "--offline"]);
    assert!(earlier == again, "two builds with one lock file differ");
    let stat = debugfs(
        &lab.bench.path("again/node.img"),
        root_at(0, 32),
        "stat /usr/bin/tool",
    );
    let line = stat.lines().find(|line| line.contains("mtime:")).unwrap();
    assert!(line.contains(" 2001"), "{line}");
}
