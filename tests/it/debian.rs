//! Our resolver against apt itself: `apt-get -s install --no-install-recommends` on a base like
//! Raspberry Pi OS Lite (scripts/make-apt), in both suites. The first run asks apt for each set, which
//! takes a minute; its answers are kept beside the indexes they belong to.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild::debian::{Available, Resolution, Status, resolve};
use imgbuild::digest::Digest;

use crate::common::{needs, workbench};

/// Sets of packages that are asked for together, in both suites.
const SETS: [&str; 40] = [
    "samba",
    "samba wsdd2",
    "wsdd2",
    "samba samba-vfs-modules",
    "bash-completion binutils ca-certificates cron curl dialog bind9-dnsutils dns-root-data git grep \
     iproute2 iputils-ping jq libcap2 libcap2-bin lshw procps psmisc sudo unzip",
    "restic",
    "rclone",
    "restic rclone sqlite3",
    "sqlite3",
    "iptables",
    "nftables",
    "iptables nftables ipset",
    "docker.io",
    "postgresql",
    "mariadb-server",
    "redis-server",
    "cups",
    "exim4",
    "postfix",
    "default-mta",
    "nginx",
    "apache2",
    "podman",
    "wireguard",
    "wireguard-tools",
    "avahi-daemon",
    "cifs-utils",
    "rsync",
    "git",
    "jq",
    "bind9-dnsutils",
    "dns-root-data",
    "dnsmasq",
    "haproxy keepalived",
    "prometheus-node-exporter",
    "open-iscsi multipath-tools",
    "mosquitto",
    "python3-flask gunicorn",
    "openjdk-17-jre-headless tomcat10",
    "ffmpeg",
];

/// Sets that need upgrades: a package of the base whose source is older there, and what is asked for.
const OLD: [(&str, &str); 6] = [
    ("curl", "libcurl4-openssl-dev"),
    ("libc6", "libc6-dbg"),
    ("systemd", "systemd-container"),
    ("openssl", "libssl-dev"),
    ("perl", "libperl-dev"),
    ("udev", "libudev-dev"),
];

/// Sets that apt answers otherwise, and why.
const KNOWN: [(&str, &str, &str); 3] = [
    ("trixie", "wireguard", KERNEL),
    ("bookworm", "wireguard", KERNEL),
    (
        "bookworm",
        "libc6-dbg",
        "the base has it, and we leave as it is what is requested and there; apt upgrades it",
    ),
];

const KERNEL: &str =
    "each kernel of Debian provides `wireguard-modules`, and apt takes the realtime one";

/// A suite: its apt, and what we read of it.
struct Suite {
    name: &'static str,
    folder: PathBuf,
    available: Available,
}

/// What is new and what moves, or that there is no answer.
type Answer = Result<BTreeSet<String>, String>;

impl Suite {
    fn open(name: &'static str) -> Self {
        needs::programs(&["apt-get", "apt-cache"]);
        let folder = workbench::script("make-apt", &[name]);
        let mut available = Available::new("arm64");
        for (n, index) in indexes(&folder).iter().enumerate() {
            let origin = index.file_name().unwrap().to_string_lossy();
            let index = BufReader::new(File::open(index).unwrap());
            available.add_index(index, n, &origin).unwrap();
        }
        Self {
            name,
            folder,
            available,
        }
    }

    fn status_text(&self) -> String {
        fs::read_to_string(self.folder.join("status")).unwrap()
    }

    /// What apt says to `set` on the base with the status of that name, or what it said before.
    fn apt(&self, status: &str, set: &str) -> Answer {
        let kept = self.folder.join("answers");
        fs::create_dir_all(&kept).unwrap();
        let kept = kept.join(format!("{status} {}", set.replace(' ', "+")));
        let said = fs::read_to_string(&kept).unwrap_or_else(|_| {
            let said = self.ask_apt(status, set);
            let part = kept.with_extension("part");
            fs::write(&part, &said).unwrap();
            fs::rename(part, &kept).unwrap();
            said
        });
        parsed(&said)
    }

    fn ask_apt(&self, status: &str, set: &str) -> String {
        let status = self.folder.join(status);
        let output = Command::new("apt-get")
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8")
            .arg("-o")
            .arg(format!("Dir::State::status={}", status.display()))
            .args(["-q", "-s", "install", "--no-install-recommends"])
            .args(set.split(' '))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => said,
            false => format!("{said}E: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    fn ours(&self, status: &str, set: &str) -> Answer {
        let status = Status::read(status.as_bytes(), "status").unwrap();
        let names: Vec<&str> = set.split(' ').collect();
        match resolve(&names, &status, &self.available) {
            Ok(resolution) => Ok(written(&resolution)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Compares all sets; what differs and is not known to is returned.
    fn compare(&self, sets: &[(String, String, &str)]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (file, text, set) in sets {
            let apt = self.apt(file, set);
            let ours = self.ours(text, set);
            let equal = match (&apt, &ours) {
                (Ok(apt), Ok(ours)) => apt == ours,
                (Err(_), Err(_)) => true,
                _ => false,
            };
            let known = KNOWN.iter().find(|(s, k, _)| *s == self.name && k == set);
            let verdict = match (equal, known) {
                (true, None) => "equal".to_owned(),
                (true, Some(_)) => "equal, but a difference is known".to_owned(),
                (false, Some((.., why))) => format!("differs: {why}"),
                (false, None) => format!("DIFFERS: {}", difference(&apt, &ours)),
            };
            let count = ours.as_ref().map_or(0, BTreeSet::len);
            println!("{:9} {file:24} {count:3}  {set}: {verdict}", self.name);
            if equal == known.is_some() {
                wrong.push(format!("{} {file} {set}: {verdict}", self.name));
            }
        }
        wrong
    }
}

fn indexes(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("lists")).unwrap();
    let entries = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.to_string_lossy().ends_with("_Packages"))
        .collect();
    found.sort();
    found
}

/// `Inst name (new …)`, `Inst name [old] (new …)` and `Remv name` of apt's output.
fn parsed(said: &str) -> Answer {
    if let Some(error) = said.split_once("E: ") {
        return Err(error.1.trim().to_owned());
    }
    let lines = said.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        match (words.next()?, words.next()?, words.next()) {
            ("Inst", name, Some(old)) if old.starts_with('[') => {
                let new = words.next()?.trim_start_matches('(');
                Some(format!("{name} {old} {new}"))
            }
            ("Inst", name, Some(new)) => Some(format!("{name} {}", new.trim_start_matches('('))),
            ("Remv", name, _) => Some(format!("-{name}")),
            _ => None,
        }
    });
    Ok(lines.collect())
}

fn written(resolution: &Resolution) -> BTreeSet<String> {
    let new = resolution.install.iter().map(|chosen| &chosen.package);
    let new = new.map(|package| format!("{} {}", package.name, package.version));
    let moved = resolution.upgrade.iter().map(|upgrade| {
        let package = &upgrade.package;
        format!("{} [{}] {}", package.name, upgrade.from, package.version)
    });
    new.chain(moved).collect()
}

fn difference(apt: &Answer, ours: &Answer) -> String {
    match (apt, ours) {
        (Ok(apt), Ok(ours)) => format!(
            "only apt {:?}, only we {:?}",
            apt.difference(ours).collect::<Vec<_>>(),
            ours.difference(apt).collect::<Vec<_>>()
        ),
        (Ok(_), Err(why)) => format!("we refuse: {why}"),
        (_, Ok(_)) | (Err(_), Err(_)) => format!("apt refuses: {apt:?}"),
    }
}

/// The status with the source of an installed package one version back, wherever it is named.
fn aged(status: &str, name: &str) -> String {
    let entry = status
        .split("\n\n")
        .find(|entry| entry.lines().any(|line| line == format!("Package: {name}")))
        .unwrap();
    let version = entry.lines().find_map(|l| l.strip_prefix("Version: "));
    let version = version.unwrap();
    let old = format!("{version}~old");
    status
        .replace(
            &format!("Version: {version}\n"),
            &format!("Version: {old}\n"),
        )
        .replace(&format!(" {version})"), &format!(" {old})"))
}

fn compare(suite: &'static str) {
    let suite = Suite::open(suite);
    let status = suite.status_text();
    let new = SETS.map(|set| ("status".to_owned(), status.clone(), set));
    let aged = OLD.map(|(name, set)| {
        let text = aged(&status, name);
        let file = format!("status-{name}");
        // Tests of other checkouts may be at it: the text decides what the file is called.
        let file = format!("{file}-{}", &Digest::of_bytes(&text).to_string()[..8]);
        let part = suite.folder.join(format!("{file}.part"));
        fs::write(&part, &text).unwrap();
        fs::rename(part, suite.folder.join(&file)).unwrap();
        (file, text, set)
    });
    let sets: Vec<_> = new.into_iter().chain(aged).collect();
    let wrong = suite.compare(&sets);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn trixie_is_resolved_as_apt_resolves_it() {
    compare("trixie");
}

#[test]
fn bookworm_is_resolved_as_apt_resolves_it() {
    compare("bookworm");
}
