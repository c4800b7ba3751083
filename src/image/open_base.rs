//! A base that is open to be looked at.

use std::sync::Arc;

use super::root_partition::{self, Chosen, open_root, root_window};
use crate::disk::{CowDisk, ReadAt};
use crate::error::Result;
use crate::ext4::{self, Ext4};
use crate::fat::Fat;

/// A base with both of its file systems.
pub struct OpenBase {
    pub disk: Arc<dyn ReadAt>,
    pub chosen: Chosen,
    pub boot: Fat,
    pub root: Ext4,
    /// Labels of its file systems, and what has them.
    pub labels: Vec<(String, &'static str)>,
}

impl OpenBase {
    /// Finds the partitions of `disk` and opens both.
    pub fn open(disk: Arc<dyn ReadAt>) -> Result<Self> {
        let copy = Arc::new(CowDisk::new(disk.clone()));
        let (chosen, fat) = root_partition::locate(&copy)?;
        let window = root_window(&copy, &chosen.table)?;
        let labels = vec![
            (fat.label()?, "boot partition"),
            (ext4::label(&window)?, "root file system"),
        ];
        let time = ext4::last_written(&window)?;
        let root = open_root(window, time)?;
        Ok(Self {
            disk,
            chosen,
            boot: fat,
            root,
            labels,
        })
    }
}
