//! The container images that roles name.

use std::collections::BTreeSet;

use crate::error::{Result, ResultExt};
use crate::oci::ImageName;
use crate::overlay::{Renderer, Role};

/// Whether `role` wants the images of all manifests.
pub(super) fn wants_images_of_manifests(role: &Role, renderer: &Renderer) -> Result<bool> {
    match &role.manifest.images.of_manifests {
        Some(condition) => renderer.holds(Some(condition)),
        None => Ok(false),
    }
}

/// What `role` names on the node of `renderer`, in full.
pub(super) fn role_images(role: &Role, renderer: &Renderer) -> Result<BTreeSet<String>> {
    let mut images = BTreeSet::new();
    for text in &role.manifest.images.pull {
        let text = renderer.text(text)?;
        for name in text.split_whitespace() {
            let name =
                ImageName::parse(name).context(|| format!("{}/role.toml: [images]", role.label))?;
            images.insert(name.to_string());
        }
    }
    Ok(images)
}
