//! Kubernetes manifests of roles and of the user: changed on the way, and held against what k3s demands.

use std::path::PathBuf;
use std::sync::LazyLock;

use crate::common::small_base::{debugfs, plain_base, root_at};
use crate::common::workbench::{Ran, Workbench};

const USAGE: i32 = 2;
const FOLDER: &str = "/var/lib/rancher/k3s/server/manifests";

static BASE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(plain_base);

const UPSTREAM: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: tool}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tool, namespace: tool}
spec: {template: {spec: {containers: [{name: c, image: tool:1, args: [--verbose]}]}}}
";

const ROLE: &str = r#"
[options.version]
type    = "string"
default = "2"
help    = "x"

[[manifest]]
name = "tool"
file = "tool.yaml"
path = "/var/lib/rancher/k3s/server/manifests/10-tool.yaml"
[[manifest.edit]]
kind     = "Deployment"
image    = "tool:{{ options.version }}"
add_args = ["--node={{ node.hostname }}", "{% if false %}--never{% endif %}"]
set      = { "spec.replicas" = 1, "spec.template.metadata.labels" = { host = "{{ node.hostname }}" } }
[[manifest.edit]]
kind = "Namespace"
when = "false"
drop = true
"#;

fn bench(role: &str) -> Workbench {
    let bench = Workbench::new();
    bench.add_role(role);
    bench.write("tool.yaml", UPSTREAM);
    bench
}

fn build(bench: &Workbench) -> Ran {
    let base = BASE.1.to_str().unwrap();
    bench.run(&["--profile", "node", "--base", base, "--format", "img"])
}

#[track_caller]
fn refused(bench: &Workbench, words: &[&str]) {
    let ran = build(bench);
    assert_eq!(ran.code, Some(USAGE), "{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "no {word:?} in {}", ran.stderr);
    }
}

#[test]
fn a_manifest_is_changed_on_the_way() {
    let bench = bench(ROLE);
    let ran = build(&bench);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let image = bench.path("out/node.img");
    let root = root_at(0, 32);
    let text = debugfs(&image, root, &format!("cat {FOLDER}/10-tool.yaml"));
    for part in [
        "\"image\": \"tool:2\"",
        "\"--verbose\",\n              \"--node=node\"\n            ]",
        "\"replicas\": 1",
        "\"host\": \"node\"",
        "\"kind\": \"Namespace\"",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let stat = debugfs(&image, root, &format!("stat {FOLDER}/10-tool.yaml"));
    assert!(stat.contains("Mode:  0600"), "{stat}");
}

#[test]
fn a_change_that_upstream_has_no_place_for_is_told() {
    let bench = bench(&ROLE.replace("kind     = \"Deployment\"", "kind = \"DaemonSet\""));
    refused(
        &bench,
        &["tool.yaml: holds no DaemonSet", "another version"],
    );
}

#[test]
fn damaged_manifests_are_told_with_their_line() {
    let bench = bench(ROLE);
    bench.write("tool.yaml", "apiVersion: v1\nkind: [\n");
    refused(&bench, &["tool.yaml", "is no valid YAML"]);
    bench.write("tool.yaml", "apiVersion: v1\nkind: Pod\n");
    refused(&bench, &["document 1 is a Pod without `metadata.name`"]);
    bench.write("tool.yaml", "");
    refused(&bench, &["holds no objects"]);
    bench.write("tool.yaml", [0xff, 0xfe]);
    refused(&bench, &["no UTF-8"]);
}

#[test]
fn a_template_that_is_no_manifest_is_told_by_check() {
    let bench = bench(ROLE);
    let file = format!("overlays/x/root{FOLDER}/20-own.yaml.j2");
    bench.write(
        &file,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: {{ node.hostname }}\n",
    );
    let ran = bench.run(&["check"]);
    assert_eq!(ran.code, Some(USAGE), "{}", ran.stderr);
    assert!(ran.stderr.contains("20-own.yaml"), "{}", ran.stderr);
    assert!(ran.stderr.contains("is no valid YAML"), "{}", ran.stderr);
}

#[test]
fn names_that_k3s_cannot_take_and_objects_that_are_twice_are_told() {
    let bench = bench(&ROLE.replace("10-tool.yaml", "10_tool.yaml"));
    refused(&bench, &["small letters"]);
    let bench = self::bench(&ROLE.replace("10-tool.yaml", "traefik.yaml"));
    refused(&bench, &["of k3s itself"]);
    let bench = self::bench(ROLE);
    let file = format!("overlays/x/root{FOLDER}/20-own.yaml");
    bench.write(
        &file,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: tool}\n",
    );
    refused(
        &bench,
        &["Namespace tool is in 10-tool.yaml of the role x as well"],
    );
}

#[test]
fn a_role_whose_change_changes_nothing_is_refused() {
    let bench = bench(&ROLE.replace("drop = true", ""));
    refused(&bench, &["manifest tool: edit 2 says nothing to change"]);
}
