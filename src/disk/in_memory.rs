//! An image in memory.

use std::sync::Arc;

use super::read_at::{ReadAt, check_bounds};
use crate::error::Result;

/// A disk image whose bytes are in memory: for tests and for small images. Clones share them.
#[derive(Debug, Clone)]
pub struct InMemory(Arc<Vec<u8>>);

impl From<Vec<u8>> for InMemory {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl ReadAt for InMemory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_bounds(offset, buf.len(), self.len())?;
        buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
        Ok(())
    }
}
