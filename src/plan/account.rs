//! The account that a plan makes.

use std::fmt;

use crate::secrets::{REDACTED, Secret};

/// The user's account. The base's first user (uid 1000) becomes it.
#[derive(Clone)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub shell: String,
    pub groups: Vec<String>,
    /// crypt(3) hash; none locks the password.
    pub password_hash: Option<Secret>,
}

/// An account of a service: nobody can log in to it. Its group has the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemAccount {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
    /// Further groups.
    pub groups: Vec<String>,
}

impl Account {
    /// The user's folder.
    pub fn home(&self) -> String {
        format!("/home/{}", self.name)
    }
}

/// Without the hash of the password.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("uid", &self.uid)
            .field("gid", &self.gid)
            .field("shell", &self.shell)
            .field("groups", &self.groups)
            .field(
                "password_hash",
                &self.password_hash.as_ref().map(|_| REDACTED),
            )
            .finish()
    }
}
