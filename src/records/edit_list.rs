//! `NODE.record.json`: what imgbuild did to the base, file by file, to compare an image with later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::file_record::FileRecord;
use super::program::{PROGRAM, VERSION};
use super::record::Record;
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::lock::Moment;

/// The version of the format.
const FORMAT: u32 = 1;

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditList {
    version: u32,
    /// The program and its version.
    pub made_by: String,
    /// The time of the files that were written.
    pub time: Moment,
    /// The image itself.
    pub image: RawImage,
    /// Files of the image, by name.
    pub outputs: BTreeMap<String, PackedFile>,
    /// Records that were written with it, by name.
    pub records: BTreeMap<String, Digest>,
    pub base: BaseFile,
    /// Sorted by partition and path.
    pub files: Vec<FileRecord>,
}

/// The image, unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawImage {
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// The image in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedFile {
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// The base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseFile {
    pub name: String,
    /// `None`: a file of the computer that built the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub sha256: Digest,
}

impl EditList {
    /// That of `record`. `records` are the digests of the records that are written with it.
    pub fn of(record: &Record, records: BTreeMap<String, Digest>) -> Self {
        let outputs = record.outputs.iter().map(|output| {
            let file = PackedFile {
                size: output.size,
                sha256: output.sha256,
            };
            (output.name.clone(), file)
        });
        Self {
            version: FORMAT,
            made_by: format!("{PROGRAM} {VERSION}"),
            time: record.created,
            image: RawImage {
                size: record.size,
                sha256: record.raw_sha256,
            },
            outputs: outputs.collect(),
            records,
            base: BaseFile {
                name: record.base.name.clone(),
                url: record.base.url.clone(),
                sha256: record.base.sha256,
            },
            files: record.files.clone(),
        }
    }

    /// As JSON, a file a line: what differs between two builds is then a line of a diff.
    pub fn render(&self) -> Result<String> {
        let context = || "writing the list of edits".to_owned();
        let head = Self {
            files: Vec::new(),
            ..self.clone()
        };
        let head = serde_json::to_string_pretty(&head).context(context)?;
        let lines: Vec<String> = self
            .files
            .iter()
            .map(|file| serde_json::to_string(file).map(|line| format!("    {line}")))
            .collect::<Result<_, _>>()
            .context(context)?;
        let Some(head) = head.strip_suffix("[]\n}").filter(|_| !lines.is_empty()) else {
            return Ok(head + "\n");
        };
        Ok(format!("{head}[\n{}\n  ]\n}}\n", lines.join(",\n")))
    }

    /// Reads what `render` wrote; `place` names the file in errors.
    ///
    /// # Errors
    /// Text that is no record, and one of another version.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let broken = |error: serde_json::Error| {
            Error::usage(format!(
                "{place} is not a record of imgbuild, or is damaged"
            ))
            .with_source(error)
            .with_hint("take the NODE.record.json that was written with the image")
        };
        let found: VersionOnly = serde_json::from_str(text).map_err(broken)?;
        if found.version != FORMAT {
            return Err(Error::usage(format!(
                "{place} is of version {}, and this imgbuild knows version {FORMAT}",
                found.version
            ))
            .with_hint("use the version of imgbuild that is named in it as `made_by`"));
        }
        serde_json::from_str(text).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::file_record::{Kind, Partition};
    use super::*;

    fn list() -> EditList {
        let file = |path: &str, secret: bool| FileRecord {
            on: Partition::Root,
            path: path.to_owned(),
            kind: Kind::File,
            mode: Some("0600".to_owned()),
            uid: Some(0),
            gid: Some(0),
            sha256: (!secret).then(|| Digest::of_bytes("a")),
            target: None,
            secret,
        };
        EditList {
            version: FORMAT,
            made_by: "imgbuild 1".to_owned(),
            time: Moment(0),
            image: RawImage {
                size: 1,
                sha256: None,
            },
            outputs: BTreeMap::new(),
            records: BTreeMap::new(),
            base: BaseFile {
                name: "base".to_owned(),
                url: None,
                sha256: Digest::of_bytes("b"),
            },
            files: vec![file("/a", false), file("/b \"c\"", true)],
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_a_file_a_line() {
        for files in 0..3 {
            let mut list = list();
            list.files.truncate(files);
            let text = list.render().unwrap();
            assert_eq!(EditList::parse(&text, "x").unwrap(), list);
            let lines = text.lines().filter(|line| line.contains("\"on\":"));
            assert_eq!(lines.count(), files);
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_name() {
        let newer = list()
            .render()
            .unwrap()
            .replace("\"version\": 1", "\"version\": 2");
        let more = list().render().unwrap().replace("\"made_by\"", "\"maker\"");
        for (text, word) in [
            ("", "damaged"),
            ("{}", "damaged"),
            ("[1]", "damaged"),
            (&*newer, "version 2"),
            (&*more, "damaged"),
        ] {
            let error = EditList::parse(text, "a.record.json").unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains(word) && said.contains("a.record.json"),
                "{said}"
            );
            assert!(error.hint().is_some());
        }
    }
}
