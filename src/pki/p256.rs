//! Keys of ECDSA over P-256, as SEC1 writes them (RFC 5915, `EC PRIVATE KEY`): the only form that k3s
//! takes for the key of its service accounts.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::pem;

/// The label of a PEM block with a key in SEC1.
pub const LABEL: &str = "EC PRIVATE KEY";

/// Bytes of the private number, and of an uncompressed point.
const SECRET: usize = 32;
const POINT: usize = 65;

/// Either form is the same for all keys, but for the number and the point in it.
const SEC1_BEFORE: &[u8] = &[0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const SEC1_BETWEEN: &[u8] = &[
    // [0] the curve: prime256v1
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
    // [1] the point
    0xa1, 0x44, 0x03, 0x42, 0x00,
];
/// PKCS #8 (RFC 5208), as `ring` wants it: the curve stands with the algorithm.
const PKCS8_BEFORE: &[u8] = &[
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
    0x01, 0x01, 0x04, 0x20,
];
const PKCS8_BETWEEN: &[u8] = &[0xa1, 0x44, 0x03, 0x42, 0x00];

/// A key pair.
pub struct Key(Zeroizing<KeyPair>);

impl Key {
    /// A new one, at random.
    pub fn generate() -> Result<Self> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| Error::failed("cannot make a key").with_source(error))?;
        Ok(Self(Zeroizing::new(pair)))
    }

    /// The key in a PEM text; other blocks, such as `EC PARAMETERS`, are skipped. The error says what is
    /// wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let blocks = pem::decode(text)?;
        let mut keys = blocks
            .iter()
            .filter(|block| block.label.ends_with("PRIVATE KEY"));
        let (Some(block), None) = (keys.next(), keys.next()) else {
            return Err("does not hold one key".to_owned());
        };
        let wrong = || "is not an ECDSA P-256 key in SEC1 (`EC PRIVATE KEY`)".to_owned();
        if block.label != LABEL {
            return Err(wrong());
        }
        let (secret, point) = split(&block.der, SEC1_BEFORE, SEC1_BETWEEN).ok_or_else(wrong)?;
        let pkcs8 = Zeroizing::new([PKCS8_BEFORE, secret, PKCS8_BETWEEN, point].concat());
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        // ring compares the two halves.
        let pair = pair.map_err(|_| "is damaged".to_owned())?;
        Ok(Self(Zeroizing::new(pair)))
    }

    /// The key in SEC1 and PEM, without a line end at the end.
    pub fn pem(&self) -> Result<Zeroizing<String>> {
        let halves = split(self.0.serialized_der(), PKCS8_BEFORE, PKCS8_BETWEEN);
        let Some((secret, point)) = halves else {
            return Err(Error::failed("a key was made in a form that is not known"));
        };
        let der = Zeroizing::new([SEC1_BEFORE, secret, SEC1_BETWEEN, point].concat());
        Ok(pem::encode(LABEL, &der, pem::LINE))
    }

    /// The public half: an uncompressed point.
    pub fn point(&self) -> &[u8] {
        self.0.public_key_raw()
    }

    /// The pair, for signing.
    pub fn pair(&self) -> &KeyPair {
        &self.0
    }
}

/// The number and the point of a key that begins with `before` and has `between` between the two.
fn split<'a>(der: &'a [u8], before: &[u8], between: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (secret, rest) = der.strip_prefix(before)?.split_at_checked(SECRET)?;
    let point = rest.strip_prefix(between)?;
    (point.len() == POINT).then_some((secret, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_and_read() {
        let key = Key::generate().unwrap();
        let text = key.pem().unwrap();
        let again = Key::parse(&format!(
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{}\n",
            *text
        ))
        .unwrap();
        assert_eq!(again.point(), key.point());
        assert_eq!(again.pem().unwrap().as_str(), text.as_str());
        assert_ne!(Key::generate().unwrap().point(), key.point());
    }

    #[test]
    fn other_keys_are_refused() {
        let key = Key::generate().unwrap();
        let text = key.pem().unwrap();
        let pkcs8 = pem::encode("PRIVATE KEY", key.0.serialized_der(), pem::LINE);
        let halves = Zeroizing::new(pem::decode(&text).unwrap().remove(0).der.to_vec());
        let mut other = halves.clone();
        other[8] ^= 1;
        for (text, why) in [
            (pkcs8.as_str(), "in SEC1"),
            ("", "one key"),
            (&format!("{}\n{}", *text, *text), "one key"),
            (&pem::encode(LABEL, &other, pem::LINE), "damaged"),
            (&pem::encode(LABEL, &halves[1..], pem::LINE), "in SEC1"),
        ] {
            let Err(error) = Key::parse(text) else {
                panic!("{why}")
            };
            assert!(error.contains(why), "{error}");
        }
    }
}
