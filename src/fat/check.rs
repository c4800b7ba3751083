//! Checks a whole FAT file system before anything is changed in it.

use super::damaged::damaged;
use super::directory::{Entry, MAX_SLOTS, SLOT};
use super::file_system::Fat;
use super::name::MAX_DEPTH;
use crate::error::Result;

/// A folder that was met. Paths are put together only when there is something to say, so that
/// names cost no more memory than they take on the partition.
struct Folder {
    parent: Option<usize>,
    name: String,
    cluster: u32,
    depth: usize,
}

/// Walks every file and folder. Each cluster is visited once, so the work is bounded by the size
/// of the partition whatever it says.
pub(super) fn check(fat: &Fat) -> Result<()> {
    let mut check = Check {
        fat,
        seen: vec![false; fat.geometry.clusters as usize + 2],
        folders: vec![Folder {
            parent: None,
            name: String::new(),
            cluster: fat.geometry.root_cluster,
            depth: 0,
        }],
    };
    let mut next = 0;
    while next < check.folders.len() {
        check.folder(next)?;
        next += 1;
    }
    Ok(())
}

struct Check<'a> {
    fat: &'a Fat,
    seen: Vec<bool>,
    folders: Vec<Folder>,
}

impl Check<'_> {
    fn folder(&mut self, at: usize) -> Result<()> {
        let (cluster, depth) = (self.folders[at].cluster, self.folders[at].depth);
        let len = self.visit(cluster, |c| c.folder_path(at))?;
        let slots = len as u64 * self.fat.geometry.cluster_size / SLOT as u64;
        if len == 0 || slots > MAX_SLOTS as u64 {
            let path = self.folder_path(at);
            return Err(damaged(format_args!(
                "the folder “{path}” has an impossible size"
            )));
        }
        for entry in self.fat.directory(cluster)?.entries {
            match entry.is_dir() {
                false => self.file(at, &entry)?,
                true if depth >= MAX_DEPTH => {
                    let path = self.folder_path(at);
                    return Err(damaged(format_args!(
                        "folders are nested too deep at “{path}”"
                    )));
                }
                true => self.folders.push(Folder {
                    parent: Some(at),
                    name: entry.name,
                    cluster: entry.cluster,
                    depth: depth + 1,
                }),
            }
        }
        Ok(())
    }

    fn file(&mut self, folder: usize, entry: &Entry) -> Result<()> {
        let len = self.visit(entry.cluster, |c| c.path(folder, &entry.name))?;
        let need = self.fat.geometry.clusters_for(u64::from(entry.size));
        if len == need {
            return Ok(());
        }
        let path = self.path(folder, &entry.name);
        Err(damaged(format_args!(
            "“{path}” has {} bytes but {len} clusters instead of {need}",
            entry.size
        )))
    }

    /// Marks the clusters of the chain that starts at `first` (0: none) and counts them.
    fn visit(&mut self, first: u32, path: impl Fn(&Self) -> String) -> Result<usize> {
        let mut count = 0;
        let mut next = (first != 0).then_some(first);
        while let Some(cluster) = next {
            next = match self.fat.table.after(cluster) {
                Ok(after) => after,
                Err(_) => {
                    let path = path(self);
                    return Err(damaged(format_args!(
                        "“{path}” leads to cluster {cluster}, which is free, bad or outside"
                    )));
                }
            };
            if std::mem::replace(&mut self.seen[cluster as usize], true) {
                let path = path(self);
                return Err(damaged(format_args!(
                    "“{path}” shares cluster {cluster} with another file, or loops"
                )));
            }
            count += 1;
        }
        Ok(count)
    }

    fn folder_path(&self, at: usize) -> String {
        let folder = &self.folders[at];
        match folder.parent {
            None => "/".into(),
            Some(parent) => self.path(parent, &folder.name),
        }
    }

    fn path(&self, folder: usize, name: &str) -> String {
        let mut parts = vec![name];
        let mut next = Some(folder);
        while let Some(at) = next {
            parts.push(&self.folders[at].name);
            next = self.folders[at].parent;
        }
        parts.reverse();
        parts.join("/")
    }
}
