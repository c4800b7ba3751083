//! When an option or a secret of a role must be there.

use serde::Deserialize;

/// Whether something must be there: always, never, or on a condition.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Required {
    Always(bool),
    When(String),
}

impl Default for Required {
    fn default() -> Self {
        Self::Always(false)
    }
}
