//! From paths to inodes: symbolic links are followed inside the file system, `..` never leaves it.

use std::collections::VecDeque;

use fs_ext4::inode::Inode;

use super::engine::{Engine, ROOT, kind_of};
use super::file_kind::FileKind;
use crate::error::{Error, Result};

/// How many symbolic links one path may go through, as in Linux.
const MAX_LINKS: usize = 40;
/// Longest path, bytes, as in Linux.
const MAX_PATH: usize = 4096;
/// Longest name of a directory entry, bytes.
pub(super) const MAX_NAME: usize = 255;

/// One step down from the root.
#[derive(Clone)]
struct Step {
    name: Vec<u8>,
    inode: u32,
}

/// A path that exists.
pub(super) struct Node {
    /// The directories above, from the root's children down, and the node itself.
    steps: Vec<Step>,
    pub(super) number: u32,
    pub(super) inode: Inode,
}

/// Where an entry is, or would be.
pub(super) struct Place {
    /// Inode number of the directory.
    pub(super) parent: u32,
    pub(super) name: Vec<u8>,
    /// What is there now; a symbolic link is not followed.
    pub(super) node: Option<Node>,
}

/// What a path leads to.
enum Walk {
    Found(Node),
    /// The directory is there, the last name is not.
    Missing(Place),
    /// A directory on the way is missing or is none.
    Broken(String),
}

impl Node {
    pub(super) fn kind(&self) -> FileKind {
        kind_of(&self.inode)
    }

    /// The path without symbolic links; `None` when a name is not UTF-8.
    pub(super) fn real_path(&self) -> Option<String> {
        let mut path = String::new();
        for step in &self.steps {
            path.push('/');
            path.push_str(std::str::from_utf8(&step.name).ok()?);
        }
        Some(if path.is_empty() { "/".into() } else { path })
    }
}

/// What `path` leads to, or `None` when nothing does. The last name is followed if it is a
/// symbolic link and `follow` is set.
pub(super) fn find(engine: &Engine, path: &str, follow: bool) -> Result<Option<Node>> {
    Ok(match walk(engine, path, follow)? {
        Walk::Found(node) => Some(node),
        Walk::Missing(_) | Walk::Broken(_) => None,
    })
}

/// Like [`find`], but a missing path is an error of doing `what`.
pub(super) fn require(engine: &Engine, path: &str, follow: bool, what: &str) -> Result<Node> {
    match walk(engine, path, follow)? {
        Walk::Found(node) => Ok(node),
        Walk::Missing(_) => Err(Error::failed(format!(
            "ext4: {what} {path} failed: there is no such file on the image"
        ))),
        Walk::Broken(why) => Err(Error::failed(format!("ext4: {what} {path} failed: {why}"))),
    }
}

/// Where the entry `path` is or would be; its directory must exist. Not for the root.
pub(super) fn place(engine: &Engine, path: &str, what: &str) -> Result<Place> {
    let refuse = |why: &str| Err(Error::failed(format!("ext4: {what} {path} failed: {why}")));
    match walk(engine, path, false)? {
        Walk::Missing(place) if place.name.len() > MAX_NAME => {
            refuse("the name is longer than 255 bytes")
        }
        Walk::Missing(place) => Ok(place),
        Walk::Broken(why) => refuse(&why),
        Walk::Found(node) => {
            let above = node.steps.len().checked_sub(2);
            let Some(last) = node.steps.last() else {
                return refuse("it is the root directory");
            };
            Ok(Place {
                parent: above.map_or(ROOT, |i| node.steps[i].inode),
                name: last.name.clone(),
                node: Some(node),
            })
        }
    }
}

/// The names of `path`, which must be absolute.
fn names(path: &str) -> Result<VecDeque<Vec<u8>>> {
    if !path.starts_with('/') || path.len() > MAX_PATH || path.contains('\0') {
        return Err(Error::failed(format!(
            "ext4: {path:?} is no path on an image: it must begin with / and be at most {MAX_PATH} bytes"
        )));
    }
    Ok(split(path.as_bytes()).collect())
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|&b| b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
}

fn walk(engine: &Engine, path: &str, follow: bool) -> Result<Walk> {
    let mut pending = names(path)?;
    let mut steps: Vec<Step> = Vec::new();
    let mut links = 0;
    let fail = |failure| engine.explain(failure, "looking up", path);
    let mut here = engine.ask(|fs| fs.stat_ino(ROOT)).map_err(fail)?;
    let mut number = ROOT;
    while let Some(name) = pending.pop_front() {
        if kind_of(&here) != FileKind::Directory {
            return Ok(Walk::Broken(format!(
                "{} is not a directory",
                shown(&steps)
            )));
        }
        if name == b".." {
            steps.pop();
            number = steps.last().map_or(ROOT, |step| step.inode);
            here = engine.ask(|fs| fs.stat_ino(number)).map_err(fail)?;
            continue;
        }
        let child = match engine.ask(|fs| fs.lookup_at(number, &name)) {
            Ok(child) => child,
            Err(failure) if failure.is_not_found() => {
                return Ok(missing(&steps, number, name, &pending));
            }
            Err(failure) => return Err(fail(failure)),
        };
        let inode = engine.ask(|fs| fs.stat_ino(child)).map_err(fail)?;
        if kind_of(&inode) == FileKind::Symlink && (follow || !pending.is_empty()) {
            links += 1;
            let target = engine.ask(|fs| fs.read_link_ino(child)).map_err(fail)?;
            let waiting: usize = pending.iter().map(|name| name.len() + 1).sum();
            if links > MAX_LINKS || waiting + target.len() > MAX_PATH {
                return Err(Error::failed(format!(
                    "ext4: looking up {path} failed: too many or too long symbolic links"
                )));
            }
            if target.starts_with(b"/") {
                steps.clear();
                number = ROOT;
            }
            split(&target)
                .rev()
                .for_each(|name| pending.push_front(name));
            here = engine.ask(|fs| fs.stat_ino(number)).map_err(fail)?;
            continue;
        }
        steps.push(Step { name, inode: child });
        (number, here) = (child, inode);
    }
    Ok(Walk::Found(Node {
        steps,
        number,
        inode: here,
    }))
}

fn missing(steps: &[Step], parent: u32, name: Vec<u8>, pending: &VecDeque<Vec<u8>>) -> Walk {
    if pending.is_empty() {
        return Walk::Missing(Place {
            parent,
            name,
            node: None,
        });
    }
    let above = shown(steps);
    let name = String::from_utf8_lossy(&name);
    Walk::Broken(format!(
        "the directory {}/{name} does not exist",
        above.trim_end_matches('/')
    ))
}

fn shown(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| {
        path + "/" + &String::from_utf8_lossy(&step.name)
    })
}
