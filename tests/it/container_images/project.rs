//! Container images of a project: in its lock file, in plans, on cards.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::fake_registry::FakeRegistry;
use super::test_image::TestImage;
use crate::common::small_base::{debugfs, plain_base, root_at};
use crate::common::tools::sha256;
use crate::common::workbench::{Ran, Workbench};

const ARCHIVE: &str = "/var/lib/rancher/k3s/agent/images/imgbuild.tar";
const NOTES: &str = "/var/lib/rancher/k3s/agent/images/.cache.json";

/// A base, made once.
static BASE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(plain_base);

/// A project whose node wants images, and the registry that has them.
struct Lab {
    bench: Workbench,
    registry: FakeRegistry,
}

impl Lab {
    /// `pull` is the list of the role.
    fn new(pull: &str) -> Self {
        let lab = Self {
            bench: Workbench::new(),
            registry: FakeRegistry::start(),
        };
        lab.wish(pull);
        lab.serve(b"first");
        lab
    }

    fn wish(&self, pull: &str) {
        self.bench.add_role(&format!("[images]\npull = [{pull}]\n"));
        let profile = fs::read_to_string(self.bench.path("profiles/node.toml")).unwrap();
        let base = BASE.1.display();
        let profile = format!("{profile}\n[base]\nimage = \"{base}\"\n");
        self.bench.write("profiles/node.toml", profile);
    }

    /// A node with a manifest, and a node that wants what manifests name.
    fn two_nodes(&self, image: &str) {
        let manifest = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a, namespace: default}}\nspec:\n  template:\n    spec:\n      \
             containers: [{{name: c, image: {image}, args: [--solver=registry.test/team/app:1]}}]\n"
        );
        self.bench.write("app.yaml", manifest);
        let manifest = "[[manifest]]\nname = \"app\"\nfile = \"app.yaml\"\n\
            path = \"/var/lib/rancher/k3s/server/manifests/10-app.yaml\"\n";
        self.bench.add_role(manifest);
        let wants = "description = \"a test\"\n[images]\nof_manifests = \"node.hostname != 'x'\"\n";
        self.bench.write("overlays/y/role.toml", wants);
        let base = format!("\n[base]\nimage = \"{}\"\n", BASE.1.display());
        let server = fs::read_to_string(self.bench.path("profiles/node.toml")).unwrap() + &base;
        let agent = server
            .replace("\"node\"", "\"agent\"")
            .replace("10.0.0.2", "10.0.0.3")
            .replace("[\"x\"]", "[\"y\"]");
        self.bench.write("profiles/node.toml", server);
        self.bench.write("profiles/agent.toml", agent);
    }

    fn serve(&self, content: &[u8]) -> TestImage {
        let image = TestImage::new("arm64", &[b"shared", content]);
        let other = TestImage::new("amd64", &[content]);
        self.registry
            .push_index("team/app", "1", &[other, image.clone()]);
        self.registry.push(
            "library/web",
            "2",
            &TestImage::new("arm64", &[b"shared", b"web"]),
        );
        image
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.bench.imgbuild(args);
        let here = self.registry.url("");
        let mirrors = format!("https://registry.test={here},https://registry-1.docker.io={here}");
        command.env("IMGBUILD_MIRRORS", mirrors);
        Ran::of(command.output().unwrap())
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        ran
    }

    #[track_caller]
    fn built(&self, more: &[&str]) -> Vec<u8> {
        self.ok(&[&["--profile", "node", "--format", "img"], more].concat());
        fs::read(self.bench.path("out/node.img")).unwrap()
    }

    fn on_card(&self, request: &str) -> String {
        debugfs(&self.bench.path("out/node.img"), root_at(0, 32), request)
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.bench.path("imgbuild.lock")).unwrap()
    }
}

const BOTH: &str = "\"registry.test/team/app:1 web:2\", \"\"";

#[test]
fn images_are_pinned_and_on_the_card() {
    let lab = Lab::new(BOTH);
    let app = lab.serve(b"first");
    let first = lab.built(&[]);
    let tar = lab.bench.path("card.tar");
    lab.on_card(&format!("dump {ARCHIVE} {}", tar.display()));
    let names: Vec<String> = tar::Archive::new(fs::File::open(&tar).unwrap())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names.len(), 2 + 7, "{names:?}");
    let notes = lab.on_card(&format!("stat {NOTES}"));
    assert!(
        notes.contains("Size: 0") && notes.contains("Type: regular"),
        "{notes}"
    );
    let lock = lab.lock();
    let mut archive = tar::Archive::new(fs::File::open(&tar).unwrap());
    for entry in archive.entries().unwrap().skip(2) {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let name = format!("blobs/sha256/{}", sha256(&content));
        assert_eq!(entry.path().unwrap(), PathBuf::from(name));
    }
    for line in [
        "[[image]]",
        "name = \"docker.io/library/web:2\"",
        "name = \"registry.test/team/app:1\"",
        &format!("sha256 = \"{}\"", sha256(&app.manifest)),
        &format!("size = {}", app.size()),
        "verified = [\"first-use\"]",
    ] {
        assert!(lock.contains(line), "no {line} in:\n{lock}");
    }
    assert_eq!(lock.matches("index = ").count(), 1, "{lock}");
    let spdx = fs::read_to_string(lab.bench.path("out/node.spdx.json")).unwrap();
    let source = format!(
        "https://registry.test/v2/team/app/manifests/sha256:{}",
        sha256(&app.manifest)
    );
    assert!(
        spdx.contains("registry.test/team/app:1") && spdx.contains(&source),
        "{spdx}"
    );
    // What is pinned needs no registry, and gives the same bytes.
    let asked = lab.registry.requests();
    assert!(lab.built(&["--locked", "--offline"]) == first);
    assert_eq!(lab.registry.requests(), asked);
    fs::remove_dir_all(lab.bench.path("cache")).unwrap();
    assert!(lab.built(&["--locked"]) == first);
    assert_eq!(lab.registry.asked("/v2/team/app/manifests/1").len(), 1);
}

#[test]
fn plans_show_images_and_once_pinned_their_sizes() {
    let lab = Lab::new("\"registry.test/team/app:1\"");
    let app = lab.serve(b"first");
    let plan = lab.ok(&["plan", "--profile", "node"]).stdout;
    assert!(
        plan.contains("container images on the card: registry.test/team/app:1\n"),
        "{plan}"
    );
    lab.ok(&["fetch"]);
    let plan = lab.ok(&["plan", "--profile", "node"]).stdout;
    assert!(plan.contains("registry.test/team/app:1 ("), "{plan}");
    let json = lab.ok(&["plan", "--profile", "node", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["images"]["wanted"][0], "registry.test/team/app:1");
    assert_eq!(json[0]["images"]["pinned"][0]["size"], app.size());
}

#[test]
fn a_tag_that_moves_is_followed_by_update_alone() {
    let lab = Lab::new(BOTH);
    lab.built(&[]);
    let (before, moved) = (lab.lock(), lab.serve(b"second"));
    lab.built(&[]);
    assert_eq!(lab.lock(), before);
    let dry = lab.ok(&["update", "--dry-run"]).stdout;
    let new: String = sha256(&moved.manifest).chars().take(12).collect();
    assert!(
        dry.starts_with("image registry.test/team/app:1: sha256 "),
        "{dry}"
    );
    assert!(dry.ends_with(&format!("… → sha256 {new}…\n")), "{dry}");
    assert_eq!(lab.lock(), before);
    // Names may be short.
    assert_eq!(lab.ok(&["update", "web:2"]).stdout, "");
    assert_eq!(lab.lock(), before);
    lab.ok(&["update", "registry.test/team/app:1"]);
    assert!(
        lab.lock().contains(&sha256(&moved.manifest)),
        "{}",
        lab.lock()
    );
    let unknown = lab.run(&["update", "registry.test/team/app:2"]);
    unknown.assert_fails(2, &["registry.test/team/app:2", "registry.test/team/app:1"]);
    // What nobody wants any more leaves when everything is looked up.
    lab.wish("\"web:2\"");
    let ran = lab.ok(&["update"]);
    assert!(
        ran.stdout.contains("registry.test/team/app:1: sha256"),
        "{}",
        ran.stdout
    );
    assert!(
        !lab.lock().contains("registry.test/team/app:1"),
        "{}",
        lab.lock()
    );
}

#[test]
fn locked_means_that_images_are_pinned_too() {
    let lab = Lab::new("");
    lab.ok(&["fetch"]);
    // A lock file as it was before there were images.
    lab.bench.write("imgbuild.lock", "version = 1\n");
    lab.ok(&["fetch", "--locked"]);
    lab.wish("\"web:2\"");
    let ran = lab.run(&["fetch", "--locked"]);
    ran.assert_fails(2, &["--locked", "docker.io/library/web:2"]);
    lab.ok(&["fetch"]);
    lab.ok(&["fetch", "--locked", "--offline"]);
    let twice = lab.lock();
    let entry = twice.split_once("[[image]]").unwrap().1;
    lab.bench
        .write("imgbuild.lock", format!("{twice}\n[[image]]{entry}"));
    let ran = lab.run(&["fetch"]);
    ran.assert_fails(2, &["image docker.io/library/web:2 is pinned twice"]);
}

#[test]
fn pruning_keeps_what_pinned_images_are_made_of() {
    let lab = Lab::new(BOTH);
    let first = lab.built(&[]);
    lab.ok(&["cache", "prune", "--unused-for", "0"]);
    assert!(lab.built(&["--locked", "--offline"]) == first);
    fs::remove_file(lab.bench.path("imgbuild.lock")).unwrap();
    let ran = lab.ok(&["cache", "prune", "--unused-for", "0"]);
    assert!(
        ran.stdout
            .contains("the manifest of registry.test/team/app:1"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("docker.io/library/web:2, part 2 of 3"),
        "{}",
        ran.stdout
    );
}

#[test]
fn names_that_a_node_could_not_find_are_refused() {
    let digest = "a".repeat(64);
    let lab = Lab::new(&format!("\"quay.io/x/y:v1@sha256:{digest}\""));
    let ran = lab.run(&["check"]);
    ran.assert_fails(
        2,
        &[
            "overlays/x/role.toml: [images]",
            "by its digest",
            "`quay.io/x/y:v1`",
        ],
    );
    lab.wish("\"Team/App\"");
    let ran = lab.run(&["check"]);
    ran.assert_fails(
        2,
        &[
            "`Team/App` is not the name of a container image",
            "small letters",
        ],
    );
}

#[test]
fn a_node_gets_what_manifests_of_another_name() {
    let lab = Lab::new("");
    lab.two_nodes("web:2");
    let before = lab.ok(&["plan", "--profile", "agent"]).stdout;
    for name in [
        "docker.io/library/web:2",
        "registry.test/team/app:1",
        "all that manifests name",
    ] {
        assert!(before.contains(name), "{before}");
    }
    lab.ok(&["--all", "--format", "img"]);
    let on = |node: &str, request: &str| {
        debugfs(
            &lab.bench.path(&format!("out/{node}.img")),
            root_at(0, 32),
            request,
        )
    };
    let archive = on("agent", &format!("stat {ARCHIVE}"));
    assert!(archive.contains("Type: regular"), "{archive}");
    assert!(!on("node", &format!("stat {ARCHIVE}")).contains("Type:"));
    let lock = lab.lock();
    assert_eq!(lock.matches("[[image]]").count(), 2, "{lock}");
    let after = lab.ok(&["plan", "--profile", "agent"]).stdout;
    assert!(after.contains("docker.io/library/web:2 ("), "{after}");
    assert!(!after.contains("all that"), "{after}");
    // One node alone, and all pins looked up again: the other node is asked for its manifests.
    lab.ok(&[
        "build",
        "--profile",
        "agent",
        "--locked",
        "--offline",
        "--format",
        "img",
    ]);
    assert_eq!(lab.ok(&["update"]).stdout, "");
    assert_eq!(lab.lock(), lock);
}

#[test]
fn a_manifest_with_a_digest_names_its_file() {
    let lab = Lab::new("");
    lab.two_nodes(&format!("web:2@sha256:{}", "a".repeat(64)));
    let ran = lab.run(&["fetch", "--profile", "agent"]);
    ran.assert_fails(
        2,
        &[
            "role x",
            "manifests/10-app.yaml",
            "by its digest",
            "`image = \"web:2\"`",
            "[[manifest.edit]]",
        ],
    );
    // Nobody who wants the images, nobody who minds.
    lab.ok(&["fetch", "--profile", "node"]);
}
