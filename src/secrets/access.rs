//! The secrets, as far as a stage of the work may see them.

use std::sync::Arc;

use super::refusal::Refusal;
use super::secret::Secret;
use super::tables::Tables;
use super::vault::Vault;
use crate::error::Result;

/// Whether secrets are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretMode {
    /// Take their values from the vault.
    Resolve,
    /// The same, but what a build would make may be missing: something stands in for it.
    Rehearse,
    /// Put a placeholder in their place: they are neither needed nor shown.
    Redact,
}

/// A vault, and whether the values in it may be seen.
#[derive(Clone)]
pub struct SecretAccess {
    vault: Arc<Vault>,
    mode: SecretMode,
}

impl SecretAccess {
    pub fn new(vault: Arc<Vault>, mode: SecretMode) -> Self {
        Self { vault, mode }
    }

    /// For files that are no secrets, and for the folder that relative paths start at.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Whether values are seen, or only what stands in for them.
    pub fn sees_values(&self) -> bool {
        self.mode != SecretMode::Redact
    }

    /// The value that `reference` leads to; None where it must not be seen.
    pub fn get(&self, reference: &str) -> Result<Option<Secret>, Refusal> {
        match self.mode {
            SecretMode::Resolve | SecretMode::Rehearse => self.vault.get(reference).map(Some),
            SecretMode::Redact => Ok(None),
        }
    }

    /// What is in secrets.toml; None where it must not be seen.
    pub fn kept(&self) -> Result<Option<Arc<Tables>>> {
        match self.mode {
            SecretMode::Redact => Ok(None),
            _ => self.vault.kept().tables().map(Some),
        }
    }

    /// Whether something may stand in for what a build would make.
    pub fn takes_stand_ins(&self) -> bool {
        self.mode != SecretMode::Resolve
    }
}
