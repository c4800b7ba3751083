//! The container images that roles name.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::oci::ImageName;
use crate::overlay::{Renderer, Role};

/// What roles want on a card.
#[derive(Debug, Clone, Default)]
pub(super) struct RoleImages {
    /// In full.
    pub names: BTreeSet<String>,
    /// Whether those that manifests name are wanted as well.
    pub of_manifests: bool,
}

impl RoleImages {
    /// Adds what `role` wants on the node of `renderer`.
    pub fn add(&mut self, role: &Role, renderer: &Renderer) -> Result<()> {
        let images = &role.manifest.images;
        if let Some(condition) = &images.of_manifests {
            self.of_manifests |= renderer.holds(Some(condition))?;
        }
        for text in &images.pull {
            let text = renderer.text(text)?;
            for name in text.split_whitespace() {
                let name = ImageName::parse(name).map_err(|error| in_role(role, &error))?;
                self.names.insert(name.to_string());
            }
        }
        Ok(())
    }
}

fn in_role(role: &Role, error: &Error) -> Error {
    let place = format!("{}/role.toml: [images]", role.label);
    Error::usage(format!("{place}: {error}")).with_maybe_hint(error.hint().map(str::to_owned))
}
