//! The lock file of one run: what is pinned is found in it, what is not is added, and all of it is
//! written once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::change::Change;
use super::entries::{ArchiveEntry, FileEntry, ImageEntry, PackageEntry, PackageSet};
use super::lock_file::{FileKind, LOCK_FILE, LockFile};
use super::moment::Moment;
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::parallel;
use crate::whole_file;

/// What a run may do about pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LockPolicy {
    /// What is pinned stays; what is not is added.
    #[default]
    Add,
    /// All must be pinned.
    Locked,
    /// What has one of these names is looked up again; no name: everything.
    Renew(BTreeSet<String>),
}

/// All requests of a project.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Files, by kind, name and request.
    pub files: BTreeSet<(FileKind, String, String)>,
    /// Sets of packages, by base and names.
    pub package_sets: BTreeSet<(String, Vec<String>)>,
    /// Container images, by their names in full.
    pub images: BTreeSet<String>,
}

/// The lock file of a run. Threads may share it.
pub struct LockBook {
    path: PathBuf,
    policy: LockPolicy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// As it was read.
    before: LockFile,
    now: LockFile,
    /// Whether the file was there.
    existed: bool,
    /// Requests that were looked up in this run: not again.
    renewed: BTreeSet<String>,
    changes: Vec<Change>,
}

impl LockBook {
    /// The lock file of the project in `folder`.
    pub fn open(folder: &Path, policy: LockPolicy) -> Result<Self> {
        let path = folder.join(LOCK_FILE);
        let found = read(&path)?;
        let existed = found.is_some();
        let before = found.unwrap_or_default();
        let state = State {
            now: before.clone(),
            before,
            existed,
            ..State::default()
        };
        Ok(Self {
            path,
            policy,
            state: Mutex::new(state),
        })
    }

    /// The answer to a request for a file, unless it is to be looked up.
    pub fn file(&self, kind: FileKind, name: &str, request: &str) -> Option<FileEntry> {
        let state = parallel::lock(&self.state);
        let key = file_key(kind, name, request);
        if self.is_renewed([name]) && !state.renewed.contains(&key) {
            return None;
        }
        state.now.file(kind, name, request).cloned()
    }

    /// What was pinned before, also when it is to be looked up again.
    pub fn previous(&self, kind: FileKind, name: &str, request: &str) -> Option<FileEntry> {
        let state = parallel::lock(&self.state);
        state.before.file(kind, name, request).cloned()
    }

    /// Pins a file, and returns what is pinned: one that is still the same keeps its time, which is in
    /// all that is built from it.
    pub fn keep_file(&self, kind: FileKind, mut entry: FileEntry) -> Result<FileEntry> {
        self.may_resolve(&entry.name, &entry.request)?;
        let mut state = parallel::lock(&self.state);
        let key = file_key(kind, &entry.name, &entry.request);
        state.renewed.insert(key);
        let old = state.now.file(kind, &entry.name, &entry.request).cloned();
        let change = Change::of_file(old.as_ref(), &entry);
        if let (Some(old), None) = (&old, &change) {
            entry.locked = old.locked;
        }
        state.changes.extend(change);
        let files = state.now.files_mut(kind);
        let is_it =
            |other: &&mut FileEntry| (&other.name, &other.request) == (&entry.name, &entry.request);
        match files.iter_mut().find(is_it) {
            Some(place) => *place = entry.clone(),
            None => files.push(entry.clone()),
        }
        Ok(entry)
    }

    /// What a set of packages came to on a base, unless it is to be resolved.
    pub fn package_set(&self, wanted: &PackageSet) -> Option<(PackageSet, Vec<PackageEntry>)> {
        let state = parallel::lock(&self.state);
        let found = state.now.package_set.iter().find(|set| {
            (&set.base, &set.request, set.status) == (&wanted.base, &wanted.request, wanted.status)
        })?;
        let packages = state.now.packages_of(found);
        let names = packages.iter().map(|package| package.name.as_str());
        let key = set_key(&found.base, &found.request);
        if self.is_renewed(names) && !state.renewed.contains(&key) {
            return None;
        }
        Some((found.clone(), packages))
    }

    /// Pins a set of packages, in the place of what the same names came to on the same base before.
    pub fn keep_package_set(
        &self,
        set: PackageSet,
        packages: Vec<PackageEntry>,
        archives: Vec<ArchiveEntry>,
    ) -> Result<()> {
        self.may_resolve(&format!("packages {}", set.request.join(", ")), &set.base)?;
        let mut state = parallel::lock(&self.state);
        let state = &mut *state;
        state.renewed.insert(set_key(&set.base, &set.request));
        let is_same =
            |other: &PackageSet| (&other.base, &other.request) == (&set.base, &set.request);
        let replaced = state.now.package_set.iter().find(|other| is_same(other));
        let old = replaced.map(|found| state.now.packages_of(found));
        let changes = package_changes(old.as_deref().unwrap_or_default(), &packages);
        if replaced.is_none() {
            state.changes.push(Change {
                name: format!("packages {}", set.request.join(", ")),
                old: None,
                new: Some(format!("{} from {}", count(&packages), names_of(&archives))),
            });
        } else {
            state.changes.extend(changes);
        }
        state.now.package_set.retain(|other| !is_same(other));
        state.now.package_set.push(set);
        for package in packages {
            state
                .now
                .package
                .retain(|other| other.key() != package.key());
            state.now.package.push(package);
        }
        for archive in archives {
            state.now.archive.retain(|other| other.name != archive.name);
            state.now.archive.push(archive);
        }
        state.now.drop_unused_packages();
        Ok(())
    }

    /// What the name of an image, in full, stands for, unless it is to be looked up.
    pub fn image(&self, name: &str) -> Option<ImageEntry> {
        let state = parallel::lock(&self.state);
        if self.is_renewed([name]) && !state.renewed.contains(&image_key(name)) {
            return None;
        }
        state.now.image(name).cloned()
    }

    /// Pins an image, and returns what is pinned: one that is still the same keeps its time.
    pub fn keep_image(&self, mut entry: ImageEntry) -> Result<ImageEntry> {
        self.may_resolve(&entry.name, "linux/arm64")?;
        let mut state = parallel::lock(&self.state);
        state.renewed.insert(image_key(&entry.name));
        let old = state.now.image(&entry.name).cloned();
        let change = Change::of_image(old.as_ref(), Some(&entry));
        if let (Some(old), None) = (&old, &change) {
            entry.locked = old.locked;
        }
        state.changes.extend(change);
        state.now.image.retain(|other| other.name != entry.name);
        state.now.image.push(entry.clone());
        Ok(entry)
    }

    /// The newest InRelease that was ever believed of an archive.
    pub fn archive(&self, name: &str) -> Option<ArchiveEntry> {
        let state = parallel::lock(&self.state);
        state
            .now
            .archive
            .iter()
            .find(|archive| archive.name == name)
            .cloned()
    }

    /// Remembers the authorities that nodes were built with, by their names in secrets.toml. A run that may not
    /// add pins leaves them out.
    pub fn keep_authorities(&self, authorities: impl IntoIterator<Item = (String, Digest)>) {
        if self.policy != LockPolicy::Locked {
            let mut state = parallel::lock(&self.state);
            state.now.authority.extend(authorities);
        }
    }

    /// Everything that is pinned.
    pub fn content(&self) -> LockFile {
        parallel::lock(&self.state).now.clone()
    }

    /// Whether this run pinned anything.
    pub fn is_changed(&self) -> bool {
        let state = parallel::lock(&self.state);
        state.now != state.before
    }

    /// Removes what nobody asks for any more: everything when all was renewed, or else what stands in
    /// the place of what this run added.
    pub fn retire(&self, wanted: &Wanted) {
        let everything = matches!(&self.policy, LockPolicy::Renew(names) if names.is_empty());
        let mut state = parallel::lock(&self.state);
        for kind in [FileKind::Base, FileKind::Payload] {
            state.retire_files(kind, wanted, everything);
        }
        if everything {
            state.retire_package_sets(wanted);
            state.retire_images(wanted);
        }
    }

    /// What this run changed, in the order it happened.
    pub fn changes(&self) -> Vec<Change> {
        parallel::lock(&self.state).changes.clone()
    }

    /// Whether there was a lock file before this run.
    pub fn existed(&self) -> bool {
        parallel::lock(&self.state).existed
    }

    /// Where the lock file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file if anything changed. What another run has added meanwhile is kept.
    pub fn save(&self) -> Result<()> {
        let mut state = parallel::lock(&self.state);
        if state.now == state.before {
            return Ok(());
        }
        let theirs = read(&self.path)?.unwrap_or_default();
        if theirs != state.before {
            let State { before, now, .. } = &mut *state;
            add_theirs(now, before, &theirs);
        }
        write(&self.path, &state.now.render()?)?;
        state.before = state.now.clone();
        Ok(())
    }

    /// The time of everything that is written on a node with this base: when the base was pinned.
    pub fn time_of(&self, name: &str, request: &str) -> Option<Moment> {
        let state = parallel::lock(&self.state);
        state
            .now
            .file(FileKind::Base, name, request)
            .map(|entry| entry.locked)
    }

    fn is_renewed<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        match &self.policy {
            LockPolicy::Renew(renewed) => {
                renewed.is_empty() || names.into_iter().any(|name| renewed.contains(name))
            }
            LockPolicy::Add | LockPolicy::Locked => false,
        }
    }

    /// The error of a run that must not look anything up: for before it does.
    pub fn may_resolve(&self, name: &str, request: &str) -> Result<()> {
        if self.policy != LockPolicy::Locked {
            return Ok(());
        }
        let lock = self.path.display();
        Err(Error::usage(format!("--locked: {lock} has no pin of {name} for {request}")).with_hint(
            "run the same command once without --locked, look at what it changes, and commit imgbuild.lock",
        ))
    }
}

impl State {
    fn retire_files(&mut self, kind: FileKind, wanted: &Wanted, everything: bool) {
        let before = self.before.files(kind);
        let is_new = |entry: &FileEntry| {
            let is_same =
                |old: &FileEntry| (&old.name, &old.request) == (&entry.name, &entry.request);
            !before.iter().any(is_same)
        };
        let files = std::mem::take(self.now.files_mut(kind));
        let (added, old): (Vec<_>, Vec<_>) = files.into_iter().partition(is_new);
        let names: BTreeSet<String> = added.iter().map(|entry| entry.name.clone()).collect();
        let (stays, gone): (Vec<_>, Vec<_>) = old.into_iter().partition(|entry| {
            let key = (kind, entry.name.clone(), entry.request.clone());
            wanted.files.contains(&key) || !(everything || names.contains(&entry.name))
        });
        for entry in &gone {
            tell_gone(&mut self.changes, entry, names.contains(&entry.name));
        }
        self.now
            .files_mut(kind)
            .extend(stays.into_iter().chain(added));
    }

    fn retire_package_sets(&mut self, wanted: &Wanted) {
        let sets = std::mem::take(&mut self.now.package_set);
        let (stays, gone): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| {
            let key = (set.base.clone(), set.request.clone());
            wanted.package_sets.contains(&key)
        });
        self.changes.extend(gone.iter().map(|set| Change {
            name: format!("packages {}", set.request.join(", ")),
            old: Some(format!("for {}", set.base)),
            new: None,
        }));
        self.now.package_set = stays;
        self.now.drop_unused_packages();
        // What was seen of an archive that gave no package counts as well: an older index hides updates.
        if self.now.package_set.is_empty() {
            self.now.archive.clear();
        }
    }

    fn retire_images(&mut self, wanted: &Wanted) {
        let images = std::mem::take(&mut self.now.image);
        let (stays, gone): (Vec<_>, Vec<_>) = images
            .into_iter()
            .partition(|image| wanted.images.contains(&image.name));
        let gone = gone
            .iter()
            .filter_map(|image| Change::of_image(Some(image), None));
        self.changes.extend(gone);
        self.now.image = stays;
    }
}

fn image_key(name: &str) -> String {
    format!("image {name}")
}

fn file_key(kind: FileKind, name: &str, request: &str) -> String {
    format!("{kind:?} {name} {request}")
}

fn set_key(base: &str, request: &[String]) -> String {
    format!("set {base} {}", request.join(" "))
}

fn package_changes(old: &[PackageEntry], new: &[PackageEntry]) -> Vec<Change> {
    let names: BTreeSet<&String> = old.iter().chain(new).map(|package| &package.name).collect();
    let find = |list: &'_ [PackageEntry], name: &String| -> Option<PackageEntry> {
        list.iter().find(|package| package.name == *name).cloned()
    };
    let change =
        |name: &&String| Change::of_package(find(old, name).as_ref(), find(new, name).as_ref());
    names.iter().filter_map(change).collect()
}

fn count(packages: &[PackageEntry]) -> String {
    match packages.len() {
        1 => "1 package".to_owned(),
        n => format!("{n} packages"),
    }
}

fn names_of(archives: &[ArchiveEntry]) -> String {
    let names: Vec<String> = archives
        .iter()
        .map(|archive| format!("{} of {}", archive.name, archive.date))
        .collect();
    names.join(", ")
}

/// A file whose place a new one took is the old side of that change.
fn tell_gone(changes: &mut Vec<Change>, gone: &FileEntry, replaced: bool) {
    let removed = Change::removed_file(gone);
    let mut added = changes
        .iter_mut()
        .filter(|change| change.name == gone.name && change.old.is_none() && change.new.is_some());
    match added.next() {
        Some(change) if replaced => change.old = removed.old,
        _ => changes.push(removed),
    }
}

/// Adds to `ours` what `theirs` has over `before`.
fn add_theirs(ours: &mut LockFile, before: &LockFile, theirs: &LockFile) {
    for kind in [FileKind::Base, FileKind::Payload] {
        for entry in theirs.files(kind) {
            let known = |file: &LockFile| file.file(kind, &entry.name, &entry.request).is_some();
            if !known(before) && !known(ours) {
                ours.files_mut(kind).push(entry.clone());
            }
        }
    }
    for (name, digest) in &theirs.authority {
        ours.authority.entry(name.clone()).or_insert(*digest);
    }
    for set in &theirs.package_set {
        let known = |file: &LockFile| {
            let mut sets = file.package_set.iter();
            sets.any(|other| (&other.base, &other.request) == (&set.base, &set.request))
        };
        if known(before) || known(ours) {
            continue;
        }
        for package in theirs.packages_of(set) {
            if ours.package(&package.key()).is_none() {
                ours.package.push(package);
            }
        }
        ours.package_set.push(set.clone());
    }
    for image in &theirs.image {
        let known = |file: &LockFile| file.image(&image.name).is_some();
        if !known(before) && !known(ours) {
            ours.image.push(image.clone());
        }
    }
    for archive in &theirs.archive {
        if ours.archive.iter().all(|other| other.name != archive.name) {
            ours.archive.push(archive.clone());
        }
    }
}

fn read(path: &Path) -> Result<Option<LockFile>> {
    match fs::read_to_string(path) {
        Ok(text) => LockFile::parse(&text, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Error::failed(format!("cannot read {}", path.display())).with_source(error))
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    whole_file::write(path, text.as_bytes()).context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::pin::ImageFacts;
    use super::super::verified::Verified;
    use super::*;

    fn entry(sha256: &str, locked: i64, verified: Verified) -> FileEntry {
        FileEntry {
            name: "base".into(),
            request: "base".into(),
            url: None,
            size: None,
            sha256: Digest::of_bytes(sha256),
            description: None,
            locked: Moment(locked),
            verified: vec![verified],
            image: ImageFacts::default(),
        }
    }

    fn book(folder: &Path) -> LockBook {
        LockBook::open(folder, LockPolicy::Renew(BTreeSet::new())).unwrap()
    }

    #[test]
    fn what_is_the_same_keeps_its_time_and_learns_what_else_speaks_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = book(folder.path());
        let index = entry("a", 10, Verified::Index);
        first.keep_file(FileKind::Base, index.clone()).unwrap();
        first.save().unwrap();
        let again = book(folder.path());
        let signed = Verified::OpenPgp("F4AA".into());
        let kept = again
            .keep_file(FileKind::Base, entry("a", 20, signed.clone()))
            .unwrap();
        assert_eq!(kept, entry("a", 10, signed));
        assert_eq!(again.changes(), []);
        again.save().unwrap();
        assert_eq!(book(folder.path()).content().base, [kept]);
        let moved = entry("b", 30, Verified::Index);
        let kept = again.keep_file(FileKind::Base, moved.clone()).unwrap();
        assert_eq!((kept, again.changes().len()), (moved, 1));
    }

    fn image(name: &str, content: &str, locked: i64) -> ImageEntry {
        ImageEntry {
            name: name.into(),
            sha256: Digest::of_bytes(content),
            index: None,
            size: 1,
            locked: Moment(locked),
            verified: vec![Verified::FirstUse],
        }
    }

    #[test]
    fn images_move_when_they_are_renewed_and_leave_when_all_are() {
        let folder = tempfile::tempdir().unwrap();
        let first = LockBook::open(folder.path(), LockPolicy::Add).unwrap();
        for (name, content) in [("a", "1"), ("b", "1")] {
            first.keep_image(image(name, content, 1)).unwrap();
        }
        first.save().unwrap();
        let renewing = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            LockBook::open(folder.path(), LockPolicy::Renew(names)).unwrap()
        };
        let one = renewing(&["a"]);
        assert_eq!(
            (one.image("a"), one.image("b")),
            (None, Some(image("b", "1", 1)))
        );
        assert_eq!(
            one.keep_image(image("a", "1", 2)).unwrap(),
            image("a", "1", 1)
        );
        one.keep_image(image("a", "2", 3)).unwrap();
        assert_eq!(one.image("a"), Some(image("a", "2", 3)));
        one.retire(&Wanted::default());
        one.save().unwrap();
        let all = renewing(&[]);
        all.keep_image(image("a", "2", 4)).unwrap();
        all.retire(&Wanted {
            images: BTreeSet::from(["a".to_owned()]),
            ..Wanted::default()
        });
        let changes: Vec<String> = all.changes().iter().map(ToString::to_string).collect();
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(
            changes[0].contains("image b: sha256 6b86b273ff34… is no longer pinned"),
            "{changes:?}"
        );
        all.save().unwrap();
        let locked = LockBook::open(folder.path(), LockPolicy::Locked).unwrap();
        assert_eq!(locked.content().image, [image("a", "2", 3)]);
        assert!(locked.keep_image(image("c", "1", 1)).is_err());
    }

    #[test]
    fn what_another_run_has_pinned_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (book(folder.path()), book(folder.path()));
        one.keep_file(FileKind::Base, entry("a", 1, Verified::Index))
            .unwrap();
        other
            .keep_file(FileKind::Payload, entry("b", 2, Verified::Index))
            .unwrap();
        one.save().unwrap();
        other.save().unwrap();
        let both = book(folder.path()).content();
        assert_eq!((both.base.len(), both.payload.len()), (1, 1));
    }
}
