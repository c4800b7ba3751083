//! The certificates that are trusted for one purpose.

use pgp::composed::SignedPublicKey;
use pgp::packet::Signature;
use pgp::types::KeyDetails;

use crate::error::{Error, Result};

use super::certificate::Key;
use super::fingerprint::Fingerprint;
use super::packets;
use super::signers::{KeySource, Purpose, Signer, signers};

/// Keys that the user trusts beside the pinned ones: of a mirror of their own, or of a test.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pub own: Vec<OwnKey>,
}

/// A key of the user's, trusted for one purpose.
#[derive(Debug, Clone)]
pub struct OwnKey {
    pub purpose: Purpose,
    /// Of the primary key.
    pub fingerprint: Fingerprint,
    /// The certificate, binary or armored.
    pub key: Vec<u8>,
}

/// The certificates that are trusted for one purpose, and the fingerprints that they were chosen by.
#[derive(Debug)]
pub struct Keyring {
    purpose: Purpose,
    certificates: Vec<SignedPublicKey>,
    own: Vec<Fingerprint>,
}

/// Who made a signature, as it says itself.
pub enum Issuer<'a> {
    /// Keys of this keyring.
    Here(Vec<Key<'a>>),
    /// A pinned key without bytes.
    Missing,
    /// A key that is not trusted for this.
    Stranger,
    /// It does not say.
    Unnamed,
}

impl Keyring {
    /// The keyring for `purpose`: the keys shipped for it, those of `trust`, and those among
    /// `fetched` that are pinned; others in there are left out silently. Each of `fetched` is a file
    /// of certificates, binary or armored.
    ///
    /// # Errors
    /// When one of `fetched` has no public key in it, or when a key of `trust` is not there or
    /// not the one that its fingerprint says.
    pub fn pinned(purpose: Purpose, fetched: &[&[u8]], trust: &Trust) -> Result<Self> {
        let mut keyring = Self {
            purpose,
            certificates: Vec::new(),
            own: Vec::new(),
        };
        let pinned: Vec<Fingerprint> = signers(purpose).map(|s| s.fingerprint).collect();
        let shipped = signers(purpose).filter_map(|signer| match signer.key {
            KeySource::Shipped(bytes) => Some(bytes),
            KeySource::Fetched(_) => None,
        });
        for bytes in shipped.chain(fetched.iter().copied()) {
            keyring.add(bytes, &pinned).map_err(|why| {
                Error::verification(format!("cannot read a key for {purpose}: {why}"))
            })?;
        }
        for own in trust.own.iter().filter(|own| own.purpose == purpose) {
            keyring.add_own(own)?;
        }
        Ok(keyring)
    }

    /// The pinned keys to fetch from their [`KeySource::Fetched`]: those that are not here, and those
    /// whose copy here may not sign at the time `now` (in seconds since 1970), as they may have been
    /// renewed since.
    pub fn missing(&self, now: i64) -> impl Iterator<Item = &'static Signer> {
        signers(self.purpose).filter(move |signer| {
            let is_fetched = matches!(signer.key, KeySource::Fetched(_));
            let mut keys = self.keys().filter(|key| {
                let primary = Fingerprint::from_parsed(&key.primary_fingerprint());
                primary == Some(signer.fingerprint)
            });
            is_fetched && !keys.any(|key| key.may_sign(now).is_ok())
        })
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whose signature counts here, one line each.
    pub(super) fn expected(&self) -> impl Iterator<Item = String> {
        let own = self.own.iter();
        let pinned = signers(self.purpose);
        pinned
            .map(|s| format!("{} ({}, {})", s.fingerprint, s.name, s.note))
            .chain(own.map(|fingerprint| format!("{fingerprint} (added by you)")))
    }

    pub(super) fn issuer(&self, signature: &Signature) -> Issuer<'_> {
        let fingerprints = signature.issuer_fingerprint();
        let ids = signature.issuer_key_id();
        if fingerprints.is_empty() && ids.is_empty() {
            return Issuer::Unnamed;
        }
        // Short ids can be made to order, so they are asked only where there is nothing better.
        let keys = self.keys().filter(|key| match fingerprints.is_empty() {
            false => fingerprints.contains(&&key.fingerprint()),
            true => ids.contains(&&key.id()),
        });
        let keys: Vec<Key<'_>> = keys.collect();
        if !keys.is_empty() {
            return Issuer::Here(keys);
        }
        let named: Vec<Fingerprint> = fingerprints
            .iter()
            .filter_map(|fingerprint| Fingerprint::from_parsed(fingerprint))
            .collect();
        // None of them is here, or it would have been found.
        match signers(self.purpose).any(|s| named.contains(&s.fingerprint)) {
            true => Issuer::Missing,
            false => Issuer::Stranger,
        }
    }

    fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.certificates.iter().flat_map(Key::all)
    }

    fn has(&self, fingerprint: Fingerprint) -> bool {
        self.certificates
            .iter()
            .any(|certificate| primary(certificate) == Some(fingerprint))
    }

    fn add(&mut self, bytes: &[u8], wanted: &[Fingerprint]) -> Result<(), String> {
        for certificate in packets::certificates(bytes)? {
            let is_wanted = primary(&certificate).is_some_and(|key| wanted.contains(&key));
            if is_wanted {
                self.merge(certificate);
            }
        }
        Ok(())
    }

    fn add_own(&mut self, own: &OwnKey) -> Result<()> {
        let fingerprint = own.fingerprint;
        let failed = |why: &str| {
            Error::usage(format!(
                "cannot use the key {fingerprint} that you added for {}: {why}",
                self.purpose
            ))
        };
        let mut alone = Self {
            certificates: Vec::new(),
            own: Vec::new(),
            purpose: self.purpose,
        };
        alone
            .add(&own.key, &[fingerprint])
            .map_err(|why| failed(&why))?;
        if !alone.has(fingerprint) {
            return Err(failed("the file has other keys only")
                .with_hint("`gpg --show-keys FILE` prints the fingerprints of a file"));
        }
        alone.certificates.into_iter().for_each(|c| self.merge(c));
        self.own.push(fingerprint);
        Ok(())
    }

    /// Copies of one certificate become one, so that what is revoked or renewed in one of them is so.
    fn merge(&mut self, new: SignedPublicKey) {
        let known = &mut self.certificates;
        let Some(old) = known.iter_mut().find(|c| primary(c) == primary(&new)) else {
            known.push(new);
            return;
        };
        let (details, more) = (&mut old.details, new.details);
        details.users.extend(more.users);
        details.direct_signatures.extend(more.direct_signatures);
        details
            .revocation_signatures
            .extend(more.revocation_signatures);
        for subkey in new.public_subkeys {
            let fingerprint = subkey.key.fingerprint();
            let mut subkeys = old.public_subkeys.iter_mut();
            match subkeys.find(|known| known.key.fingerprint() == fingerprint) {
                Some(known) => known.signatures.extend(subkey.signatures),
                None => old.public_subkeys.push(subkey),
            }
        }
    }
}

fn primary(certificate: &SignedPublicKey) -> Option<Fingerprint> {
    Fingerprint::from_parsed(&certificate.primary_key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_keys_are_the_pinned_ones_and_may_sign() {
        let now = 1_795_000_000; // 2026-11-18
        for purpose in [Purpose::Debian, Purpose::DebianSecurity] {
            let keyring = Keyring::pinned(purpose, &[], &Trust::default()).unwrap();
            assert!(signers(purpose).all(|s| keyring.has(s.fingerprint)));
            assert_eq!(keyring.missing(now).count(), 0, "{purpose}");
            assert_eq!(keyring.certificates.len(), signers(purpose).count());
            for certificate in &keyring.certificates {
                let keys: Vec<_> = Key::all(certificate).map(|k| k.may_sign(now)).collect();
                let all = keys.iter().all(Result::is_ok);
                assert!(all, "{:?}: {keys:?}", primary(certificate));
            }
        }
    }

    #[test]
    fn keys_that_are_not_shipped_are_missing() {
        for purpose in [Purpose::BaseDownloads, Purpose::RaspberryPiArchive] {
            let keyring = Keyring::pinned(purpose, &[], &Trust::default()).unwrap();
            assert_eq!(keyring.missing(0).count(), signers(purpose).count());
        }
    }

    #[test]
    fn a_key_for_one_purpose_does_not_serve_another() {
        let KeySource::Shipped(debian) = signers(Purpose::Debian).next().unwrap().key else {
            unreachable!()
        };
        let keyring =
            Keyring::pinned(Purpose::BaseDownloads, &[debian], &Trust::default()).unwrap();
        assert_eq!(keyring.certificates.len(), 0);
    }
}
