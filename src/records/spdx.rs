//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>): what is in an image.

use serde::Serialize;

use super::program::{PROGRAM, VERSION};
use super::purl::{self, Vendor};
use super::record::{Record, SourceFile};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::lock::PackageEntry;

const UNKNOWN: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";
const BASE: &str = "SPDXRef-Base";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
/// The spec's own form of names for documents that are not on the web.
const NAMESPACE: &str = "https://spdx.org/spdxdocs/";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct CreationInfo {
    created: String,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: String,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_file_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<&'static str>,
    download_location: String,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    license_concluded: &'static str,
    license_declared: &'static str,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalRef {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// The document of `record`. Its namespace follows from its content, so that the same image always has
/// the same one.
pub fn spdx(record: &Record) -> Result<String> {
    let mut document = document(record);
    let digest = Digest::of_bytes(rendered(&document)?);
    document.document_namespace = format!("{NAMESPACE}{PROGRAM}-{digest}");
    rendered(&document)
}

fn rendered(document: &Document) -> Result<String> {
    let text = serde_json::to_string_pretty(document).context(|| "writing the SPDX".into())?;
    Ok(text + "\n")
}

fn document(record: &Record) -> Document {
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: format!("{PROGRAM} image of profile {}", record.profile),
        document_namespace: String::new(),
        creation_info: CreationInfo {
            created: record.created.to_string(),
            creators: vec![format!("Tool: {PROGRAM}-{VERSION}")],
        },
        packages: vec![image(record), base(record)],
        relationships: Vec::new(),
    };
    document.relate(DOCUMENT, "DESCRIBES", IMAGE);
    document.relate(IMAGE, "GENERATED_FROM", BASE);
    // Relationships have no property of their own for the formats of one image.
    for (number, output) in (1..).zip(&record.outputs) {
        let id = format!("SPDXRef-Output-{number}");
        let mut package = Package::new(id.clone(), &output.name);
        package.package_file_name = Some(output.name.clone());
        package.checksums.extend(output.sha256.map(Checksum::of));
        package.primary_package_purpose = Some("ARCHIVE");
        document.packages.push(package);
        document.relate(DOCUMENT, "DESCRIBES", &id);
        document.relate(&id, "GENERATED_FROM", IMAGE);
    }
    add_installed(&mut document, record);
    for (number, payload) in (1..).zip(&record.payloads) {
        let package = source(format!("SPDXRef-Payload-{number}"), payload);
        document.contain(IMAGE, package);
    }
    for package in &record.packages {
        document.contain(IMAGE, added(package));
    }
    document
}

impl Document {
    fn relate(&mut self, from: &str, how: &'static str, to: &str) {
        self.relationships.push(Relationship {
            spdx_element_id: from.to_owned(),
            relationship_type: how,
            related_spdx_element: to.to_owned(),
        });
    }

    fn contain(&mut self, whole: &str, part: Package) {
        self.relate(whole, "CONTAINS", &part.id);
        self.packages.push(part);
    }
}

impl Package {
    fn new(id: String, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            id,
            version_info: None,
            package_file_name: None,
            supplier: None,
            download_location: UNKNOWN.to_owned(),
            files_analyzed: false,
            checksums: Vec::new(),
            license_concluded: UNKNOWN,
            license_declared: UNKNOWN,
            copyright_text: UNKNOWN,
            comment: None,
            external_refs: Vec::new(),
            primary_package_purpose: None,
        }
    }

    /// A Debian package.
    fn deb(id: String, name: &str, version: &str, vendor: Vendor, purl: String) -> Self {
        let mut package = Self::new(id, name);
        package.version_info = Some(version.to_owned());
        package.supplier = Some(vendor.supplier());
        package.external_refs.push(ExternalRef {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: purl,
        });
        package
    }
}

impl Checksum {
    fn of(sha256: Digest) -> Self {
        Self {
            algorithm: "SHA256",
            checksum_value: sha256,
        }
    }
}

fn image(record: &Record) -> Package {
    let mut package = Package::new(IMAGE.to_owned(), &format!("{PROGRAM} image"));
    package
        .checksums
        .extend(record.raw_sha256.map(Checksum::of));
    package.primary_package_purpose = Some("OPERATING-SYSTEM");
    package.comment = Some(
        "The image, unpacked. The files that were written into the base are listed in the .record.json beside it."
            .to_owned(),
    );
    package
}

fn base(record: &Record) -> Package {
    let mut package = source(BASE.to_owned(), &record.base);
    package.primary_package_purpose = Some("OPERATING-SYSTEM");
    package
}

fn source(id: String, file: &SourceFile) -> Package {
    let mut package = Package::new(id, &file.name);
    if let Some(url) = &file.url {
        package.download_location.clone_from(url);
    }
    package.checksums.push(Checksum::of(file.sha256));
    if !file.verified.is_empty() {
        package.comment = Some(format!("Verified by: {}", file.verified.join(", ")));
    }
    package
}

/// The packages of the base are in the base, and in the image as far as nothing replaces them.
fn add_installed(document: &mut Document, record: &Record) {
    let suite = record.suite.as_deref();
    for package in &record.installed {
        let (name, version, architecture) =
            (&package.name, &package.version, &package.architecture);
        let vendor = Vendor::of(version, None);
        let purl = purl::deb(vendor, name, version, architecture, suite);
        let id = deb_id("Installed", name, version, architecture);
        document.contain(BASE, Package::deb(id, name, version, vendor, purl));
    }
}

fn added(package: &PackageEntry) -> Package {
    let PackageEntry {
        name,
        version,
        architecture,
        archive,
        ..
    } = package;
    // The name of an archive is its URL and its suite.
    let suite = archive.rsplit_once(' ').map(|(_, suite)| suite);
    let vendor = Vendor::of(version, Some(archive));
    let purl = purl::deb(vendor, name, version, architecture, suite);
    let id = deb_id("Added", name, version, architecture);
    let mut described = Package::deb(id, name, version, vendor, purl);
    described.download_location.clone_from(&package.url);
    described.checksums.push(Checksum::of(package.sha256));
    described.comment = Some(format!(
        "On the image as a .deb, installed at the first boot. From the archive {archive}."
    ));
    described
}

/// Letters, digits, `.` and `-` are all that an id may have: what else there is follows as a digest.
fn deb_id(what: &str, name: &str, version: &str, architecture: &str) -> String {
    let full = format!("{name}={version}:{architecture}");
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let digest = Digest::of_bytes(&full).to_string();
    let short = digest.get(..12).unwrap_or_default();
    format!("SPDXRef-{what}-{plain}-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_packages_apart_and_have_only_what_they_may() {
        let one = deb_id("Added", "libstdc++6", "14.2.0-19", "arm64");
        let other = deb_id("Added", "libstdc--6", "14.2.0-19", "arm64");
        assert_ne!(one, other);
        let may = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        assert!(one.chars().all(may), "{one}");
    }
}
