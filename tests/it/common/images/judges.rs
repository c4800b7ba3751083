//! Asks the programs that will read the files of a node whether they can.

use std::path::Path;

use imgbuild::plan::{Action, Plan};

use super::build::{SECRETS, nt_hash};
use super::tree::{Entry, Kind, Tree};
use crate::common::needs;
use crate::common::tools::{accepts, both, output, tool};

/// What is judged: files taken out of a node into `root`, and what all of the node has.
pub struct Node<'a> {
    pub name: &'a str,
    pub plan: &'a Plan,
    pub root: &'a Path,
    pub tree: &'a Tree,
    /// The seed on the boot partition, if it is there.
    pub user_data: Option<&'a Path>,
    pub cloud_init: bool,
    /// A folder to work in.
    pub scratch: &'a Path,
}

/// Programs of Raspberry Pi OS that the fixtures go without.
const NOT_IN_FIXTURES: &[&str] = &["/usr/bin/python3", "/usr/sbin/locale-gen", "/usr/sbin/nft"];

type Judge = fn(&Node<'_>, &Path);

/// A file of some nodes, and its judge. Every one of them is on some default node.
const JUDGES: &[(&str, Judge)] = &[
    ("etc/samba/smb.conf", samba),
    ("etc/sudoers.d/010_imgbuild", sudoers),
    (
        "etc/NetworkManager/system-connections/imgbuild-lan.nmconnection",
        network_manager,
    ),
    ("etc/ssh/sshd_config.d/10-imgbuild.conf", sshd),
    ("etc/imgbuild/pihole-firewall.nft", nftables),
    ("etc/pihole/pihole.toml", pihole),
    ("etc/rancher/k3s/config.yaml", k3s),
    ("etc/cloud/cloud.cfg.d/99z-imgbuild.cfg", yaml_parses),
    ("etc/cloud/cloud.cfg.d/99z-imgbuild-seed.cfg", yaml_parses),
    ("etc/avahi/services/imgbuild-smb.service", xml_parses),
    ("etc/imgbuild/samba.env", shell_parses),
    ("etc/imgbuild/pihole.env", shell_parses),
    ("etc/imgbuild/tailscale-router.env", shell_parses),
    ("etc/imgbuild/samba.nthash", samba_hash),
    ("etc/hosts", hosts),
    ("etc/sysctl.d/90-k3s.conf", sysctl),
    ("etc/sysctl.d/99-tailscale.conf", sysctl),
];

/// Asks every judge that `node` has something for; returns the files that were judged.
pub fn ask(node: &Node<'_>) -> Vec<&'static str> {
    let mut judged = Vec::new();
    for (path, judge) in JUDGES {
        let file = node.root.join(path);
        if file.is_file() {
            judge(node, &file);
            judged.push(*path);
        }
    }
    scripts(node);
    systemd(node);
    match (node.cloud_init, node.user_data) {
        (true, Some(user_data)) => {
            cloud_init(node, user_data);
            judged.push("user-data");
        }
        (true, None) => panic!("{}: no user-data", node.name),
        _ => {}
    }
    judged
}

/// Files that `ask` must have met on the default nodes of one base.
pub fn all(cloud_init: bool) -> Vec<&'static str> {
    let mut all: Vec<&str> = JUDGES.iter().map(|(path, _)| *path).collect();
    match cloud_init {
        true => all.push("user-data"),
        false => all.retain(|p| *p != "etc/cloud/cloud.cfg.d/99z-imgbuild-seed.cfg"),
    }
    all
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn what(node: &Node<'_>, file: &Path) -> String {
    format!("{}: {}", node.name, file.display())
}

fn cloud_init(node: &Node<'_>, user_data: &Path) {
    let text = accepts(
        &what(node, user_data),
        tool("cloud-init").args(["schema", "-c"]).arg(user_data),
    );
    assert!(
        text.contains("Valid") && !text.to_lowercase().contains("warning"),
        "{}: cloud-init schema says\n{text}",
        what(node, user_data)
    );
    let seed = yaml(user_data);
    assert_eq!(seed["hostname"], node.plan.hostname, "{}", node.name);
    assert_eq!(seed["users"][0]["name"], account(node), "{}", node.name);
}

/// Name of the account of the node.
fn account(node: &Node<'_>) -> String {
    let find = |action: &Action| match action {
        Action::Account(account) => Some(account.name.clone()),
        _ => None,
    };
    let mut found = node.plan.edits.iter().filter_map(|e| find(&e.action));
    found.next().unwrap()
}

/// All units of ours. What they run must be in the image: the scratch root has an empty program
/// for every program of the node, and next to no other.
fn systemd(node: &Node<'_>) {
    let is_program = |(path, entry): &(&String, &Entry)| match entry.kind {
        Kind::File { .. } => entry.mode & 0o111 != 0 && !path.starts_with("/etc"),
        Kind::Link(_) => path.contains("bin/"),
        _ => false,
    };
    let programs = node.tree.iter().filter(is_program);
    for path in programs
        .map(|(path, _)| path.as_str())
        .chain(NOT_IN_FIXTURES.iter().copied())
    {
        let place = node.root.join(&path[1..]);
        if place.symlink_metadata().is_err() {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(&place, "").unwrap();
            super::build::make_executable(&place);
        }
    }
    for name in ["bin", "sbin", "lib"] {
        let link = node.root.join(name);
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(format!("usr/{name}"), link).unwrap();
        }
    }
    let units: Vec<&str> = node
        .plan
        .edits
        .iter()
        .filter_map(|e| e.path.strip_prefix("/etc/systemd/system/"))
        .filter(|name| !name.contains('/'))
        .filter(|name| node.root.join("etc/systemd/system").join(name).is_file())
        .collect();
    assert!(!units.is_empty(), "{}: no units", node.name);
    let verify = |names: &[&str]| {
        let mut root = std::ffi::OsString::from("--root=");
        root.push(node.root);
        output(
            tool("systemd-analyze")
                .arg("verify")
                .args(["--man=no", "--recursive-errors=no"])
                .arg(root)
                .args(names),
        )
    };
    let names: Vec<String> = units.iter().map(|u| u.replace("@.", "@test.")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let out = verify(&names);
    let said = both(&out);
    assert!(
        out.status.success() && said.trim().is_empty(),
        "{}: systemd-analyze verify {names:?} says ({})\n{said}",
        node.name,
        out.status
    );
    // The judge must be awake.
    let broken = "[Service]\nType=oneshot\nExecStart=/usr/bin/no-such-program\nNonsense=1\n";
    let file = node
        .root
        .join("etc/systemd/system/broken-for-the-test.service");
    std::fs::write(file, broken).unwrap();
    let said = both(&verify(&["broken-for-the-test.service"]));
    assert!(
        said.contains("no-such-program") && said.contains("Nonsense"),
        "systemd-analyze verify finds nothing wrong with a broken unit: {said}"
    );
}

fn samba(node: &Node<'_>, file: &Path) {
    // A base with Samba has a configuration of its own on the nodes that do not have the role.
    if !read(file).starts_with("# Written by imgbuild") {
        return;
    }
    let text = accepts(&what(node, file), tool("testparm").arg("-s").arg(file));
    let complaints = ["Unknown parameter", "WARNING", "ERROR", "Ignoring"];
    assert!(
        complaints.iter().all(|c| !text.contains(c)) && text.contains("Loaded services file OK"),
        "{}: testparm says\n{text}",
        what(node, file)
    );
    assert!(text.contains("[nas]"), "{}\n{text}", what(node, file));
}

fn samba_hash(node: &Node<'_>, file: &Path) {
    let expected = nt_hash(SECRETS[1].value);
    assert_eq!(read(file).trim(), expected, "{}", what(node, file));
}

fn sudoers(node: &Node<'_>, file: &Path) {
    let copy = node.scratch.join("sudoers");
    std::fs::copy(file, &copy).unwrap();
    accepts(&what(node, file), tool("visudo").arg("-cf").arg(&copy));
    let rule = format!("{} ALL=", account(node));
    assert!(read(file).starts_with(&rule), "{}", what(node, file));
}

fn network_manager(node: &Node<'_>, file: &Path) {
    let input = std::fs::File::open(file).unwrap();
    let text = accepts(
        &what(node, file),
        tool("nmcli")
            .args(["--offline", "connection", "modify"])
            .args(["connection.id", "imgbuild-lan"])
            .stdin(input),
    );
    // What NetworkManager understood must be what was written, down to the last line.
    let lines = |text: &str| {
        let mut section = String::new();
        let mut lines: Vec<String> = Vec::new();
        for line in text.lines().map(str::trim) {
            match line.starts_with('[') {
                true => section = line.to_owned(),
                false if line.is_empty() || line.starts_with('#') => {}
                false => lines.push(format!("{section} {line}")),
            }
        }
        lines.sort();
        lines
    };
    assert_eq!(lines(&read(file)), lines(&text), "{}", what(node, file));
}

fn sshd(node: &Node<'_>, file: &Path) {
    let key = node.scratch.join("host-key");
    let _ = std::fs::remove_file(&key);
    accepts(
        "ssh-keygen",
        tool("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key),
    );
    // sshd of root asks for it, and it is not there before the service ran once.
    let _ = std::fs::create_dir_all("/run/sshd");
    let text = accepts(
        &what(node, file),
        tool("/usr/sbin/sshd")
            .arg("-T")
            .arg("-f")
            .arg(file)
            .arg("-h")
            .arg(&key),
    );
    for line in ["permitrootlogin no", "passwordauthentication no"] {
        assert!(text.contains(line), "{}: no {line}", what(node, file));
    }
}

fn nftables(node: &Node<'_>, file: &Path) {
    // In a network of its own, where everybody may change tables.
    needs::programs(&["nft"]);
    let run = |file: &Path| {
        output(
            tool("unshare")
                .args(["-r", "-n", "nft", "-c", "-f"])
                .arg(file),
        )
    };
    let out = run(file);
    assert!(
        out.status.success(),
        "{}: nft -c says\n{}",
        what(node, file),
        both(&out)
    );
}

fn pihole(node: &Node<'_>, file: &Path) {
    let settings: toml::Table = read(file)
        .parse()
        .unwrap_or_else(|e| panic!("{}: {e}", what(node, file)));
    let strings = |section: &str, key: &str| -> Vec<String> {
        let list = settings[section][key].as_array().unwrap();
        list.iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect()
    };
    let records = strings("dns", "hosts");
    for name in ["bondsmith", "windrunner", "lightweaver", "stoneward"] {
        assert!(
            records.iter().any(|r| r.ends_with(&format!(" {name}"))),
            "{}: no record of {name} in {records:?}",
            what(node, file)
        );
    }
    let names = node.scratch.join("pihole.hosts");
    std::fs::write(&names, records.join("\n") + "\n").unwrap();
    let mut conf = format!("no-hosts\naddn-hosts={}\n", names.display());
    for server in strings("dns", "upstreams") {
        conf += &format!("server={server}\n");
    }
    for cname in strings("dns", "cnameRecords") {
        conf += &format!("cname={cname}\n");
    }
    let domain = settings["dns"]["domain"]["name"].as_str().unwrap();
    conf += &format!("domain={domain}\nlocal=/{domain}/\n");
    for line in strings("misc", "dnsmasq_lines") {
        conf += &format!("{line}\n");
    }
    let path = node.scratch.join("pihole-dnsmasq.conf");
    std::fs::write(&path, conf).unwrap();
    accepts(
        &what(node, file),
        tool("dnsmasq")
            .arg("--test")
            .arg(format!("--conf-file={}", path.display())),
    );
}

/// A YAML file as Python reads it.
fn yaml(file: &Path) -> serde_json::Value {
    const READ: &str = "import json, sys, yaml; \
        print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))";
    if !output(tool("python3").args(["-c", "import yaml"]))
        .status
        .success()
    {
        needs::missing("python3-yaml");
    }
    let text = accepts(
        &format!("{} (python3-yaml)", file.display()),
        tool("python3").args(["-c", READ]).arg(file),
    );
    serde_json::from_str(&text).unwrap()
}

fn yaml_parses(_: &Node<'_>, file: &Path) {
    assert!(yaml(file).is_object(), "{} is no map", file.display());
}

fn k3s(node: &Node<'_>, file: &Path) {
    let config = yaml(file);
    let keys = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    // A full token: the hash of the authorities that the build has made, and what it was given.
    let token = keys("token");
    let (hash, password) = token.split_once("::server:").unwrap_or_default();
    assert_eq!(password, SECRETS[0].value, "{}", what(node, file));
    let digits = hash.strip_prefix("K10").unwrap_or_default();
    let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(is_hash, "{}: {token}", what(node, file));
    assert_eq!(
        keys("node-name"),
        node.plan.hostname,
        "{}",
        what(node, file)
    );
    let is_agent = node.plan.profile.starts_with("worker");
    let server = if is_agent {
        "https://10.100.0.102:6443"
    } else {
        ""
    };
    assert_eq!(keys("server"), server, "{}", what(node, file));
}

fn xml_parses(node: &Node<'_>, file: &Path) {
    const READ: &str = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    accepts(
        &what(node, file),
        tool("python3").args(["-c", READ]).arg(file),
    );
}

fn shell_parses(node: &Node<'_>, file: &Path) {
    accepts(&what(node, file), tool("sh").arg("-n").arg(file));
}

fn scripts(node: &Node<'_>) {
    for found in std::fs::read_dir(node.root.join("usr/lib/imgbuild")).unwrap() {
        let file = found.unwrap().path();
        let shell = match std::fs::read_to_string(&file).unwrap_or_default() {
            text if text.starts_with("#!/bin/bash") || text.starts_with("#!/usr/bin/env bash") => {
                "bash"
            }
            text if text.starts_with("#!/bin/sh") => "sh",
            _ => continue,
        };
        accepts(&what(node, &file), tool(shell).arg("-n").arg(&file));
    }
}

fn hosts(node: &Node<'_>, file: &Path) {
    let text = read(file);
    for line in text.lines().map(|l| l.split('#').next().unwrap().trim()) {
        let mut words = line.split_whitespace();
        if let Some(address) = words.next() {
            assert!(
                address.parse::<std::net::IpAddr>().is_ok() && words.next().is_some(),
                "{}: {line:?} is no line of hosts(5)",
                what(node, file)
            );
        }
    }
    let own = |line: &str| line.split_whitespace().any(|w| w == node.plan.hostname);
    assert!(
        text.lines().any(own),
        "{}: own name\n{text}",
        what(node, file)
    );
    assert!(
        !text.contains("raspberrypi"),
        "{}\n{text}",
        what(node, file)
    );
}

fn sysctl(node: &Node<'_>, file: &Path) {
    for line in read(file).lines().map(str::trim) {
        let fine = line.is_empty() || line.starts_with(['#', ';']) || line.contains('=');
        assert!(fine, "{}: {line:?}", what(node, file));
    }
}
