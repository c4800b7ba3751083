//! The command line as a whole, as clap types. The arguments of a command are in its file.

use clap::{Parser, Subcommand};

use super::build::BuildArgs;
use super::cache::CacheArgs;
use super::check::CheckArgs;
use super::fetch::FetchArgs;
use super::flash::FlashArgs;
use super::init::InitArgs;
use super::kubeconfig::KubeconfigArgs;
use super::plan::PlanArgs;
use super::shared_args::GlobalArgs;
use super::update::UpdateArgs;
use super::verify::VerifyArgs;

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

/// What is to be done.
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
    /// Look up again what imgbuild.lock pins, and print old → new
    ///
    /// The first build pins the base image and every file that the nodes fetch in imgbuild.lock, and
    /// later builds use the same ones. Only this command moves them.
    Update(UpdateArgs),
    /// Download everything that nodes are made from, for builds with --offline
    Fetch(FetchArgs),
    /// Make a kubeconfig for the cluster, with a certificate of its own
    ///
    /// A build of the first server writes one to out/kubeconfig, which lasts 30 days. It is valid as soon
    /// as the cluster has booted. The keys are those of secrets.toml.
    Kubeconfig(KubeconfigArgs),
    /// Show or empty the cache of downloads
    Cache(CacheArgs),
    /// Write a node, or a finished image, to a card
    ///
    /// A node is written straight from its base to the card, without an image file. Only the parts
    /// that the file systems use are written, the partition table last. Everything is read back and
    /// compared. Mounted disks are refused.
    Flash(FlashArgs),
    /// Compare an image, or a card, with the record of its build
    ///
    /// Exit code 0: nothing differs. Exit code 3: something does, and every path is printed that
    /// differs. If the SHA-256 of the image is right, files are compared only with --deep.
    Verify(VerifyArgs),
}
