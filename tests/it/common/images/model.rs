//! What a root file system must hold after a plan: the base's tree with every edit made to it here,
//! by rules written down a second time. Links of units come from systemctl itself.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use imgbuild::overlay::Part;
use imgbuild::plan::{Account, Action, Attr, Edit, PayloadRef, SystemAccount};
use imgbuild::secrets::Secret;

use super::build::World;
use super::tree::{Entry, Kind, Tree};
use crate::common::tools::{accepts, sha256, tool};

/// A tree that edits are made to.
pub struct Model<'a> {
    pub tree: Tree,
    world: &'a World,
    base: &'a ext4_view::Ext4,
    time: i64,
    /// Texts that were edited.
    texts: BTreeMap<String, String>,
    /// Paths that edits or their consequences touched.
    pub touched: Vec<String>,
    /// A moved folder: from, to.
    pub moved: Option<(String, String)>,
}

impl<'a> Model<'a> {
    /// What becomes of `tree`, whose file system `base` is. `units` is a scratch root with the unit
    /// files of the node.
    pub fn new(
        tree: &Tree,
        base: &'a ext4_view::Ext4,
        world: &'a World,
        edits: &[&Edit],
        time: i64,
        units: &Path,
    ) -> Self {
        let mut model = Self {
            tree: tree.clone(),
            world,
            base,
            time,
            texts: BTreeMap::new(),
            touched: Vec::new(),
            moved: None,
        };
        for edit in edits.iter().filter(|e| e.part == Part::Root) {
            model.apply(edit);
        }
        for (path, target) in unit_links(edits, units) {
            model.link(&path, &target);
        }
        model
    }

    fn apply(&mut self, edit: &Edit) {
        let path = edit.path.as_str();
        match &edit.action {
            Action::Write(content, attr) => {
                let bytes = self.world.content(content);
                self.write(path, &bytes, *attr);
            }
            Action::Directory(attr) => self.directory(path, *attr),
            Action::Symlink(target) => self.link(path, target),
            Action::Remove => self.remove(path),
            Action::SetAttr(attr) => self.set_attr(path, *attr),
            Action::SetLine { prefix, line } => self.set_line(path, prefix, line),
            Action::Account(account) => self.account(account),
            Action::SystemAccount(account) => self.system_account(account),
            Action::Unpack(payload) => self.unpack(path, payload),
            // From systemctl.
            Action::EnableUnit | Action::MaskUnit => {}
            other => panic!("{path}: no model of {other:?}"),
        }
    }

    /// fstab of the base names partitions by new ids.
    pub fn rename_partitions(&mut self, ids: &[(String, String)]) {
        let before = self.text("/etc/fstab");
        let after = renamed(&before, ids);
        self.rewrite("/etc/fstab", &after);
    }

    /// The path without symbolic links on the way to its last name.
    pub fn real(&self, path: &str) -> String {
        let mut pending: VecDeque<String> = names(path);
        let mut done: Vec<String> = Vec::new();
        while let Some(name) = pending.pop_front() {
            let here = format!(
                "/{}",
                [done.as_slice(), std::slice::from_ref(&name)]
                    .concat()
                    .join("/")
            );
            match self.tree.get(&here).map(|e| &e.kind) {
                Some(Kind::Link(target)) if !pending.is_empty() => {
                    if target.starts_with('/') {
                        done.clear();
                    }
                    for name in names(target).into_iter().rev() {
                        pending.push_front(name);
                    }
                }
                _ if name == ".." => drop(done.pop()),
                _ => done.push(name),
            }
        }
        format!("/{}", done.join("/"))
    }

    fn entry(&self, kind: Kind, attr: Attr) -> Entry {
        Entry {
            kind,
            mode: attr.mode as u16,
            uid: attr.uid,
            gid: attr.gid,
            mtime: (self.time, 0),
            atime: (self.time, 0),
            crtime: Some((self.time, 0)),
        }
    }

    /// A name was added to or taken out of the folder of `path`.
    fn parent_changed(&mut self, path: &str) {
        let parent = match path.rsplit_once('/').unwrap().0 {
            "" => "/",
            parent => parent,
        };
        let time = self.time;
        let entry = self
            .tree
            .get_mut(parent)
            .unwrap_or_else(|| panic!("{path}: no {parent}"));
        entry.mtime = (time, 0);
        self.touched.push(parent.to_owned());
    }

    fn put(&mut self, path: &str, kind: Kind, attr: Attr) {
        let path = self.real(path);
        let mut missing = Vec::new();
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            parent = above;
            if !parent.is_empty() && !self.tree.contains_key(parent) {
                missing.push(parent.to_owned());
            }
        }
        for folder in missing.into_iter().rev() {
            self.insert(folder, Kind::Dir, Attr::root(0o755));
        }
        self.insert(path, kind, attr);
    }

    fn insert(&mut self, path: String, kind: Kind, attr: Attr) {
        let entry = self.entry(kind, attr);
        self.parent_changed(&path);
        self.touched.push(path.clone());
        self.tree.insert(path, entry);
    }

    fn write(&mut self, path: &str, bytes: &[u8], attr: Attr) {
        let (len, sha256) = (bytes.len() as u64, sha256(bytes));
        self.put(path, Kind::File { len, sha256 }, attr);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.put(path, Kind::Link(target.to_owned()), Attr::root(0o777));
    }

    fn directory(&mut self, path: &str, attr: Attr) {
        match self.tree.contains_key(&self.real(path)) {
            true => self.set_attr(path, attr),
            false => self.put(path, Kind::Dir, attr),
        }
    }

    fn set_attr(&mut self, path: &str, attr: Attr) {
        let path = self.real(path);
        let mut entry = self.entry(Kind::Dir, attr);
        let old = &self.tree[&path];
        (entry.kind, entry.crtime) = (old.kind.clone(), old.crtime);
        self.touched.push(path.clone());
        self.tree.insert(path, entry);
    }

    fn remove(&mut self, path: &str) {
        let path = self.real(path);
        if self.tree.remove(&path).is_some() {
            self.parent_changed(&path);
            self.touched.push(path);
        }
    }

    fn text(&self, path: &str) -> String {
        if let Some(text) = self.texts.get(path) {
            return text.clone();
        }
        String::from_utf8(self.base.read(path).unwrap_or_default()).unwrap()
    }

    /// Another text in a file that keeps all else; a missing one is made.
    fn rewrite(&mut self, path: &str, text: &str) {
        if text == self.text(path) {
            return;
        }
        self.texts.insert(path.to_owned(), text.to_owned());
        let (time, real) = (self.time, self.real(path));
        let Some(entry) = self.tree.get_mut(&real) else {
            return self.write(path, text.as_bytes(), Attr::root(0o644));
        };
        assert!(matches!(entry.kind, Kind::File { .. }), "{path}: {entry:?}");
        let (len, sha256) = (text.len() as u64, sha256(text.as_bytes()));
        entry.kind = Kind::File { len, sha256 };
        entry.mtime = (time, 0);
        self.touched.push(real);
    }

    fn set_line(&mut self, path: &str, prefix: &str, line: &str) {
        let before = self.text(path);
        let mut lines: Vec<&str> = before.lines().collect();
        let found = lines
            .iter()
            .position(|l| l.trim_start_matches(['#', ' ']).starts_with(prefix));
        match found {
            Some(i) => lines[i] = line,
            None => lines.push(line),
        }
        self.rewrite(path, &(lines.join("\n") + "\n"));
    }

    fn account(&mut self, account: &Account) {
        let passwd = self.text("/etc/passwd");
        let old: Vec<&str> = passwd
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|f| f[2] == account.uid.to_string())
            .expect("the base has a first user");
        let (old_name, old_home) = (old[0], old[5]);
        let (name, home) = (account.name.as_str(), account.home());
        let uid = account.uid;
        let hash = account.password_hash.as_ref();
        let hash = hash.map_or("!", Secret::expose);
        let days = self.time / 86_400;
        let passwd_line = format!(
            "{name}:x:{uid}:{}:{}:{home}:{}",
            old[3], old[4], account.shell
        );
        let shadow_line = format!("{name}:{hash}:{days}:0:99999:7:::");
        for (path, line) in [("/etc/passwd", passwd_line), ("/etc/shadow", shadow_line)] {
            let text = self.each_line(path, |fields| (fields[0] == old_name).then(|| line.clone()));
            self.rewrite(path, &text);
        }
        for path in ["/etc/group", "/etc/gshadow"] {
            let text = self.each_line(path, |fields| {
                let mut members: Vec<&str> = fields[3].split(',').collect();
                members.retain(|m| !m.is_empty() && *m != old_name);
                if account.groups.iter().any(|g| g == fields[0]) {
                    members.push(name);
                }
                let group = if fields[0] == old_name {
                    name
                } else {
                    fields[0]
                };
                Some(format!(
                    "{group}:{}:{}:{}",
                    fields[1],
                    fields[2],
                    members.join(",")
                ))
            });
            self.rewrite(path, &text);
        }
        for path in ["/etc/subuid", "/etc/subgid"] {
            let text = self.each_line(path, |fields| {
                (fields[0] == old_name).then(|| format!("{name}:{}:{}", fields[1], fields[2]))
            });
            self.rewrite(path, &text);
        }
        if home != old_home && !self.tree.contains_key(&home) {
            self.rename(old_home, &home);
        }
    }

    fn system_account(&mut self, account: &SystemAccount) {
        let SystemAccount {
            name,
            uid,
            gid,
            home,
            shell,
            ..
        } = account;
        let days = self.time / 86_400;
        for (path, line) in [
            (
                "/etc/passwd",
                format!("{name}:x:{uid}:{gid}::{home}:{shell}"),
            ),
            ("/etc/shadow", format!("{name}:!:{days}::::::")),
            ("/etc/group", format!("{name}:x:{gid}:")),
            ("/etc/gshadow", format!("{name}:!::")),
        ] {
            let text = self.text(path) + &line + "\n";
            self.rewrite(path, &text);
        }
    }

    fn unpack(&mut self, folder: &str, payload: &PayloadRef) {
        if !self.tree.contains_key(&self.real(folder)) {
            self.put(folder, Kind::Dir, Attr::root(0o755));
        }
        for (path, bytes, mode) in self.world.unpacked(payload) {
            let path = format!("{folder}/{path}");
            self.write(&path, &bytes, Attr::root(mode));
        }
    }

    fn each_line(&self, path: &str, change: impl Fn(&[&str]) -> Option<String>) -> String {
        let text = self.text(path);
        text.lines()
            .map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                change(&fields).unwrap_or_else(|| line.to_owned()) + "\n"
            })
            .collect()
    }

    fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let paths: Vec<String> = self
            .tree
            .keys()
            .filter(|p| *p == from || p.starts_with(&below))
            .cloned()
            .collect();
        for path in paths {
            let entry = self.tree.remove(&path).unwrap();
            self.tree.insert(path.replacen(from, to, 1), entry);
        }
        self.touched.extend([from.to_owned(), to.to_owned()]);
        self.parent_changed(from);
        self.parent_changed(to);
        self.moved = Some((from.to_owned(), to.to_owned()));
    }
}

/// A text that names partitions by new ids.
pub fn renamed(text: &str, ids: &[(String, String)]) -> String {
    let all = ids.iter();
    all.fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

fn names(path: &str) -> VecDeque<String> {
    path.split('/')
        .filter(|n| !n.is_empty() && *n != ".")
        .map(str::to_owned)
        .collect()
}

/// The links that `systemctl enable` and `systemctl mask` make in a root with only the unit files.
fn unit_links(edits: &[&Edit], units: &Path) -> Vec<(String, String)> {
    let run = |verb: &str, wanted: fn(&Action) -> bool| {
        let names: Vec<&String> = edits
            .iter()
            .filter(|e| wanted(&e.action))
            .map(|e| &e.path)
            .collect();
        if names.is_empty() {
            return;
        }
        let mut root = std::ffi::OsString::from("--root=");
        root.push(units);
        accepts(verb, tool("systemctl").arg(root).arg(verb).args(names));
    };
    run("enable", |a| matches!(a, Action::EnableUnit));
    run("mask", |a| matches!(a, Action::MaskUnit));
    let mut links = Vec::new();
    find_links(units, &units.join("etc/systemd/system"), &mut links);
    links
}

fn find_links(top: &Path, folder: &Path, links: &mut Vec<(String, String)>) {
    for found in std::fs::read_dir(folder).unwrap() {
        let found = found.unwrap().path();
        let metadata = found.symlink_metadata().unwrap();
        if metadata.is_symlink() {
            let target = std::fs::read_link(&found).unwrap();
            let target = target.to_str().unwrap();
            // systemctl of a Debian older than the merged /usr names the link, not the folder.
            let target = match target.strip_prefix("/lib/") {
                Some(rest) => format!("/usr/lib/{rest}"),
                None => target.to_owned(),
            };
            let path = format!("/{}", found.strip_prefix(top).unwrap().display());
            links.push((path, target));
        } else if metadata.is_dir() {
            find_links(top, &found, links);
        }
    }
}
