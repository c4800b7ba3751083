//! Records beside images, judged by public validators, and images compared with them.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::Value;

use crate::common::archive::{TestArchive, URI};
use crate::common::http_server::HttpServer;
use crate::common::small_base::{SmallBase, root_at};
use crate::common::tools::{self, sha256, sha256sum};
use crate::common::validators;
use crate::common::workbench::{Ran, Workbench};

const MIB: u64 = 32;
const SECRET: &str = "correct horse battery staple";
const STATUS: &str = "\
Package: libc6\nStatus: install ok installed\nVersion: 2.41-12\nArchitecture: arm64\nMulti-Arch: same\n\n\
Package: rpi-eeprom\nStatus: install ok installed\nVersion: 28.2-1+rpt1\nArchitecture: all\n\n";
const ROLE: &str = r#"
[packages]
install = ["tool"]
[[payload]]
name = "agent"
url = "@URL@/v1/agent?token=abc"
path = "/usr/local/bin/agent"
mode = "0755"
[secrets.key]
help = "a key"
[modes]
"/etc/x/key" = "0600"
"#;

static BASE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("base.img");
    let mut base = SmallBase::new();
    base.mib = MIB;
    base.file("var/lib/dpkg/status", STATUS);
    base.file("etc/os-release", "ID=debian\nVERSION_CODENAME=trixie\n");
    base.file("etc/apt/sources.list", &format!("deb {URI} trixie main\n"));
    base.file("usr/share/doc/readme", "of the base");
    base.make(&image, |_| {});
    (dir, image)
});

/// A node with a package, a payload, a secret and a plain file.
struct Lab {
    bench: Workbench,
    archive: TestArchive,
    server: HttpServer,
}

impl Lab {
    fn new() -> Self {
        let lab = Self {
            bench: Workbench::new(),
            archive: TestArchive::new(),
            server: HttpServer::start(),
        };
        lab.archive
            .package("tool", "1:1.0+x-1", "Depends: libc6\n")
            .publish();
        lab.server.serve("/v1/agent?token=abc", "the agent");
        let sha256 = sha256(b"the agent");
        let role = ROLE.replace("@URL@", &lab.server.url(""));
        let role = role.replace("path =", &format!("sha256 = \"{sha256}\"\npath ="));
        lab.bench.add_role(&role);
        lab.bench.write("overlays/x/root/etc/x/plain", "plain\n");
        lab.bench
            .write("overlays/x/root/etc/x/key.j2", "{{ secret('key') }}\n");
        let profile = fs::read_to_string(lab.bench.path("profiles/node.toml")).unwrap();
        let profile = profile.replace("[user]\n", "[user]\nname = \"alice\"\n");
        let secrets = "[secrets]\nkey = \"env:TEST_KEY\"\n";
        lab.bench
            .write("profiles/node.toml", format!("{profile}\n{secrets}"));
        lab
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.bench.imgbuild(args);
        command.envs(self.archive.environment(&self.bench.path("")));
        command.env("TEST_KEY", SECRET).env("USER", "somebody-here");
        Ran::of(command.output().unwrap())
    }

    #[track_caller]
    fn build(&self, more: &[&str]) -> Ran {
        let base = BASE.1.to_str().unwrap();
        let args = ["--profile", "node", "--base", base];
        let ran = self.run(&[&args, more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    fn verify(&self, more: &[&str]) -> Ran {
        self.run(&[&["verify"], more].concat())
    }

    fn out(&self, name: &str) -> PathBuf {
        self.bench.path("out").join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.out(name)).unwrap()).unwrap()
    }

    /// What the record has of a path.
    fn file(&self, path: &str) -> Value {
        let record = self.json("node.record.json");
        let files = record["files"].as_array().unwrap();
        let found = files.iter().find(|file| file["path"] == path);
        found.unwrap_or_else(|| panic!("no {path}")).clone()
    }

    /// Runs a command of debugfs on the raw image.
    fn debugfs(&self, request: &str) {
        let image = self.out("node.img");
        let image = format!("{}?offset={}", image.display(), root_at(0, MIB));
        tools::ok("debugfs", &["-w", "-R", request, &image]);
    }
}

const RECORDS: [&str; 3] = ["node.spdx.json", "node.provenance.json", "node.record.json"];

#[test]
fn records_say_what_is_in_the_image_and_where_it_is_from() {
    let lab = Lab::new();
    let ran = lab.build(&["--format", "img.xz"]);
    let sums = fs::read_to_string(lab.out("SHA256SUMS")).unwrap();
    for name in RECORDS {
        let line = format!("{}  {name}", sha256sum(&lab.out(name)));
        assert!(sums.contains(&line), "{sums}");
        assert!(ran.stdout.contains(name), "{}", ran.stdout);
    }
    let spdx = lab.json("node.spdx.json");
    let packages = spdx["packages"].as_array().unwrap();
    let purls: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .collect();
    let wanted = [
        "pkg:deb/debian/libc6@2.41-12?arch=arm64&distro=trixie",
        "pkg:deb/raspberrypi/rpi-eeprom@28.2-1%2Brpt1?arch=all&distro=trixie",
        "pkg:deb/debian/tool@1%3A1.0%2Bx-1?arch=arm64&distro=trixie",
    ];
    assert_eq!(purls, wanted);
    let image = sha256sum(&lab.out("node.img.xz"));
    let output = packages
        .iter()
        .find(|p| p["name"] == "node.img.xz")
        .unwrap();
    assert_eq!(output["checksums"][0]["checksumValue"], *image);
    assert_eq!(spdx["creationInfo"]["created"], "2026-04-13T00:00:00Z");

    let statement = lab.json("node.provenance.json");
    assert_eq!(statement["subject"][0]["name"], "node.img.xz");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], *image);
    let inputs = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    let digest = |name: &str| {
        let mut inputs = inputs.as_array().unwrap().iter();
        let found = inputs.find(|input| input["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {inputs:?}"))["digest"]["sha256"].clone()
    };
    assert_eq!(digest("base.img"), *sha256sum(&BASE.1));
    assert_eq!(digest("agent"), *sha256(b"the agent"));
    assert_eq!(digest("tool=1:1.0+x-1:arm64"), *sha256(b"tool 1:1.0+x-1"));
    let lock = sha256sum(&lab.bench.path("imgbuild.lock"));
    assert_eq!(digest("imgbuild.lock"), *lock);
    let release = lab.archive.server.url("/debian/dists/trixie/InRelease");
    let release = tools::ok("curl", &["-s", &release]);
    assert_eq!(
        digest(&format!("InRelease of {URI} trixie")),
        *sha256(&release)
    );
}

#[test]
fn files_are_listed_with_mode_owner_and_digest_but_no_digest_of_a_secret() {
    let lab = Lab::new();
    lab.build(&["--format", "img"]);
    let plain = lab.file("/etc/x/plain");
    assert_eq!(plain["sha256"], *sha256(b"plain\n"));
    assert_eq!((&plain["mode"], &plain["uid"]), (&"0644".into(), &0.into()));
    assert_eq!(
        lab.file("/usr/local/bin/agent")["sha256"],
        *sha256(b"the agent")
    );
    for path in ["/etc/x/key", "/etc/shadow"] {
        let secret = lab.file(path);
        assert_eq!(secret["secret"], true, "{path}");
        assert_eq!(secret["sha256"], Value::Null, "{path}");
    }
    assert_eq!(lab.file("/etc/x/key")["mode"], "0600");
    assert_eq!(lab.file("/etc/x")["kind"], "folder");
    assert_eq!(lab.file("/home/alice")["kind"], "folder");
    assert_eq!(lab.file("/home/pi")["kind"], "absent");
    assert_eq!(lab.file("/cmdline.txt")["on"], "boot");
}

#[test]
fn nothing_of_the_builder_and_no_secret_is_in_the_records() {
    let lab = Lab::new();
    lab.build(&["--format", "img.xz"]);
    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let (project, base) = (lab.bench.path(""), BASE.0.path().to_owned());
    let secret = format!("{SECRET}\n");
    let words = [
        SECRET.to_owned(),
        sha256(SECRET.as_bytes()),
        sha256(secret.as_bytes()),
        project.to_string_lossy().into_owned(),
        base.to_string_lossy().into_owned(),
        "somebody-here".to_owned(),
        "token".to_owned(),
        "/tmp/".to_owned(),
        host.trim().to_owned(),
    ];
    for name in RECORDS {
        let text = fs::read_to_string(lab.out(name)).unwrap();
        for word in words.iter().filter(|word| !word.is_empty()) {
            assert!(!text.contains(word.as_str()), "{name} has {word}");
        }
    }
}

#[test]
fn two_builds_write_the_same_records() {
    let lab = Lab::new();
    let read = || RECORDS.map(|name| fs::read(lab.out(name)).unwrap());
    lab.build(&[]);
    let first = read();
    fs::remove_dir_all(lab.bench.path("out")).unwrap();
    lab.build(&["--jobs", "1", "--locked"]);
    assert!(first == read());
}

#[test]
fn without_checksums_there_is_a_record_and_no_provenance_of_nothing() {
    let lab = Lab::new();
    lab.build(&["--format", "img"]);
    assert!(lab.out("node.provenance.json").exists());
    lab.build(&["--format", "img", "--checksums", "none"]);
    assert!(!lab.out("node.provenance.json").exists());
    let ran = lab.verify(&["out/node.img", "--base", BASE.1.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("none to compare it with"),
        "{}",
        ran.stderr
    );
}

#[test]
fn images_of_every_format_are_verified_also_file_by_file() {
    let lab = Lab::new();
    let formats = ["img", "img.xz", "img.zst", "img.gz"];
    let more: Vec<&str> = formats.iter().flat_map(|f| ["--format", f]).collect();
    lab.build(&more);
    for format in formats {
        let image = format!("out/node.{format}");
        let ran = lab.verify(&[&image]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let base = BASE.1.to_str().unwrap();
        let ran = lab.verify(&[&image, "--deep", "--base", base]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout, format!("{image}: the same\n"));
    }
}

#[test]
fn a_tampered_image_is_told_file_by_file() {
    let lab = Lab::new();
    lab.build(&["--format", "img"]);
    lab.bench.write("evil", "evil\n");
    let evil = lab.bench.path("evil");
    lab.debugfs("rm /usr/local/bin/agent");
    lab.debugfs("sif /etc/x/key mode 0100644");
    lab.debugfs("rm /etc/x/plain");
    lab.debugfs(&format!("write {} /etc/x/plain", evil.display()));
    lab.debugfs("rm /usr/share/doc/readme");
    lab.debugfs(&format!("write {} /usr/bin/backdoor", evil.display()));
    let ran = lab.verify(&["out/node.img"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for line in [
        "root:/usr/local/bin/agent: missing",
        "root:/etc/x/key: mode changed",
        "root:/etc/x/plain: content",
    ] {
        assert!(ran.stdout.contains(line), "no {line} in:\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains("backdoor"), "{}", ran.stdout);
    assert!(ran.stderr.contains("all other files were not compared"));
    let ran = lab.verify(&["out/node.img", "--base", BASE.1.to_str().unwrap()]);
    for line in [
        "root:/usr/share/doc/readme: missing",
        "root:/usr/bin/backdoor: added",
        "root:/etc/x/key: mode changed",
    ] {
        assert!(ran.stdout.contains(line), "no {line} in:\n{}", ran.stdout);
    }
    assert!(
        ran.stderr.contains("5 paths differ"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn bytes_outside_of_files_are_told_as_such() {
    let lab = Lab::new();
    lab.build(&["--format", "img"]);
    let mut image = fs::read(lab.out("node.img")).unwrap();
    // In the gap behind the partition table.
    image[4096] ^= 1;
    fs::write(lab.out("node.img"), image).unwrap();
    let ran = lab.verify(&["out/node.img"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""));
    assert!(ran.stderr.contains("other bytes do"), "{}", ran.stderr);
}

#[test]
fn an_image_that_cannot_be_read_is_what_verifying_found() {
    let lab = Lab::new();
    lab.build(&["--format", "img.xz"]);
    let image = fs::read(lab.out("node.img.xz")).unwrap();
    fs::write(lab.out("node.img.xz"), &image[..image.len() / 2]).unwrap();
    let words = ["another SHA-256", "cannot be read"];
    lab.verify(&["out/node.img.xz"]).assert_fails(3, &words);
}

#[test]
fn records_that_are_missing_damaged_or_of_another_image_are_told() {
    let lab = Lab::new();
    lab.build(&["--format", "img"]);
    let record = lab.out("node.record.json");
    let good = fs::read_to_string(&record).unwrap();
    let verify = || lab.verify(&["out/node.img"]);
    fs::copy(lab.out("node.img"), lab.bench.path("card")).unwrap();
    lab.verify(&["card"])
        .assert_fails(2, &["which record?", "--record"]);
    let ran = lab.verify(&["card", "--record", "out/node.record.json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    lab.verify(&["out/gone.img"])
        .assert_fails(2, &["gone.record.json"]);
    lab.verify(&["out"]).assert_fails(2, &["which record?"]);

    for (text, word) in [
        (good[..good.len() / 2].to_owned(), "damaged"),
        (
            good.replace("\"version\": 1", "\"version\": 2"),
            "version 2",
        ),
        (
            good.replace("\"kind\":\"file\"", "\"kind\":\"song\""),
            "damaged",
        ),
        (String::new(), "damaged"),
    ] {
        fs::write(&record, text).unwrap();
        verify().assert_fails(2, &["node.record.json", word]);
    }
    fs::remove_file(&record).unwrap();
    verify().assert_fails(2, &["node.record.json", "--record"]);

    // Another image under the same name.
    fs::write(&record, &good).unwrap();
    let spdx = fs::read_to_string(lab.out("node.spdx.json")).unwrap();
    fs::write(lab.out("node.spdx.json"), spdx.replace("trixie", "sid")).unwrap();
    let ran = verify();
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("out/node.spdx.json: not what"),
        "{}",
        ran.stdout
    );
    lab.bench.write("overlays/x/root/etc/x/plain", "another\n");
    lab.build(&["--format", "img"]);
    fs::write(&record, &good).unwrap();
    let ran = verify();
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("root:/etc/x/plain: content changed"),
        "{}",
        ran.stdout
    );
}

#[test]
fn another_base_is_no_base_to_compare_with() {
    let lab = Lab::new();
    lab.build(&["--format", "img"]);
    let args = ["out/node.img", "--deep", "--base", "out/node.img"];
    lab.verify(&args)
        .assert_fails(2, &["is not the base", "base.img"]);
}

#[test]
fn public_validators_accept_the_records() {
    let lab = Lab::new();
    lab.build(&["--format", "img.xz", "--format", "img", "--bmap"]);
    let statement = fs::read_to_string(lab.out("node.provenance.json")).unwrap();
    let said = validators::in_toto(&lab.out("node.provenance.json"));
    assert!(said.status.success(), "{}", tools::both(&said));
    // pyspdxtools knows no URL without a domain, and the server of the test has none.
    let server = lab.server.url("").trim_end_matches('/').to_owned();
    let spdx = fs::read_to_string(lab.out("node.spdx.json")).unwrap();
    let spdx = spdx.replace(&server, "https://files.example.org");
    let judged = lab.bench.path("judged.spdx.json");
    fs::write(&judged, &spdx).unwrap();
    let said = validators::spdx(&judged);
    assert!(said.status.success(), "{}", tools::both(&said));
    // They do find fault with what is wrong.
    let broken = lab.bench.path("broken.spdx.json");
    fs::write(&broken, spdx.replace("SPDXRef-Base", "SPDXRef Base")).unwrap();
    assert!(!validators::spdx(&broken).status.success());
    let broken = lab.bench.path("broken.json");
    let mut statement: Value = serde_json::from_str(&statement).unwrap();
    statement["subject"][0]["digest"] = serde_json::json!({});
    fs::write(&broken, statement.to_string()).unwrap();
    assert!(!validators::in_toto(&broken).status.success());
}
