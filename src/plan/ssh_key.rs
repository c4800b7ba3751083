//! Lines of authorized_keys, read as sshd reads them: `[options] type base64 [comment]`. What sshd
//! would skip without a word is an error here. Messages never quote the line: it may be a private
//! key that somebody pasted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::clock;
use crate::config::{Kind, Value};

/// Bits of an RSA key. sshd takes 1024, which has been within reach of attackers for years.
const MIN_RSA_BITS: usize = 2048;
/// What OpenSSH takes at the most (SSHBUF_MAX_BIGNUM).
const MAX_RSA_BITS: usize = 16_384;

/// A kind of key and what its blob consists of behind the name.
struct KeyType {
    name: &'static str,
    fields: &'static [FieldKind],
}

#[derive(Clone, Copy)]
enum FieldKind {
    /// An Ed25519 point.
    Ed25519,
    /// Exponent of an RSA key.
    Exponent,
    Modulus,
    Curve(&'static str),
    /// An uncompressed point: 4, then two coordinates of so many bytes.
    Point(usize),
    /// What a security key was registered for, `ssh:`.
    Application,
}

/// The types that OpenSSH 9.2 (Bookworm) and 10.0 (Trixie) both let log in.
const KEY_TYPES: &[KeyType] = &[
    KeyType {
        name: "ssh-ed25519",
        fields: &[FieldKind::Ed25519],
    },
    KeyType {
        name: "ssh-rsa",
        fields: &[FieldKind::Exponent, FieldKind::Modulus],
    },
    KeyType {
        name: "ecdsa-sha2-nistp256",
        fields: &[FieldKind::Curve("nistp256"), FieldKind::Point(32)],
    },
    KeyType {
        name: "ecdsa-sha2-nistp384",
        fields: &[FieldKind::Curve("nistp384"), FieldKind::Point(48)],
    },
    KeyType {
        name: "ecdsa-sha2-nistp521",
        fields: &[FieldKind::Curve("nistp521"), FieldKind::Point(66)],
    },
    KeyType {
        name: "sk-ssh-ed25519@openssh.com",
        fields: &[FieldKind::Ed25519, FieldKind::Application],
    },
    KeyType {
        name: "sk-ecdsa-sha2-nistp256@openssh.com",
        fields: &[
            FieldKind::Curve("nistp256"),
            FieldKind::Point(32),
            FieldKind::Application,
        ],
    },
];

const NOT_A_KEY: &str = "this is not an OpenSSH public key like `ssh-ed25519 AAAA… name`";

type Checked<T = ()> = Result<T, String>;

/// Errors when sshd would not let in the owner of the key on `line`, which is neither empty nor a
/// comment.
pub fn check_line(line: &str) -> Checked {
    let line = line.trim_matches([' ', '\t']);
    if is_private(line) {
        return Err("this is a private key; give the public one (.pub)".to_owned());
    }
    if line.contains(|c: char| c.is_control() && c != '\t') {
        return Err("the line has a control character in it".to_owned());
    }
    if first_word_type(line).is_some() {
        return check_key(line);
    }
    check_other_formats(line)?;
    let (options, key) = split_options(line)?;
    if first_word_type(key).is_none() {
        return Err(explain_no_key(line, options, key));
    }
    check_options(options)?;
    check_key(key)
}

/// Whether the key on `line` (checked) says who may sign certificates, and does not itself log in.
pub fn is_authority(line: &str) -> bool {
    let options = split_options(line).map_or("", |(options, _)| options);
    let options = options.to_ascii_lowercase();
    options.contains("cert-authority") || options.contains("principals=")
}

/// Whether `text` has a private key in it, in the formats of OpenSSH, PEM and PuTTY.
pub fn is_private(text: &str) -> bool {
    const OPENSSH_MAGIC: &str = "b3BlbnNzaC1rZXktdjE";
    [
        "PRIVATE KEY",
        "PuTTY-User-Key-File",
        "Private-Lines:",
        OPENSSH_MAGIC,
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

fn first_word_type(text: &str) -> Option<&'static KeyType> {
    let word = words(text).next()?;
    KEY_TYPES.iter().find(|t| t.name == word)
}

fn check_other_formats(line: &str) -> Checked {
    let convert = "this is a public key in another format; `ssh-keygen -i -f FILE` makes an OpenSSH one of it (with `-m PKCS8` or `-m PEM` for PEM)";
    if line.starts_with("---") && line.contains("PUBLIC KEY") {
        Err(convert.to_owned())
    } else {
        Ok(())
    }
}

/// Options end at the first blank outside of quotes, as `sshkey_advance_past_options` has it.
fn split_options(line: &str) -> Checked<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            ' ' | '\t' if !quoted => {
                return Ok((&line[..at], line[at..].trim_start_matches([' ', '\t'])));
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    if quoted {
        Err("a quote in the options before the key is never closed".to_owned())
    } else {
        Ok((line, ""))
    }
}

/// Why no key stands where one should.
fn explain_no_key(line: &str, options: &str, key: &str) -> String {
    let known = |word: &str| {
        word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-")
    };
    let word = [line, key]
        .iter()
        .filter_map(|text| words(text).next())
        .find(|word| known(word));
    match word {
        Some(word) if word.contains("-cert-v01@") => {
            "this is a certificate, which cannot stand in authorized_keys; give the public key itself".to_owned()
        }
        Some("ssh-dss") => {
            "this is a DSA key, which OpenSSH 10 does not know any more; make another with `ssh-keygen -t ed25519`".to_owned()
        }
        _ if is_option(options) && words(key).any(|w| KEY_TYPES.iter().any(|t| t.name == w)) => {
            "the options before the key have a blank in them that does not stand in quotes"
                .to_owned()
        }
        _ if looks_like_path(line) => {
            "this is the name of a file; write `file:` before it".to_owned()
        }
        _ => NOT_A_KEY.to_owned(),
    }
}

/// Whether `name` is an option without a value.
fn is_switch(name: &str) -> bool {
    let positive = name.strip_prefix("no-").unwrap_or(name);
    SWITCHES.contains(&positive) || PLAIN.contains(&name)
}

/// Whether the first of `options` is one that sshd knows.
fn is_option(options: &str) -> bool {
    let name = options.split([',', '=', '"']).next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    is_switch(&name) || VALUED.contains(&name.as_str())
}

fn looks_like_path(line: &str) -> bool {
    words(line).count() == 1
        && (line.ends_with(".pub") || ["/", "~/", "./", "../"].iter().any(|s| line.starts_with(s)))
}

/// Options without a value; those of the first list also with `no-` before them.
const SWITCHES: &[&str] = &[
    "port-forwarding",
    "agent-forwarding",
    "x11-forwarding",
    "pty",
    "user-rc",
    "touch-required",
    "verify-required",
];
const PLAIN: &[&str] = &["restrict", "cert-authority"];
const VALUED: &[&str] = &[
    "command",
    "principals",
    "from",
    "expiry-time",
    "environment",
    "permitopen",
    "permitlisten",
    "tunnel",
];

/// Of these sshd takes one, not several.
const SINGLE: &[&str] = &["command", "principals", "from"];

/// sshd ignores a key with an option that it does not know.
fn check_options(options: &str) -> Checked {
    let mut rest = options;
    let mut seen = Vec::new();
    loop {
        let (name, after) = check_option(rest)?;
        if SINGLE.contains(&name.as_str()) && seen.contains(&name) {
            return Err(format!("the option `{name}` stands before the key twice"));
        }
        seen.push(name);
        match after.strip_prefix(',') {
            None if after.is_empty() => return Ok(()),
            Some(more) if !more.is_empty() => rest = more,
            _ => {
                return Err(
                    "the options before the key do not end where sshd expects it".to_owned(),
                );
            }
        }
    }
}

/// Checks the first option; returns its name and what follows it.
fn check_option(text: &str) -> Checked<(String, &str)> {
    let end = text.find([',', '=', '"']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let name = name.to_ascii_lowercase();
    if is_switch(&name) {
        return Ok((name, rest));
    }
    if !VALUED.contains(&name.as_str()) {
        return Err(format!(
            "{NOT_A_KEY}, or it has an option before it that sshd does not know"
        ));
    }
    let value = rest
        .strip_prefix("=\"")
        .ok_or_else(|| format!("the option `{name}` before the key needs a value in quotes"))?;
    let end = closing_quote(value)
        .ok_or_else(|| format!("the quote behind the option `{name}` is never closed"))?;
    check_value(&name, &value[..end])?;
    Ok((name, &value[end + 1..]))
}

/// What sshd itself looks at in the value of an option.
fn check_value(name: &str, value: &str) -> Checked {
    match name {
        "expiry-time" => check_expiry(value),
        "permitopen" | "permitlisten" => check_port(name, value),
        "from" => check_from(value),
        "environment" if !value.contains('=') => {
            Err("`environment` before the key needs `NAME=value`".to_owned())
        }
        "tunnel" if value != "any" && value.parse::<u32>().is_err() => {
            Err("`tunnel` before the key needs a number, or any".to_owned())
        }
        _ => Ok(()),
    }
}

/// A list of patterns: one that is not negated, and networks without host bits. sshd takes a list with
/// one wrong network for wrong as a whole.
fn check_from(value: &str) -> Checked {
    let wrong = |why: &str| {
        Err(format!(
            "`from` before the key {why}, so nobody could log in with it"
        ))
    };
    if !value
        .split(',')
        .any(|p| !p.is_empty() && !p.starts_with('!'))
    {
        return wrong("names no host that may");
    }
    for pattern in value.split(',') {
        let pattern = pattern.strip_prefix('!').unwrap_or(pattern);
        let is_network = Kind::AnyNetwork.check(&Value::Text(pattern.to_owned()));
        if pattern.contains('/') && is_network.is_err() {
            return wrong("has a network that is none (are its host bits zero?)");
        }
    }
    Ok(())
}

/// `20261231`, with `HHMM` or `HHMMSS` and `Z` behind it.
fn check_expiry(value: &str) -> Checked {
    let digits = value.strip_suffix('Z').unwrap_or(value);
    let date = digits
        .get(..8)
        .filter(|_| matches!(digits.len(), 8 | 12 | 14))
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))
        .map(|day| format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]));
    let Some(last) = date.as_deref().and_then(clock::parse_date) else {
        return Err("`expiry-time` before the key needs a time like `20261231`".to_owned());
    };
    // A clock that cannot be read is told where the time of the build is wanted.
    if clock::today().is_ok_and(|today| last < today) {
        Err("the key has expired, as `expiry-time` before it says".to_owned())
    } else {
        Ok(())
    }
}

fn check_port(name: &str, value: &str) -> Checked {
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, value),
    };
    let known = port == "*" || port.parse::<u16>().is_ok_and(|port| port > 0);
    if known && (host.is_some() || name == "permitlisten") {
        Ok(())
    } else {
        Err(format!("`{name}` before the key needs `HOST:PORT`"))
    }
}

fn closing_quote(value: &str) -> Option<usize> {
    let bytes = value.as_bytes();
    (0..bytes.len()).find(|&at| bytes[at] == b'"' && (at == 0 || bytes[at - 1] != b'\\'))
}

/// `type base64 [comment]`
fn check_key(text: &str) -> Checked {
    let (Some(kind), Some(blob)) = (first_word_type(text), words(text).nth(1)) else {
        return Err("there is nothing behind the type of the key".to_owned());
    };
    let bytes = STANDARD.decode(blob).map_err(|_| {
        "what stands behind the type of the key is not base64: some of it is missing or changed"
            .to_owned()
    })?;
    check_blob(kind, &bytes)?;
    check_comment(text)
}

/// Of two keys on a line sshd takes the first and reads the other as its comment.
fn check_comment(text: &str) -> Checked {
    let comment: Vec<&str> = words(text).skip(2).collect();
    let second = comment.windows(2).any(|pair| {
        KEY_TYPES.iter().any(|t| pair[0].ends_with(t.name)) && pair[1].starts_with("AAAA")
    });
    if second {
        Err("two keys stand on one line; the second would be read as a comment".to_owned())
    } else {
        Ok(())
    }
}

fn check_blob(kind: &KeyType, mut bytes: &[u8]) -> Checked {
    let name = kind.name;
    let broken = || format!("this is not a whole {name} key: some of it is missing or changed");
    let inner = take_field(&mut bytes).ok_or_else(broken)?;
    if inner != name.as_bytes() {
        return Err(format!(
            "the line says {name}, but the key is of another type"
        ));
    }
    for field in kind.fields {
        let value = take_field(&mut bytes).ok_or_else(broken)?;
        if !field.fits(value) {
            return Err(field.explain(value).unwrap_or_else(broken));
        }
    }
    if bytes.is_empty() {
        Ok(())
    } else {
        Err(broken())
    }
}

/// A string as SSH writes it (RFC 4251, section 5): 32 bits of length, then the bytes.
fn take_field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (field, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some(field)
}

impl FieldKind {
    fn fits(self, value: &[u8]) -> bool {
        match self {
            Self::Ed25519 => value.len() == 32,
            Self::Exponent => number_bits(value).is_some_and(|bits| bits > 1),
            Self::Modulus => {
                number_bits(value).is_some_and(|bits| (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits))
            }
            Self::Curve(name) => value == name.as_bytes(),
            Self::Point(size) => value.len() == 1 + 2 * size && value[0] == 4,
            Self::Application => !value.is_empty(),
        }
    }

    /// What is wrong with a value that is whole.
    fn explain(self, value: &[u8]) -> Option<String> {
        let bits = number_bits(value).filter(|_| matches!(self, Self::Modulus))?;
        Some(format!(
            "this RSA key has {bits} bits; imgbuild takes {MIN_RSA_BITS} to {MAX_RSA_BITS}. Make another with `ssh-keygen -t ed25519`"
        ))
    }
}

/// Bits of a positive number as SSH writes it; None for a negative one.
fn number_bits(value: &[u8]) -> Option<usize> {
    if value.first().is_some_and(|b| b & 0x80 != 0) {
        return None;
    }
    let zeros = value.iter().take_while(|b| **b == 0).count();
    let digits = &value[zeros..];
    let unused = digits.first().map_or(0, |b| b.leading_zeros() as usize);
    Some(digits.len() * 8 - unused)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn field(bytes: &[u8]) -> Vec<u8> {
        let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
        out.extend(bytes);
        out
    }

    /// A line whose blob has these fields.
    fn line(name: &str, fields: &[&[u8]]) -> String {
        let blob: Vec<u8> = fields.iter().flat_map(|f| field(f)).collect();
        format!("{name} {} me@here", STANDARD.encode(blob))
    }

    fn rsa(bits: usize) -> String {
        let mut modulus = vec![0xc5; bits / 8];
        modulus.insert(0, 0);
        line("ssh-rsa", &[b"ssh-rsa", &[1, 0, 1], &modulus])
    }

    const ED: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF";
    /// The base point of each curve, so that judges which do the mathematics agree.
    const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

    fn good() -> Vec<String> {
        let sk = line(
            "sk-ssh-ed25519@openssh.com",
            &[b"sk-ssh-ed25519@openssh.com", &[7; 32], b"ssh:"],
        );
        let mut lines = vec![
            ED.to_owned(),
            P256.to_owned(),
            sk,
            rsa(2048),
            rsa(3072),
            rsa(4096),
            format!("  \t{ED}\t a comment with blanks, \"quotes\" and ssh-rsa"),
        ];
        let options = [
            "restrict",
            "no-pty,no-port-forwarding",
            "No-PTY",
            "command=\"echo \\\"a, b\\\" c\"",
            "from=\"10.0.0.0/8,!10.1.*\",command=\"x\",pty",
            "cert-authority,principals=\"a,b\"",
            "environment=\"A=b c\"",
            "expiry-time=\"20991231\"",
            "expiry-time=\"209912312359Z\"",
            "permitopen=\"[::1]:80\",permitopen=\"host:*\",permitlisten=\"8080\"",
        ];
        lines.extend(options.iter().map(|o| format!("{o} {ED} me")));
        lines
    }

    /// A line that sshd does not take, and why.
    fn bad() -> Vec<(String, &'static str)> {
        let dsa = line(
            "ssh-dss",
            &[b"ssh-dss", &[1; 128], &[1; 20], &[1; 128], &[1; 128]],
        );
        let short = line("ssh-ed25519", &[b"ssh-ed25519", &[7; 31]]);
        let long = line("ssh-ed25519", &[b"ssh-ed25519", &[7; 32], b"more"]);
        let other = line("ssh-rsa", &[b"ssh-ed25519", &[7; 32]]);
        let curve = line(
            "ecdsa-sha2-nistp256",
            &[b"ecdsa-sha2-nistp256", b"nistp384", &[4; 65]],
        );
        let point = line(
            "ecdsa-sha2-nistp256",
            &[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 64]],
        );
        vec![
            ("hello".into(), "not an OpenSSH public key"),
            (
                "my ssh-key is on the laptop".into(),
                "not an OpenSSH public key",
            ),
            ("ssh-ed25519".into(), "nothing behind"),
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA!!!! me".into(),
                "not base64",
            ),
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAo test".into(),
                "not base64",
            ),
            (ED[..ED.len() - 4].into(), "not a whole ssh-ed25519 key"),
            (ED[..ED.len() - 1].into(), "not base64"),
            (short, "not a whole"),
            (long, "not a whole"),
            (other, "another type"),
            (curve, "not a whole"),
            (point, "not a whole"),
            (dsa, "DSA"),
            (
                "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQ= me".into(),
                "certificate",
            ),
            (rsa(512), "has 512 bits"),
            (
                format!("ssh-foo {}", &ED[12..]),
                "not an OpenSSH public key",
            ),
            (format!("frobnicate {ED}"), "does not know"),
            (format!("no-pty, no-x11-forwarding {ED}"), "in quotes"),
            (format!("command=ls {ED}"), "needs a value in quotes"),
            (format!("command=\"ls {ED}"), "never closed"),
            (format!("pty,command=\"ls\"x {ED}"), "do not end"),
            (format!("from=a b {ED}"), "in quotes"),
            (format!("from=\"\" {ED}"), "names no host"),
            (format!("from=\"!10.0.0.1\" {ED}"), "names no host"),
            (format!("from=\"10.0.0.1/8\" {ED}"), "host bits"),
            (format!("from=\"10.0.0.0/33,a\" {ED}"), "host bits"),
            (format!("tunnel=\"abc\" {ED}"), "a number"),
            (format!("environment=\"LANG\" {ED}"), "NAME=value"),
            (format!("from=\"a\",from=\"b\" {ED}"), "twice"),
            (format!("expiry-time=\"20200101\" {ED}"), "has expired"),
            (format!("expiry-time=\"soon\" {ED}"), "a time like"),
            (format!("expiry-time=\"20261301\" {ED}"), "a time like"),
            (format!("permitopen=\"80\" {ED}"), "HOST:PORT"),
            (format!("permitopen=\"host:web\" {ED}"), "HOST:PORT"),
            ("~/.ssh/id_ed25519.pub".into(), "name of a file"),
            ("---- BEGIN SSH2 PUBLIC KEY ----".into(), "another format"),
        ]
    }

    #[test]
    fn keys_are_taken_as_sshd_takes_them() {
        for line in good() {
            assert_eq!(check_line(&line), Ok(()), "{line}");
        }
        for (line, why) in bad() {
            let error = check_line(&line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn what_sshd_takes_and_the_owner_did_not_mean_is_refused() {
        for (line, why) in [
            (format!("{ED} a {P256} b"), "two keys"),
            (format!("{ED} a@b{P256}"), "two keys"),
            (rsa(1024), "has 1024 bits"),
            (format!("{ED} a\u{b}b"), "control"),
            (format!("{ED} a\rb"), "control"),
        ] {
            let error = check_line(&line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn private_keys_are_known_in_every_format_and_never_quoted() {
        for line in [
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----MIIEhunter2",
            "b3BlbnNzaC1rZXktdjEAAAAABG5vbmhunter2",
            "PuTTY-User-Key-File-3: ssh-ed25519",
        ] {
            let error = check_line(line).unwrap_err();
            assert!(error.contains("private key") && !error.contains("hunter2"));
        }
    }

    /// Another reader of the same lines. It does not look at options, and knows DSA and small keys.
    #[test]
    fn ssh_keygen_agrees() {
        let keygen = |line: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            std::fs::write(&path, format!("{line}\n")).unwrap();
            let mut command = Command::new("ssh-keygen");
            command.arg("-l").arg("-f").arg(&path);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().ok().map(|status| status.success())
        };
        let Some(works) = keygen(ED) else {
            eprintln!("skipped: there is no ssh-keygen");
            return;
        };
        assert!(works);
        for line in good() {
            assert_eq!(keygen(&line), Some(true), "{line}");
        }
        // What stands in options, and types that ssh-keygen 9 still reads, are sshd's own affair.
        let own = [
            "DSA",
            "does not know",
            "do not end",
            "in quotes",
            "needs a value in quotes",
            "twice",
            "has expired",
            "a time like",
            "HOST:PORT",
            "has 512",
            "names no host",
            "host bits",
            "a number",
            "NAME=value",
        ];
        for (line, why) in bad() {
            if !own.contains(&why) {
                assert_eq!(keygen(&line), Some(false), "{line}");
            }
        }
    }
}
