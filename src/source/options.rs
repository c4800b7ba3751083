//! How sources are fetched: where the cache is, whether the network may be used.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::error::{Error, Result, ResultExt};
use crate::trust::{Fingerprint, OwnKey, Purpose, Trust};
use crate::url::Url;

/// Raspberry Pi Imager's list of operating systems.
pub const DEFAULT_INDEX_URL: &str =
    "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json";

/// Debian's archive of all that its archives ever had.
const DEFAULT_SNAPSHOT_URL: &str = "https://snapshot.debian.org/archive";

/// How URLs of Debian's archives begin, without their scheme, and what they are called there.
const DEBIAN_ARCHIVES: [(&str, &str); 3] = [
    ("deb.debian.org/debian/", "debian"),
    ("deb.debian.org/debian-security/", "debian-security"),
    ("security.debian.org/debian-security/", "debian-security"),
];

/// `20261124T230000Z`.
fn snapshot_time(time: i64) -> String {
    clock::utc(time).replace(['-', ':'], "")
}

/// How to fetch.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The folder downloads and decompressed images are kept in.
    pub cache_dir: PathBuf,
    /// Use only what the cache holds.
    pub offline: bool,
    /// The list the aliases of base images are looked up in.
    pub index_url: String,
    /// The pause before the first retry; each further one is twice as long.
    pub retry_delay: Duration,
    /// How long a server may say nothing.
    pub patience: Duration,
    /// Keys that count beside the pinned ones.
    pub trust: Trust,
    /// Names of what is believed without a signature.
    pub skip_signatures: BTreeSet<String>,
    /// Where archives of packages, keys and registries are asked in the place of their own: pairs of how a
    /// URL begins and how it begins there.
    pub mirrors: Vec<(String, String)>,
    /// The file with logins for registries of container images; it need not be there.
    pub docker_config: Option<PathBuf>,
    /// Where Debian keeps what its mirrors no longer have.
    pub snapshot_url: String,
    /// A base image that unpacks to more than this is refused.
    pub max_image_bytes: u64,
}

impl FetchOptions {
    /// The defaults, with a cache in `cache_dir`.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            offline: false,
            index_url: DEFAULT_INDEX_URL.to_owned(),
            retry_delay: Duration::from_secs(1),
            patience: Duration::from_secs(30),
            trust: Trust::default(),
            skip_signatures: BTreeSet::new(),
            mirrors: Vec::new(),
            docker_config: None,
            snapshot_url: DEFAULT_SNAPSHOT_URL.to_owned(),
            max_image_bytes: 64 << 30,
        }
    }

    /// The defaults of this platform, changed by `IMGBUILD_CACHE`, `IMGBUILD_INDEX_URL`,
    /// `IMGBUILD_MIRRORS`, `IMGBUILD_SNAPSHOT_URL` and `IMGBUILD_TRUST`. Logins for registries are where
    /// docker has them: `DOCKER_CONFIG`, or else `.docker` in the home folder.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Where `url` is asked for: at the first mirror that stands for how it begins.
    pub(super) fn mirrored(&self, url: &Url) -> Result<Url> {
        let asked = url.as_str();
        let found = self.mirrors.iter().find_map(|(from, to)| {
            let rest = asked.strip_prefix(from.as_str())?;
            Some(format!("{to}{rest}"))
        });
        found.map_or_else(|| Ok(url.clone()), |text| Url::parse(&text))
    }

    /// Where Debian keeps the file at `url` of one of its archives as it was at `time`, in seconds since
    /// 1970; `None` for what is not Debian's.
    pub(super) fn snapshot(&self, url: &Url, time: i64) -> Result<Option<Url>> {
        let found = DEBIAN_ARCHIVES.iter().find_map(|(begins, name)| {
            let path = url.as_str().split_once("://")?.1.strip_prefix(begins)?;
            Some(format!(
                "{}/{name}/{}/{path}",
                self.snapshot_url,
                snapshot_time(time)
            ))
        });
        found.map(|text| Url::parse(&text)).transpose()
    }

    fn from_lookup(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let cache = set("IMGBUILD_CACHE")
            .map(PathBuf::from)
            .or_else(|| default_cache(&set))
            .ok_or_else(|| {
                Error::usage(
                    "there is no place for the cache: neither HOME nor IMGBUILD_CACHE is set",
                )
                .with_hint("set IMGBUILD_CACHE to a folder with 8 GB to spare")
            })?;
        let mut options = Self::new(cache);
        let text = |name: &str| {
            let utf8 = |value: OsString| {
                let broken = |_| Error::usage(format!("{name} is not valid UTF-8"));
                value.into_string().map_err(broken)
            };
            set(name).map(utf8).transpose()
        };
        if let Some(url) = text("IMGBUILD_INDEX_URL")? {
            options.index_url = url;
        }
        if let Some(url) = text("IMGBUILD_SNAPSHOT_URL")? {
            options.snapshot_url = url;
        }
        options.docker_config = docker_config(&set);
        if let Some(list) = text("IMGBUILD_MIRRORS")? {
            options.mirrors = words(&list).map(mirror).collect::<Result<_>>()?;
        }
        if let Some(list) = text("IMGBUILD_TRUST")? {
            options.trust.own = words(&list).map(own_key).collect::<Result<_>>()?;
        }
        Ok(options)
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// `http://deb.debian.org/debian=http://mirror.lab/debian`.
fn mirror(word: &str) -> Result<(String, String)> {
    let pair = word
        .split_once('=')
        .filter(|(from, to)| !from.is_empty() && !to.is_empty());
    let (from, to) = pair.ok_or_else(|| {
        Error::usage(format!(
            "IMGBUILD_MIRRORS: `{word}` is not a pair of URLs with = between them"
        ))
    })?;
    Url::parse(to).context(|| "IMGBUILD_MIRRORS".into())?;
    Ok((from.to_owned(), to.to_owned()))
}

/// `debian=FINGERPRINT=/path/of/key.gpg`.
fn own_key(word: &str) -> Result<OwnKey> {
    let usage = |why: String| {
        Error::usage(format!("IMGBUILD_TRUST: `{word}`: {why}"))
            .with_hint("an entry is PURPOSE=FINGERPRINT=FILE; purposes are base, debian, debian-security and raspberry-pi")
    };
    let mut parts = word.splitn(3, '=');
    let (Some(purpose), Some(fingerprint), Some(file)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(usage("something is missing".to_owned()));
    };
    let purpose = match purpose {
        "base" => Purpose::BaseDownloads,
        "debian" => Purpose::Debian,
        "debian-security" => Purpose::DebianSecurity,
        "raspberry-pi" => Purpose::RaspberryPiArchive,
        other => return Err(usage(format!("there is no purpose `{other}`"))),
    };
    let fingerprint = Fingerprint::parse(fingerprint)
        .ok_or_else(|| usage(format!("`{fingerprint}` is not a fingerprint")))?;
    let key = fs::read(file).map_err(|error| usage(format!("{file}: {error}")))?;
    Ok(OwnKey {
        purpose,
        fingerprint,
        key,
    })
}

fn docker_config(set: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = || set("HOME").or_else(|| set("USERPROFILE"));
    let folder = set("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(home()?).join(".docker")))?;
    Some(folder.join("config.json"))
}

fn default_cache(set: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let home = || set("HOME").map(PathBuf::from);
    let folder = if cfg!(target_os = "macos") {
        home()?.join("Library/Caches")
    } else if cfg!(windows) {
        PathBuf::from(set("LOCALAPPDATA")?)
    } else {
        set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path: &PathBuf| Path::is_absolute(path))
            .or_else(|| Some(home()?.join(".cache")))?
    };
    Some(folder.join("imgbuild"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn options(variables: &[(&str, &str)]) -> Result<FetchOptions> {
        FetchOptions::from_lookup(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_environment_chooses_cache_and_index() {
        let options = options(&[
            ("HOME", "/home/pi"),
            ("IMGBUILD_CACHE", "/big/cache"),
            ("IMGBUILD_INDEX_URL", "http://mirror.lab/list.json"),
        ])
        .unwrap();
        assert_eq!(options.cache_dir, Path::new("/big/cache"));
        assert_eq!(options.index_url, "http://mirror.lab/list.json");
    }

    #[test]
    fn logins_are_where_docker_has_them() {
        let of = |variables: &[(&str, &str)]| {
            let all = [&[("IMGBUILD_CACHE", "/c")], variables].concat();
            options(&all).unwrap().docker_config
        };
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            of(&[("HOME", "/home/pi")]),
            path("/home/pi/.docker/config.json")
        );
        let both = [("HOME", "/home/pi"), ("DOCKER_CONFIG", "/d")];
        assert_eq!(of(&both), path("/d/config.json"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn the_cache_follows_xdg_unless_it_is_relative() {
        let at = |xdg| {
            let set = [("HOME", "/home/pi"), ("XDG_CACHE_HOME", xdg)];
            options(&set).unwrap().cache_dir
        };
        assert_eq!(at("/var/xdg"), Path::new("/var/xdg/imgbuild"));
        assert_eq!(at("xdg"), Path::new("/home/pi/.cache/imgbuild"));
        assert_eq!(at(""), Path::new("/home/pi/.cache/imgbuild"));
    }

    #[test]
    fn mirrors_and_keys_of_ones_own_are_pairs_and_triples() {
        let with = |name, value| options(&[("HOME", "/home/pi"), (name, value)]);
        let found = with(
            "IMGBUILD_MIRRORS",
            "http://a/debian=http://b/d, http://c=http://d",
        )
        .unwrap();
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let expected = [
            pair("http://a/debian", "http://b/d"),
            pair("http://c", "http://d"),
        ];
        assert_eq!(found.mirrors, expected);
        for (name, wrong) in [
            ("IMGBUILD_MIRRORS", "http://a"),
            ("IMGBUILD_MIRRORS", "http://a=b"),
            ("IMGBUILD_TRUST", "debian"),
            ("IMGBUILD_TRUST", "all=00=/dev/null"),
            ("IMGBUILD_TRUST", "debian=00=/dev/null"),
        ] {
            let error = with(name, wrong).unwrap_err();
            let words: Vec<String> = error.chain().map(ToString::to_string).collect();
            assert!(words.join(" ").contains(name), "{wrong}: {words:?}");
        }
    }

    #[test]
    fn without_a_home_the_error_names_the_variable_to_set() {
        let error = options(&[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.hint().unwrap().contains("IMGBUILD_CACHE"));
    }
}
