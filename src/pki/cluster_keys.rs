//! The tables of `secrets.toml` that hold keys: made once, and checked whenever they are used.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::authority::{self, Plan};
use super::certificate::Certificate;
use super::p256::{self, Key};
use super::purpose::{LOCAL_CA, Owner, Purpose, SERVICE};
use crate::clock;
use crate::error::Result;
use crate::pem;
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::{Secret, Table, Tables};

const DAY: i64 = 86_400;
/// Nothing is built with an authority that ends sooner.
const TOO_SOON: i64 = 90 * DAY;
/// What k3s signs is valid for a year, if the authority is: the user is told before that.
const SOON: i64 = 400 * DAY;

const RESTORE: &str =
    "restore it from your copy of the file; a new one would not fit the cluster that runs";

/// An authority that was read: its certificate and its key.
pub struct Pair {
    pub certificate: Certificate,
    pub key: Key,
}

/// The tables that `wanted` needs and `tables` has not. The keys of a cluster come together: where one of
/// them is there, a missing one is an error of [`verify`].
pub fn make_missing(
    tables: &Tables,
    wanted: &BTreeSet<Purpose>,
    owner: &Owner<'_>,
) -> Result<Vec<(&'static str, Table)>> {
    let mut made = Vec::new();
    for purpose in wanted {
        if purpose.is_in(tables) {
            continue;
        }
        for name in purpose.authorities() {
            made.push((*name, new_authority(name, owner)?));
        }
        if *purpose == Purpose::Cluster {
            let key = Key::generate()?.pem()?;
            made.push((SERVICE, Table::from([("key".to_owned(), secret(key))])));
        }
    }
    Ok(made)
}

fn new_authority(name: &str, owner: &Owner<'_>) -> Result<Table> {
    let domain = (name == LOCAL_CA).then_some(owner.domain);
    let made = authority::make(&Plan {
        owner: owner.cluster,
        name,
        domain,
    })?;
    let mut table = Table::from([
        ("certificate".to_owned(), Secret::new(made.certificate)),
        ("key".to_owned(), secret(made.key)),
    ]);
    if let Some(domain) = domain {
        table.insert("domain".to_owned(), Secret::new(domain.to_owned()));
    }
    Ok(table)
}

fn secret(mut text: Zeroizing<String>) -> Secret {
    Secret::new(std::mem::take(&mut *text))
}

/// Collects what is wrong with the keys of `wanted`, as far as there are any, and returns what the user should
/// know. `place` names the file; `now` is in seconds since 1970.
pub fn verify(
    tables: &Tables,
    wanted: &BTreeSet<Purpose>,
    owner: &Owner<'_>,
    (place, now): (&str, i64),
    problems: &mut Problems,
) -> Vec<String> {
    let mut notes = Vec::new();
    for purpose in wanted {
        if !purpose.is_in(tables) {
            continue;
        }
        let mut seen: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
        for name in purpose.authorities() {
            let tell = |what: String, hint: &str| {
                Problem::new(format!("{place}: [{name}]"), what).with_hint(hint)
            };
            let pair = match pair(tables, name) {
                Ok(pair) => pair,
                Err(what) => {
                    problems.push(tell(what, RESTORE));
                    continue;
                }
            };
            let until = clock::date_of(pair.certificate.not_after);
            match pair.certificate.not_after - now {
                ..0 => problems.push(tell(format!("`certificate` expired on {until}"), ROTATE)),
                0..TOO_SOON => {
                    problems.push(tell(format!("`certificate` expires on {until}"), ROTATE))
                }
                TOO_SOON..SOON => notes.push(format!(
                    "{place}: [{name}] expires on {until}; docs/secrets.md shows how to replace it"
                )),
                _ => {}
            }
            // `now` may be the beginning of the day.
            if pair.certificate.not_before >= now + DAY {
                let from = clock::date_of(pair.certificate.not_before);
                let hint = "date it back: nodes have no clock when they start";
                problems.push(tell(
                    format!("`certificate` is not valid before {from}"),
                    hint,
                ));
            }
            if let Some(other) = seen.insert(pair.certificate.public_key, name) {
                let what = format!("has the key of [{other}], so one could sign for the other");
                problems.push(tell(what, RESTORE));
            }
        }
        if *purpose == Purpose::Cluster
            && let Err(what) = check_service(tables)
        {
            problems.push(Problem::new(format!("{place}: [{SERVICE}]"), what).with_hint(RESTORE));
        }
        let domain = tables.value(LOCAL_CA, "domain");
        if let (Purpose::LocalCa, Some(domain)) = (purpose, domain)
            && domain.expose() != owner.domain
        {
            let what = format!(
                "the authority may only sign for {}, and `network.domain` is {}",
                domain.expose(),
                owner.domain
            );
            let hint = "remove the table [local-ca], and `local-ca` from imgbuild.lock: the next build makes another, which all devices must be told to trust";
            problems.push(Problem::new(format!("{place}: [{LOCAL_CA}]"), what).with_hint(hint));
        }
    }
    notes
}

const ROTATE: &str = "docs/secrets.md shows how to replace an authority";

/// The authority in the table `name`. The error says what is wrong with it.
pub fn pair(tables: &Tables, name: &str) -> Result<Pair, String> {
    let value = |key: &str| {
        let value = tables.value(name, key);
        value.ok_or_else(|| format!("`{key}` is missing"))
    };
    let certificate = Certificate::parse(value("certificate")?.expose())
        .map_err(|what| format!("`certificate` {what}"))?;
    certificate
        .check_authority()
        .map_err(|what| format!("`certificate` {what}"))?;
    let key = Key::parse(value("key")?.expose()).map_err(|what| format!("`key` {what}"))?;
    if key.point() != certificate.public_key {
        return Err("`key` is not that of `certificate`".to_owned());
    }
    Ok(Pair { certificate, key })
}

/// One key or several, of which the first signs. k3s itself makes an RSA key.
fn check_service(tables: &Tables) -> Result<(), String> {
    let key = tables.value(SERVICE, "key").ok_or("`key` is missing")?;
    let blocks = pem::decode(key.expose()).map_err(|what| format!("`key` {what}"))?;
    let mut keys = blocks
        .iter()
        .filter(|block| block.label.ends_with("PRIVATE KEY"));
    let fits = |label: &str| label == p256::LABEL || label == "RSA PRIVATE KEY";
    if blocks.is_empty() || !keys.all(|block| fits(&block.label)) {
        return Err(
            "`key` is neither in SEC1 (`EC PRIVATE KEY`) nor in PKCS #1 (`RSA PRIVATE KEY`)"
                .to_owned(),
        );
    }
    match blocks.as_slice() {
        [only] if only.label == p256::LABEL => Key::parse(key.expose())
            .map(drop)
            .map_err(|what| format!("`key` {what}")),
        _ => Ok(()),
    }
}
