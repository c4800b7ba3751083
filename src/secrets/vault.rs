//! Follows each reference once in a run: a command is asked once, a variable read once, and whoever
//! uses the secret has the same value.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::command::{self, LIMIT, Overheard};
use super::kept::Kept;
use super::mask::Mask;
use super::memo::Memo;
use super::reference::Reference;
use super::refusal::Refusal;
use super::secret::Secret;
use super::value;
use crate::home_path::expand;

/// The secrets of one project, as far as they were asked for.
pub struct Vault {
    project: PathBuf,
    secrets: Memo<Result<Secret, Refusal>>,
    texts: Memo<Result<Arc<str>, Refusal>>,
    mask: Mask,
    overheard: Overheard,
    kept: Kept,
}

impl Vault {
    /// Relative paths start at the folder `project`.
    pub fn new(project: &Path) -> Self {
        let mask = Mask::default();
        Self {
            project: project.to_owned(),
            secrets: Memo::default(),
            texts: Memo::default(),
            kept: Kept::new(project, mask.clone()),
            mask,
            overheard: Overheard::default(),
        }
    }

    /// The folder that relative paths start at.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// Hides what was resolved so far, and what will be.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// What is random and stays the same from build to build.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What commands said on stderr and nobody has been told yet.
    pub fn overheard(&self) -> &Overheard {
        &self.overheard
    }

    /// The value that `reference` leads to.
    pub fn get(&self, reference: &str) -> Result<Secret, Refusal> {
        self.secrets.get(reference, || {
            let secret = value::accept(&self.follow(reference)?)?;
            self.mask.add(&secret);
            Ok(secret)
        })
    }

    /// The text of a file that is no secret. Bytes that are not UTF-8 are replaced, a byte order mark
    /// goes.
    pub fn text_file(&self, path: &str) -> Result<Arc<str>, Refusal> {
        self.texts.get(path, || {
            let bytes = read(&expand(path, &self.project))?;
            if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
                return Err(
                    Refusal::new(format!("{path} is UTF-16 text")).with_hint("save it as UTF-8")
                );
            }
            let text = String::from_utf8_lossy(&bytes);
            Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).into())
        })
    }

    fn follow(&self, reference: &str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        match Reference::parse(reference)? {
            Reference::Environment(name) => match std::env::var_os(name) {
                Some(value) => Ok(Zeroizing::new(value.into_encoded_bytes())),
                None => Err(
                    Refusal::new(format!("the environment variable {name} is not set")).with_hint(
                        format!(
                            "export {name}=…, or point the key at `file:PATH` or `cmd:COMMAND`"
                        ),
                    ),
                ),
            },
            Reference::File(path) => read(&expand(path, &self.project)),
            Reference::Command(command) => command::run(command, &self.overheard),
        }
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut bytes = command::buffer();
    if is_named_pipe(path) {
        return Err(Refusal::new(format!(
            "{} is a named pipe, which would be waited for without end",
            path.display()
        )));
    }
    File::open(path)
        .and_then(|file| file.take(LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Refusal::new(format!("reading {}: {error}", path.display())))?;
    if bytes.len() > LIMIT {
        let limit = LIMIT >> 10;
        let what = format!("{} is larger than {limit} KiB", path.display());
        return Err(Refusal::new(what));
    }
    Ok(bytes)
}

/// Those of a shell's `<(…)` are in /dev/fd, and have a writer.
fn is_named_pipe(path: &Path) -> bool {
    use crate::positioned::FileTypeExt;
    let is_pipe = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
    is_pipe && !path.starts_with("/dev") && !path.starts_with("/proc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(reference: &str, project: &Path) -> String {
        match Vault::new(project).get(reference) {
            Ok(_) => panic!("{reference} has a value"),
            Err(refusal) => refusal.what().to_owned(),
        }
    }

    #[test]
    fn a_reference_is_followed_once_by_however_many_threads() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let reference = format!("cmd:echo x >> {0}; sleep 0.1; wc -l < {0}", count.display());
        let vault = Vault::new(dir.path());
        let values: Vec<String> = std::thread::scope(|scope| {
            let ask = || vault.get(&reference).ok().unwrap().expose().to_owned();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(values, ["1"; 4]);
    }

    #[test]
    fn errors_are_kept_too() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::new(dir.path());
        let reference =
            "cmd:echo x >> count; exit 3".replace("count", &format!("{}/c", dir.path().display()));
        for _ in 0..2 {
            assert!(vault.get(&reference).is_err());
        }
        let runs = std::fs::read_to_string(dir.path().join("c")).unwrap();
        assert_eq!(runs, "x\n");
    }

    #[test]
    fn what_is_missing_is_named_and_commands_are_not() {
        let dir = tempfile::tempdir().unwrap();
        for (reference, why) in [
            ("env:IMGBUILD_NOT_SET", "IMGBUILD_NOT_SET is not set"),
            ("file:none", "none: No such file"),
            ("file:/", "Is a directory"),
            ("file:/dev/zero", "larger than"),
            ("cmd:exit 3 # hunter2", "exit status: 3"),
            ("cmd:yes hunter2", "printed more than"),
            ("cmd:true", "is empty"),
            ("hunter2", "never written into a profile"),
        ] {
            let what = said(reference, dir.path());
            assert!(what.contains(why), "{reference}: {what}");
            assert!(!what.contains("hunter2"), "{what}");
        }
    }

    #[test]
    fn texts_lose_their_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("k"), b"\xef\xbb\xbfssh \xe4").unwrap();
        std::fs::write(dir.path().join("w"), b"\xff\xfes\0").unwrap();
        let vault = Vault::new(dir.path());
        assert_eq!(&*vault.text_file("k").unwrap(), "ssh \u{fffd}");
        assert!(vault.text_file("w").is_err());
    }
}
