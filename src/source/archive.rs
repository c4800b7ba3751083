//! Payloads in tar archives: one member, or the whole tree. What could reach outside of the tree,
//! or is not a file, folder or link, is refused.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use super::checksum::CHUNK;
use super::decompress::{Format, decoder};
use crate::disk::RawFile;
use crate::error::{Error, Result, ResultExt};
use crate::size::human;

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
            "`{member}` cannot be the name of a file in an archive"
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
        bytes: 0,
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
    bytes: u64,
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
        if let TreeKind::File { content } = &kind {
            self.bytes += content.len() as u64;
            check_amount(self.archive, self.entries.len(), self.bytes)?;
        }
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
    let failed = || format!("cannot read the archive {}", archive.display());
    let file = File::open(archive).context(failed)?;
    let format = Format::of(&RawFile::open(archive)?)?;
    let reader = decoder(BufReader::with_capacity(CHUNK, file), format).context(failed)?;
    let mut tar = Archive::new(Box::new(reader.take(MAX_BYTES + 1)) as Box<dyn Read>);
    let damaged = |error| damaged(archive, error);
    let mut total = 0u64;
    for (index, entry) in tar.entries().map_err(damaged)?.enumerate() {
        let mut entry = entry.map_err(damaged)?;
        total = total.saturating_add(entry.size());
        check_amount(archive, index, total)?;
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

fn check_amount(archive: &Path, entries: usize, bytes: u64) -> Result<()> {
    if entries < MAX_ENTRIES && bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} holds more than {MAX_ENTRIES} files or {}",
        archive.display(),
        human(MAX_BYTES)
    ))
    .with_hint("it is not the payload it claims to be"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::io::Write;

    type Spec<'a> = (EntryType, &'a str, &'a str, u32);

    const FILE: EntryType = EntryType::Regular;

    /// A tar archive of (type, path, content or link target, mode), not checked in any way.
    fn tar(entries: &[Spec]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, path, content, mode) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_mtime(1_700_000_000);
            let body = if is_file(*kind) {
                content.as_bytes()
            } else {
                b""
            };
            if body.is_empty() {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            header.set_size(body.len() as u64);
            header.set_cksum();
            tar.append(&header, body).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn stored(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).unwrap();
        gz.finish().unwrap()
    }

    fn tree(entries: &[Spec], strip: usize) -> Result<Vec<TreeEntry>> {
        tar_tree(stored(&gzipped(&tar(entries))).path(), strip)
    }

    fn assert_refused(entries: &[Spec], part: &str) {
        let error = tree(entries, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(
            error.to_string().contains(part),
            "`{part}` is not in: {error}"
        );
        assert!(error.hint().is_some());
    }

    const TAILSCALE: [Spec; 5] = [
        (EntryType::Directory, "ts_arm64/", "", 0o2775),
        (FILE, "ts_arm64/tailscaled", "daemon", 0o4755),
        (
            FILE,
            "./ts_arm64/systemd/tailscaled.service",
            "[Unit]",
            0o600,
        ),
        (
            EntryType::Symlink,
            "ts_arm64/systemd/link",
            "../tailscaled",
            0o777,
        ),
        (
            EntryType::Link,
            "ts_arm64/again",
            "ts_arm64/tailscaled",
            0o755,
        ),
    ];

    #[test]
    fn a_tree_is_sorted_and_plain() {
        let entries = tree(&TAILSCALE, 1).unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|e| (e.path.to_str().unwrap(), e.mode))
            .collect();
        let expected = [
            ("again", 0o755),
            ("systemd", 0o755),
            ("systemd/link", 0o777),
            ("systemd/tailscaled.service", 0o644),
            ("tailscaled", 0o755),
        ];
        assert_eq!(shown, expected);
        let content = b"daemon".to_vec();
        assert_eq!(entries[0].kind, TreeKind::File { content });
        let target = PathBuf::from("../tailscaled");
        assert_eq!(entries[2].kind, TreeKind::Symlink { target });
    }

    #[test]
    fn one_member_is_read_from_any_compression() {
        let plain = tar(&TAILSCALE);
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for bytes in [gzipped(&plain), zstd, plain] {
            let file = stored(&bytes);
            assert_eq!(
                tar_member(file.path(), "ts_arm64/tailscaled").unwrap(),
                b"daemon"
            );
            assert_eq!(
                tar_member(file.path(), "./ts_arm64/systemd/tailscaled.service").unwrap(),
                b"[Unit]"
            );
        }
    }

    #[test]
    fn a_missing_member_names_one_of_the_same_name() {
        let file = stored(&tar(&TAILSCALE));
        let error = tar_member(file.path(), "ts_amd64/tailscaled").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(
            error.to_string().contains("`ts_amd64/tailscaled`"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("`ts_arm64/tailscaled`"));
        let error = tar_member(file.path(), "../x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let error = tar_member(file.path(), "ts_arm64/systemd/link").unwrap_err();
        assert!(error.to_string().contains("is a Symlink"), "{error}");
    }

    #[test]
    fn paths_and_links_that_leave_the_tree_are_refused() {
        assert_refused(
            &[(FILE, "/etc/passwd", "x", 0o644)],
            "`/etc/passwd` would be written outside",
        );
        assert_refused(
            &[(FILE, "a/../../x", "x", 0o644)],
            "`a/../../x` would be written outside",
        );
        let link = |path, target| [(EntryType::Symlink, path, target, 0o777)];
        assert_refused(&link("a/l", "../../x"), "link to ../../x, outside");
        assert_refused(&link("l", "/etc/shadow"), "link to /etc/shadow, outside");
        assert_refused(&link("l", ""), "link to nothing");
        assert_refused(&[(EntryType::Link, "l", "../x", 0)], "hard link to ../x");
        assert_refused(
            &[(EntryType::Link, "l", "later", 0), (FILE, "later", "x", 0)],
            "no file before it",
        );
    }

    #[test]
    fn stripping_does_not_let_links_leave() {
        let entries: [Spec; 1] = [(EntryType::Symlink, "top/l", "../other", 0o777)];
        assert!(tree(&entries, 0).is_ok());
        let error = tree(&entries, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let below: [Spec; 3] = [
            (EntryType::Directory, "real", "", 0o755),
            (EntryType::Symlink, "l", "real", 0o777),
            (FILE, "l/x", "x", 0o644),
        ];
        assert_refused(&below, "below something that is not a folder");
        let twice: [Spec; 2] = [(FILE, "d/x", "x", 0o644), (FILE, "d", "x", 0o644)];
        assert_refused(&twice, "both a folder and something else");
    }

    #[test]
    fn devices_are_refused() {
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
            assert_refused(&[(kind, "dev/x", "", 0o600)], "`dev/x` is a");
        }
    }

    #[test]
    fn what_is_no_whole_archive_says_so() {
        let whole = gzipped(&tar(&TAILSCALE));
        let file = stored(&whole[..whole.len() / 2]);
        let error = tar_tree(file.path(), 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("truncated, damaged"), "{error}");
        let file = stored(&[b'x'; 2000]);
        assert!(tar_tree(file.path(), 0).is_err());
    }
}
