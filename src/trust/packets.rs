//! Signatures and certificates out of bytes, binary or armored.

use std::io::Read;

use pgp::armor::{BlockType, Dearmor, DearmorOptions};
use pgp::composed::{Deserializable, SignedPublicKey};
use pgp::errors::Error as ParseError;
use pgp::packet::{Packet, PacketParser, PacketTrait, Signature};

/// The longest file of detached signatures, in bytes. Debian's three take 2.5 KB.
const MAX_SIGNATURES_LEN: usize = 64 << 10;
/// The most signatures of one file. Each may cost a pass over the data.
const MAX_SIGNATURES: usize = 16;
/// The longest file of keys, in bytes. Debian's keyring has 56 KB.
const MAX_KEYS_LEN: usize = 1 << 20;
/// The most certificates and broken certificates of one file.
const MAX_KEYS: usize = 1000;

/// The signatures in `bytes`, each as far as it can be read: one good one is enough.
pub fn signatures(bytes: &[u8]) -> Result<Vec<Result<Signature, String>>, String> {
    let binary = binary(bytes, BlockType::Signature, MAX_SIGNATURES_LEN)?;
    let mut signatures = Vec::new();
    for packet in PacketParser::new(binary.as_slice()) {
        match packet {
            Ok(Packet::Signature(signature)) => signatures.push(Ok(signature)),
            Ok(Packet::Marker(_) | Packet::Padding(_)) => {}
            Ok(other) => {
                let kind = other.tag();
                return Err(format!("a packet {kind:?} is where a signature should be"));
            }
            Err(why) => signatures.push(Err(reason(&why))),
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(format!("there are more than {MAX_SIGNATURES} signatures"));
        }
    }
    match signatures.is_empty() {
        true => Err("there is no signature in it".to_owned()),
        false => Ok(signatures),
    }
}

/// The certificates in `bytes`; what cannot be read among them is left out.
pub fn certificates(bytes: &[u8]) -> Result<Vec<SignedPublicKey>, String> {
    let binary = binary(bytes, BlockType::PublicKey, MAX_KEYS_LEN)?;
    let all = SignedPublicKey::from_bytes_many(binary.as_slice()).map_err(|why| reason(&why))?;
    let readable: Vec<SignedPublicKey> = all.take(MAX_KEYS).flatten().collect();
    match readable.is_empty() {
        true => Err("there is no OpenPGP public key in it".to_owned()),
        false => Ok(readable),
    }
}

/// The packets of `bytes`, out of their armor if they have one. Armored blocks may follow each other
/// and have text around them.
fn binary(bytes: &[u8], kind: BlockType, limit: usize) -> Result<Vec<u8>, String> {
    if bytes.len() > limit {
        let (len, limit) = (bytes.len() / 1024, limit / 1024);
        return Err(format!("{len} KiB are more than the {limit} KiB expected"));
    }
    match bytes.first() {
        None => return Err("it is empty".to_owned()),
        // All packets begin with a byte above 127 (RFC 9580, 4.2), no text does.
        Some(first) if first & 0x80 != 0 => return Ok(bytes.to_vec()),
        Some(_) => {}
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is neither binary nor text")?;
    let starts = text.match_indices("-----BEGIN PGP ").map(|(at, _)| at);
    let starts: Vec<usize> = starts
        .filter(|at| *at == 0 || text[..*at].ends_with('\n'))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let mut packets = Vec::new();
    for (start, end) in starts.iter().zip(ends) {
        packets.extend(dearmored(&text[*start..end], kind, limit)?);
    }
    match starts.is_empty() {
        true => Err("it is no OpenPGP data".to_owned()),
        false => Ok(packets),
    }
}

fn dearmored(block: &str, kind: BlockType, limit: usize) -> Result<Vec<u8>, String> {
    // Told apart from what the armor crate says of it, which is that its input ended.
    if !block.contains("\n-----END PGP ") {
        return Err("its armor is cut off".to_owned());
    }
    let options = DearmorOptions::default().set_limit(limit);
    let mut armor = Dearmor::with_options(block.as_bytes(), options);
    armor.read_header().map_err(|why| reason(&why))?;
    if armor.typ != Some(kind) {
        return Err(format!("it is not a {kind}"));
    }
    let mut packets = Vec::new();
    let read = armor.read_to_end(&mut packets);
    read.map_err(|why| format!("its armor is damaged: {why}"))?;
    Ok(packets)
}

/// The first line of what the parser says; the others are for its developers.
fn reason(why: &ParseError) -> String {
    let text = why.to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}
