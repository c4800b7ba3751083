//! Balloon password hashing with SHA-256, as Pi-hole's FTL stores the password of its web interface.
//!
//! Algorithm: Boneh, Corrigan-Gibbs, Schechter, "Balloon Hashing" (2016), with 64-bit little-endian
//! integers and delta 3, as Nettle's `balloon_sha256` has it. Text form: the PHC string that FTL writes
//! into `webserver.api.pwhash`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Blocks of working memory and rounds, fixed by FTL.
const SPACE: usize = 1024;
const TIME: u64 = 32;
/// Other blocks that are mixed into each.
const DELTA: u64 = 3;
const SALT_BYTES: usize = 16;
/// Another label, another salt: a new pihole.toml for every node.
const SALT_LABEL: &[u8] = b"imgbuild pihole salt v1";

type Block = [u8; 32];

/// What FTL keeps of `password`. The salt is made of `owner` alone: a salt made of the password by a fast
/// hash would let anybody who reads it try passwords without paying for the slow one.
pub fn pihole_hash(password: &str, owner: &str) -> String {
    let digest = Sha256::new()
        .chain_update(SALT_LABEL)
        .chain_update([0])
        .chain_update(owner)
        .finalize();
    let salt = &digest[..SALT_BYTES];
    let hash = balloon(password.as_bytes(), salt, SPACE, TIME);
    let (salt, hash) = (STANDARD.encode(salt), STANDARD.encode(hash));
    format!("$BALLOON-SHA256$v=1$s={SPACE},t={TIME}${salt}${hash}")
}

/// Each hash begins with how many there were before it.
struct Hasher {
    count: u64,
}

impl Hasher {
    fn hash(&mut self, parts: &[&[u8]]) -> Block {
        let mut sha = Sha256::new().chain_update(self.count.to_le_bytes());
        for part in parts {
            sha.update(part);
        }
        self.count += 1;
        sha.finalize().into()
    }
}

/// The hash with `space` blocks (at least 1) and `time` rounds.
fn balloon(password: &[u8], salt: &[u8], space: usize, time: u64) -> Block {
    let mut hasher = Hasher { count: 0 };
    let mut last = hasher.hash(&[password, salt]);
    let mut blocks = Zeroizing::new(vec![last]);
    for _ in 1..space {
        last = hasher.hash(&[&last]);
        blocks.push(last);
    }
    for round in 0..time {
        for (index, place) in (0u64..).zip(0..blocks.len()) {
            last = hasher.hash(&[&last, &blocks[place]]);
            for other in 0..DELTA {
                let position = position(round, index, other);
                let chosen = remainder(&hasher.hash(&[salt, &position]), blocks.len());
                // Until it is stored below, the block at `place` is `last`.
                let chosen = if chosen == place {
                    last
                } else {
                    blocks[chosen]
                };
                last = hasher.hash(&[&last, &chosen]);
            }
            blocks[place] = last;
        }
    }
    last
}

/// The hash of three numbers, without a count.
fn position(round: u64, index: u64, other: u64) -> Block {
    let mut sha = Sha256::new();
    for number in [round, index, other] {
        sha.update(number.to_le_bytes());
    }
    sha.finalize().into()
}

/// `block` as a little-endian number, modulo `divisor`.
fn remainder(block: &Block, divisor: usize) -> usize {
    let bytes = block.iter().rev();
    bytes.fold(0, |rest, byte| ((rest << 8) | usize::from(*byte)) % divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::hex;

    /// The vectors that the implementations of the paper share.
    #[test]
    fn known_answers() {
        let cases = [
            (
                "hunter42",
                "examplesalt",
                1024,
                3,
                "716043dff777b44aa7b88dcbab12c078abecfac9d289c5b5195967aa63440dfb",
            ),
            (
                "",
                "salt",
                3,
                3,
                "5f02f8206f9cd212485c6bdf85527b698956701ad0852106f94b94ee94577378",
            ),
            (
                "password",
                "",
                3,
                3,
                "20aa99d7fe3f4df4bd98c655c5480ec98b143107a331fd491deda885c4d6a6cc",
            ),
            (
                "\0",
                "\0",
                3,
                3,
                "4fc7e302ffa29ae0eac31166cee7a552d1d71135f4e0da66486fb68a749b73a4",
            ),
            (
                "password",
                "salt",
                1,
                1,
                "eefda4a8a75b461fa389c1dcfaf3e9dfacbc26f81f22e6f280d15cc18c417545",
            ),
        ];
        for (password, salt, space, time, expected) in cases {
            let found = balloon(password.as_bytes(), salt.as_bytes(), space, time);
            assert_eq!(hex(&found), expected, "{password:?} {salt:?}");
        }
    }

    /// Password and hash of an example in the API's documentation, which FTL made.
    #[test]
    fn a_hash_of_ftl_itself() {
        let salt = STANDARD.decode("4ERwJD4XucRP4PcDHNLiAg==").unwrap();
        let hash = balloon(
            b"7ua0rHPZixX6B3bTa5o4Dv08iyEIm/2q9qgLrF9MNVw=",
            &salt,
            SPACE,
            TIME,
        );
        assert_eq!(
            STANDARD.encode(hash),
            "kSy0Eou8RUVtK2UTbc5MCpItV8YC3VRuoGhoENxSQ2I="
        );
    }

    #[test]
    fn the_same_password_is_another_hash_on_another_node() {
        let hash = pihole_hash("correct horse", "a.home.lab");
        assert_eq!(hash, pihole_hash("correct horse", "a.home.lab"));
        // Made with a reimplementation in Python.
        assert_eq!(
            hash,
            "$BALLOON-SHA256$v=1$s=1024,t=32$QzJqxa2B8QGdFEK6SAcVXA==$Kh4JkSsFKuGmfa/PENUz0cIn/zykn7oCn1OzsAbGZkE="
        );
        assert_ne!(hash, pihole_hash("correct horse", "b.home.lab"));
    }
}
