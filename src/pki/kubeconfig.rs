//! Kubeconfigs: access to a cluster that need not have booted yet.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::authority::{Client, Signer};
use super::certificate::Certificate;
use super::cluster_keys::pair;
use super::purpose::{CLIENT_CA, SERVER_CA};
use crate::clock;
use crate::error::{Error, Result};
use crate::secrets::Tables;

/// How the file begins, by which imgbuild knows what it may replace.
const HEAD: &str = "# Written by imgbuild";

const DAY: i64 = 86_400;

/// A kubeconfig with less time left is replaced by a build.
const FRESH: i64 = 7 * DAY;

/// More than a kubeconfig has, in bytes.
const ROOM: usize = 16 << 10;

/// Longest name of a user or a group: what certificates allow (RFC 5280, appendix A.1).
const LONGEST_NAME: usize = 64;

/// Who may enter, and for how long.
#[derive(Debug, Clone)]
pub struct Access {
    pub user: String,
    /// A group of Kubernetes, such as `system:masters`.
    pub group: String,
    pub days: u32,
}

impl Default for Access {
    /// An administrator for a month: Kubernetes cannot take a certificate back.
    fn default() -> Self {
        Self {
            user: "imgbuild-admin".to_owned(),
            group: "system:masters".to_owned(),
            days: 30,
        }
    }
}

/// A kubeconfig. It holds a key.
pub struct Kubeconfig {
    pub text: Zeroizing<String>,
    /// Its last day, `YYYY-MM-DD`.
    pub until: String,
}

/// The cluster that a kubeconfig leads to.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: String,
    /// URL of the API server.
    pub server: String,
}

impl Kubeconfig {
    /// Makes one with a new key. `now` is what the clock says, in seconds since 1970: this is no part of an
    /// image, and of use only from now on.
    pub fn make(tables: &Tables, place: &Place, access: &Access, now: i64) -> Result<Self> {
        check_name("--user", &access.user)?;
        check_name("--group", &access.group)?;
        let broken = |what: String| Error::usage(format!("secrets.toml: [{CLIENT_CA}]: {what}"));
        let client_ca = pair(tables, CLIENT_CA).map_err(broken)?;
        let server_ca = authority_data(tables)?;
        let until = now + i64::from(access.days) * DAY;
        if until > client_ca.certificate.not_after - DAY {
            let end = clock::date_of(client_ca.certificate.not_after);
            let what = format!("the client authority of the cluster ends on {end}");
            return Err(Error::usage(what).with_hint("ask for fewer days with --days"));
        }
        let signer = Signer {
            certificate: &client_ca.certificate,
            key: &client_ca.key,
        };
        let made = signer.client(&Client {
            user: &access.user,
            group: &access.group,
            until,
        })?;
        let until = clock::date_of(until);
        let certificate = STANDARD.encode(format!("{}\n", made.certificate));
        let key_file = Zeroizing::new(format!("{}\n", *made.key));
        let key = Zeroizing::new(STANDARD.encode(&*key_file));
        let (name, user, group) = (quoted(&place.name), quoted(&access.user), &access.group);
        // Room for all of it: it never moves, so all of it is wiped.
        let mut text = Zeroizing::new(String::with_capacity(ROOM));
        let written = write!(
            text,
            "{HEAD}: access to the cluster in the group {group} until {until}. `imgbuild kubeconfig` makes another.
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {server_ca}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {user}
current-context: {name}
",
            server = quoted(&place.server),
            key = *key,
        );
        written.map_err(|error| Error::failed("cannot write a kubeconfig").with_source(error))?;
        Ok(Self { text, until })
    }

    /// Whether imgbuild wrote `text`: another file may lead to other clusters.
    pub fn is_ours(text: &str) -> bool {
        text.starts_with(HEAD)
    }

    /// Until when the kubeconfig `text` is of use for this cluster, if it is for a week or more: a build leaves
    /// it as it is.
    pub fn fresh(text: &str, tables: &Tables, place: &Place, now: i64) -> Option<String> {
        let value = |key: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        };
        let is_same = value("server") == Some(quoted(&place.server).as_str())
            && value("certificate-authority-data") == Some(authority_data(tables).ok()?.as_str());
        let certificate = STANDARD.decode(value("client-certificate-data")?).ok()?;
        let certificate = Certificate::parse(std::str::from_utf8(&certificate).ok()?).ok()?;
        let client_ca = pair(tables, CLIENT_CA).ok()?;
        let fits = is_same && certificate.issuer == client_ca.certificate.subject;
        // The last day before the midnight at which it ends.
        let until = certificate.not_after - 1;
        (Self::is_ours(text) && fits && until - now >= FRESH).then(|| clock::date_of(until))
    }
}

/// The authority of the API servers, as kubeconfigs have it.
fn authority_data(tables: &Tables) -> Result<String> {
    let certificate = tables.value(SERVER_CA, "certificate");
    let certificate = certificate.ok_or_else(|| {
        Error::usage(format!(
            "secrets.toml: [{SERVER_CA}]: `certificate` is missing"
        ))
    })?;
    Ok(STANDARD.encode(format!("{}\n", certificate.expose())))
}

/// JSON is YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn check_name(option: &str, name: &str) -> Result<()> {
    let odd = name.trim() != name || name.chars().any(char::is_control);
    if name.is_empty() || name.chars().count() > LONGEST_NAME || odd {
        return Err(Error::usage(format!(
            "{option}: a name has 1 to {LONGEST_NAME} characters, without line ends and without blanks around it"
        )));
    }
    Ok(())
}
