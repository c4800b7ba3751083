//! Signatures of what aliases stand for.

use std::collections::BTreeSet;

use super::*;
use imgbuild::trust::Trust;

fn sig_path() -> String {
    format!("{XZ_PATH}.sig")
}

fn resolve(options: FetchOptions, lab: &Lab) -> Result<Pin> {
    let fetcher = lab.fetcher_with(options);
    BaseResolver::new(&fetcher.0).resolve(&lite(), None)
}

#[test]
fn the_key_that_signed_is_in_the_pin() {
    let lab = Lab::new();
    lab.serve_releases();
    let pin = resolve(lab.options(), &lab).unwrap();
    let signed = Verified::OpenPgp(KEY.fingerprint().to_string());
    assert!(pin.verified.contains(&signed), "{:?}", pin.verified);
    assert_eq!(
        lab.server.log("/keys/raspberrypi_downloads.gpg.key").len(),
        0
    );
}

#[test]
fn a_stranger_a_tampered_file_and_no_signature_are_refused() {
    let lab = Lab::new();
    lab.serve_releases();
    let stranger = TestKey::new(9);
    lab.server
        .serve(&sig_path(), stranger.detached(&image_xz()));
    let words = [
        "raspios-lite-arm64",
        "F4AADD86C4687D69AE04543E796C114AD12B2292",
    ];
    assert_error(
        resolve(lab.options(), &lab),
        ErrorKind::Verification,
        &words,
    );
    // The pinned keys were asked for, in case one of them had signed.
    assert!(
        !lab.server
            .log("/keys/raspberrypi_downloads.gpg.key")
            .is_empty()
    );
    lab.server.serve(&sig_path(), KEY.detached(b"another file"));
    assert_error(
        resolve(lab.options(), &lab),
        ErrorKind::Verification,
        &["raspios-lite-arm64"],
    );
    lab.server.serve(&sig_path(), "<html>");
    assert_error(
        resolve(lab.options(), &lab),
        ErrorKind::Verification,
        &["signature"],
    );
    lab.server.remove(&sig_path());
    let result = resolve(lab.options(), &lab);
    let hint = result.as_ref().unwrap_err().hint().unwrap().to_owned();
    assert!(
        hint.contains("--insecure-skip-signature raspios-lite-arm64"),
        "{hint}"
    );
    assert_error(
        result,
        ErrorKind::Verification,
        &["no signature", ".img.xz.sig"],
    );
}

#[test]
fn a_key_that_is_fetched_must_be_the_pinned_one() {
    let lab = Lab::new();
    lab.serve_releases();
    let stranger = TestKey::new(9);
    lab.server
        .serve("/keys/raspberrypi_downloads.gpg.key", stranger.public());
    lab.server
        .serve(&sig_path(), stranger.detached(&image_xz()));
    let mut options = lab.options();
    options.trust = Trust::default();
    assert_error(
        resolve(options, &lab),
        ErrorKind::Verification,
        &["raspios-lite-arm64"],
    );
}

#[test]
fn a_signature_is_skipped_by_name_only_and_aloud() {
    let lab = Lab::new();
    lab.serve_releases();
    lab.server.remove(&sig_path());
    let mut options = lab.options();
    options.skip_signatures = BTreeSet::from(["raspios-oldstable-lite-arm64".to_owned()]);
    assert!(resolve(options.clone(), &lab).is_err());
    options
        .skip_signatures
        .insert("raspios-lite-arm64".to_owned());
    let pin = resolve(options, &lab).unwrap();
    assert_eq!(pin.verified, [Verified::Index]);
    assert!(lab.was_noted("--insecure-skip-signature raspios-lite-arm64"));
}

#[test]
fn what_is_still_the_same_is_not_verified_again() {
    let lab = Lab::new();
    lab.serve_releases();
    let pin = resolve(lab.options(), &lab).unwrap();
    let entry = imgbuild::lock::FileEntry::of("raspios-lite-arm64", "raspios-lite-arm64", &pin);
    fs::remove_dir_all(lab.cache()).unwrap();
    let fetcher = lab.fetcher();
    let again = BaseResolver::new(&fetcher.0)
        .resolve(&lite(), Some(&entry))
        .unwrap();
    assert_eq!(again.verified[0], pin.verified[0]);
    assert_eq!(lab.server.log(XZ_PATH).len(), 1);
}
