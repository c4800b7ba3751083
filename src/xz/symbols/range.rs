//! The range coder: bits with adaptive probabilities, and bits without.

/// Bytes of compressed data in a chunk, at most.
pub(super) const CHUNK_SIZE: usize = 1 << 16;
/// Bytes that a range coder writes before the first bit and behind the last one.
pub(super) const FRAME: usize = 5;

/// Below this the range is too small for another bit.
const TOP: u32 = 1 << 24;
/// Probabilities are of 2048.
const PRECISION: u32 = 11;
/// The smaller, the faster probabilities follow.
const SPEED: u32 = 5;

/// All ones when `condition` holds. Arithmetic on it takes the place of branches that no processor
/// can predict: about every fifth bit of packed data would cost 15 to 20 cycles.
#[inline(always)]
fn mask(condition: bool) -> u32 {
    u32::from(condition).wrapping_neg()
}

/// Moves a probability of a zero towards what was seen; `one` is all ones when that was a one.
#[inline(always)]
fn adapt(probability: &mut u16, one: u32) {
    let p = u32::from(*probability);
    // p − p/32 after a one, p + (2048 − p)/32 after a zero.
    let offset = ((1 << SPEED) - 1 - (1 << PRECISION)) & !(one as i32);
    let step = (p as i32).wrapping_add(offset) >> SPEED;
    *probability = (p as i32).wrapping_sub(step) as u16;
}

/// Decodes bits from one chunk. What lies behind the end of the data reads as whatever the buffer
/// holds; [`Decoder::is_finished`] tells at the end whether that was the case.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    input: &'a [u8; CHUNK_SIZE],
    at: usize,
    range: u32,
    code: u32,
}

impl<'a> Decoder<'a> {
    /// Starts at the beginning of `input`. `None` unless the first byte is zero, as it always is.
    pub fn new(input: &'a [u8; CHUNK_SIZE]) -> Option<Self> {
        let [first, a, b, c, d, ..] = *input;
        (first == 0).then_some(Self {
            input,
            at: FRAME,
            range: u32::MAX,
            code: u32::from_be_bytes([a, b, c, d]),
        })
    }

    /// Whether all bits were read from exactly `len` bytes.
    pub fn is_finished(mut self, len: usize) -> bool {
        self.normalize();
        self.at == len && self.code == 0
    }

    #[inline(always)]
    fn normalize(&mut self) {
        if self.range < TOP {
            let next = self.input[self.at & (CHUNK_SIZE - 1)];
            self.at = self.at.wrapping_add(1);
            self.range <<= 8;
            self.code = (self.code << 8) | u32::from(next);
        }
    }

    /// A bit that decides what comes next, so that there is a branch on it anyway.
    #[inline(always)]
    pub fn flag(&mut self, probability: &mut u16) -> bool {
        self.normalize();
        let bound = (self.range >> PRECISION).wrapping_mul(u32::from(*probability));
        if self.code < bound {
            self.range = bound;
            adapt(probability, 0);
            false
        } else {
            self.range = self.range.wrapping_sub(bound);
            self.code = self.code.wrapping_sub(bound);
            adapt(probability, u32::MAX);
            true
        }
    }

    /// A bit of a number, 0 or 1.
    #[inline(always)]
    pub fn bit(&mut self, probability: &mut u16) -> usize {
        self.normalize();
        let bound = (self.range >> PRECISION).wrapping_mul(u32::from(*probability));
        let one = mask(self.code >= bound);
        let rest = self.range.wrapping_sub(bound);
        self.range = bound ^ ((bound ^ rest) & one);
        self.code = self.code.wrapping_sub(bound & one);
        adapt(probability, one);
        (one & 1) as usize
    }

    /// A bit that is as often zero as one.
    #[inline(always)]
    pub fn direct(&mut self) -> u32 {
        self.normalize();
        self.range >>= 1;
        // The sign, not a comparison: as liblzma has it, also for a code that no encoder writes.
        let rest = self.code.wrapping_sub(self.range);
        let zero = mask(rest >> 31 != 0);
        self.code = rest.wrapping_add(self.range & zero);
        zero.wrapping_add(1)
    }
}

/// The chunk that is being encoded.
pub(super) struct Encoder {
    numbers: Numbers,
    output: Box<[u8; CHUNK_SIZE]>,
}

#[derive(Clone, Copy)]
struct Numbers {
    /// Low end of the range. Bit 32 is a carry into the bytes already written.
    low: u64,
    range: u32,
    /// Bytes written.
    len: usize,
}

/// What encodes bits. It is taken from an [`Encoder`] and given back, so that loops hold its numbers
/// in registers.
pub(super) struct Coder<'a> {
    numbers: Numbers,
    output: &'a mut [u8; CHUNK_SIZE],
}

/// What is left of a [`Coder`].
#[derive(Clone, Copy)]
pub(super) struct Left(Numbers);

impl Encoder {
    const START: Numbers = Numbers {
        low: 0,
        range: u32::MAX,
        len: 1,
    };

    pub fn new() -> Self {
        Self {
            numbers: Self::START,
            output: Box::new([0; CHUNK_SIZE]),
        }
    }

    /// Bytes that the chunk has when it is finished now.
    pub fn len(&self) -> usize {
        self.numbers.len + FRAME - 1
    }

    #[inline(always)]
    pub fn coder(&mut self) -> Coder<'_> {
        Coder {
            numbers: self.numbers,
            output: &mut self.output,
        }
    }

    /// Takes back what a coder has left.
    #[inline(always)]
    pub fn put_back(&mut self, left: Left) {
        self.numbers = left.0;
    }

    /// Encodes something.
    pub fn with(&mut self, encode: impl FnOnce(&mut Coder<'_>)) {
        let mut coder = self.coder();
        encode(&mut coder);
        let left = coder.left();
        self.put_back(left);
    }

    /// Writes the last bytes, hands the chunk out and begins the next one.
    pub fn finish<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> R {
        self.with(|coder| (1..FRAME).for_each(|_| coder.shift()));
        let result = take(self.output.get(..self.numbers.len).unwrap_or_default());
        self.restart();
        result
    }

    /// Forgets the chunk.
    pub fn restart(&mut self) {
        self.numbers = Self::START;
        self.output[0] = 0;
    }
}

impl Coder<'_> {
    #[inline(always)]
    pub fn left(self) -> Left {
        Left(self.numbers)
    }

    /// Bytes that the chunk has when it is finished now.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.numbers.len.wrapping_add(FRAME - 1)
    }

    /// Moves the highest byte out.
    #[inline(always)]
    fn shift(&mut self) {
        let Numbers { low, len, .. } = &mut self.numbers;
        if *low > u64::from(u32::MAX) {
            carry(self.output, *len);
        }
        self.output[*len & (CHUNK_SIZE - 1)] = (*low >> 24) as u8;
        *len = len.wrapping_add(1);
        *low = (*low & 0x00ff_ffff) << 8;
    }

    #[inline(always)]
    fn normalize(&mut self) {
        if self.numbers.range < TOP {
            self.numbers.range <<= 8;
            self.shift();
        }
    }

    /// Encodes the lowest bit of `bit`.
    #[inline(always)]
    pub fn bit(&mut self, probability: &mut u16, bit: usize) {
        let Numbers { low, range, .. } = &mut self.numbers;
        let one = ((bit & 1) as u32).wrapping_neg();
        let bound = (*range >> PRECISION).wrapping_mul(u32::from(*probability));
        let rest = range.wrapping_sub(bound);
        *low = low.wrapping_add(u64::from(bound & one));
        *range = bound ^ ((bound ^ rest) & one);
        adapt(probability, one);
        self.normalize();
    }

    /// Encodes the lowest bit of `bit`, without a probability.
    #[inline(always)]
    pub fn direct(&mut self, bit: u32) {
        let Numbers { low, range, .. } = &mut self.numbers;
        *range >>= 1;
        *low = low.wrapping_add(u64::from(*range & (bit & 1).wrapping_neg()));
        self.normalize();
    }
}

/// Adds one to the `len` bytes that were written. The first byte, which is zero, takes what is left.
/// Not a method: the encoder's numbers stay in registers only while nobody takes its address.
#[cold]
#[inline(never)]
fn carry(output: &mut [u8; CHUNK_SIZE], len: usize) {
    for byte in output.iter_mut().take(len).rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bit comes back, also where carries run through many bytes.
    #[test]
    fn bits_come_back() {
        for seed in 1..40u32 {
            let mut x = seed;
            let mut next = || {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                x
            };
            let bits: Vec<(usize, usize, bool)> = (0..20_000)
                .map(|_| {
                    let likely = next() % 64 >= seed;
                    let direct = next() % 9 == 0;
                    (next() as usize % 8, usize::from(likely), direct)
                })
                .collect();
            let mut encoder = Encoder::new();
            let mut probabilities = [1024; 8];
            for &(which, bit, direct) in &bits {
                encoder.with(|coder| match direct {
                    true => coder.direct(bit as u32),
                    false => coder.bit(&mut probabilities[which], bit),
                });
            }
            let expected = encoder.len();
            let mut input = [0xaa; CHUNK_SIZE];
            let len = encoder.finish(|bytes| {
                input[..bytes.len()].copy_from_slice(bytes);
                bytes.len()
            });
            assert_eq!(len, expected);
            let mut decoder = Decoder::new(&input).unwrap();
            let mut probabilities = [1024; 8];
            for &(which, bit, direct) in &bits {
                let probability = &mut probabilities[which];
                let got = match (direct, which % 2) {
                    (true, _) => decoder.direct() as usize,
                    (false, 0) => decoder.bit(probability),
                    (false, _) => usize::from(decoder.flag(probability)),
                };
                assert_eq!(got, bit);
            }
            assert!(decoder.is_finished(len));
            assert!(!decoder.is_finished(len + 1));
        }
        assert!(Decoder::new(&[1; CHUNK_SIZE]).is_none());
    }
}
