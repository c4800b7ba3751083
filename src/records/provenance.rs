//! What an image was made from and how: an in-toto Statement v1
//! (<https://github.com/in-toto/attestation/tree/main/spec/v1>) with SLSA provenance v1
//! (<https://slsa.dev/spec/v1.0/provenance>). It is not signed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::program::{PROGRAM, REPOSITORY, VERSION};
use super::record::{Record, SourceFile};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::lock::{ArchiveEntry, LOCK_FILE, PackageEntry};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Resource>,
    predicate_type: &'static str,
    predicate: Predicate,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
    external_parameters: Parameters,
    resolved_dependencies: Vec<Resource>,
}

#[derive(Serialize)]
struct Parameters {
    profile: String,
    #[serde(flatten)]
    options: BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
struct RunDetails {
    builder: Builder,
}

#[derive(Serialize)]
struct Builder {
    id: &'static str,
    version: BTreeMap<&'static str, &'static str>,
}

/// `ResourceDescriptor` of in-toto.
#[derive(Serialize)]
struct Resource {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: BTreeMap<&'static str, Digest>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

/// The statement of `record`; `None` when no digest of the image is known: it would be about nothing.
pub fn provenance(record: &Record) -> Result<Option<String>> {
    let subject = subjects(record);
    if subject.is_empty() {
        return Ok(None);
    }
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject,
        predicate_type: "https://slsa.dev/provenance/v1",
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: format!(
                    "{REPOSITORY}/blob/main/docs/supply-chain.md#build-type-image-v1"
                ),
                external_parameters: Parameters {
                    profile: record.profile.clone(),
                    options: record.options.clone(),
                },
                resolved_dependencies: dependencies(record),
            },
            run_details: RunDetails {
                builder: Builder {
                    id: REPOSITORY,
                    version: BTreeMap::from([(PROGRAM, VERSION)]),
                },
            },
        },
    };
    let text = serde_json::to_string_pretty(&statement);
    let text = text.context(|| "writing the provenance".into())?;
    Ok(Some(text + "\n"))
}

fn subjects(record: &Record) -> Vec<Resource> {
    let outputs = record.outputs.iter();
    outputs
        .filter_map(|output| {
            let sha256 = output.sha256?;
            Some(Resource::new(output.name.clone(), None, sha256))
        })
        .collect()
}

fn dependencies(record: &Record) -> Vec<Resource> {
    let mut found = vec![source(&record.base)];
    found.extend(record.payloads.iter().map(source));
    found.extend(record.archives.iter().map(archive));
    found.extend(record.packages.iter().map(package));
    let lock_file = record.lock_file;
    found.extend(lock_file.map(|sha256| Resource::new(LOCK_FILE.to_owned(), None, sha256)));
    found
}

impl Resource {
    fn new(name: String, uri: Option<String>, sha256: Digest) -> Self {
        Self {
            name,
            uri,
            digest: BTreeMap::from([("sha256", sha256)]),
            annotations: BTreeMap::new(),
        }
    }

    fn verified(mut self, reasons: &[String]) -> Self {
        if !reasons.is_empty() {
            self.annotations.insert("verified", reasons.join(", "));
        }
        self
    }
}

fn source(file: &SourceFile) -> Resource {
    Resource::new(file.name.clone(), file.url.clone(), file.sha256).verified(&file.verified)
}

/// The signed index of an archive. Its name is its URL and its suite.
fn archive(archive: &ArchiveEntry) -> Resource {
    let uri = archive.name.rsplit_once(' ');
    let uri = uri.map(|(url, suite)| format!("{url}/dists/{suite}/InRelease"));
    let reasons: Vec<String> = archive.verified.iter().map(ToString::to_string).collect();
    let name = format!("InRelease of {}", archive.name);
    Resource::new(name, uri, archive.sha256).verified(&reasons)
}

fn package(package: &PackageEntry) -> Resource {
    Resource::new(package.key(), Some(package.url.clone()), package.sha256)
}
