//! Downloads of files whose checksum is known: resumed, verified, placed in the cache.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::cache::{self, Cache, SPACE_HINT, read_record, write_failed, write_record};
use super::checksum::{CHUNK, Checksum, Hasher};
use super::http::{Client, Failure, Response, Server, header, interrupted_body, status_error};
use crate::digest::Digest;
use crate::disk_space::free_space;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::Job;
use crate::size::human;
use crate::url::Url;

/// Downloading this much more than ever before counts as progress.
const PROGRESS_STEP: u64 = 1 << 20;

/// A file to download.
pub(super) struct Wanted<'a> {
    pub url: &'a Url,
    /// What it is called in messages.
    pub name: &'a str,
    pub checksum: &'a Checksum,
    pub size: Option<u64>,
    /// What to do when it is something else, if that is known.
    pub hint: Option<String>,
}

/// What a download goes through.
pub(super) struct Way<'a> {
    pub client: &'a Client,
    /// Who is asked; the client itself where no login is needed.
    pub server: &'a dyn Server,
    pub job: &'a Job,
}

/// Downloads `wanted` into `cache`, which must be locked for it; returns the digest it is kept under.
pub(super) fn download(way: &Way, cache: &Cache, wanted: &Wanted) -> Result<Digest> {
    let mut part = Part::open(cache.partial(wanted.checksum), wanted)?;
    match fill(way, wanted, &mut part) {
        Ok(()) => {
            let digest = part.hasher.sha256();
            part.finish(&cache.object(&digest))?;
            Ok(digest)
        }
        Err(error) => {
            if error.kind() == ErrorKind::Verification {
                part.discard();
            }
            Err(error.context(format!("downloading {}", wanted.name)))
        }
    }
}

/// Downloads into `part` until it has the right checksum. What was pieced together from several
/// requests gets a second chance in one piece.
fn fill(way: &Way, wanted: &Wanted, part: &mut Part) -> Result<()> {
    let job = way.job;
    part.absorb(job)?;
    loop {
        if !part.is_complete() {
            way.client
                .retrying(|| attempt(way, wanted, part))
                .map_err(Failure::into_error)?;
        }
        if part.hasher.meets(wanted.checksum) {
            return Ok(());
        }
        if !part.was_resumed {
            return Err(mismatch(wanted, &part.hasher.checksum(), part.len));
        }
        job.progress.note(&format!(
            "{} is not what it should be after resuming its download; starting it again",
            wanted.name
        ));
        part.restart()?;
    }
}

fn mismatch(wanted: &Wanted, found: &Checksum, len: u64) -> Error {
    let algorithm = found.algorithm();
    Error::verification(format!(
        "{} has the wrong {algorithm}: expected {}, downloaded {found} ({len} bytes) from {}",
        wanted.name, wanted.checksum, wanted.url
    ))
    .with_hint(wanted.hint.clone().unwrap_or_else(|| {
        format!(
            "nothing was kept; if this repeats, the file at the URL was replaced or a proxy alters it, \
             or the expected {algorithm} is that of another file"
        )
    }))
}

/// What is known about a partial download, kept beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct PartRecord {
    url: String,
    /// A strong `ETag`, or `Last-Modified`: what `If-Range` takes.
    validator: Option<String>,
    total: Option<u64>,
}

/// A download under way.
struct Part {
    file: File,
    path: PathBuf,
    record: PartRecord,
    len: u64,
    hasher: Hasher,
    /// The most bytes it ever had.
    furthest: u64,
    /// Some of it comes from an earlier request.
    was_resumed: bool,
}

impl Part {
    fn open(path: PathBuf, wanted: &Wanted) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context(|| format!("cannot open {}", path.display()))?;
        let record: PartRecord = read_record(&record_path(&path)).unwrap_or_default();
        let mut part = Self {
            file,
            path,
            record,
            len: 0,
            hasher: Hasher::new(wanted.checksum),
            furthest: 0,
            was_resumed: false,
        };
        let is_usable = part.record.url == wanted.url.as_str() && part.record.validator.is_some();
        if !is_usable {
            part.restart()?;
        }
        Ok(part)
    }

    /// Hashes what is in the file from an earlier run.
    fn absorb(&mut self, job: &Job) -> Result<()> {
        let failed = || "cannot read a partial download".to_owned();
        let mut buffer = vec![0; CHUNK];
        loop {
            job.cancel.check()?;
            let n = self.file.read(&mut buffer).context(failed)?;
            if n == 0 {
                self.was_resumed = self.len > 0;
                return Ok(());
            }
            self.hasher.update(&buffer[..n]);
            self.len += n as u64;
        }
    }

    fn is_complete(&self) -> bool {
        self.len > 0 && self.record.total == Some(self.len)
    }

    /// Forgets everything downloaded so far.
    fn restart(&mut self) -> Result<()> {
        let failed = || format!("cannot empty {}", self.path.display());
        self.file.set_len(0).context(failed)?;
        self.file.seek(SeekFrom::Start(0)).context(failed)?;
        self.len = 0;
        self.hasher.reset();
        self.record = PartRecord::default();
        self.was_resumed = false;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| write_failed(error, &self.path, self.len))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Whether it got notably further than ever before.
    fn progressed(&mut self) -> bool {
        let progressed = self.len >= self.furthest + PROGRESS_STEP;
        self.furthest = self.furthest.max(self.len);
        progressed
    }

    fn remember(&mut self, record: PartRecord) -> Result<()> {
        write_record(&record_path(&self.path), &record)?;
        self.record = record;
        Ok(())
    }

    fn finish(self, target: &Path) -> Result<()> {
        cache::place(&self.file, &self.path, target)?;
        let _ = fs::remove_file(record_path(&self.path));
        Ok(())
    }

    fn discard(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(record_path(&self.path));
    }
}

fn record_path(part: &Path) -> PathBuf {
    part.with_extension("part.json")
}

fn attempt(way: &Way, wanted: &Wanted, part: &mut Part) -> Result<(), Failure> {
    let job = way.job;
    let response = request(way.server, wanted, part)?;
    let total = accept(&response, wanted, part)?;
    let mut task = job
        .progress
        .begin(&format!("downloading {}", wanted.name), total);
    task.advance(part.len);
    let mut body = response;
    let mut buffer = vec![0; CHUNK];
    loop {
        job.cancel.check()?;
        let n = match body.read(&mut buffer) {
            Ok(0) => return ended(wanted, part, total),
            Ok(n) => n,
            Err(error) => return Err(broke_off(error, wanted, part)),
        };
        part.append(&buffer[..n])?;
        task.advance(n as u64);
        check_not_longer(wanted, part, total)?;
    }
}

fn request(server: &dyn Server, wanted: &Wanted, part: &Part) -> Result<Response, Failure> {
    match (&part.record.validator, part.len) {
        (Some(validator), 1..) => {
            let range = format!("bytes={}-", part.len);
            server.get(wanted.url, &[("Range", &range), ("If-Range", validator)])
        }
        _ => server.get(wanted.url, &[]),
    }
}

/// Decides from the head of an answer where its body goes, and how long the whole file is.
fn accept(response: &Response, wanted: &Wanted, part: &mut Part) -> Result<Option<u64>, Failure> {
    let headers = response.headers();
    let total = match response.status() {
        StatusCode::OK => {
            part.restart()?;
            header(headers, "content-length").and_then(|length| length.parse().ok())
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = header(headers, "content-range").and_then(parse_content_range);
            match range {
                Some((start, total)) if start == part.len && part.len > 0 => {
                    part.was_resumed = true;
                    total.or(part.record.total)
                }
                _ => return Err(unusable_range(wanted, part)),
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => return Err(unusable_range(wanted, part)),
        other => return Err(Failure::Stop(status_error(other, wanted.url))),
    };
    check_size(wanted, total)?;
    check_space(wanted, part, total)?;
    let validator = validator(headers).or(part.record.validator.take());
    part.remember(PartRecord {
        url: wanted.url.as_str().to_owned(),
        validator,
        total: total.or(wanted.size),
    })?;
    Ok(total.or(wanted.size))
}

fn unusable_range(wanted: &Wanted, part: &mut Part) -> Failure {
    let had = part.len;
    match part.restart() {
        Err(error) => Failure::Stop(error),
        Ok(()) => Failure::retry(Error::failed(format!(
            "{}: the server could not continue after {had} bytes",
            wanted.url
        ))),
    }
}

fn check_size(wanted: &Wanted, total: Option<u64>) -> Result<()> {
    match (wanted.size, total) {
        (Some(expected), Some(total)) if expected != total => {
            Err(wrong_size(wanted, expected, total))
        }
        _ => Ok(()),
    }
}

fn wrong_size(wanted: &Wanted, expected: u64, found: u64) -> Error {
    Error::verification(format!(
        "{} has the wrong size: expected {expected} bytes, {} has {found}",
        wanted.name, wanted.url
    ))
    .with_hint("a proxy or login page may have answered instead, or the file was replaced: try again later")
}

fn check_space(wanted: &Wanted, part: &Part, total: Option<u64>) -> Result<()> {
    let folder = part.path.parent().unwrap_or(Path::new("."));
    let (Some(total), Some(free)) = (total, free_space(folder)) else {
        return Ok(());
    };
    let needed = total.saturating_sub(part.len);
    if needed <= free {
        return Ok(());
    }
    Err(Error::failed(format!(
        "{} needs {} more in {}, where {} are free",
        wanted.name,
        human(needed),
        folder.display(),
        human(free)
    ))
    .with_hint(SPACE_HINT))
}

fn check_not_longer(wanted: &Wanted, part: &Part, total: Option<u64>) -> Result<()> {
    match total {
        Some(total) if part.len > total => Err(wrong_size(wanted, total, part.len)),
        _ => Ok(()),
    }
}

fn ended(wanted: &Wanted, part: &mut Part, total: Option<u64>) -> Result<(), Failure> {
    match total {
        Some(total) if part.len < total => {
            let short = std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                format!("{} of {total} bytes came", part.len),
            );
            Err(broke_off(short, wanted, part))
        }
        _ => Ok(()),
    }
}

fn broke_off(error: std::io::Error, wanted: &Wanted, part: &mut Part) -> Failure {
    let progressed = part.progressed();
    match interrupted_body(error, wanted.url) {
        Failure::Retry { error, pause, .. } => Failure::Retry {
            error,
            pause,
            progressed,
        },
        stop => stop,
    }
}

/// What a later request can name in `If-Range` to be sure that it is the same file.
fn validator(headers: &HeaderMap) -> Option<String> {
    header(headers, "etag")
        .filter(|etag| etag.starts_with('"'))
        .or_else(|| header(headers, "last-modified"))
        .map(str::to_owned)
}

/// Start and total of `bytes 5-9/10`; the total may be unknown (`*`).
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((start.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["bytes */10", "5-9/10", "bytes 5/10", "bytes a-9/10", ""] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn weak_etags_do_not_validate() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(*name, value.parse().unwrap());
            }
            validator(&map)
        };
        assert_eq!(headers(&[("etag", "\"a\"")]), Some("\"a\"".into()));
        assert_eq!(headers(&[("etag", "W/\"a\"")]), None);
        let date = "Tue, 06 Oct 2026 00:00:00 GMT";
        assert_eq!(
            headers(&[("etag", "W/\"a\""), ("last-modified", date)]),
            Some(date.into())
        );
    }
}
