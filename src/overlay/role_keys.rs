//! What the templates of a role see of the keys of the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;

use super::pki_use::PkiUse;
use super::role::Role;
use crate::error::{Error, Result};
use crate::pki::{Purpose, hidden_value, shown_values};
use crate::secrets::{REDACTED, SecretAccess, Tables};

/// The keys of a node's cluster, for the templates of one role.
pub struct RoleKeys {
    uses: BTreeMap<Purpose, PkiUse>,
    role: String,
    tables: Option<Arc<Tables>>,
    stand_ins: bool,
}

impl RoleKeys {
    /// As far as `access` lets them be seen. A file that cannot be read was told of before there were
    /// templates.
    pub fn new(role: &Role, access: &SecretAccess) -> Self {
        let uses = role.manifest.pki.clone();
        let tables = match uses.is_empty() {
            true => None,
            false => access.kept().ok().flatten(),
        };
        Self {
            uses,
            role: role.name.clone(),
            tables,
            stand_ins: access.takes_stand_ins(),
        }
    }

    /// `pki` of templates: what anybody may see. A value that is not there is undefined.
    pub fn public(&self) -> Value {
        let uses = self.uses.keys();
        let values =
            uses.flat_map(|purpose| shown_values(*purpose, self.tables.as_deref(), self.stand_ins));
        values.collect::<BTreeMap<String, String>>().into()
    }

    /// The key that templates call `name`; REDACTED stands in for it.
    pub fn key(&self, name: &str) -> Result<String> {
        let tables = self.tables.as_deref();
        let found = self
            .uses
            .iter()
            .find_map(|(purpose, used)| Some((used, hidden_value(*purpose, name, tables)?)));
        let role = &self.role;
        match found {
            None => Err(Error::usage(format!(
                "the role {role} uses the key `{name}`, which is none of those that [pki] of its role.toml names"
            ))),
            Some((used, _)) if !used.keys => Err(Error::usage(format!(
                "the role {role} uses the key `{name}`, and [pki] of its role.toml does not say `keys = true`"
            ))),
            Some((_, Some(key))) => Ok(key.expose().to_owned()),
            Some((_, None)) if self.stand_ins => Ok(REDACTED.to_owned()),
            Some((_, None)) => Err(Error::usage(format!(
                "the role {role} uses the key `{name}`, which was not made: `when` in [pki] of its role.toml is false"
            ))),
        }
    }
}
