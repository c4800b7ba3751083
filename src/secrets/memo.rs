//! Work that is done once in a run, whoever asks and however often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use crate::parallel::lock;

/// Results by name.
pub struct Memo<T> {
    known: Mutex<BTreeMap<String, Arc<OnceLock<T>>>>,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
        }
    }
}

impl<T: Clone> Memo<T> {
    /// The result for `name`: made now, or the one that was made before.
    pub fn get(&self, name: &str, make: impl FnOnce() -> T) -> T {
        let slot = {
            let mut known = lock(&self.known);
            known.entry(name.to_owned()).or_default().clone()
        };
        // Outside of the lock: a password manager that waits for a finger holds up nobody else.
        slot.get_or_init(make).clone()
    }
}
