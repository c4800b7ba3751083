//! File names: what is allowed, how long names are cut up, and the short names beside them.

use crate::error::{Error, Result};

/// UTF-16 units in one long-name slot.
pub(super) const UNITS_PER_SLOT: usize = 13;
/// UTF-16 units a long name may have.
const MAX_UNITS: usize = 255;
/// Folders deeper than this are neither made nor read.
pub(super) const MAX_DEPTH: usize = 32;

/// Splits a path into valid names.
pub(super) fn split(path: &str) -> Result<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    for part in &parts {
        check(part).map_err(|why| {
            Error::failed(format!(
                "“{path}” is not a path for the boot partition: {why}"
            ))
        })?;
    }
    if parts.len() > MAX_DEPTH {
        return Err(Error::failed(format!(
            "“{path}” is not a path for the boot partition: it is nested too deep"
        )));
    }
    Ok(parts)
}

fn check(name: &str) -> Result<(), String> {
    let forbidden = |c: char| c < ' ' || c == '\x7f' || "\"*:<>?\\|".contains(c);
    if let Some(c) = name.chars().find(|&c| forbidden(c)) {
        return Err(format!("names cannot hold {c:?}"));
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Err("names cannot end in a dot, or start or end in a space".into());
    }
    if name.encode_utf16().count() > MAX_UNITS {
        return Err(format!("a name is longer than {MAX_UNITS} characters"));
    }
    Ok(())
}

/// Whether two names mean the same file.
pub(super) fn same(a: &str, b: &str) -> bool {
    let fold = |name: &str| -> Vec<char> { name.chars().flat_map(char::to_uppercase).collect() };
    a == b || fold(a) == fold(b)
}

/// Directory slots that an entry of this name takes.
pub(super) fn slots(name: &str) -> usize {
    match plain(name) {
        Some(_) => 1,
        None => 1 + name.encode_utf16().count().div_ceil(UNITS_PER_SLOT),
    }
}

/// `name` as a short name, if it needs no long one: upper-case 8.3.
pub(super) fn plain(name: &str) -> Option<[u8; 11]> {
    let (short, lossy) = basis(name);
    (!lossy && display(&short) == name).then_some(short)
}

/// A short name for `name` that `taken` does not have.
pub(super) fn short_for(name: &str, taken: impl Fn(&[u8; 11]) -> bool) -> Result<[u8; 11]> {
    let (basis, lossy) = basis(name);
    if !lossy && !taken(&basis) {
        return Ok(basis);
    }
    let stem = basis[..8].iter().position(|&b| b == b' ').unwrap_or(8);
    for number in 1..1_000_000 {
        let tail = format!("~{number}");
        let keep = stem.min(8 - tail.len());
        let mut short = basis;
        short[..8].fill(b' ');
        short[..keep].copy_from_slice(&basis[..keep]);
        short[keep..keep + tail.len()].copy_from_slice(tail.as_bytes());
        if !taken(&short) {
            return Ok(short);
        }
    }
    Err(Error::failed(format!("no short name is left for “{name}”")))
}

/// The basis name (specification, section 7.2), and whether something was lost on the way that
/// calls for a numeric tail. Case is not something lost.
fn basis(name: &str) -> ([u8; 11], bool) {
    let mut short = [b' '; 11];
    let trimmed = name.trim_start_matches('.');
    let (stem, extension) = match trimmed.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (trimmed, ""),
    };
    let mut lossy = trimmed.len() != name.len();
    let (head, tail) = short.split_at_mut(8);
    for (part, field) in [(stem, head), (extension, tail)] {
        let mut at = 0;
        for c in part.chars() {
            let byte = match c {
                ' ' | '.' => {
                    lossy = true;
                    continue;
                }
                'a'..='z' | 'A'..='Z' | '0'..='9' => c.to_ascii_uppercase() as u8,
                c if "$%'-_@~`!(){}^#&".contains(c) => c as u8,
                _ => {
                    lossy = true;
                    b'_'
                }
            };
            match field.get_mut(at) {
                Some(slot) => *slot = byte,
                None => lossy = true,
            }
            at += 1;
        }
    }
    if short[0] == b' ' {
        short[0] = b'_';
        lossy = true;
    }
    (short, lossy)
}

/// A short name as text. Bytes beyond ASCII depend on a code page; they show as U+FFFD.
pub(super) fn display(short: &[u8; 11]) -> String {
    let part = |bytes: &[u8]| -> String {
        let text: String = bytes
            .iter()
            .map(|&b| match b {
                0..=0x7f => b as char,
                _ => char::REPLACEMENT_CHARACTER,
            })
            .collect();
        text.trim_end_matches(' ').to_owned()
    };
    let (stem, extension) = (part(&short[..8]), part(&short[8..]));
    match extension.is_empty() {
        true => stem,
        false => format!("{stem}.{extension}"),
    }
}

/// The checksum that ties long-name slots to their short name.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short
        .iter()
        .fold(0, |sum: u8, &b| sum.rotate_right(1).wrapping_add(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, taken: &[&str]) -> String {
        let short = short_for(name, |s| taken.contains(&display(s).as_str())).unwrap();
        display(&short)
    }

    #[test]
    fn short_names_follow_the_rules() {
        assert_eq!(text("config.txt", &[]), "CONFIG.TXT");
        assert_eq!(text("config.txt", &["CONFIG.TXT"]), "CONFIG~1.TXT");
        assert_eq!(text("kernel_2712.img", &["KERNEL~1.IMG"]), "KERNEL~2.IMG");
        assert_eq!(text(".bashrc", &[]), "BASHRC~1");
        assert_eq!(text("bcm2712-rpi-5-b.dtb", &[]), "BCM271~1.DTB");
        assert_eq!(text("a.b.c", &[]), "AB~1.C");
        assert_eq!(text("übung.txt", &[]), "_BUNG~1.TXT");
        assert_eq!(
            plain("KERNEL.IMG").map(|s| display(&s)).unwrap(),
            "KERNEL.IMG"
        );
        assert_eq!(plain("kernel.img"), None);
        assert_eq!(slots("kernel.img"), 2);
        assert_eq!(slots("cmdline-backup.txt"), 3);
    }

    #[test]
    fn bad_names_are_refused() {
        for path in ["a:b", "x/..", "./x", "dot.", "tab\t", " a"] {
            assert!(split(path).is_err(), "{path}");
        }
        assert!(split(&"x".repeat(256)).is_err());
        assert_eq!(split("/overlays//README").unwrap(), ["overlays", "README"]);
    }
}
