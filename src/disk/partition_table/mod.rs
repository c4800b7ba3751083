//! Partition tables, MBR and GPT: read, grown, and made into one another.

mod table;
mod to_gpt;

pub use table::*;
pub use to_gpt::{Converted, NewIds, to_gpt};
