//! `secrets.toml`: what is random and must stay the same from build to build, beside the profiles.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::mask::Mask;
use super::tables::{Table, Tables};
use crate::error::{Error, Result, ResultExt};
use crate::parallel;
use crate::positioned::PermissionsExt;
use crate::whole_file;

/// Its name.
pub const SECRETS_FILE: &str = "secrets.toml";

/// A file that is larger is another one.
const LIMIT: u64 = 1 << 20;

/// Another build holds the lock for the time it takes to make a few keys.
const PATIENCE: Duration = Duration::from_secs(20);

/// What [`Kept::add`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// All was there.
    Nothing,
    /// The file was there and has more tables now.
    Extended,
    /// There was no file.
    Made,
}

/// The secrets file of a project. It is read when it is first asked for.
pub struct Kept {
    path: PathBuf,
    mask: Mask,
    read: Mutex<Option<Arc<Tables>>>,
}

impl Kept {
    /// That of the project in `folder`; `mask` hides what is read and made.
    pub fn new(folder: &Path, mask: Mask) -> Self {
        Self {
            path: folder.join(SECRETS_FILE),
            mask,
            read: Mutex::default(),
        }
    }

    /// Where it is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; nothing where there is no file. Errors when others can read it, and when it is
    /// damaged.
    pub fn tables(&self) -> Result<Arc<Tables>> {
        let mut read = parallel::lock(&self.read);
        match &*read {
            Some(tables) => Ok(tables.clone()),
            None => {
                let tables = Arc::new(self.load()?.unwrap_or_default());
                tables.hide(&self.mask);
                *read = Some(tables.clone());
                Ok(tables)
            }
        }
    }

    /// Adds the tables that `make` returns for what is in the file now. Two builds at once get the same:
    /// the second one reads what the first has written.
    pub fn add(
        &self,
        make: impl FnOnce(&Tables) -> Result<Vec<(&'static str, Table)>>,
    ) -> Result<Added> {
        let mut read = parallel::lock(&self.read);
        let folder = whole_file::folder(&self.path);
        let lock = lock_folder(folder)?;
        let found = self.load()?;
        let is_new = found.is_none();
        let mut tables = found.unwrap_or_default();
        let made = make(&tables)?;
        let added = match (made.is_empty(), is_new) {
            (true, _) => Added::Nothing,
            (false, true) => Added::Made,
            (false, false) => Added::Extended,
        };
        for (name, table) in made {
            tables.insert(name, table);
        }
        tables.hide(&self.mask);
        if added != Added::Nothing {
            if lock.is_some() {
                remove_abandoned(folder);
            }
            whole_file::write_private(&self.path, tables.render().as_bytes(), is_new)
                .context(|| format!("cannot write {}", self.path.display()))?;
        }
        *read = Some(Arc::new(tables));
        Ok(added)
    }

    fn load(&self) -> Result<Option<Tables>> {
        let place = self.path.display().to_string();
        let failed = || format!("cannot read {place}");
        let found = match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.context(failed)?,
        };
        if !found.is_file() || found.len() > LIMIT {
            return Err(Error::usage(format!(
                "{place} is not a secrets file: it must be a file of less than {} MiB",
                LIMIT >> 20
            )));
        }
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::usage(format!(
                "{place} holds the keys of the cluster, and others can read or write it (mode {mode:04o})"
            ))
            .with_hint(format!("chmod 600 {place}")));
        }
        let mut text = Zeroizing::new(String::with_capacity(found.len() as usize + 64));
        let file = File::open(&self.path).context(failed)?;
        let read = file.take(LIMIT).read_to_string(&mut text);
        if read
            .as_ref()
            .is_err_and(|e| e.kind() == ErrorKind::InvalidData)
        {
            return Err(Error::usage(format!("{place} is not UTF-8 text"))
                .with_hint("restore the file from your copy"));
        }
        read.context(failed)?;
        Tables::parse(&text, &place).map(Some)
    }
}

/// A lock on the project's folder, so that no file is left behind; `None` where there are no locks.
fn lock_folder(path: &Path) -> Result<Option<File>> {
    let folder = File::open(path).context(|| format!("cannot open {}", path.display()))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::failed(format!(
                    "another program holds a lock on {}, so {SECRETS_FILE} cannot be written",
                    path.display()
                ))
                .with_hint("wait for the other build to end, and run the same command again"));
            }
        }
    }
}

/// Removes what builds that were killed while writing left behind. Only who has the lock may do it.
fn remove_abandoned(folder: &Path) {
    let is_ours = |name: &str| {
        name.starts_with(&format!(".{SECRETS_FILE}.")) && name.ends_with(whole_file::PART)
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_ours(&entry.file_name().to_string_lossy()) {
            // What cannot be removed is in nobody's way; git is told to ignore it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::*;

    fn kept(folder: &Path) -> Kept {
        Kept::new(folder, Mask::default())
    }

    fn table(value: &str) -> Table {
        Table::from([("key".to_owned(), Secret::new(value.to_owned()))])
    }

    /// Adds a table unless it is there.
    fn add(kept: &Kept, name: &'static str, value: &str) -> Result<Added> {
        kept.add(|tables| match tables.get(name) {
            Some(_) => Ok(Vec::new()),
            None => Ok(vec![(name, table(value))]),
        })
    }

    #[test]
    fn what_was_made_once_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SECRETS_FILE);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert!(kept(dir.path()).tables().unwrap().get("a").is_none());
        assert!(!path.exists(), "reading makes nothing");
        let first = kept(dir.path());
        assert_eq!(add(&first, "a", "hunter-1").unwrap(), Added::Made);
        assert_eq!(mode(), 0o600);
        assert_eq!(add(&first, "a", "hunter-2").unwrap(), Added::Nothing);
        assert_eq!(
            add(&kept(dir.path()), "b", "hunter-3").unwrap(),
            Added::Extended
        );
        let tables = kept(dir.path()).tables().unwrap();
        assert_eq!(tables.value("a", "key").unwrap().expose(), "hunter-1");
        assert_eq!(tables.value("b", "key").unwrap().expose(), "hunter-3");
        assert_eq!(first.mask.apply("hunter-1"), "‹secret›");
        assert_eq!(
            (mode(), fs::read_dir(dir.path()).unwrap().count()),
            (0o600, 1)
        );
    }

    #[test]
    fn builds_at_the_same_time_get_the_same_keys() {
        let dir = tempfile::tempdir().unwrap();
        let made = |number: usize| {
            let kept = kept(dir.path());
            let added = add(&kept, "a", &format!("hunter-{number}")).unwrap();
            let tables = kept.tables().unwrap();
            (added, tables.value("a", "key").unwrap().expose().to_owned())
        };
        let results: Vec<(Added, String)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..6).map(|n| scope.spawn(move || made(n))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let makers = results.iter().filter(|(added, _)| *added == Added::Made);
        assert_eq!(makers.count(), 1);
        assert!(results.iter().all(|(_, value)| *value == results[0].1));
    }

    #[test]
    fn what_a_killed_build_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".secrets.toml.Ab3dEf.part");
        let other = dir.path().join(".other.part");
        fs::write(&left, "version = 1\n[a]\nkey = \"hun").unwrap();
        fs::write(&other, "").unwrap();
        assert!(kept(dir.path()).tables().unwrap().get("a").is_none());
        add(&kept(dir.path()), "a", "hunter-1").unwrap();
        assert!(!left.exists() && other.exists());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SECRETS_FILE);
        fs::write(&path, "version = 1\n").unwrap();
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = kept(dir.path()).tables();
            assert_eq!(found.is_ok(), fine, "{mode:o}");
            if let Err(error) = found {
                assert!(error.hint().unwrap().starts_with("chmod 600 "), "{error:?}");
                assert!(
                    add(&kept(dir.path()), "a", "x").is_err(),
                    "nor is it written"
                );
            }
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(kept(dir.path()).tables().is_err());
    }
}
