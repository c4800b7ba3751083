//! The only file that knows the engine: the crate `rust-fs-ext4`, pinned to one version because
//! its allocation decides our output bytes.
//!
//! What it needs to be worked around, each kept true by a test in `tests/ext4.rs`:
//! - It takes the free counts of groups from when it was mounted, so it overlooks what has been
//!   freed since: when it says "full", it is mounted anew and asked again. The same counts are
//!   the handle for `steering.rs`.
//! - Its rename within one directory fails when the directory's extent tree must grow a level for
//!   the new name: it then looks for the old name through a tree node it has not written yet. The
//!   new name is made and unmade first, which makes the room by a way that works.
//! - It says "full" and "fragmented" as "corrupt": translated here.
//! - It is large and young: a panic inside it is caught here, as the last resort, and ends the
//!   edit with an error instead of the program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fs_ext4::Filesystem;
use fs_ext4::error::{Error as EngineError, Result as EngineResult};
use fs_ext4::inode::Inode;
use fs_ext4::runtime::Runtime;

use super::checksum::crc32c;
use super::group_descriptor;
use super::journal_shim::JournalShim;
use super::steering;
use super::superblock::Superblock;
use crate::disk::Window;
use crate::error::{Error, Result};

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
    /// Whether there may be room that it does not know of: freed, or hidden by the steering.
    stale: bool,
}

/// What of a file system's room the engine gets to see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    All,
    /// That in the groups that are emptiest (see `steering.rs`).
    Emptiest,
}

/// Why an engine call did not give what was asked for.
pub(super) enum Failure {
    /// The engine's own word.
    Engine(EngineError),
    /// It panicked, or had done so before.
    Panic(String),
}

impl Failure {
    /// There is no such entry.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Engine(EngineError::NotFound))
    }

    /// No room for blocks or inodes.
    fn is_full(&self) -> bool {
        match self {
            Self::Engine(EngineError::NoSpaceLeftOnDevice) => true,
            Self::Engine(EngineError::Corrupt(message)) => {
                message.contains("contiguous free run") || message.contains("has a free inode")
            }
            _ => false,
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
            stale: false,
        };
        engine
            .remount(Room::Emptiest)
            .map_err(|failure| engine.explain(failure, "opening", "/"))?;
        Ok(engine)
    }

    fn remount(&mut self, room: Room) -> Result<(), Failure> {
        if let Some(old) = self.mounted.take() {
            guarded(&self.broken, || old.finish())?;
        }
        let ours = |error: Error| Failure::Engine(EngineError::Io(error.into()));
        let sb = Superblock::read(&self.window).map_err(ours)?;
        let shim = Arc::new(JournalShim::new(self.window.clone(), &sb));
        let runtime = self.runtime.clone();
        let mut fs = guarded(&self.broken, || {
            Filesystem::mount_with_runtime(shim, runtime)
        })?;
        self.stale = false;
        if room == Room::Emptiest {
            let groups = group_descriptor::read_all(&self.window, &sb).map_err(ours)?;
            let crowded = steering::crowded(&self.window, &sb, &groups).map_err(ours)?;
            for (group, crowded) in fs.groups.iter_mut().zip(crowded) {
                if crowded {
                    group.free_blocks_count = 0;
                    self.stale = true;
                }
            }
        }
        self.mounted = Some(fs);
        Ok(())
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

    /// Has the engine change something; each change is done wholly or not at all.
    pub(super) fn change<T>(
        &mut self,
        what: impl Fn(&Filesystem) -> EngineResult<T>,
    ) -> Result<T, Failure> {
        match self.ask(&what) {
            Err(failure) if failure.is_full() && self.stale => {
                self.remount(Room::All)?;
                self.ask(what)
            }
            other => other,
        }
    }

    /// Says that blocks or inodes have been freed.
    pub(super) fn freed(&mut self) {
        self.stale = true;
    }

    /// Moves the entry `from` (directory, name) to `to`; replaces a file that is there.
    pub(super) fn rename(&mut self, from: (u32, &[u8]), to: (u32, &[u8])) -> Result<(), Failure> {
        let rename = |fs: &Filesystem| fs.apply_rename_at(from.0, from.1, to.0, to.1, true);
        match self.change(rename) {
            Err(failure) if failure.is_rename_defect() => {
                self.change(|fs| fs.apply_create_at(to.0, to.1, 0o600))?;
                self.change(|fs| fs.apply_unlink_at(to.0, to.1))?;
                self.change(rename)
            }
            other => other,
        }
    }

    /// Ends the edit.
    pub(super) fn finish(mut self) -> Result<()> {
        let Some(fs) = self.mounted.take() else {
            return Ok(());
        };
        guarded(&self.broken, || fs.finish())
            .map_err(|failure| self.explain(failure, "finishing", "/"))
    }

    /// The error of doing `what` (a verb in -ing form) to `path`.
    pub(super) fn explain(&self, failure: Failure, what: &str, path: &str) -> Error {
        let full = failure.is_full();
        let message = format!("ext4: {what} {path}");
        match failure {
            _ if full => self.full(&message),
            Failure::Engine(EngineError::Io(error)) => {
                Error::failed(format!("{message} failed")).with_source(error)
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
        .with_hint("give the root file system more room in the profile")
    }
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
