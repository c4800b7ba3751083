//! An image compared with the record of its build.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bases::{Base, Demand};
use super::budget::DEFAULT_MEMORY;
use super::file_records;
use super::node_records::EDIT_LIST;
use super::open_image::open_disk;
use super::whole_disk;
use crate::digest::{Digest, name_of};
use crate::disk::ReadAt;
use crate::emit::Format;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{Aspects, Change, Difference, FileSystem, Tree, differences};
use crate::job::Job;
use crate::lock::{ImageFacts, Location, Pin, Verified as Reason};
use crate::records::{EditList, FileRecord, Kind};
use crate::source::{FetchOptions, Store};
use crate::url::Url;

/// Bytes of a record: one of a million files is not that long.
const MAX_RECORD: u64 = 256 << 20;

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// An image, a copy of a card, or a card.
    pub image: PathBuf,
    /// The record; `None`: the one beside the image.
    pub record: Option<PathBuf>,
    /// The base, where it is not in the cache.
    pub base: Option<PathBuf>,
    /// Whether files are compared also where the SHA-256 is the same.
    pub deep: bool,
    pub fetch: FetchOptions,
}

/// What the SHA-256 of an image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digested {
    Same,
    Differs {
        expected: Digest,
        found: Digest,
    },
    /// The record has none of a file like this, or it is no file.
    Unknown,
}

/// What a comparison came to.
#[derive(Debug)]
pub struct Verified {
    /// The record that was used.
    pub record: PathBuf,
    /// Names of the files that it is the record of.
    pub outputs: Vec<String>,
    pub digest: Digested,
    /// Records beside it that are not those that were written with it.
    pub other_records: Vec<PathBuf>,
    /// `None`: files were not compared.
    pub files: Option<Files>,
}

/// What a comparison of files came to.
#[derive(Debug)]
pub struct Files {
    /// How many files of the record were compared.
    pub compared: usize,
    /// What is not as it was, sorted. Of a base that is at hand, too.
    pub differences: Vec<Difference>,
    /// Why the rest of the image was not compared with the base.
    pub no_base: Option<String>,
}

impl Verified {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        let files = self.files.as_ref();
        let no_difference = files.is_none_or(|files| files.differences.is_empty());
        let is_same = !matches!(self.digest, Digested::Differs { .. });
        is_same && no_difference && self.other_records.is_empty()
    }
}

/// Compares an image with its record.
///
/// # Errors
/// A record that is not there or is damaged; an image that cannot be read. What differs is no error.
pub fn verify(request: &VerifyRequest, job: &Job) -> Result<Verified> {
    let path = record_path(request)?;
    let record = EditList::parse(&read(&path)?, &path.display().to_string())?;
    let digest = compare_digest(&request.image, &record, job)?;
    let mut found = Verified {
        outputs: record.outputs.keys().cloned().collect(),
        other_records: other_records(&path, &record, job)?,
        digest,
        files: None,
        record: path,
    };
    if request.deep || found.digest != Digested::Same {
        let files = compare_files(request, &record, job);
        found.files = Some(files.map_err(|error| not_readable(error, &found.digest, request))?);
    }
    Ok(found)
}

/// An image whose digest is wrong may be anything: that it cannot be read is what verifying found.
fn not_readable(error: Error, digest: &Digested, request: &VerifyRequest) -> Error {
    let image = request.image.display();
    match digest {
        Digested::Differs { .. }
            if matches!(error.kind(), ErrorKind::Failed | ErrorKind::Verification) =>
        {
            Error::verification(format!(
                "{image} has another SHA-256 than its record says, and cannot be read"
            ))
            .with_source(error)
        }
        _ => error.context(format!("comparing the files of {image}")),
    }
}

fn record_path(request: &VerifyRequest) -> Result<PathBuf> {
    if let Some(path) = &request.record {
        return Ok(path.clone());
    }
    let name = name_of(&request.image);
    let stem = Format::ALL
        .iter()
        .find_map(|format| name.strip_suffix(format.extension())?.strip_suffix('.'));
    let Some(stem) = stem else {
        return Err(Error::usage(format!(
            "which record? Only those of images are found by their name, and {} is none",
            request.image.display()
        ))
        .with_hint("name it: --record out/NODE.record.json"));
    };
    Ok(request.image.with_file_name(format!("{stem}.{EDIT_LIST}")))
}

fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        Error::usage(format!("the record {shown} cannot be read"))
            .with_source(error)
            .with_hint(
                "`imgbuild build` writes it beside the image; --record names one that is elsewhere",
            )
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_RECORD + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let text = String::from_utf8(text).ok();
    text.filter(|text| text.len() as u64 <= MAX_RECORD)
        .ok_or_else(|| {
            Error::usage(format!("{shown} is not a record of imgbuild"))
                .with_hint("take the NODE.record.json that was written with the image")
        })
}

/// Records beside the one that is used which are others than it says. One that is not there is none.
fn other_records(path: &Path, record: &EditList, job: &Job) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (name, digest) in &record.records {
        // A name with a folder in it would lead elsewhere.
        let beside = path.with_file_name(name);
        if name_of(&beside) != *name || !beside.is_file() {
            continue;
        }
        if Digest::of_file(&beside, job)? != *digest {
            found.push(beside);
        }
    }
    Ok(found)
}

fn compare_digest(image: &Path, record: &EditList, job: &Job) -> Result<Digested> {
    let shown = image.display();
    let metadata = fs::metadata(image).map_err(|error| {
        Error::usage(format!("{shown} cannot be read"))
            .with_source(error)
            .with_hint("check the path")
    })?;
    if metadata.is_dir() {
        return Err(Error::usage(format!("{shown} is a folder, not an image"))
            .with_hint("name one image, such as out/NODE.img.xz"));
    }
    let Some(expected) = expected_digest(&name_of(image), record).filter(|_| metadata.is_file())
    else {
        return Ok(Digested::Unknown);
    };
    let found = Digest::of_file(image, job)?;
    Ok(if found == expected {
        Digested::Same
    } else {
        Digested::Differs { expected, found }
    })
}

/// What the file `name` must come to: by its name, or else, where it was renamed, by its format.
fn expected_digest(name: &str, record: &EditList) -> Option<Digest> {
    if let Some(output) = record.outputs.get(name) {
        return output.sha256;
    }
    let format = Format::ALL
        .iter()
        .find(|format| name.ends_with(&format!(".{format}")))?;
    if *format == Format::Img && record.image.sha256.is_some() {
        return record.image.sha256;
    }
    let ending = format!(".{format}");
    let mut outputs = record.outputs.iter();
    let same = outputs.find(|(name, _)| name.ends_with(&ending));
    same.and_then(|(_, output)| output.sha256)
}

fn compare_files(request: &VerifyRequest, record: &EditList, job: &Job) -> Result<Files> {
    let mut disk = open_disk(&request.image, &request.fetch, job)?;
    let base = base_disk(request, record, job)?;
    // Of a packed image the few files of the record are read where they lie.
    if base.is_ok() {
        disk = whole_disk::unpacked(
            disk,
            &name_of(&request.image),
            &request.fetch.cache_dir,
            job,
        )?;
    }
    let tree = Tree::open(disk)?;
    let mut found = Vec::new();
    for file in &record.files {
        job.cancel.check()?;
        let now = file_records::at(&tree, file.on, &file.path, file.secret, &job.cancel)?;
        found.extend(difference(file, &now));
    }
    let no_base = match base {
        Ok(base) => {
            found.extend(others(&base, &tree, request, record, job)?);
            None
        }
        Err(why) => Some(why),
    };
    found.sort_by(|a, b| (a.on, &a.path).cmp(&(b.on, &b.path)));
    Ok(Files {
        compared: record.files.len(),
        differences: found,
        no_base,
    })
}

/// What differs from the base where the record has nothing.
fn others(
    base: &Arc<dyn ReadAt>,
    tree: &Tree,
    request: &VerifyRequest,
    record: &EditList,
    job: &Job,
) -> Result<Vec<Difference>> {
    let (name, folder) = (&record.base.name, &request.fetch.cache_dir);
    let base = Tree::open(whole_disk::unpacked(base.clone(), name, folder, job)?)?;
    job.progress.note("comparing all other files with the base");
    let known: BTreeSet<(FileSystem, &str)> = record
        .files
        .iter()
        .map(|file| (file_records::file_system(file.on), file.path.as_str()))
        .collect();
    let mut others = differences(&base, tree, &job.cancel)?;
    others.retain(|other| !known.contains(&(other.on, other.path.as_str())));
    Ok(others)
}

/// What is not at a path as it was.
fn difference(then: &FileRecord, now: &FileRecord) -> Option<Difference> {
    let change = match (then.kind, now.kind) {
        _ if then == now => return None,
        (_, Kind::Absent) => Change::Removed,
        (Kind::Absent, _) => Change::Added,
        _ => Change::Changed(Aspects {
            kind: then.kind != now.kind,
            content: then.kind == now.kind && then.sha256 != now.sha256,
            mode: then.mode != now.mode,
            owner: (then.uid, then.gid) != (now.uid, now.gid),
            target: then.target != now.target,
        }),
    };
    Some(Difference {
        on: file_records::file_system(then.on),
        path: then.path.clone(),
        change,
    })
}

/// The base, if it is at hand, or why it is not.
fn base_disk(
    request: &VerifyRequest,
    record: &EditList,
    job: &Job,
) -> Result<std::result::Result<Arc<dyn ReadAt>, String>> {
    let wanted = &record.base;
    if let Some(path) = &request.base {
        let found = Digest::of_file(path, job)?;
        if found != wanted.sha256 {
            return Err(Error::usage(format!(
                "{} is not the base of the image: its SHA-256 is {found}, and the record says {}",
                path.display(),
                wanted.sha256
            ))
            .with_hint(format!("name the file {} with --base", wanted.name)));
        }
        return open_disk(path, &request.fetch, job).map(Ok);
    }
    let name = &wanted.name;
    let Some(url) = &wanted.url else {
        return Ok(Err(format!(
            "the base {name} was a file: `--base FILE` names it"
        )));
    };
    let fetch = FetchOptions {
        offline: true,
        ..request.fetch.clone()
    };
    let store = Store::new(fetch, job.clone())?;
    let pin = Pin {
        name: name.clone(),
        description: name.clone(),
        location: Location::Url(Url::parse(url)?),
        also: Vec::new(),
        size: None,
        sha256: wanted.sha256,
        verified: vec![Reason::Given],
        resolved: record.time.0,
        image: ImageFacts::default(),
    };
    let Ok(file) = store.fetch(&pin) else {
        return Ok(Err(format!(
            "the base {name} is not in the cache: `--base FILE` names it"
        )));
    };
    let base = Base::open(&pin, file, &Demand::of_edits(), DEFAULT_MEMORY, &store)
        .context(|| format!("opening the base {name}"))?;
    Ok(Ok(base.disk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Partition;

    fn file(kind: Kind, mode: &str, content: &str) -> FileRecord {
        FileRecord {
            on: Partition::Root,
            path: "/a".to_owned(),
            kind,
            mode: Some(mode.to_owned()),
            uid: Some(0),
            gid: Some(0),
            sha256: Some(Digest::of_bytes(content)),
            target: None,
            secret: false,
        }
    }

    #[test]
    fn differences_say_what_of_a_file_is_another() {
        let then = file(Kind::File, "0644", "a");
        let change = |now: &FileRecord| difference(&then, now).map(|found| found.change);
        assert_eq!(change(&then), None);
        let absent = file(Kind::Absent, "0644", "a");
        assert_eq!(change(&absent), Some(Change::Removed));
        let added = difference(&absent, &then).map(|found| found.change);
        assert_eq!(added, Some(Change::Added));
        let aspects = Aspects {
            content: true,
            mode: true,
            ..Aspects::default()
        };
        let now = file(Kind::File, "0600", "b");
        assert_eq!(change(&now), Some(Change::Changed(aspects)));
    }
}
