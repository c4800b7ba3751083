//! Debian packages on the card: resolved over a signed archive for the base, pinned, and put in place.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::common::archive::{TestArchive, URI};
use crate::common::openpgp::TestKey;
use crate::common::small_base::{SmallBase, debugfs, root_at};
use crate::common::workbench::{Ran, Workbench};

const ON_CARD: &str = "/var/lib/imgbuild/packages";
const STATUS: &str = "\
Package: libc6\nStatus: install ok installed\nVersion: 2.41-12\nArchitecture: arm64\nMulti-Arch: same\n\n\
Package: old\nStatus: install ok installed\nVersion: 1\nArchitecture: arm64\n\n";

/// A base with two packages, made once.
static BASE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("base.img");
    make_base(&image, STATUS);
    (dir, image)
});

fn make_base(image: &std::path::Path, status: &str) {
    let mut base = SmallBase::new();
    base.mib = 32;
    base.file("var/lib/dpkg/status", status);
    base.file("etc/apt/sources.list", &format!("deb {URI} trixie main\n"));
    base.make(image, |_| {});
}

/// A project whose node asks for packages, and the archive that has them.
struct Lab {
    bench: Workbench,
    archive: TestArchive,
}

impl Lab {
    fn new(wishes: &str) -> Self {
        let (bench, archive) = (Workbench::new(), TestArchive::new());
        let lab = Self { bench, archive };
        lab.wish(wishes);
        lab.archive
            .package("tool", "1.0-1", "Depends: libtool1 (>= 1), libc6\n")
            .package("libtool1", "1.5", "Depends: libc6 (>= 2.40)\n")
            .package("other", "3", "")
            .publish();
        lab
    }

    fn wish(&self, wishes: &str) {
        self.bench
            .add_role(&format!("[packages]\ninstall = [{wishes}]\n"));
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.bench.imgbuild(args);
        command.envs(self.archive.environment(&self.bench.path("")));
        Ran::of(command.output().unwrap())
    }

    fn build(&self, more: &[&str]) -> Ran {
        self.build_from(&BASE.1, more)
    }

    fn build_from(&self, base: &std::path::Path, more: &[&str]) -> Ran {
        let base = base.to_str().unwrap();
        let args = ["--profile", "node", "--base", base, "--format", "img"];
        self.run(&[&args, more].concat())
    }

    #[track_caller]
    fn built(&self, more: &[&str]) -> Ran {
        let ran = self.build(more);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    fn on_card(&self, request: &str) -> String {
        debugfs(&self.bench.path("out/node.img"), root_at(0, 32), request)
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.bench.path("imgbuild.lock")).unwrap()
    }

    fn forget_cache(&self) {
        fs::remove_dir_all(self.bench.path("cache")).unwrap();
    }
}

#[test]
fn packages_and_what_they_need_are_on_the_card() {
    let lab = Lab::new("\"tool\"");
    lab.built(&[]);
    let folder = lab.on_card(&format!("ls -p {ON_CARD}/1"));
    for name in ["tool_1.0-1_arm64.deb", "libtool1_1.5_arm64.deb"] {
        assert!(folder.contains(name), "{folder}");
    }
    let deb = format!("cat {ON_CARD}/1/tool_1.0-1_arm64.deb");
    assert_eq!(lab.on_card(&deb), "tool 1.0-1");
    assert_eq!(lab.on_card(&format!("cat {ON_CARD}/auto")), "libtool1\n");
    let unit = "/etc/systemd/system/multi-user.target.wants/imgbuild-packages.service";
    assert!(
        lab.on_card(&format!("stat {unit}"))
            .contains("Type: symlink")
    );
    let lock = lab.lock();
    for line in [
        "date = \"2026-11-21T09:15:44Z\"",
        &format!("verified = [\"openpgp:{}\"]", lab.archive.key.fingerprint()),
        "\"tool=1.0-1:arm64\"",
        &format!("url = \"{URI}/pool/tool_1.0-1_arm64.deb\""),
    ] {
        assert!(lock.contains(line), "no {line} in:\n{lock}");
    }
    let first = fs::read(lab.bench.path("out/node.img")).unwrap();
    let asked = lab.archive.server.requests();
    lab.built(&["--locked", "--offline"]);
    assert!(first == fs::read(lab.bench.path("out/node.img")).unwrap());
    assert_eq!(lab.archive.server.requests(), asked);
}

#[test]
fn what_the_base_has_is_not_installed_again() {
    let lab = Lab::new("\"old\", \"nothing | libc6\", \"absent?\"");
    lab.built(&[]);
    let found = lab.on_card(&format!("stat {ON_CARD}"));
    assert!(!found.contains("Type:"), "{found}");
}

#[test]
fn a_base_that_has_everything_needs_no_archive_and_no_pin() {
    let lab = Lab::new("\"old\", \"nothing | libc6\"");
    lab.built(&["--locked", "--offline"]);
    assert!(!lab.bench.path("imgbuild.lock").exists());
    assert_eq!(lab.archive.server.requests(), 0);
}

#[test]
fn of_alternatives_the_first_that_there_is_comes() {
    let lab = Lab::new("\"nothing | other | tool\", \"absent?\"");
    lab.built(&[]);
    assert!(
        lab.lock().contains("install = [\"other=3:arm64\"]"),
        "{}",
        lab.lock()
    );
}

#[test]
fn a_version_moves_only_by_update() {
    let lab = Lab::new("\"tool\"");
    lab.built(&[]);
    lab.archive
        .package("tool", "1.1-1", "Depends: libtool1, libc6\n")
        .publish();
    lab.built(&[]);
    assert!(lab.lock().contains("tool=1.0-1"), "{}", lab.lock());
    let profile = fs::read_to_string(lab.bench.path("profiles/node.toml")).unwrap();
    let base = BASE.1.display();
    lab.bench.write(
        "profiles/node.toml",
        format!("{profile}\n[base]\nimage = \"{base}\"\n"),
    );
    let dry = lab.run(&["update", "--dry-run"]);
    assert_eq!(
        dry.stdout, "package tool: 1.0-1 → 1.1-1\n",
        "{}",
        dry.stderr
    );
    assert!(lab.lock().contains("tool=1.0-1"), "{}", lab.lock());
    let moved = lab.run(&["update", "libtool1"]);
    assert_eq!(
        moved.stdout, "package tool: 1.0-1 → 1.1-1\n",
        "{}",
        moved.stderr
    );
    assert!(!lab.lock().contains("1.0-1"), "{}", lab.lock());
    lab.built(&["--locked"]);
}

#[test]
fn another_base_is_resolved_anew_and_locked_says_so() {
    let lab = Lab::new("\"tool\"");
    lab.built(&[]);
    let other = lab.bench.path("base.img");
    make_base(&other, &STATUS.replace("Package: old", "Package: libtool1"));
    let ran = lab.build_from(&other, &["--locked"]);
    ran.assert_fails(2, &["--locked", "packages tool", "base.img"]);
    // It has that library, which is too old.
    let status = STATUS.replace("Package: old\n", "Package: libtool1\n");
    make_base(&other, &status.replace("Version: 1\n", "Version: 0.9\n"));
    let ran = lab.build_from(&other, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(lab.lock().contains("from = \"0.9\""), "{}", lab.lock());
}

#[test]
fn an_index_must_be_signed_by_a_pinned_key() {
    let lab = Lab::new("\"tool\"");
    let stranger = TestKey::new(99);
    lab.archive.publish_by(&[&stranger]);
    let words = [URI, "04B54C3CDCA79751B16BC6B5225629DF75B188BD"];
    lab.build(&[]).assert_fails(3, &words);
    lab.archive.publish_signed(|text| {
        let signed = String::from_utf8(lab.archive.key.clearsigned(text)).unwrap();
        signed
            .replace("Origin: Debian", "Origin: Somebody")
            .into_bytes()
    });
    lab.build(&[]).assert_fails(3, &[URI]);
    lab.archive.publish_signed(|text| text.as_bytes().to_vec());
    lab.build(&[]).assert_fails(3, &[URI]);
    assert!(!lab.bench.path("out/node.img").exists());
    let name = format!("{URI} trixie");
    let ran = lab.built(&["--insecure-skip-signature", &name]);
    assert!(ran.stderr.contains("is not checked"), "{}", ran.stderr);
    lab.archive.publish_by(&[&stranger, &lab.archive.key]);
    fs::remove_file(lab.bench.path("imgbuild.lock")).unwrap();
    lab.built(&[]);
}

#[test]
fn an_index_that_is_older_than_one_that_was_seen_is_refused() {
    let lab = Lab::new("\"tool\"");
    lab.built(&[]);
    lab.archive
        .date
        .replace("Fri, 20 Nov 2026 09:15:44 UTC".to_owned());
    lab.archive.publish();
    lab.wish("\"tool\", \"other\"");
    let words = ["2026-11-20T09:15:44Z", "2026-11-21T09:15:44Z"];
    lab.build(&[]).assert_fails(3, &words);
    lab.archive
        .date
        .replace("Sun, 22 Nov 2026 09:15:44 UTC".to_owned());
    lab.archive
        .more
        .replace("Valid-Until: Mon, 23 Nov 2026 09:15:44 UTC\n".to_owned());
    lab.archive.publish();
    lab.build(&[]).assert_fails(3, &["expired on 2026-11-23"]);
}

#[test]
fn an_index_that_is_not_the_signed_one_is_refused() {
    let lab = Lab::new("\"tool\"");
    let release = lab.archive.server.url("/debian/dists/trixie/InRelease");
    let text = String::from_utf8(crate::common::tools::ok("curl", &["-s", &release])).unwrap();
    let digest = text
        .split_whitespace()
        .find(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .unwrap();
    for path in [format!("by-hash/SHA256/{digest}"), "Packages".to_owned()] {
        let path = format!("/debian/dists/trixie/main/binary-arm64/{path}");
        lab.archive.server.serve(&path, "Package: evil\n");
    }
    lab.build(&[]).assert_fails(3, &["index of", "wrong"]);
}

#[test]
fn what_cannot_be_installed_is_refused_by_name() {
    let lab = Lab::new("\"tol\"");
    lab.build(&[]).assert_fails(2, &["`tol`", "tool"]);
    lab.wish("\"needy\"");
    lab.archive
        .package("needy", "1", "Depends: gone (>= 2)\n")
        .publish();
    let ran = lab.build(&[]);
    assert_ne!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("needy") && ran.stderr.contains("gone (>= 2)"),
        "{}",
        ran.stderr
    );
    lab.wish("\"rival\"");
    lab.archive
        .package("rival", "1", "Conflicts: old\n")
        .publish();
    let ran = lab.build(&[]);
    assert_ne!(ran.code, Some(0));
    assert!(
        ran.stderr.contains("rival") && ran.stderr.contains("old"),
        "{}",
        ran.stderr
    );
    lab.wish("\"Samba (>= 2)\"");
    lab.build(&[]).assert_fails(
        2,
        &[
            "x/role.toml: [packages]",
            "not the name of a Debian package",
        ],
    );
    assert!(!lab.bench.path("imgbuild.lock").exists());
}

#[test]
fn a_package_that_left_the_archive_comes_from_the_cache_the_snapshot_or_not_at_all() {
    let lab = Lab::new("\"other\"");
    lab.built(&[]);
    let path = TestArchive::path("other", "3");
    lab.archive.server.remove(&path);
    lab.built(&["--locked"]);
    lab.forget_cache();
    let ran = lab.build(&["--locked"]);
    ran.assert_fails(1, &["other 3 cannot be had", "imgbuild update other"]);
    let lock = lab.lock();
    let (_, rest) = lock.split_once("locked = \"").unwrap();
    let time = rest[..20].replace(['-', ':'], "");
    let snapshot = format!("/snapshot/debian/{time}/pool/other_3_arm64.deb");
    lab.archive.server.serve(&snapshot, "other 3");
    lab.built(&["--locked"]);
    assert_eq!(lab.archive.server.log(&snapshot).len(), 2);
}

#[test]
fn check_and_plan_need_no_archive() {
    let lab = Lab::new("\"tool\"");
    let ran = lab.run(&["plan", "--profile", "node"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("tool"), "{}", ran.stdout);
    assert_eq!(lab.run(&["check"]).code, Some(0));
    assert_eq!(lab.archive.server.requests(), 0);
}
