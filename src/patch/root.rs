//! Edits of the root file system.

use super::accounts::{self, AccountFiles};
use super::made::Made;
use super::options::PatchOptions;
use super::{payload, system_accounts, units};
use crate::disk::partition_table::NewIds;
use crate::error::{Error, Result, ResultExt};
use crate::ext4::{Attr as FsAttr, Ext4, FileKind};
use crate::image::unit_files;
use crate::plan::{Account, Action, Attr, Content, Edit, PayloadRef, SystemAccount};
use crate::source::TreeKind;

const SECONDS_PER_DAY: i64 = 86_400;
/// What a new home folder begins with.
pub const SKELETON: &str = "/etc/skel";

/// Files that nobody but root reads where the base does not say otherwise.
const SECRET: &[&str] = &["/etc/shadow", "/etc/gshadow"];

/// Folders in folders of a home that is moved: nobody's is deeper in a base.
const MAX_HOME_DEPTH: usize = 32;

/// Carries out edits on an open root file system.
pub struct RootEditor<'a> {
    fs: Ext4,
    time: i64,
    options: &'a PatchOptions<'a>,
    made: Made,
}

impl<'a> RootEditor<'a> {
    pub fn new(fs: Ext4, time: i64, options: &'a PatchOptions<'a>) -> Self {
        Self {
            fs,
            time,
            options,
            made: Made::default(),
        }
    }

    /// Finishes the file system. Returns the paths that were touched.
    pub fn finish(self) -> Result<Made> {
        self.fs.finish()?;
        Ok(self.made)
    }

    /// Carries out one edit.
    pub fn apply(&mut self, edit: &Edit) -> Result<()> {
        let path = edit.path.as_str();
        match &edit.action {
            Action::Write(Content::Bytes(bytes), attr) => {
                if bytes.is_secret() {
                    self.made.secret(path);
                }
                self.write(path, bytes, *attr)
            }
            Action::Write(Content::Payload(wanted), attr) => {
                self.write_payload(path, wanted, *attr)
            }
            Action::Unpack(wanted) => self.unpack(path, wanted),
            Action::Directory(attr) => self.directory(path, *attr),
            Action::Symlink(target) => self.symlink(path, target),
            Action::Remove => self.remove(path),
            Action::SetAttr(attr) => {
                self.made.add(path);
                self.fs.set_attr(path, &self.attr(*attr))
            }
            Action::SetLine { prefix, line } => self.set_line(path, prefix, line),
            Action::Account(account) => self.account(account),
            Action::SystemAccount(account) => self.system_account(account),
            Action::EnableUnit => self.enable(path),
            Action::DisableUnit => self.disable(path),
            Action::MaskUnit => {
                let link = units::mask(path);
                self.symlink(&link.path, &link.target)
            }
            Action::Cmdline { .. } | Action::ConfigTxt(_) => Err(Error::failed(
                "cmdline.txt and config.txt are on the boot partition",
            )),
        }
    }

    /// Names partitions in fstab by their new ids.
    pub fn rename_partitions(&mut self, new_ids: &NewIds) -> Result<()> {
        const FSTAB: &str = "/etc/fstab";
        if new_ids.is_empty() {
            return Ok(());
        }
        let before = self.text(FSTAB)?;
        self.set_text(FSTAB, &before, &new_ids.replace_in(&before))
    }

    fn attr(&self, attr: Attr) -> FsAttr {
        FsAttr {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            mtime: self.time,
        }
    }

    fn make_parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => self.make_folders(parent),
            _ => Ok(()),
        }
    }

    /// Makes `folder` and those above it, as far as they are missing.
    fn make_folders(&mut self, folder: &str) -> Result<()> {
        let mut missing = folder;
        while !missing.is_empty() && self.fs.stat_target(missing)?.is_none() {
            self.made.add(missing);
            missing = missing.rsplit_once('/').map_or("", |(above, _)| above);
        }
        self.fs.make_dirs(folder)
    }

    fn write(&mut self, path: &str, bytes: &[u8], attr: Attr) -> Result<()> {
        self.make_parents(path)?;
        self.made.add(path);
        let attr = self.attr(attr);
        self.fs
            .write_file(path, &mut &bytes[..], bytes.len() as u64, &attr)
    }

    fn write_payload(&mut self, path: &str, wanted: &PayloadRef, attr: Attr) -> Result<()> {
        let payload = payload::find(self.options.payloads, wanted)?;
        let (mut content, len) = payload.open()?;
        self.make_parents(path)?;
        self.made.add(path);
        let attr = self.attr(attr);
        self.fs.write_file(path, &mut content, len, &attr)
    }

    fn unpack(&mut self, folder: &str, wanted: &PayloadRef) -> Result<()> {
        let entries = payload::tree(self.options.payloads, wanted)?;
        self.make_folders(folder)?;
        for entry in entries {
            self.options.cancel.check()?;
            let path = format!("{folder}/{}", entry.path.display());
            let attr = Attr::root(entry.mode);
            match &entry.kind {
                TreeKind::Dir => self.directory(&path, attr),
                TreeKind::File { content } => self.write(&path, content, attr),
                TreeKind::Symlink { target } => self.symlink(&path, &target.to_string_lossy()),
            }
            .context(|| format!("unpacking {path}"))?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str, attr: Attr) -> Result<()> {
        self.made.add(path);
        let attr = self.attr(attr);
        match self.fs.stat(path)? {
            Some(stat) if stat.kind == FileKind::Directory => self.fs.set_attr(path, &attr),
            Some(_) => Err(Error::failed(format!(
                "{path} is to be a folder, but the base has something else there"
            ))),
            None => {
                self.make_parents(path)?;
                self.fs.make_dir(path, &attr)
            }
        }
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.make_parents(path)?;
        self.made.add(path);
        let attr = self.attr(Attr::root(0o777));
        self.fs.symlink(path, target, &attr)
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        self.made.add(path);
        match self.fs.stat(path)? {
            Some(_) => self.fs.remove(path),
            None => Ok(()),
        }
    }

    /// The text of the file that `path` leads to; a missing one is empty.
    fn text(&self, path: &str) -> Result<String> {
        if self.fs.stat_target(path)?.is_none() {
            return Ok(String::new());
        }
        String::from_utf8(self.fs.read(path)?)
            .map_err(|_| Error::failed(format!("{path} of the base is not UTF-8 text")))
    }

    /// Edits a text as `usermod` does: behind a symbolic link it is the file it leads to that changes,
    /// and owner, mode, extended attributes and access control lists stay. A missing file is made,
    /// also in the place of a link that leads to nothing.
    fn set_text(&mut self, path: &str, before: &str, after: &str) -> Result<()> {
        if after == before {
            return Ok(());
        }
        if SECRET.contains(&path) {
            self.made.secret(path);
        }
        self.made.through(path);
        match self.fs.stat_target(path)? {
            Some(_) => self.fs.rewrite(path, after.as_bytes(), self.time),
            None => {
                let mode = if SECRET.contains(&path) { 0o600 } else { 0o644 };
                self.write(path, after.as_bytes(), Attr::root(mode))
            }
        }
    }

    fn set_line(&mut self, path: &str, prefix: &str, line: &str) -> Result<()> {
        let before = self.text(path)?;
        self.set_text(path, &before, &set_line(&before, prefix, line))
    }

    fn account(&mut self, account: &Account) -> Result<()> {
        let day = self.time / SECONDS_PER_DAY;
        let before = self.edit_accounts(|files| accounts::apply(files, account, day))?;
        self.home(account, before.home.as_deref())
    }

    fn system_account(&mut self, account: &SystemAccount) -> Result<()> {
        let day = self.time / SECONDS_PER_DAY;
        self.edit_accounts(|files| system_accounts::apply(files, account, day))
    }

    fn edit_accounts<T>(
        &mut self,
        change: impl FnOnce(&mut AccountFiles) -> Result<T>,
    ) -> Result<T> {
        let mut texts = Vec::new();
        for path in accounts::FILES {
            texts.push(self.text(path)?);
        }
        let text = |i: usize| texts.get(i).cloned().unwrap_or_default();
        if text(0).is_empty() {
            return Err(Error::failed("the base has no /etc/passwd")
                .with_hint("its second partition is not the root file system of a Linux"));
        }
        let mut files = AccountFiles {
            passwd: text(0),
            shadow: text(1),
            group: text(2),
            gshadow: text(3),
            subuid: text(4),
            subgid: text(5),
        };
        let done = change(&mut files)?;
        let after = [
            files.passwd,
            files.shadow,
            files.group,
            files.gshadow,
            files.subuid,
            files.subgid,
        ];
        for ((path, new), old) in accounts::FILES.into_iter().zip(after).zip(texts) {
            self.set_text(path, &old, &new)?;
        }
        Ok(done)
    }

    /// The home folder keeps what the base's user had, or starts from /etc/skel.
    fn home(&mut self, account: &Account, before: Option<&str>) -> Result<()> {
        let home = account.home();
        if self.fs.stat(&home)?.is_some() {
            return Ok(());
        }
        if let Some(before) = before
            && self.fs.stat(before)?.is_some()
        {
            self.fs.rename(before, &home)?;
            return self.add_moved(before, &home, 0);
        }
        let owner = |mode| Attr {
            mode,
            uid: account.uid,
            gid: account.gid,
        };
        self.directory(&home, owner(0o755))?;
        if self.fs.stat(SKELETON)?.is_none() {
            return Ok(());
        }
        for entry in self.fs.read_dir(SKELETON)? {
            if entry.kind == FileKind::File {
                let bytes = self.fs.read(&format!("{SKELETON}/{}", entry.name))?;
                self.write(&format!("{home}/{}", entry.name), &bytes, owner(0o644))?;
            }
        }
        Ok(())
    }

    /// Notes all that was in the folder `from` and is in `to`.
    fn add_moved(&mut self, from: &str, to: &str, depth: usize) -> Result<()> {
        self.made.add(from);
        self.made.add(to);
        if depth > MAX_HOME_DEPTH {
            return Ok(());
        }
        for entry in self.fs.read_dir(to)? {
            let (from, to) = (
                format!("{from}/{}", entry.name),
                format!("{to}/{}", entry.name),
            );
            match entry.kind {
                FileKind::Directory => self.add_moved(&from, &to, depth + 1)?,
                _ => {
                    self.made.add(&from);
                    self.made.add(&to);
                }
            }
        }
        Ok(())
    }

    fn enable(&mut self, unit: &str) -> Result<()> {
        let is_there = |path: &str| Ok(self.fs.stat(path)?.is_some());
        if let Some(file) = unit_files::find(&is_there, unit)?
            && unit_files::is_mask(&self.fs, &file)?
        {
            return Err(Error::failed(format!(
                "{unit} cannot be enabled: it is masked in the base ({file})"
            ))
            .with_hint(format!(
                "unmask it in the base, or let a role remove {file}"
            )));
        }
        for link in units::enable(&|path| unit_files::text(&self.fs, path), unit)? {
            self.symlink(&link.path, &link.target)?;
        }
        Ok(())
    }

    fn disable(&mut self, unit: &str) -> Result<()> {
        for path in units::disable(&self.fs, unit)? {
            self.made.add(&path);
            self.fs.remove(&path)?;
        }
        Ok(())
    }
}

/// The first line that begins with `prefix`, also as a comment, becomes `line`.
fn set_line(text: &str, prefix: &str, line: &str) -> String {
    let is_it = |l: &&str| l.trim_start_matches(['#', ' ']).starts_with(prefix);
    let Some(index) = text.lines().position(|l| is_it(&l)) else {
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return format!("{text}{gap}{line}\n");
    };
    text.lines()
        .enumerate()
        .map(|(i, old)| format!("{}\n", if i == index { line } else { old }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::set_line;

    #[test]
    fn lines_are_replaced_uncommented_or_added() {
        assert_eq!(
            set_line(
                "# en_GB.UTF-8 UTF-8\nx\n",
                "en_GB.UTF-8 UTF-8",
                "en_GB.UTF-8 UTF-8"
            ),
            "en_GB.UTF-8 UTF-8\nx\n"
        );
        assert_eq!(
            set_line("A=1\nK=\"us\"\n", "K=", "K=\"gb\""),
            "A=1\nK=\"gb\"\n"
        );
        assert_eq!(set_line("A=1", "K=", "K=2"), "A=1\nK=2\n");
        assert_eq!(set_line("", "K=", "K=2"), "K=2\n");
    }
}
