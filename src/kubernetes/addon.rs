//! What k3s demands of the files in its manifests folder (docs.k3s.io, "Packaged components"; k3s,
//! `pkg/deploy/controller.go`).

use std::collections::BTreeMap;

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

use super::object::{Object, ObjectKey};

/// The folder that a k3s server applies.
pub const MANIFESTS_FOLDER: &str = "/var/lib/rancher/k3s/server/manifests";

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Names of k3s's own files: a file of the same name would take the place of theirs, or lose its own.
const OF_K3S: &[&str] = &[
    "ccm",
    "coredns",
    "local-storage",
    "metrics-server",
    "rolebindings",
    "runtimes",
    "traefik",
];

/// Bytes that an annotation may have (Kubernetes, `TotalAnnotationSizeLimitB`). k3s keeps each object in one,
/// compressed by gzip and then written in base64.
const ANNOTATION_BYTES: usize = 256 << 10;

/// A file of the manifests folder.
#[derive(Debug, Clone)]
pub struct ManifestFile {
    /// Below the folder.
    pub path: String,
    /// The role that brings it.
    pub origin: String,
    pub objects: Vec<Object>,
}

/// Whether a file at `path` (absolute) would be applied, or was meant to be.
pub fn is_manifest(path: &str) -> bool {
    let below = path.strip_prefix(MANIFESTS_FOLDER);
    below.is_some_and(|below| below.starts_with('/') && !below.ends_with(".skip"))
}

/// What is wrong with the files of one server, together and each by itself: a line for each, with the file it is
/// about.
pub fn check_files(files: &[ManifestFile]) -> Vec<(&ManifestFile, String)> {
    let mut wrong = Vec::new();
    let mut addons: BTreeMap<&str, &ManifestFile> = BTreeMap::new();
    let mut objects: BTreeMap<ObjectKey<'_>, &ManifestFile> = BTreeMap::new();
    for file in files {
        match addon_name(&file.path) {
            Err(why) => wrong.push((file, why)),
            Ok(name) => {
                if let Some(other) = addons.insert(name, file) {
                    wrong.push((file, format!(
                        "k3s calls it `{name}`, as it does {} of the role {}: names must differ before the first dot",
                        other.path, other.origin
                    )));
                }
            }
        }
        for object in &file.objects {
            if let Some(other) = objects.insert(object.key(), file) {
                let title = object.title();
                let where_else = match other.path == file.path {
                    true => "twice in it".to_owned(),
                    false => format!("in {} of the role {} as well", other.path, other.origin),
                };
                wrong.push((file, format!("{title} is {where_else}")));
            }
            if annotation_bytes(object) > ANNOTATION_BYTES {
                let why = "is too large for the annotation that k3s keeps it in";
                wrong.push((file, format!("{} {why}", object.title())));
            }
        }
    }
    wrong
}

/// What k3s calls a file: its name up to the first dot.
fn addon_name(path: &str) -> Result<&str, String> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let ending = file.rsplit_once('.').map(|(_, ending)| ending);
    if !ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
        return Err("k3s reads files that end in .yaml, .yml or .json only".into());
    }
    let name = file.split('.').next().unwrap_or_default();
    let is_name = !name.is_empty()
        && name.len() <= 253
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name {
        return Err(format!(
            "k3s would call it `{name}`, and takes small letters, digits and `-` before the first dot"
        ));
    }
    if OF_K3S.contains(&name) {
        return Err(format!("`{name}` is the name of a file of k3s itself"));
    }
    Ok(name)
}

/// Bytes of the annotation that k3s keeps an object in.
fn annotation_bytes(object: &Object) -> usize {
    let text = object.value().to_string();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into a Vec does not fail; text that could not be packed counts as it is.
    let packed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    packed.map_or(text.len(), |packed| packed.len()).div_ceil(3) * 4
}

#[cfg(test)]
mod tests {
    use super::super::documents::read;
    use super::*;

    fn file(path: &str, name: &str) -> ManifestFile {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        ManifestFile {
            path: path.into(),
            origin: "r".into(),
            objects: read(&text).unwrap(),
        }
    }

    fn wrong(files: &[ManifestFile]) -> Vec<String> {
        check_files(files).into_iter().map(|(_, why)| why).collect()
    }

    #[test]
    fn names_that_k3s_cannot_take_are_told() {
        assert!(wrong(&[file("10-a.yaml", "a"), file("x/20-b.json", "b")]).is_empty());
        for (path, why) in [
            ("a_b.yaml", "small letters"),
            ("A.yaml", "small letters"),
            ("a.txt", "end in .yaml"),
            ("a.yaml.tmp", "end in .yaml"),
            ("traefik.yaml", "of k3s itself"),
            (".hidden.yaml", "small letters"),
        ] {
            let told = wrong(&[file(path, "a")]);
            assert!(told.len() == 1 && told[0].contains(why), "{path}: {told:?}");
        }
        let told = wrong(&[file("a.b.yaml", "a"), file("x/a.c.yaml", "b")]);
        assert!(told[0].contains("before the first dot"), "{told:?}");
    }

    #[test]
    fn an_object_in_two_files_and_one_that_is_too_large_are_told() {
        let told = wrong(&[file("a.yaml", "x"), file("b.yaml", "x")]);
        assert_eq!(told, ["ConfigMap x is in a.yaml of the role r as well"]);
        let mut noise = String::new();
        let mut state = 1u64;
        while noise.len() < 400_000 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            noise.push_str(&format!("{:016x}", state));
        }
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\ndata: {{a: \"{noise}\"}}\n"
        );
        let mut large = file("a.yaml", "x");
        large.objects = read(&text).unwrap();
        let told = wrong(&[large]);
        assert!(told[0].contains("too large"), "{told:?}");
    }

    #[test]
    fn only_the_folder_of_k3s_holds_manifests() {
        assert!(is_manifest("/var/lib/rancher/k3s/server/manifests/a.yaml"));
        assert!(!is_manifest("/var/lib/rancher/k3s/server/manifests"));
        assert!(!is_manifest(
            "/var/lib/rancher/k3s/server/manifests/a.yaml.skip"
        ));
        assert!(!is_manifest("/etc/a.yaml"));
    }
}
