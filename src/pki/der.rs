//! Reading DER (X.690): tags, lengths, contents. As much of it as certificates need.

pub const BOOLEAN: u8 = 0x01;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OID: u8 = 0x06;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// What is left to read of the content of something.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next tag and its content.
    pub fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Longer lengths are those of files that are no certificates.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next, which has this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }

    /// The content of the next if it has this tag; else nothing is read.
    pub fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let content = ahead.expect(tag)?;
        *self = ahead;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_lengths() {
        let long = [&[0x04, 0x81, 200][..], &[7; 200]].concat();
        let mut reader = Reader(&long);
        assert_eq!(reader.next(), Some((OCTET_STRING, &[7; 200][..])));
        assert_eq!(reader.next(), None);
        let mut reader = Reader(&[0x01, 1, 0xff, 0x06, 0]);
        assert_eq!(reader.optional(OID), None);
        assert_eq!(reader.optional(BOOLEAN), Some(&[0xff][..]));
        assert_eq!(reader.expect(OID), Some(&[][..]));
    }

    #[test]
    fn what_ends_too_early_is_nothing() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0x80],
            &[0x30, 0x84, 0, 0, 0, 0],
        ] {
            assert_eq!(Reader(bytes).next(), None, "{bytes:?}");
        }
    }
}
