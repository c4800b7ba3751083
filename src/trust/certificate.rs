//! What a certificate says about its keys: who may sign now, and until when.
//!
//! Only what is relied on is checked: self-signatures, bindings of subkeys, revocations by the key
//! itself. Certifications by other people, which Debian's keys have many of, do not matter here.
//! Two things are not followed, as no pinned key needs them: revocations by another key (designated
//! revokers), and those of user IDs, which `pgp` drops; names are not what we trust.

use std::io::Read;

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{Fingerprint as ParsedFingerprint, KeyDetails, KeyId, KeyVersion, Tag};

use super::objection::Objection;
use super::policy::{acceptable, strong_key};

const SELF_SIGNATURE: &str = "the newest self-signature of the key";
const BINDING: &str = "the signature that binds the subkey";
const BACK_SIGNATURE: &str = "the signature of the subkey on its primary key";

/// A key that signs data: the primary key of a certificate, or one of its subkeys.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    Primary(&'a SignedPublicKey),
    Sub(&'a SignedPublicKey, &'a SignedPublicSubKey),
}

impl<'a> Key<'a> {
    /// All keys of a certificate.
    pub fn all(certificate: &'a SignedPublicKey) -> impl Iterator<Item = Self> {
        let subkeys = certificate.public_subkeys.iter();
        std::iter::once(Self::Primary(certificate))
            .chain(subkeys.map(|subkey| Self::Sub(certificate, subkey)))
    }

    pub fn fingerprint(self) -> ParsedFingerprint {
        match self {
            Self::Primary(certificate) => certificate.primary_key.fingerprint(),
            Self::Sub(_, subkey) => subkey.key.fingerprint(),
        }
    }

    pub fn primary_fingerprint(self) -> ParsedFingerprint {
        let (Self::Primary(certificate) | Self::Sub(certificate, _)) = self;
        certificate.primary_key.fingerprint()
    }

    pub fn id(self) -> KeyId {
        match self {
            Self::Primary(certificate) => certificate.primary_key.legacy_key_id(),
            Self::Sub(_, subkey) => subkey.key.legacy_key_id(),
        }
    }

    /// When the key was made, in seconds since 1970.
    pub fn created(self) -> i64 {
        let created = match self {
            Self::Primary(certificate) => certificate.primary_key.created_at(),
            Self::Sub(_, subkey) => subkey.key.created_at(),
        };
        i64::from(created.as_secs())
    }

    /// Whether this key may sign data at the time `now`.
    pub fn may_sign(self, now: i64) -> Result<(), Objection> {
        let (Self::Primary(certificate) | Self::Sub(certificate, _)) = self;
        let own = primary_in_force(certificate, now)?;
        match self {
            // Without flags a primary key may do what its algorithm can.
            Self::Primary(_) if has_flags(own) && !own.key_flags().sign() => {
                Err(Objection::MayNotSign("the primary key"))
            }
            Self::Primary(_) => Ok(()),
            Self::Sub(_, subkey) => subkey_in_force(certificate, subkey, now),
        }
    }

    /// Whether this key made `signature` of `data`.
    pub fn made(self, signature: &Signature, data: impl Read) -> pgp::errors::Result<()> {
        match self {
            Self::Primary(certificate) => signature.verify(&certificate.primary_key, data),
            Self::Sub(_, subkey) => signature.verify(&subkey.key, data),
        }
    }
}

/// The self-signature that counts, of a primary key that is neither weak, revoked nor expired.
fn primary_in_force(certificate: &SignedPublicKey, now: i64) -> Result<&Signature, Objection> {
    let key = &certificate.primary_key;
    strong_key(key)?;
    let revocations = &certificate.details.revocation_signatures;
    if let Some(revocation) = revocations.iter().find(|s| s.verify_key(key).is_ok()) {
        return Err(revoked("the key", revocation));
    }
    let own = self_signature(certificate, now)?;
    not_expired("the key", key, own, now)?;
    Ok(own)
}

/// The newest valid self-signature. Those on user IDs say what a key of version 4 may do, a direct
/// one says it of version 6; the other kind stands in where there is none.
fn self_signature(certificate: &SignedPublicKey, now: i64) -> Result<&Signature, Objection> {
    let key = &certificate.primary_key;
    let users = certificate.details.users.iter().flat_map(|user| {
        let signatures = user.signatures.iter();
        signatures.map(move |signature| (signature, Some(&user.id)))
    });
    let direct = certificate.details.direct_signatures.iter();
    let direct = direct.map(|signature| (signature, None));
    let is_valid = |(signature, user): &(&Signature, Option<_>)| match user {
        Some(user) => signature
            .verify_certification(key, Tag::UserId, *user)
            .is_ok(),
        None => signature.typ() == Some(SignatureType::Key) && signature.verify_key(key).is_ok(),
    };
    let by_itself = |(signature, _): &(&Signature, Option<_>)| names(signature, key);
    let of_users = newest(users.filter(by_itself), is_valid, SELF_SIGNATURE, now);
    let of_key = newest(direct.filter(by_itself), is_valid, SELF_SIGNATURE, now);
    let (first, second) = match key.version() {
        KeyVersion::V6 => (of_key, of_users),
        _ => (of_users, of_key),
    };
    let missing = Objection::Unbound("the key has no valid self-signature");
    match (first, second) {
        (Ok(Some((own, _))), _) | (_, Ok(Some((own, _)))) => Ok(own),
        (Err(why), _) | (_, Err(why)) => Err(why),
        (Ok(None), Ok(None)) => Err(missing),
    }
}

fn subkey_in_force(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now: i64,
) -> Result<(), Objection> {
    let primary = &certificate.primary_key;
    strong_key(&subkey.key)?;
    let is_valid = |s: &&Signature| s.verify_subkey_binding(primary, &subkey.key).is_ok();
    let of_type = |typ| {
        let signatures = subkey.signatures.iter();
        signatures.filter(move |signature| signature.typ() == Some(typ))
    };
    if let Some(revocation) = of_type(SignatureType::SubkeyRevocation).find(is_valid) {
        return Err(revoked("the subkey", revocation));
    }
    let bindings = of_type(SignatureType::SubkeyBinding).map(|signature| (signature, ()));
    let is_valid = |(signature, ()): &(&Signature, ())| is_valid(signature);
    let (binding, ()) = newest(bindings, is_valid, BINDING, now)?.ok_or(Objection::Unbound(
        "the subkey is not bound to its primary key",
    ))?;
    not_expired("the subkey", &subkey.key, binding, now)?;
    if !binding.key_flags().sign() {
        return Err(Objection::MayNotSign("the subkey"));
    }
    // Without it anyone could bind someone else's key to their own.
    let back = binding.embedded_signature();
    let back = back.ok_or(Objection::Unbound(
        "the subkey did not sign its primary key",
    ))?;
    acceptable(back, BACK_SIGNATURE, now)?;
    back.verify_primary_key_binding(&subkey.key, primary)
        .map_err(|_| Objection::Unbound("the subkey did not sign its primary key"))
}

/// The newest of some signatures that is acceptable and valid. An error is the objection to the newest
/// that is not acceptable, where none is good; `Ok(None)`: there is nothing to say of any.
fn newest<'a, T>(
    signatures: impl Iterator<Item = (&'a Signature, T)>,
    is_valid: impl Fn(&(&'a Signature, T)) -> bool,
    what: &'static str,
    now: i64,
) -> Result<Option<(&'a Signature, T)>, Objection> {
    let mut signatures: Vec<_> = signatures.collect();
    signatures.sort_by_key(|(signature, _)| std::cmp::Reverse(signature.created()));
    let mut objection = None;
    for signature in signatures {
        match acceptable(signature.0, what, now) {
            Ok(_) if is_valid(&signature) => return Ok(Some(signature)),
            Ok(_) => {}
            // Its mathematics are not checked: it could not count, whatever they say.
            Err(why) => objection = objection.or(Some(why)),
        }
    }
    objection.map_or(Ok(None), Err)
}

/// Whether `signature` says that `key` made it.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    signature.issuer_key_id().contains(&&id)
        || signature.issuer_fingerprint().contains(&&fingerprint)
}

fn has_flags(signature: &Signature) -> bool {
    let config = signature.config();
    let mut hashed = config.into_iter().flat_map(|c| c.hashed_subpackets());
    hashed.any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
}

fn not_expired(
    what: &'static str,
    key: &impl KeyDetails,
    signature: &Signature,
    now: i64,
) -> Result<(), Objection> {
    // Zero says: never.
    let life = signature.key_expiration_time().map_or(0, |d| d.as_secs());
    let at = i64::from(key.created_at().as_secs()) + i64::from(life);
    match life > 0 && at <= now {
        true => Err(Objection::Expired { what, at }),
        false => Ok(()),
    }
}

/// A revocation counts whatever its date and its hash: a doubtful one is no reason to trust a key.
fn revoked(what: &'static str, revocation: &Signature) -> Objection {
    let at = revocation.created().map(|at| i64::from(at.as_secs()));
    let reason = revocation.revocation_reason_string();
    let reason = reason.map(|r| String::from_utf8_lossy(r).escape_debug().to_string());
    Objection::Revoked {
        what,
        at,
        reason: reason.filter(|reason| !reason.is_empty()),
    }
}
