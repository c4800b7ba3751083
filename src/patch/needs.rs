//! What the edits of a plan take of the root file system.

use std::collections::BTreeMap;

use super::accounts;
use super::payload::{self, LoadedPayload, Payloads};
use super::root::SKELETON;
use super::units;
use crate::error::{Result, ResultExt};
use crate::ext4::{Estimate, Ext4, FileKind, Need};
use crate::image::unit_files;
use crate::overlay::Part;
use crate::plan::{Account, Action, Content, Edit, PayloadRef};
use crate::source::TreeKind;

/// More than a line of an account file, or a `PARTUUID` that becomes longer, adds.
const ONE_LINE: u64 = 512;

/// Counts what `edits` take, with all folders above what they make. An upper bound.
pub fn count(fs: &Ext4, edits: &[&Edit], payloads: &Payloads) -> Result<Need> {
    let edits: Vec<&Edit> = edits
        .iter()
        .filter(|e| e.part == Part::Root)
        .copied()
        .collect();
    let mut counter = Counter {
        fs,
        estimate: Estimate::new(fs)?,
        brought: brought(&edits, payloads)?,
        payloads,
    };
    for edit in edits {
        counter
            .add(edit)
            .context(|| format!("{} of the root partition ({})", edit.path, edit.origin))?;
    }
    counter.rewrite("/etc/fstab", ONE_LINE)?;
    counter.estimate.total()
}

/// The files that the edits bring and whose content is at hand, by path.
fn brought<'a>(edits: &[&'a Edit], payloads: &'a Payloads) -> Result<BTreeMap<String, &'a [u8]>> {
    let mut files = BTreeMap::new();
    for edit in edits {
        match &edit.action {
            Action::Write(Content::Bytes(bytes), _) => {
                files.insert(edit.path.clone(), &**bytes);
            }
            Action::Write(Content::Payload(wanted), _) => {
                if let LoadedPayload::Bytes(bytes) = payload::find(payloads, wanted)? {
                    files.insert(edit.path.clone(), bytes.as_slice());
                }
            }
            Action::Unpack(wanted) => {
                for entry in payload::tree(payloads, wanted)? {
                    if let TreeKind::File { content } = &entry.kind {
                        let path = format!("{}/{}", edit.path, entry.path.display());
                        files.insert(path, content.as_slice());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(files)
}

struct Counter<'a> {
    fs: &'a Ext4,
    estimate: Estimate<'a>,
    brought: BTreeMap<String, &'a [u8]>,
    payloads: &'a Payloads,
}

impl Counter<'_> {
    fn add(&mut self, edit: &Edit) -> Result<()> {
        let path = edit.path.as_str();
        match &edit.action {
            Action::Write(content, _) => self.write(path, content),
            Action::Unpack(wanted) => self.unpack(path, wanted),
            Action::Directory(_) => self.estimate.directory(path),
            Action::Symlink(target) => self.estimate.symlink(path, target),
            Action::SetLine { line, .. } => self.rewrite(path, line.len() as u64 + 1),
            Action::Account(account) => self.account(account),
            Action::SystemAccount(_) => self.account_files(),
            Action::EnableUnit => self.enable(path),
            Action::MaskUnit => {
                let link = units::mask(path);
                self.estimate.symlink(&link.path, &link.target)
            }
            Action::Remove
            | Action::SetAttr(_)
            | Action::DisableUnit
            | Action::Cmdline { .. }
            | Action::ConfigTxt(_) => Ok(()),
        }
    }

    fn write(&mut self, path: &str, content: &Content) -> Result<()> {
        let len = match content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Payload(wanted) => payload::find(self.payloads, wanted)?.size(),
        };
        self.estimate.file(path, len)
    }

    fn unpack(&mut self, folder: &str, wanted: &PayloadRef) -> Result<()> {
        self.estimate.directory(folder)?;
        for entry in payload::tree(self.payloads, wanted)? {
            let path = format!("{folder}/{}", entry.path.display());
            match &entry.kind {
                TreeKind::Dir => self.estimate.directory(&path)?,
                TreeKind::File { content } => self.estimate.file(&path, content.len() as u64)?,
                TreeKind::Symlink { target } => {
                    self.estimate.symlink(&path, &target.to_string_lossy())?;
                }
            }
        }
        Ok(())
    }

    /// A file of the base that becomes at most `more` bytes longer.
    fn rewrite(&mut self, path: &str, more: u64) -> Result<()> {
        let len = self.fs.stat_target(path)?.map_or(0, |stat| stat.size);
        self.estimate.rewritten(path, len + more)
    }

    fn account(&mut self, account: &Account) -> Result<()> {
        self.account_files()?;
        let home = account.home();
        if self.fs.stat(&home)?.is_some() {
            return Ok(());
        }
        // A renamed home takes less than a new one.
        self.estimate.directory(&home)?;
        if self.fs.stat_target(SKELETON)?.is_some() {
            for entry in self.fs.read_dir(SKELETON)? {
                if entry.kind == FileKind::File {
                    let from = format!("{SKELETON}/{}", entry.name);
                    let len = self.fs.stat(&from)?.map_or(0, |stat| stat.size);
                    self.estimate.file(&format!("{home}/{}", entry.name), len)?;
                }
            }
        }
        Ok(())
    }

    fn account_files(&mut self) -> Result<()> {
        for path in accounts::FILES {
            self.rewrite(path, ONE_LINE)?;
        }
        Ok(())
    }

    fn enable(&mut self, unit: &str) -> Result<()> {
        let read = |path: &str| match self.brought.get(path) {
            Some(bytes) => Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
            None => unit_files::text(self.fs, path),
        };
        // A unit that cannot be enabled is told of when it is to be.
        let links = units::enable(&read, unit).unwrap_or_default();
        for link in links {
            self.estimate.symlink(&link.path, &link.target)?;
        }
        Ok(())
    }
}
