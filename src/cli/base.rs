//! Arguments that say what nodes are made from.

use std::path::Path;

use clap::Args;

use crate::error::Result;
use crate::lock::LockPolicy;
use crate::source::{BaseRequest, FetchOptions};

/// Where everything comes from.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Use only the cache, never the network
    #[arg(long)]
    pub offline: bool,
    /// Believe the base image or package archive NAME without its signature; repeatable
    #[arg(long, value_name = "NAME")]
    pub insecure_skip_signature: Vec<String>,
}

impl SourceArgs {
    /// How downloads are made.
    pub fn fetch_options(&self) -> Result<FetchOptions> {
        let mut fetch = FetchOptions::from_env()?;
        fetch.offline = self.offline;
        let skipped = self.insecure_skip_signature.iter().cloned();
        fetch.skip_signatures.extend(skipped);
        Ok(fetch)
    }
}

/// What nodes are made from.
#[derive(Debug, Args)]
pub struct BaseArgs {
    /// Base image: a path, a URL, or a name like raspios-lite-arm64
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// SHA-256 of the file that --base names
    #[arg(long, value_name = "HEX", requires = "base")]
    pub base_sha256: Option<String>,
    /// Fail if anything is not pinned in imgbuild.lock, in place of pinning it
    #[arg(long)]
    pub locked: bool,
    #[command(flatten)]
    pub source: SourceArgs,
}

impl BaseArgs {
    /// What may be done about pins.
    pub fn lock_policy(&self) -> LockPolicy {
        if self.locked {
            LockPolicy::Locked
        } else {
            LockPolicy::Add
        }
    }
}

/// The base that was given. A name that is a file here means that file.
pub fn base_request(args: &BaseArgs) -> Result<Option<BaseRequest>> {
    let named = |image: &String| base_named(image, args.base_sha256.as_deref());
    args.base.as_ref().map(named).transpose()
}

/// What is a file here is that file, whatever its name.
pub fn base_named(image: &str, sha256: Option<&str>) -> Result<BaseRequest> {
    if Path::new(image).is_file() {
        BaseRequest::at_path(image, sha256)
    } else {
        BaseRequest::from_setting(image, sha256)
    }
}
