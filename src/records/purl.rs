//! Package URLs of Debian packages (<https://github.com/package-url/purl-spec>, type `deb`).

use std::fmt::Write as _;

/// Who made a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    Debian,
    RaspberryPi,
}

/// What the versions of Raspberry Pi's own builds have in them.
const RASPBERRY_PI: [&str; 2] = ["+rpt", "+rpi"];

impl Vendor {
    /// As far as `version`, and the URL of the archive, tell.
    pub fn of(version: &str, archive: Option<&str>) -> Self {
        let by_archive = archive.is_some_and(|archive| archive.contains("raspberrypi"));
        let by_version = RASPBERRY_PI.iter().any(|mark| version.contains(mark));
        if by_archive || by_version {
            Self::RaspberryPi
        } else {
            Self::Debian
        }
    }

    /// In package URLs.
    fn namespace(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::RaspberryPi => "raspberrypi",
        }
    }

    /// For people, as SPDX has suppliers.
    pub fn supplier(self) -> &'static str {
        match self {
            Self::Debian => "Organization: Debian",
            Self::RaspberryPi => "Organization: Raspberry Pi",
        }
    }
}

/// The URL of a package.
pub fn deb(
    vendor: Vendor,
    name: &str,
    version: &str,
    architecture: &str,
    suite: Option<&str>,
) -> String {
    let mut url = format!(
        "pkg:deb/{}/{}@{}?arch={}",
        vendor.namespace(),
        encoded(name),
        encoded(version),
        encoded(architecture)
    );
    if let Some(suite) = suite {
        // Writing to a String cannot fail.
        let _ = write!(url, "&distro={}", encoded(suite));
    }
    url
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_encoded() {
        let url = deb(
            Vendor::Debian,
            "samba",
            "2:4.22.11+dfsg-0+deb13u1",
            "arm64",
            Some("trixie"),
        );
        assert_eq!(
            url,
            "pkg:deb/debian/samba@2%3A4.22.11%2Bdfsg-0%2Bdeb13u1?arch=arm64&distro=trixie"
        );
        let url = deb(Vendor::RaspberryPi, "a", "1~2", "all", None);
        assert_eq!(url, "pkg:deb/raspberrypi/a@1~2?arch=all");
    }

    #[test]
    fn raspberry_pis_builds_are_told_apart_by_version_or_archive() {
        assert_eq!(Vendor::of("1.46.6-1+rpt1", None), Vendor::RaspberryPi);
        assert_eq!(Vendor::of("1.46.6-1+deb13u1", None), Vendor::Debian);
        let archive = "http://archive.raspberrypi.com/debian trixie";
        assert_eq!(Vendor::of("20250801-1", Some(archive)), Vendor::RaspberryPi);
    }
}
