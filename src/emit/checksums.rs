//! `SHA256SUMS` files.

use std::io::Write;
use std::path::Path;

use super::output::{Output, Readers};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Writes `entries` (digest, file name) to `path` in the format of `sha256sum -c`, sorted by name.
/// Replaces a file that is there.
pub fn write_checksums(path: &Path, entries: &[(Digest, String)]) -> Result<()> {
    let mut sorted: Vec<_> = entries
        .iter()
        .map(|(digest, name)| (name, digest))
        .collect();
    sorted.sort();
    sorted.dedup();
    let mut text = String::new();
    for (name, digest) in sorted {
        // sha256sum has a way to escape these; a name that has them is a mistake here.
        if name.contains(['\n', '\r', '\\']) {
            return Err(Error::failed(format!(
                "the file name {name:?} cannot be put into {}",
                path.display()
            )));
        }
        text.push_str(&format!("{digest}  {name}\n"));
    }
    let output = Output::create(path, Readers::All)?;
    let mut file = output.file();
    file.write_all(text.as_bytes())
        .map_err(|e| output.explain(e))?;
    output.commit().map(drop)
}
