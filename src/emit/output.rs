//! A file on its way to its final name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::format::{CHECKSUMS, Format};
use crate::disk_space::free_space;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::positioned::{MetadataExt, OpenOptionsExt};

/// Reads and writes go through buffers of this many bytes. Larger ones cost more, not less
/// (measured: 1 MiB takes 3 to 5 times the system time of 128 KiB).
pub(super) const BUFFER: usize = 128 * 1024;

/// What the hidden files end with.
const PART: &str = ".part";

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Whom the umask allows.
    All,
    /// Nobody but the owner.
    Owner,
}

impl Readers {
    /// Those of a file that holds secrets, or does not.
    pub fn of(private: bool) -> Self {
        if private { Self::Owner } else { Self::All }
    }

    fn mode(self) -> u32 {
        match self {
            Self::All => 0o666,
            Self::Owner => 0o600,
        }
    }
}

/// A hidden file next to its final place. Dropped before [`Output::commit`] it is removed; while it
/// is there it is locked, so that [`remove_abandoned`] tells it from what a killed run left.
pub(super) struct Output {
    file: File,
    part: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Output {
    /// Creates `.{name}.{pid}.part` in the folder of `path`, for `readers` from the beginning on.
    pub fn create(path: &Path, readers: Readers) -> Result<Self> {
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(
                Error::failed(format!("{} is a folder, not a file", path.display()))
                    .with_hint("give the name of a file to write"),
            );
        };
        let name = name.to_string_lossy();
        let pid = std::process::id();
        // A killed run may have left one behind, and in a container the process id is often the
        // same again: then the next name is taken.
        for attempt in 0..100 {
            let suffix = match attempt {
                0 => String::new(),
                n => format!("-{n}"),
            };
            let part = path.with_file_name(format!(".{name}.{pid}{suffix}{PART}"));
            match create_locked(&part, readers) {
                Ok(Some(file)) => {
                    return Ok(Self {
                        file,
                        part,
                        path: path.to_owned(),
                        committed: false,
                    });
                }
                // Another run took it for abandoned before it was locked, and removes it.
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(explain(path, e)),
            }
        }
        Err(
            Error::failed(format!("{} cannot be written", path.display()))
                .with_hint("remove the hidden .part files beside it, left by interrupted runs"),
        )
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file once more, for writes past the page cache. `None` where there are none.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn open_direct(&self) -> Option<File> {
        File::options()
            .write(true)
            .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32)
            .open(&self.part)
            .ok()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn open_direct(&self) -> Option<File> {
        None
    }

    /// Turns an error of writing into one that says what to do.
    pub fn explain(&self, error: io::Error) -> Error {
        explain(&self.path, error)
    }

    /// Checks that `expected` bytes, a guess, can be written. What cannot hold half of the guess
    /// is refused now rather than after minutes; below the guess the user is told, since what turns
    /// out to be zeros takes no space.
    pub fn check_space(&self, expected: u64, job: &Job) -> Result<()> {
        let Some(free) = free_space(&self.part) else {
            return Ok(());
        };
        let folder = folder(&self.path).display().to_string();
        if free < expected / 2 {
            return Err(Error::failed(format!(
                "not enough space in {folder} for {}: about {} MB are needed, {} MB are free",
                self.path.display(),
                expected / 1_000_000,
                free / 1_000_000
            ))
            .with_hint("free some space there, or choose another output folder"));
        }
        if free < expected {
            job.progress.note(&format!(
                "{} may not fit: up to {} MB are needed in {folder}, {} MB are free",
                self.path.display(),
                expected / 1_000_000,
                free / 1_000_000
            ));
        }
        Ok(())
    }

    /// Puts the file on disk and under its final name, replacing what was there.
    pub fn commit(mut self) -> Result<PathBuf> {
        self.file.sync_all().map_err(|e| self.explain(e))?;
        fs::rename(&self.part, &self.path).map_err(|e| self.explain(e))?;
        self.committed = true;
        let dir = folder(&self.path);
        // Without this the new name may be lost with the power, though the data is not. Some file
        // systems cannot do it for folders.
        match File::open(dir).and_then(|d| d.sync_all()) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {}
            Err(e) => {
                return Err(e).context(|| format!("writing the folder {} to disk", dir.display()));
            }
        }
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing more can be done about it here, and the error that led here matters more.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Creates `part` and locks it. `None` when somebody else was faster to lock it. Where there are no
/// locks it stays without one, and nobody can take it for abandoned.
fn create_locked(part: &Path, readers: Readers) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(readers.mode())
        .open(part)?;
    match file.try_lock() {
        Ok(()) => Ok((file.metadata()?.nlink() > 0).then_some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// Removes the hidden files that killed runs left in `dir`: those that nobody has locked.
fn remove_abandoned(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && is_part(&entry.file_name().to_string_lossy()) {
            // What cannot be removed now is in nobody's way.
            let _ = remove_unlocked(&entry.path());
        }
    }
}

/// Whether `name` is one that [`Output::create`] gives to the parts of what builds write.
fn is_part(name: &str) -> bool {
    let middle = name.strip_prefix('.').and_then(|n| n.strip_suffix(PART));
    let Some((of, number)) = middle.and_then(|middle| middle.rsplit_once('.')) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (pid, attempt) = number.split_once('-').unwrap_or((number, "0"));
    let images = Format::ALL.map(Format::extension);
    let is_ours = of == CHECKSUMS
        || of.ends_with(".img.bmap")
        || images
            .iter()
            .any(|e| of.strip_suffix(e).is_some_and(|n| n.ends_with('.')));
    digits(pid) && digits(attempt) && is_ours
}

fn remove_unlocked(part: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(part)?;
    match file.try_lock() {
        Ok(()) => fs::remove_file(part),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The folder that `path` is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Makes the output folder if need be, and sees that it can be written to: now, rather than after
/// minutes of work. What killed runs left there is removed.
pub fn prepare_folder(dir: &Path) -> Result<()> {
    remove_abandoned(dir);
    fs::create_dir_all(dir)
        .and_then(|()| tempfile::tempfile_in(dir))
        .map(drop)
        .map_err(|error| {
            let hint = hint(dir, &error);
            Error::failed(format!(
                "the output folder {} cannot be written to",
                dir.display()
            ))
            .with_source(error)
            .with_hint(hint)
        })
}

/// What failed while writing `path`, and what to do about it.
fn explain(path: &Path, error: io::Error) -> Error {
    let hint = hint(folder(path), &error);
    Error::failed(format!("writing {}", path.display()))
        .with_source(error)
        .with_hint(hint)
}

/// What to do about an error of writing to the folder `dir`.
fn hint(dir: &Path, error: &io::Error) -> String {
    let dir = dir.display();
    match error.kind() {
        ErrorKind::PermissionDenied => format!("you may not write to {dir}; choose another folder"),
        ErrorKind::ReadOnlyFilesystem => format!("{dir} is read-only; choose another folder"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("no space is left in {dir}; free some, or choose another folder")
        }
        ErrorKind::NotFound => format!("the folder {dir} does not exist; make it first"),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            format!("{dir} is not a folder; choose another one")
        }
        ErrorKind::FileTooLarge => {
            format!("the file system of {dir} cannot hold files this large; choose another one")
        }
        _ => format!("check the folder {dir} and the disk it is on"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_holds_secrets_is_closed_from_its_first_byte_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.img");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // In the place of an open one.
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let output = Output::create(&path, Readers::Owner).unwrap();
        assert_eq!(mode(&output.part), 0o600);
        output.commit().unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn parts_that_nobody_works_on_are_removed_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::write(dir.path().join(name), "left").unwrap();
        let abandoned = [
            ".a.img.7.part",
            ".a.img.xz.123-4.part",
            ".b.c.img.gz.1.part",
            ".a.img.bmap.9.part",
            ".SHA256SUMS.9.part",
        ];
        let others = [
            "a.img",
            ".a.img.part",
            ".a.img.x.part",
            ".a.img.7-.part",
            ".img.7.part",
            ".notes.txt.7.part",
            "a.img.7.part",
            ".a.img.7.part.bak",
        ];
        abandoned.iter().chain(&others).for_each(|name| file(name));
        let held = Output::create(&dir.path().join("d.img"), Readers::All).unwrap();
        prepare_folder(dir.path()).unwrap();
        for name in abandoned {
            assert!(!dir.path().join(name).exists(), "{name}");
        }
        for name in others {
            assert!(dir.path().join(name).exists(), "{name}");
        }
        assert!(held.part.exists(), "somebody works on it");
        held.commit().unwrap();
        assert!(dir.path().join("d.img").exists());
    }

    #[test]
    fn a_part_that_another_run_just_took_for_abandoned_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.img");
        let first = Output::create(&path, Readers::All).unwrap();
        let second = Output::create(&path, Readers::All).unwrap();
        assert_ne!(first.part, second.part);
        let name = dir.path().join(".b.img.1.part");
        let other = create_locked(&name, Readers::All).unwrap().unwrap();
        fs::remove_file(&name).unwrap();
        drop(other);
        assert!(create_locked(&name, Readers::All).unwrap().is_some());
    }
}
