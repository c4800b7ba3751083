//! `imgbuild flash`: writes a node or an image to a card.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::base::{BaseArgs, base_request};
use super::build::describe;
use super::open::open_project;
use super::shared_args::{GlobalArgs, ProjectArgs};
use super::{confirm, output};
use crate::assemble::{Inputs, open_image, patched_node};
use crate::clock::source_date_epoch;
use crate::disk::{CowDisk, ReadAt};
use crate::error::{Error, Result};
use crate::flash::{Contents, FlashOptions, Flashed, Override, System, Target, check_image, flash};
use crate::image::{self, Used};
use crate::job::Job;

/// Arguments of `imgbuild flash`.
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

/// Writes the card.
pub fn run(args: &FlashArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let examine = || {
        let allowed = Override {
            partition: args.partition,
            system_disk: args.system_disk.clone(),
        };
        Target::examine(&args.to, &allowed, &System::host())
    };
    // Better refused now than after a download.
    let target = examine()?;
    for source in [
        args.image.as_deref(),
        args.base.base.as_ref().map(Path::new),
    ] {
        target.check_source(source)?;
    }
    let image = args.image.as_deref();
    let image = image.map(|path| image_disk(path, args, job)).transpose()?;
    let contents = target.contents()?;
    confirm::overwrite(&target, &contents, args.yes, &job.cancel)?;
    let disk = match (image, &args.profile) {
        (Some(disk), _) => disk,
        (None, Some(profile)) => node(profile, args, global, job)?,
        (None, None) => return Err(Error::usage("which node? Name one with --profile NAME")),
    };
    let used = match image::used_ranges(&disk, &job.cancel)? {
        // A node is known to the last byte; an image may be anything, and be written as a whole.
        Used::Unknown(why) if args.image.is_some() => {
            job.progress
                .note(&format!("writing all of the image, free space too: {why}"));
            vec![0..disk.len()]
        }
        used => used.known()?,
    };
    let target = examine()?;
    unchanged(&target, &contents)?;
    job.progress.note(&format!("writing to {target}"));
    let options = FlashOptions {
        verify: !args.no_verify,
    };
    let flashed = flash(disk.as_ref(), &used, &target, options, job)?;
    job.progress.note(&describe_flashed(&flashed));
    output::line(target.path().display())
}

/// The image at `path`, which must be one.
fn image_disk(path: &Path, args: &FlashArgs, job: &Job) -> Result<Arc<CowDisk>> {
    let disk = open_image(path, &args.base.source.fetch_options()?, job)?;
    check_image(disk.as_ref(), path, args.partition)?;
    Ok(disk)
}

/// The work takes minutes, and cards look like each other.
fn unchanged(target: &Target, before: &Contents) -> Result<()> {
    if target.contents()? == *before {
        return Ok(());
    }
    Err(
        Error::refused(format!("{target} does not hold what it held a moment ago"))
            .with_hint("leave cards in their reader, and run the same command again"),
    )
}

fn node(profile: &str, args: &FlashArgs, global: &GlobalArgs, job: &Job) -> Result<Arc<CowDisk>> {
    let selected = [profile.to_owned()];
    let project = open_project(global, &args.project, &selected, job)?;
    let nodes = project.select(&selected, false)?;
    let node = nodes
        .first()
        .ok_or_else(|| Error::usage(format!("there is no profile `{profile}`")))?;
    let inputs = Inputs {
        lock: args.base.lock_policy(),
        ..Inputs::new(
            base_request(&args.base)?,
            args.base.source.fetch_options()?,
            source_date_epoch()?,
        )
    };
    let made = patched_node(&project, node, &inputs, job)?;
    if global.verbose {
        job.progress.note(&describe(&node.hostname, &made.patched));
    }
    Ok(made.disk)
}

fn describe_flashed(flashed: &Flashed) -> String {
    let mut text = format!(
        "{} MiB written{}, {} MiB are free space and were left as they are",
        flashed.written >> 20,
        if flashed.verified {
            " and read back"
        } else {
            ""
        },
        flashed.skipped >> 20,
    );
    if flashed.wiped_backup {
        text.push_str("; the backup of an older partition table was wiped from the disk's end");
    }
    text
}
