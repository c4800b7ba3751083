//! What the value of a key can be. Core keys and role options share these kinds, so that what is
//! checked for one is checked for all.
//!
//! A check answers with why a value is wrong, in words that fit behind `key`: .

mod address;
mod boot;
mod kinds;
mod kubernetes;
mod name;
mod place;
mod reason;
#[cfg(test)]
mod tests;
mod text;

pub use address::parse_size;
pub use kinds::Kind;
pub use name::is_system_group;
pub use place::modern_zone;
pub use text::{BASE_ALIASES, STOCK_SHELLS};
