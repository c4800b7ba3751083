//! The certificate of an authority, as far as it decides about what the authority can do (RFC 5280).

use super::der::{
    BIT_STRING, BOOLEAN, GENERALIZED_TIME, OCTET_STRING, OID, Reader, SEQUENCE, UTC_TIME,
};
use crate::clock;
use crate::pem;

/// The label of a PEM block with a certificate.
pub const LABEL: &str = "CERTIFICATE";

const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const KEY_CERT_SIGN: u8 = 0x04;

/// What is known of a certificate.
#[derive(Debug)]
pub struct Certificate {
    /// Seconds since 1970, both.
    pub not_before: i64,
    pub not_after: i64,
    /// DER content of the subject's name.
    pub subject: Vec<u8>,
    /// DER content of the issuer's name.
    pub issuer: Vec<u8>,
    /// The bits of the public key.
    pub public_key: Vec<u8>,
    pub key_identifier: Option<Vec<u8>>,
    is_authority: bool,
    may_sign: bool,
    has_purposes: bool,
}

impl Certificate {
    /// The one certificate of a PEM text. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let blocks = pem::decode(text)?;
        let [block] = blocks.as_slice() else {
            return Err(format!("holds {} certificates, not one", blocks.len()));
        };
        if block.label != LABEL {
            return Err("is not a certificate".to_owned());
        }
        read(&block.der).ok_or_else(|| "is not a certificate that can be read".to_owned())
    }

    /// Errors when it is not that of an authority which signs for servers and clients by itself.
    pub fn check_authority(&self) -> Result<(), String> {
        if !self.is_authority || !self.may_sign {
            Err("is not that of an authority: it needs CA:TRUE, and keyCertSign in its key usage")
        } else if self.has_purposes {
            Err("has an extended key usage, which k3s does not take in an authority")
        } else if self.subject != self.issuer {
            Err("is not signed by itself: each authority of a cluster stands alone")
        } else {
            Ok(())
        }
        .map_err(str::to_owned)
    }
}

fn read(der: &[u8]) -> Option<Certificate> {
    let mut signed = Reader(Reader(der).expect(SEQUENCE)?);
    let mut body = Reader(signed.expect(SEQUENCE)?);
    let version = 0xa0;
    body.optional(version);
    // Serial number and algorithm.
    body.next()?;
    body.expect(SEQUENCE)?;
    let issuer = body.expect(SEQUENCE)?;
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let subject = body.expect(SEQUENCE)?;
    let mut key = Reader(body.expect(SEQUENCE)?);
    key.expect(SEQUENCE)?;
    // The first byte counts unused bits.
    let public_key = key.expect(BIT_STRING)?.get(1..)?;
    let mut found = Certificate {
        not_before: time(&mut validity)?,
        not_after: time(&mut validity)?,
        subject: subject.to_vec(),
        issuer: issuer.to_vec(),
        public_key: public_key.to_vec(),
        key_identifier: None,
        is_authority: false,
        // Without a key usage everything is allowed.
        may_sign: true,
        has_purposes: false,
    };
    while let Some((tag, content)) = body.next() {
        let extensions = 0xa3;
        if tag == extensions {
            let mut list = Reader(Reader(content).expect(SEQUENCE)?);
            while !list.0.is_empty() {
                extension(&mut found, list.expect(SEQUENCE)?)?;
            }
        }
    }
    Some(found)
}

fn extension(found: &mut Certificate, der: &[u8]) -> Option<()> {
    let mut extension = Reader(der);
    let kind = extension.expect(OID)?;
    // Whether it is critical.
    extension.optional(BOOLEAN);
    let mut value = Reader(extension.expect(OCTET_STRING)?);
    match kind {
        BASIC_CONSTRAINTS => {
            let mut constraints = Reader(value.expect(SEQUENCE)?);
            found.is_authority = constraints.optional(BOOLEAN).is_some_and(|b| b != [0]);
        }
        KEY_USAGE => {
            let bits = value.expect(BIT_STRING)?;
            found.may_sign = bits.get(1).is_some_and(|bits| bits & KEY_CERT_SIGN != 0);
        }
        SUBJECT_KEY_IDENTIFIER => found.key_identifier = Some(value.expect(OCTET_STRING)?.to_vec()),
        EXTENDED_KEY_USAGE => found.has_purposes = true,
        _ => {}
    }
    Some(())
}

/// Seconds since 1970.
fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let (tag, bytes) = reader.next()?;
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.is_ascii())?;
    let text = match tag {
        GENERALIZED_TIME => text.to_owned(),
        // RFC 5280, 4.1.2.5.1
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, rest) = (part(8, 10)?, part(10, 12)?, part(12, text.len())?);
    clock::parse_utc(&format!("{year}-{month}-{day}T{hour}:{minute}:{rest}"))
}
