//! Secrets that must be the same wherever they are used: a cluster has one token.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Catalog;
use super::secret_check::used_reference;
use super::secret_use::key_of;
use crate::config::{Cluster, Node, Origin};
use crate::error::Result;
use crate::problems::Problems;
use crate::secrets::{Refusal, SecretAccess};

/// A node that uses a shared secret, and where the secret is; None when the node has no such.
type Use<'a> = (&'a Node, Option<&'a (String, Origin)>);

/// Collects the nodes of `cluster` whose shared secrets differ. Where `secrets` are redacted only what differs
/// whatever the values are is seen: one node has the secret and another has not.
pub fn check_shared_secrets(
    cluster: &Cluster,
    catalog: &Catalog,
    secrets: &SecretAccess,
    problems: &mut Problems,
) -> Result<()> {
    let mut uses: BTreeMap<&str, Vec<Use<'_>>> = BTreeMap::new();
    for node in &cluster.nodes {
        let roles = catalog.roles_of(node)?;
        let declared = roles.iter().flat_map(|role| &role.manifest.secrets);
        let shared: BTreeSet<&str> = declared
            .filter(|(_, secret)| secret.shared)
            .map(|(name, _)| name.as_str())
            .collect();
        for name in shared {
            let reference = used_reference(name, node, &roles);
            // Given and yet not used: replaced by another secret.
            if reference.is_some() || !node.secrets.contains_key(name) {
                uses.entry(name).or_default().push((node, reference));
            }
        }
    }
    for (name, uses) in uses {
        check_one(name, &uses, secrets, problems);
    }
    Ok(())
}

fn check_one(name: &str, uses: &[Use<'_>], secrets: &SecretAccess, problems: &mut Problems) {
    let given: Vec<_> = uses
        .iter()
        .filter_map(|(node, place)| Some((*node, (*place)?)))
        .collect();
    // What most nodes have is taken for right.
    let count = |text: &String| given.iter().filter(|(_, (other, _))| other == text).count();
    let most = given
        .iter()
        .min_by_key(|(_, (text, _))| Reverse(count(text)));
    let Some((first, (reference, place))) = most else {
        return;
    };
    let key = key_of(name);
    if let Some((without, _)) = uses.iter().find(|(_, place)| place.is_none()) {
        let (with, without) = (&first.hostname, &without.hostname);
        let what =
            format!("{with} has it and {without} has not; all nodes that use it need the same");
        problems.push(Refusal::new(what).problem(place, &key));
        return;
    }
    let mut told = BTreeSet::new();
    for (node, (other, origin)) in &given {
        if other == reference || !told.insert(origin.to_string()) {
            continue;
        }
        // One without a value is told where it is wanted.
        let (Ok(Some(value)), Ok(Some(expected))) = (secrets.get(other), secrets.get(reference))
        else {
            continue;
        };
        if value != expected {
            let what = format!(
                "{} has another value than {} ({place}); all nodes that use it need the same",
                node.hostname, first.hostname
            );
            problems.push(Refusal::new(what).problem(origin, &key));
        }
    }
}
