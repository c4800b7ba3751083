//! The keys of a cluster, made before it boots for the first time: the certificate authorities of k3s, the
//! key that signs its service accounts, and an authority for the services of the LAN. They lie in
//! `secrets.toml`. What is made of them: full tokens, and kubeconfigs.
//!
//! k3s makes what it does not find, each pair by itself. These are made as it makes them: five
//! authorities, each signed by itself, with ECDSA P-256 keys in SEC1. There is no common root, on purpose.
//! A root would be one more key to lose, and with it every authority of the cluster could sign for every
//! other: client certificates would be trusted through the root, so a server's certificate authority
//! could make an administrator. It would also not help where it seems to: a stolen authority stays valid
//! under its root, since Kubernetes has no revocation.

mod authority;
mod certificate;
mod cluster_keys;
mod der;
mod kubeconfig;
mod local_ca;
mod name;
mod p256;
mod purpose;
mod shown;
mod token;

pub use cluster_keys::{make_missing, verify};
pub use kubeconfig::{Access, Kubeconfig, Place};
pub use local_ca::local_ca_file;
pub use purpose::{Owner, Purpose};
pub use shown::{hidden_value, shown_values};
pub use token::landmarks;
