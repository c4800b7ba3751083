//! Payloads in tar archives: one member, or the whole tree. What could reach outside of the tree,
//! or is not a file, folder or link, is refused.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use super::decompress::{Format, decoder};
use super::digest::{CHUNK, human};
use crate::error::{Error, Result, ResultExt};

/// An archive that unpacks to more than this is refused.
const MAX_BYTES: u64 = 1 << 30;
const MAX_ENTRIES: usize = 100_000;

type Member<'a> = Entry<'a, Box<dyn Read>>;
type Visit<'a> = dyn FnMut(&mut Member<'_>, PathBuf) -> Result<()> + 'a;

/// A file, folder or link of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative, without `.` and `..`.
    pub path: PathBuf,
    pub kind: TreeKind,
    /// 0o755 for folders and for files that anybody may execute, 0o777 for links, else 0o644.
    pub mode: u32,
}

/// What a [`TreeEntry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeKind {
    Dir,
    File { content: Vec<u8> },
    Symlink { target: PathBuf },
}

/// The content of the file called `member` in a tar archive, compressed or not.
pub fn tar_member(archive: &Path, member: &str) -> Result<Vec<u8>> {
    let wanted = normal(Path::new(member)).ok_or_else(|| {
        Error::usage(format!(
            "`{member}` can not be the name of a file in an archive"
        ))
    })?;
    let mut names = Vec::new();
    let mut found = None;
    walk(archive, &mut |entry, path| {
        if path == wanted {
            found = Some(match entry.header().entry_type() {
                kind if is_file(kind) => read_content(archive, entry)?,
                kind => {
                    return Err(refused(
                        archive,
                        &path,
                        &format!("is a {kind:?}, not a file"),
                    ));
                }
            });
        }
        names.push(path);
        Ok(())
    })?;
    found.ok_or_else(|| missing(archive, member, &names))
}

/// Everything in a tar archive, compressed or not, without the first `strip` folders of each path,
/// sorted by path. Folders that are only implied are there too. Owners, times and special mode bits
/// are dropped; hard links become files.
pub fn tar_tree(archive: &Path, strip: usize) -> Result<Vec<TreeEntry>> {
    let mut tree = Tree {
        archive,
        entries: BTreeMap::new(),
    };
    walk(archive, &mut |entry, path| {
        let stripped: PathBuf = path.components().skip(strip).collect();
        if stripped.as_os_str().is_empty() {
            return Ok(());
        }
        tree.add(entry, stripped, strip)
    })?;
    Ok(tree.entries.into_values().collect())
}

struct Tree<'a> {
    archive: &'a Path,
    entries: BTreeMap<PathBuf, TreeEntry>,
}

impl Tree<'_> {
    fn add(&mut self, entry: &mut Member<'_>, path: PathBuf, strip: usize) -> Result<()> {
        let kind = match entry.header().entry_type() {
            EntryType::Directory => TreeKind::Dir,
            EntryType::Symlink => self.symlink(entry, &path)?,
            EntryType::Link => self.hard_link(entry, &path, strip)?,
            kind if is_file(kind) => TreeKind::File {
                content: read_content(self.archive, entry)?,
            },
            kind => return Err(refused(self.archive, &path, &format!("is a {kind:?}"))),
        };
        let mode = mode_of(&kind, entry.header().mode().unwrap_or(0));
        self.add_parents(&path)?;
        if let Some(old) = self.entries.get(&path)
            && (old.kind == TreeKind::Dir) != (kind == TreeKind::Dir)
        {
            return Err(refused(
                self.archive,
                &path,
                "is both a folder and something else",
            ));
        }
        self.entries
            .insert(path.clone(), TreeEntry { path, kind, mode });
        Ok(())
    }

    fn add_parents(&mut self, path: &Path) -> Result<()> {
        let parents = path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty());
        for parent in parents {
            let entry = self
                .entries
                .entry(parent.to_owned())
                .or_insert_with(|| TreeEntry {
                    path: parent.to_owned(),
                    kind: TreeKind::Dir,
                    mode: 0o755,
                });
            if entry.kind != TreeKind::Dir {
                return Err(refused(
                    self.archive,
                    path,
                    "lies below something that is not a folder",
                ));
            }
        }
        Ok(())
    }

    fn symlink(&self, entry: &Member<'_>, path: &Path) -> Result<TreeKind> {
        let target = link_target(self.archive, entry, path)?;
        if !stays_inside(path, &target) {
            return Err(refused(
                self.archive,
                path,
                &format!("is a link to {}, outside of the archive", target.display()),
            ));
        }
        Ok(TreeKind::Symlink { target })
    }

    fn hard_link(&self, entry: &Member<'_>, path: &Path, strip: usize) -> Result<TreeKind> {
        let target = link_target(self.archive, entry, path)?;
        let stripped =
            normal(&target).map(|target| target.components().skip(strip).collect::<PathBuf>());
        let linked = stripped.and_then(|target| self.entries.get(&target));
        match linked.map(|entry| &entry.kind) {
            Some(TreeKind::File { content }) => Ok(TreeKind::File {
                content: content.clone(),
            }),
            _ => Err(refused(
                self.archive,
                path,
                &format!(
                    "is a hard link to {}, which is no file before it",
                    target.display()
                ),
            )),
        }
    }
}

/// Calls `visit` with every entry that is part of the tree and its path.
fn walk(archive: &Path, visit: &mut Visit<'_>) -> Result<()> {
    let failed = || format!("can not read the archive {}", archive.display());
    let file = File::open(archive).context(failed)?;
    let format = Format::of_file(archive)?;
    let reader = decoder(BufReader::with_capacity(CHUNK, file), format).context(failed)?;
    let mut tar = Archive::new(Box::new(reader.take(MAX_BYTES + 1)) as Box<dyn Read>);
    let damaged = |error| damaged(archive, error);
    let mut total = 0u64;
    for (index, entry) in tar.entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        total = total.saturating_add(entry.size());
        if index >= MAX_ENTRIES || total > MAX_BYTES {
            return Err(Error::refused(format!(
                "{} holds more than {MAX_ENTRIES} files or {}",
                archive.display(),
                human(MAX_BYTES)
            ))
            .with_hint("it is not the payload it claims to be"));
        }
        if entry.header().entry_type().is_pax_global_extensions() {
            continue;
        }
        let raw = entry.path().map_err(damaged)?.into_owned();
        let path = normal(&raw).ok_or_else(|| {
            refused(
                archive,
                &raw,
                "would be written outside of the folder it is unpacked to",
            )
        })?;
        visit(&mut entry, path)?;
    }
    Ok(())
}

/// `path` without `.`; `None` when it is absolute or has `..`.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(parts.iter().collect())
}

/// Whether a link at `path` to `target` leads to a place inside of the tree.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

fn link_target(archive: &Path, entry: &Member<'_>, path: &Path) -> Result<PathBuf> {
    let target = entry.link_name().map_err(|error| damaged(archive, error))?;
    target
        .filter(|target| !target.as_os_str().is_empty())
        .map(|target| target.into_owned())
        .ok_or_else(|| refused(archive, path, "is a link to nothing"))
}

fn is_file(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
    )
}

fn mode_of(kind: &TreeKind, mode: u32) -> u32 {
    match kind {
        TreeKind::Symlink { .. } => 0o777,
        TreeKind::File { .. } if mode & 0o111 == 0 => 0o644,
        _ => 0o755,
    }
}

fn read_content(archive: &Path, entry: &mut Member<'_>) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    entry
        .read_to_end(&mut content)
        .map_err(|error| damaged(archive, error))?;
    if content.len() as u64 != entry.size() {
        return Err(damaged(archive, std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(content)
}

fn damaged(archive: &Path, error: std::io::Error) -> Error {
    Error::failed(format!(
        "{} is truncated, damaged, or no tar archive",
        archive.display()
    ))
    .with_source(error)
    .with_hint("download it again")
}

fn refused(archive: &Path, path: &Path, why: &str) -> Error {
    Error::refused(format!("{}: `{}` {why}", archive.display(), path.display()))
        .with_hint("archives of payloads may hold only files, folders, and links among them")
}

fn missing(archive: &Path, member: &str, names: &[PathBuf]) -> Error {
    let base = Path::new(member).file_name().unwrap_or(OsStr::new(member));
    let same_name = names.iter().find(|path| path.file_name() == Some(base));
    let error = Error::failed(format!("{} holds no `{member}`", archive.display()));
    match same_name {
        Some(path) => error.with_hint(format!("it does hold `{}`", path.display())),
        None => error.with_hint(format!("it holds {} others", names.len())),
    }
}
