//! Keys and signatures from the network, for [`trust`](crate::trust) to judge.

use std::fs::File;
use std::path::Path;

use super::pages::Pages;
use super::store::Store;
use crate::clock;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::lock::Verified;
use crate::trust::{KeySource, Keyring, Purpose, Signer, Trust, verify_cleartext, verify_detached};
use crate::url::Url;

/// Verifies what was fetched.
pub(super) struct Signatures<'a> {
    store: &'a Store,
    pages: Pages<'a>,
}

impl<'a> Signatures<'a> {
    pub fn of(store: &'a Store) -> Self {
        let pages = Pages::of(store);
        Self { store, pages }
    }

    /// Whether the user does without the signature of what is called `name`. Says so.
    pub fn is_skipped(&self, name: &str) -> bool {
        let is_skipped = self.store.options.skip_signatures.contains(name);
        if is_skipped {
            self.store.job.progress.note(&format!(
                "the signature of {name} is not checked, as --insecure-skip-signature {name} says"
            ));
        }
        is_skipped
    }

    /// Verifies the file at `path` by the detached signature beside `url`, where it was fetched from.
    pub fn of_file(&self, name: &str, url: &Url, path: &Path) -> Result<Verified> {
        let beside = url.beside("sig");
        let signature = self.pages.optional_bytes(&beside)?.ok_or_else(|| {
            Error::verification(format!("{name} has no signature: {beside} is not there")).with_hint(
                format!("a mirror may be incomplete: try again later, or do without it by --insecure-skip-signature {name}"),
            )
        })?;
        let open = || File::open(path).context(|| format!("cannot read {}", path.display()));
        let good = self.judged(Purpose::BaseDownloads, &[], |keyring| {
            verify_detached(name, &signature, open, keyring, clock::now())
        })?;
        Ok(Verified::OpenPgp(good.primary.to_string()))
    }

    /// The text that is signed in `bytes`, an `InRelease` file. The pinned ones among `keys` count.
    pub fn of_text(
        &self,
        name: &str,
        bytes: &[u8],
        purpose: Purpose,
        keys: &[&[u8]],
    ) -> Result<(String, Verified)> {
        let (text, good) = self.judged(purpose, keys, |keyring| {
            verify_cleartext(name, bytes, keyring, clock::now())
        })?;
        Ok((text, Verified::OpenPgp(good.primary.to_string())))
    }

    /// What `verify` says with the keys that are here, or else with those that can be fetched as well.
    fn judged<T>(
        &self,
        purpose: Purpose,
        keys: &[&[u8]],
        verify: impl Fn(&Keyring) -> Result<T>,
    ) -> Result<T> {
        let trust = &self.store.options.trust;
        let keyring = Keyring::pinned(purpose, keys, trust)?;
        let missing: Vec<&Signer> = keyring.missing(clock::now()).collect();
        match verify(&keyring) {
            Err(error) if error.kind() == ErrorKind::Verification && !missing.is_empty() => {}
            judged => return judged,
        }
        let mut fetched: Vec<Vec<u8>> = Vec::new();
        for signer in missing {
            fetched.extend(self.key(purpose, signer)?);
        }
        let fetched = fetched.iter().map(Vec::as_slice);
        let all: Vec<&[u8]> = keys.iter().copied().chain(fetched).collect();
        verify(&Keyring::pinned(purpose, &all, trust)?)
    }

    /// A key from the first place that has it. Its fingerprint decides, so it does not matter who brings
    /// it. One that is not to be had may not be the one that signed: verifying tells.
    fn key(&self, purpose: Purpose, signer: &Signer) -> Result<Option<Vec<u8>>> {
        let KeySource::Fetched(urls) = signer.key else {
            return Ok(None);
        };
        for url in urls {
            let url = self.store.options.mirrored(&Url::parse(url)?)?;
            let bytes = match self.pages.optional_bytes(&url) {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Ok(Some(bytes)) => bytes,
                Ok(None) | Err(_) => continue,
            };
            let keyring = Keyring::pinned(purpose, &[&bytes], &Trust::default());
            let is_here = keyring.is_ok_and(|keyring| {
                let mut missing = keyring.missing(clock::now());
                missing.all(|other| other.fingerprint != signer.fingerprint)
            });
            if is_here {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
