//! Random access to disk images, and the copy-on-write layer that all edits land in.
//!
//! Offsets and lengths are bytes unless a name says otherwise.

mod aligned_buffer;
mod cow_disk;
mod in_memory;
pub mod partition_table;
pub mod ranges;
mod raw_file;
mod read_at;
mod window;

pub use aligned_buffer::AlignedBuffer;
pub use cow_disk::{CowDisk, PAGE_SIZE, PageStore, STRETCH};
pub use in_memory::InMemory;
pub use partition_table::SECTOR_SIZE;
pub use raw_file::RawFile;
pub(crate) use read_at::check_bounds;
pub use read_at::{Blocks, Content, ReadAt, is_zero};
pub use window::{Cursor, Window};
