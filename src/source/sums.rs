//! Published checksum files: `<hex>  <name>` lines, `<hex> *name`, `SHA256 (name) = <hex>`, or one
//! bare digest.

use super::digest::Digest;
use crate::error::{Error, Result};

/// The digest that `text`, read from `origin`, publishes for the file called `name`.
pub(super) fn find(text: &str, name: &str, origin: &str) -> Result<Digest> {
    if let Some(digest) = Digest::parse(text) {
        return Ok(digest);
    }
    let listed: Vec<_> = text.lines().filter_map(parse_line).collect();
    let mut matching = listed.iter().filter(|(_, listed)| is_file(listed, name));
    let Some((digest, _)) = matching.next() else {
        return Err(missing(name, origin, &listed));
    };
    match matching.find(|(other, _)| other != digest) {
        None => Ok(digest.clone()),
        Some((other, _)) => Err(Error::failed(format!(
            "{origin} lists two digests for {name}: {digest} and {other}"
        ))
        .with_hint("give the sha256 itself instead of the sums file")),
    }
}

fn parse_line(line: &str) -> Option<(Digest, &str)> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (name, hex) = rest.rsplit_once(") = ")?;
        return Some((Digest::parse(hex)?, name));
    }
    let (hex, name) = line.split_once([' ', '\t'])?;
    let name = name.trim_start();
    Some((Digest::parse(hex)?, name.strip_prefix('*').unwrap_or(name)))
}

fn is_file(listed: &str, name: &str) -> bool {
    listed.rsplit('/').next() == Some(name)
}

fn missing(name: &str, origin: &str, listed: &[(Digest, &str)]) -> Error {
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
            find(&text, "tailscale.tgz", "sums").unwrap().as_str(),
            hex('e')
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
