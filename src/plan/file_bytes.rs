//! What a plan writes into a file.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

use crate::secrets::REDACTED;

/// The bytes of a file. Those with a secret in them are wiped, and are not shown.
#[derive(Clone)]
pub enum FileBytes {
    Plain(Vec<u8>),
    Secret(Zeroizing<Vec<u8>>),
}

impl FileBytes {
    /// Takes `bytes` over.
    pub fn new(bytes: Vec<u8>, secret: bool) -> Self {
        if secret {
            Self::Secret(Zeroizing::new(bytes))
        } else {
            Self::Plain(bytes)
        }
    }

    /// Whether only the owner of the file should read them.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Secret(bytes) => bytes,
        }
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Secret(_) => f.write_str(REDACTED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_neither_a_secret_nor_its_length() {
        let shown = |secret| format!("{:?}", FileBytes::new(b"hunter22".to_vec(), secret));
        assert_eq!(shown(true), REDACTED);
        assert_eq!(shown(false), "8 bytes");
    }
}
