//! Where secrets come from. A profile only ever holds a reference: `env:NAME`, `file:PATH` or
//! `cmd:COMMAND`; the value exists in memory from here to the root file system of one image.

mod memo;
mod placeholder;
mod reference;
mod value;
mod vault;

use std::fmt::Display;
use std::path::{Path, PathBuf};

pub use memo::Memo;
pub use reference::check_reference;
pub use vault::Vault;

use crate::error::Error;
use crate::problem::Problem;

/// What stands in for a secret wherever it would be shown.
pub const REDACTED: &str = "‹secret›";

/// The value of a secret. It can be compared; to show it, one has to ask for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the file that it goes into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Why there is no value that can be used. It never quotes the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    what: String,
    hint: Option<String>,
}

impl Refusal {
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with `hint`, unless it has one of its own.
    #[must_use]
    pub fn or_hint(mut self, hint: &str) -> Self {
        self.hint.get_or_insert_with(|| hint.to_owned());
        self
    }

    /// The problem of `key`, whose value was written at `origin`.
    pub fn problem(&self, origin: impl Display, key: &str) -> Problem {
        Problem::new(origin, format!("`{key}`: {}", self.what)).with_maybe_hint(self.hint.clone())
    }

    /// The same as an error: whoever collects both tells it once.
    pub fn error(&self, origin: impl Display, key: &str) -> Error {
        let error = Error::usage(format!("{origin}: `{key}`: {}", self.what));
        match &self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// `~/` is the home directory; other relative paths start at `project`.
pub fn expand(path: &str, project: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => project.join(path),
    }
}
