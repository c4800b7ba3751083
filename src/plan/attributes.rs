//! Modes and owners that a role gives paths.

use super::edit::Attr;
use crate::error::{Error, Result};
use crate::overlay::{Renderer, Role, parse_mode, parse_owner};

/// What [modes] and [owners] of `role` say of `path`; without a word about it, `default_mode` and root.
pub fn attr_of(role: &Role, renderer: &Renderer, path: &str, default_mode: u32) -> Result<Attr> {
    let manifest = &role.manifest;
    let usage = |why| Error::usage(format!("{}/role.toml: {path}: {why}", role.label));
    let mode = match manifest.modes.get(path) {
        Some(text) => parse_mode(text).map_err(usage)?,
        None => default_mode,
    };
    let (uid, gid) = match manifest.owners.get(path) {
        Some(text) => parse_owner(&renderer.text(text)?).map_err(usage)?,
        None => (0, 0),
    };
    Ok(Attr { mode, uid, gid })
}
