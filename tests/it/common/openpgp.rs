//! Makes OpenPGP keys and signatures, good ones and all kinds of bad ones, in bytes that are the same
//! every time.
//!
//! `TestKey::new(1)` is a key that signs; `.detached(data)` and `.clearsigned(text)` sign with it;
//! `.trust(purpose)` makes imgbuild trust it.

use imgbuild::trust::{Fingerprint, OwnKey, Purpose, Trust};
use pgp::armor::{self, BlockType};
use pgp::composed::{CleartextSignedMessage, KeyType};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, Notation, PacketTrait, PubKeyInner, PublicKey, PublicSubkey, RevocationCode,
    SecretKey, SecretSubkey, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData,
    UserId,
};
use pgp::ser::Serialize;
use pgp::types::{
    Duration, KeyDetails, KeyVersion, PacketHeaderVersion, Password, SigningKey, Tag, Timestamp,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// When test keys are made: 2023-11-14.
pub const CREATED: i64 = 1_700_000_000;
/// When they sign, if nothing else is said: a day later.
pub const SIGNED: i64 = CREATED + 86_400;
/// A later day to verify at: 2026-05-28.
pub const NOW: i64 = 1_780_000_000;

/// How a signature is made.
#[derive(Clone)]
pub struct Made {
    /// When, in seconds since 1970; `None`: the signature does not say.
    pub at: Option<i64>,
    pub hash: HashAlgorithm,
    /// Seconds until the signature expires; 0: never.
    pub life: u32,
    /// Of a self-signature or a binding: seconds until the key expires; 0: never.
    pub key_life: u32,
    /// Of a self-signature or a binding: whether the key may sign data.
    pub signs: bool,
    /// Whether the subkey signs its primary key, as a key that signs must.
    pub back: bool,
    /// A critical notation that nobody knows.
    pub notation: bool,
    /// Whether the signature names the key that made it.
    pub issuer: bool,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            at: Some(SIGNED),
            hash: HashAlgorithm::Sha256,
            life: 0,
            key_life: 0,
            signs: true,
            back: true,
            notation: false,
            issuer: true,
        }
    }
}

/// A key with its secret. It signs with its subkey, if it has one.
pub struct TestKey {
    primary: SecretKey,
    subkey: Option<SecretSubkey>,
    user: UserId,
    own: Vec<Signature>,
    bindings: Vec<Signature>,
    revocations: Vec<Signature>,
}

impl TestKey {
    /// An Ed25519 key that may sign. Another `seed` is another key.
    pub fn new(seed: u64) -> Self {
        Self::bare(seed).self_signed(&Made::default())
    }

    /// A key that certifies, with a subkey that signs, as Debian's are.
    pub fn with_subkey(seed: u64) -> Self {
        let certifies = Made {
            signs: false,
            ..Made::default()
        };
        Self::bare(seed)
            .self_signed(&certifies)
            .bound(seed, &Made::default())
    }

    /// A key without self-signature.
    pub fn bare(seed: u64) -> Self {
        let key = PublicKey::from_inner(key_pair(seed).0).unwrap();
        let user = format!("Test Key {seed} <key{seed}@example.org>");
        Self {
            primary: SecretKey::new(key, key_pair(seed).1).unwrap(),
            subkey: None,
            user: UserId::from_str(PacketHeaderVersion::New, user).unwrap(),
            own: Vec::new(),
            bindings: Vec::new(),
            revocations: Vec::new(),
        }
    }

    /// With one more self-signature.
    pub fn self_signed(mut self, made: &Made) -> Self {
        let config = config(SignatureType::CertPositive, &self.primary, made);
        let public = self.primary.public_key();
        let password = Password::empty();
        let user = &self.user;
        let signed = config.sign_certification(&self.primary, public, &password, Tag::UserId, user);
        self.own.push(said_to_use(made.hash, signed.unwrap()));
        self
    }

    /// With a subkey, or with one more binding of it.
    pub fn bound(mut self, seed: u64, made: &Made) -> Self {
        let (public, secret) = key_pair(seed + 1_000_000);
        let public = PublicSubkey::from_inner(public).unwrap();
        let subkey = SecretSubkey::new(public, secret).unwrap();
        let (password, primary) = (Password::empty(), self.primary.public_key());
        let mut binding = config(SignatureType::SubkeyBinding, &self.primary, made);
        if made.back {
            let back = config(SignatureType::KeyBinding, &subkey, made);
            let back =
                back.sign_primary_key_binding(&subkey, subkey.public_key(), &password, primary);
            let back = said_to_use(made.hash, back.unwrap());
            let back = SubpacketData::EmbeddedSignature(Box::new(back));
            binding.hashed_subpackets.push(regular(back));
        }
        let binding =
            binding.sign_subkey_binding(&self.primary, primary, &password, subkey.public_key());
        let binding = said_to_use(made.hash, binding.unwrap());
        self.bindings.push(binding);
        self.subkey = Some(subkey);
        self
    }

    /// The key, revoked at [`SIGNED`].
    pub fn revoked(mut self, reason: &str) -> Self {
        let mut config = config(
            SignatureType::KeyRevocation,
            &self.primary,
            &Made::default(),
        );
        let reason = reason.to_owned().into_bytes().into();
        let reason = SubpacketData::RevocationReason(RevocationCode::KeyCompromised, reason);
        config.hashed_subpackets.push(regular(reason));
        let revocation =
            config.sign_key(&self.primary, &Password::empty(), self.primary.public_key());
        self.revocations.push(revocation.unwrap());
        self
    }

    /// The key with its subkey revoked at [`SIGNED`].
    pub fn subkey_revoked(mut self) -> Self {
        let made = Made::default();
        let config = config(SignatureType::SubkeyRevocation, &self.primary, &made);
        let subkey = self.subkey.as_ref().unwrap().public_key();
        let primary = self.primary.public_key();
        let revocation =
            config.sign_subkey_binding(&self.primary, primary, &Password::empty(), subkey);
        self.bindings.push(revocation.unwrap());
        self
    }

    /// Of the primary key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::parse(&self.primary.fingerprint().to_string()).unwrap()
    }

    pub fn subkey_fingerprint(&self) -> Fingerprint {
        let subkey = self.subkey.as_ref().unwrap();
        Fingerprint::parse(&subkey.fingerprint().to_string()).unwrap()
    }

    /// The certificate, binary.
    pub fn public(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet(&mut bytes, self.primary.public_key());
        self.revocations.iter().for_each(|s| packet(&mut bytes, s));
        packet(&mut bytes, &self.user);
        self.own.iter().for_each(|s| packet(&mut bytes, s));
        bytes.extend(self.subkey_packets());
        bytes
    }

    /// The end of the certificate: the subkey, if there is one, and what binds it.
    pub fn subkey_packets(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(subkey) = &self.subkey {
            packet(&mut bytes, subkey.public_key());
            self.bindings.iter().for_each(|s| packet(&mut bytes, s));
        }
        bytes
    }

    /// The certificate, armored.
    pub fn armored_public(&self) -> Vec<u8> {
        armored(&self.public(), BlockType::PublicKey)
    }

    /// A detached signature, binary.
    pub fn detached(&self, data: &[u8]) -> Vec<u8> {
        self.detached_as(data, &Made::default())
    }

    /// The same, made as one likes.
    pub fn detached_as(&self, data: &[u8], made: &Made) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet(&mut bytes, &self.sign(SignatureType::Binary, data, made));
        bytes
    }

    /// A text with a signature in it, as `InRelease` is.
    pub fn clearsigned(&self, text: &str) -> Vec<u8> {
        clearsigned(text, &[(self, Made::default())])
    }

    /// What makes imgbuild trust this key.
    pub fn trust(&self, purpose: Purpose) -> Trust {
        Trust {
            own: vec![OwnKey {
                purpose,
                fingerprint: self.fingerprint(),
                key: self.public(),
            }],
        }
    }

    fn sign(&self, typ: SignatureType, data: &[u8], made: &Made) -> Signature {
        let password = Password::empty();
        let signed = match &self.subkey {
            Some(subkey) => config(typ, subkey, made).sign(subkey, &password, data),
            None => config(typ, &self.primary, made).sign(&self.primary, &password, data),
        };
        said_to_use(made.hash, signed.unwrap())
    }
}

/// `signature`, which then says that it uses `hash`. `pgp` signs with no weak ones, so such a signature
/// is not only weak but wrong, too; GnuPG makes right ones.
fn said_to_use(hash: HashAlgorithm, signature: Signature) -> Signature {
    let config = signature.config().unwrap();
    if config.hash_alg == hash {
        return signature;
    }
    let config = SignatureConfig {
        hash_alg: hash,
        ..config.clone()
    };
    let value = signature.signed_hash_value().unwrap();
    let bytes = signature.signature().unwrap().clone();
    Signature::from_config(config, value, bytes).unwrap()
}

/// A text signed by several keys.
pub fn clearsigned(text: &str, keys: &[(&TestKey, Made)]) -> Vec<u8> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let message = CleartextSignedMessage::new_many(text, |text| {
        let sign = |(key, made): &(&TestKey, Made)| {
            let typ = SignatureType::Text;
            key.sign(typ, text.as_bytes(), made)
        };
        Ok(keys.iter().map(sign).collect())
    });
    let options = pgp::composed::ArmorOptions::default();
    message.unwrap().to_armored_bytes(options).unwrap()
}

/// Binary packets in armor.
pub fn armored(packets: &[u8], typ: BlockType) -> Vec<u8> {
    struct Raw<'a>(&'a [u8]);
    impl Serialize for Raw<'_> {
        fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
            Ok(writer.write_all(self.0)?)
        }
        fn write_len(&self) -> usize {
            self.0.len()
        }
    }
    let mut text = Vec::new();
    armor::write(&Raw(packets), typ, &mut text, None, true).unwrap();
    text
}

fn key_pair(seed: u64) -> (PubKeyInner, pgp::types::SecretParams) {
    let kind = KeyType::Ed25519Legacy;
    let (public, secret) = kind.generate(StdRng::seed_from_u64(seed)).unwrap();
    let created = Timestamp::from_secs(u32::try_from(CREATED).unwrap());
    let version = KeyVersion::V4;
    let public = PubKeyInner::new(version, kind.to_alg(), created, None, public).unwrap();
    (public, secret)
}

fn config(typ: SignatureType, key: &impl SigningKey, made: &Made) -> SignatureConfig {
    let weak = [
        HashAlgorithm::Md5,
        HashAlgorithm::Sha1,
        HashAlgorithm::Ripemd160,
    ];
    let hash = match weak.contains(&made.hash) {
        true => HashAlgorithm::Sha256,
        false => made.hash,
    };
    let mut config = SignatureConfig::v4(typ, key.algorithm(), hash);
    let mut hashed = Vec::new();
    if let Some(at) = made.at {
        let at = Timestamp::from_secs(u32::try_from(at).unwrap());
        hashed.push(SubpacketData::SignatureCreationTime(at));
    }
    if made.issuer {
        hashed.push(SubpacketData::IssuerFingerprint(key.fingerprint()));
    }
    if made.life > 0 {
        let life = Duration::from_secs(made.life);
        hashed.push(SubpacketData::SignatureExpirationTime(life));
    }
    let of_a_key = [SignatureType::CertPositive, SignatureType::SubkeyBinding];
    if of_a_key.contains(&typ) {
        let mut flags = KeyFlags::default();
        flags.set_certify(typ == SignatureType::CertPositive);
        flags.set_sign(made.signs);
        hashed.push(SubpacketData::KeyFlags(flags));
        if made.key_life > 0 {
            let life = Duration::from_secs(made.key_life);
            hashed.push(SubpacketData::KeyExpirationTime(life));
        }
    }
    config.hashed_subpackets = hashed.into_iter().map(regular).collect();
    if made.notation {
        let notation = SubpacketData::Notation(Notation {
            readable: true,
            name: "seal@example.org".into(),
            value: "1".into(),
        });
        let critical = Subpacket::critical(notation).unwrap();
        config.hashed_subpackets.push(critical);
    }
    config
}

fn regular(data: SubpacketData) -> Subpacket {
    Subpacket::regular(data).unwrap()
}

fn packet(bytes: &mut Vec<u8>, packet: &impl PacketTrait) {
    packet.to_writer_with_header(bytes).unwrap();
}
