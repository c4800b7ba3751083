//! SSH host keys made from a seed: the same seed and name always give the same files, byte for byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha512_256};
use zeroize::Zeroizing;

use crate::pem;

/// Other labels, other keys: changing one gives every node a new host key.
const KEY_LABEL: &str = "imgbuild ssh host key v1: ed25519 seed";
const CHECK_LABEL: &str = "imgbuild ssh host key v1: checkint";

const ALGORITHM: &[u8] = b"ssh-ed25519";
const LINE: usize = 70;
/// What the private part of an unencrypted file is padded to.
const BLOCK: usize = 8;

/// The ed25519 host key of one node.
pub struct HostKey {
    key: SigningKey,
    comment: String,
}

impl HostKey {
    /// The key of the node `fqdn`, for whoever has `seed`.
    pub fn derive(seed: &str, fqdn: &str, hostname: &str) -> Self {
        let secret = Zeroizing::new(derive(KEY_LABEL, &[seed.as_bytes(), fqdn.as_bytes()]));
        Self {
            key: SigningKey::from_bytes(&secret),
            comment: format!("root@{hostname}"),
        }
    }

    /// The line of a `.pub` file.
    pub fn public_line(&self) -> String {
        let blob = STANDARD.encode(self.public_blob());
        format!("ssh-ed25519 {blob} {}", self.comment)
    }

    /// The private key as OpenSSH's PROTOCOL.key has it, unencrypted; no line end at the end.
    pub fn private_file(&self) -> String {
        let mut file = Zeroizing::new(b"openssh-key-v1\0".to_vec());
        for text in ["none", "none", ""] {
            put(&mut file, text.as_bytes());
        }
        file.extend(1u32.to_be_bytes());
        put(&mut file, &self.public_blob());
        put(&mut file, &self.private_blob());
        pem::encode("OPENSSH PRIVATE KEY", &file, LINE).to_string()
    }

    fn public_blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put(&mut blob, ALGORITHM);
        put(&mut blob, self.key.verifying_key().as_bytes());
        blob
    }

    fn private_blob(&self) -> Zeroizing<Vec<u8>> {
        // ssh-keygen takes a random number, and readers only ask for it to be there twice.
        let check = derive(CHECK_LABEL, &[self.key.as_bytes()]);
        let mut blob = Zeroizing::new([&check[..4], &check[..4]].concat());
        blob.extend(self.public_blob());
        put(&mut blob, &self.key.to_keypair_bytes());
        put(&mut blob, self.comment.as_bytes());
        let padding = blob.len().next_multiple_of(BLOCK) - blob.len();
        blob.extend((1u8..).take(padding));
        blob
    }
}

/// SHA-512/256 of label and parts, each behind its length. Unlike SHA-256 its results say nothing of
/// those for longer texts.
fn derive(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut text = Zeroizing::new(Vec::new());
    put(&mut text, label.as_bytes());
    for part in parts {
        put(&mut text, part);
    }
    Sha512_256::digest(&*text).into()
}

/// A string as SSH writes it (RFC 4251, section 5): 32 bits of length, then the bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // Names, keys and seeds of one line are nowhere near 4 GiB.
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "0123456789abcdef-of-the-test";

    fn key(seed: &str, fqdn: &str) -> HostKey {
        HostKey::derive(seed, fqdn, "bondsmith")
    }

    /// Made with Python's hashlib and openssl. Other results would be other host keys for everybody.
    #[test]
    fn the_files_are_those_of_another_program() {
        let key = key(SEED, "bondsmith.home.lab");
        assert_eq!(
            key.public_line(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF root@bondsmith"
        );
        assert_eq!(
            key.private_file(),
            "-----BEGIN OPENSSH PRIVATE KEY-----\n\
             b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n\
             QyNTUxOQAAACCOHAetIQ6M2ewd36TkCSVO18Q5kBxsIFWBlrkdYMX5BQAAAJjgNzSm4Dc0\n\
             pgAAAAtzc2gtZWQyNTUxOQAAACCOHAetIQ6M2ewd36TkCSVO18Q5kBxsIFWBlrkdYMX5BQ\n\
             AAAEBHMHKJz2pBqodu3j5YV3KFzlHCXf7QwzWaRg9L/qcl4o4cB60hDozZ7B3fpOQJJU7X\n\
             xDmQHGwgVYGWuR1gxfkFAAAADnJvb3RAYm9uZHNtaXRoAQIDBAUGBw==\n\
             -----END OPENSSH PRIVATE KEY-----"
        );
    }

    #[test]
    fn other_seeds_and_other_nodes_have_other_keys() {
        let of = |seed: &str, fqdn: &str| key(seed, fqdn).public_line();
        let mut all = [
            of(SEED, "a.home.lab"),
            of(SEED, "b.home.lab"),
            of(&SEED[1..], "a.home.lab"),
            // Where the seed ends and the name begins counts.
            of(&format!("{SEED}a"), ".home.lab"),
        ];
        assert_eq!(all[0], of(SEED, "a.home.lab"));
        all.sort();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

    /// The padding: none, or 1, 2, 3 and so on up to the block.
    #[test]
    fn private_parts_fill_whole_blocks() {
        for len in 1..=2 * BLOCK {
            let blob = HostKey::derive(SEED, "x", &"h".repeat(len)).private_blob();
            assert_eq!(blob.len() % BLOCK, 0);
            let padding = blob.iter().rev().take_while(|b| **b < b'h').count();
            let expected: Vec<u8> = (1u8..).take(padding).collect();
            assert!(padding < BLOCK && blob.ends_with(&expected), "{blob:?}");
        }
    }
}
