//! The files of an overlay folder, on disk or inside the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, ResultExt};

/// The file that describes a role.
pub const MANIFEST: &str = "role.toml";
/// How the name of a template ends.
const TEMPLATE: &str = ".j2";

/// Which partition a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// FAT32, mounted at /boot/firmware.
    Boot,
    /// ext4, mounted at /.
    Root,
}

impl Part {
    /// The overlay folder of this partition, and its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Root => "root",
        }
    }
}

/// A file of an overlay.
#[derive(Debug, Clone)]
pub struct OverlayFile {
    pub part: Part,
    /// Absolute path on its partition, without `.j2`.
    pub path: String,
    /// Where it lies, for messages.
    pub source: String,
    pub kind: FileKind,
}

#[derive(Debug, Clone)]
pub enum FileKind {
    Bytes(Vec<u8>),
    /// A file of the project, to be read for a node that has the role.
    File(PathBuf),
    /// Template text.
    Template(String),
    /// A symbolic link and its target.
    Link(String),
}

/// What lies at a path of a role folder.
#[derive(Debug, Clone)]
pub enum Entry {
    Bytes(Vec<u8>),
    /// A file that need not be understood to know the role.
    File(PathBuf),
    Link(String),
}

/// Reads a role folder into relative path → entry. Links are taken as links, never followed.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    walk(folder, "", &mut entries)?;
    Ok(entries)
}

fn walk(folder: &Path, prefix: &str, entries: &mut BTreeMap<String, Entry>) -> Result<()> {
    let listing =
        std::fs::read_dir(folder).context(|| format!("reading folder {}", folder.display()))?;
    for item in listing {
        let item = item.context(|| format!("reading folder {}", folder.display()))?;
        let path = item.path();
        let name = item.file_name().into_string().map_err(|name| {
            Error::usage(format!(
                "{}: file name {name:?} is not UTF-8",
                folder.display()
            ))
        })?;
        if is_litter(&name) {
            continue;
        }
        let relative = match prefix {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        };
        let kind = item
            .file_type()
            .context(|| format!("looking at {}", path.display()))?;
        if kind.is_symlink() {
            let target = std::fs::read_link(&path)
                .context(|| format!("reading link {}", path.display()))?
                .to_string_lossy()
                .into_owned();
            entries.insert(relative, Entry::Link(target));
        } else if kind.is_dir() {
            walk(&path, &relative, entries)?;
        } else if kind.is_file() {
            let entry = if is_understood(&relative) {
                Entry::Bytes(
                    std::fs::read(&path).context(|| format!("reading {}", path.display()))?,
                )
            } else {
                Entry::File(path)
            };
            entries.insert(relative, entry);
        } else {
            return Err(Error::usage(format!(
                "{}: overlays hold files, folders and links, nothing else",
                path.display()
            )));
        }
    }
    Ok(())
}

/// What macOS leaves behind in folders, on volumes of other systems and in archives beside every file.
fn is_litter(name: &str) -> bool {
    name == ".DS_Store" || name.starts_with("._")
}

/// Whether a role needs the content of the file at `path` in its folder, and not only the nodes that
/// have it. A project's other files can be large and many.
fn is_understood(path: &str) -> bool {
    path == MANIFEST || path.ends_with(TEMPLATE)
}

/// Sorts the entries of a role folder into files of the two partitions.
pub fn overlay_files(label: &str, entries: &BTreeMap<String, Entry>) -> Result<Vec<OverlayFile>> {
    entries
        .iter()
        .filter(|(path, _)| path.as_str() != MANIFEST)
        .map(|(path, entry)| overlay_file(label, path, entry))
        .collect()
}

fn overlay_file(label: &str, path: &str, entry: &Entry) -> Result<OverlayFile> {
    let source = format!("{label}/{path}");
    let (part, rest) = match path.split_once('/') {
        Some(("boot", rest)) => (Part::Boot, rest),
        Some(("root", rest)) => (Part::Root, rest),
        _ => {
            return Err(Error::usage(format!(
                "{source}: a role holds role.toml and the folders boot/ and root/, nothing else"
            )));
        }
    };
    let (kind, name) = match entry {
        Entry::Link(target) => (link(&source, rest, part, target)?, rest),
        Entry::File(path) => (FileKind::File(path.clone()), rest),
        Entry::Bytes(bytes) => match rest.strip_suffix(TEMPLATE) {
            None => (FileKind::Bytes(bytes.clone()), rest),
            Some(name) => {
                let text = String::from_utf8(bytes.clone()).map_err(|_| {
                    Error::usage(format!("{source}: a template must be UTF-8 text"))
                })?;
                (FileKind::Template(text), name)
            }
        },
    };
    Ok(OverlayFile {
        part,
        path: clean_path(&format!("/{name}"))
            .map_err(|why| Error::usage(format!("{source}: {why}")))?,
        source,
        kind,
    })
}

fn link(source: &str, path: &str, part: Part, target: &str) -> Result<FileKind> {
    if part == Part::Boot {
        return Err(Error::usage(format!("{source}: FAT has no symbolic links")));
    }
    let escape = |why: &str| {
        Error::refused(format!("{source}: the link to `{target}` {why}")).with_hint(
            "an overlay stays inside its own folder; a link that the image shall have goes into [links] of role.toml",
        )
    };
    if target.starts_with('/') {
        return Err(escape("is absolute"));
    }
    let mut depth = path.split('/').count() as i64 - 1;
    for part in target.split('/') {
        depth += match part {
            ".." => -1,
            "" | "." => 0,
            _ => 1,
        };
        if depth < 0 {
            return Err(escape("leads out of the overlay"));
        }
    }
    Ok(FileKind::Link(target.to_owned()))
}

/// An absolute path without `.`, `..`, doubled or trailing slashes; errors say what is wrong.
pub fn clean_path(path: &str) -> std::result::Result<String, String> {
    let rest = path
        .strip_prefix('/')
        .ok_or_else(|| format!("`{path}` is not an absolute path"))?;
    let parts: Vec<&str> = rest.split('/').filter(|p| !p.is_empty()).collect();
    if parts.is_empty() {
        return Err("the root folder itself cannot be changed".to_owned());
    }
    match parts
        .iter()
        .find(|p| **p == ".." || **p == "." || p.len() > 255 || p.contains('\0'))
    {
        Some(part) => Err(format!(
            "`{path}`: `{part}` cannot be part of a path in the image"
        )),
        None => Ok(format!("/{}", parts.join("/"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_or_refused() {
        assert_eq!(clean_path("/etc//x/"), Ok("/etc/x".into()));
        for bad in ["etc/x", "/etc/../x", "/", "/a/./b"] {
            assert!(clean_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_macos_leaves_behind_is_no_part_of_a_role() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        for name in [
            ".DS_Store",
            "._role.toml",
            "role.toml",
            "root/._x",
            "root/.x",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = read_folder(dir.path()).unwrap();
        assert_eq!(
            found.into_keys().collect::<Vec<_>>(),
            ["role.toml", "root/.x"]
        );
    }

    #[test]
    fn links_out_of_the_overlay_are_refused() {
        let link = |path: &str, target: &str| {
            let entries = BTreeMap::from([(path.to_owned(), Entry::Link(target.to_owned()))]);
            overlay_files("overlays/x", &entries)
        };
        assert!(link("root/usr/bin/a", "../lib/a").is_ok());
        for (path, target) in [
            ("root/usr/a", "/etc/passwd"),
            ("root/usr/a", "../../x"),
            ("root/a", ".."),
            ("boot/a", "b"),
            ("role/a", "b"),
        ] {
            assert!(link(path, target).is_err(), "{path} -> {target}");
        }
    }
}
