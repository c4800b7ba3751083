//! Which keys of the cluster a node needs.

use std::collections::BTreeSet;

use super::catalog::Catalog;
use super::context::{ClusterContext, NodeContext};
use super::template::Renderer;
use crate::config::Node;
use crate::error::Result;
use crate::pki::Purpose;
use crate::secrets::SecretAccess;

/// What the roles of `node` use. Their conditions see no secrets.
pub fn pki_needs(
    catalog: &Catalog,
    shared: &ClusterContext,
    node: &Node,
    redacted: &SecretAccess,
) -> Result<BTreeSet<Purpose>> {
    let mut needs = BTreeSet::new();
    let context = NodeContext::new(shared, node, &[]);
    for role in catalog.roles_of(node)? {
        if role.manifest.pki.is_empty() {
            continue;
        }
        let renderer = Renderer::new(role, node, context.of_role(role), redacted.clone());
        for (purpose, used) in &role.manifest.pki {
            if renderer.holds(used.when.as_deref())? {
                needs.insert(*purpose);
            }
        }
    }
    Ok(needs)
}
