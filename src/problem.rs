//! One thing that is wrong with the input.

use std::fmt;

/// One thing that is wrong with the profiles, the roles or the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// `place` says where it was written: `profiles/master.toml:7`, `--set user.name`, …
    pub fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self {
            message: format!("{place}: {what}"),
            hint: None,
        }
    }

    /// A problem whose message already says where.
    pub fn told(message: String) -> Self {
        Self {
            message,
            hint: None,
        }
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, if there is one.
    #[must_use]
    pub fn with_maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// What is wrong and where, without the hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The problem as a line of a list.
    pub fn line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("  {} ({hint})", self.message),
            None => format!("  {}", self.message),
        }
    }
}
