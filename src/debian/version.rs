//! Versions of packages, in Debian's order (Debian Policy, 5.6.12).

use std::cmp::Ordering;
use std::fmt;

/// Letters of a version.
const MAX_LEN: usize = 256;

/// A version as it is written. Versions that differ in writing can be equal: `1.0` and `1.00`.
#[derive(Clone)]
pub struct Version(Box<str>);

impl Version {
    /// The version that `text` is: `[epoch:]upstream[-revision]`.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() <= MAX_LEN && text.parse::<debversion::Version>().is_ok();
        valid.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        let parsed = |version: &Self| version.0.parse::<debversion::Version>().ok();
        parsed(self).cmp(&parsed(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_debians_order() {
        let ascending = [
            "0.9~rc1-1",
            "0.9-1~bpo12+1",
            "0.9-1",
            "0.9-1+b1",
            "0.9-1+deb13u1",
            "0.9-1+rpt1",
            "0.10-1",
            "1:0.1",
            "2:4.22.11+dfsg-0+deb13u1",
        ];
        let versions: Vec<Version> = ascending.map(|v| Version::parse(v).unwrap()).into();
        assert!(versions.is_sorted());
        assert_eq!(Version::parse("1.0-0"), Version::parse("1.00"));
        assert_ne!(Version::parse("1.0-1"), Version::parse("1.0"));
    }

    #[test]
    fn what_is_no_version_is_none() {
        for text in [
            "",
            "1 2",
            "1/2",
            "../1",
            "é",
            "99999999999999999999:1",
            &"1".repeat(257),
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        let digits = "9".repeat(256);
        let long = Version::parse(&digits).unwrap();
        assert!(long > Version::parse(&digits[1..]).unwrap());
    }
}
