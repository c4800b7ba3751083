//! Making authorities, and signing with them.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use zeroize::Zeroizing;

use super::certificate::{self, Certificate};
use super::name;
use super::p256::Key;
use crate::clock;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pem;

/// The first day that anything is valid on: a Pi has no clock, and may wake up years behind.
const FIRST: (i32, u8, u8) = (2020, 1, 1);

/// The last day of an authority. Later ones are written in another form of date, which old programs do
/// not read.
const LAST: (i32, u8, u8) = (2049, 12, 31);

const DAY: i64 = 86_400;

/// A certificate and its key, both in PEM.
pub struct Made {
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// What an authority is for.
pub struct Plan<'a> {
    /// The cluster, or whoever it belongs to.
    pub owner: &'a str,
    pub name: &'a str,
    /// The only domain that it may sign for; `None`: it is not about domains.
    pub domain: Option<&'a str>,
}

/// Makes an authority that is signed by itself. Each has another name, by its key: computers that trust
/// an older one of the same cluster tell them apart.
pub fn make(plan: &Plan<'_>) -> Result<Made> {
    let key = Key::generate()?;
    let id = Digest::of_bytes(key.point()).to_string();
    let mut params = params();
    params.not_after = date_time_ymd(LAST.0, LAST.1, LAST.2);
    params.distinguished_name = distinguished(&[
        (DnType::OrganizationName, plan.owner),
        (DnType::CommonName, &format!("{}@{}", plan.name, &id[..8])),
    ]);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    // Those of a cluster must be able to sign their successors when they are rotated.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if let Some(domain) = plan.domain {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
            excluded_subtrees: Vec::new(),
        });
    }
    let made = params.self_signed(key.pair()).map_err(cannot_sign)?;
    Ok(Made {
        certificate: pem::encode(certificate::LABEL, made.der(), pem::LINE).to_string(),
        key: key.pem()?,
    })
}

/// An authority that signs.
pub struct Signer<'a> {
    pub certificate: &'a Certificate,
    pub key: &'a Key,
}

/// Who a client certificate is for, and until when.
pub struct Client<'a> {
    pub user: &'a str,
    pub group: &'a str,
    /// Seconds since 1970.
    pub until: i64,
}

impl Signer<'_> {
    /// A certificate for a client of Kubernetes: the common name is the user, the organization the group.
    pub fn client(&self, client: &Client<'_>) -> Result<Made> {
        let issuer_name = name::parse(&self.certificate.subject).ok_or_else(|| {
            Error::usage("the name of the client authority is in a form that imgbuild cannot write")
        })?;
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = issuer_name;
        if let Some(id) = &self.certificate.key_identifier {
            issuer.key_identifier_method = KeyIdMethod::PreSpecified(id.clone());
        }
        let issuer = Issuer::new(issuer, self.key.pair());
        let key = Key::generate()?;
        let mut params = params();
        // The day after: certificates end at midnight here, and nobody should get less than was asked.
        let (year, month, day) = clock::civil(client.until.div_euclid(DAY) + 1);
        params.not_after = date_time_ymd(year as i32, month as u8, day as u8);
        params.distinguished_name = distinguished(&[
            (DnType::OrganizationName, client.group),
            (DnType::CommonName, client.user),
        ]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(key.pair(), &issuer).map_err(cannot_sign)?;
        Ok(Made {
            certificate: pem::encode(certificate::LABEL, made.der(), pem::LINE).to_string(),
            key: key.pem()?,
        })
    }
}

/// What all certificates have: their issuer's key is named, without which k3s takes an intermediate
/// authority for a root, and they are dated back.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(FIRST.0, FIRST.1, FIRST.2);
    params
}

fn distinguished(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, text) in parts {
        name.push(kind.clone(), *text);
    }
    name
}

fn cannot_sign(error: rcgen::Error) -> Error {
    Error::failed("cannot make a certificate").with_source(error)
}
