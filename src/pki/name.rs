//! The name of an authority, as it must stand in what the authority signs.

use rcgen::string::{Ia5String, PrintableString};
use rcgen::{DistinguishedName, DnType, DnValue};

use super::der::{OID, Reader, SEQUENCE, SET};

const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;

/// The name whose DER content is `der`, to be written again the same way; `None` for forms that are rare.
pub fn parse(der: &[u8]) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    let mut parts = Reader(der);
    while !parts.0.is_empty() {
        let mut set = Reader(parts.expect(SET)?);
        let mut pair = Reader(set.expect(SEQUENCE)?);
        let kind = DnType::from_oid(&numbers(pair.expect(OID)?)?);
        let (tag, bytes) = pair.next()?;
        let text = std::str::from_utf8(bytes).ok()?;
        let value = match tag {
            UTF8 => DnValue::Utf8String(text.to_owned()),
            PRINTABLE => DnValue::PrintableString(PrintableString::try_from(text).ok()?),
            IA5 => DnValue::Ia5String(Ia5String::try_from(text).ok()?),
            _ => return None,
        };
        if !set.0.is_empty() || name.get(&kind).is_some() {
            return None;
        }
        name.push(kind, value);
    }
    Some(name)
}

/// The numbers of an object identifier.
fn numbers(der: &[u8]) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for byte in der {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let first = numbers.first_mut()?;
    let top = (*first / 40).min(2);
    *first -= top * 40;
    numbers.insert(0, top);
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers() {
        assert_eq!(numbers(&[0x55, 4, 3]), Some(vec![2, 5, 4, 3]));
        assert_eq!(
            numbers(&[0x2a, 0x86, 0x48, 0xce, 0x3d]),
            Some(vec![1, 2, 840, 10045])
        );
        assert_eq!(numbers(&[]), None);
    }
}
