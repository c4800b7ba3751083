//! How sources are fetched: where the cache is, whether the network may be used.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// Raspberry Pi Imager's list of operating systems.
pub const DEFAULT_INDEX_URL: &str =
    "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json";

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
            max_image_bytes: 64 << 30,
        }
    }

    /// The defaults of this platform, changed by `IMGBUILD_CACHE` and `IMGBUILD_INDEX_URL`.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var_os(name))
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
        if let Some(url) = set("IMGBUILD_INDEX_URL") {
            options.index_url = url
                .into_string()
                .map_err(|_| Error::usage("IMGBUILD_INDEX_URL is not valid UTF-8"))?;
        }
        Ok(options)
    }
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
    fn without_a_home_the_error_names_the_variable_to_set() {
        let error = options(&[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.hint().unwrap().contains("IMGBUILD_CACHE"));
    }
}
