//! The roles of the cluster's services: what they write for k3s to apply, from the manifests in
//! `tests/data/manifests`. Mistakes in profiles are rows of `tests/profiles/mistakes.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use imgbuild::config::ProfileSource;
use imgbuild::kubernetes::{MANIFESTS_FOLDER, images, read, write};
use imgbuild::lock::Location;
use imgbuild::plan::{Action, Content, Plan, manifest_text};
use imgbuild::project::Project;
use imgbuild::secrets::SecretMode;
use serde_json::{Value, json};

use crate::common::kube_objects::{Definitions, text};

const KEY: &str = "user.ssh_keys=[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFx4yGxaHatYPPQHQCCNnjo6Ko5pJMxJK/05Ms7MyNTe test\"]";

const ROLES: &str =
    r#"["k3s-server", "samba", "metallb", "ingress", "cert-manager", "smb-csi", "demo"]"#;

/// What differs from the defaults where nginx and Let's Encrypt are asked for.
const NGINX_AND_ACME: &[&str] = &[
    "ingress.controller=\"nginx\"",
    "k3s-server.disable=[\"servicelb\", \"traefik\"]",
    "cert-manager.issuer=\"acme-dns01\"",
    "cert-manager.email=\"admin@example.org\"",
    "cert-manager.staging=true",
    "network.domain=\"home.smith.org\"",
    "secrets.cloudflare_api_token=\"env:CLOUDFLARE_API_TOKEN\"",
    "cluster.ingress=\"10.100.0.60\"",
    "smb-csi.reclaim=\"Delete\"",
    "smb-csi.gid=\"1000\"",
    "smb-csi.mount_options=[\"actimeo=5\"]",
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests")
}

/// A file that k3s applies.
struct File {
    mode: u32,
    /// As it stands in the image.
    text: String,
    /// As upstream has it.
    upstream: Option<String>,
    objects: Vec<Value>,
}

impl File {
    fn objects(&self) -> &[Value] {
        &self.objects
    }
}

fn values(text: &str) -> Vec<Value> {
    let written = write(&read(text).unwrap());
    let documents = written.split("---\n").filter(|text| !text.is_empty());
    documents
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

/// The default cluster with all roles on its server, whose files are those of `tests/data`.
fn plan(settings: &[&str]) -> Plan {
    let folder = folder();
    let data = data();
    let local = |option: &str, path: &str| format!("{option}={:?}", data.join(path));
    let mut sets = vec![
        KEY.to_owned(),
        local("metallb.manifest_file", "metallb/metallb-native.yaml"),
        local(
            "cert-manager.manifest_file",
            "cert-manager/cert-manager.yaml",
        ),
        local("smb-csi.source", "csi-driver-smb"),
    ];
    if settings.contains(&NGINX_AND_ACME[0]) {
        sets.push(local("ingress.nginx_source", "nginx-kubernetes-ingress"));
    }
    sets.extend(settings.iter().map(|set| (*set).to_owned()));
    let project = Project::open(Some(folder.path()), &sets, &[]).unwrap();
    let nodes = project.select(&["master".to_owned()], false).unwrap();
    project.plan(nodes[0], SecretMode::Redact).unwrap()
}

/// A project folder with the default profiles, and all roles on the server.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    for (name, text) in ProfileSource::built_in_files() {
        let text = String::from_utf8(text).unwrap();
        let text = match name == "master.toml" {
            true => with_roles(&text),
            false => text,
        };
        std::fs::write(profiles.join(name), text).unwrap();
    }
    folder
}

fn with_roles(profile: &str) -> String {
    let lines = profile
        .lines()
        .map(|line| match line.starts_with("roles ") {
            true => format!("roles = {ROLES}"),
            false => line.to_owned(),
        });
    lines.map(|line| line + "\n").collect()
}

/// The files that k3s applies, by their names.
fn files(plan: &Plan) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    for edit in &plan.edits {
        let Some(name) = edit.path.strip_prefix(MANIFESTS_FOLDER) else {
            continue;
        };
        let (text, upstream, mode) = match &edit.action {
            Action::Write(Content::Bytes(bytes), attr) => {
                (String::from_utf8(bytes.to_vec()).unwrap(), None, attr.mode)
            }
            Action::Write(Content::Payload(payload), attr) => {
                let Location::File(path) = &payload.request.location else {
                    panic!("{name} is not a local file");
                };
                let changed = manifest_text(payload, path).unwrap();
                let upstream = std::fs::read_to_string(path).unwrap();
                (
                    String::from_utf8(changed).unwrap(),
                    Some(upstream),
                    attr.mode,
                )
            }
            _ => continue,
        };
        let file = File {
            mode,
            objects: values(&text),
            text,
            upstream,
        };
        files.insert(name.trim_start_matches('/').to_owned(), file);
    }
    files
}

fn title(object: &Value) -> String {
    let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
    match text(object, "/metadata/namespace") {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// One line for each value that differs.
fn differences(path: &str, old: &Value, new: &Value, out: &mut String) {
    let keys = |value: &Value| -> BTreeSet<String> {
        match value {
            Value::Object(table) => table.keys().cloned().collect(),
            Value::Array(items) => (0..items.len()).map(|i| i.to_string()).collect(),
            _ => BTreeSet::new(),
        }
    };
    if old == new {
        return;
    }
    let (old_keys, new_keys) = (keys(old), keys(new));
    if old_keys.is_empty() || new_keys.is_empty() {
        writeln!(out, "    {path}: {old} -> {new}").unwrap();
        return;
    }
    for key in old_keys.union(&new_keys) {
        let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        let of = |value: &Value| value.pointer(&pointer).cloned().unwrap_or(Value::Null);
        differences(&format!("{path}/{key}"), &of(old), &of(new), out);
    }
}

/// What people review: files of ours in full, of upstream's what is in them and what was changed.
fn shown(files: &BTreeMap<String, File>) -> String {
    let mut out = String::new();
    for (name, file) in files {
        writeln!(out, "==> {name} ({:04o})", file.mode).unwrap();
        let Some(upstream) = &file.upstream else {
            writeln!(out, "{}", file.text).unwrap();
            continue;
        };
        let old = values(upstream);
        for object in file.objects() {
            let title = title(object);
            writeln!(out, "{title}").unwrap();
            match old.iter().find(|old| self::title(old) == title) {
                Some(old) => differences("", old, object, &mut out),
                None => writeln!(out, "    (not upstream's)").unwrap(),
            }
        }
        writeln!(out).unwrap();
    }
    out
}

fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots"));
    settings.bind(|| insta::assert_snapshot!(name, text));
}

type Cluster = (&'static str, BTreeMap<String, File>);

/// Both clusters, by name. Read once: their definitions are large.
static CLUSTERS: LazyLock<[Cluster; 2]> = LazyLock::new(|| {
    [
        ("services-traefik-local-ca", files(&plan(&[]))),
        ("services-nginx-acme", files(&plan(NGINX_AND_ACME))),
    ]
});

#[test]
fn manifests_of_the_services() {
    for (name, files) in CLUSTERS.iter() {
        compare(name, &shown(files));
    }
}

#[test]
fn images_are_named_by_tag() {
    for (name, files) in CLUSTERS.iter() {
        let objects: Vec<_> = files
            .values()
            .flat_map(|file| read(&file.text).unwrap())
            .collect();
        let found: BTreeSet<String> = images(&objects).iter().map(ToString::to_string).collect();
        assert!(found.len() >= 11, "{name}: {found:?}");
        for image in found {
            let last = image.rsplit('/').next().unwrap();
            assert!(
                last.contains(':') && !image.contains('@'),
                "{name}: {image}"
            );
        }
    }
}

/// Nothing needs what a later file brings, and every namespace is there.
#[test]
fn definitions_and_namespaces_come_first() {
    for (name, files) in CLUSTERS.iter() {
        let mut kinds: BTreeMap<(String, String), &str> = BTreeMap::new();
        let mut namespaces: BTreeMap<String, &str> = BTreeMap::new();
        for (path, file) in files {
            for object in file.objects() {
                match text(object, "/kind") {
                    "CustomResourceDefinition" => {
                        let group = text(object, "/spec/group").to_owned();
                        let kind = text(object, "/spec/names/kind").to_owned();
                        kinds.insert((group, kind), path);
                    }
                    "Namespace" => {
                        namespaces.insert(text(object, "/metadata/name").to_owned(), path);
                    }
                    _ => {}
                }
            }
        }
        let mut custom = 0;
        for (path, file) in files {
            for object in file.objects() {
                let title = title(object);
                let version = text(object, "/apiVersion");
                let group = version.split_once('/').map_or("", |(group, _)| group);
                let key = (group.to_owned(), text(object, "/kind").to_owned());
                if let Some(definition) = kinds.get(&key) {
                    assert!(
                        *definition < path.as_str(),
                        "{name}: {path}: {title} needs {definition}"
                    );
                    custom += 1;
                }
                match text(object, "/metadata/namespace") {
                    "" | "kube-system" => {}
                    namespace => {
                        let there = namespaces.get(namespace);
                        assert!(
                            there.is_some_and(|there| *there <= path.as_str()),
                            "{name}: {path}: {title}"
                        );
                    }
                }
            }
        }
        assert!(custom >= 5, "{name}: {custom} objects with a definition");
    }
}

#[test]
fn secrets_are_only_for_root() {
    for (name, files) in CLUSTERS.iter() {
        let mut found = 0;
        for (path, file) in files {
            for object in file.objects() {
                if object.get("stringData").is_some() {
                    assert_eq!(file.mode, 0o600, "{name}: {path}");
                    found += 1;
                }
                assert!(object.get("data").is_none() || text(object, "/kind") != "Secret");
            }
        }
        assert_eq!(found, 2, "{name}");
    }
}

/// Upstream's and ours, edited or not: all objects are as their definitions want them. HelmChartConfig is k3s's own.
#[test]
fn objects_are_as_their_definitions_say() {
    for (name, files) in CLUSTERS.iter() {
        let objects: Vec<&Value> = files.values().flat_map(File::objects).collect();
        let definitions = Definitions::with(&objects);
        let mut unjudged = BTreeSet::new();
        for object in &objects {
            match definitions.judge(object) {
                Some(wrong) => assert!(wrong.is_empty(), "{name}: {}: {wrong:#?}", title(object)),
                None => drop(unjudged.insert(text(object, "/kind"))),
            }
        }
        let expected = match name.contains("traefik") {
            true => vec!["HelmChartConfig"],
            false => Vec::new(),
        };
        assert_eq!(Vec::from_iter(unjudged), expected, "{name}");
    }
}

/// A judge that lets everything pass is none.
#[test]
fn the_judge_of_objects_sees_mistakes() {
    let (_, files) = &CLUSTERS[0];
    let objects: Vec<&Value> = files.values().flat_map(File::objects).collect();
    let definitions = Definitions::with(&objects);
    for (kind, path, value) in [
        ("IPAddressPool", "/spec/addresses", json!("10.0.0.1/32")),
        ("IPAddressPool", "/spec/autoAssign", json!("no")),
        ("IPAddressPool", "/spec", json!({ "autoAssign": true })),
        ("L2Advertisement", "/spec", json!({ "interface": ["eth0"] })),
        ("Certificate", "/spec/privateKey/algorithm", json!("EC")),
        ("StorageClass", "/mountOptions", json!({ "hard": true })),
        (
            "Ingress",
            "/spec/rules/0/http/paths/0",
            json!({ "path": "/" }),
        ),
        ("Deployment", "/spec/replicas", json!("1")),
        (
            "Service",
            "/spec/ports/0",
            json!({ "port": 80, "target": 80 }),
        ),
    ] {
        let is_kind =
            |object: &&&Value| text(object, "/kind") == kind && object.pointer(path).is_some();
        let mut spoiled = (*objects.iter().find(is_kind).unwrap()).clone();
        *spoiled.pointer_mut(path).unwrap() = value.clone();
        let wrong = definitions.judge(&spoiled).unwrap();
        assert!(!wrong.is_empty(), "{kind}: {path} = {value}");
    }
}

/// The wildcard of Pi-hole leads where the ingress is, and only where there is one.
#[test]
fn pihole_leads_to_the_ingress() {
    let lines = |set: &[&str]| {
        let folder = folder();
        let sets = [KEY].iter().chain(set).map(|set| (*set).to_owned());
        let sets: Vec<String> = sets.collect();
        let project = Project::open(Some(folder.path()), &sets, &[]).unwrap();
        let nodes = project.select(&["gateway".to_owned()], false).unwrap();
        let plan = project.plan(nodes[0], SecretMode::Redact).unwrap();
        let shown = imgbuild::plan::show(&plan, "/etc/pihole/pihole.toml");
        let line = shown[0]
            .text
            .lines()
            .find(|l| l.contains("dnsmasq_lines"))
            .unwrap();
        line.trim().to_owned()
    };
    assert_eq!(
        lines(&[]),
        r#"dnsmasq_lines = ["address=/apps.home.lab/10.100.0.50", "local=/apps.home.lab/"]"#
    );
    let none = ["ingress.controller=\"none\""];
    assert_eq!(lines(&none), "dnsmasq_lines = []");
}
