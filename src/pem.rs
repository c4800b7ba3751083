//! PEM (RFC 7468): base64 between two lines that name what it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Letters of a line, as nearly all programs write them. OpenSSH has its own.
pub const LINE: usize = 64;

/// A block of a PEM text.
pub struct Block {
    pub label: String,
    /// DER. It may be a key.
    pub der: Zeroizing<Vec<u8>>,
}

/// `content` as a block with lines of `line` letters, without a line end at the end.
pub fn encode(label: &str, content: &[u8], line: usize) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(content));
    // It never moves, so all of it is wiped.
    let room = encoded.len() + encoded.len() / line + 2 * label.len() + 64;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (letters, after) = rest.split_at(line.min(rest.len()));
        text.push_str(letters);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----"));
    text
}

/// The blocks of `text`; what stands between them is skipped. The error says what is wrong.
pub fn decode(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Zeroizing<String>)> = None;
    for line in text.lines().map(str::trim) {
        let marker = |kind: &str| line.strip_prefix(kind)?.strip_suffix("-----");
        if let Some(label) = marker("-----BEGIN ") {
            open = Some((label, Zeroizing::new(String::with_capacity(text.len()))));
        } else if let Some(end) = marker("-----END ") {
            let Some((label, base64)) = open.take().filter(|(label, _)| *label == end) else {
                return Err("has an END line without its BEGIN line".to_owned());
            };
            let der = STANDARD.decode(base64.as_bytes());
            blocks.push(Block {
                label: label.to_owned(),
                der: Zeroizing::new(der.map_err(|_| "is not base64".to_owned())?),
            });
        } else if let Some((_, base64)) = &mut open {
            base64.push_str(line);
        }
    }
    match open {
        Some(_) => Err("ends before its END line".to_owned()),
        None => Ok(blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_written_and_read() {
        for len in [1, 47, 48, 49, 121] {
            let der = vec![7; len];
            let text = encode("EC PRIVATE KEY", &der, LINE);
            assert!(text.lines().all(|line| line.len() <= LINE), "{}", *text);
            let two = format!("# a remark\n{}\r\n{}\n", *text, *text);
            let blocks = decode(&two).unwrap();
            assert_eq!(blocks.len(), 2);
            assert!(
                blocks
                    .iter()
                    .all(|b| *b.der == der && b.label == "EC PRIVATE KEY")
            );
        }
    }

    #[test]
    fn damaged_texts_are_refused() {
        for (text, why) in [
            ("-----BEGIN A-----\nQUJD\n", "ends before"),
            (
                "-----BEGIN A-----\nQUJD\n-----END B-----",
                "without its BEGIN",
            ),
            ("-----END A-----", "without its BEGIN"),
            ("-----BEGIN A-----\nQU!D\n-----END A-----", "not base64"),
        ] {
            let Err(error) = decode(text) else {
                panic!("{text}")
            };
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(decode("no block").unwrap().is_empty());
    }
}
