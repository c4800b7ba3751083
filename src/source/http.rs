//! HTTP requests: our own `User-Agent`, time limits, and retries of what may yet succeed.

use std::error::Error as _;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client as Web;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::url::Url;

const USER_AGENT: &str = concat!(
    env!("CARGO_PKG_NAME"),
    "/",
    env!("CARGO_PKG_VERSION"),
    " (+",
    env!("CARGO_PKG_REPOSITORY"),
    ")"
);
const MAX_ATTEMPTS: u32 = 5;
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);
const PAUSE_STEP: Duration = Duration::from_millis(100);

const MAX_REDIRECTS: usize = 10;

/// A response to a GET request.
pub(super) type Response = reqwest::blocking::Response;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed.
    Retry {
        error: Error,
        /// What the server asked to wait.
        pause: Duration,
        /// The attempt got further than any before it.
        progressed: bool,
    },
    /// Another attempt would fail too.
    Stop(Error),
}

impl Failure {
    pub fn retry(error: Error) -> Self {
        Self::Retry {
            error,
            pause: Duration::ZERO,
            progressed: false,
        }
    }

    pub fn into_error(self) -> Error {
        match self {
            Self::Retry { error, .. } | Self::Stop(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

/// Whoever answers the requests of a download.
pub(super) trait Server {
    /// One GET request, as [`Client::get`].
    fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, Failure>;
}

/// Any server on the web, without a login.
impl Server for Client {
    fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        Self::get(self, url, headers)
    }
}

/// Makes requests.
pub(super) struct Client {
    /// Made for the first request: most runs need none.
    web: OnceLock<Web>,
    job: Job,
    retry_delay: Duration,
    patience: Duration,
}

impl Client {
    /// `retry_delay` is the pause before the first retry. A server that says nothing for as long as
    /// `patience`, when it is connected to, asked, or in the middle of an answer, has failed.
    pub fn new(job: Job, retry_delay: Duration, patience: Duration) -> Self {
        Self {
            web: OnceLock::new(),
            job,
            retry_delay,
            patience,
        }
    }

    /// One GET request, whatever the answer is.
    pub fn ask(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        self.job.cancel.check()?;
        let mut request = self.web()?.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send();
        answer.map_err(|error| transport_failure(error, url))
    }

    /// One GET request. Answers that mean "try again later" are failures, all others are returned.
    pub fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        let response = self.ask(url, headers)?;
        let status = response.status();
        if is_temporary(status) {
            return Err(Failure::Retry {
                pause: retry_after(response.headers()),
                error: status_error(status, url),
                progressed: false,
            });
        }
        Ok(response)
    }

    fn web(&self) -> Result<&Web> {
        if let Some(web) = self.web.get() {
            return Ok(web);
        }
        let made = Web::builder()
            .user_agent(USER_AGENT)
            // What is measured and hashed are the bytes of the file.
            .default_headers(
                [(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]
                    .into_iter()
                    .collect(),
            )
            .referer(false)
            .redirect(Policy::custom(follow))
            .connect_timeout(self.patience)
            // Of an answer's head, and then of every read of its body.
            .timeout(self.patience)
            .tls_backend_preconfigured(tls()?)
            .build()
            .context(|| "setting up the HTTP client".into())?;
        Ok(self.web.get_or_init(|| made))
    }

    /// Calls `attempt` until it succeeds, cannot succeed, or has failed too often in a row. The
    /// last is the only way for `Failure::Retry` to come out.
    pub fn retrying<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut failed = 0;
        loop {
            let (error, asked, progressed) = match attempt() {
                Err(Failure::Retry {
                    error,
                    pause,
                    progressed,
                }) => (error, pause, progressed),
                done => return done,
            };
            failed = if progressed { 1 } else { failed + 1 };
            if failed >= MAX_ATTEMPTS {
                return Err(Failure::retry(
                    error.context(format!("gave up after {MAX_ATTEMPTS} attempts")),
                ));
            }
            let backoff = self.retry_delay * 2u32.pow(failed - 1);
            let pause = backoff.max(asked).min(MAX_PAUSE);
            self.job.progress.note(&format!(
                "{error}{}; trying again",
                cause_of(&error).map_or_else(String::new, |cause| format!(": {cause}"))
            ));
            self.pause(pause)?;
        }
    }

    fn pause(&self, mut left: Duration) -> Result<()> {
        while !left.is_zero() {
            self.job.cancel.check()?;
            let step = left.min(PAUSE_STEP);
            std::thread::sleep(step);
            left -= step;
        }
        self.job.cancel.check()
    }
}

fn cause_of(error: &Error) -> Option<String> {
    error.chain().nth(1).map(ToString::to_string)
}

/// Who may vouch for a server: Mozilla's authorities, which are in the program, so that it needs none
/// of the machine's; and those in the file that `SSL_CERT_FILE` names, as a company's proxy has them.
fn tls() -> Result<ClientConfig> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
        let failed = || {
            format!(
                "reading the certificates in SSL_CERT_FILE, {}",
                path.display()
            )
        };
        let found = CertificateDer::pem_file_iter(&path).context(failed)?;
        let certificates = found.collect::<Result<Vec<_>, _>>().context(failed)?;
        roots.add_parsable_certificates(certificates);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context(|| "setting up TLS".into())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A redirect that is not followed.
#[derive(Debug)]
enum Refused {
    Unencrypted,
    TooMany,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unencrypted => "redirected from https to http",
            Self::TooMany => "too many redirects",
        })
    }
}

impl std::error::Error for Refused {}

fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_safe = attempt.previous().iter().any(|url| url.scheme() == "https");
    if was_safe && attempt.url().scheme() != "https" {
        return attempt.error(Refused::Unencrypted);
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(Refused::TooMany);
    }
    attempt.follow()
}

/// Reads a body of at most `limit` bytes.
pub(super) fn read_bytes(response: Response, url: &Url, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response.take(limit + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| interrupted_body(error, url))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::Stop(
            Error::failed(format!("{url} is larger than {limit} bytes"))
                .with_hint("it should be a short file: is it the right URL?"),
        ));
    }
    Ok(bytes)
}

/// Bytes that must be text.
pub(super) fn text(bytes: Vec<u8>, url: &Url) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        Error::failed(format!("{url} is not a text file"))
            .with_hint("it should be a list of checksums or of images: is it the right URL?")
    })
}

/// A body that ended or failed before its announced end.
pub(super) fn interrupted_body(error: io::Error, url: &Url) -> Failure {
    Failure::retry(
        Error::failed(format!("the download of {url} broke off"))
            .with_source(error)
            .with_hint(NETWORK_HINT),
    )
}

/// The error that the answer `status` of `url` amounts to.
pub(super) fn status_error(status: StatusCode, url: &Url) -> Error {
    let hint = match status.as_u16() {
        401 | 407 => "the server or a proxy requires a login, which imgbuild does not have",
        403 => "the server, or a proxy on the way, refuses this; try the URL in a browser",
        404 | 410 => {
            "the file may have been withdrawn or renamed: check the URL or version in the profile"
        }
        400..=499 => "check the URL in the profile",
        _ => "the trouble is at the server: try again later",
    };
    Error::failed(format!("{url}: the server answered {status}")).with_hint(hint)
}

/// A header as text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

/// How long a server asks to wait; nothing where it does not say, or names a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    header(headers, "retry-after")
        .and_then(|seconds| seconds.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
}

const NETWORK_HINT: &str = "check the network and the proxy settings (HTTPS_PROXY, HTTP_PROXY, \
     NO_PROXY), then run the same command again: a download goes on where it stopped";

fn transport_failure(error: reqwest::Error, url: &Url) -> Failure {
    let hint = if error.is_builder() {
        Some("check the URL in the profile")
    } else if let Some(refused) = cause::<Refused>(&error) {
        Some(match refused {
            Refused::Unencrypted => {
                "the server redirects to an unencrypted address, which is not followed"
            }
            Refused::TooMany => "the server redirects in circles: check the URL",
        })
    } else if error.is_redirect() {
        Some("the server redirects to what is no URL: check the URL in the profile")
    } else if cause::<rustls::Error>(&error).is_some() {
        Some(
            "the server's certificate was not accepted: check this computer's clock; if a proxy intercepts HTTPS, name its certificate with SSL_CERT_FILE",
        )
    } else {
        None
    };
    // It would name the URL once more, credentials too.
    let error = error.without_url();
    let failed = Error::failed(format!("cannot fetch {url}"))
        .with_source(error)
        .with_hint(hint.unwrap_or(NETWORK_HINT));
    if hint.is_none() {
        Failure::retry(failed)
    } else {
        Failure::Stop(failed)
    }
}

/// The error of type `T` that `error` comes from, if it does. `io::Error` hides what it holds.
fn cause<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut next = error.source();
    while let Some(error) = next {
        let held = error.downcast_ref::<io::Error>().and_then(|e| e.get_ref());
        if let Some(found) = held.and_then(|held| held.downcast_ref::<T>()) {
            return Some(found);
        }
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = match held {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_anew_after_progress() {
        let client = Client::new(Job::silent(), Duration::ZERO, Duration::ZERO);
        let mut calls = 0;
        let result: Result<(), _> = client.retrying(|| {
            calls += 1;
            Err(Failure::Retry {
                error: Error::failed("dropped"),
                pause: Duration::ZERO,
                progressed: calls == 3,
            })
        });
        assert_eq!(calls, 7);
        let error = result.unwrap_err().into_error();
        assert!(error.to_string().contains("5 attempts"), "{error}");
    }
}
