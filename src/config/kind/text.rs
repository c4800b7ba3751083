//! Texts of a form: URLs, versions, digests, dates, paths, tags.

use super::reason::Reason;
use crate::clock;
use crate::suggest::{nearest, or_meant, quoted};

/// Everything a profile says goes into a file of the node, where a line end would start another line.
pub fn one_line(text: &str) -> Result<(), Reason> {
    match text.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some('\n' | '\r') => Err("must be one line".into()),
        Some(_) => Err("contains a control character".into()),
    }
}

/// `http://` or `https://` with a host and without credentials, which would be shown.
pub fn url(text: &str) -> Result<(), Reason> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or("must be a URL that begins with https:// or http://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "a URL with a user name or password would be stored and shown; leave them out".into(),
        );
    }
    if authority.is_empty() || text.chars().any(char::is_whitespace) {
        return Err(format!("`{text}` is not a URL"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if port.is_some_and(|port| !super::address::is_port(port)) {
        return Err(format!("`{text}`: what follows the colon is not a port"));
    }
    let is_ipv6 = host.starts_with('[') && host.ends_with(']');
    if !is_ipv6 && super::name::address_or_name(&host.to_lowercase()).is_err() {
        return Err(format!(
            "`{text}`: `{host}` is neither a host name nor an address"
        ));
    }
    Ok(())
}

/// A release: digits and dots after an optional `v`, then any of letters, digits and `.+-_`.
pub fn version(text: &str) -> Result<(), Reason> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    let fine = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b));
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is not a version; write the exact release, such as `v1.2.3`"
        ))
    }
}

pub fn hex(text: &str, length: usize, what: &str) -> Result<(), Reason> {
    if text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(format!(
            "is not {what}: {length} hexadecimal digits, and this has {} characters",
            text.chars().count()
        ))
    }
}

/// Seconds, or a number with s, m, h, d or w; at least two minutes, which is dnsmasq's least.
pub fn duration(text: &str) -> Result<(), Reason> {
    if text == "infinite" {
        return Ok(());
    }
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(120..) => Ok(()),
        Some(1..) if unit > 0 => Err(format!("`{text}` is too short; two minutes is the least")),
        _ => Err(format!(
            "`{text}` is not a duration like `45m`, `24h`, `7d` or `infinite`"
        )),
    }
}

pub fn date(text: &str) -> Result<(), Reason> {
    match clock::parse_date(text) {
        Some(_) => Ok(()),
        None => Err(format!("`{text}` is not a date; write it as 2026-12-31")),
    }
}

/// A file of the machine that builds. Whether it exists is seen when the project's folder is known.
pub fn file(text: &str) -> Result<(), Reason> {
    if text.trim().is_empty() || text.ends_with('/') {
        Err(format!("`{text}` is not the path of a file"))
    } else if text.contains("://") {
        Err(format!(
            "`{text}` is a URL; this key is the path of a local file"
        ))
    } else {
        Ok(())
    }
}

/// Programs that end every login at once.
const NO_SHELLS: &[&str] = &["nologin", "false", "true"];

pub fn shell(text: &str) -> Result<(), Reason> {
    node_path(text)?;
    let name = text.rsplit('/').next().unwrap_or_default();
    if NO_SHELLS.contains(&name) {
        return Err(format!("`{text}` is no login shell: nobody could log in"));
    }
    Ok(())
}

/// An absolute path that can stand in a line of /etc/passwd or a unit.
pub fn node_path(text: &str) -> Result<(), Reason> {
    let wrong = || Err(format!("`{text}` is not an absolute path like `/bin/bash`"));
    let Some(rest) = text.strip_prefix('/') else {
        return wrong();
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    if rest.split('/').all(is_part) {
        Ok(())
    } else {
        wrong()
    }
}

/// Login shells of Raspberry Pi OS Lite (its /etc/shells).
pub const STOCK_SHELLS: &[&str] = &[
    "/bin/sh",
    "/usr/bin/sh",
    "/bin/bash",
    "/usr/bin/bash",
    "/bin/rbash",
    "/usr/bin/rbash",
    "/bin/dash",
    "/usr/bin/dash",
];

/// Names that stand for Raspberry Pi OS.
pub const BASE_ALIASES: &[&str] = &["raspios-lite-arm64", "raspios-oldstable-lite-arm64"];

/// What a base image can be packed as.
const IMAGE_ENDINGS: &[&str] = &[".img", ".xz", ".gz", ".zst", ".zip"];

/// What stands beside images on servers, and is none.
const NOT_IMAGES: &[&str] = &[
    ".iso", ".7z", ".rar", ".sha256", ".sig", ".torrent", ".info", ".bmap", ".html", ".json", "/",
];

fn image_url(text: &str) -> Result<(), Reason> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    if let Some(ending) = NOT_IMAGES.iter().find(|ending| path.ends_with(*ending)) {
        return Err(format!(
            "a URL that ends in `{ending}` is not that of an image"
        ));
    }
    if path.contains("armhf") {
        return Err(
            "the URL is that of a 32-bit system (armhf), and the payloads are 64-bit".into(),
        );
    }
    Ok(())
}

/// An alias, a URL, or a path.
pub fn base_image(text: &str) -> Result<(), Reason> {
    if BASE_ALIASES.contains(&text) {
        return Ok(());
    }
    if text.contains("://") {
        return url(text).and_then(|()| image_url(text));
    }
    if text.contains("armhf") && text.starts_with("raspios") {
        return Err(format!(
            "`{text}` is a 32-bit system; k3s and imgbuild's payloads are 64-bit: use `raspios-lite-arm64`"
        ));
    }
    if text.contains(['/', '\\']) {
        return file(text);
    }
    let lower = text.to_lowercase();
    if IMAGE_ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
        return Ok(());
    }
    let near = or_meant(nearest(text, BASE_ALIASES));
    Err(format!(
        "`{text}` is neither {}, nor a URL, nor a path that ends in .img, .img.xz, .img.gz, .img.zst or .zip{near}",
        quoted(BASE_ALIASES)
    ))
}

/// Labels of the card itself, which a share's disk cannot have.
const CARD_LABELS: &[&str] = &["bootfs", "rootfs", "boot", "root"];

/// At most 16 characters, as ext4 has them.
pub fn disk_label(text: &str) -> Result<(), Reason> {
    if CARD_LABELS.contains(&text) {
        return Err(format!(
            "`{text}` is a label of the card itself; choose another for the disk"
        ));
    }
    let fine = (1..=16).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is not a label: 1 to 16 letters, digits, - and _"
        ))
    }
}

/// `tag:name`, as in a tailnet's policy.
pub fn tag(text: &str) -> Result<(), Reason> {
    let name = text.strip_prefix("tag:").unwrap_or_default();
    let fine = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is not a tag: write `tag:` and a name of letters, digits and -, such as `tag:router`"
        ))
    }
}
