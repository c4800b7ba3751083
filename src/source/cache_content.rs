//! What is in the cache, and what of it nobody has used for long.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::cache::{Cache, read_record};
use super::container_images::read_manifest;
use crate::digest::{Digest, name_of};
use crate::error::{Result, ResultExt};
use crate::lock::ImageEntry;

const DAY: Duration = Duration::from_secs(86_400);

/// What a file of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CachedKind {
    /// Whole and verified.
    Download,
    /// A raw copy of a packed base: it can be unpacked again.
    Unpacked,
    /// A download that was interrupted, and would go on where it stopped.
    Interrupted,
    /// What was read of a base: it can be read again.
    Blocks,
}

impl CachedKind {
    /// What it is, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Unpacked => "unpacked base",
            Self::Interrupted => "interrupted download",
            Self::Blocks => "parts of a base",
        }
    }
}

/// A file of the cache.
#[derive(Debug, Clone)]
pub struct CachedFile {
    pub path: PathBuf,
    pub kind: CachedKind,
    /// Bytes it takes.
    pub bytes: u64,
    /// Whole days since it was last used.
    pub unused: u64,
    /// What it was called when it was fetched.
    pub name: String,
    /// Of the file, or of the base that it was made from.
    pub sha256: Option<Digest>,
}

impl CachedFile {
    /// Removes it.
    pub fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path).context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// The files of the cache in `folder`, the largest first. Records of a few bytes are left out.
pub fn cached_files(folder: &Path) -> Result<Vec<CachedFile>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let cache = Cache::open(folder)?;
    let mut files = Vec::new();
    for (name, kind) in [
        ("sha256", CachedKind::Download),
        ("raw", CachedKind::Unpacked),
        ("partial", CachedKind::Interrupted),
        ("blocks", CachedKind::Blocks),
    ] {
        collect(&folder.join(name), kind, &cache, &mut files)?;
    }
    files.sort_by(|a, b| (b.bytes, &a.path).cmp(&(a.bytes, &b.path)));
    Ok(files)
}

/// Those of `files` that were not used for `days` days, and do not hold what is in `pinned`.
pub fn unused<'f>(
    files: &'f [CachedFile],
    days: u64,
    pinned: &BTreeSet<Digest>,
) -> Vec<&'f CachedFile> {
    let is_pinned = |file: &CachedFile| {
        let is_kept = file.kind == CachedKind::Download;
        is_kept && file.sha256.is_some_and(|digest| pinned.contains(&digest))
    };
    let mut found = files.iter().collect::<Vec<_>>();
    found.retain(|file| file.unused >= days && !is_pinned(file));
    found
}

/// The digests of what `images` have beside their manifests, as far as those are in the cache in `folder`.
pub fn blobs_of(folder: &Path, images: &[ImageEntry]) -> Result<BTreeSet<Digest>> {
    let mut found = BTreeSet::new();
    if !folder.exists() {
        return Ok(found);
    }
    let cache = Cache::open(folder)?;
    for image in images {
        let path = cache.object(&image.sha256);
        // One that cannot be read is fetched again, and its blobs with it.
        if let Ok(Some(manifest)) = read_manifest(&path, &image.name) {
            found.extend(manifest.blobs().map(|blob| blob.digest));
        }
    }
    Ok(found)
}

fn collect(
    folder: &Path,
    kind: CachedKind,
    cache: &Cache,
    files: &mut Vec<CachedFile>,
) -> Result<()> {
    let failed = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).context(failed)? {
        let entry = entry.context(failed)?;
        if entry.file_type().context(failed)?.is_dir() {
            collect(&entry.path(), kind, cache, files)?;
        } else if entry.path().extension().is_none_or(|end| end != "json") {
            files.extend(cached(&entry, kind, cache));
        }
    }
    Ok(())
}

/// `None`: another build has removed it meanwhile.
fn cached(entry: &DirEntry, kind: CachedKind, cache: &Cache) -> Option<CachedFile> {
    let (path, metadata) = (entry.path(), entry.metadata().ok()?);
    let age = SystemTime::now().duration_since(metadata.modified().ok()?);
    let stem = path.file_stem()?.to_string_lossy().into_owned();
    let sha256 = Digest::parse(&stem);
    let name = sha256.and_then(|digest| read_record(&cache.name(&digest)));
    Some(CachedFile {
        kind,
        bytes: metadata.len(),
        unused: age.unwrap_or_default().as_secs() / DAY.as_secs(),
        name: name.unwrap_or_else(|| name_of(&path)),
        sha256,
        path,
    })
}
