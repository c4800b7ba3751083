//! What a base is for a plan: whether the identity goes through cloud-init, and which edits apply.

use std::sync::Arc;

use super::{boot_files, cloud_init};
use crate::config::FirstBoot;
use crate::disk::CowDisk;
use crate::error::{Error, Result};
use crate::ext4::{self, Ext4};
use crate::fat::Fat;
use crate::image::cloud_init::CloudInit;
use crate::image::root_partition::Chosen;
use crate::image::unit_files;
use crate::plan::{Edit, Plan, When};

/// What a base tells about itself.
pub struct Base {
    pub cloud_init: CloudInit,
    pub space: ext4::Space,
}

impl Base {
    /// Looks at the root file system `fs` and at the boot file system `fat`; refuses a base that
    /// contradicts itself.
    pub fn probe(
        plan: &Plan,
        fs: &Ext4,
        disk: &Arc<CowDisk>,
        chosen: &Chosen,
        fat: &Fat,
    ) -> Result<Self> {
        let fstab = unit_files::text(fs, "/etc/fstab")?.unwrap_or_default();
        chosen.check_fstab(disk, &fstab)?;
        let line = boot_files::planned_kernel_line(fat, &plan.edits)?;
        Ok(Self {
            cloud_init: cloud_init::probe(fs, &line, &plan.edits)?,
            space: fs.space()?,
        })
    }

    /// Whether the identity goes through cloud-init's seed, and the edits that apply to this base.
    pub fn edits_of<'p>(&self, plan: &'p Plan) -> Result<(bool, Vec<&'p Edit>)> {
        let cloud_init = choose_identity(plan.identity, &self.cloud_init)?;
        let edits = plan.edits.iter();
        let edits = edits.filter(|edit| applies(edit.when, cloud_init, &self.cloud_init));
        Ok((cloud_init, edits.collect()))
    }
}

fn choose_identity(wanted: FirstBoot, found: &CloudInit) -> Result<bool> {
    let refused = match (wanted, found) {
        (FirstBoot::Offline, _) => return Ok(false),
        (FirstBoot::Auto, found) => return Ok(*found == CloudInit::Ready),
        (FirstBoot::CloudInit, CloudInit::Ready) => return Ok(true),
        (FirstBoot::CloudInit, CloudInit::Absent) => {
            Error::usage("`firstboot` is \"cloud-init\", but the base image has no cloud-init")
                .with_hint(
                "leave `firstboot` at \"auto\", or start from a Raspberry Pi OS of 2025-11 or later",
            )
        }
        (FirstBoot::CloudInit, CloudInit::Off(reason)) => Error::usage(format!(
            "`firstboot` is \"cloud-init\", but cloud-init is switched off in the base image: {reason}"
        ))
        .with_hint("leave `firstboot` at \"auto\", or switch cloud-init on in the base"),
    };
    Err(refused)
}

fn applies(when: When, through_cloud_init: bool, found: &CloudInit) -> bool {
    match when {
        When::Always => true,
        When::CloudInit => through_cloud_init,
        When::Offline => !through_cloud_init,
        When::CloudInitUnused => !through_cloud_init && *found == CloudInit::Ready,
    }
}
