//! `imgbuild build`: builds images.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::base::{BaseArgs, base_request};
use super::next_steps::next_steps;
use super::open::open_project;
use super::output;
use super::shared_args::{GlobalArgs, NodeArgs, ProjectArgs};
use super::values::at_least_one;
use crate::assemble::{
    BaseUsage, BuildOptions, DEFAULT_MEMORY, Digests, Inputs, NodeImages, Outputs, build,
};
use crate::clock::source_date_epoch;
use crate::disk::PAGE_SIZE;
use crate::emit::{Format, Packing};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::patch::Patched;
use crate::size::gigabytes;

/// Arguments of `imgbuild build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub nodes: NodeArgs,
    #[command(flatten)]
    pub project: ProjectArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    /// Output folder
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Format of the images; repeatable
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "img.xz")]
    pub format: Vec<Format>,
    /// Compression effort (changed blocks of an img.xz; all of an img.zst or img.gz)
    #[arg(long, value_enum, default_value_t = Compress::Fast)]
    pub compress: Compress,
    /// Also write a block map, NAME.img.bmap
    ///
    /// With it `bmaptool copy` writes and verifies only the blocks in use. Reads the whole image
    /// once more.
    #[arg(long)]
    pub bmap: bool,
    /// SHA-256 checksums to compute
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Digests::Files)]
    pub checksums: Digests,
    /// Nodes to build at once, as far as --memory allows [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub jobs: Option<usize>,
    /// Approximate memory limit in MiB. A higher limit builds more nodes at once
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY >> 20,
        value_parser = at_least_one::<u64>)]
    pub memory: u64,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Compress {
    /// Reuse the base's compressed data in an img.xz; new data at xz preset 1, zstd level 3, gzip
    /// level 3
    Fast,
    /// Smaller files: re-encode changed img.xz blocks at preset 6, as Raspberry Pi OS does; zstd
    /// level 19, gzip level 9
    Best,
}

/// Builds the nodes.
pub fn run(args: &BuildArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    if args.nodes.profile.is_empty() && !args.nodes.all {
        return Err(Error::usage("which node?")
            .with_hint("name one with --profile NAME, or build all nodes with --all"));
    }
    let project = open_project(global, &args.project, &args.nodes.profile, job)?;
    let nodes = project.select(&args.nodes.profile, args.nodes.all)?;
    let options = options(args)?;
    if global.verbose && options.outputs.formats.contains(&Format::ImgXz) {
        job.progress.note(&format!(
            "xz encoder: {}",
            options.outputs.packing.xz.encoder()
        ));
    }
    let built = build(&project, &nodes, &options, job)?;
    for base in built.bases.iter().filter(|_| global.verbose) {
        job.progress.note(&describe_base(base));
    }
    for node in &built.nodes {
        report(node, args, global, job)?;
    }
    if let Some(sums) = &built.checksums {
        output::line(sums.display())?;
    }
    let access = &built.access;
    for path in access
        .kubeconfig
        .iter()
        .map(|(path, _)| path)
        .chain(&access.local_ca)
    {
        output::line(path.display())?;
    }
    for line in next_steps(&project, &nodes, &built)? {
        job.progress.note(&line);
    }
    Ok(())
}

/// Notes on one node, and the paths of its images on stdout.
fn report(node: &NodeImages, args: &BuildArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let name = &node.hostname;
    if global.verbose {
        let what = describe(name, &node.patched);
        job.progress
            .note(&format!("{what}; changed blocks: {}", node.blocks));
    }
    if node.patched.grown > 0 {
        job.progress.note(&card_needed(node));
    }
    let raw = node.images.first().and_then(|image| image.raw_sha256);
    if let (Digests::Raw, Some(digest)) = (args.checksums, raw) {
        job.progress
            .note(&format!("{name}: SHA-256 of the raw image: {digest}"));
    }
    for image in &node.images {
        output::line(image.path.display())?;
    }
    Ok(())
}

fn options(args: &BuildArgs) -> Result<BuildOptions> {
    let mut formats = args.format.clone();
    formats.dedup();
    let base = base_request(&args.base)?;
    let fetch = args.base.source.fetch_options()?;
    Ok(BuildOptions {
        inputs: Inputs {
            memory: args.memory.saturating_mul(1 << 20),
            lock: args.base.lock_policy(),
            ..Inputs::new(base, fetch, source_date_epoch()?)
        },
        outputs: Outputs {
            folder: args.out.clone(),
            formats,
            packing: match args.compress {
                Compress::Fast => Packing::fast(),
                Compress::Best => Packing::best(),
            },
            bmap: args.bmap,
            digests: args.checksums,
        },
        jobs: args
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get())),
    })
}

fn describe_base(base: &BaseUsage) -> String {
    let name = &base.description;
    match base.decoded {
        Some((decoded, blocks)) => format!("{name}: decoded {decoded} of {blocks} blocks"),
        None => format!("{name}: read from a raw image"),
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
    let size = node.patched.size.next_multiple_of(100_000_000);
    format!(
        "{}: the image is larger than its base: the card must have at least {}",
        node.hostname,
        gigabytes(size)
    )
}
