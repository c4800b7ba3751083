//! `imgbuild cache`: what is in the cache, and removing what nobody uses.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Args, Subcommand};

use super::output;
use super::shared_args::GlobalArgs;
use crate::digest::Digest;
use crate::error::Result;
use crate::job::Job;
use crate::lock::{LockBook, LockPolicy};
use crate::size::human;
use crate::source::{CachedFile, FetchOptions, blobs_of, cached_files, unused};

/// Days after which what nobody used is removed.
const UNUSED_DAYS: u64 = 30;

/// Arguments of `imgbuild cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What is to be done with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List the files in the cache, the largest first
    List,
    /// Remove what was not used for a month
    ///
    /// What the imgbuild.lock of the current project pins always stays.
    Prune {
        /// Remove what was not used for this many days; 0: everything
        #[arg(long, value_name = "DAYS", default_value_t = UNUSED_DAYS)]
        unused_for: u64,
        /// Show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// Shows or empties the cache.
pub fn run(args: &CacheArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let folder = FetchOptions::from_env()?.cache_dir;
    let files = cached_files(&folder)?;
    let place = folder.display();
    match args.command {
        CacheCommand::List => {
            let all: Vec<&CachedFile> = files.iter().collect();
            all.iter()
                .try_for_each(|file| output::line(describe(file)))?;
            job.progress.note(&format!("{place}: {}", sum(&all)));
        }
        CacheCommand::Prune {
            unused_for,
            dry_run,
        } => {
            let removed = unused(&files, unused_for, &pinned(global, &folder)?);
            for file in &removed {
                if !dry_run {
                    file.remove()?;
                }
                output::line(describe(file))?;
            }
            let done = if dry_run {
                "would be removed"
            } else {
                "removed"
            };
            job.progress
                .note(&format!("{place}: {} {done}", sum(&removed)));
        }
    }
    Ok(())
}

/// What the project of this folder pins.
fn pinned(global: &GlobalArgs, cache: &Path) -> Result<BTreeSet<Digest>> {
    let folder = global.project.as_deref().unwrap_or(".".as_ref());
    let lock = LockBook::open(folder, LockPolicy::Locked)?.content();
    let mut pinned = lock.digests();
    pinned.extend(blobs_of(cache, &lock.image)?);
    Ok(pinned)
}

fn describe(file: &CachedFile) -> String {
    let (size, kind) = (human(file.bytes), file.kind.name());
    let age = match file.unused {
        0 => "used today".to_owned(),
        1 => "unused for 1 day".to_owned(),
        days => format!("unused for {days} days"),
    };
    format!("{size:>10}  {kind:<20}  {age:<19}  {}", file.name)
}

fn sum(files: &[&CachedFile]) -> String {
    let noun = if files.len() == 1 { "file" } else { "files" };
    let bytes = files.iter().map(|file| file.bytes).sum();
    format!("{} {noun}, {}", files.len(), human(bytes))
}
