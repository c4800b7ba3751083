//! The container images that roles name.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::oci::ImageName;
use crate::overlay::{Renderer, Role};

/// What `role` names on the node of `renderer`, in full.
pub(super) fn role_images(role: &Role, renderer: &Renderer) -> Result<BTreeSet<String>> {
    let mut images = BTreeSet::new();
    for text in &role.manifest.images.pull {
        let text = renderer.text(text)?;
        for name in text.split_whitespace() {
            let name = ImageName::parse(name).map_err(|error| {
                let place = format!("{}/role.toml: [images]", role.label);
                Error::usage(format!("{place}: {error}"))
                    .with_maybe_hint(error.hint().map(str::to_owned))
            })?;
            images.insert(name.to_string());
        }
    }
    Ok(images)
}
