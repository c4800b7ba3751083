//! The files of one node, in all formats that are asked for, and the checksums of all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node_job::{BuildContext, NodeJob};
use super::options::Digests;
use crate::digest::Digest;
use crate::disk::CowDisk;
use crate::emit::{self, Emitted, Format, WriteOptions};
use crate::error::{Error, Result, ResultExt};
use crate::image;

/// Writes the images of a node. When one fails, those that are complete are in `images`.
pub fn write(
    node: &NodeJob<'_>,
    disk: &Arc<CowDisk>,
    context: &BuildContext<'_>,
    images: &mut Vec<Emitted>,
) -> Result<()> {
    let hostname = &node.plan.hostname;
    for format in &context.outputs.formats {
        images.push(emit_one(*format, node, disk, context)?);
    }
    if context.outputs.digests == Digests::Raw {
        add_raw_digest(images, hostname, disk, context)?;
    }
    if context.outputs.bmap {
        images.push(write_bmap(hostname, disk, context)?);
    }
    Ok(())
}

fn emit_one(
    format: Format,
    node: &NodeJob<'_>,
    disk: &CowDisk,
    context: &BuildContext<'_>,
) -> Result<Emitted> {
    let name = format!("{}.{}", node.plan.hostname, format.extension());
    let path = context.outputs.folder.join(&name);
    let options = WriteOptions {
        packing: context.outputs.packing,
        digest: context.outputs.digests != Digests::Free,
        threads: context.shares.threads,
        private: node.plan.holds_secrets(),
    };
    let base = node.base.splice.as_ref();
    emit::write(format, disk, base, &path, &options, &context.job, &name)
}

/// Every image of a node holds the same raw image, so its digest is taken once.
fn add_raw_digest(
    images: &mut [Emitted],
    hostname: &str,
    disk: &CowDisk,
    context: &BuildContext<'_>,
) -> Result<()> {
    let known = images.iter().find_map(|image| image.raw_sha256);
    let digest = match known {
        Some(digest) => digest,
        None => {
            let label = format!("{hostname}: digest of the raw image");
            emit::raw_digest(disk, context.shares.threads, &context.job, &label)?
        }
    };
    for image in images {
        image.raw_sha256 = Some(digest);
    }
    Ok(())
}

/// One block map for all images of a node: `bmaptool` finds it by their names without `.xz`.
fn write_bmap(hostname: &str, disk: &Arc<CowDisk>, context: &BuildContext<'_>) -> Result<Emitted> {
    let (threads, job) = (context.shares.threads, &context.job);
    let name = format!("{hostname}.img.bmap");
    let used = image::used_ranges(disk, &job.cancel)?.known()?;
    let path = context.outputs.folder.join(&name);
    emit::write_bmap(disk, &used, &path, threads, job, &name)
}

/// Writes SHA256SUMS beside the images. Lines of images that were built earlier and are still there
/// are kept. `None`: there is nothing to write in it.
pub fn write_checksums<'a>(
    out: &Path,
    images: impl Iterator<Item = &'a Emitted>,
) -> Result<Option<PathBuf>> {
    let path = out.join(emit::CHECKSUMS);
    let mut sums: BTreeMap<String, Digest> = BTreeMap::new();
    let before = std::fs::read_to_string(&path);
    for line in before.as_deref().unwrap_or_default().lines() {
        if let Some((digest, name)) = line.split_once("  ")
            && let Some(digest) = Digest::parse(digest)
            && out.join(name).is_file()
        {
            sums.insert(name.to_owned(), digest);
        }
    }
    let mut images = images.peekable();
    if images.peek().is_none() {
        return Ok(None);
    }
    for image in images {
        let name = image
            .path
            .file_name()
            .ok_or_else(|| Error::failed(format!("{} has no file name", image.path.display())))?;
        let name = name.to_string_lossy().into_owned();
        match &image.sha256 {
            Some(digest) => sums.insert(name, *digest),
            None => sums.remove(&name),
        };
    }
    if sums.is_empty() {
        // Its lines would be those of images that were replaced.
        let removed = before.map_or(Ok(()), |_| std::fs::remove_file(&path));
        return removed
            .context(|| format!("removing {}", path.display()))
            .map(|()| None);
    }
    let entries: Vec<(Digest, String)> = sums.into_iter().map(|(name, sum)| (sum, name)).collect();
    emit::write_checksums(&path, &entries)?;
    Ok(Some(path))
}
