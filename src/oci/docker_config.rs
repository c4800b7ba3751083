//! Logins in docker's `config.json`, which podman and others write as well.
//!
//! Nothing that is in the file is ever told, but the hosts: parts of it are passwords.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::name::login_host;
use crate::error::{Error, Result};

/// A `config.json`.
pub struct DockerConfig {
    /// The file, for messages.
    place: String,
    content: Content,
}

/// What it has for a host.
#[derive(Clone)]
pub enum Login {
    None,
    Password {
        user: String,
        password: Zeroizing<String>,
    },
    /// A program keeps it: `docker-credential-NAME`.
    Helper(String),
    /// Not a password, but a token of the kind that is named.
    Token(&'static str),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Zeroizing<String>,
    username: String,
    password: Zeroizing<String>,
    identitytoken: Zeroizing<String>,
    registrytoken: Zeroizing<String>,
}

impl DockerConfig {
    /// Reads `text`; `place` names the file in errors, which are of kind `Usage`.
    pub fn read(text: &str, place: &str) -> Result<Self> {
        let content = serde_json::from_str(text).map_err(|error: serde_json::Error| {
            // What else it says may be a part of a password.
            let what = match error.classify() {
                serde_json::error::Category::Data => "is not what docker writes here",
                _ => "is not JSON",
            };
            Error::usage(format!("{place}:{}: this {what}", error.line())).with_hint(
                "log in again with docker or podman, or set DOCKER_CONFIG to a folder with another config.json",
            )
        })?;
        Ok(Self {
            place: place.to_owned(),
            content,
        })
    }

    /// What there is for `host`, which may have a port.
    pub fn login(&self, host: &str) -> Result<Login> {
        let is_it = |key: &String| login_host(host_of(key)) == login_host(host);
        let Content {
            auths,
            cred_helpers,
            creds_store,
        } = &self.content;
        if let Some((_, helper)) = cred_helpers.iter().find(|(key, _)| is_it(key)) {
            return Ok(Login::Helper(helper.clone()));
        }
        let Some((key, auth)) = auths.iter().find(|(key, _)| is_it(key)) else {
            return Ok(Login::None);
        };
        match self.of_entry(key, auth)? {
            Login::None if !creds_store.is_empty() => Ok(Login::Helper(creds_store.clone())),
            login => Ok(login),
        }
    }

    /// The file, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn of_entry(&self, key: &str, auth: &Auth) -> Result<Login> {
        if !auth.identitytoken.is_empty() {
            return Ok(Login::Token("identity token"));
        }
        if !auth.registrytoken.is_empty() {
            return Ok(Login::Token("registry token"));
        }
        if !auth.auth.is_empty() {
            return decoded(&auth.auth).ok_or_else(|| {
                Error::usage(format!(
                    "{}: `auth` of {key} is not USER:PASSWORD in base64",
                    self.place
                ))
                .with_hint(format!("log in again: docker login {key}"))
            });
        }
        if auth.username.is_empty() {
            return Ok(Login::None);
        }
        Ok(Login::Password {
            user: auth.username.clone(),
            password: auth.password.clone(),
        })
    }
}

fn decoded(auth: &str) -> Option<Login> {
    let bytes = Zeroizing::new(STANDARD.decode(auth.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    // Old dockers have put zeros behind it.
    let password = password.trim_end_matches('\0');
    (!user.is_empty()).then(|| Login::Password {
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

/// Keys are hosts, or URLs as docker wrote them once: `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let rest = rest.unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password(***)",
            Self::Helper(_) => "Helper",
            Self::Token(_) => "Token",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn login(text: &str, host: &str) -> Login {
        DockerConfig::read(text, "config.json")
            .unwrap()
            .login(host)
            .unwrap()
    }

    #[track_caller]
    fn assert_password(login: Login, user: &str, password: &str) {
        let Login::Password {
            user: found,
            password: secret,
        } = login
        else {
            panic!("{login:?}");
        };
        assert_eq!((found.as_str(), secret.as_str()), (user, password));
    }

    #[test]
    fn logins_are_found_by_host() {
        // tom:a:b, and with a zero behind it.
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dG9tOmE6Yg=="},
            "127.0.0.1:5000": {"auth": "dG9tOmE6YgA="},
            "ghcr.io": {"username": "eve", "password": "x"},
            "quay.io": {}
        }, "HttpHeaders": {"a": "b"}}"#;
        for host in [
            "docker.io",
            "registry-1.docker.io",
            "index.docker.io",
            "127.0.0.1:5000",
        ] {
            assert_password(login(text, host), "tom", "a:b");
        }
        assert_password(login(text, "ghcr.io"), "eve", "x");
        for host in ["quay.io", "127.0.0.1", "127.0.0.1:5001", "xghcr.io"] {
            assert!(matches!(login(text, host), Login::None), "{host}");
        }
    }

    #[test]
    fn helpers_and_tokens_are_told_apart() {
        let text = r#"{"auths": {"ghcr.io": {}, "a.azurecr.io": {"auth": "MDA6", "identitytoken": "t"}},
            "credHelpers": {"gcr.io": "gcloud"}, "credsStore": "desktop"}"#;
        let helper = |host| match login(text, host) {
            Login::Helper(name) => name,
            other => panic!("{host}: {other:?}"),
        };
        assert_eq!(helper("ghcr.io"), "desktop");
        assert_eq!(helper("gcr.io"), "gcloud");
        assert!(matches!(login(text, "quay.io"), Login::None));
        assert!(matches!(
            login(text, "a.azurecr.io"),
            Login::Token("identity token")
        ));
    }

    #[test]
    fn damage_is_told_with_its_place_and_without_its_content() {
        for wrong in [
            "",
            "{",
            "{\"auths\": {\"x\": {\"auth\": hunter2}}}",
            "{\"auths\": {\"x\": \"hunter2\"}}",
            "{\"auths\": {\"x\": {\"auth\": 5}}}",
            "[\"hunter2\"]",
        ] {
            let error = DockerConfig::read(wrong, "/h/config.json").err().unwrap();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Usage, "{wrong}");
            assert!(
                text.contains("/h/config.json:") && !text.contains("hunter2"),
                "{text}"
            );
        }
        for wrong in ["hunter2!", "aHVudGVyMg==", "OmE=", "/w=="] {
            let text = format!("{{\"auths\": {{\"x\": {{\"auth\": \"{wrong}\"}}}}}}");
            let config = DockerConfig::read(&text, "c").unwrap();
            let error = config.login("x").unwrap_err().to_string();
            assert!(
                error.contains("`auth` of x") && !error.contains(wrong),
                "{error}"
            );
        }
    }
}
