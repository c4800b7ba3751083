//! Signatures: with keys made here, with GnuPG as a second maker, and Debian's own.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use imgbuild::error::{Error, ErrorKind, Result};
use imgbuild::trust::{
    Fingerprint, Good, Keyring, OwnKey, Purpose, Trust, signers, verify_cleartext, verify_detached,
};
use pgp::armor::BlockType;
use pgp::crypto::hash::HashAlgorithm;

use crate::common::openpgp::{CREATED, Made, NOW, SIGNED, TestKey, armored, clearsigned};
use crate::common::{needs, tools};

const DATA: &[u8] = b"an image\nof two lines\n";
const DAY: i64 = 86_400;

fn keyring(keys: &[&TestKey]) -> Keyring {
    let purpose = Purpose::BaseDownloads;
    let own = keys.iter().flat_map(|key| key.trust(purpose).own);
    let trust = Trust { own: own.collect() };
    Keyring::pinned(purpose, &[], &trust).unwrap()
}

fn detached(signature: &[u8], data: &[u8], keyring: &Keyring) -> Result<Good> {
    verify_detached("pi.img.xz", signature, || Ok(data), keyring, NOW)
}

/// The message and the hint of a refusal, which is one of verification.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification, "{error}");
    format!("{error}\nhint: {}", error.hint().unwrap())
}

#[track_caller]
fn refused_with<T: std::fmt::Debug>(result: Result<T>, parts: &[&str]) {
    let told = refused(result);
    for part in parts {
        assert!(told.contains(part), "no `{part}` in\n{told}");
    }
}

#[test]
fn a_good_signature_is_good_binary_and_armored() {
    let key = TestKey::new(1);
    let good = Good {
        primary: key.fingerprint(),
        signed_by: key.fingerprint(),
        when: SIGNED,
    };
    let signature = key.detached(DATA);
    let text = armored(&signature, BlockType::Signature);
    let commented = [b"made by hand\n\n".as_slice(), &text].concat();
    for signature in [&signature, &text, &commented] {
        let found = detached(signature, DATA, &keyring(&[&key])).unwrap();
        assert_eq!(found, good);
    }
}

#[test]
fn a_subkey_signs_for_its_primary_key() {
    let key = TestKey::with_subkey(1);
    let found = detached(&key.detached(DATA), DATA, &keyring(&[&key])).unwrap();
    assert_eq!(found.primary, key.fingerprint());
    assert_eq!(found.signed_by, key.subkey_fingerprint());
    assert_ne!(found.primary, found.signed_by);
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let (stranger, key) = (TestKey::new(1), TestKey::new(2));
    let old = Made {
        life: 60,
        ..Made::default()
    };
    let bad = [stranger.detached(DATA), key.detached_as(DATA, &old)].concat();
    let several = [bad.as_slice(), &key.detached(DATA)].concat();
    let keyring = keyring(&[&key]);
    assert!(detached(&several, DATA, &keyring).is_ok());
    assert!(detached(&armored(&several, BlockType::Signature), DATA, &keyring).is_ok());
    // Blocks of armor in a row, as `cat` makes them.
    let blocks = [stranger.detached(DATA), key.detached(DATA)];
    let blocks = blocks.map(|s| armored(&s, BlockType::Signature)).concat();
    assert!(detached(&blocks, DATA, &keyring).is_ok());
    // All reasons are told, with the keys that would have been good.
    let expected = format!("trusted: {} (added by you)", key.fingerprint());
    refused_with(
        detached(&bad, DATA, &keyring),
        &[
            "pi.img.xz has no valid signature by a key that is trusted for downloads of Raspberry Pi OS",
            &format!(
                "signature 1 by {}: the key is not one",
                stranger.fingerprint()
            ),
            &format!(
                "signature 2 by {}: the signature expired on 2023-11-15",
                key.fingerprint()
            ),
            &expected,
            "trusted: F4AADD86C4687D69AE04543E796C114AD12B2292 (Raspberry Pi Downloads",
            "hint: update imgbuild, which may know newer keys, or pass `--insecure-skip-signature pi.img.xz`",
        ],
    );
}

#[test]
fn other_data_and_the_signature_of_another_file_are_refused() {
    let key = TestKey::new(1);
    let keyring = keyring(&[&key]);
    let why = [
        "it does not match the data",
        "hint: download it and its signature again",
    ];
    refused_with(detached(&key.detached(DATA), b"an image\n", &keyring), &why);
    refused_with(detached(&key.detached(b"other"), DATA, &keyring), &why);
    // Line ends are data, too.
    let windows = b"an image\r\nof two lines\r\n";
    refused_with(detached(&key.detached(DATA), windows, &keyring), &why);
}

#[test]
fn no_changed_byte_of_a_signature_changes_what_it_says() {
    let key = TestKey::with_subkey(1);
    let (keyring, signature) = (keyring(&[&key]), key.detached(DATA));
    let good = detached(&signature, DATA, &keyring).unwrap();
    let mut harmless = 0;
    for at in 0..signature.len() {
        for bit in [1, 0x10, 0x80] {
            let mut changed = signature.clone();
            changed[at] ^= bit;
            // The lengths of numbers in bits, where the same bytes hold them.
            if let Ok(found) = detached(&changed, DATA, &keyring) {
                assert_eq!(found, good, "byte {at}, bit {bit:02x}");
                harmless += 1;
            }
        }
        let cut = detached(&signature[..at], DATA, &keyring);
        assert!(cut.is_err(), "cut at {at}");
    }
    assert!(harmless < 5, "{harmless} changes of bits do not matter");
}

#[test]
fn no_changed_byte_of_a_key_makes_a_stranger_trusted() {
    let key = TestKey::with_subkey(1);
    let (public, signature) = (key.public(), key.detached(DATA));
    let mut good = 0;
    for at in 0..public.len() {
        let mut changed = public.clone();
        changed[at] ^= 1;
        let trust = Trust {
            own: vec![OwnKey {
                purpose: Purpose::BaseDownloads,
                fingerprint: key.fingerprint(),
                key: changed,
            }],
        };
        let keyring = Keyring::pinned(Purpose::BaseDownloads, &[], &trust);
        let found = keyring.and_then(|keyring| detached(&signature, DATA, &keyring));
        if let Ok(found) = found {
            // Bytes of the name of the user, say, whose self-signature then does not count.
            assert_eq!(found.primary, key.fingerprint());
            good += 1;
        }
    }
    assert!(good < 10, "{good} of {} bytes do not matter", public.len());
}

#[test]
fn signatures_are_refused_for_what_they_say_themselves() {
    let key = TestKey::new(1);
    let keyring = keyring(&[&key]);
    let cases: [(Made, &[&str]); 9] = [
        (
            Made {
                life: 3600,
                ..Made::default()
            },
            &["the signature expired on 2023-11-15"],
        ),
        (
            Made {
                at: Some(NOW + 2 * DAY),
                ..Made::default()
            },
            &[
                "the signature was made on 2026-05-30, after today (2026-05-28)",
                "hint: check the clock of this computer",
            ],
        ),
        (
            Made {
                at: Some(CREATED - DAY),
                ..Made::default()
            },
            &["made on 2023-11-13, before its key existed (2023-11-14)"],
        ),
        (
            Made {
                at: None,
                ..Made::default()
            },
            &["the signature has no date"],
        ),
        (
            Made {
                hash: HashAlgorithm::Sha1,
                ..Made::default()
            },
            &["the signature uses SHA-1, which is broken"],
        ),
        (
            Made {
                hash: HashAlgorithm::Md5,
                ..Made::default()
            },
            &["the signature uses MD5"],
        ),
        (
            Made {
                hash: HashAlgorithm::Ripemd160,
                ..Made::default()
            },
            &["the signature uses RIPEMD-160"],
        ),
        (
            Made {
                notation: true,
                ..Made::default()
            },
            &["the signature has a critical notation `seal@example.org`"],
        ),
        (
            Made {
                issuer: false,
                ..Made::default()
            },
            &["does not name the key that made it"],
        ),
    ];
    for (made, parts) in cases {
        refused_with(
            detached(&key.detached_as(DATA, &made), DATA, &keyring),
            parts,
        );
    }
    // What is as good as now is good: clocks differ.
    let soon = Made {
        at: Some(NOW + DAY / 2),
        life: 1,
        ..Made::default()
    };
    assert!(detached(&key.detached_as(DATA, &soon), DATA, &keyring).is_ok());
}

#[test]
fn a_signature_of_a_text_is_none_of_a_file() {
    let key = TestKey::new(1);
    let text = key.clearsigned("an image\n");
    let text = String::from_utf8(text).unwrap();
    let (_, signature) = text.split_once("-----BEGIN PGP SIGNATURE").unwrap();
    let signature = format!("-----BEGIN PGP SIGNATURE{signature}");
    let found = detached(signature.as_bytes(), b"an image", &keyring(&[&key]));
    refused_with(found, &["is not a signature of a file's bytes"]);
}

#[test]
fn keys_are_refused_for_what_they_say() {
    let made = Made::default;
    let weak = Made {
        hash: HashAlgorithm::Sha1,
        ..made()
    };
    let expiring = Made {
        key_life: 100 * 86_400,
        ..made()
    };
    let certifies = Made {
        signs: false,
        ..made()
    };
    let no_back = Made {
        back: false,
        ..made()
    };
    let critical = Made {
        notation: true,
        ..made()
    };
    let bare = || TestKey::bare(1);
    let base = || TestKey::bare(1).self_signed(&certifies);
    let cases = [
        (bare(), "the key has no valid self-signature"),
        (
            bare().self_signed(&expiring),
            "the key expired on 2024-02-22",
        ),
        (
            bare().self_signed(&weak),
            "self-signature of the key uses SHA-1",
        ),
        (
            bare().self_signed(&critical),
            "self-signature of the key has a critical notation",
        ),
        (base(), "the primary key is not meant for signing"),
        (
            TestKey::new(1).revoked("stolen"),
            "the key was revoked on 2023-11-15 (stolen)",
        ),
        (
            TestKey::with_subkey(1).revoked(""),
            "the key was revoked on 2023-11-15\n",
        ),
        (
            TestKey::with_subkey(1).subkey_revoked(),
            "the subkey was revoked on 2023-11-15",
        ),
        (
            base().bound(1, &expiring),
            "the subkey expired on 2024-02-22",
        ),
        (
            base().bound(1, &certifies),
            "the subkey is not meant for signing",
        ),
        (
            base().bound(1, &no_back),
            "the subkey did not sign its primary key",
        ),
        (
            base().bound(1, &weak),
            "the signature that binds the subkey uses SHA-1",
        ),
        (
            bare().self_signed(&expiring).bound(1, &made()),
            "the key expired on 2024-02-22",
        ),
    ];
    for (key, why) in cases {
        let found = detached(&key.detached(DATA), DATA, &keyring(&[&key]));
        refused_with(found, &[why]);
    }
}

#[test]
fn the_newest_self_signature_counts() {
    let later = |made: Made| Made {
        at: Some(SIGNED + DAY),
        ..made
    };
    let expiring = Made {
        key_life: 100 * 86_400,
        ..Made::default()
    };
    let weak = Made {
        hash: HashAlgorithm::Sha1,
        ..Made::default()
    };
    let renewed = TestKey::bare(1)
        .self_signed(&expiring)
        .self_signed(&later(Made::default()));
    let shortened = TestKey::new(1).self_signed(&later(expiring.clone()));
    // As Raspberry Pi's archive key was.
    let strengthened = TestKey::bare(1)
        .self_signed(&weak)
        .self_signed(&later(Made::default()));
    let still_good = |key: &TestKey| detached(&key.detached(DATA), DATA, &keyring(&[key])).is_ok();
    assert!(still_good(&renewed));
    assert!(still_good(&strengthened));
    assert!(!still_good(&shortened));
    let rebound = TestKey::with_subkey(1).bound(1, &later(expiring));
    assert!(!still_good(&rebound));
}

#[test]
fn a_revocation_in_one_copy_of_a_key_counts_for_all() {
    let (key, revoked) = (TestKey::new(1), TestKey::new(1).revoked("lost"));
    for keys in [[&key, &revoked], [&revoked, &key]] {
        let found = detached(&key.detached(DATA), DATA, &keyring(&keys));
        refused_with(found, &["the key was revoked", "lost"]);
    }
    let (key, revoked) = (
        TestKey::with_subkey(1),
        TestKey::with_subkey(1).subkey_revoked(),
    );
    let found = detached(&key.detached(DATA), DATA, &keyring(&[&key, &revoked]));
    refused_with(found, &["the subkey was revoked"]);
}

#[test]
fn a_subkey_of_another_certificate_gives_nobody_its_trust() {
    let (key, thief) = (TestKey::with_subkey(1), TestKey::with_subkey(2));
    let found = detached(&key.detached(DATA), DATA, &keyring(&[&thief]));
    refused_with(found, &["the key is not one that is trusted for this"]);
    // The thief adds their subkey, which their own key bound, to the certificate of the trusted key.
    let mixed = [key.public(), thief.subkey_packets()].concat();
    let trust = Trust {
        own: vec![OwnKey {
            purpose: Purpose::BaseDownloads,
            fingerprint: key.fingerprint(),
            key: mixed,
        }],
    };
    let keyring = Keyring::pinned(Purpose::BaseDownloads, &[], &trust).unwrap();
    assert!(detached(&key.detached(DATA), DATA, &keyring).is_ok());
    refused_with(
        detached(&thief.detached(DATA), DATA, &keyring),
        &["the subkey is not bound to its primary key"],
    );
}

#[test]
fn what_is_no_signature_is_refused() {
    let key = TestKey::new(1);
    let keyring = keyring(&[&key]);
    let text = armored(&key.detached(DATA), BlockType::Signature);
    let many = key.detached(DATA).repeat(17);
    for (bytes, why) in [
        (Vec::new(), "it is empty"),
        (text[..text.len() - 40].to_vec(), "its armor is cut off"),
        (
            b"<html>404 Not Found</html>\n".to_vec(),
            "it is no OpenPGP data",
        ),
        (key.armored_public(), "it is not a "),
        (key.public(), "where a signature should be"),
        (many, "more than 16 signatures"),
        (vec![0x88; 70_000], "more than the 64 KiB expected"),
        (vec![b'-'; 70_000], "more than the 64 KiB expected"),
        (vec![0x0a; 60_000], "it is no OpenPGP data"),
    ] {
        let told = refused(detached(&bytes, DATA, &keyring));
        assert!(
            told.contains("the signature of pi.img.xz cannot be read"),
            "{told}"
        );
        assert!(told.contains(why), "no `{why}` in {told}");
    }
    for seed in 7..207_u32 {
        // From the first byte on, a packet.
        let noise = (1..300).map(|at: u32| (at.wrapping_mul(seed) >> 2).to_le_bytes()[0]);
        let garbage: Vec<u8> = std::iter::once(0x88).chain(noise).collect();
        refused(detached(&garbage, DATA, &keyring));
    }
}

#[test]
fn data_that_cannot_be_read_is_no_bad_signature() {
    struct Stopped;
    impl Read for Stopped {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(Error::interrupted().into())
        }
    }
    let key = TestKey::new(1);
    let (signature, keyring) = (key.detached(DATA), keyring(&[&key]));
    let found = verify_detached("x", &signature, || Ok(Stopped), &keyring, NOW);
    assert_eq!(found.unwrap_err().kind(), ErrorKind::Interrupted);
    let cannot = || Err::<&[u8], _>(Error::failed("gone"));
    let found = verify_detached("x", &signature, cannot, &keyring, NOW);
    assert_eq!(found.unwrap_err().to_string(), "gone");
}

#[test]
fn data_is_read_only_for_signatures_that_nothing_else_speaks_against() {
    let (stranger, key) = (TestKey::new(1), TestKey::new(2));
    let old = Made {
        life: 60,
        ..Made::default()
    };
    let several = [
        stranger.detached(DATA),
        key.detached_as(DATA, &old),
        key.detached(DATA),
    ];
    let mut opened = 0;
    let open = || {
        opened += 1;
        Ok(DATA)
    };
    verify_detached("x", &several.concat(), open, &keyring(&[&key]), NOW).unwrap();
    assert_eq!(opened, 1);
}

#[test]
fn a_signed_text_is_given_as_it_was_signed() {
    let key = TestKey::with_subkey(1);
    let text = "Origin: Test\n- dashed\n-----BEGIN\n\nSHA256:\n abc\n";
    let file = key.clearsigned(text);
    let (found, good) = verify_cleartext("InRelease", &file, &keyring(&[&key]), NOW).unwrap();
    assert_eq!(found, text);
    assert_eq!(good.primary, key.fingerprint());
    // Blanks at line ends are not signed, so they are not given.
    let blanks = String::from_utf8(file).unwrap();
    let blanks = blanks.replace("Origin: Test\n", "Origin: Test \t\r\n");
    let found = verify_cleartext("InRelease", blanks.as_bytes(), &keyring(&[&key]), NOW);
    assert_eq!(found.unwrap().0, text);
}

#[test]
fn one_good_signature_of_a_text_is_enough() {
    let keys = [TestKey::new(1), TestKey::with_subkey(2), TestKey::new(3)];
    let weak = Made {
        hash: HashAlgorithm::Sha1,
        ..Made::default()
    };
    let made = [Made::default(), Made::default(), weak];
    let several: Vec<_> = keys.iter().zip(made).collect();
    let file = clearsigned("Origin: Test\n", &several);
    for (key, good) in keys.iter().zip([true, true, false]) {
        let found = verify_cleartext("InRelease", &file, &keyring(&[key]), NOW);
        assert_eq!(found.is_ok(), good, "{found:?}");
    }
    let found = verify_cleartext("InRelease", &file, &keyring(&[&keys[2]]), NOW);
    refused_with(found, &["signature 3", "uses SHA-1", "signature 1"]);
}

#[test]
fn a_changed_text_is_refused() {
    let key = TestKey::new(1);
    let keyring = keyring(&[&key]);
    let file = String::from_utf8(key.clearsigned("Origin: Test\nCodename: trixie\n")).unwrap();
    for (from, to, why) in [
        ("trixie", "sid", "it does not match the data"),
        ("Origin", "\nOrigin", "it does not match the data"),
        (
            "-----BEGIN PGP SIGNED",
            "Evil: 1\n-----BEGIN PGP SIGNED",
            "does not begin with",
        ),
        (
            "-----BEGIN PGP SIGNATURE",
            "-----BEGIN PGP MESSAGE",
            "not escaped",
        ),
        (
            "-----END PGP SIGNATURE-----\n",
            "",
            "its signature is cut off",
        ),
        (
            "SIGNATURE-----\n\n",
            "SIGNATURE-----\n\n*",
            "cannot be read",
        ),
    ] {
        let changed = file.replacen(from, to, 1);
        assert_ne!(changed, file, "{from}");
        let found = verify_cleartext("InRelease", changed.as_bytes(), &keyring, NOW);
        refused_with(
            found,
            &["InRelease", why, "--insecure-skip-signature InRelease"],
        );
    }
    let longer = format!("{file}Evil: 1\n");
    let found = verify_cleartext("InRelease", longer.as_bytes(), &keyring, NOW);
    refused_with(found, &["something follows its signature"]);
    for bytes in [b"".as_slice(), b"Origin: Test\n", &[0xff; 100]] {
        let found = verify_cleartext("InRelease", bytes, &keyring, NOW);
        refused_with(found, &["InRelease cannot be read"]);
    }
}

#[test]
fn fetched_keys_count_by_their_fingerprint() {
    let key = TestKey::new(1);
    let purpose = Purpose::RaspberryPiArchive;
    let none = Trust::default();
    // A key that is not pinned is left out, however it came.
    let public = key.armored_public();
    let keyring = Keyring::pinned(purpose, &[&public], &none).unwrap();
    assert_eq!(keyring.missing(NOW).count(), signers(purpose).count());
    let found = verify_detached("x", &key.detached(DATA), || Ok(DATA), &keyring, NOW);
    refused_with(found, &["the key is not one that is trusted for this"]);
    // What a server says instead of a key.
    let found = Keyring::pinned(purpose, &[b"<html>404</html>"], &none);
    let error = found.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert!(
        error.to_string().contains("it is no OpenPGP data"),
        "{error}"
    );
    let found = Keyring::pinned(purpose, &[&vec![0x98; 2 << 20]], &none);
    assert!(found.unwrap_err().to_string().contains("1024 KiB expected"));
}

#[test]
fn own_keys_must_be_what_they_are_said_to_be() {
    let (key, other) = (TestKey::new(1), TestKey::new(2));
    let purpose = Purpose::Debian;
    let with = |fingerprint: Fingerprint, key: Vec<u8>| {
        let own = vec![OwnKey {
            purpose,
            fingerprint,
            key,
        }];
        Keyring::pinned(purpose, &[], &Trust { own })
    };
    let both = [key.public(), other.public()].concat();
    let keyring = with(key.fingerprint(), both).unwrap();
    let check =
        |key: &TestKey| verify_detached("x", &key.detached(DATA), || Ok(DATA), &keyring, NOW);
    assert!(check(&key).is_ok());
    refused(check(&other));
    let error = with(key.fingerprint(), other.public()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("the file has other keys only"));
    let error = with(key.fingerprint(), b"nonsense".to_vec()).unwrap_err();
    assert!(error.to_string().contains(&key.fingerprint().to_string()));
    // Trusted for one purpose is not for another.
    let trust = key.trust(Purpose::Debian);
    let keyring = Keyring::pinned(Purpose::DebianSecurity, &[], &trust).unwrap();
    let found = verify_detached("x", &key.detached(DATA), || Ok(DATA), &keyring, NOW);
    refused(found);
}

/// GnuPG with a key of its own.
struct Gnupg {
    home: tempfile::TempDir,
    fingerprint: Fingerprint,
}

impl Gnupg {
    fn new(algorithm: &str, usage: &str, expire: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut gnupg = Self {
            home,
            fingerprint: Fingerprint::V4([0; 20]),
        };
        gnupg.run(&["--quick-gen-key", "Gnu", algorithm, usage, expire], b"");
        let list = gnupg.run(&["--with-colons", "--list-keys"], b"");
        let list = String::from_utf8(list).unwrap();
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        let fingerprint = line.split(':').nth(9).unwrap();
        gnupg.fingerprint = Fingerprint::parse(fingerprint).unwrap();
        gnupg
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let file = self.home.path().join("input");
        fs::write(&file, input).unwrap();
        let home = self.home.path().to_str().unwrap();
        let mut gpg = tools::tool("gpg");
        gpg.args(["--homedir", home, "--batch", "--quiet", "--passphrase", ""])
            .args(["--pinentry-mode", "loopback", "--faked-system-time"])
            .arg(format!("{SIGNED}!"))
            .args(args);
        gpg.stdin(fs::File::open(file).unwrap());
        let out = tools::output(&mut gpg);
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "gpg {args:?}: {told}");
        out.stdout
    }

    fn keyring(&self) -> Keyring {
        let own = vec![OwnKey {
            purpose: Purpose::Debian,
            fingerprint: self.fingerprint,
            key: self.run(&["--armor", "--export"], b""),
        }];
        Keyring::pinned(Purpose::Debian, &[], &Trust { own }).unwrap()
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let home = self.home.path().to_str().unwrap();
        tools::run("gpgconf", &["--homedir", home, "--kill", "all"]);
    }
}

#[test]
fn signatures_of_gnupg_are_read() {
    needs::programs(&["gpg", "gpgconf"]);
    for algorithm in ["ed25519", "rsa2048", "nistp256"] {
        let gnupg = Gnupg::new(algorithm, "sign", "never");
        let keyring = gnupg.keyring();
        let mut signature = gnupg.run(&["--detach-sign"], DATA);
        let found = verify_detached("x", &signature, || Ok(DATA), &keyring, NOW).unwrap();
        assert_eq!(found.primary, gnupg.fingerprint, "{algorithm}");
        assert_eq!(found.when, SIGNED);
        let last = signature.len() - 1;
        signature[last] ^= 1;
        refused(verify_detached("x", &signature, || Ok(DATA), &keyring, NOW));
        let text = "Origin: Gnu\n- a\n\n\u{e4}\n";
        let file = gnupg.run(&["--clear-sign"], text.as_bytes());
        let (found, _) = verify_cleartext("InRelease", &file, &keyring, NOW).unwrap();
        assert_eq!(found, text);
    }
}

#[test]
fn subkeys_of_gnupg_sign_and_expire() {
    needs::programs(&["gpg", "gpgconf"]);
    let gnupg = Gnupg::new("ed25519", "cert", "never");
    let fingerprint = gnupg.fingerprint.to_string();
    gnupg.run(
        &["--quick-add-key", &fingerprint, "ed25519", "sign", "30d"],
        b"",
    );
    let signature = gnupg.run(&["--armor", "--detach-sign"], DATA);
    let keyring = gnupg.keyring();
    let at = |now| verify_detached("x", &signature, || Ok(DATA), &keyring, now);
    let found = at(SIGNED + DAY).unwrap();
    assert_eq!(found.primary, gnupg.fingerprint);
    assert_ne!(found.signed_by, gnupg.fingerprint);
    refused_with(at(SIGNED + 31 * DAY), &["the subkey expired on 2023-12-15"]);
}

#[test]
fn short_and_weak_keys_of_gnupg_are_refused() {
    needs::programs(&["gpg", "gpgconf"]);
    for (algorithm, why) in [("rsa1024", "RSA with 1024 bits"), ("dsa2048", "DSA")] {
        let gnupg = Gnupg::new(algorithm, "sign", "never");
        let signature = gnupg.run(&["--detach-sign"], DATA);
        let found = verify_detached("x", &signature, || Ok(DATA), &gnupg.keyring(), NOW);
        refused_with(found, &["the key is too weak", why]);
    }
    let gnupg = Gnupg::new("rsa2048", "sign", "never");
    let signature = gnupg.run(&["--digest-algo", "SHA1", "--detach-sign"], DATA);
    let found = verify_detached("x", &signature, || Ok(DATA), &gnupg.keyring(), NOW);
    refused_with(found, &["the signature uses SHA-1"]);
}

/// The indexes that apt has of Debian's archives.
fn indexes() -> Vec<(PathBuf, Purpose)> {
    let folder = Path::new("/var/lib/apt/lists");
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.map(|entry| entry.unwrap().path());
    let found = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let archive = name.strip_suffix("_InRelease")?;
        let of_suites = ["bookworm", "trixie"].iter().any(|s| archive.contains(s));
        let purpose = match archive {
            _ if !of_suites => return None,
            _ if archive.contains("debian-security_dists") => Purpose::DebianSecurity,
            _ if archive.contains("debian_dists") => Purpose::Debian,
            _ => return None,
        };
        Some((path, purpose))
    });
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

#[test]
fn indexes_of_debian_are_signed_by_the_shipped_keys() {
    let indexes = indexes();
    if indexes.is_empty() {
        needs::missing("an InRelease of Debian in /var/lib/apt/lists");
    }
    for (path, purpose) in indexes {
        let keyring = Keyring::pinned(purpose, &[], &Trust::default()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let now = imgbuild::clock::now();
        let (text, good) = verify_cleartext("InRelease", &bytes, &keyring, now).unwrap();
        assert!(text.starts_with("Origin: Debian\n"), "{}", path.display());
        assert!(text.contains("\nSHA256:\n") && !text.contains("-----"));
        let pinned: Vec<_> = signers(purpose).map(|s| s.fingerprint).collect();
        assert!(pinned.contains(&good.primary));
        // One byte of one checksum.
        let at = bytes.windows(9).position(|w| w == b"\nSHA256:\n").unwrap() + 12;
        let mut changed = bytes.clone();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        refused_with(
            verify_cleartext("InRelease", &changed, &keyring, now),
            &["it does not match the data"],
        );
        // The keys of the other archive do not count.
        let other = match purpose {
            Purpose::Debian => Purpose::DebianSecurity,
            _ => Purpose::Debian,
        };
        let other = Keyring::pinned(other, &[], &Trust::default()).unwrap();
        let found = verify_cleartext("InRelease", &bytes, &other, now);
        refused_with(found, &["the key is not one that is trusted for this"]);
        // In 2040 all of today's keys have expired.
        let found = verify_cleartext("InRelease", &bytes, &keyring, 2_208_988_800);
        refused_with(found, &["expired on 203"]);
    }
}

#[test]
fn the_keyring_of_debian_has_the_shipped_keys() {
    let file = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    if !file.exists() {
        needs::missing("the package debian-archive-keyring");
    }
    let all = fs::read(file).unwrap();
    for purpose in [Purpose::Debian, Purpose::DebianSecurity] {
        let keyring = Keyring::pinned(purpose, &[&all], &Trust::default()).unwrap();
        assert_eq!(keyring.missing(NOW).count(), 0);
    }
}
