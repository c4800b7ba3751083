//! The arguments, as clap types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::emit::Format;

/// Turns Raspberry Pi OS into ready-to-flash images for the nodes of a home cluster.
///
/// Downloads Raspberry Pi OS, edits its partitions without root, and writes one image a node.
/// Without a `profiles/` folder it uses the built-in ones (master, worker-1, worker-2, gateway).
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub build: BuildArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what would be changed in an image, without a base and without secrets
    Plan(PlanArgs),
    /// Check all profiles, each by itself and against each other
    Check(CheckArgs),
    /// Write the built-in profiles (and roles) out to edit
    Init(InitArgs),
}

/// Options of everything that reads profiles.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// Folder with profiles/ and overlays/
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub project: PathBuf,
    /// Override a key of the profiles, e.g. --set k3s.version=v1.36.5+k3s1
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Which nodes.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Profile of a node; can be given several times
    #[arg(short, long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// All nodes
    #[arg(long, conflicts_with = "profile")]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub nodes: NodeArgs,
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Start from this image: a path, a URL, or a name like raspios-lite-arm64
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// SHA-256 of the file behind the URL of --base
    #[arg(long, value_name = "HEX", requires = "base")]
    pub base_sha256: Option<String>,
    /// Folder to write to
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// What to write: img.xz, img, img.zst or img.gz; can be given several times
    #[arg(long, value_name = "FORMAT", default_value = "img.xz")]
    pub format: Vec<Format>,
    /// How hard to compress: what changed in an img.xz, all of an img.zst or img.gz
    #[arg(long, value_enum, default_value_t = Compress::Fast)]
    pub compress: Compress,
    /// Write a block map beside the images too, as NAME.img.bmap: with it `bmaptool copy` writes, and
    /// verifies, only the blocks that are in use. Reads the whole image once more
    #[arg(long)]
    pub bmap: bool,
    /// Nodes built at the same time [default: one per processor]
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Use only what is in the cache, never the network
    #[arg(long)]
    pub offline: bool,
    /// Say more about what is done
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Compress {
    /// Quick (xz preset 1, zstd level 3, gzip level 3)
    Fast,
    /// Small: xz as Raspberry Pi OS itself (preset 6, zstd level 19, gzip level 9)
    Best,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub nodes: NodeArgs,
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Do not look whether the secrets are there
    #[arg(long)]
    pub no_secrets: bool,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder to write profiles/ into
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Write the built-in roles out too, as overlays/
    #[arg(long)]
    pub overlays: bool,
}
