//! A file that is hashed while it is written.

use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::output::{BUFFER, Output};
use crate::digest::Digest;
use crate::error::Result;
use crate::job::Job;

/// What goes into an output, counted and hashed.
pub(super) struct HashedFile<'a> {
    output: &'a Output,
    job: &'a Job,
    hash: Sha256,
    size: u64,
}

impl<'a> HashedFile<'a> {
    pub fn new(output: &'a Output, job: &'a Job) -> Self {
        Self {
            output,
            job,
            hash: Sha256::new(),
            size: 0,
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.output.file();
        for piece in bytes.chunks(BUFFER) {
            self.job.cancel.check()?;
            file.write_all(piece).map_err(|e| self.output.explain(e))?;
            self.hash.update(piece);
            self.size += piece.len() as u64;
        }
        Ok(())
    }

    /// Length in bytes, and the digest.
    pub fn finish(self) -> (u64, Digest) {
        (self.size, Digest::of(self.hash))
    }
}
