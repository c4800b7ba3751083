//! Base images, as profiles name them.

use std::path::PathBuf;

use crate::digest::{Digest, name_of};
use crate::error::Result;
use crate::url::Url;

/// Where the base image comes from, as the profile says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRequest {
    /// A name of [`aliases`](super::aliases), looked up in the Imager index.
    Alias(String),
    /// A URL; without a digest, that of the `.sha256` file beside it is used.
    Url { url: Url, sha256: Option<Digest> },
    /// A file of this computer, with its digest when that is known.
    Path {
        path: PathBuf,
        sha256: Option<Digest>,
    },
}

impl BaseRequest {
    /// What `image` means in a profile: a URL, a path (it has a separator or an image's ending),
    /// or else an alias. Relative paths are returned as they are. `sha256` is the digest as it was
    /// written.
    pub fn from_setting(image: &str, sha256: Option<&str>) -> Result<Self> {
        const ENDINGS: [&str; 5] = [".img", ".xz", ".gz", ".zst", ".zip"];
        let lower = image.to_ascii_lowercase();
        let given = |subject: &str| sha256.map(|text| Digest::given(text, subject)).transpose();
        if image.contains("://") {
            let url = Url::parse(image)?;
            let sha256 = given(&url.to_string())?;
            Ok(Self::Url { url, sha256 })
        } else if image.contains(['/', '\\']) || ENDINGS.iter().any(|end| lower.ends_with(end)) {
            Self::at_path(image, sha256)
        } else {
            Ok(Self::Alias(image.to_owned()))
        }
    }

    /// The file at `path`, whatever its name.
    pub fn at_path(path: impl Into<PathBuf>, sha256: Option<&str>) -> Result<Self> {
        let path = path.into();
        let given = |text| Digest::given(text, &name_of(&path));
        let sha256 = sha256.map(given).transpose()?;
        Ok(Self::Path { path, sha256 })
    }

    /// Its name and what is asked for, as the lock file has them; `None` for a file of this computer.
    pub fn lock_key(&self) -> Option<(String, String)> {
        match self {
            Self::Alias(alias) => Some((self.name(), alias.clone())),
            Self::Url { url, .. } => Some((self.name(), url.to_string())),
            Self::Path { .. } => None,
        }
    }

    /// What messages and the lock file call it. Of a file of this computer its name.
    pub fn name(&self) -> String {
        match self {
            Self::Alias(alias) => alias.clone(),
            Self::Url { url, .. } => url.file_name(),
            Self::Path { path, .. } => name_of(path),
        }
    }

    /// A file that nothing is known of.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::Path {
            path: path.into(),
            sha256: None,
        }
    }
}
