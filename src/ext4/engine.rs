//! The only file that knows the engine: the crate `rust-fs-ext4`, pinned to one version because
//! its allocation decides our output bytes.
//!
//! What it needs to be worked around, each kept true by a test in `tests/ext4.rs`:
//! - It takes the free counts of groups from when it was mounted, so it overlooks what has been
//!   freed since: when it says "full", it is mounted anew and asked again. The same counts are
//!   one of the handles for `steering.rs`.
//! - Its rename within one directory fails when the directory's extent tree must grow a level for
//!   the new name: it then looks for the old name through a tree node it has not written yet. The
//!   new name is made and unmade first, which makes the room by a way that works.
//! - Its rename of a directory looks for `..` above the new place, and does not find it in a directory
//!   that Linux itself has given an index: four reserved bytes at the end of the root of the index,
//!   left over from before, let it take the root for damaged. They are made zero first, which is what
//!   they are to be.
//! - It says "full" and "fragmented" as "corrupt": translated here.
//! - It is large and young: a panic inside it is caught here, as the last resort, and ends the
//!   edit with an error instead of the program.

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fs_ext4::Filesystem;
use fs_ext4::bgd::BgdFlags;
use fs_ext4::error::{Error as EngineError, Result as EngineResult};
use fs_ext4::inode::{Inode, InodeFlags};
use fs_ext4::runtime::Runtime;

use super::bytes::le32;
use super::checksum::crc32c;
use super::journal_shim::JournalShim;
use super::space::MORE_ROOM;
use super::steering::{Missing, Steering};
use super::superblock::Superblock;
use crate::disk::{Window, is_zero};
use crate::error::{Error, Result};
use crate::job::Cancel;

/// Inode number of the root directory.
pub(super) const ROOT: u32 = 2;

/// The time and the inode generations the engine uses: given and counted, never the clock.
struct Fixed {
    time: i64,
    salt: u32,
    sequence: AtomicU32,
}

impl Runtime for Fixed {
    fn now_unix_seconds(&self) -> i64 {
        self.time
    }

    /// Derived from the file system's UUID and how many inodes were made before.
    fn next_inode_generation(&self) -> u32 {
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        crc32c(self.salt, &number.to_le_bytes())
    }
}

/// A mounted file system. All access to the engine goes through here.
pub(super) struct Engine {
    window: Window,
    runtime: Arc<Fixed>,
    mounted: Option<Filesystem>,
    /// Set once the engine has panicked: nothing it knows can be trusted any more.
    broken: Cell<bool>,
    /// Where it may put things; `None` until it first changes something.
    steering: Option<Steering>,
    /// Whether blocks or inodes were freed since it was mounted, which it does not know of.
    freed: bool,
    cancel: Cancel,
}

/// Why an engine call did not give what was asked for.
pub(super) enum Failure {
    /// The engine's own word.
    Engine(EngineError),
    /// The user wants to stop.
    Stopped(Error),
    /// It panicked, or had done so before.
    Panic(String),
}

impl Failure {
    /// There is no such entry.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Engine(EngineError::NotFound))
    }

    /// What there was no room for, when it was that.
    fn missing(&self) -> Option<Missing> {
        match self {
            Self::Engine(EngineError::NoSpaceLeftOnDevice) => Some(Missing::Blocks),
            Self::Engine(EngineError::Corrupt(message)) => {
                if message.contains("has a free inode") {
                    Some(Missing::Inodes)
                } else {
                    message
                        .contains("contiguous free run")
                        .then_some(Missing::Blocks)
                }
            }
            _ => None,
        }
    }

    /// Defect of the rename (see the head of this file).
    fn is_rename_defect(&self) -> bool {
        matches!(self, Self::Engine(EngineError::CorruptExtentTree(_)))
    }
}

impl Engine {
    /// Mounts the file system that `sb` (checked) describes.
    pub(super) fn mount(window: &Window, sb: &Superblock, time: i64) -> Result<Self> {
        let runtime = Arc::new(Fixed {
            time,
            salt: crc32c(!0, &sb.uuid()),
            sequence: AtomicU32::new(0),
        });
        let mut engine = Self {
            window: window.clone(),
            runtime,
            mounted: None,
            broken: Cell::new(false),
            steering: None,
            freed: false,
            cancel: Cancel::default(),
        };
        engine
            .remount()
            .map_err(|failure| engine.explain(failure, "opening", "/"))?;
        Ok(engine)
    }

    fn remount(&mut self) -> Result<(), Failure> {
        self.unmount()?;
        if let Some(steering) = &mut self.steering {
            steering.raise(&self.window).map_err(ours)?;
        }
        let sb = Superblock::read(&self.window).map_err(ours)?;
        let shim = Arc::new(JournalShim::new(self.window.clone(), &sb));
        let runtime = self.runtime.clone();
        let mut fs = guarded(&self.broken, || {
            Filesystem::mount_with_runtime(shim, runtime)
        })?;
        self.freed = false;
        if let Some(steering) = &self.steering {
            for (number, group) in fs.groups.iter_mut().enumerate() {
                if steering.hides_inodes(number as u64) {
                    group.free_inodes_count = 0;
                }
                if steering.hides_uninit() && group.flags().contains(BgdFlags::BLOCK_UNINIT) {
                    group.free_blocks_count = 0;
                }
            }
        }
        self.mounted = Some(fs);
        Ok(())
    }

    /// Puts the file system away, with all that is free in it shown as free.
    fn unmount(&mut self) -> Result<(), Failure> {
        if let Some(fs) = self.mounted.take() {
            guarded(&self.broken, || fs.finish())?;
        }
        match &mut self.steering {
            Some(steering) => steering.lower(&self.window).map_err(ours),
            None => Ok(()),
        }
    }

    /// Free blocks that the superblock does not count while the engine works.
    pub(super) fn fenced_blocks(&self) -> u64 {
        let steering = self.steering.as_ref();
        steering.map_or(0, Steering::fenced_blocks)
    }

    /// Asks the engine something that changes nothing.
    pub(super) fn ask<T>(
        &self,
        what: impl FnOnce(&Filesystem) -> EngineResult<T>,
    ) -> Result<T, Failure> {
        match &self.mounted {
            Some(fs) => guarded(&self.broken, || what(fs)),
            None => Err(Failure::Panic("it is not mounted".into())),
        }
    }

    /// Makes changes stop when `cancel` says so.
    pub(super) fn stop_at(&mut self, cancel: Cancel) {
        self.cancel = cancel;
    }

    /// Has the engine change something; each change is done wholly or not at all.
    pub(super) fn change<T>(
        &mut self,
        what: impl Fn(&Filesystem) -> EngineResult<T>,
    ) -> Result<T, Failure> {
        if self.steering.is_none() {
            self.unmount()?;
            self.steering = Some(Steering::plan(&self.window).map_err(ours)?);
            self.remount()?;
        }
        loop {
            self.cancel.check().map_err(Failure::Stopped)?;
            let failure = match self.ask(&what) {
                Err(failure) => failure,
                done => return done,
            };
            let Some(missing) = failure.missing() else {
                return Err(failure);
            };
            if !self.has_more(missing) {
                return Err(failure);
            }
            self.remount()?;
        }
    }

    /// Whether there is room that the engine was not shown yet, which it will be when it is mounted
    /// anew. What was freed is told once and the steering widens a limited number of times, so
    /// asking again until this is false comes to an end.
    fn has_more(&mut self, missing: Missing) -> bool {
        let steering = self.steering.as_mut();
        let widened = steering.is_some_and(|steering| steering.widen(missing));
        std::mem::take(&mut self.freed) || widened
    }

    /// Says that blocks or inodes have been freed, once they are: a mount in between would not know.
    pub(super) fn freed(&mut self) {
        self.freed = true;
    }

    /// Moves the entry `from` (directory, name) to `to`; replaces a file that is there.
    pub(super) fn rename(&mut self, from: (u32, &[u8]), to: (u32, &[u8])) -> Result<(), Failure> {
        let rename = |fs: &Filesystem| fs.apply_rename_at(from.0, from.1, to.0, to.1, true);
        self.change(|fs| clean_index_roots(fs, to.0))?;
        match self.change(rename) {
            Err(failure) if failure.is_rename_defect() => {
                self.change(|fs| fs.apply_create_at(to.0, to.1, 0o600))?;
                self.change(|fs| fs.apply_unlink_at(to.0, to.1))?;
                self.change(rename)
            }
            other => other,
        }
    }

    /// Ends the edit. Returns the blocks that new data was put into, empty when that is anywhere;
    /// `None` when nothing was changed.
    pub(super) fn finish(mut self) -> Result<Option<Vec<Range<u64>>>> {
        self.unmount()
            .map_err(|failure| self.explain(failure, "finishing", "/"))?;
        Ok(self.steering.map(|steering| steering.open().to_vec()))
    }

    /// The error of doing `what` (a verb in -ing form) to `path`.
    pub(super) fn explain(&self, failure: Failure, what: &str, path: &str) -> Error {
        let full = failure.missing().is_some();
        let message = format!("ext4: {what} {path}");
        match failure {
            _ if full => self.full(&message),
            Failure::Stopped(error) => error,
            Failure::Engine(EngineError::Io(error)) => {
                Error::around(format!("{message} failed"), error)
            }
            Failure::Engine(
                error @ (EngineError::BadChecksum { .. }
                | EngineError::Corrupt(_)
                | EngineError::CorruptExtentTree(_)
                | EngineError::CorruptDirEntry(_)
                | EngineError::InvalidInode(_)
                | EngineError::InvalidBlock(_)
                | EngineError::Stale
                | EngineError::OutOfBounds),
            ) => Error::failed(format!("{message} failed: the file system is damaged there: {error}"))
                .with_hint("download the base image again, or repair it with e2fsck -f"),
            Failure::Engine(error) => Error::failed(format!("{message} failed: {error}")),
            Failure::Panic(reason) => Error::failed(format!(
                "{message} failed: the ext4 engine gave up on this file system: {reason}"
            ))
            .with_hint(
                "the base image may be damaged: check it with e2fsck -fn; if that finds nothing, report this as a bug",
            ),
        }
    }

    fn full(&self, message: &str) -> Error {
        let free = match Superblock::read(&self.window) {
            Ok(sb) => format!(
                "{} bytes and {} inodes are free",
                sb.free_blocks().saturating_mul(sb.block_size()),
                sb.free_inodes()
            ),
            Err(_) => "nothing is free".into(),
        };
        Error::failed(format!(
            "{message} failed: the file system is full ({free})"
        ))
        .with_hint(MORE_ROOM)
    }
}

/// Deepest directory that is climbed up from; a path can hold no more names.
const MAX_DEPTH: usize = 2048;
/// Where `..` of a directory is in its first block, and the count of entries in the root of an index.
const DOTDOT: usize = 12;
const ROOT_COUNT: usize = 32;

/// Makes the reserved bytes of index roots zero, in `directory` and in all above it (see the head of
/// this file). They are the four before the checksum at the end of the block.
fn clean_index_roots(fs: &Filesystem, directory: u32) -> EngineResult<()> {
    let mut directory = directory;
    for _ in 0..MAX_DEPTH {
        let inode = fs.stat_ino(directory)?;
        let Some(block) = fs.map_inode_logical(&inode, 0)? else {
            return Ok(());
        };
        let mut root = vec![0; fs.sb.block_size() as usize];
        let at = block * root.len() as u64;
        fs.dev.read_at(at, &mut root)?;
        let parent = le32(&root, DOTDOT);
        let reserved = root.len() - 8..root.len() - 4;
        if inode.flags & InodeFlags::INDEX.bits() != 0
            && !is_zero(&root[reserved.clone()])
            && fs
                .csum
                .verify_dx_tail(directory, inode.generation, &root, ROOT_COUNT)
                == Some(true)
        {
            root[reserved].fill(0);
            fs.csum
                .patch_dx_tail(directory, inode.generation, &mut root, ROOT_COUNT);
            fs.dev.write_at(at, &root)?;
        }
        if directory == ROOT {
            return Ok(());
        }
        directory = parent;
    }
    Err(EngineError::Corrupt("directories go round in a circle"))
}

/// An error of ours among the engine's.
fn ours(error: Error) -> Failure {
    Failure::Engine(EngineError::Io(error.into()))
}

/// Runs `what`; turns a panic of the engine into an error, from then on for every call.
fn guarded<T>(broken: &Cell<bool>, what: impl FnOnce() -> EngineResult<T>) -> Result<T, Failure> {
    if broken.get() {
        return Err(Failure::Panic("it failed before".into()));
    }
    match catch_unwind(AssertUnwindSafe(what)) {
        Ok(result) => result.map_err(Failure::Engine),
        Err(panic) => {
            broken.set(true);
            let reason = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("it panicked");
            Err(Failure::Panic(reason.to_owned()))
        }
    }
}

/// What an inode is, beyond the engine's `is_file`, `is_dir` and `is_symlink`.
pub(super) fn kind_of(inode: &Inode) -> super::FileKind {
    super::FileKind::of_mode(inode.mode)
}
