//! Content for images that are no file systems.

pub const MIB: usize = 1 << 20;

/// What no packer makes smaller, the same for the same `seed`.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(next).collect()
}

/// Mebibytes of noise, text, nearly nothing, and zeros twice, in turn.
#[allow(dead_code, reason = "not every test that needs noise needs this")]
pub fn mixed_image(len: usize) -> Vec<u8> {
    let mut image = vec![0; len];
    for (i, at) in (0..len).step_by(MIB).enumerate() {
        let room = (len - at).min(70_000);
        match i % 5 {
            0 => image[at..at + room].copy_from_slice(&noise(room, i as u32)),
            1 => image[at..at + room].copy_from_slice(&b"Raspberry Pi OS ".repeat(5000)[..room]),
            2 => image[at + room - 1] = 1,
            _ => {}
        }
    }
    image
}
