//! The table of keys that are trusted, and for what.

use std::fmt;

use super::fingerprint::Fingerprint;

/// What a signature is relied on for. A key pinned for one purpose counts for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Images of Raspberry Pi OS (`*.img.xz.sig`).
    BaseDownloads,
    /// `InRelease` of Debian's main archive and of its updates.
    Debian,
    /// `InRelease` of Debian's security archive.
    DebianSecurity,
    /// `InRelease` of archive.raspberrypi.com.
    RaspberryPiArchive,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BaseDownloads => "downloads of Raspberry Pi OS",
            Self::Debian => "Debian's archive",
            Self::DebianSecurity => "Debian's security archive",
            Self::RaspberryPiArchive => "Raspberry Pi's package archive",
        })
    }
}

/// A pinned key.
#[derive(Debug)]
pub struct Signer {
    /// Of the primary key; subkeys follow from it.
    pub fingerprint: Fingerprint,
    pub purpose: Purpose,
    /// Whose key it is, for messages.
    pub name: &'static str,
    /// Since or until when it signs, and what else is to know.
    pub note: &'static str,
    pub key: KeySource,
}

/// Where the bytes of a pinned key come from.
#[derive(Debug, Clone, Copy)]
pub enum KeySource {
    /// Shipped in the program: see `keys/README.md`.
    Shipped(&'static [u8]),
    /// Fetched when it is needed, from these URLs in turn until [`Keyring::missing`] no longer names it.
    /// The fingerprint decides whether it is the key, not the place.
    ///
    /// [`Keyring::missing`]: super::Keyring::missing
    Fetched(&'static [&'static str]),
}

/// The keys pinned for `purpose`.
pub fn signers(purpose: Purpose) -> impl Iterator<Item = &'static Signer> {
    SIGNERS
        .iter()
        .filter(move |signer| signer.purpose == purpose)
}

macro_rules! shipped {
    ($file:literal) => {
        KeySource::Shipped(include_bytes!(concat!("keys/", $file)))
    };
}

static SIGNERS: [Signer; 9] = [
    Signer {
        fingerprint: Fingerprint::from_words([
            0xF4AADD86, 0xC4687D69, 0xAE04543E, 0x796C114A, 0xD12B2292,
        ]),
        purpose: Purpose::BaseDownloads,
        name: "Raspberry Pi Downloads",
        note: "images since 2025-11-24",
        key: KeySource::Fetched(&[
            "https://www.raspberrypi.org/raspberrypi_downloads.gpg.key",
            "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0xF4AADD86C4687D69AE04543E796C114AD12B2292",
        ]),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0x54C3DD61, 0x0D9D1B4A, 0xF82A3775, 0x8738CD6B, 0x956F460C,
        ]),
        purpose: Purpose::BaseDownloads,
        name: "Raspberry Pi Downloads",
        note: "images until 2025-10-01",
        key: KeySource::Fetched(&[
            "https://www.raspberrypi.org/raspberrypi_downloads.gpg.key",
            "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0x54C3DD610D9D1B4AF82A37758738CD6B956F460C",
        ]),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0x04B54C3C, 0xDCA79751, 0xB16BC6B5, 0x225629DF, 0x75B188BD,
        ]),
        purpose: Purpose::Debian,
        name: "Debian Archive Automatic Signing Key (13/trixie)",
        note: "signs trixie and bookworm, with a subkey; expires in 2035",
        key: shipped!("debian-archive-trixie-automatic.gpg"),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0x41587F7D, 0xB8C774BC, 0xCF131416, 0x762F67A0, 0xB2C39DE4,
        ]),
        purpose: Purpose::Debian,
        name: "Debian Stable Release Key (13/trixie)",
        note: "signs releases of trixie; expires in 2033",
        key: shipped!("debian-archive-trixie-stable.gpg"),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0xB8B80B5B, 0x623EAB6A, 0xD8775C45, 0xB7C5D7D6, 0x350947F8,
        ]),
        purpose: Purpose::Debian,
        name: "Debian Archive Automatic Signing Key (12/bookworm)",
        note: "signs bookworm and trixie, with a subkey; expires in 2031",
        key: shipped!("debian-archive-bookworm-automatic.gpg"),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0x4D64FEC1, 0x19C20290, 0x67D6E791, 0xF8D2585B, 0x8783D481,
        ]),
        purpose: Purpose::Debian,
        name: "Debian Stable Release Key (12/bookworm)",
        note: "signs releases of bookworm; expires in 2031",
        key: shipped!("debian-archive-bookworm-stable.gpg"),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0x5E04A1E3, 0x223A19A2, 0x0706E20F, 0x9904613D, 0x4CCE68C6,
        ]),
        purpose: Purpose::DebianSecurity,
        name: "Debian Security Archive Automatic Signing Key (13/trixie)",
        note: "signs trixie-security and bookworm-security, with a subkey; expires in 2035",
        key: shipped!("debian-archive-trixie-security-automatic.gpg"),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0x05AB9034, 0x0C0C5E79, 0x7F44A8C8, 0x254CF3B5, 0xAEC0A8F0,
        ]),
        purpose: Purpose::DebianSecurity,
        name: "Debian Security Archive Automatic Signing Key (12/bookworm)",
        note: "signs bookworm-security and trixie-security, with a subkey; expires in 2031",
        key: shipped!("debian-archive-bookworm-security-automatic.gpg"),
    },
    Signer {
        fingerprint: Fingerprint::from_words([
            0xCF8A1AF5, 0x02A2AA2D, 0x763BAE7E, 0x82B12992, 0x7FA3303E,
        ]),
        purpose: Purpose::RaspberryPiArchive,
        name: "Raspberry Pi Archive Signing Key",
        note: "of 2012, RSA-2048, without expiry; its SHA-1 self-signature was renewed on 2025-06-05",
        key: KeySource::Fetched(&[
            "https://raw.githubusercontent.com/RPi-Distro/pi-gen/arm64/stage0/00-configure-apt/files/raspberrypi-archive-keyring.pgp",
            "https://archive.raspberrypi.com/debian/raspberrypi.gpg.key",
            "https://keyserver.ubuntu.com/pks/lookup?op=get&options=mr&search=0xCF8A1AF502A2AA2D763BAE7E82B129927FA3303E",
        ]),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_signers_and_no_key_serves_two() {
        let mut seen = std::collections::BTreeSet::new();
        for purpose in [
            Purpose::BaseDownloads,
            Purpose::Debian,
            Purpose::DebianSecurity,
            Purpose::RaspberryPiArchive,
        ] {
            assert!(signers(purpose).count() > 0, "{purpose}");
            for signer in signers(purpose) {
                assert!(seen.insert(signer.fingerprint), "{}", signer.fingerprint);
            }
        }
        assert_eq!(seen.len(), SIGNERS.len());
    }

    #[test]
    fn urls_of_key_servers_ask_for_the_pinned_fingerprint() {
        for signer in &SIGNERS {
            let KeySource::Fetched(urls) = signer.key else {
                continue;
            };
            let (_, asked) = urls[urls.len() - 1].split_once("search=0x").unwrap();
            assert_eq!(asked, signer.fingerprint.to_string());
        }
    }
}
