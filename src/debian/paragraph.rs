//! Control files (deb822: fields in paragraphs), one paragraph at a time: an index of 56 MB costs no
//! more memory than its longest paragraph.

use std::io::{BufRead, Read};

use crate::error::{Error, Result, ResultExt};

/// Bytes of a paragraph. The longest in Debian, a kernel's list of what it provides, has 80 KB.
const MAX_PARAGRAPH: usize = 1 << 20;

/// Letters of a strange line that a message shows.
const SHOWN: usize = 60;

/// The paragraphs of a control file, in order.
pub(super) struct Paragraphs<R> {
    reader: R,
    /// What the file is called in messages.
    origin: String,
    /// Lines read so far.
    lines: u64,
    raw: Vec<u8>,
}

/// The fields of one paragraph.
pub(super) struct Paragraph {
    fields: deb822_fast::Paragraph,
    /// Where it is, for messages: the file, and the line where the paragraph begins.
    place: String,
}

impl<R: BufRead> Paragraphs<R> {
    pub(super) fn new(reader: R, origin: &str) -> Self {
        Self {
            reader,
            origin: origin.to_owned(),
            lines: 0,
            raw: Vec::new(),
        }
    }

    /// The next paragraph; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Paragraph>> {
        self.raw.clear();
        let mut begin = self.lines + 1;
        loop {
            let start = self.raw.len();
            let at_end = self.read_line()? == 0;
            let line = &self.raw[start..];
            let is_blank = line.trim_ascii().is_empty();
            let is_comment = line.starts_with(b"#");
            if is_blank || is_comment {
                self.raw.truncate(start);
            }
            match (at_end, self.raw.is_empty()) {
                (true, true) => return Ok(None),
                (true, false) => return self.parse(begin).map(Some),
                (false, true) => begin = self.lines + 1,
                (false, false) if is_blank => return self.parse(begin).map(Some),
                (false, false) => {}
            }
        }
    }

    /// Adds a line to the paragraph. Returns its length in bytes: 0 at the end of the file.
    fn read_line(&mut self) -> Result<usize> {
        let left = MAX_PARAGRAPH.saturating_sub(self.raw.len());
        let mut limited = (&mut self.reader).take(left as u64 + 1);
        let read = limited
            .read_until(b'\n', &mut self.raw)
            .context(|| format!("cannot read {}", self.origin))?;
        self.lines += u64::from(read > 0);
        if self.raw.len() > MAX_PARAGRAPH {
            return Err(Error::failed(format!(
                "{}, line {}: a paragraph of more than {MAX_PARAGRAPH} bytes",
                self.origin, self.lines
            ))
            .with_hint("is this a list of Debian packages?"));
        }
        Ok(read)
    }

    fn parse(&self, begin: u64) -> Result<Paragraph> {
        let place = format!("{}, line {begin}", self.origin);
        // What is no UTF-8 can only be in fields that nobody here reads, such as names of people.
        let text = String::from_utf8_lossy(&self.raw);
        match text.parse() {
            Ok(fields) => Ok(Paragraph { fields, place }),
            Err(error) => Err(Error::failed(format!(
                "{place}: not a paragraph of `Field: value` lines: {}",
                shown(&error.to_string())
            ))
            .with_hint("is this a list of Debian packages?")),
        }
    }
}

impl Paragraph {
    /// A field's value without its blanks; `None` if it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .map(str::trim)
            .filter(|v| !v.is_empty())
    }

    /// The same, or an empty text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.get(name)
            .ok_or_else(|| Error::failed(format!("{}: no field `{name}`", self.place)))
    }

    /// A field that must be there and be what `parse` takes.
    pub(super) fn parsed<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let value = self.required(name)?;
        parse(value).ok_or_else(|| self.wrong(name, value))
    }

    /// The same for a field that may be missing.
    pub(super) fn maybe<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        self.get(name)
            .map(|value| parse(value).ok_or_else(|| self.wrong(name, value)))
            .transpose()
    }

    /// Where the paragraph is.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    fn wrong(&self, name: &str, value: &str) -> Error {
        Error::failed(format!(
            "{}: `{name}` cannot be `{}`",
            self.place,
            shown(value)
        ))
    }
}

/// The beginning of a text that may be long or hold control characters.
pub(super) fn shown(text: &str) -> String {
    let mut letters = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .fuse();
    let mut shown: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(String, String)>> {
        let mut paragraphs = Paragraphs::new(text, "Packages");
        let mut all = Vec::new();
        while let Some(paragraph) = paragraphs.next()? {
            let name = paragraph.required("Package")?.to_owned();
            all.push((paragraph.place().to_owned(), name));
        }
        Ok(all)
    }

    #[test]
    fn paragraphs_come_with_their_lines() {
        let text = b"\n# note\nPackage: a\nDepends: b,\n c\n\n \nPackage: d\n# within\nVersion: 1";
        let found = read(text).unwrap();
        let wanted = [("Packages, line 3", "a"), ("Packages, line 8", "d")];
        assert_eq!(found, wanted.map(|(p, n)| (p.to_owned(), n.to_owned())));
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read(b"\n\n").unwrap(), []);
    }

    #[test]
    fn what_is_no_paragraph_is_told_with_its_line() {
        for (text, wanted) in [
            (
                &b"Package: a\n\nnonsense\n"[..],
                "Packages, line 3: not a paragraph",
            ),
            (b" begins: indented\n", "Packages, line 1: not a paragraph"),
            (b"Version: 1\n", "Packages, line 1: no field `Package`"),
            (
                b"\xff\x00\xfe\n",
                "Packages, line 1: not a paragraph of `Field: value` lines",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_paragraph_without_end_is_refused() {
        let line = b"Package: a".repeat(1 << 18);
        let error = read(&line).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        let lines = b"F: a\n".repeat(1 << 18);
        let error = read(&lines).unwrap_err().to_string();
        assert!(error.contains("line 209716"), "{error}");
    }

    #[test]
    fn long_and_strange_texts_are_shortened() {
        assert_eq!(shown("a\nb"), "a b");
        assert_eq!(shown(&"é".repeat(100)).chars().count(), 61);
    }
}
