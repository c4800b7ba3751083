//! The Debian packages that roles ask for.

use crate::error::{Error, Result};
use crate::lock::PackageWish;
use crate::overlay::{Renderer, Role};

/// What `role` asks for on the node of `renderer`.
pub(super) fn role_packages(role: &Role, renderer: &Renderer) -> Result<Vec<String>> {
    let mut wishes = Vec::new();
    for text in &role.manifest.packages.install {
        let text = renderer.text(text)?.trim().to_owned();
        if text.is_empty() {
            continue;
        }
        PackageWish::parse(&text)
            .map_err(|why| Error::usage(format!("{}/role.toml: [packages]: {why}", role.label)))?;
        wishes.push(text);
    }
    Ok(wishes)
}
