//! The digests that authorities are known by.

use std::collections::{BTreeMap, BTreeSet};

use super::purpose::{LOCAL_CA, Purpose, SERVER_CA};
use crate::digest::Digest;
use crate::secrets::Tables;

/// What stands between `K10` and `::` in a full token: the SHA-256 of server-ca.crt as a file, which holds
/// one certificate. `certificate` has no line end at its end; the file has one.
pub fn token_hash(certificate: &str) -> Digest {
    Digest::of_bytes(format!("{certificate}\n"))
}

/// The authorities by which nodes and devices know the keys of `purpose`, as tables of secrets.toml: public, so
/// that they can be remembered elsewhere.
pub fn landmarks(
    tables: &Tables,
    wanted: &BTreeSet<Purpose>,
) -> BTreeMap<&'static str, Option<Digest>> {
    let names = wanted.iter().map(|purpose| match purpose {
        Purpose::Cluster => SERVER_CA,
        Purpose::LocalCa => LOCAL_CA,
    });
    let digest = |name| {
        let certificate = tables.value(name, "certificate")?;
        Some(token_hash(certificate.expose()))
    };
    names.map(|name| (name, digest(name))).collect()
}
