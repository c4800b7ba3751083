//! Names of container images, written in full as containerd stores them.

use std::fmt;

use crate::error::{Error, Result};

/// The registry of names that have none.
const DOCKER_HUB: &str = "docker.io";
/// What else it is called in names.
const DOCKER_HUB_ALIAS: &str = "index.docker.io";
/// Where it answers.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// The folder of its own images.
const LIBRARY: &str = "library";
const DEFAULT_TAG: &str = "latest";
/// Characters of registry and repository together, and of a tag (distribution's reference grammar).
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// The name of an image with its tag, in full: `docker.io/library/nginx:1.27`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    registry: String,
    repository: String,
    tag: String,
}

impl ImageName {
    /// The name that `text` is short for: `nginx` is `docker.io/library/nginx:latest`. Errors are of kind
    /// `Usage`. A name with a digest is one: k3s looks for images by the names they were imported under.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((name, _)) = text.split_once('@') {
            return Err(by_digest(text, name));
        }
        Self::read(text).map_err(|why| {
            Error::usage(format!(
                "`{text}` is not the name of a container image: {why}"
            ))
            .with_hint(
                "write it as `registry.example/folder/name:tag`, or `name:tag` for Docker Hub",
            )
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (name, tag) = split_tag(text);
        let tag = tag.unwrap_or(DEFAULT_TAG);
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DOCKER_HUB, name),
        };
        let registry = match registry {
            DOCKER_HUB_ALIAS => DOCKER_HUB,
            other => other,
        };
        let repository = match registry {
            DOCKER_HUB if !path.contains('/') => format!("{LIBRARY}/{path}"),
            _ => path.to_owned(),
        };
        if !is_host(registry) {
            return Err("its registry is not a host name");
        }
        if path.is_empty() || !repository.split('/').all(is_path_part) {
            return Err(
                "a repository has small letters and digits, with `.`, `_` or `-` between them",
            );
        }
        if !is_tag(tag) {
            return Err("a tag has letters, digits, `_`, `.` and `-`, and at most 128 of them");
        }
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err("it has more than 255 characters");
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: tag.to_owned(),
        })
    }

    /// The registry, as the name has it: `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where the registry answers: host and port.
    pub fn host(&self) -> &str {
        match self.registry.as_str() {
            DOCKER_HUB => DOCKER_HUB_HOST,
            other => other,
        }
    }

    /// Its place in the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Its tag: `1.27`.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

/// The host that logins for `host` are kept under: Docker Hub has many names.
pub(super) fn login_host(host: &str) -> &str {
    match host {
        DOCKER_HUB_HOST | DOCKER_HUB_ALIAS => DOCKER_HUB,
        other => other,
    }
}

fn by_digest(text: &str, name: &str) -> Error {
    let tagged = match split_tag(name) {
        (_, Some(_)) => name.to_owned(),
        (name, None) => format!("{name}:TAG"),
    };
    Error::usage(format!(
        "the image `{text}` is named by its digest, and k3s finds imported images by name and tag alone"
    ))
    .with_hint(format!(
        "name it `{tagged}`, for upstream YAML with `image = \"{tagged}\"` in a [[manifest.edit]]; imgbuild.lock keeps the digest"
    ))
}

/// The tag is behind the last `:` that no `/` follows: a port may come before.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Whether the first part of a name is a registry, by the rule of docker and containerd.
fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port =
        |port: &str| port.parse::<u16>().is_ok() && port.starts_with(|c: char| c.is_ascii_digit());
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_name = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_name && port.is_none_or(is_port)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_part(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = part
        .split(is_word)
        .filter(|separator| !separator.is_empty());
    part.starts_with(is_word)
        && part.ends_with(is_word)
        && separators.all(|s| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= MAX_TAG
        && tag.starts_with(is_word)
        && tag.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn names_are_completed_as_containerd_does() {
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            (
                "nginx/nginx-ingress:5.5.4",
                "docker.io/nginx/nginx-ingress:5.5.4",
            ),
            ("docker.io/nginx:1", "docker.io/library/nginx:1"),
            (
                "index.docker.io/library/nginx:1",
                "docker.io/library/nginx:1",
            ),
            (
                "quay.io/metallb/speaker:v0.16.1",
                "quay.io/metallb/speaker:v0.16.1",
            ),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("localhost/x", "localhost/x:latest"),
            (
                "localhost:5000/a/b__c/d--e:T",
                "localhost:5000/a/b__c/d--e:T",
            ),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("Registry/x", "Registry/x:latest"),
        ] {
            let name = ImageName::parse(short).unwrap();
            assert_eq!(name.to_string(), full);
            assert_eq!(ImageName::parse(full).unwrap(), name);
        }
        assert_eq!(
            ImageName::parse("nginx").unwrap().host(),
            "registry-1.docker.io"
        );
        assert_eq!(ImageName::parse("quay.io/x").unwrap().host(), "quay.io");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for wrong in [
            "",
            ":",
            "/",
            "a/",
            "Nginx",
            "a//b",
            "a..b",
            "-a",
            "a-",
            "a___b",
            "a._b",
            "x:",
            "x:-1",
            "x y",
            "quay.io/",
            "quay.io/X",
            "a.b:port/x",
            "a.b:99999/x",
            "-a.b/x",
            "[::z]/x",
            "é",
            "x:é",
            "https://quay.io/x",
        ] {
            let error = ImageName::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{wrong}");
            assert!(error.to_string().contains(wrong) && error.hint().is_some());
        }
        assert!(ImageName::parse(&format!("x:{}", "a".repeat(129))).is_err());
        assert!(ImageName::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn a_name_with_a_digest_tells_what_to_write() {
        let digest = "a".repeat(64);
        for (name, advice) in [("quay.io/x/y:v1", "`quay.io/x/y:v1`"), ("x", "`x:TAG`")] {
            let error = ImageName::parse(&format!("{name}@sha256:{digest}")).unwrap_err();
            assert!(error.to_string().contains("by its digest"), "{error}");
            assert!(error.hint().unwrap().contains(advice), "{:?}", error.hint());
        }
    }
}
