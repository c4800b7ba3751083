//! `imgbuild --profile NAME`: builds images.

use std::path::Path;

use super::args::{BaseArgs, BuildArgs, Checksums, Compress};
use super::open_project;
use super::output;
use crate::build::{BaseUse, BuildOptions, Digests, NodeImages, build};
use crate::clock::source_date_epoch;
use crate::disk::PAGE_SIZE;
use crate::emit::{Format, Packing};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::patch::Patched;
use crate::source::{BaseRequest, FetchOptions};

pub fn run(args: &BuildArgs, job: &Job) -> Result<()> {
    if args.nodes.profile.is_empty() && !args.nodes.all {
        return Err(Error::usage(
            "which node? Name one with --profile NAME, or build --all",
        ));
    }
    let project = open_project(&args.project, &args.nodes.profile, job)?;
    let nodes = project.select(&args.nodes.profile, args.nodes.all)?;
    let options = options(args)?;
    if args.verbose && options.formats.contains(&Format::ImgXz) {
        job.progress
            .note(&format!("xz encoder: {}", options.packing.xz.encoder()));
    }
    let built = build(&project, &nodes, &options, job)?;
    for base in built.bases.iter().filter(|_| args.verbose) {
        job.progress.note(&describe_base(base));
    }
    for node in &built.nodes {
        if args.verbose {
            let what = describe(&node.hostname, &node.patched);
            job.progress
                .note(&format!("{what}; the changes are in {}", node.blocks));
        }
        if node.patched.grown > 0 {
            job.progress.note(&card_needed(node));
        }
        if let (Checksums::All, Some(image)) = (args.checksums, node.images.first()) {
            let digest = image.raw_sha256.as_deref().unwrap_or_default();
            let name = &node.hostname;
            job.progress
                .note(&format!("{name}: sha256 of the raw image: {digest}"));
        }
        for image in &node.images {
            output::line(image.path.display())?;
        }
    }
    if let Some(sums) = built.checksums {
        output::line(sums.display())?;
    }
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
        packing: match args.compress {
            Compress::Fast => Packing::fast(),
            Compress::Best => Packing::best(),
        },
        bmap: args.bmap,
        jobs: args
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())),
        memory: args.memory.saturating_mul(1 << 20),
        digests: match args.checksums {
            Checksums::None => Digests::Free,
            Checksums::Files => Digests::Files,
            Checksums::All => Digests::Raw,
        },
        time: source_date_epoch()?,
    })
}

pub(super) fn fetch_options(args: &BaseArgs) -> Result<FetchOptions> {
    let mut fetch = FetchOptions::from_env()?;
    fetch.offline = args.offline;
    Ok(fetch)
}

fn describe_base(base: &BaseUse) -> String {
    let name = &base.description;
    match base.decoded {
        Some((decoded, blocks)) => format!("{name}: decoded {decoded} of {blocks} blocks"),
        None => format!("{name}: read from a raw image"),
    }
}

pub(super) fn base_request(args: &BaseArgs) -> Option<BaseRequest> {
    let image = args.base.as_ref()?;
    Some(base_named(image, args.base_sha256.clone()))
}

/// What is a file here is that file, whatever its name.
pub(super) fn base_named(image: &str, sha256: Option<String>) -> BaseRequest {
    let path = Path::new(image);
    if path.is_file() {
        BaseRequest::Path {
            path: path.to_owned(),
            sha256,
        }
    } else {
        BaseRequest::from_setting(image, sha256)
    }
}

pub(super) fn describe(hostname: &str, patched: &Patched) -> String {
    let identity = match (&patched.cloud_init_off, patched.cloud_init) {
        (_, true) => "through cloud-init".to_owned(),
        (None, false) => "offline".to_owned(),
        (Some(reason), false) => format!("offline (cloud-init of the base is off: {reason})"),
    };
    format!(
        "{hostname}: {} edits, identity {identity}, {} pages of 4 KiB changed, grown by {} MiB",
        patched.edits,
        patched.changed / PAGE_SIZE,
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
