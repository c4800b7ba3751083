//! Single files of an archive that is read as a tree: one by its path, or those of a folder by a
//! pattern of their names.

use std::path::{Path, PathBuf};

use super::archive::{TreeEntry, TreeKind};
use crate::error::{Error, Result};
use crate::suggest::did_you_mean;

/// The content of the file at `member`. `archive` is its name in messages.
pub fn tree_member(entries: Vec<TreeEntry>, archive: &Path, member: &str) -> Result<Vec<u8>> {
    let (mut names, wanted) = (Vec::new(), Path::new(member));
    for entry in entries {
        match entry.kind {
            TreeKind::File { content } if entry.path == wanted => return Ok(content),
            TreeKind::File { .. } => names.push(entry.path.display().to_string()),
            _ => {}
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = did_you_mean(member, &names)
        .unwrap_or_else(|| format!("it holds {} other files", names.len()));
    let what = format!("{} holds no file `{member}`", archive.display());
    Err(Error::failed(what).with_hint(hint))
}

/// The files of one folder whose names fit `pattern`, `folder/name` with a `*` in the name for any text,
/// without the folder and with `mode` (octal 07777).
pub fn tree_files(
    entries: Vec<TreeEntry>,
    archive: &Path,
    pattern: &str,
    mode: u32,
) -> Result<Vec<TreeEntry>> {
    let (folder, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
    let fits = |entry: TreeEntry| {
        let name = fitting(&entry.path, folder, name)?;
        let is_file = matches!(entry.kind, TreeKind::File { .. });
        is_file.then_some(TreeEntry {
            path: name,
            mode,
            kind: entry.kind,
        })
    };
    let found: Vec<TreeEntry> = entries.into_iter().filter_map(fits).collect();
    if found.is_empty() {
        let what = format!("{} holds no file like `{pattern}`", archive.display());
        return Err(Error::failed(what).with_hint("it may be the archive of another version"));
    }
    Ok(found)
}

/// The name of the file at `path` if it is in `folder` and fits `pattern`.
fn fitting(path: &Path, folder: &str, pattern: &str) -> Option<PathBuf> {
    if path.parent()? != Path::new(folder) {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let fits = match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => name == pattern,
    };
    fits.then(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Vec<TreeEntry> {
        let file = |path: &str| TreeEntry {
            path: path.into(),
            kind: TreeKind::File {
                content: path.into(),
            },
            mode: 0o644,
        };
        let mut entries: Vec<TreeEntry> = ["a/x.sh", "a/y.sh", "a/z", "a/b/w.sh", "v.sh"]
            .map(file)
            .into();
        entries.push(TreeEntry {
            path: "a/link.sh".into(),
            kind: TreeKind::Symlink {
                target: "x.sh".into(),
            },
            mode: 0o777,
        });
        entries
    }

    fn names(pattern: &str) -> Vec<String> {
        let found = tree_files(tree(), Path::new("t"), pattern, 0o755).unwrap();
        assert!(found.iter().all(|entry| entry.mode == 0o755));
        found.iter().map(|e| e.path.display().to_string()).collect()
    }

    #[test]
    fn a_pattern_takes_the_files_of_its_folder() {
        assert_eq!(names("a/*.sh"), ["x.sh", "y.sh"]);
        assert_eq!(names("*"), ["v.sh"]);
        assert_eq!(names("a/z*"), ["z"]);
        let error = tree_files(tree(), Path::new("t"), "b/*.sh", 0o755).unwrap_err();
        assert!(
            error.to_string().contains("no file like `b/*.sh`"),
            "{error}"
        );
    }

    #[test]
    fn one_file_or_the_nearest_name() {
        let member = |name: &str| tree_member(tree(), Path::new("t"), name);
        assert_eq!(member("a/b/w.sh").unwrap(), b"a/b/w.sh");
        let error = member("a/b/v.sh").unwrap_err();
        assert!(error.to_string().contains("no file `a/b/v.sh`"), "{error}");
        assert!(error.hint().is_some());
        // A link is no file.
        assert!(member("a/link.sh").is_err());
    }
}
