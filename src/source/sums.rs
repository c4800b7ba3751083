//! Published checksum files: `<hex>  <name>` lines, `<hex> *name`, `SHA256 (name) = <hex>`, or one
//! bare digest. They are sha256, or SHA-1 where nothing better is published.

use super::checksum::Checksum;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The checksum that `text`, read from `origin`, publishes for the file called `name`: a sha256 when
/// there is one.
pub(super) fn find(text: &str, name: &str, origin: &str) -> Result<Checksum> {
    if let Some(checksum) = Checksum::parse(text) {
        return Ok(checksum);
    }
    let listed: Vec<_> = text.lines().filter_map(parse_line).collect();
    let matching = listed
        .iter()
        .filter_map(|(checksum, listed)| is_file(listed, name).then_some(checksum));
    let (sha256, sha1): (Vec<_>, Vec<_>) =
        matching.partition(|checksum| matches!(checksum, Checksum::Sha256(_)));
    let mut candidates = sha256.into_iter().chain(sha1).copied();
    let Some(best) = candidates.next() else {
        return Err(missing(name, origin, &listed));
    };
    let is_rival = |other: &Checksum| other.algorithm() == best.algorithm() && *other != best;
    match candidates.find(is_rival) {
        None => Ok(best),
        Some(other) => Err(Error::failed(format!(
            "{origin} lists two digests for {name}: {best} and {other}"
        ))
        .with_hint("give the sha256 itself instead of the sums file")),
    }
}

/// The same, when only a sha256 will do.
pub(super) fn find_sha256(text: &str, name: &str, origin: &str) -> Result<Digest> {
    match find(text, name, origin)? {
        Checksum::Sha256(digest) => Ok(digest),
        Checksum::Sha1(_) | Checksum::Unknown(_) => Err(Error::failed(format!(
            "{origin} lists no sha256 for {name}, only a SHA-1"
        ))
        .with_hint("give the sha256 itself instead of the sums file")),
    }
}

fn parse_line(line: &str) -> Option<(Checksum, &str)> {
    let line = line.trim();
    let tagged = ["SHA256 (", "SHA1 ("]
        .iter()
        .find_map(|tag| line.strip_prefix(tag));
    if let Some(rest) = tagged {
        let (name, hex) = rest.rsplit_once(") = ")?;
        return Some((Checksum::parse(hex)?, name));
    }
    let (hex, name) = line.split_once([' ', '\t'])?;
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    Some((Checksum::parse(hex)?, name))
}

fn is_file(listed: &str, name: &str) -> bool {
    listed.rsplit('/').next() == Some(name)
}

fn missing(name: &str, origin: &str, listed: &[(Checksum, &str)]) -> Error {
    let error = Error::failed(format!("{origin} lists no sha256 for {name}"));
    let nearest = listed
        .iter()
        .max_by_key(|(_, other)| (strsim::jaro_winkler(name, other) * 1000.0) as u32);
    match nearest {
        Some((_, nearest)) => error.with_hint(format!(
            "it lists {} files, the nearest name is {nearest}",
            listed.len()
        )),
        None => error.with_hint("it holds no checksum lines at all: is it the right file?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn hex(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn every_usual_shape_of_line_is_understood() {
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\n{}  k3s-arm64\n{} *k3s-images.txt\r\n{}  ./dist/k3s\nSHA256 (a (b).img) = {}\n# end",
            hex('a'),
            hex('B'),
            hex('c'),
            hex('d')
        );
        let find = |name| find(&text, name, "sums").unwrap().to_string();
        assert_eq!(find("k3s-arm64"), hex('a'));
        assert_eq!(find("k3s-images.txt"), hex('b'));
        assert_eq!(find("k3s"), hex('c'));
        assert_eq!(find("a (b).img"), hex('d'));
    }

    #[test]
    fn one_bare_digest_is_for_any_name() {
        let text = format!("{}\n", hex('e'));
        assert_eq!(
            find(&text, "tailscale.tgz", "sums").unwrap().to_string(),
            hex('e')
        );
    }

    #[test]
    fn a_sha1_counts_only_where_there_is_no_sha256() {
        let sha1 = |digit: char| digit.to_string().repeat(40);
        let text = format!(
            "{}  a\n{}  a\n{}  b\nSHA1 (c) = {}\n{}  d\n{}  d",
            sha1('1'),
            hex('2'),
            sha1('B'),
            sha1('3'),
            sha1('4'),
            sha1('5')
        );
        let find = |name| find(&text, name, "sums").map(|found| found.to_string());
        assert_eq!(find("a").unwrap(), hex('2'));
        assert_eq!(find("b").unwrap(), sha1('b'));
        assert_eq!(find("c").unwrap(), sha1('3'));
        let error = find("d").unwrap_err().to_string();
        assert!(error.contains(&sha1('4')) && error.contains(&sha1('5')));
        assert_eq!(
            find_sha256(&text, "a", "sums").unwrap().to_string(),
            hex('2')
        );
        let error = find_sha256(&sha1('6'), "a", "sums").unwrap_err();
        assert_eq!(
            error.to_string(),
            "sums lists no sha256 for a, only a SHA-1"
        );
    }

    #[test]
    fn a_name_that_is_not_listed_names_the_nearest() {
        let text = format!("{}  k3s-arm64\n{}  other", hex('a'), hex('b'));
        let error = find(&text, "k3s-armhf", "http://x/sums.txt").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert_eq!(
            error.to_string(),
            "http://x/sums.txt lists no sha256 for k3s-armhf"
        );
        assert!(error.hint().unwrap().contains("k3s-arm64"));
        let error = find("<html>login</html>", "k3s", "sums").unwrap_err();
        assert!(error.hint().unwrap().contains("no checksum lines"));
    }

    #[test]
    fn two_digests_for_one_name_are_not_guessed_between() {
        let text = format!("{}  a\n{}  b/a\n", hex('1'), hex('2'));
        let error = find(&text, "a", "sums").unwrap_err();
        assert!(error.to_string().contains(&hex('1')) && error.to_string().contains(&hex('2')));
    }
}
