//! The keys of a cluster, for tests that build in several folders.

use std::collections::BTreeSet;
use std::path::Path;

use imgbuild::pki::{Owner, Purpose, make_missing};
use imgbuild::secrets::{Kept, Mask};

/// Makes secrets.toml in `folder`, as a first build of the cluster `homelab` would.
pub fn make_keys(folder: &Path) {
    let wanted = BTreeSet::from([Purpose::Cluster]);
    let owner = Owner {
        cluster: "homelab",
        domain: "home.lab",
    };
    let kept = Kept::new(folder, Mask::default());
    kept.add(|tables| make_missing(tables, &wanted, &owner))
        .unwrap();
}
