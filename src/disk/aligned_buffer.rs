//! Memory for reads and writes past the page cache.

/// Enough for direct reads and writes of any device.
const ALIGNMENT: usize = 4096;

/// Bytes whose place in memory is a multiple of 4096, as direct reads and writes want it.
pub struct AlignedBuffer {
    bytes: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT].into_boxed_slice();
        let start = match bytes.as_ptr().addr() % ALIGNMENT {
            0 => 0,
            over => ALIGNMENT - over,
        };
        Self { bytes, start, len }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    /// All of it, to be filled.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned() {
        for len in [1, 4096, 100_000] {
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.bytes().as_ptr().addr() % ALIGNMENT, 0);
            assert_eq!(buffer.bytes().len(), len);
            buffer.bytes_mut().fill(7);
            assert!(buffer.bytes().iter().all(|&b| b == 7));
        }
    }
}
