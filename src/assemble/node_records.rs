//! The records beside the images of a node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::file_records;
use super::node_job::{BuildContext, NodeJob};
use super::options::Digests;
use crate::digest::{Digest, name_of};
use crate::disk::CowDisk;
use crate::emit::{Emitted, Packing};
use crate::error::{Result, ResultExt};
use crate::lock::Moment;
use crate::patch::Patched;
use crate::records::{EditList, OutputFile, Record, provenance, spdx};
use crate::whole_file;

/// What the names of records end with, behind the host name.
const SPDX: &str = "spdx.json";
const PROVENANCE: &str = "provenance.json";
/// The same of the list of edits.
pub const EDIT_LIST: &str = "record.json";

/// Writes the records of a node whose `images` are complete, and adds them to those.
pub fn write(
    node: &NodeJob<'_>,
    disk: &Arc<CowDisk>,
    patched: &Patched,
    context: &BuildContext<'_>,
    images: &mut Vec<Emitted>,
) -> Result<()> {
    let folder = &context.outputs.folder;
    let record = record(node, disk, patched, context, images)?;
    let host = &node.plan.hostname;
    let (mut written, mut digests) = (Vec::new(), BTreeMap::new());
    for (ending, text) in [
        (SPDX, Some(spdx(&record)?)),
        (PROVENANCE, provenance(&record)?),
    ] {
        match text {
            Some(text) => {
                let file = write_one(folder, host, ending, &text)?;
                digests.insert(name_of(&file.path), Digest::of_bytes(&text));
                written.push(file);
            }
            // One of an earlier build would be of another image.
            None => remove_one(folder, host, ending),
        }
    }
    let list = EditList::of(&record, digests);
    written.push(write_one(folder, host, EDIT_LIST, &list.render()?)?);
    if context.outputs.digests == Digests::Free {
        // Whoever wants no checksums of images wants no list of those of records.
        written.iter_mut().for_each(|file| file.sha256 = None);
    }
    images.extend(written);
    Ok(())
}

/// Removes the records of a node whose images were only replaced in part.
pub fn remove(folder: &Path, host: &str) {
    for ending in [SPDX, PROVENANCE, EDIT_LIST] {
        remove_one(folder, host, ending);
    }
}

fn remove_one(folder: &Path, host: &str, ending: &str) {
    // It is not there as a rule; where it cannot be removed, `verify` finds that it fits no image.
    let _ = std::fs::remove_file(folder.join(format!("{host}.{ending}")));
}

fn write_one(folder: &Path, host: &str, ending: &str, text: &str) -> Result<Emitted> {
    let path = folder.join(format!("{host}.{ending}"));
    whole_file::write(&path, text.as_bytes())
        .context(|| format!("cannot write {}", path.display()))?;
    Ok(Emitted {
        path,
        size: text.len() as u64,
        sha256: Some(Digest::of_bytes(text)),
        raw_sha256: None,
    })
}

fn record(
    node: &NodeJob<'_>,
    disk: &Arc<CowDisk>,
    patched: &Patched,
    context: &BuildContext<'_>,
    images: &[Emitted],
) -> Result<Record> {
    let sources = node.sources;
    let outputs = images.iter().map(|image| OutputFile {
        name: name_of(&image.path),
        size: image.size,
        sha256: image.sha256,
    });
    let mut outputs: Vec<OutputFile> = outputs.collect();
    // However they were asked for.
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Record {
        profile: node.plan.profile.clone(),
        // FAT and SPDX know no time before 1970.
        created: Moment(patched.time.max(0)),
        outputs,
        size: patched.size,
        raw_sha256: images.iter().find_map(|image| image.raw_sha256),
        base: sources.base.clone(),
        suite: sources.content.suite().map(str::to_owned),
        installed: sources.content.installed().to_vec(),
        payloads: sources.payloads.clone(),
        packages: sources.packages.clone(),
        archives: sources.archives.clone(),
        lock_file: sources.lock_file,
        options: options(context),
        files: file_records::of_made(disk, &patched.made, &context.job.cancel)
            .context(|| "reading back what was written".into())?,
    })
}

/// The options that decide the bytes of the files.
fn options(context: &BuildContext<'_>) -> BTreeMap<String, Vec<String>> {
    let outputs = context.outputs;
    let mut formats: Vec<String> = outputs.formats.iter().map(ToString::to_string).collect();
    // However they were asked for.
    formats.sort();
    let compress = match outputs.packing {
        packing if packing == Packing::fast() => "fast",
        packing if packing == Packing::best() => "best",
        _ => "other",
    };
    BTreeMap::from([
        ("format".to_owned(), formats),
        ("compress".to_owned(), vec![compress.to_owned()]),
    ])
}
