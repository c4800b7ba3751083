//! `[pki.NAME]` of role.toml: keys of the cluster that a role uses.

use serde::Deserialize;

/// How a role uses the keys of one purpose.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PkiUse {
    /// Whether it may have the keys too, and not only the certificates.
    pub keys: bool,
    /// Condition without which the role does not use them.
    pub when: Option<String>,
}
