//! What is at the paths of an image that a build touched, as records have it.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::disk::CowDisk;
use crate::error::{Result, ResultExt};
use crate::ext4::FileKind;
use crate::image::{Entry, FileSystem, Tree};
use crate::job::Cancel;
use crate::overlay::Part;
use crate::patch::MadePath;
use crate::records::{FileRecord, Kind, Partition};

/// Content is read in pieces of this many bytes.
const PIECE: u64 = 128 << 10;

/// What is on `disk` at the paths that were `made`, each once, sorted.
pub fn of_made(disk: &Arc<CowDisk>, made: &[MadePath], cancel: &Cancel) -> Result<Vec<FileRecord>> {
    let tree = Tree::open(disk.clone())?;
    let mut paths: BTreeMap<(Partition, String), bool> = BTreeMap::new();
    for made in made {
        let on = partition(made.part);
        for path in real_paths(&tree, on, made)? {
            *paths.entry((on, path)).or_default() |= made.secret;
        }
    }
    let records = paths
        .iter()
        .map(|((on, path), secret)| at(&tree, *on, path, *secret, cancel));
    records.collect()
}

/// What is at `path` of an image. The content of a file with a secret is not read.
pub fn at(
    tree: &Tree,
    on: Partition,
    path: &str,
    secret: bool,
    cancel: &Cancel,
) -> Result<FileRecord> {
    let entry = tree.find(file_system(on), path, false)?;
    let kind = entry.as_ref().map_or(Kind::Absent, kind_of);
    let owned = entry.as_ref().filter(|_| on == Partition::Root);
    // The mode of a symbolic link means nothing.
    let with_mode = owned.filter(|_| kind != Kind::Link);
    let content = entry.as_ref().filter(|_| kind == Kind::File && !secret);
    let target = entry.as_ref().and_then(|entry| entry.target.as_ref());
    Ok(FileRecord {
        on,
        path: path.to_owned(),
        kind,
        mode: with_mode.map(|entry| format!("{:04o}", entry.mode)),
        uid: owned.map(|entry| entry.uid),
        gid: owned.map(|entry| entry.gid),
        sha256: content
            .map(|entry| digest(tree, entry, cancel))
            .transpose()?,
        target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
        secret,
    })
}

/// The paths that a walk through the image finds a path at: symbolic links lead to it.
fn real_paths(tree: &Tree, on: Partition, made: &MadePath) -> Result<Vec<String>> {
    let text = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
    let file_system = file_system(on);
    let Some(entry) = tree.find(file_system, &made.path, false)? else {
        return Ok(vec![removed(tree, file_system, &made.path)?]);
    };
    let mut paths = vec![text(&entry)];
    if made.through && entry.kind == FileKind::Symlink {
        let target = tree.find(file_system, &made.path, true)?;
        paths.extend(target.as_ref().map(text));
    }
    Ok(paths)
}

/// Where something was that is not there any more.
fn removed(tree: &Tree, on: FileSystem, path: &str) -> Result<String> {
    let Some((folder, name)) = path.rsplit_once('/').filter(|(f, _)| !f.is_empty()) else {
        return Ok(path.to_owned());
    };
    let folder = tree.find(on, folder, true)?;
    Ok(folder.map_or_else(
        || path.to_owned(),
        |folder| format!("{}/{name}", String::from_utf8_lossy(&folder.path)),
    ))
}

fn digest(tree: &Tree, entry: &Entry, cancel: &Cancel) -> Result<Digest> {
    let context = || format!("reading {entry}");
    let mut content = tree.content(entry)?;
    let (mut hasher, mut piece) = (Sha256::new(), Vec::new());
    loop {
        cancel.check()?;
        piece.clear();
        let read = content.by_ref().take(PIECE).read_to_end(&mut piece);
        if read.context(context)? == 0 {
            return Ok(Digest::of(hasher));
        }
        hasher.update(&piece);
    }
}

fn kind_of(entry: &Entry) -> Kind {
    match entry.kind {
        FileKind::File => Kind::File,
        FileKind::Directory => Kind::Folder,
        FileKind::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn partition(part: Part) -> Partition {
    match part {
        Part::Boot => Partition::Boot,
        Part::Root => Partition::Root,
    }
}

/// The same, as trees have it.
pub fn file_system(on: Partition) -> FileSystem {
    match on {
        Partition::Boot => FileSystem::Boot,
        Partition::Root => FileSystem::Root,
    }
}
