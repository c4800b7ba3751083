//! A file on its way to its final name.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

/// A hidden file next to its final place. Dropped before [`Output::commit`] it is removed.
pub(super) struct Output {
    file: File,
    part: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Output {
    /// Creates `.{name}.{pid}.part` in the folder of `path`.
    pub fn create(path: &Path) -> Result<Self> {
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
            let part = path.with_file_name(format!(".{name}.{pid}{suffix}.part"));
            match File::create_new(&part) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        part,
                        path: path.to_owned(),
                        committed: false,
                    });
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(explain(path, e)),
            }
        }
        Err(
            Error::failed(format!("{} can not be written", path.display()))
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
        use std::os::unix::fs::OpenOptionsExt;
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

    /// Checks that `expected` bytes, a guess, can be written. What can not hold half of the guess
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
        // systems can not do it for folders.
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

/// The folder that `path` is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Bytes that the user may write on the file system of `path`, where that can be known.
fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Makes the output folder if need be, and sees that it can be written to: now, rather than after
/// minutes of work.
pub fn prepare_folder(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)
        .and_then(|()| tempfile::tempfile_in(dir))
        .map(drop)
        .map_err(|error| {
            let hint = hint(dir, &error);
            Error::failed(format!(
                "the output folder {} can not be written to",
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
            format!("the file system of {dir} can not hold files this large; choose another one")
        }
        _ => format!("check the folder {dir} and the disk it is on"),
    }
}
