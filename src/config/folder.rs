//! Which files of a folder are profiles, and what is said of the others: a node whose file has the
//! wrong name must not vanish without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::value::{Item, parse_document};
use crate::error::{Error, Result};
use crate::problem::Problem;
use crate::problems::Problems;

/// How the file name of a profile ends.
pub const SUFFIX: &str = ".toml";

/// How editors and people end the names of copies and of what is switched off.
const COPIES: &[&str] = &[
    "~",
    ".bak",
    ".backup",
    ".orig",
    ".old",
    ".save",
    ".swp",
    ".swo",
    ".tmp",
    ".rej",
    ".disabled",
    ".off",
    ".example",
    ".sample",
    ".dist",
    ".template",
];

/// Files that are about profiles and are none: beginnings and endings of names, in small letters.
const BESIDE: (&[&str], &[&str]) = (
    &[
        "readme",
        "license",
        "makefile",
        "justfile",
        "thumbs.db",
        "desktop.ini",
    ],
    &[".md", ".rst", ".adoc", ".pdf", ".png", ".svg"],
);

/// Larger files are not looked into: nobody writes such a profile.
const LARGEST: u64 = 16 << 20;

/// The profiles of a folder.
#[derive(Debug, Default)]
pub struct Listing {
    /// Sorted, without `.toml`.
    pub names: Vec<String>,
    /// What is left out and could have been meant as a profile.
    pub notes: Vec<String>,
}

/// What a file is by its name.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Profile(&'a str),
    /// `.toml` alone.
    Nameless,
    /// Almost a profile: the name that it should have.
    Misspelt(String),
    /// A copy, or a hidden file: the name of what it is a copy of.
    CopyOf(String),
    /// Never a profile.
    Nothing,
    Other,
}

fn by_name(name: &str) -> Named<'_> {
    let lower = name.to_lowercase();
    if lower == SUFFIX {
        return Named::Nameless;
    }
    if let Some(rest) = name.strip_prefix('.') {
        // macOS keeps attributes in `._x.toml`, Emacs a lock in `.#x.toml`.
        let hidden_profile = lower.ends_with(SUFFIX) && !rest.starts_with(['_', '#']);
        return if hidden_profile {
            Named::CopyOf(rest.to_owned())
        } else {
            Named::Nothing
        };
    }
    if let Some(original) = original_of(name) {
        return Named::CopyOf(original);
    }
    match name.strip_suffix(SUFFIX) {
        // `x.toml.toml`: an editor that hides endings.
        Some(stem) if stem.ends_with(SUFFIX) => return Named::Misspelt(stem.to_owned()),
        Some(stem) => return Named::Profile(stem),
        None => {}
    }
    match almost(name, &lower) {
        Some(right) => Named::Misspelt(right),
        None if is_beside(&lower) => Named::Nothing,
        None => Named::Other,
    }
}

/// What the name of a copy says that it is a copy of.
fn original_of(name: &str) -> Option<String> {
    let hashes = name.strip_prefix('#').and_then(|n| n.strip_suffix('#'));
    let original = hashes.or_else(|| COPIES.iter().find_map(|end| name.strip_suffix(end)))?;
    Some(match original.strip_suffix(SUFFIX) {
        Some(_) => original.to_owned(),
        None => format!("{original}{SUFFIX}"),
    })
}

/// The name of a profile that `name` is almost: `.TOML`, `.toml.txt`, a blank at the end.
fn almost(name: &str, lower: &str) -> Option<String> {
    let bare = lower.trim().trim_end_matches('.');
    let bare = bare.strip_suffix(".txt").unwrap_or(bare).trim_end();
    let stem = bare.strip_suffix(SUFFIX)?;
    // Upper case is kept where it has the same length in lower case.
    let stem = name.trim().get(..stem.len()).unwrap_or(stem);
    (!stem.is_empty()).then(|| format!("{stem}{SUFFIX}"))
}

fn is_beside(lower: &str) -> bool {
    let (begins, ends) = BESIDE;
    begins.iter().any(|b| lower.starts_with(b)) || ends.iter().any(|e| lower.ends_with(e))
}

/// Lists the profiles of `folder`. Files that are meant as profiles and cannot be read as such are
/// problems.
pub fn list(folder: &Path, problems: &mut Problems) -> Result<Listing> {
    let mut entries = read(folder)?;
    entries.sort();
    let present: BTreeSet<OsString> = entries.iter().cloned().collect();
    let mut listing = Listing::default();
    for entry in &entries {
        let path = folder.join(entry);
        match entry.to_str() {
            Some(name) => judge(name, &path, &present, &mut listing, problems),
            None if entry.to_string_lossy().to_lowercase().contains(SUFFIX) => {
                let what = "the name of a profile must be UTF-8 text";
                problems.push(Problem::new(format!("{path:?}"), what).with_hint("rename the file"));
            }
            None => listing.notes.push(not_read(&path)),
        }
    }
    Ok(listing)
}

/// The names in a folder.
fn read(folder: &Path) -> Result<Vec<OsString>> {
    let read = || -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| entry.map(|e| e.file_name()))
            .collect()
    };
    read().map_err(|error| Error::usage(format!("reading the folder {}: {error}", shown(folder))))
}

fn judge(
    name: &str,
    path: &Path,
    present: &BTreeSet<OsString>,
    listing: &mut Listing,
    problems: &mut Problems,
) {
    let wrong = |what: &str, hint: String| Problem::new(shown(path), what).with_hint(hint);
    let there = |name: &str| present.contains(&OsString::from(name));
    match by_name(name) {
        Named::Profile(stem) => match check_name(stem).and_then(|()| check_file(path)) {
            Ok(()) => listing.names.push(stem.to_owned()),
            Err(problem) => problems.push(problem.at(path)),
        },
        Named::Nameless => problems.push(wrong(
            "a profile without a name",
            "rename it to NAME.toml".to_owned(),
        )),
        Named::Misspelt(right) => {
            let hint = if there(&right) {
                format!("`{right}` is there too; remove one of the two")
            } else {
                format!("rename it to `{right}`")
            };
            let what = "not the name of a profile, so the file would not be read";
            problems.push(wrong(what, hint));
        }
        Named::CopyOf(original) if !there(&original) => listing.notes.push(not_read(path)),
        Named::CopyOf(_) | Named::Nothing => {}
        Named::Other => other(path, listing, problems),
    }
}

/// A file or folder of which the name says nothing.
fn other(path: &Path, listing: &mut Listing, problems: &mut Problems) {
    if path.is_dir() {
        let inside = read(path).unwrap_or_default();
        if inside.iter().any(|n| n.to_string_lossy().ends_with(SUFFIX)) {
            listing.notes.push(format!(
                "{}: the profiles in this folder are not read",
                shown(path)
            ));
        }
    } else if is_profile(path) {
        let what = format!("looks like a profile, but its name does not end in `{SUFFIX}`");
        problems.push(Problem::new(shown(path), what).with_hint("rename it, or move it away"));
    } else {
        listing.notes.push(not_read(path));
    }
}

fn not_read(path: &Path) -> String {
    format!(
        "{}: not read, because the name of a profile ends in `{SUFFIX}`{}",
        shown(path),
        if is_hidden(path) {
            " and does not begin with a dot"
        } else {
            ""
        }
    )
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// What is wrong with a file, before it is known how it is called in messages.
struct Wrong {
    what: String,
    hint: &'static str,
}

impl Wrong {
    fn at(self, path: &Path) -> Problem {
        Problem::new(shown(path), self.what).with_hint(self.hint)
    }
}

/// A profile's name is a word: it is written after `--profile` and `extends`, and in lists of nodes.
fn check_name(stem: &str) -> std::result::Result<(), Wrong> {
    let why = if stem.contains(char::is_whitespace) {
        "has a blank in it"
    } else if stem.contains(char::is_control) {
        "has a control character in it"
    } else if stem.starts_with('-') {
        "begins with `-`, like an option of the command line"
    } else {
        return Ok(());
    };
    Err(Wrong {
        what: format!("{stem:?} cannot be the name of a profile: it {why}"),
        hint: "rename the file, or remove it if it is a copy",
    })
}

/// Opening anything but a file could wait for ever.
fn check_file(path: &Path) -> std::result::Result<(), Wrong> {
    let wrong = |what: String, hint| Err(Wrong { what, hint });
    match fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() <= LARGEST => Ok(()),
        Ok(found) if found.is_file() => wrong(
            format!("has {} MiB, which no profile has", found.len() >> 20),
            "move it away",
        ),
        Ok(found) => wrong(
            format!("is {}, not a file", kind_of(found.file_type())),
            "a profile is a file; rename it, or move it away",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => wrong(
                format!("is a link to `{}`, which does not exist", target.display()),
                "mend the link, or remove it",
            ),
            Err(_) => wrong(format!("cannot be read: {error}"), "try again"),
        },
        Err(error) => wrong(
            format!("cannot be read: {error}"),
            "check the permissions and links on its path",
        ),
    }
}

fn kind_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else {
        "a device, socket or FIFO"
    }
}

/// Whether the file at `path` is TOML with the keys that only a profile has.
pub fn is_profile(path: &Path) -> bool {
    let small = |found: Metadata| found.is_file() && found.len() <= LARGEST;
    if !fs::metadata(path).is_ok_and(small) {
        return false;
    }
    let text = fs::read_to_string(path).unwrap_or_default();
    let parsed = parse_document(&text, &Arc::from("")).unwrap_or_default();
    has_profile_keys(&parsed)
}

fn has_profile_keys(values: &BTreeMap<String, Item>) -> bool {
    let is_text = |key: &str| values.get(key).is_some_and(|i| i.value.as_text().is_some());
    is_text("hostname") || is_text("extends")
}

/// `path` as messages have it.
pub fn shown(path: &Path) -> std::path::Display<'_> {
    match path.strip_prefix(".") {
        Ok(rest) if rest != Path::new("") => rest.display(),
        _ => path.display(),
    }
}

/// `path` as one word of a shell.
pub fn pasted(path: &Path) -> String {
    let text = shown(path).to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Where the profiles of a project lie; `None` without a trace of any.
pub fn find(project: &Path) -> Result<Option<PathBuf>> {
    let folder = project.join("profiles");
    if folder.is_dir() {
        return Ok(Some(folder));
    }
    if folder.symlink_metadata().is_ok() {
        return Err(
            Error::usage(format!("{} is not a folder", folder.display()))
                .with_hint("profiles lie in a folder called `profiles`"),
        );
    }
    let mut entries = read(project)?;
    entries.sort();
    let paths = entries.into_iter().map(|name| project.join(name));
    for path in paths.filter(|p| !is_hidden(p)) {
        if is_misnamed_folder(&path) {
            return Err(Error::usage(format!(
                "{}: the folder with profiles must be called `profiles`",
                shown(&path)
            ))
            .with_hint(format!("mv {} {}", pasted(&path), pasted(&folder))));
        }
        let is_toml = path.extension().is_some_and(|e| e == "toml");
        if is_toml && is_profile(&path) {
            return Err(Error::usage(format!(
                "{}: a profile outside of a folder called `profiles`",
                shown(&path)
            ))
            .with_hint("name the folder above `profiles` with -C, or move the profile into it"));
        }
    }
    Ok(None)
}

/// A folder that is almost called `profiles`, and has profiles.
fn is_misnamed_folder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim().to_lowercase();
    (name == "profiles" || name == "profile")
        && path.is_dir()
        && read(path).is_ok_and(|inside| {
            let ends = |n: &OsString| n.to_string_lossy().to_lowercase().ends_with(SUFFIX);
            inside.iter().any(ends)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let copy = |of: &str| Named::CopyOf(of.to_owned());
        let almost = |right: &str| Named::Misspelt(right.to_owned());
        for (name, expected) in [
            ("worker-1.toml", Named::Profile("worker-1")),
            ("my node.toml", Named::Profile("my node")),
            ("a.b.toml", Named::Profile("a.b")),
            (".toml", Named::Nameless),
            (".TOML", Named::Nameless),
            ("Worker-1.TOML", almost("Worker-1.toml")),
            ("x.Toml", almost("x.toml")),
            ("x.toml ", almost("x.toml")),
            ("x.toml.", almost("x.toml")),
            ("x.toml.txt", almost("x.toml")),
            ("x.toml.toml", almost("x.toml")),
            ("x.TOML.TXT", almost("x.toml")),
            ("._x.toml", Named::Nothing),
            (".#x.toml", Named::Nothing),
            (".x.toml.swp", Named::Nothing),
            (".gitignore", Named::Nothing),
            (".DS_Store", Named::Nothing),
            ("README", Named::Nothing),
            ("notes.md", Named::Nothing),
            (".x.toml", copy("x.toml")),
            ("x.toml~", copy("x.toml")),
            ("#x.toml#", copy("x.toml")),
            ("x.toml.bak", copy("x.toml")),
            ("x.bak", copy("x.toml")),
            ("x.toml.disabled", copy("x.toml")),
            ("x.yaml", Named::Other),
            ("x", Named::Other),
            ("toml", Named::Other),
        ] {
            assert_eq!(by_name(name), expected, "{name}");
        }
    }

    /// Lists a folder that `make` has filled: the names, the notes, the problems.
    fn listed(make: impl Fn(&Path)) -> (Vec<String>, Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let mut problems = Problems::new();
        let found = list(dir.path(), &mut problems).unwrap();
        let problems = problems.report().err().map(|e| e.to_string());
        (found.names, found.notes, problems.unwrap_or_default())
    }

    fn write(folder: &Path, names: &[&str]) {
        for name in names {
            fs::write(folder.join(name), "hostname = \"x\"\n").unwrap();
        }
    }

    #[test]
    fn copies_of_what_is_there_are_skipped_and_others_are_told() {
        let (names, notes, problems) = listed(|folder| {
            write(
                folder,
                &["x.toml", "x.toml~", ".x.toml", "#x.toml#", "x.toml.orig"],
            );
            write(folder, &["._x.toml", ".y.toml", "y.toml.bak", "README.md"]);
            fs::write(folder.join("z.yaml"), "hostname: z\n").unwrap();
            fs::create_dir(folder.join("old")).unwrap();
            write(&folder.join("old"), &["w.toml"]);
        });
        assert_eq!((names, problems), (vec!["x".to_owned()], String::new()));
        let told: Vec<&str> = notes.iter().filter_map(|n| n.split(": ").next()).collect();
        for (note, end) in told.iter().zip([".y.toml", "old", "y.toml.bak", "z.yaml"]) {
            assert!(note.ends_with(end), "{note} is not about {end}");
        }
        assert_eq!(told.len(), 4, "{notes:?}");
    }

    #[test]
    fn files_that_are_meant_as_profiles_are_problems() {
        let (names, _, problems) = listed(|folder| {
            write(
                folder,
                &["x.toml", "x.TOML", "y.Toml", "w.tml", "a b.toml", "-a.toml"],
            );
            fs::create_dir(folder.join("d.toml")).unwrap();
            let large = fs::File::create(folder.join("l.toml")).unwrap();
            large.set_len(20 << 20).unwrap();
        });
        assert_eq!(names, ["x"]);
        for said in [
            "7 problems",
            "l.toml: has 20 MiB",
            "x.TOML: not the name of a profile",
            "`x.toml` is there too",
            "rename it to `y.toml`",
            "w.tml: looks like a profile",
            "has a blank",
            "begins with `-`",
            "d.toml: is a folder",
        ] {
            assert!(problems.contains(said), "no “{said}” in {problems}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_opened() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let (names, _, problems) = listed(|folder| {
            let link = std::os::unix::fs::symlink::<&str, PathBuf>;
            link("nowhere", folder.join("s.toml")).unwrap();
            link("c.toml", folder.join("c.toml")).unwrap();
            write(folder, &["x.toml"]);
            link("x.toml", folder.join("y.toml")).unwrap();
            std::os::unix::net::UnixListener::bind(folder.join("f.toml")).unwrap();
            fs::write(folder.join(OsStr::from_bytes(b"\xff.toml")), "").unwrap();
        });
        assert_eq!(names, ["x", "y"]);
        for said in [
            "4 problems",
            "s.toml: is a link to",
            "c.toml: cannot be read",
            "f.toml: is a device",
            "UTF-8",
        ] {
            assert!(problems.contains(said), "no “{said}” in {problems}");
        }
    }

    #[test]
    fn a_project_has_a_folder_called_profiles() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path()).unwrap(), None);
        fs::create_dir(dir.path().join("Profile")).unwrap();
        // Nothing in it: some other profile.
        assert_eq!(find(dir.path()).unwrap(), None);
        write(&dir.path().join("Profile"), &["x.toml"]);
        let error = find(dir.path()).unwrap_err().to_string();
        assert!(error.contains("must be called `profiles`"), "{error}");
        let error = find(&dir.path().join("Profile")).unwrap_err().to_string();
        assert!(error.contains("x.toml: a profile outside"), "{error}");
        fs::write(dir.path().join("profiles"), "").unwrap();
        let error = find(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not a folder"), "{error}");
    }
}
