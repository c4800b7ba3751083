//! What is asked of every signature, of data and of keys alike, and of every key.

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureVersion, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams};

use super::objection::Objection;

/// How far clocks may differ, in seconds: a day.
const SKEW: i64 = 86_400;

/// The shortest modulus of an RSA key, in bits.
const MIN_RSA: u16 = 2048;

/// When `signature` was made, if nothing but its mathematics is left to check at the time `now`.
/// `what` names it in the objection.
pub fn acceptable(signature: &Signature, what: &'static str, now: i64) -> Result<i64, Objection> {
    let version = signature.version();
    if !matches!(version, SignatureVersion::V4 | SignatureVersion::V6) {
        let version = u8::from(version);
        return Err(Objection::Unreadable(format!(
            "version {version} of signatures is not supported"
        )));
    }
    strong_hash(signature, what)?;
    no_unknown_critical(signature, what)?;
    let made = signature.created().ok_or(Objection::Undated(what))?;
    let made = i64::from(made.as_secs());
    if made > now.saturating_add(SKEW) {
        return Err(Objection::Future { what, made, now });
    }
    // Zero says: never.
    let life = signature.signature_expiration_time().map(|d| d.as_secs());
    match life.filter(|life| *life > 0) {
        Some(life) if made + i64::from(life) <= now => Err(Objection::Expired {
            what,
            at: made + i64::from(life),
        }),
        _ => Ok(made),
    }
}

fn strong_hash(signature: &Signature, what: &'static str) -> Result<(), Objection> {
    use HashAlgorithm::{Md5, Ripemd160, Sha1, Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    let hash = match signature.hash_alg() {
        Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) => return Ok(()),
        Some(Md5) => "MD5".to_owned(),
        Some(Sha1) => "SHA-1".to_owned(),
        Some(Ripemd160) => "RIPEMD-160".to_owned(),
        Some(Sha224) => "SHA-224".to_owned(),
        Some(other) => format!("the hash algorithm {}", u8::from(other)),
        None => "no known hash algorithm".to_owned(),
    };
    Err(Objection::WeakHash { what, hash })
}

/// A critical subpacket must be understood (RFC 9580, 5.2.3.7); no notation is.
fn no_unknown_critical(signature: &Signature, what: &'static str) -> Result<(), Objection> {
    let config = signature.config();
    let mut hashed = config.into_iter().flat_map(|c| c.hashed_subpackets());
    let unknown = hashed.find_map(|subpacket| match &subpacket.data {
        _ if !subpacket.is_critical => None,
        SubpacketData::Notation(notation) => {
            let name = String::from_utf8_lossy(&notation.name);
            Some(format!("notation `{}`", name.escape_debug()))
        }
        SubpacketData::RegularExpression(_) => Some("regular expression".to_owned()),
        SubpacketData::TrustSignature(..) => Some("trust signature".to_owned()),
        SubpacketData::SignatureTarget(..) => Some("signature target".to_owned()),
        SubpacketData::IntendedRecipientFingerprint(_) => Some("intended recipient".to_owned()),
        SubpacketData::Experimental(id, _) | SubpacketData::Other(id, _) => {
            Some(format!("subpacket of type {id}"))
        }
        _ => None,
    });
    match unknown {
        Some(item) => Err(Objection::Critical { what, item }),
        None => Ok(()),
    }
}

/// Whether signatures by `key` can be relied on at all.
pub fn strong_key(key: &impl KeyDetails) -> Result<(), Objection> {
    let weak = match key.public_params() {
        PublicParams::RSA(params) => {
            // The crate of the number type is not ours to name; a key begins with its length in bits.
            let bytes = params.to_bytes().unwrap_or_default();
            let bits = bytes.first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
            if bits >= MIN_RSA {
                return Ok(());
            }
            format!("RSA with {bits} bits")
        }
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => return Ok(()),
        PublicParams::DSA(_) => "DSA".to_owned(),
        _ => format!("{:?} is no algorithm for signing", key.algorithm()),
    };
    Err(Objection::WeakKey(weak))
}
