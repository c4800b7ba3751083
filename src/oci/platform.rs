//! What an image is for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Operating system and machine, as Go calls them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    /// Of the machine: `v8` of arm64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// That of the nodes: a Raspberry Pi in 64-bit mode.
    pub fn of_nodes() -> Self {
        Self {
            architecture: "arm64".to_owned(),
            os: "linux".to_owned(),
            variant: None,
        }
    }

    /// Whether a node runs what is for this platform: `linux/arm64`, which is the same as `linux/arm64/v8`.
    pub fn is_for_nodes(&self) -> bool {
        let wanted = Self::of_nodes();
        let is_first = self
            .variant
            .as_deref()
            .is_none_or(|variant| variant.is_empty() || variant == "v8");
        (&self.os, &self.architecture) == (&wanted.os, &wanted.architecture) && is_first
    }

    /// Whether it is one at all: what builders add to an index (attestations) is for `unknown/unknown`.
    pub fn is_known(&self) -> bool {
        let is_known = |word: &str| !word.is_empty() && word != "unknown";
        is_known(&self.os) && is_known(&self.architecture)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}
