//! One change of an image.

use serde::Serialize;

use super::account::{Account, SystemAccount};
use super::file_bytes::FileBytes;
use super::payload::PayloadRef;
use crate::overlay::Part;

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

impl When {
    /// For people; nothing where the edit always applies.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Self::Always => None,
            Self::CloudInit => Some("with cloud-init"),
            Self::Offline => Some("without cloud-init"),
            Self::CloudInitUnused => Some("cloud-init unused"),
        }
    }
}

/// Permission bits (octal 07777) and numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Attr {
    /// Of a file that belongs to root.
    pub const fn root(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// What is done at the path of an edit.
#[derive(Debug, Clone)]
pub enum Action {
    /// Create or replace a file.
    Write(Content, Attr),
    /// Unpack an archive into a folder.
    Unpack(Box<PayloadRef>),
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
    /// The same for an account of a service.
    SystemAccount(SystemAccount),
    /// Links that the unit's own [Install] section asks for.
    EnableUnit,
    DisableUnit,
    MaskUnit,
}

/// What is in a file.
#[derive(Debug, Clone)]
pub enum Content {
    Bytes(FileBytes),
    Payload(Box<PayloadRef>),
}

/// An edit that applies on every base.
pub(super) fn edit(part: Part, path: &str, origin: &str, action: Action) -> Edit {
    Edit {
        part,
        path: path.to_owned(),
        when: When::Always,
        origin: origin.to_owned(),
        action,
    }
}
