//! [`Ext4`]: what can be done to the files on an image.

use std::collections::BTreeSet;
use std::io::Read;

use fs_ext4::fs::UTIME_OMIT;

use super::checksum::Checksums;
use super::engine::{Engine, Failure, kind_of};
use super::gather;
use super::path::{self, Node, Place};
use super::preflight;
use super::space::{MORE_ROOM, Space};
use super::superblock::Superblock;
use crate::disk::Window;
use crate::error::{Error, Result, ResultExt};
use crate::job::Cancel;

/// Bytes given to the engine in one write: it keeps a few copies of them.
const CHUNK: usize = 8 << 20;
/// Largest file [`Ext4::read`] reads, bytes. It is for configuration, and a damaged inode can
/// claim any size.
const MAX_READ: u64 = 256 << 20;
/// Deepest directory tree [`Ext4::remove_tree`] goes into; a path can hold no more names.
const MAX_DEPTH: usize = 2048;

/// Modes of directories nobody gave a mode for.
const DIRECTORY_MODE: u32 = 0o755;

/// What kind of node an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    /// None that ext4 knows.
    Unknown,
}

impl FileKind {
    /// The kind in the upper four bits of `i_mode`.
    pub(super) fn of_mode(mode: u16) -> Self {
        match mode & 0xF000 {
            0x1000 => Self::Fifo,
            0x2000 => Self::CharDevice,
            0x4000 => Self::Directory,
            0x6000 => Self::BlockDevice,
            0x8000 => Self::File,
            0xA000 => Self::Symlink,
            0xC000 => Self::Socket,
            _ => Self::Unknown,
        }
    }
}

/// What `lstat` says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: FileKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes; of a symbolic link, the length of its target.
    pub size: u64,
    /// Unix time, seconds.
    pub mtime: i64,
    pub inode: u32,
    /// Names that lead to the inode.
    pub links: u32,
}

/// What a node is given when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Permission bits, 0 to 0o7777; a symbolic link has none of its own.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Unix time in seconds, for modification and access.
    pub mtime: i64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name; what is not UTF-8 in it is replaced.
    pub name: String,
    pub kind: FileKind,
}

/// A file system opened for editing. All paths are absolute inside it; directories on the way may
/// be symbolic links, which are followed inside the file system.
///
/// Call [`Ext4::finish`] when done: without it the file system stays marked as in use.
pub struct Ext4 {
    window: Window,
    engine: Engine,
    time: i64,
    /// Inodes that were made or whose content was changed.
    touched: BTreeSet<u32>,
}

impl Ext4 {
    /// Checks the file system (features, checksums, counts, state) and opens it. What cannot be
    /// edited is refused by name, before anything is touched.
    ///
    /// `time` (Unix time, seconds) is what inodes get as change and creation time, and directories
    /// as modification time when an entry changes.
    pub fn open(window: Window, time: i64) -> Result<Self> {
        let sb = preflight::check(&window)?.sb;
        refuse_engine_gaps(&sb)?;
        let engine = Engine::mount(&window, &sb, time)?;
        Ok(Self {
            window,
            engine,
            time,
            touched: BTreeSet::new(),
        })
    }

    /// Makes edits stop with an error when `cancel` says so.
    pub fn stop_at(&mut self, cancel: Cancel) {
        self.engine.stop_at(cancel);
    }

    /// What `lstat` says of `path`; `None` when there is nothing.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>> {
        Ok(path::find(&self.engine, path, false)?.map(|node| stat_of(&node)))
    }

    /// What `stat` says of `path`, symbolic links followed; `None` when they lead to nothing.
    pub fn stat_target(&self, path: &str) -> Result<Option<Stat>> {
        Ok(path::find(&self.engine, path, true)?.map(|node| stat_of(&node)))
    }

    /// The content of the file at `path`; symbolic links are followed.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        const WHAT: &str = "reading";
        let node = path::require(&self.engine, path, true, WHAT)?;
        if node.kind() != FileKind::File {
            return Err(fail(WHAT, path, "it is not a regular file"));
        }
        let size = node.inode.size;
        if size > MAX_READ {
            return Err(fail(
                WHAT,
                path,
                format_args!("{size} bytes are too many to read at once"),
            ));
        }
        let mut content = vec![0; size as usize];
        let got = self
            .engine
            .ask(|fs| fs.read_ino(node.number, 0, &mut content))
            .map_err(|failure| self.engine.explain(failure, WHAT, path))?;
        if got != content.len() {
            return Err(fail(
                WHAT,
                path,
                format_args!("only {got} of {size} bytes can be read"),
            ));
        }
        Ok(content)
    }

    /// The target of the symbolic link at `path`, as it is stored.
    pub fn read_link(&self, path: &str) -> Result<String> {
        const WHAT: &str = "reading the symbolic link";
        let node = path::require(&self.engine, path, false, WHAT)?;
        if node.kind() != FileKind::Symlink {
            return Err(fail(WHAT, path, "it is not a symbolic link"));
        }
        let target = self
            .engine
            .ask(|fs| fs.read_link_ino(node.number))
            .map_err(|failure| self.engine.explain(failure, WHAT, path))?;
        String::from_utf8(target).map_err(|_| fail(WHAT, path, "its target is not UTF-8"))
    }

    /// What is in the directory at `path` (followed), by name, without `.` and `..`.
    pub fn read_dir(&self, path: &str) -> Result<Vec<Entry>> {
        const WHAT: &str = "listing";
        let node = path::require(&self.engine, path, true, WHAT)?;
        if node.kind() != FileKind::Directory {
            return Err(fail(WHAT, path, "it is not a directory"));
        }
        let mut entries = Vec::new();
        for (name, number) in self.names_in(node.number, WHAT, path)? {
            let inode = self
                .engine
                .ask(|fs| fs.stat_ino(number))
                .map_err(|failure| self.engine.explain(failure, WHAT, path))?;
            entries.push(Entry {
                name: String::from_utf8_lossy(&name).into_owned(),
                kind: kind_of(&inode),
            });
        }
        entries.sort();
        Ok(entries)
    }

    /// Makes a file of the `len` bytes that `content` gives. A file or symbolic link that is there
    /// is replaced as a whole (other hard links to it keep the old content); a directory in the
    /// way is an error. The directory must exist.
    pub fn write_file(
        &mut self,
        path: &str,
        content: &mut dyn Read,
        len: u64,
        attr: &Attr,
    ) -> Result<()> {
        const WHAT: &str = "writing";
        let place = self.vacate(path, WHAT)?;
        self.check_room(len, WHAT, path)?;
        let number = self.change(WHAT, path, |fs| {
            fs.apply_create_at(place.parent, &place.name, 0o600)
        })?;
        self.date(place.parent, WHAT, path)?;
        self.fill(number, content, len, WHAT, path)?;
        self.apply(number, FileKind::File, attr, WHAT, path)
    }

    /// Gives the file at `path` (symbolic links are followed) another content and modification time
    /// (Unix time, seconds). All else stays as it is: inode and names, owner, mode and extended
    /// attributes, access control lists among them.
    pub fn rewrite(&mut self, path: &str, content: &[u8], mtime: i64) -> Result<()> {
        const WHAT: &str = "rewriting";
        let node = path::require(&self.engine, path, true, WHAT)?;
        if node.kind() != FileKind::File {
            return Err(fail(WHAT, path, "it is not a regular file"));
        }
        let (number, len) = (node.number, content.len() as u64);
        self.check_room(len, WHAT, path)?;
        self.touched.insert(number);
        self.change(WHAT, path, |fs| fs.apply_truncate_ino(number, 0))?;
        self.engine.freed();
        self.fill(number, &mut &content[..], len, WHAT, path)?;
        self.change(WHAT, path, |fs| {
            fs.apply_utimens_ino(number, 0, UTIME_OMIT, mtime, 0)
        })
    }

    /// Writes the `len` bytes that `content` gives into the empty file `number`.
    fn fill(
        &mut self,
        number: u32,
        content: &mut dyn Read,
        len: u64,
        what: &str,
        path: &str,
    ) -> Result<()> {
        let mut buffer = vec![0; CHUNK.min(len as usize)];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(CHUNK as u64) as usize;
            let chunk = &mut buffer[..n];
            content.read_exact(chunk).context(|| {
                format!("ext4: {what} {path} failed: its content has no {len} bytes")
            })?;
            self.change(what, path, |fs| fs.apply_pwrite_ino(number, done, chunk))?;
            done += n as u64;
        }
        Ok(())
    }

    /// Makes an empty directory; its parent must exist, it must not.
    pub fn make_dir(&mut self, path: &str, attr: &Attr) -> Result<()> {
        const WHAT: &str = "making the directory";
        let place = path::place(&self.engine, path, WHAT)?;
        if place.node.is_some() {
            return Err(fail(WHAT, path, "it exists"));
        }
        self.make_dir_at(&place, attr, path)
    }

    /// Makes the directory `path` and those above it that are missing, mode 0755, owner 0:0, dated
    /// as the file system was opened. What is there stays as it is.
    pub fn make_dirs(&mut self, path: &str) -> Result<()> {
        const WHAT: &str = "making the directory";
        let attr = Attr {
            mode: DIRECTORY_MODE,
            uid: 0,
            gid: 0,
            mtime: self.time,
        };
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            let prefix = &path[..end];
            if prefix.ends_with('/') || prefix.is_empty() {
                continue;
            }
            match path::find(&self.engine, prefix, true)? {
                Some(node) if node.kind() == FileKind::Directory => {}
                Some(_) => return Err(fail(WHAT, prefix, "something else is in the way")),
                None => {
                    let place = path::place(&self.engine, prefix, WHAT)?;
                    if place.node.is_some() {
                        return Err(fail(WHAT, prefix, "a dangling symbolic link is in the way"));
                    }
                    self.make_dir_at(&place, &attr, prefix)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a symbolic link to `target`, which need not exist. Replaces a file or symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str, attr: &Attr) -> Result<()> {
        const WHAT: &str = "making the symbolic link";
        let place = self.vacate(path, WHAT)?;
        let number = self.change(WHAT, path, |fs| {
            fs.apply_symlink_at(place.parent, &place.name, target.as_bytes())
        })?;
        self.date(place.parent, WHAT, path)?;
        self.apply(number, FileKind::Symlink, attr, WHAT, path)
    }

    /// Makes `new` another name of the file `existing` (not followed); nothing may be at `new`.
    pub fn hard_link(&mut self, existing: &str, new: &str) -> Result<()> {
        const WHAT: &str = "hard linking";
        let node = path::require(&self.engine, existing, false, WHAT)?;
        let place = path::place(&self.engine, new, WHAT)?;
        if place.node.is_some() {
            return Err(fail(WHAT, new, "it exists"));
        }
        self.change(WHAT, new, |fs| {
            fs.apply_link_at(node.number, place.parent, &place.name)
        })?;
        self.date(place.parent, WHAT, new)
    }

    /// Removes a file, a symbolic link or an empty directory.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        const WHAT: &str = "removing";
        let place = path::place(&self.engine, path, WHAT)?;
        let Some(node) = &place.node else {
            return Err(fail(WHAT, path, "there is no such file on the image"));
        };
        let is_dir = node.kind() == FileKind::Directory;
        self.unlink(place.parent, &place.name, is_dir, WHAT, path)
    }

    /// Removes whatever is at `path`, with everything below it.
    pub fn remove_tree(&mut self, path: &str) -> Result<()> {
        const WHAT: &str = "removing";
        let place = path::place(&self.engine, path, WHAT)?;
        let Some(node) = &place.node else {
            return Err(fail(WHAT, path, "there is no such file on the image"));
        };
        if node.kind() != FileKind::Directory {
            return self.unlink(place.parent, &place.name, false, WHAT, path);
        }
        // Depth first with a stack of our own: (directory above, name, number, visited).
        let mut stack = vec![(place.parent, place.name.clone(), node.number, false)];
        let mut above = Vec::new();
        while let Some((parent, name, number, visited)) = stack.pop() {
            if visited {
                above.pop();
                self.unlink(parent, &name, true, WHAT, path)?;
                continue;
            }
            if above.contains(&number) || above.len() >= MAX_DEPTH {
                return Err(fail(WHAT, path, "its directories go round in a circle"));
            }
            above.push(number);
            stack.push((parent, name, number, true));
            for (name, child) in self.names_in(number, WHAT, path)? {
                let inode = self
                    .engine
                    .ask(|fs| fs.stat_ino(child))
                    .map_err(|failure| self.engine.explain(failure, WHAT, path))?;
                if kind_of(&inode) == FileKind::Directory {
                    stack.push((number, name, child, false));
                } else {
                    self.unlink(number, &name, false, WHAT, path)?;
                }
            }
        }
        Ok(())
    }

    /// Moves a file or directory with everything below it, without copying. A file or symbolic
    /// link at `to` is replaced; a directory must not be there.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        const WHAT: &str = "renaming";
        let source = path::place(&self.engine, from, WHAT)?;
        let Some(node) = &source.node else {
            return Err(fail(WHAT, from, "there is no such file on the image"));
        };
        let target = path::place(&self.engine, to, WHAT)?;
        match &target.node {
            Some(there) if there.number == node.number && there.real_path() == node.real_path() => {
                return Ok(());
            }
            Some(there) if there.kind() == FileKind::Directory => {
                return Err(fail(WHAT, to, "there is a directory already"));
            }
            Some(_) if node.kind() == FileKind::Directory => {
                return Err(fail(WHAT, to, "there is a file already"));
            }
            _ => {}
        }
        self.engine
            .rename((source.parent, &source.name), (target.parent, &target.name))
            .map_err(|failure| self.engine.explain(failure, WHAT, from))?;
        if target.node.is_some() {
            self.engine.freed();
        }
        // A directory has its parent's number in it.
        self.touched.insert(node.number);
        self.date(source.parent, WHAT, from)?;
        self.date(target.parent, WHAT, to)
    }

    /// Gives what is at `path` (not followed) another mode, owner and time.
    pub fn set_attr(&mut self, path: &str, attr: &Attr) -> Result<()> {
        const WHAT: &str = "setting the attributes of";
        let node = path::require(&self.engine, path, false, WHAT)?;
        self.apply(node.number, node.kind(), attr, WHAT, path)
    }

    /// Sets an extended attribute by its full name (`user.…`, `security.capability`, …).
    pub fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        const WHAT: &str = "setting an extended attribute of";
        let node = path::require(&self.engine, path, false, WHAT)?;
        let Some(real) = node.real_path() else {
            return Err(fail(WHAT, path, "its real path is not UTF-8"));
        };
        if !Superblock::read(&self.window)?.has_xattrs() {
            return Err(fail(WHAT, path, "the file system is made without ext_attr"));
        }
        self.change(WHAT, path, |fs| fs.apply_setxattr(&real, name, value))
    }

    /// What is free.
    pub fn space(&self) -> Result<Space> {
        let mut space = Space::of(&Superblock::read(&self.window)?);
        space.free_blocks += self.engine.fenced_blocks();
        Ok(space)
    }

    /// Puts the file system away: clean as it was found, and checked once more.
    pub fn finish(self) -> Result<()> {
        if let Some(room) = self.engine.finish()? {
            gather::gather(&self.window, &self.touched, &room)
                .context(|| "ext4: putting together what was changed".into())?;
        }
        preflight::check(&self.window).map_err(|error| {
            error.context(
                "the ext4 file system does not hold together after editing it (this is a bug)",
            )
        })?;
        Ok(())
    }

    /// The place `path`, with the file or symbolic link that was there removed.
    fn vacate(&mut self, path: &str, what: &str) -> Result<Place> {
        let place = path::place(&self.engine, path, what)?;
        match place.node.as_ref().map(Node::kind) {
            Some(FileKind::Directory) => Err(fail(what, path, "there is a directory already")),
            Some(_) => {
                self.unlink(place.parent, &place.name, false, what, path)?;
                Ok(place)
            }
            None => Ok(place),
        }
    }

    /// Says how much is missing before a file is begun that cannot be finished.
    fn check_room(&self, len: u64, what: &str, path: &str) -> Result<()> {
        let space = self.space()?;
        let needed = len.div_ceil(space.block_size);
        if needed > space.free_blocks {
            return Err(fail(
                what,
                path,
                format_args!(
                    "the file system is full: needs {len} bytes, has {}",
                    space.free_bytes()
                ),
            )
            .with_hint(MORE_ROOM));
        }
        Ok(())
    }

    fn make_dir_at(&mut self, place: &Place, attr: &Attr, path: &str) -> Result<()> {
        const WHAT: &str = "making the directory";
        let number = self.change(WHAT, path, |fs| {
            fs.apply_mkdir_at(place.parent, &place.name, DIRECTORY_MODE as u16)
        })?;
        self.date(place.parent, WHAT, path)?;
        self.apply(number, FileKind::Directory, attr, WHAT, path)
    }

    /// Owner first: a change of owner takes the setuid bit away. Times last: all else touches them.
    fn apply(
        &mut self,
        number: u32,
        kind: FileKind,
        attr: &Attr,
        what: &str,
        path: &str,
    ) -> Result<()> {
        if attr.mode > 0o7777 {
            return Err(fail(
                what,
                path,
                format_args!("{:#o} is no file mode", attr.mode),
            ));
        }
        self.touched.insert(number);
        self.change(what, path, |fs| {
            fs.apply_chown_ino(number, attr.uid, attr.gid)
        })?;
        if kind != FileKind::Symlink {
            self.change(what, path, |fs| {
                fs.apply_chmod_ino(number, attr.mode as u16)
            })?;
        }
        self.change(what, path, |fs| {
            fs.apply_utimens_ino(number, attr.mtime, 0, attr.mtime, 0)
        })
    }

    fn unlink(
        &mut self,
        parent: u32,
        name: &[u8],
        is_dir: bool,
        what: &str,
        path: &str,
    ) -> Result<()> {
        self.change(what, path, |fs| {
            if is_dir {
                fs.apply_rmdir_at(parent, name)
            } else {
                fs.apply_unlink_at(parent, name)
            }
        })?;
        self.engine.freed();
        self.date(parent, what, path)
    }

    /// Dates a directory in which a name came or went: the engine, unlike the kernel, does not.
    fn date(&mut self, directory: u32, what: &str, path: &str) -> Result<()> {
        let time = self.time;
        self.touched.insert(directory);
        self.change(what, path, |fs| {
            fs.apply_utimens_ino(directory, 0, UTIME_OMIT, time, 0)
        })
    }

    /// Names and inode numbers in a directory, as they lie on disk, without `.` and `..`.
    fn names_in(&self, number: u32, what: &str, path: &str) -> Result<Vec<(Vec<u8>, u32)>> {
        let entries = self
            .engine
            .ask(|fs| fs.read_dir_ino(number))
            .map_err(|failure| self.engine.explain(failure, what, path))?;
        Ok(entries
            .into_iter()
            .filter(|entry| entry.name != b"." && entry.name != b"..")
            .map(|entry| (entry.name, entry.inode))
            .collect())
    }

    fn change<T>(
        &mut self,
        what: &str,
        path: &str,
        change: impl Fn(&fs_ext4::Filesystem) -> fs_ext4::Result<T>,
    ) -> Result<T> {
        self.engine
            .change(change)
            .map_err(|failure: Failure| self.engine.explain(failure, what, path))
    }
}

/// The engine looks for the checksum of an extent block in its last four bytes. With blocks of
/// 2 KiB it is in the four before: 12 bytes of header and 169 entries of 12 end there.
fn refuse_engine_gaps(sb: &Superblock) -> Result<()> {
    if sb.block_size() == 2048 && matches!(sb.checksums(), Checksums::All { .. }) {
        return Err(Error::refused(
            "imgbuild cannot edit ext4 file systems with both metadata_csum and blocks of 2 KiB",
        )
        .with_hint("use a base image with blocks of 4 KiB, as Raspberry Pi OS has"));
    }
    Ok(())
}

fn stat_of(node: &Node) -> Stat {
    Stat {
        kind: node.kind(),
        mode: u32::from(node.inode.mode & 0o7777),
        uid: node.inode.uid,
        gid: node.inode.gid,
        size: node.inode.size,
        mtime: node.inode.mtime,
        inode: node.number,
        links: u32::from(node.inode.links_count),
    }
}

fn fail(what: &str, path: &str, why: impl std::fmt::Display) -> Error {
    Error::failed(format!("ext4: {what} {path} failed: {why}"))
}
