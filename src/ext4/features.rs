//! The feature flags of a file system: what we can edit, and the names of what we refuse.
//!
//! Format: the feature sets of Documentation/filesystems/ext4/super.rst in the Linux kernel;
//! names as in ext4(5).

use crate::error::{Error, Result};

/// `s_feature_compat`.
pub(super) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const EXT_ATTR: u32 = 0x8;
    pub const RESIZE_INODE: u32 = 0x10;
}

/// `s_feature_incompat`.
pub(super) mod incompat {
    pub const RECOVER: u32 = 0x4;
    pub const EXTENTS: u32 = 0x40;
    pub const BIT64: u32 = 0x80;
    pub const CSUM_SEED: u32 = 0x2000;
}

/// `s_feature_ro_compat`.
pub(super) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const GDT_CSUM: u32 = 0x10;
    pub const METADATA_CSUM: u32 = 0x400;
    pub const ORPHAN_PRESENT: u32 = 0x1_0000;
}

/// Whether files on a file system with a feature can be edited by us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    Edit,
    Refuse,
    /// Says that the file system was not put away; explained apart from the others.
    NotClean,
}
use Support::{Edit, NotClean, Refuse};

const COMPAT: &[(u32, &str, Support)] = &[
    (0x1, "dir_prealloc", Edit),
    (0x2, "imagic_inodes", Refuse),
    (0x4, "has_journal", Edit),
    (0x8, "ext_attr", Edit),
    (0x10, "resize_inode", Edit),
    (0x20, "dir_index", Edit),
    (0x40, "lazy_bg", Refuse),
    (0x80, "exclude_inode", Refuse),
    (0x100, "exclude_bitmap", Refuse),
    // Its backups are where no other file system has them; nothing for the Pi is made so.
    (0x200, "sparse_super2", Refuse),
    (0x400, "fast_commit", Edit),
    (0x800, "stable_inodes", Refuse),
    (0x1000, "orphan_file", Edit),
];

const INCOMPAT: &[(u32, &str, Support)] = &[
    (0x1, "compression", Refuse),
    (0x2, "filetype", Edit),
    (0x4, "needs_recovery", NotClean),
    (0x8, "journal_dev", Refuse),
    (0x10, "meta_bg", Refuse),
    (0x40, "extent", Edit),
    (0x80, "64bit", Edit),
    (0x100, "mmp", Refuse),
    (0x200, "flex_bg", Edit),
    (0x400, "ea_inode", Refuse),
    (0x1000, "dirdata", Refuse),
    (0x2000, "metadata_csum_seed", Edit),
    (0x4000, "large_dir", Edit),
    (0x8000, "inline_data", Refuse),
    (0x1_0000, "encrypt", Refuse),
    (0x2_0000, "casefold", Refuse),
];

const RO_COMPAT: &[(u32, &str, Support)] = &[
    (0x1, "sparse_super", Edit),
    (0x2, "large_file", Edit),
    (0x4, "btree_dir", Refuse),
    (0x8, "huge_file", Edit),
    (0x10, "uninit_bg", Edit),
    (0x20, "dir_nlink", Edit),
    (0x40, "extra_isize", Edit),
    (0x80, "snapshot", Refuse),
    (0x100, "quota", Refuse),
    (0x200, "bigalloc", Refuse),
    (0x400, "metadata_csum", Edit),
    (0x800, "replica", Refuse),
    (0x1000, "read-only", Refuse),
    (0x2000, "project", Refuse),
    (0x4000, "shared_blocks", Refuse),
    (0x8000, "verity", Refuse),
    (0x1_0000, "orphan_present", NotClean),
];

/// The names of the features in `flags` that are not for editing; unknown bits by number.
fn refused(set: &str, flags: u32, known: &[(u32, &str, Support)]) -> Vec<String> {
    (0..32)
        .map(|shift| 1u32 << shift)
        .filter(|bit| flags & bit != 0)
        .filter_map(|bit| match known.iter().find(|entry| entry.0 == bit) {
            Some((_, _, Edit | NotClean)) => None,
            Some((_, name, Refuse)) => Some((*name).to_owned()),
            None => Some(format!("unknown {set} feature {bit:#x}")),
        })
        .collect()
}

/// Refuses, by name, every feature that we cannot keep right.
pub(super) fn check(compat: u32, incompat: u32, ro_compat: u32) -> Result<()> {
    let mut names = refused("compat", compat, COMPAT);
    names.extend(refused("incompat", incompat, INCOMPAT));
    names.extend(refused("ro_compat", ro_compat, RO_COMPAT));
    if !names.is_empty() {
        return Err(Error::refused(format!(
            "the ext4 file system uses what imgbuild cannot edit: {}",
            names.join(", ")
        ))
        .with_hint("use a base image made without it (mkfs.ext4 -O ^feature)"));
    }
    if incompat & self::incompat::EXTENTS == 0 {
        return Err(Error::refused(
            "the file system has no extents: it is ext2 or ext3, which imgbuild cannot edit",
        )
        .with_hint("use a base image with an ext4 root file system"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_by_name_and_unknown_bits_by_number() {
        let error = check(0x4, 0x8042 | 0x800_0000, 0x200)
            .unwrap_err()
            .to_string();
        for part in [
            "inline_data",
            "bigalloc",
            "unknown incompat feature 0x8000000",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn pi_gen_and_genimage_file_systems_are_for_editing() {
        check(0x3C, 0x242, 0x46B).unwrap();
        check(0x3C, 0x2C2, 0x46B).unwrap();
        assert!(check(0x3C, 0x2, 0x1).is_err());
    }
}
