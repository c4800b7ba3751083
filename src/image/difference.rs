//! What differs between two images.

use std::cmp::Ordering;
use std::fmt;
use std::io::Read;

use super::tree::{Entry, FileSystem, Tree};
use crate::error::{Result, ResultExt};
use crate::ext4::FileKind;
use crate::job::Cancel;

/// Content is compared in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// What is different at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// It is there in both images, and these are not the same.
    Changed(Aspects),
}

/// What of something can differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aspects {
    /// A file, a folder, …
    pub kind: bool,
    pub content: bool,
    pub mode: bool,
    pub owner: bool,
    /// Where a symbolic link points.
    pub target: bool,
}

/// A path at which two images differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub on: FileSystem,
    /// From the root of its file system. What is not UTF-8 in it is replaced.
    pub path: String,
    pub change: Change,
}

impl fmt::Display for Aspects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.kind, "kind"),
            (self.content, "content"),
            (self.mode, "mode"),
            (self.owner, "owner"),
            (self.target, "target"),
        ];
        let named: Vec<&str> = all.iter().filter(|a| a.0).map(|a| a.1).collect();
        f.write_str(&named.join(", "))
    }
}

/// The paths at which `after` differs from `before`, in the order of a walk. Only content of files of
/// the same length is read.
pub fn differences(before: &Tree, after: &Tree, cancel: &Cancel) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let (mut olds, mut news) = (before.walk(), after.walk());
    let (mut old, mut new) = (olds.next().transpose()?, news.next().transpose()?);
    loop {
        cancel.check()?;
        let order = match (&old, &new) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.order(new),
        };
        let left = old.take_if(|_| order != Ordering::Greater);
        let right = new.take_if(|_| order != Ordering::Less);
        match (&left, &right) {
            (Some(left), None) => found.push(difference(left, Change::Removed)),
            (None, Some(right)) => found.push(difference(right, Change::Added)),
            (Some(left), Some(right)) => {
                let aspects = compared(before, left, after, right, cancel)?;
                if aspects != Aspects::default() {
                    found.push(difference(right, Change::Changed(aspects)));
                }
            }
            (None, None) => {}
        }
        if left.is_some() {
            old = olds.next().transpose()?;
        }
        if right.is_some() {
            new = news.next().transpose()?;
        }
    }
}

fn difference(entry: &Entry, change: Change) -> Difference {
    Difference {
        on: entry.on,
        path: String::from_utf8_lossy(&entry.path).into_owned(),
        change,
    }
}

fn compared(
    before: &Tree,
    old: &Entry,
    after: &Tree,
    new: &Entry,
    cancel: &Cancel,
) -> Result<Aspects> {
    let both_files = old.kind == FileKind::File && new.kind == FileKind::File;
    Ok(Aspects {
        kind: old.kind != new.kind,
        content: both_files
            && (old.size != new.size
                || !is_same(before.content(old)?, after.content(new)?, cancel)
                    .context(|| format!("comparing {new}"))?),
        mode: old.mode != new.mode,
        owner: (old.uid, old.gid) != (new.uid, new.gid),
        target: old.target != new.target,
    })
}

fn is_same(mut a: Box<dyn Read>, mut b: Box<dyn Read>, cancel: &Cancel) -> Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        cancel.check()?;
        left.clear();
        right.clear();
        let read = || "reading it".to_owned();
        (a.by_ref().take(PIECE as u64).read_to_end(&mut left)).context(read)?;
        (b.by_ref().take(PIECE as u64).read_to_end(&mut right)).context(read)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
