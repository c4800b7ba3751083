//! Writing an image to a card, a disk or a file, straight from a copy-on-write disk: no image file
//! is made first.
//!
//! Only what the file systems use is written, in large aligned writes past the page cache. The first
//! MiB, with the partition table, is emptied first and written last, when everything else was read
//! back: a card that is not complete never looks as if it could boot. Read-back compares a digest of
//! every chunk, since cards that fail, and fake ones, take writes without a complaint.
//!
//! [`Target::examine`] holds every reason not to write to a device, [`Contents`] what would be lost
//! there, [`check_image`] every reason not to write an image, [`flash`] the work, and
//! [`Medium`] is what it works on.

mod contents;
mod copy;
mod image;
mod medium;
mod system;
mod target;
mod verify;
mod work;
mod write;

pub use contents::{Contents, Partition, Volume};
pub use image::check_image;
pub use medium::Medium;
pub use system::{BlockDevice, DeviceNumber, OwnDisk, System, Use};
pub use target::{Override, Target};
pub use work::{FlashOptions, Flashed, flash, flash_medium};
