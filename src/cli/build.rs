//! `imgbuild --profile NAME`: builds images.

use std::path::Path;

use super::args::{BuildArgs, Compress};
use crate::build::{BuildOptions, NodeImages, build};
use crate::clock::source_date_epoch;
use crate::error::{Error, Result};
use crate::job::Job;
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
            job.progress.note(&describe(node));
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
    let mut fetch = FetchOptions::from_env()?;
    fetch.offline = args.offline;
    let (xz_preset, zstd_level, gzip_level) = match args.compress {
        Compress::Fast => (1, 3, 3),
        Compress::Best => (6, 19, 9),
    };
    Ok(BuildOptions {
        out: args.out.clone(),
        formats,
        base: args.base.as_ref().map(|image| base_request(image, args)),
        fetch,
        xz_preset,
        zstd_level,
        gzip_level,
        bmap: args.bmap,
        jobs: args
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())),
        time: source_date_epoch()?,
    })
}

/// What is a file here is that file, whatever its name.
fn base_request(image: &str, args: &BuildArgs) -> BaseRequest {
    let path = Path::new(image);
    match path.is_file() {
        true => BaseRequest::Path(path.to_owned()),
        false => BaseRequest::from_setting(image, args.base_sha256.clone()),
    }
}

fn describe(node: &NodeImages) -> String {
    let patched = &node.patched;
    format!(
        "{}: {} edits, identity {}, {} KiB of the disk differ from the base, grown by {} MiB",
        node.hostname,
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
