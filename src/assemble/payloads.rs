//! Fetches the payloads that plans name, each once, and checks what they are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Result, ResultExt};
use crate::patch::{LoadedPayload, Payloads, check_elf};
use crate::plan::{PayloadLocation, PayloadRef, Plan};
use crate::source::{Artifact, Fetcher, Location, PayloadRequest, tar_member, tar_tree};

/// Bytes of an ELF file that tell what it is for.
const ELF_HEAD: usize = 64;

/// Loads every payload of `plans`.
pub fn load(plans: &[Plan], fetcher: &Fetcher) -> Result<Payloads> {
    let mut payloads = Payloads::new();
    for plan in plans {
        for wanted in plan.payloads() {
            if !payloads.contains_key(wanted) {
                let loaded = load_one(wanted, fetcher)
                    .context(|| format!("payload {} of {}", wanted.name, plan.hostname))?;
                payloads.insert(wanted.clone(), loaded);
            }
        }
    }
    Ok(payloads)
}

fn load_one(wanted: &PayloadRef, fetcher: &Fetcher) -> Result<LoadedPayload> {
    let artifact = fetcher.payload(&PayloadRequest {
        name: wanted.name.clone(),
        location: match &wanted.location {
            PayloadLocation::Url(url) => Location::Url(url.clone()),
            PayloadLocation::File(path) => Location::File(path.clone()),
        },
        sha256: wanted.sha256.clone(),
        sums: wanted.sums.clone(),
    })?;
    let loaded = unpack(wanted, artifact)?;
    if let Some(machine) = &wanted.elf {
        check_elf(&wanted.name, &head(&loaded)?, machine)?;
    }
    Ok(loaded)
}

fn unpack(wanted: &PayloadRef, artifact: Artifact) -> Result<LoadedPayload> {
    if let Some(member) = &wanted.member {
        return tar_member(&artifact.path, member).map(LoadedPayload::Bytes);
    }
    match wanted.unpack {
        true => tar_tree(&artifact.path, wanted.strip).map(LoadedPayload::Tree),
        false => Ok(LoadedPayload::File(artifact.path, artifact.size)),
    }
}

fn head(payload: &LoadedPayload) -> Result<Vec<u8>> {
    match payload {
        LoadedPayload::File(path, _) => read_head(path),
        LoadedPayload::Bytes(bytes) => Ok(bytes.iter().take(ELF_HEAD).copied().collect()),
        LoadedPayload::Tree(_) => Ok(Vec::new()),
    }
}

fn read_head(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(ELF_HEAD as u64).read_to_end(&mut bytes))
        .context(|| format!("reading {}", path.display()))?;
    Ok(bytes)
}
