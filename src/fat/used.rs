//! Which parts of a partition hold something.

use super::geometry::Geometry;
use super::table::Table;
use crate::disk::Window;
use crate::disk::ranges::InUse;
use crate::error::Result;

/// What the file system in `window` needs: the reserved sectors, all copies of the table, and every
/// cluster that the table does not have as free, those of the root directory among them.
pub fn used_ranges(window: &Window) -> Result<InUse> {
    let geometry = Geometry::read(window)?;
    let table = Table::read(window, &geometry)?;
    let mut ranges = vec![0..geometry.data_offset()];
    for cluster in table.used() {
        let start = geometry.cluster_offset(cluster);
        let end = start + geometry.cluster_size;
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    Ok(InUse {
        ranges,
        len: geometry.len(),
    })
}
