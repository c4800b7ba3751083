//! What this run must not let out: the values that were resolved, in every spelling that a message
//! is likely to have them in.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::secret::{REDACTED, Secret};

/// A value that is shorter is part of words that have nothing to do with it.
const SHORTEST: usize = 6;

/// Bytes that base64 writes as a group of letters.
const GROUP: usize = 3;

/// The values resolved so far. Clones share them.
#[derive(Clone, Default)]
pub struct Mask(Arc<RwLock<Vec<Zeroizing<String>>>>);

impl Mask {
    /// Hides `secret` from now on.
    pub(super) fn add(&self, secret: &Secret) {
        let value = secret.expose();
        if value.len() < SHORTEST {
            return;
        }
        let mut spellings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for spelling in all_spellings(value) {
            if !spellings.contains(&spelling) {
                spellings.push(spelling);
            }
        }
        // What has another in it is looked for first, or its rest would be left.
        spellings.sort_by_key(|spelling| Reverse(spelling.len()));
    }

    /// `text` with a placeholder wherever a secret is in it.
    pub fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let spellings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut masked = Cow::Borrowed(text);
        for spelling in spellings.iter() {
            if masked.contains(spelling.as_str()) {
                masked = Cow::Owned(masked.replace(spelling.as_str(), REDACTED));
            }
        }
        masked
    }
}

/// The value itself, and as JSON, Rust, a shell, URLs and base64 write it.
fn all_spellings(value: &str) -> Vec<Zeroizing<String>> {
    let bytes = value.as_bytes();
    // What a line end or more text behind the value leaves as it is.
    let groups = &bytes[..bytes.len() - bytes.len() % GROUP];
    let json = serde_json::to_string(value).unwrap_or_default();
    let spellings = [
        value.to_owned(),
        json.trim_matches('"').to_owned(),
        value.escape_debug().to_string(),
        value.escape_default().to_string(),
        value.replace('\'', "'\\''"),
        percent_encoded(bytes, |b| format!("%{b:02X}")),
        percent_encoded(bytes, |b| format!("%{b:02x}")),
        STANDARD_NO_PAD.encode(bytes),
        STANDARD_NO_PAD.encode(groups),
        URL_SAFE_NO_PAD.encode(bytes),
        URL_SAFE_NO_PAD.encode(groups),
    ];
    spellings.into_iter().map(Zeroizing::new).collect()
}

/// RFC 3986: all but the unreserved characters.
fn percent_encoded(bytes: &[u8], encode: impl Fn(u8) -> String) -> String {
    let one = |b: &u8| match b {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(b) => char::from(*b).to_string(),
        b => encode(*b),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(values: &[&str]) -> Mask {
        let mask = Mask::default();
        for value in values {
            mask.add(&Secret::new((*value).to_owned()));
        }
        mask
    }

    #[test]
    fn every_spelling_of_a_value_is_hidden() {
        let mask = mask(&["hunter \"2\"'s ü/?"]);
        for text in [
            "hunter \"2\"'s ü/?",
            "hunter \\\"2\\\"'s ü/?",
            "hunter \\\"2\\\"\\'s \\u{fc}/?",
            "hunter \"2\"'\\''s ü/?",
            "hunter%20%222%22%27s%20%C3%BC%2F%3F",
            "hunter%20%222%22%27s%20%c3%bc%2f%3f",
            "aHVudGVyICIyIidzIMO8Lz8",
            "aHVudGVyICIyIidzIMO8Lz8K",
        ] {
            let shown = mask.apply(text);
            assert!(shown.starts_with(REDACTED), "{text}: {shown}");
            assert!(!shown.contains("aHVud"), "{text}: {shown}");
        }
        assert_eq!(mask.apply("before hunter"), "before hunter");
    }

    #[test]
    fn a_value_inside_of_another_leaves_nothing_of_it() {
        let mask = mask(&["hunter22", "hunter22-and-more", "short"]);
        let shown = mask.apply("hunter22-and-more hunter22 short");
        assert_eq!(shown, "‹secret› ‹secret› short");
    }
}
