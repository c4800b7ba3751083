//! A secret in memory.

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What stands in for a secret wherever it would be shown.
pub const REDACTED: &str = "‹secret›";

/// The value of a secret. It has neither `Debug` nor `Display`: to see it, one has to ask for it by
/// name. Its memory is wiped with the last clone.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes `value` over; nothing of it is copied.
    pub fn new(value: String) -> Self {
        Self(Arc::new(Zeroizing::new(value)))
    }

    /// What stands in for a value that must not be looked up.
    pub fn redacted() -> Self {
        Self::new(REDACTED.to_owned())
    }

    /// The text itself, for the file that it goes into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// In a time that tells nothing of where two values differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_when_their_values_are() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert!(secret("hunter22") == secret("hunter22"));
        assert!(secret("hunter22") != secret("hunter23"));
        assert!(secret("hunter22") != secret("hunter2"));
    }
}
