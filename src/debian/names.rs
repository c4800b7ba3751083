//! What names may be made of. They end up in the names of files and in commands, so nothing else gets in.

/// Letters of a name or of a path.
const MAX_LEN: usize = 1024;

/// Whether `text` can be the name of a package.
pub(super) fn is_name(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"+.-_".contains(&b);
    text.len() <= MAX_LEN
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(good)
}

/// Whether `text` can be the name of an architecture.
pub(super) fn is_architecture(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.len() <= MAX_LEN && text.bytes().all(good)
}

/// Whether `text` is a path below a folder that stays there.
pub(super) fn is_relative_path(text: &str) -> bool {
    let good = |part: &str| !part.is_empty() && part != "." && part != "..";
    let printable = |b: u8| b.is_ascii_graphic() && !b"\\?#".contains(&b);
    text.len() <= MAX_LEN && text.bytes().all(printable) && text.split('/').all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_strange_is_a_name_or_a_path() {
        for (text, name, path) in [
            ("libstdc++6", true, true),
            ("python3.13", true, true),
            ("pool/main/s/samba/samba_4%3a1_arm64.deb", false, true),
            ("", false, false),
            ("-rf", false, true),
            ("..", false, false),
            ("/etc/passwd", false, false),
            ("a/../b", false, false),
            ("a//b", false, false),
            ("a b", false, false),
            ("a\nb", false, false),
            ("ä", false, false),
        ] {
            assert_eq!(is_name(text), name, "{text}");
            assert_eq!(is_relative_path(text), path, "{text}");
        }
        assert!(is_architecture("arm64") && is_architecture("kfreebsd-amd64"));
        assert!(!is_architecture("") && !is_architecture("a/b"));
    }
}
