//! The arguments, as clap types.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::values::at_least_one;
use crate::assemble::DEFAULT_MEMORY;
use crate::emit::Format;

/// Build ready-to-flash Raspberry Pi OS images for the nodes of a home cluster.
///
/// imgbuild downloads Raspberry Pi OS, edits its partitions without root, and writes one image for
/// each node. Without a `profiles/` folder it uses the built-in profiles (master, worker-1, worker-2,
/// gateway).
#[derive(Debug, Parser)]
#[command(
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "`imgbuild --profile master` is short for `imgbuild build --profile master`."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command; they may also stand before it.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Folder with profiles/ and overlays/ [default: the current folder]
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Print more detail
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build images
    Build(BuildArgs),
    /// Show the planned edits; needs no base image and no secrets
    Plan(PlanArgs),
    /// Check all profiles, each on its own and against each other
    Check(CheckArgs),
    /// Write the built-in profiles (and roles) to a folder, to edit
    Init(InitArgs),
    /// Write a node, or a finished image, to a card
    ///
    /// A node is written straight from its base to the card, without an image file. Only the parts
    /// that the file systems use are written, the partition table last. Everything is read back and
    /// compared. Mounted disks are refused.
    Flash(FlashArgs),
}

/// Options of everything that reads profiles.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// Override a key of the profiles, e.g. --set k3s.version=v1.36.5+k3s1; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Which nodes.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Node, by the name of its profile or by its host name; repeatable
    #[arg(short, long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// All nodes
    #[arg(long, conflicts_with = "profile")]
    pub all: bool,
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
    /// Use only the cache, never the network
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
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Checksums::Files)]
    pub checksums: Checksums,
    /// Nodes to build at once, as far as --memory allows [default: one per processor]
    #[arg(short, long, value_name = "N", value_parser = at_least_one::<usize>)]
    pub jobs: Option<usize>,
    /// Approximate memory limit in MiB. A higher limit builds more nodes at once
    #[arg(long, value_name = "MIB", default_value_t = DEFAULT_MEMORY >> 20,
        value_parser = at_least_one::<u64>)]
    pub memory: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Compress {
    /// Reuse the base's compressed data in an img.xz; new data at xz preset 1, zstd level 3, gzip
    /// level 3
    Fast,
    /// Smaller files: re-encode changed img.xz blocks at preset 6, as Raspberry Pi OS does; zstd
    /// level 19, gzip level 9
    Best,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Checksums {
    /// Skip checksums that need an extra pass. An img is then copied or cloned at once and is not
    /// listed in SHA256SUMS
    None,
    /// Hash every file that is written, in SHA256SUMS
    Files,
    /// Also hash the raw image inside packed files, as Raspberry Pi Imager's manifests require.
    /// Decodes the whole base
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
    /// Print one file as it will be on the node, with secrets masked
    ///
    /// The boot partition is at /boot/firmware. For a file of the base that is only edited, the
    /// edits are printed.
    #[arg(long, value_name = "PATH", conflicts_with = "json")]
    pub show: Option<String>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub project: ProjectArgs,
    /// Do not check that secrets are available
    #[arg(long)]
    pub no_secrets: bool,
    /// Also check against the base images: IMAGE, or the profiles' own. Never downloads
    #[arg(long, value_name = "IMAGE", num_args = 0..=1)]
    pub base: Option<Option<String>>,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder to write profiles/ into [default: that of --project]
    pub folder: Option<PathBuf>,
    /// Also write the built-in roles, as overlays/
    #[arg(long)]
    pub overlays: bool,
}

#[derive(Debug, Args)]
pub struct FlashArgs {
    /// Image to write: .img, or packed as .xz, .gz, .zst or .zip
    #[arg(conflicts_with_all = ["profile", "set", "base"], required_unless_present = "profile")]
    pub image: Option<PathBuf>,
    /// Node to write, by the name of its profile or by its host name
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
    /// Allow a partition as the target
    #[arg(long)]
    pub partition: bool,
    /// Overwrite a disk that this machine's system or /etc/fstab uses; repeat its name to confirm
    ///
    /// Mounted disks are still refused.
    #[arg(long, value_name = "DEVICE")]
    pub system_disk: Option<PathBuf>,
}

/// What a word before the command is.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// A global option.
    Global,
    /// A global option whose value is the next word.
    GlobalWithValue,
    /// An option of a command that was not named.
    Other,
    /// A command, `--help` or `--version`.
    End,
}

impl Word {
    fn of(word: &str) -> Self {
        match word {
            "--verbose" | "--quiet" => return Self::Global,
            "--project" => return Self::GlobalWithValue,
            "--" | "--help" | "--version" => return Self::End,
            _ if word.starts_with("--project=") => return Self::Global,
            _ if word.starts_with("--") => return Self::Other,
            _ => {}
        }
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            return Self::End;
        };
        match letters.trim_start_matches(['v', 'q']) {
            "" => Self::Global,
            "C" => Self::GlobalWithValue,
            rest if rest.starts_with('C') => Self::Global,
            rest if rest.starts_with(['h', 'V']) => Self::End,
            _ => Self::Other,
        }
    }
}

/// The command line with `build` written out where options stand without a command.
pub fn with_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if let Some(place) = place_of_build(&args) {
        args.insert(place, "build".into());
    }
    args
}

fn place_of_build(args: &[OsString]) -> Option<usize> {
    let mut place = 1;
    loop {
        match Word::of(args.get(place)?.to_str()?) {
            Word::Global => place += 1,
            Word::GlobalWithValue => place += 2,
            Word::Other => return Some(place),
            Word::End => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = format!("imgbuild {line}");
        Cli::try_parse_from(with_command(words.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_without_a_command_are_those_of_build() {
        for line in [
            "--profile a -p b",
            "-v --profile a",
            "-vp a",
            "-C x --set a=b --all",
            "-qC x --all",
            "-Cx -j 2 --all",
            "--project=x --offline",
            "-p plan",
        ] {
            let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(matches!(cli.command, Command::Build(_)), "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_and_behind_the_command() {
        for line in [
            "-C x -v plan --all",
            "plan --all -v -C x",
            "-vCx plan --all",
            "-v plan --project x --all",
            "--project x plan --verbose --all",
        ] {
            let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(matches!(cli.command, Command::Plan(_)), "{line}");
            assert!(cli.global.verbose && !cli.global.quiet, "{line}");
            assert_eq!(cli.global.project, Some("x".into()), "{line}");
        }
    }

    #[test]
    fn a_command_behind_build_options_is_no_command() {
        assert!(parse("--all plan").is_err());
        assert!(parse("-v").is_err());
    }
}
