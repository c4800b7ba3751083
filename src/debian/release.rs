//! Release files: what an archive's suite has, with sizes and digests.
//! <https://wiki.debian.org/DebianRepository/Format#A.22Release.22_files>

use std::collections::BTreeMap;

use super::names::is_relative_path;
use super::paragraph::{Paragraphs, shown};
use crate::clock::parse_date;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Files of a suite. trixie has 4,000.
const MAX_FILES: usize = 100_000;

/// How indexes are packed, the smallest first. The empty one is none.
const PACKINGS: [&str; 3] = [".xz", ".gz", ""];

/// The text of a Release file, or of an InRelease whose signature was checked and taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub origin: Option<String>,
    pub suite: Option<String>,
    pub codename: Option<String>,
    /// When it was made, in seconds since 1970.
    pub date: i64,
    /// From when on it must not be used, in seconds since 1970. Debian's security archive and updates
    /// have it, its main suites do not.
    pub valid_until: Option<i64>,
    /// Whether files can be fetched by their digest: the only way that holds while a mirror is updated.
    pub by_hash: bool,
    /// Whether packages of architecture `all` are only in an index of their own.
    all_apart: bool,
    files: BTreeMap<String, (u64, Digest)>,
}

/// An index of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Below `<uri>/dists/<suite>/`.
    pub path: String,
    /// Where it is under its digest, below the same; `None` if the archive has no such place.
    pub by_hash: Option<String>,
    /// Bytes of the file as it is fetched.
    pub size: u64,
    /// Of the file as it is fetched.
    pub sha256: Digest,
}

impl Release {
    /// Reads a Release file; `origin` is its name in messages.
    ///
    /// # Errors
    /// No date, no SHA-256 digests, or anything malformed.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        if text.trim_start().starts_with("-----BEGIN PGP") {
            return Err(Error::failed(format!(
                "{origin} is still signed: its text has to be taken from the checked signature"
            )));
        }
        let mut paragraphs = Paragraphs::new(text.as_bytes(), origin);
        let Some(fields) = paragraphs.next()? else {
            return Err(Error::failed(format!("{origin} is empty")));
        };
        let text = |name: &str| fields.get(name).map(str::to_owned);
        let has = |name: &str, word: &str| {
            let mut words = fields.text(name).split_ascii_whitespace();
            words.any(|found| found == word)
        };
        Ok(Self {
            origin: text("Origin"),
            suite: text("Suite"),
            codename: text("Codename"),
            date: fields.parsed("Date", seconds)?,
            valid_until: fields.maybe("Valid-Until", seconds)?,
            by_hash: fields.get("Acquire-By-Hash") == Some("yes"),
            all_apart: has("Architectures", "all")
                && !has("No-Support-for-Architecture-all", "Packages"),
            files: files(fields.required("SHA256")?, origin)?,
        })
    }

    /// The indexes of the packages of a component for an architecture, each in its smallest packing:
    /// one, or two where packages for all architectures are apart.
    ///
    /// # Errors
    /// The suite has no such component or architecture.
    pub fn indexes(&self, component: &str, architecture: &str) -> Result<Vec<IndexFile>> {
        let index = |architecture: &str| {
            let path = format!("{component}/binary-{architecture}/Packages");
            self.smallest(&path)
        };
        let Some(own) = index(architecture) else {
            let suite = self.codename.as_ref().or(self.suite.as_ref());
            return Err(Error::failed(format!(
                "the archive has no packages of `{component}` for {architecture} in `{}`",
                suite.map_or("its suite", String::as_str)
            ))
            .with_hint("compare the base's /etc/apt/sources.list.d with what the archive has"));
        };
        let all = self.all_apart.then(|| index("all")).flatten();
        Ok([Some(own), all].into_iter().flatten().collect())
    }

    /// Size in bytes and digest of a file, by its path below `<uri>/dists/<suite>/`.
    pub fn file(&self, path: &str) -> Option<(u64, Digest)> {
        self.files.get(path).copied()
    }

    fn smallest(&self, path: &str) -> Option<IndexFile> {
        PACKINGS.iter().find_map(|packing| {
            let path = format!("{path}{packing}");
            let (size, sha256) = self.file(&path)?;
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let by_hash = format!("{folder}/by-hash/SHA256/{sha256}");
            Some(IndexFile {
                by_hash: self.by_hash.then_some(by_hash),
                path,
                size,
                sha256,
            })
        })
    }
}

/// Lines of `digest size path`.
fn files(text: &str, origin: &str) -> Result<BTreeMap<String, (u64, Digest)>> {
    let mut files = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || {
            Error::failed(format!(
                "{origin}: `SHA256` has a line that is not `digest size path`: `{}`",
                shown(line)
            ))
        };
        let mut words = line.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path)) = (words.next(), words.next(), words.next())
        else {
            return Err(wrong());
        };
        let digest = Digest::parse(digest).ok_or_else(wrong)?;
        let size = size.parse().map_err(|_| wrong())?;
        if !is_relative_path(path) || words.next().is_some() {
            return Err(wrong());
        }
        files.insert(path.to_owned(), (size, digest));
        if files.len() > MAX_FILES {
            return Err(Error::failed(format!(
                "{origin} lists more than {MAX_FILES} files"
            )));
        }
    }
    Ok(files)
}

/// `Sat, 21 Nov 2026 09:15:44 UTC` in seconds since 1970. All other zones are refused, as apt does.
fn seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [day, month, year, time, "UTC" | "GMT" | "Z" | "+0000"] = *words else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let days = parse_date(&format!("{year}-{month:02}-{day:0>2}"))?;
    let parts: Option<Vec<i64>> = time.split(':').map(two_digits).collect();
    let [hours, minutes, seconds] = *parts? else {
        return None;
    };
    let in_range = hours < 24 && minutes < 60 && seconds <= 60;
    in_range.then_some(days * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

fn two_digits(text: &str) -> Option<i64> {
    let digits = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(more: &str, files: &[&str]) -> String {
        let digest = Digest::of_bytes("");
        let lines = files.iter().map(|path| format!(" {digest} 12 {path}\n"));
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
             {more}MD5Sum:\n 00 1 x\nSHA256:\n{}",
            lines.collect::<String>()
        )
    }

    fn paths(release: &Release, component: &str) -> Vec<String> {
        let indexes = release.indexes(component, "arm64").unwrap();
        indexes.into_iter().map(|index| index.path).collect()
    }

    #[test]
    fn a_release_says_when_it_was_made_and_where_its_indexes_are() {
        let more = "Valid-Until: Tue, 01 Dec 2026 00:34:34 UTC\nAcquire-By-Hash: yes\n";
        let files = [
            "main/binary-arm64/Packages",
            "main/binary-arm64/Packages.gz",
            "main/binary-arm64/Packages.xz",
            "contrib/binary-arm64/Packages",
        ];
        let release = Release::parse(&text(more, &files), "InRelease").unwrap();
        assert_eq!(release.codename.as_deref(), Some("trixie"));
        assert_eq!(release.date, 1_795_252_544);
        assert_eq!(release.valid_until, Some(1_796_085_274));
        let index = release.indexes("main", "arm64").unwrap().remove(0);
        let by_hash = format!("main/binary-arm64/by-hash/SHA256/{}", Digest::of_bytes(""));
        assert_eq!((index.path.as_str(), index.size), (files[2], 12));
        assert_eq!(index.by_hash, Some(by_hash));
        assert_eq!(paths(&release, "contrib"), [files[3]]);
        let error = release
            .indexes("non-free", "arm64")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`non-free`") && error.contains("`trixie`"),
            "{error}"
        );
    }

    #[test]
    fn packages_for_all_architectures_may_be_apart() {
        let files = [
            "main/binary-all/Packages.xz",
            "main/binary-arm64/Packages.xz",
        ];
        let apart = "Architectures: all arm64\n";
        let release = Release::parse(&text(apart, &files), "Release").unwrap();
        assert_eq!(paths(&release, "main"), [files[1], files[0]]);
        assert_eq!(release.indexes("main", "arm64").unwrap()[0].by_hash, None);
        let within = "Architectures: all arm64\nNo-Support-for-Architecture-all: Packages\n";
        let release = Release::parse(&text(within, &files), "Release").unwrap();
        assert_eq!(paths(&release, "main"), [files[1]]);
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        for (text, wanted) in [
            (String::new(), "is empty"),
            (
                "-----BEGIN PGP SIGNED MESSAGE-----\n".to_owned(),
                "still signed",
            ),
            (text("", &["../x"]), "not `digest size path`"),
            (text("", &["a b"]), "not `digest size path`"),
            (text("", &[]), "no field `SHA256`"),
            (text("", &["x"]).replace("UTC", "PST"), "`Date` cannot be"),
            (text("", &["x"]).replace("Nov", "Nev"), "`Date` cannot be"),
            (
                text("", &["x"]).replace("21 Nov", "31 Nov"),
                "`Date` cannot be",
            ),
            (
                text("", &["x"]).replace("09:15:44", "9:-1:44"),
                "`Date` cannot be",
            ),
            (text("", &["x"]).replace("Date", "Dote"), "no field `Date`"),
        ] {
            let error = Release::parse(&text, "Release").unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
