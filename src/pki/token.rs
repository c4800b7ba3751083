//! The part of a full token that names the cluster.

use crate::digest::Digest;

/// What stands between `K10` and `::` in a full token: the SHA-256 of server-ca.crt as a file, which holds
/// one certificate. `certificate` has no line end at its end; the file has one.
pub fn token_hash(certificate: &str) -> String {
    Digest::of_bytes(format!("{certificate}\n")).to_string()
}
