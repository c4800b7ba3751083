//! What an image is made of, as data beside it: plain values in, JSON out. Reads no disk and no clock.
//!
//! | file | holds |
//! |---|---|
//! | `record.rs`, `file_record.rs` | what is known of one image, and of one path of it |
//! | `program.rs` | who writes the records |
//! | `spdx.rs`, `purl.rs` | `NODE.spdx.json`: SPDX 2.3, what is in the image |
//! | `provenance.rs` | `NODE.provenance.json`: in-toto Statement v1 with SLSA provenance v1, what it was made from |
//! | `edit_list.rs` | `NODE.record.json`: our own list of the files that were written, which `imgbuild verify` compares an image with |
//!
//! The third is ours: SPDX 2.3 wants a SHA-1 of every file and has no place for modes, owners, links and
//! files that were removed.
//!
//! In none of them is a secret, the digest of a file with a secret, a path of the computer that built the
//! image, or the name of that computer or of its user.

mod edit_list;
mod file_record;
mod program;
mod provenance;
mod purl;
mod record;
mod spdx;

pub use edit_list::{BaseFile, EditList, PackedFile, RawImage};
pub use file_record::{FileRecord, Kind, Partition};
pub use provenance::provenance;
pub use record::{BasePackage, OutputFile, Record, SourceFile};
pub use spdx::spdx;
