//! What may be flashed: an image of a whole disk, with something in its partition table.

use std::path::Path;

use super::contents::{Contents, Partition};
use crate::disk::ReadAt;
use crate::error::{Error, Result};

/// Refuses what is not a disk image, and one that is cut short. `name` is what the user called it.
///
/// A partition (`to_partition`) may get a file system, too.
pub fn check_image(image: &dyn ReadAt, name: &Path, to_partition: bool) -> Result<()> {
    let contents = Contents::of(image);
    match &contents {
        Contents::Partitions(list) if !list.is_empty() => whole(image, name, list),
        Contents::Volume(_) if to_partition => Ok(()),
        _ => Err(Error::refused(format!(
            "{} is not a disk image: it holds {contents}",
            name.display()
        ))
        .with_hint(hint(&contents, name))),
    }
}

fn hint(contents: &Contents, name: &Path) -> &'static str {
    let is_profile = name
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("toml"));
    if contents.is_text() && is_profile {
        return "`imgbuild flash --profile NAME` writes the node of a profile";
    }
    if contents.is_virtual_disk() {
        return "`qemu-img convert -O raw` makes a raw image of it";
    }
    match contents {
        Contents::Volume(_) => {
            "a card needs an image of a whole disk; a file system can only go to a partition, with `--partition`"
        }
        _ => "give an image with partitions: a .img, or one packed as .xz, .gz, .zst or .zip",
    }
}

/// Refuses an image whose partitions are not all there.
fn whole(image: &dyn ReadAt, name: &Path, list: &[Partition]) -> Result<()> {
    // CD images that start from a disk too claim whole cylinders.
    if is_cd(image) {
        return Ok(());
    }
    let ends = |partition: &Partition| partition.entry.range().end;
    match list.iter().find(|p| ends(p) > image.len()) {
        None => Ok(()),
        Some(partition) => Err(Error::refused(format!(
            "{} is cut short: partition {} ends at byte {}, the image at {}",
            name.display(),
            partition.entry.number,
            ends(partition),
            image.len()
        ))
        .with_hint("download or build it again; the copy at hand is not complete")),
    }
}

fn is_cd(image: &dyn ReadAt) -> bool {
    let mut magic = [0; 5];
    image.read_at(32769, &mut magic).is_ok() && &magic == b"CD001"
}
