//! `imgbuild --profile NAME`: builds images.

use std::path::Path;

use super::args::{BaseArgs, BuildArgs, Compress};
use crate::build::{BuildOptions, NodeImages, build};
use crate::clock::source_date_epoch;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::patch::Patched;
use crate::project::Project;
use crate::source::{BaseRequest, FetchOptions};

pub fn run(args: &BuildArgs, job: &Job) -> Result<()> {
    if args.nodes.profile.is_empty() && !args.nodes.all {
        return Err(Error::usage(
            "which node? Name one with --profile NAME, or build --all",
        ));
    }
    let project = Project::open(
        &args.project.project,
        &args.project.set,
        &args.nodes.profile,
    )?;
    if project.built_in {
        job.progress
            .note("using the built-in profiles; `imgbuild init` writes them out to edit");
    }
    let nodes = project.select(&args.nodes.profile, args.nodes.all)?;
    let (made, sums) = build(&project, &nodes, &options(args)?, job)?;
    for node in &made {
        if args.verbose {
            job.progress.note(&describe(&node.hostname, &node.patched));
        }
        if node.patched.grown > 0 {
            job.progress.note(&card_needed(node));
        }
        for image in &node.images {
            println!("{}", image.path.display());
        }
    }
    println!("{}", sums.display());
    Ok(())
}

fn options(args: &BuildArgs) -> Result<BuildOptions> {
    let mut formats = args.format.clone();
    formats.dedup();
    Ok(BuildOptions {
        out: args.out.clone(),
        formats,
        base: base_request(&args.base),
        fetch: fetch_options(&args.base)?,
        xz_preset: match args.compress {
            Compress::Fast => 1,
            Compress::Best => 6,
        },
        jobs: args
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())),
        time: source_date_epoch()?,
    })
}

pub(super) fn fetch_options(args: &BaseArgs) -> Result<FetchOptions> {
    let mut fetch = FetchOptions::from_env()?;
    fetch.offline = args.offline;
    Ok(fetch)
}

/// What is a file here is that file, whatever its name.
pub(super) fn base_request(args: &BaseArgs) -> Option<BaseRequest> {
    let image = args.base.as_ref()?;
    let path = Path::new(image);
    Some(match path.is_file() {
        true => BaseRequest::Path(path.to_owned()),
        false => BaseRequest::from_setting(image, args.base_sha256.clone()),
    })
}

pub(super) fn describe(hostname: &str, patched: &Patched) -> String {
    format!(
        "{hostname}: {} edits, identity {}, {} KiB of the disk differ from the base, grown by {} MiB",
        patched.edits,
        if patched.cloud_init {
            "through cloud-init"
        } else {
            "offline"
        },
        patched.changed >> 10,
        patched.grown >> 20,
    )
}

/// On a card that is too small the node finds a file system without an end, and stops: better told before.
fn card_needed(node: &NodeImages) -> String {
    let tenths = node.patched.size.div_ceil(100_000_000);
    format!(
        "{}: larger than its base: the card must have at least {}.{} GB",
        node.hostname,
        tenths / 10,
        tenths % 10
    )
}
