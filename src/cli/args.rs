//! The arguments, as clap types.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::values::at_least_one;
use crate::build::DEFAULT_MEMORY;
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
    /// Write a node, or an image that was built, to a card
    ///
    /// A node goes straight from its base to the card: no image file is made. Only what the file
    /// systems use is written, the partition table last, and everything is read back and compared.
    /// Disks that are mounted are refused.
    Flash(FlashArgs),
}

/// Options of everything that reads profiles.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// Folder with profiles/ and overlays/ [default: the current folder]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub project: Option<PathBuf>,
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

/// What nodes are made from.
#[derive(Debug, Args)]
pub struct BaseArgs {
    /// Start from this image: a path, a URL, or a name like raspios-lite-arm64
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// SHA-256 of the file that --base names
    #[arg(long, value_name = "HEX", requires = "base")]
    pub base_sha256: Option<String>,
    /// Use only what is in the cache, never the network
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub nodes: NodeArgs,
    #[command(flatten)]
    pub project: ProjectArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    /// Folder to write to
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Format of the images; repeatable
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "img.xz")]
    pub format: Vec<Format>,
    /// How hard to compress: what changed in an img.xz, all of an img.zst or img.gz
    #[arg(long, value_enum, default_value_t = Compress::Fast)]
    pub compress: Compress,
    /// Write a block map beside the images too, as NAME.img.bmap: with it `bmaptool copy` writes, and
    /// verifies, only the blocks that are in use. Reads the whole image once more
    #[arg(long)]
    pub bmap: bool,
    /// Which SHA-256 to compute
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Checksums::Files)]
    pub checksums: Checksums,
    /// Nodes built at the same time, as far as --memory allows [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub jobs: Option<usize>,
    /// MiB of memory to stay below, about, whatever the number of nodes; more memory, more at a time
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY >> 20,
        value_parser = at_least_one::<u64>)]
    pub memory: u64,
    /// Say more about what is done
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Compress {
    /// Quick: an img.xz keeps what is still good of the base's compressed data, with xz preset 1 for
    /// new data; zstd level 3, gzip level 3
    Fast,
    /// Small: in an img.xz all blocks that changed as Raspberry Pi OS itself packs them (preset 6);
    /// zstd level 19, gzip level 9
    Best,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Checksums {
    /// None that takes a pass over a raw image of its own: an img is then a copy or clone of the
    /// base with its changes, in no time, and not in SHA256SUMS
    None,
    /// Of every file that is written, in SHA256SUMS
    Files,
    /// Of the raw image in an img.xz, too, as the manifests of Raspberry Pi Imager have it: all of
    /// the base has to be unpacked for that
    All,
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
    /// Also check against the base images: IMAGE, or the profiles' own. Never downloads
    #[arg(long, value_name = "IMAGE", num_args = 0..=1)]
    pub base: Option<Option<String>>,
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

#[derive(Debug, Args)]
pub struct FlashArgs {
    /// Image to write: .img, or packed as .xz, .gz, .zst or .zip
    #[arg(conflicts_with_all = ["profile", "set", "base"], required_unless_present = "profile")]
    pub image: Option<PathBuf>,
    /// Profile of the node to write
    #[arg(short, long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Disk to write to, such as /dev/sda or /dev/disk/by-id/usb-…, or a file
    #[arg(long, value_name = "DEVICE")]
    pub to: PathBuf,
    #[command(flatten)]
    pub project: ProjectArgs,
    #[command(flatten)]
    pub base: BaseArgs,
    /// Overwrite what DEVICE holds without asking
    #[arg(short, long)]
    pub yes: bool,
    /// Do not read back what was written
    #[arg(long)]
    pub no_verify: bool,
    /// Allow a partition in the place of a whole disk
    #[arg(long)]
    pub partition: bool,
    /// Allow to overwrite DEVICE, named again, although this machine's system or its /etc/fstab use
    /// it. What is mounted is refused all the same
    #[arg(long, value_name = "DEVICE")]
    pub system_disk: Option<PathBuf>,
    /// Say more about what is done
    #[arg(short, long)]
    pub verbose: bool,
}
