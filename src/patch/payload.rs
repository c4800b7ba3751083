//! Payloads as patching takes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use crate::error::{Error, Result, ResultExt};
use crate::oci::Archive;
use crate::plan::PayloadRef;
use crate::source::{TreeEntry, TreeKind};

/// Payloads by what the plan calls them.
pub type Payloads = BTreeMap<PayloadRef, LoadedPayload>;

/// A payload, fetched and verified.
#[derive(Debug, Clone)]
pub enum LoadedPayload {
    /// A file as it is, with its length in bytes.
    File(PathBuf, u64),
    /// One member of an archive.
    Bytes(Vec<u8>),
    /// A whole archive.
    Tree(Vec<TreeEntry>),
    /// An archive of container images, put together while it is written.
    Images(Archive),
}

impl LoadedPayload {
    /// Bytes of the file it becomes; of an archive those of all files.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Images(archive) => archive.size(),
            Self::Tree(entries) => entries
                .iter()
                .map(|entry| match &entry.kind {
                    TreeKind::File { content } => content.len() as u64,
                    _ => 0,
                })
                .sum(),
        }
    }

    /// A reader over a single file, and its length.
    pub fn open(&self) -> Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Self::File(path, len) => {
                let file =
                    File::open(path).context(|| format!("opening payload {}", path.display()))?;
                Ok((Box::new(file), *len))
            }
            Self::Bytes(bytes) => Ok((Box::new(Cursor::new(bytes)), bytes.len() as u64)),
            Self::Images(archive) => Ok((Box::new(archive.reader()), archive.size())),
            Self::Tree(_) => Err(Error::failed("an archive was to be written as one file")),
        }
    }
}

/// The loaded form of what a plan names.
pub fn find<'a>(payloads: &'a Payloads, wanted: &PayloadRef) -> Result<&'a LoadedPayload> {
    payloads
        .get(wanted)
        .ok_or_else(|| Error::failed(format!("payload {} was not fetched", wanted.request.name)))
}

/// What is in the archive that a plan names.
pub fn tree<'a>(payloads: &'a Payloads, wanted: &PayloadRef) -> Result<&'a [TreeEntry]> {
    match find(payloads, wanted)? {
        LoadedPayload::Tree(entries) => Ok(entries),
        _ => Err(Error::failed(format!(
            "payload {} is not an archive",
            wanted.request.name
        ))),
    }
}

/// Offset and values of the fields looked at
/// (System V ABI, generic ELF header: `e_ident`, `e_machine`).
const ELF_MAGIC: &[u8] = b"\x7fELF";
const ELF_CLASS_64: u8 = 2;
const ELF_LITTLE_ENDIAN: u8 = 1;
const MACHINES: &[(&str, u16)] = &[
    ("arm", 40),
    ("x86_64", 62),
    ("aarch64", 183),
    ("riscv64", 243),
];

/// Errors when `head`, the first bytes of a payload, is not a 64-bit ELF program for `machine`.
pub fn check_elf(name: &str, head: &[u8], machine: &str) -> Result<()> {
    let Some((_, wanted)) = MACHINES.iter().find(|(m, _)| *m == machine) else {
        return Err(Error::usage(format!(
            "payload {name}: `elf = \"{machine}\"` is not a machine that imgbuild knows"
        )));
    };
    if head.len() < 20 || !head.starts_with(ELF_MAGIC) {
        return Err(Error::verification(format!(
            "payload {name} is not a program for {machine}: it is not an ELF file"
        ))
        .with_hint(
            "check the URL or file: this may be an archive, or a page that says what went wrong",
        ));
    }
    let found = u16::from_le_bytes([head[18], head[19]]);
    if found == *wanted && head[4] == ELF_CLASS_64 && head[5] == ELF_LITTLE_ENDIAN {
        return Ok(());
    }
    let known = MACHINES.iter().find(|(_, number)| *number == found);
    let what = known.map_or_else(|| format!("machine {found}"), |(m, _)| (*m).to_owned());
    Err(Error::verification(format!(
        "payload {name} is a program for {what}, and the node needs one for {machine}"
    ))
    .with_hint("check the URL or file: the wrong architecture was chosen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head
    }

    #[test]
    fn machines_are_told_apart() {
        assert!(check_elf("k3s", &elf(183), "aarch64").is_ok());
        let error = check_elf("k3s", &elf(62), "aarch64").unwrap_err();
        assert!(
            error.to_string().contains("is a program for x86_64"),
            "{error}"
        );
        assert!(check_elf("k3s", b"#!/bin/sh\n", "aarch64").is_err());
        assert!(check_elf("k3s", &elf(183), "z80").is_err());
    }
}
