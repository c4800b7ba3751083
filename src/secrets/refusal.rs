//! Why a reference leads to no secret.

use std::fmt::Display;

use crate::error::Error;
use crate::problem::Problem;

/// Why there is no value that can be used. It never quotes the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    what: String,
    hint: Option<String>,
}

impl Refusal {
    /// `what` stands behind the key.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    /// Says what the user can do about it.
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

    /// What is wrong, without the key and its place.
    #[cfg(test)]
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// The problem of `key`, whose value was written at `origin`.
    pub fn problem(&self, origin: impl Display, key: &str) -> Problem {
        Problem::new(origin, format!("`{key}`: {}", self.what)).with_maybe_hint(self.hint.clone())
    }

    /// The same as an error: whoever collects both tells it once.
    pub fn error(&self, origin: impl Display, key: &str) -> Error {
        self.problem(origin, key).into()
    }
}
