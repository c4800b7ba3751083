//! Names of nodes below the domain.

use crate::config::node::Cluster;
use crate::problem::Problem;
use crate::problems::Problems;

/// The longest name that DNS can carry.
const LONGEST: usize = 253;

pub fn check(cluster: &Cluster, problems: &mut Problems) {
    for node in &cluster.nodes {
        let fqdn = node.fqdn();
        if fqdn.len() > LONGEST {
            let what = format!(
                "`network.domain` is too long: `{}` with it has {} characters, and DNS allows {LONGEST}",
                node.hostname,
                fqdn.len()
            );
            problems.push(Problem::new(node.origin("network.domain"), what));
        }
    }
}
