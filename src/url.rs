//! URLs of the web, whose credentials are never shown.

use std::fmt;
use std::net::IpAddr;

use ::url::Host;

use crate::error::{Error, Result};

/// An `http` or `https` URL. Printed, it has neither the user and password nor the values of the query,
/// which are often keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    url: ::url::Url,
}

impl Url {
    /// The URL that `text` is. Errors are of kind `Usage`.
    pub fn parse(text: &str) -> Result<Self> {
        let url = ::url::Url::parse(text).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(|url| Self { url }).ok_or_else(|| {
            Error::usage(format!("`{text}` is not an http or https URL"))
                .with_hint("for a file of this computer write its path")
        })
    }

    /// All of it, credentials too: for requests and as a key, never for people.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whether it is read over TLS.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host, with the port where the URL has one that is not its scheme's own.
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The same with more pairs in its query.
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> Self {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Self { url }
    }

    /// Whether it goes over the network unencrypted.
    pub fn is_plain(&self) -> bool {
        let is_here = match self.url.host() {
            Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            None => false,
        };
        !self.is_https() && !is_here
    }

    /// The name of the file that it leads to.
    pub fn file_name(&self) -> String {
        let path = self.url.path().trim_end_matches('/');
        percent_decoded(path.rsplit('/').next().unwrap_or_default())
    }

    /// The URL as anybody may know it: without user, password, query and fragment. It is a URL, too.
    pub fn public(&self) -> String {
        let mut url = self.url.clone();
        // Neither fails for a URL with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    /// The checksum file beside what it leads to.
    pub fn sha256_beside(&self) -> Self {
        self.beside("sha256")
    }

    /// What has the same name with `.ending` behind it. The key in a query is for one file only.
    pub fn beside(&self, ending: &str) -> Self {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.set_path(&format!("{}.{ending}", self.url.path()));
        Self { url }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if !shown.username().is_empty() || shown.password().is_some() {
            // Neither fails for a URL with a host.
            let _ = shown.set_username("***");
            let _ = shown.set_password(None);
        }
        shown.set_query(None);
        shown.set_fragment(None);
        f.write_str(shown.as_str())?;
        for (place, (key, _)) in self.url.query_pairs().enumerate() {
            let separator = if place == 0 { '?' } else { '&' };
            write!(f, "{separator}{key}=***")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escape = (first == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn names_come_from_the_path() {
        let name = |text| url(text).file_name();
        assert_eq!(name("https://x/v1%2Bk3s1/k3s-arm64?a=/b#c"), "k3s-arm64");
        assert_eq!(name("https://x/a%2Bb%zz%"), "a+b%zz%");
        let beside = url("https://x/a.img.xz?token=1").sha256_beside();
        assert_eq!(beside.as_str(), "https://x/a.img.xz.sha256");
    }

    #[test]
    fn hosts_have_their_port_and_queries_grow() {
        assert_eq!(url("https://me:pw@x:443/a").host(), "x");
        assert_eq!(url("http://[::1]:5000/a").host(), "[::1]:5000");
        let asked = url("https://x/token?a=b").with_query(&[("scope", "a:b/c d")]);
        assert_eq!(asked.as_str(), "https://x/token?a=b&scope=a%3Ab%2Fc+d");
    }

    #[test]
    fn what_anybody_may_know_has_no_credentials() {
        let public = |text| url(text).public();
        assert_eq!(public("https://me:pw@x/a%2Bb?key=1#c"), "https://x/a%2Bb");
    }

    #[test]
    fn plain_http_matters_only_beyond_this_computer() {
        for plain in [
            "http://mirror.lab/x",
            "http://127.0.0.1@evil/x",
            "http://127.0.0.1.evil/x",
            "http://localhost.evil:80/x",
        ] {
            assert!(url(plain).is_plain(), "{plain}");
        }
        for safe in [
            "http://127.0.0.1:8080/x",
            "http://localhost/x",
            "http://[::1]:8080/x",
            "https://mirror.lab/x",
        ] {
            assert!(!url(safe).is_plain(), "{safe}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let url = url("https://tom:hunter2@x.lab:8443/a.img?key=s3cret&b#c");
        let shown = "https://***@x.lab:8443/a.img?key=***&b=***";
        assert_eq!(url.to_string(), shown);
        assert_eq!(format!("{url:?}"), format!("Url({shown})"));
        assert!(url.as_str().contains("hunter2"));
    }

    #[test]
    fn other_schemes_are_usage_errors() {
        for text in ["ftp://x/y", "x", "http://", "file:///x"] {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
