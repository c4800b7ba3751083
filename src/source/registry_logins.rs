//! Where logins for registries are from: docker's `config.json`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::oci::{DockerConfig, Login};

/// Logins, read when the first is asked for: most images need none.
pub(super) struct Logins {
    path: Option<PathBuf>,
    read: OnceLock<Option<DockerConfig>>,
}

impl Logins {
    /// Those in the file at `path`, if there is one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            read: OnceLock::new(),
        }
    }

    /// What there is for `host`.
    pub fn of(&self, host: &str) -> Result<Login> {
        match self.config()? {
            Some(config) => config.login(host),
            None => Ok(Login::None),
        }
    }

    /// The file, for messages.
    pub fn place(&self) -> String {
        let path = self.path.as_ref();
        path.map_or_else(
            || "~/.docker/config.json".to_owned(),
            |path| path.display().to_string(),
        )
    }

    fn config(&self) -> Result<Option<&DockerConfig>> {
        if self.read.get().is_none() {
            let read = self.read_file()?;
            let _ = self.read.set(read);
        }
        Ok(self.read.get().and_then(Option::as_ref))
    }

    fn read_file(&self) -> Result<Option<DockerConfig>> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        match fs::read_to_string(path) {
            Ok(text) => DockerConfig::read(&text, &self.place()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::usage(format!("cannot read {}", path.display()))
                .with_source(error)
                .with_hint("it holds logins for registries: make it readable, or set DOCKER_CONFIG to another folder")),
        }
    }
}

/// What to do for a login to `host` that is to be in the file `place`.
pub(super) fn how_to_log_in(host: &str, place: String) -> String {
    format!(
        "put a login into {place}: `docker login {host}` does where docker has no credential helper, or write {{\"auths\": {{\"{host}\": {{\"auth\": \"USER:PASSWORD in base64\"}}}}}}; DOCKER_CONFIG names another folder for it"
    )
}
