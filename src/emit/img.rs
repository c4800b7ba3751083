//! Raw images, sparse.

use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::output::Output;
use super::{BUFFER, Emitted, hex};
use crate::disk::{CowDisk, PAGE_SIZE, ReadAt, is_zero};
use crate::error::{Result, ResultExt};
use crate::job::{Job, Task};

/// Writes `disk` to `path` as a raw image with holes where it is zero, hashing it on the way.
pub fn write_img(disk: &CowDisk, path: &Path, job: &Job, label: &str) -> Result<Emitted> {
    let size = disk.len();
    let output = Output::create(path)?;
    output.check_space(data_len(disk)?, job)?;
    output.file().set_len(size).map_err(|e| output.explain(e))?;
    let mut writer = Writer {
        disk,
        output: &output,
        job,
        task: job.progress.begin(label, Some(size)),
        hash: Sha256::new(),
        buffer: vec![0; BUFFER],
    };
    let mut at = 0;
    while let Some(data) = disk.next_data(at)?.filter(|d| d.start < size) {
        writer.skip(data.start - at)?;
        // A base that knows nothing better may answer in odd pieces; whole pages keep the holes.
        let end = data.end.next_multiple_of(PAGE_SIZE).min(size);
        writer.copy(data.start, end)?;
        at = end;
    }
    writer.skip(size - at)?;
    let sha256 = hex(&writer.hash.finalize());
    drop(writer.task);
    Ok(Emitted {
        path: output.commit()?,
        size,
        raw_sha256: Some(sha256.clone()),
        sha256,
    })
}

/// Bytes that may not be zero.
fn data_len(disk: &CowDisk) -> Result<u64> {
    let (mut at, mut sum) = (0, 0);
    while let Some(data) = disk.next_data(at)? {
        sum += data.end - data.start;
        at = data.end;
    }
    Ok(sum)
}

struct Writer<'a> {
    disk: &'a CowDisk,
    output: &'a Output,
    job: &'a Job,
    task: Box<dyn Task>,
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    /// Passes over zeros, which count for the hash.
    fn skip(&mut self, mut len: u64) -> Result<()> {
        self.buffer.fill(0);
        while len > 0 {
            self.job.cancel.check()?;
            let n = len.min(BUFFER as u64) as usize;
            self.hash.update(&self.buffer[..n]);
            self.task.advance(n as u64);
            len -= n as u64;
        }
        Ok(())
    }

    fn copy(&mut self, mut at: u64, end: u64) -> Result<()> {
        while at < end {
            self.job.cancel.check()?;
            // Up to the next multiple of the buffer, so that pages stay aligned in it.
            let stop = (at + 1).next_multiple_of(BUFFER as u64).min(end);
            let n = (stop - at) as usize;
            self.disk
                .read_at(at, &mut self.buffer[..n])
                .context(|| format!("reading the image at byte {at}"))?;
            self.hash.update(&self.buffer[..n]);
            self.write(at, n)?;
            self.task.advance(n as u64);
            at = stop;
        }
        Ok(())
    }

    /// Writes the first `n` bytes of the buffer to offset `at`, without pages that are zero.
    fn write(&self, at: u64, n: usize) -> Result<()> {
        let head = (at.next_multiple_of(PAGE_SIZE) - at).min(n as u64) as usize;
        let (first, rest) = self.buffer[..n].split_at(head);
        let pages = (!first.is_empty())
            .then_some(first)
            .into_iter()
            .chain(rest.chunks(PAGE_SIZE as usize));
        // Neighbouring pages go out in one write.
        let mut run = 0..0;
        let mut done = 0;
        for page in pages {
            let next = done + page.len();
            if is_zero(page) {
                self.write_run(at, run)?;
                run = next..next;
            } else {
                run.end = next;
            }
            done = next;
        }
        self.write_run(at, run)
    }

    fn write_run(&self, at: u64, run: std::ops::Range<usize>) -> Result<()> {
        if run.is_empty() {
            return Ok(());
        }
        self.output
            .file()
            .write_all_at(&self.buffer[run.clone()], at + run.start as u64)
            .map_err(|e| self.output.explain(e))
    }
}
