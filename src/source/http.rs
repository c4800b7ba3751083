//! HTTP requests: our own `User-Agent`, time limits, and retries of what may yet succeed.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body};

use crate::error::{Error, Result};
use crate::job::Job;

const USER_AGENT: &str = concat!(
    env!("CARGO_PKG_NAME"),
    "/",
    env!("CARGO_PKG_VERSION"),
    " (+",
    env!("CARGO_PKG_REPOSITORY"),
    ")"
);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_ATTEMPTS: u32 = 5;
const MAX_PAUSE: Duration = Duration::from_secs(60);
const PAUSE_STEP: Duration = Duration::from_millis(100);

/// A response to a GET request.
pub(super) type Response = ureq::http::Response<Body>;

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

/// Makes requests.
pub(super) struct Client {
    agent: Agent,
    job: Job,
    retry_delay: Duration,
}

impl Client {
    pub fn new(job: Job, retry_delay: Duration) -> Self {
        let config = Agent::config_builder()
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build();
        Self {
            agent: config.new_agent(),
            job,
            retry_delay,
        }
    }

    /// One GET request. Answers that mean "try again later" are failures, all others are returned.
    pub fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        check_url(url)?;
        self.job.cancel.check()?;
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request
            .config()
            .https_only(url.starts_with("https://"))
            .build()
            .call()
            .map_err(|error| transport_failure(error, url))?;
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

/// Reads a body that is text of at most `limit` bytes.
pub(super) fn read_text(response: Response, url: &str, limit: u64) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(limit + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(|error| interrupted_body(error, url))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::Stop(
            Error::failed(format!("{url} is larger than {limit} bytes"))
                .with_hint("it should be a short text file: is it the right URL?"),
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::Stop(
            Error::failed(format!("{url} is not a text file"))
                .with_hint("it should be a list of checksums or of images: is it the right URL?"),
        )
    })
}

/// A body that ended or failed before its announced end.
pub(super) fn interrupted_body(error: std::io::Error, url: &str) -> Failure {
    Failure::retry(
        Error::failed(format!("the download of {url} broke off"))
            .with_source(error)
            .with_hint(NETWORK_HINT),
    )
}

/// The error that the answer `status` of `url` amounts to.
pub(super) fn status_error(status: StatusCode, url: &str) -> Error {
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

/// Whether `url` goes over the network unencrypted.
pub(super) fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let is_loopback = host
        .parse()
        .is_ok_and(|address: IpAddr| address.is_loopback());
    !(is_loopback || host.eq_ignore_ascii_case("localhost"))
}

/// The name of the file that `url` leads to.
pub(super) fn file_name(url: &str) -> String {
    let last = without_query(url).trim_end_matches('/').rsplit('/').next();
    percent_decoded(last.unwrap_or_default())
}

/// The URL of the checksum file beside `url`.
pub(super) fn sha256_beside(url: &str) -> String {
    format!("{}.sha256", without_query(url))
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
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

fn check_url(url: &str) -> Result<()> {
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    Err(Error::usage(format!("`{url}` is not an http or https URL"))
        .with_hint("for a file of this computer write its path"))
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

fn retry_after(headers: &HeaderMap) -> Duration {
    header(headers, "retry-after")
        .and_then(|seconds| seconds.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
}

const NETWORK_HINT: &str = "check the network and the proxy settings (HTTPS_PROXY, HTTP_PROXY, \
     NO_PROXY), then run the same command again: a download goes on where it stopped";

fn transport_failure(error: ureq::Error, url: &str) -> Failure {
    use ureq::Error as E;
    let may_pass = matches!(
        error,
        E::Io(_)
            | E::Timeout(_)
            | E::HostNotFound
            | E::ConnectionFailed
            | E::Protocol(_)
            | E::ConnectProxyFailed(_)
            | E::BodyStalled
    );
    let hint = match &error {
        E::BadUri(_) | E::Http(_) => "check the URL in the profile",
        E::RequireHttpsOnly(_) => {
            "the server redirects to an unencrypted address, which is not followed"
        }
        E::TooManyRedirects => "the server redirects in circles: check the URL",
        E::Tls(_) | E::Rustls(_) | E::Pem(_) => {
            "the server's certificate was not accepted: check this computer's clock, and whether a proxy intercepts HTTPS"
        }
        _ => NETWORK_HINT,
    };
    let error = Error::failed(format!("cannot fetch {url}"))
        .with_source(error)
        .with_hint(hint);
    if may_pass {
        Failure::retry(error)
    } else {
        Failure::Stop(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn names_come_from_the_path_of_a_url() {
        assert_eq!(
            file_name("https://x/v1%2Bk3s1/k3s-arm64?a=/b#c"),
            "k3s-arm64"
        );
        assert_eq!(file_name("https://x/a%2Bb%zz%"), "a+b%zz%");
        assert_eq!(
            sha256_beside("https://x/a.img.xz?token=1"),
            "https://x/a.img.xz.sha256"
        );
    }

    #[test]
    fn plain_http_matters_only_beyond_this_computer() {
        assert!(is_plain("http://mirror.lab/x"));
        assert!(is_plain("http://127.0.0.1@evil/x"));
        assert!(is_plain("http://127.0.0.1.evil/x"));
        assert!(is_plain("http://localhost.evil:80/x"));
        assert!(!is_plain("http://127.0.0.1:8080/x"));
        assert!(!is_plain("http://localhost/x"));
        assert!(!is_plain("http://[::1]:8080/x"));
        assert!(!is_plain("https://mirror.lab/x"));
    }

    #[test]
    fn other_schemes_are_usage_errors() {
        let client = Client::new(Job::silent(), Duration::ZERO);
        let Err(Failure::Stop(error)) = client.get("ftp://x/y", &[]) else {
            panic!("ftp was accepted");
        };
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("ftp://x/y"));
    }

    #[test]
    fn attempts_are_counted_anew_after_progress() {
        let client = Client::new(Job::silent(), Duration::ZERO);
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
