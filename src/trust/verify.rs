//! Verification: one good signature by a trusted key is enough.

use std::io::{self, Read};

use pgp::packet::{Signature, SignatureType};

use crate::error::{Error, Result};

use super::certificate::Key;
use super::cleartext::Cleartext;
use super::fingerprint::Fingerprint;
use super::keyring::{Issuer, Keyring};
use super::objection::Objection;
use super::packets;
use super::policy::acceptable;

/// A signature that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Good {
    /// The primary key, which is pinned.
    pub primary: Fingerprint,
    /// The key that made it: the primary key or a subkey.
    pub signed_by: Fingerprint,
    /// When, in seconds since 1970, as the signature says.
    pub when: i64,
}

/// What signatures are asked to be of.
#[derive(Clone, Copy)]
struct Kind {
    typ: SignatureType,
    name: &'static str,
}

const BYTES: Kind = Kind {
    typ: SignatureType::Binary,
    name: "a file's bytes",
};
const TEXT: Kind = Kind {
    typ: SignatureType::Text,
    name: "a text",
};

/// Verifies a detached signature, binary or armored, one or several in a row. `name` is what the user
/// calls the data, in messages and behind `--insecure-skip-signature`. `open` gives the data from its
/// beginning; it is called once for each signature that nothing else speaks against. `now` is in
/// seconds since 1970.
///
/// # Errors
/// Of kind `Verification`, with the reasons against each signature; and those of `open` and of reading.
pub fn verify_detached<R: Read>(
    name: &str,
    signature: &[u8],
    open: impl FnMut() -> Result<R>,
    keyring: &Keyring,
    now: i64,
) -> Result<Good> {
    let signatures = packets::signatures(signature)
        .map_err(|why| unreadable(&format!("the signature of {name}"), name, &why))?;
    one_good(name, signatures, BYTES, open, keyring, now)
}

/// Verifies a text with its signature in it, such as `InRelease`, and gives the signed text: UTF-8,
/// unescaped, a line feed behind each line, and nothing that is not signed. `name` and `now` are as for
/// [`verify_detached`].
///
/// # Errors
/// Of kind `Verification`, with the reasons against each signature.
pub fn verify_cleartext(
    name: &str,
    bytes: &[u8],
    keyring: &Keyring,
    now: i64,
) -> Result<(String, Good)> {
    let read = || {
        let cleartext = Cleartext::read(bytes)?;
        let signatures = packets::signatures(cleartext.signatures)?;
        Ok((cleartext, signatures))
    };
    let (cleartext, signatures) = read().map_err(|why: String| unreadable(name, name, &why))?;
    let open = || Ok(cleartext.hashed.as_bytes());
    let good = one_good(name, signatures, TEXT, open, keyring, now)?;
    Ok((cleartext.text(), good))
}

fn one_good<R: Read>(
    name: &str,
    signatures: Vec<Result<Signature, String>>,
    kind: Kind,
    mut open: impl FnMut() -> Result<R>,
    keyring: &Keyring,
    now: i64,
) -> Result<Good> {
    let mut against = Vec::new();
    for signature in signatures {
        let checked = match &signature {
            Err(why) => Err(Objection::Unreadable(why.clone())),
            Ok(signature) => match candidates(signature, kind, keyring, now) {
                Err(objection) => Err(objection),
                Ok((keys, when)) => made_by(signature, &keys, when, &mut open)?,
            },
        };
        match checked {
            Ok(good) => return Ok(good),
            Err(objection) => against.push((signature.ok(), objection)),
        }
    }
    Err(refusal(name, &against, keyring))
}

/// The keys that may have made a signature, none with anything against it, and when it was made.
fn candidates<'a>(
    signature: &Signature,
    kind: Kind,
    keyring: &'a Keyring,
    now: i64,
) -> Result<(Vec<Key<'a>>, i64), Objection> {
    let keys = match keyring.issuer(signature) {
        Issuer::Here(keys) => keys,
        Issuer::Missing => return Err(Objection::NotHere),
        Issuer::Stranger => return Err(Objection::NotPinned),
        Issuer::Unnamed => return Err(Objection::NoIssuer),
    };
    if signature.typ() != Some(kind.typ) {
        return Err(Objection::WrongType(kind.name));
    }
    let when = acceptable(signature, "the signature", now)?;
    for key in &keys {
        key.may_sign(now)?;
        let created = key.created();
        if when < created {
            return Err(Objection::OlderThanKey {
                made: when,
                key: created,
            });
        }
    }
    Ok((keys, when))
}

/// Whether one of `keys` made `signature` of the data. An error of reading is none of the signature.
fn made_by<R: Read>(
    signature: &Signature,
    keys: &[Key<'_>],
    when: i64,
    open: &mut impl FnMut() -> Result<R>,
) -> Result<Result<Good, Objection>> {
    for key in keys {
        let mut data = Watched {
            inner: open()?,
            failed: None,
        };
        let made = key.made(signature, &mut data);
        if let Some(failed) = data.failed {
            return Err(Error::around("cannot read the signed data", failed));
        }
        let names = (
            Fingerprint::from_parsed(&key.primary_fingerprint()),
            Fingerprint::from_parsed(&key.fingerprint()),
        );
        if let ((Some(primary), Some(signed_by)), Ok(())) = (names, made) {
            return Ok(Ok(Good {
                primary,
                signed_by,
                when,
            }));
        }
    }
    Ok(Err(Objection::Mismatch))
}

/// Keeps the error of a reader, which `pgp` would mix with those of signatures.
struct Watched<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.failed = Some(error);
                Err(io::Error::other("reading failed"))
            }
            read => read,
        }
    }
}

fn unreadable(what: &str, name: &str, why: &str) -> Error {
    Error::verification(format!("{what} cannot be read: {why}"))
        .with_hint(hint(name, "download it again"))
}

fn hint(name: &str, remedy: &str) -> String {
    format!("{remedy}, or pass `--insecure-skip-signature {name}` to go without this check")
}

/// All reasons against all signatures, and whose would have been good.
fn refusal(name: &str, against: &[(Option<Signature>, Objection)], keyring: &Keyring) -> Error {
    let purpose = keyring.purpose();
    let mut message =
        format!("{name} has no valid signature by a key that is trusted for {purpose}");
    for (at, (signature, objection)) in against.iter().enumerate() {
        let by = signature.as_ref().and_then(named_issuer);
        let by = by.map(|key| format!(" by {key}")).unwrap_or_default();
        message += &format!("\n  signature {}{by}: {objection}", at + 1);
    }
    for expected in keyring.expected() {
        message += &format!("\n  trusted: {expected}");
    }
    let remedy = against.iter().find_map(|(_, why)| why.remedy());
    let again = "download it and its signature again";
    Error::verification(message).with_hint(hint(name, remedy.unwrap_or(again)))
}

fn named_issuer(signature: &Signature) -> Option<String> {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|f| f.to_string());
    let id = signature.issuer_key_id().first().map(|id| id.to_string());
    fingerprint.or(id).map(|text| text.to_uppercase())
}
