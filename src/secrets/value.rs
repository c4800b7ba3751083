//! What every value of a secret must be like, whatever it is for.

use super::placeholder::placeholder;
use super::refusal::Refusal;
use super::secret::Secret;

/// Takes what a file, a variable or a command gave. Line ends at the end are not part of a secret.
pub fn accept(bytes: &[u8]) -> Result<Secret, Refusal> {
    check_encoding(bytes)?;
    let text =
        std::str::from_utf8(bytes).map_err(|_| Refusal::new("the value is not UTF-8 text"))?;
    let value = text.trim_end_matches(['\r', '\n']);
    check_shape(value)?;
    match placeholder(value) {
        Some(why) => Err(Refusal::new(format!("the value {why}"))
            .with_hint("put the real secret where this reference points")),
        None => Ok(Secret::new(value.to_owned())),
    }
}

fn check_encoding(bytes: &[u8]) -> Result<(), Refusal> {
    let marks: [(&[u8], &str); 3] = [
        (b"\xef\xbb\xbf", "begins with a byte order mark (BOM)"),
        (b"\xff\xfe", "is UTF-16 text"),
        (b"\xfe\xff", "is UTF-16 text"),
    ];
    match marks.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        Some((_, what)) => Err(Refusal::new(format!("the value {what}"))
            .with_hint("save it as UTF-8 without a byte order mark")),
        None => Ok(()),
    }
}

fn check_shape(value: &str) -> Result<(), Refusal> {
    let refuse = |what: &str| Err(Refusal::new(what));
    if value.is_empty() {
        return refuse("the value is empty");
    }
    if value.contains(['\r', '\n']) {
        return refuse("the value has more than one line; a secret is one line");
    }
    if value.trim().is_empty() {
        return refuse("the value consists of blanks");
    }
    if value.trim() != value {
        return refuse("the value begins or ends with a blank");
    }
    if value.chars().any(is_invisible) {
        return refuse("the value has a character in it that cannot be seen");
    }
    if is_quoted(value) {
        return Err(
            Refusal::new("the value stands in quotes, which would be part of it")
                .with_hint("take the quotes away"),
        );
    }
    Ok(())
}

/// Control characters, zero-width ones, and those that change the direction of writing.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

const QUOTES: &[(char, char)] = &[
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('“', '”'),
    ('„', '“'),
    ('‘', '’'),
    ('«', '»'),
];

fn is_quoted(value: &str) -> bool {
    value.chars().count() > 1
        && QUOTES
            .iter()
            .any(|(open, close)| value.starts_with(*open) && value.ends_with(*close))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_values_are_refused_with_their_reason() {
        for (value, why) in [
            (&b""[..], "is empty"),
            (b"\r\n", "is empty"),
            (b"   ", "of blanks"),
            ("\u{a0}\u{a0}".as_bytes(), "of blanks"),
            (b"hunter2 ", "ends with a blank"),
            (b"\thunter2", "begins or ends"),
            (b"hunter\n2", "more than one line"),
            (b"hunter\r2", "more than one line"),
            (b"hunter\x002", "cannot be seen"),
            (b"hunter\t2", "cannot be seen"),
            ("hunter\u{200b}2".as_bytes(), "cannot be seen"),
            (b"\xef\xbb\xbfhunter2", "byte order mark"),
            (b"\xff\xfeh\0u\0", "UTF-16"),
            (b"hunter\xff2", "not UTF-8"),
            (b"\"hunter2\"", "in quotes"),
            (b"'hunter2'\n", "in quotes"),
            ("“hunter2”".as_bytes(), "in quotes"),
            (b"changeme", "placeholder"),
        ] {
            let Err(refusal) = accept(value) else {
                panic!("{value:?}")
            };
            assert!(
                refusal.what().contains(why),
                "{value:?}: {}",
                refusal.what()
            );
            assert!(!format!("{refusal:?}").contains("hunter"), "{value:?}");
        }
    }

    #[test]
    fn line_ends_at_the_end_go_and_all_else_stays() {
        for (value, secret) in [
            (&b"hunter2\r\n\r\n"[..], "hunter2"),
            (b"k3s: \"hunter2' #1", "k3s: \"hunter2' #1"),
            ("Pässword of mine".as_bytes(), "Pässword of mine"),
            (b"'tis 8 long", "'tis 8 long"),
        ] {
            assert_eq!(accept(value).ok().unwrap().expose(), secret);
        }
    }
}
