//! Is this file system whole, put away cleanly, and of a kind we can edit? Asked before anything
//! is touched, and once more at the end.

use super::group_descriptor::{self, GroupDescriptor};
use super::superblock::Superblock;
use crate::disk::Window;
use crate::error::Result;

/// What the check has read.
pub(super) struct Checked {
    pub(super) sb: Superblock,
    #[allow(dead_code)]
    pub(super) groups: Vec<GroupDescriptor>,
}

/// Checks the file system in `window`.
pub(super) fn check(window: &Window) -> Result<Checked> {
    let sb = Superblock::read(window)?;
    sb.check_state()?;
    let groups = group_descriptor::read_all(window, &sb)?;
    Ok(Checked { sb, groups })
}
