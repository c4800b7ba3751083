//! What keys are for.

use serde::Deserialize;

use crate::secrets::Tables;

/// What a role may ask for in `[pki]` of its role.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The authorities of k3s, and the key of its service accounts.
    Cluster,
    /// The authority for services of the LAN, which people's devices trust. It shares nothing with those
    /// of the cluster: who has its key is no administrator.
    LocalCa,
}

/// The key that signs service accounts: it has no certificate.
pub const SERVICE: &str = "service";
/// Who signs the API servers' certificates.
pub const SERVER_CA: &str = "server-ca";
/// Who signs the certificates of clients.
pub const CLIENT_CA: &str = "client-ca";
/// Who signs those of services of the LAN.
pub const LOCAL_CA: &str = "local-ca";

impl Purpose {
    /// The authorities, as tables of secrets.toml.
    pub fn authorities(self) -> &'static [&'static str] {
        match self {
            Self::Cluster => &[
                SERVER_CA,
                CLIENT_CA,
                "request-header-ca",
                "etcd-server-ca",
                "etcd-peer-ca",
            ],
            Self::LocalCa => &[LOCAL_CA],
        }
    }

    /// All tables of secrets.toml that belong to it.
    pub fn tables(self) -> impl Iterator<Item = &'static str> {
        let service = (self == Self::Cluster).then_some(SERVICE);
        self.authorities().iter().copied().chain(service)
    }

    /// Whether any of its keys is in `tables`. They are made together.
    pub fn is_in(self, tables: &Tables) -> bool {
        self.tables().any(|name| tables.get(name).is_some())
    }
}

/// Whose keys they are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    pub cluster: &'a str,
    /// The only domain that the local authority may sign for.
    pub domain: &'a str,
}
