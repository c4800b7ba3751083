//! Fetches the payloads that plans name, each once, and checks what they are.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, ResultExt};
use crate::kubernetes::is_manifest;
use crate::patch::{LoadedPayload, Payloads, check_elf};
use crate::plan::{Action, Content, PayloadRef, Plan, Unpack, manifest_text};
use crate::source::{Pins, tar_member, tar_tree, tree_files, tree_member};

/// Bytes of an ELF file that tell what it is for.
const ELF_HEAD: usize = 64;

/// Loads every payload of `plans` that is not among `payloads`.
pub fn load(plans: &[Plan], pins: &Pins<'_>, payloads: &mut Payloads) -> Result<()> {
    for plan in plans {
        for wanted in plan.payloads() {
            load_missing(wanted, plan, pins, payloads)?;
        }
    }
    Ok(())
}

/// Loads those payloads of `plans` that are Kubernetes manifests.
pub fn load_manifests(plans: &[Plan], pins: &Pins<'_>, payloads: &mut Payloads) -> Result<()> {
    for plan in plans {
        for edit in plan.edits.iter().filter(|edit| is_manifest(&edit.path)) {
            if let Action::Write(Content::Payload(wanted), _) = &edit.action {
                load_missing(wanted, plan, pins, payloads)?;
            }
        }
    }
    Ok(())
}

fn load_missing(
    wanted: &PayloadRef,
    plan: &Plan,
    pins: &Pins<'_>,
    payloads: &mut Payloads,
) -> Result<()> {
    if !payloads.contains_key(wanted) {
        let loaded = load_one(wanted, pins)
            .context(|| format!("payload {} of {}", wanted.request.name, plan.hostname))?;
        payloads.insert(wanted.clone(), loaded);
    }
    Ok(())
}

fn load_one(wanted: &PayloadRef, pins: &Pins<'_>) -> Result<LoadedPayload> {
    let name = &wanted.request.name;
    let path = pins
        .payload(&wanted.request)
        .and_then(|pin| pins.store().fetch(&pin))
        .context(|| format!("fetching {name}"))?;
    let loaded = match &wanted.manifest {
        Some(_) => LoadedPayload::Bytes(manifest_text(wanted, &path)?),
        None => unpack(wanted, path)?,
    };
    if let Some(machine) = &wanted.elf {
        check_elf(name, &head(&loaded)?, machine)?;
    }
    Ok(loaded)
}

fn unpack(wanted: &PayloadRef, path: PathBuf) -> Result<LoadedPayload> {
    match (&wanted.member, wanted.unpack) {
        (Some(pattern), Some(Unpack::Files(mode))) => {
            let entries = tar_tree(&path, wanted.strip)?;
            tree_files(entries, &path, pattern, mode).map(LoadedPayload::Tree)
        }
        (_, Some(_)) => tar_tree(&path, wanted.strip).map(LoadedPayload::Tree),
        (Some(member), None) => {
            let bytes = match wanted.strip {
                0 => tar_member(&path, member),
                strip => tree_member(tar_tree(&path, strip)?, &path, member),
            };
            replaced(bytes?, wanted, member).map(LoadedPayload::Bytes)
        }
        (None, None) => whole(path),
    }
}

fn whole(path: PathBuf) -> Result<LoadedPayload> {
    let metadata = path.metadata();
    let len = metadata
        .context(|| format!("cannot read {}", path.display()))?
        .len();
    Ok(LoadedPayload::File(path, len))
}

/// The file with the texts that the role wants others for.
fn replaced(bytes: Vec<u8>, wanted: &PayloadRef, member: &str) -> Result<Vec<u8>> {
    if wanted.replace.is_empty() {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::usage(format!(
            "`{member}` is not UTF-8 text, so `replace` cannot be for it"
        ))
    })?;
    let text = wanted
        .replace
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to));
    Ok(text.into_bytes())
}

fn head(payload: &LoadedPayload) -> Result<Vec<u8>> {
    match payload {
        LoadedPayload::File(path, _) => read_head(path),
        LoadedPayload::Bytes(bytes) => Ok(bytes.iter().take(ELF_HEAD).copied().collect()),
        LoadedPayload::Tree(_) | LoadedPayload::Images(_) => Ok(Vec::new()),
    }
}

fn read_head(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ELF_HEAD as u64).read_to_end(&mut bytes))
        .context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}
