//! A registry of container images, asked for one repository (OCI distribution-spec 1.1).
//!
//! Not `oci-client`, whose errors drop the head of an answer, and with it how long a registry that limits
//! its rate asks to wait; see docs/dependencies.md.

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::http::{
    self, Failure, MAX_PAUSE, Response, Server, is_temporary, retry_after, status_error,
};
use super::registry_logins::{Logins, how_to_log_in};
use super::store::Store;
use crate::error::{Error, Result};
use crate::oci::{ACCEPT, Challenge, ImageName, Login};
use crate::parallel;
use crate::url::Url;

/// Bytes of an answer that has a token in it, or says what is wrong.
const MAX_ANSWER: u64 = 1 << 20;
/// Characters that are told of what a registry says.
const MAX_SAID: usize = 200;

/// The registry of one image. It logs in when it is asked to.
pub(super) struct Registry<'a> {
    store: &'a Store,
    name: &'a ImageName,
    logins: Logins,
    /// Value of `Authorization`, once it is known.
    authorization: Mutex<Option<Zeroizing<String>>>,
}

impl<'a> Registry<'a> {
    /// That of the image `name`. Nothing is asked yet.
    pub fn of(store: &'a Store, name: &'a ImageName) -> Self {
        Self {
            store,
            name,
            logins: Logins::new(store.options.docker_config.clone()),
            authorization: Mutex::new(None),
        }
    }

    /// Where the manifest with this tag or digest is.
    pub fn manifest(&self, reference: &str) -> Result<Url> {
        self.url("manifests", reference)
    }

    /// Where the blob with this digest is.
    pub fn blob(&self, digest: &str) -> Result<Url> {
        self.url("blobs", digest)
    }

    fn url(&self, kind: &str, reference: &str) -> Result<Url> {
        let (host, repository) = (self.name.host(), self.name.repository());
        let url = Url::parse(&format!(
            "https://{host}/v2/{repository}/{kind}/{reference}"
        ))?;
        self.store.options.mirrored(&url)
    }

    fn request(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        let authorization = parallel::lock(&self.authorization).clone();
        let accept = match url.as_str().contains("/blobs/") {
            true => "*/*",
            false => ACCEPT,
        };
        let mut all = vec![("Accept", accept)];
        all.extend(headers);
        if let Some(value) = &authorization {
            all.push(("Authorization", value.as_str()));
        }
        self.store.client.ask(url, &all)
    }

    /// Finds out what `Authorization` the registry at `url` wants, which has answered 401.
    fn log_in(&self, url: &Url, refused: &Response) -> Result<(), Failure> {
        let values = refused.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenge = Challenge::find(values.filter_map(|value| value.to_str().ok()));
        let login = self.logins.of(&url.host())?;
        if url.is_plain() && matches!(login, Login::Password { .. }) {
            return Err(Failure::Stop(unencrypted(url)));
        }
        let value = match challenge {
            Some(Challenge::Basic) => basic(&login).ok_or_else(|| self.needs_login(url, &login))?,
            Some(Challenge::Bearer { realm, service }) => {
                self.token(url, &realm, service.as_deref(), &login)?
            }
            None => {
                return Err(Failure::Stop(
                    Error::failed(format!(
                        "{url}: the registry wants a login of a kind that imgbuild does not know"
                    ))
                    .with_hint(how_to_log_in(&url.host(), self.logins.place())),
                ));
            }
        };
        *parallel::lock(&self.authorization) = Some(value);
        Ok(())
    }

    /// A token for reading this repository (token specification of distribution).
    fn token(
        &self,
        url: &Url,
        realm: &str,
        service: Option<&str>,
        login: &Login,
    ) -> Result<Zeroizing<String>, Failure> {
        let realm = self.store.options.mirrored(&Url::parse(realm)?)?;
        let basic = basic(login);
        if (url.is_https() || basic.is_some()) && realm.is_plain() {
            return Err(Failure::Stop(unencrypted(&realm)));
        }
        let scope = format!("repository:{}:pull", self.name.repository());
        let mut query = vec![("scope", scope.as_str())];
        query.extend(service.map(|service| ("service", service)));
        let asked = realm.with_query(&query);
        let headers: Vec<(&str, &str)> = basic
            .iter()
            .map(|value| ("Authorization", value.as_str()))
            .collect();
        let answer = self.store.client.ask(&asked, &headers)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Failure::Stop(self.refused(url, login)));
            }
            _ => return Err(self.trouble(answer, &realm, login)),
        }
        let bytes = Zeroizing::new(http::read_bytes(answer, &realm, MAX_ANSWER)?);
        let token = serde_json::from_slice::<TokenAnswer>(&bytes).ok();
        let token = token.and_then(TokenAnswer::token).ok_or_else(|| {
            Error::failed(format!(
                "{realm}: the registry was asked for a token, and did not answer with one"
            ))
            .with_hint(
                "the trouble is at the server, or a proxy on the way answers: try again later",
            )
        })?;
        Ok(Zeroizing::new(format!("Bearer {}", *token)))
    }

    /// That nothing comes without a login, and there is none that could be used.
    fn needs_login(&self, url: &Url, login: &Login) -> Error {
        let name = self.name;
        let hint = how_to_log_in(&url.host(), self.logins.place());
        let error = match login {
            Login::Helper(helper) => format!(
                "{name}: the registry requires a login, which the program docker-credential-{helper} keeps; imgbuild runs no credential helpers"
            ),
            Login::Token(kind) => format!(
                "{name}: the registry requires a login, and for it {} has an {kind}, where imgbuild needs user and password",
                self.logins.place()
            ),
            Login::None | Login::Password { .. } => {
                format!("{name}: the registry {} requires a login", url.host())
            }
        };
        Error::failed(error).with_hint(hint)
    }

    /// That the registry does not hand the image to whoever asks.
    fn refused(&self, url: &Url, login: &Login) -> Error {
        let name = self.name;
        match login {
            Login::Password { .. } => Error::failed(format!(
                "{name}: the registry refuses the login for {} in {}",
                url.host(),
                self.logins.place()
            ))
            .with_hint("log in again, and check that this account may read the image"),
            Login::Helper(_) | Login::Token(_) => self.needs_login(url, login),
            Login::None => Error::failed(format!(
                "{name}: the registry {} hands it to nobody without a login: it is private, or there is no such image",
                url.host()
            ))
            .with_hint(format!(
                "check the name; if it is private, {}",
                how_to_log_in(&url.host(), self.logins.place())
            )),
        }
    }

    /// What an answer that is neither content nor a request to log in comes to.
    fn unexpected(&self, answer: Response, url: &Url, login: &Login) -> Failure {
        match answer.status() {
            StatusCode::NOT_FOUND => Failure::Stop(self.not_there(answer, url)),
            StatusCode::FORBIDDEN => Failure::Stop(self.refused(url, login)),
            _ => self.trouble(answer, url, login),
        }
    }

    fn not_there(&self, answer: Response, url: &Url) -> Error {
        Error::failed(format!(
            "{}: the registry {} does not have it{}",
            self.name,
            url.host(),
            said(answer)
        ))
        .with_hint("check name and tag; of a tag that is pinned, the registry may have dropped what it was: `imgbuild update` pins what it is now")
    }

    /// What any answer comes to that another server could give as well.
    fn trouble(&self, answer: Response, url: &Url, login: &Login) -> Failure {
        let status = answer.status();
        let pause = retry_after(answer.headers());
        let is_limit = status == StatusCode::TOO_MANY_REQUESTS;
        let error = if is_limit {
            self.rate_limit(url, pause.as_secs(), login)
        } else {
            let error = status_error(status, url);
            let hint = error.hint().unwrap_or_default().to_owned();
            Error::failed(format!("{error}{}", said(answer))).with_hint(hint)
        };
        match is_temporary(status) && !(is_limit && pause > MAX_PAUSE) {
            true => Failure::Retry {
                error,
                pause,
                progressed: false,
            },
            false => Failure::Stop(error),
        }
    }

    fn rate_limit(&self, url: &Url, seconds: u64, login: &Login) -> Error {
        let host = url.host();
        let wait = match seconds {
            0 => String::new(),
            seconds => format!(", and asks to wait for {seconds} s"),
        };
        let hint = match login {
            Login::Password { .. } => {
                "wait, then run the same command again: it goes on where it stopped. A mirror of your own (IMGBUILD_MIRRORS) has no such limit".to_owned()
            }
            _ => format!(
                "registries count downloads without a login by address, and allow more with one: {}. What is in the cache stays: the same command goes on where it stopped",
                how_to_log_in(&host, self.logins.place())
            ),
        };
        Error::failed(format!(
            "{}: {host} takes no more requests for now (429 Too Many Requests){wait}",
            self.name
        ))
        .with_hint(hint)
    }
}

impl Server for Registry<'_> {
    fn get(&self, url: &Url, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        let mut answer = self.request(url, headers)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // Also a token that has expired meanwhile.
            self.log_in(url, &answer)?;
            answer = self.request(url, headers)?;
        }
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            let login = self.logins.of(&url.host())?;
            return Err(Failure::Stop(self.refused(url, &login)));
        }
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(answer);
        }
        let login = self.logins.of(&url.host())?;
        Err(self.unexpected(answer, url, &login))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
}

impl TokenAnswer {
    /// What can stand in a head.
    fn token(self) -> Option<Zeroizing<String>> {
        let token = self.token.or(self.access_token)?;
        let is_text = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        is_text.then_some(token)
    }
}

fn basic(login: &Login) -> Option<Zeroizing<String>> {
    let Login::Password { user, password } = login else {
        return None;
    };
    let pair = Zeroizing::new(format!("{user}:{}", **password));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Some(Zeroizing::new(format!("Basic {}", *encoded)))
}

fn unencrypted(url: &Url) -> Error {
    Error::refused(format!("a login would go to {url} without encryption"))
        .with_hint("use an https address for the registry; only this computer's own may do without")
}

/// What a registry says is wrong, behind a colon; nothing where it says nothing that can be read.
fn said(answer: Response) -> String {
    #[derive(Deserialize)]
    struct Said {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let url = answer.url().clone();
    let bytes = Url::parse(url.as_str()).ok();
    let bytes = bytes.and_then(|url| http::read_bytes(answer, &url, MAX_ANSWER).ok());
    let said = bytes.and_then(|bytes| serde_json::from_slice::<Said>(&bytes).ok());
    let first = said.and_then(|said| said.errors.into_iter().next());
    let Some(One { code, message }) = first else {
        return String::new();
    };
    let text = format!("{code} {message}");
    let text: String = text
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_SAID)
        .collect();
    match text.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}
