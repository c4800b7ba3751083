//! The cleartext signature framework (RFC 9580, 7), as `InRelease` uses it.
//!
//! `pgp` can read it, too, but in a time that grows with the square of the text; and it accepts what
//! an index has no reason to contain. Everything outside the signed text is refused here, so that
//! nothing unsigned can be taken for it.

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &str = "-----END PGP SIGNATURE-----";

/// The longest text, in bytes. Debian's `InRelease` has 150 KB.
const MAX_LEN: usize = 16 << 20;

/// A text and the armored signatures of it, not verified.
#[derive(Debug)]
pub struct Cleartext<'a> {
    /// What the signatures are of: lines end with CR and LF, the last one with neither.
    pub hashed: String,
    pub signatures: &'a [u8],
}

impl<'a> Cleartext<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() > MAX_LEN {
            let (len, limit) = (bytes.len() >> 20, MAX_LEN >> 20);
            return Err(format!("{len} MiB are more than the {limit} MiB expected"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let text = text
            .strip_prefix(BEGIN)
            .ok_or_else(|| format!("it does not begin with `{BEGIN}`"))?;
        let mut rest = after_headers(text)?;
        let (mut hashed, mut end) = (String::new(), "");
        while !rest.starts_with(BEGIN_SIGNATURE) {
            let (line, next) = rest.split_once('\n').ok_or("it has no signature")?;
            hashed.push_str(end);
            hashed.push_str(unescaped(line)?);
            (rest, end) = (next, "\r\n");
        }
        nothing_follows(rest)?;
        Ok(Self {
            hashed,
            signatures: rest.as_bytes(),
        })
    }

    /// The text, each line with a line feed.
    pub fn text(&self) -> String {
        // There is no carriage return but those at the ends of lines.
        let mut text = self.hashed.replace('\r', "");
        text.push('\n');
        text
    }
}

/// What follows the empty line behind the headers, of which only `Hash` is allowed. `text` begins
/// behind the first line.
fn after_headers(text: &str) -> Result<&str, String> {
    let cut_off = "it ends within its headers";
    let (first, mut rest) = text.split_once('\n').ok_or(cut_off)?;
    if !first.trim_end().is_empty() {
        return Err("its first line is damaged".to_owned());
    }
    loop {
        let (line, next) = rest.split_once('\n').ok_or(cut_off)?;
        rest = next;
        match line.trim_end() {
            "" => return Ok(rest),
            header if header.starts_with("Hash: ") => {}
            _ => return Err("it has a header that is not `Hash`".to_owned()),
        }
    }
}

/// A line as it was signed: without the dash escape, and without the blanks at its end, which no
/// signature of a cleartext covers.
fn unescaped(line: &str) -> Result<&str, String> {
    let line = match line.strip_prefix("- ") {
        Some(line) => line,
        None if line.starts_with('-') => {
            return Err("a line begins with a dash that is not escaped".to_owned());
        }
        None => line,
    };
    let line = line.trim_end_matches([' ', '\t', '\r']);
    match line.contains('\r') {
        true => Err("a carriage return stands within a line".to_owned()),
        false => Ok(line),
    }
}

/// One armored block, and nothing behind it.
fn nothing_follows(signatures: &str) -> Result<(), String> {
    let (_, end) = signatures
        .split_once(END_SIGNATURE)
        .ok_or("its signature is cut off")?;
    let blocks = signatures.matches("-----BEGIN").count();
    match end.trim().is_empty() && blocks == 1 {
        true => Ok(()),
        false => Err("something follows its signature".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----\n\nabcd\n-----END PGP SIGNATURE-----\n";

    fn signed(head: &str, body: &str) -> String {
        format!("{BEGIN}\n{head}\n{body}\n{SIGNATURE}")
    }

    #[test]
    fn text_is_unescaped() {
        let file = signed("Hash: SHA256\n", "a  \n- -b\n\nc\r");
        let read = Cleartext::read(file.as_bytes()).unwrap();
        assert_eq!(read.text(), "a\n-b\n\nc\n");
        assert_eq!(read.hashed, "a\r\n-b\r\n\r\nc");
        assert_eq!(read.signatures, SIGNATURE.as_bytes());
        let file = file.replace('\n', "\r\n").replace("\r\r", "\r");
        let read = Cleartext::read(file.as_bytes()).unwrap();
        assert_eq!(read.hashed, "a\r\n-b\r\n\r\nc");
    }

    #[test]
    fn anything_else_is_refused() {
        let good = signed("", "a");
        for (bad, why) in [
            (String::new(), "does not begin"),
            (format!("x\n{good}"), "does not begin"),
            (format!("{BEGIN}x\n\na\n{SIGNATURE}"), "first line"),
            (signed("Comment: x\n", "a"), "not `Hash`"),
            (signed("", "-a"), "not escaped"),
            (signed("", &good), "not escaped"),
            (signed("", "a\rb"), "carriage return"),
            (format!("{good}x\n"), "something follows"),
            (format!("{good}{good}"), "something follows"),
            (format!("{good}{SIGNATURE}"), "something follows"),
            (good.replace("END", "EN"), "cut off"),
            (format!("{BEGIN}\nHash: SHA256"), "within its headers"),
            (format!("{BEGIN}\n\na\nb"), "no signature"),
            ("a".repeat(MAX_LEN + 1), "more than the 16 MiB"),
        ] {
            let told = Cleartext::read(bad.as_bytes()).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        assert!(Cleartext::read(b"\xff").is_err());
    }

    #[test]
    fn a_long_text_takes_no_long_time() {
        let file = signed("", &"ab\n".repeat(5 << 20));
        let start = std::time::Instant::now();
        let read = Cleartext::read(file.as_bytes()).unwrap();
        assert_eq!(read.text().lines().count(), (5 << 20) + 1);
        assert!(start.elapsed().as_secs() < 20);
    }
}
