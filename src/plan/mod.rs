//! The plan of a node: every edit of its boot and root partition, in order. Planning is pure: it
//! needs no base image and fetches nothing, and patching obeys nothing else.

mod build;
mod identity;
mod print;
mod ssh_keys;

use serde::Serialize;

pub use build::{PlanOptions, plan_node};
pub use identity::locale_line;
pub use print::{print_json, print_text};

use crate::config::DiskTable;
use crate::overlay::Part;

/// Everything that turns a base into one node.
#[derive(Debug, Clone)]
pub struct Plan {
    pub profile: String,
    pub hostname: String,
    pub identity: IdentityPath,
    /// Names the seed: cloud-init runs again when it changes.
    pub instance_id: String,
    /// In the order in which they are carried out.
    pub edits: Vec<Edit>,
    /// Bytes of the whole image, when the profile fixes them.
    pub image_size: Option<u64>,
    /// Bytes that stay free in the root file system.
    pub spare: u64,
    /// With a GPT, the `PARTUUID`s in fstab and cmdline.txt follow.
    pub table: DiskTable,
}

/// How the node learns who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityPath {
    /// Decided by what the base has.
    Auto,
    CloudInit,
    Offline,
}

/// One change of an image.
#[derive(Debug, Clone)]
pub struct Edit {
    pub part: Part,
    /// Absolute path on the partition.
    pub path: String,
    pub when: When,
    /// The role, or `identity`, that asks for it.
    pub origin: String,
    pub action: Action,
}

/// On which bases an edit applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    Always,
    /// The identity goes through cloud-init's seed.
    CloudInit,
    /// The identity is written offline.
    Offline,
    /// The identity is written offline although the base has cloud-init.
    CloudInitUnused,
}

/// Permission bits (octal 07777) and numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Attr {
    pub const fn root(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Action {
    /// Create or replace a file.
    Write(Content, Attr),
    /// Unpack an archive into a folder.
    Unpack(PayloadRef),
    Directory(Attr),
    Symlink(String),
    /// Delete a file or link of the base, if it is there.
    Remove,
    /// Change mode and owner of something the base has.
    SetAttr(Attr),
    /// Words of the single line of cmdline.txt. A removal that ends in `=` takes every word that
    /// begins with it.
    Cmdline {
        add: Vec<String>,
        remove: Vec<String>,
    },
    /// A block of lines at the end of config.txt, under `[all]`.
    ConfigTxt(Vec<String>),
    /// The first line that begins with `prefix` (also behind `#`) becomes `line`; without one it is
    /// added at the end.
    SetLine {
        prefix: String,
        line: String,
    },
    /// The account: `path` is /etc/passwd, its sister files follow.
    Account(Account),
    /// Links that the unit's own [Install] section asks for.
    EnableUnit,
    DisableUnit,
    MaskUnit,
}

#[derive(Debug, Clone)]
pub enum Content {
    Bytes { bytes: Vec<u8>, secret: bool },
    Payload(PayloadRef),
}

/// A file that is fetched at build time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PayloadRef {
    pub name: String,
    pub location: PayloadLocation,
    pub sha256: Option<String>,
    /// URL of published checksums.
    pub sums: Option<String>,
    /// One file of an archive.
    pub member: Option<String>,
    /// The whole archive, into a folder.
    pub unpack: bool,
    /// Leading folders dropped while unpacking.
    pub strip: usize,
    /// Machine that an ELF file must be for, as `file` calls it.
    pub elf: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PayloadLocation {
    Url(String),
    File(std::path::PathBuf),
}

/// The user's account. The base's first user (uid 1000) becomes it.
#[derive(Debug, Clone)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub shell: String,
    pub groups: Vec<String>,
    /// crypt(3) hash; none locks the password.
    pub password_hash: Option<String>,
}

impl Account {
    pub fn home(&self) -> String {
        format!("/home/{}", self.name)
    }
}

impl Plan {
    /// Whether an image made after it holds what only its owner should read.
    pub fn holds_secrets(&self) -> bool {
        self.edits.iter().any(|edit| match &edit.action {
            Action::Write(Content::Bytes { secret, .. }, _) => *secret,
            Action::Account(account) => account.password_hash.is_some(),
            _ => false,
        })
    }

    /// The payloads it needs, each once.
    pub fn payloads(&self) -> Vec<&PayloadRef> {
        let mut found: Vec<&PayloadRef> = self
            .edits
            .iter()
            .filter_map(|edit| match &edit.action {
                Action::Write(Content::Payload(payload), _) | Action::Unpack(payload) => {
                    Some(payload)
                }
                _ => None,
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}
