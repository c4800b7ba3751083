//! Who signed what: OpenPGP signatures (RFC 9580, RFC 4880) of downloads and of archive indexes, by
//! keys whose fingerprints are in the program.
//!
//! `pgp` does the mathematics and the parsing. The policy is here: which hash algorithms count, what
//! an expired or revoked key means, which subkeys may sign. There is no web of trust: a key is
//! trusted for a [`Purpose`] because its primary fingerprint is in the table of [`signers`], or
//! because the user named it as one of their [`Trust::own`].
//!
//! ```text
//! signers (fingerprints) ─┐
//! keys/ or fetched bytes ─┼──► Keyring::pinned ──► verify_detached, verify_cleartext ──► Good
//! Trust (the user's own) ─┘
//! ```
//!
//! This room knows no network and no files: callers bring bytes.

mod certificate;
mod cleartext;
mod fingerprint;
mod keyring;
mod objection;
mod packets;
mod policy;
mod signers;
mod verify;

pub use fingerprint::Fingerprint;
pub use keyring::{Keyring, OwnKey, Trust};
pub use signers::{KeySource, Purpose, Signer, signers};
pub use verify::{Good, verify_cleartext, verify_detached};
