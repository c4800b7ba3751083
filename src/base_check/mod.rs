//! Rules for what only a base image can tell of the profiles: whether it has what the nodes ask for.
//! Looked at before the first byte is written.
//!
//! | file | holds |
//! |---|---|
//! | `node.rs` | one node against its base |
//! | `settings.rs` | values of the profile: time zone, locale, shell, …, and options of roles |
//! | `edits.rs` | edits of the plan: units, paths |

mod case;
mod edits;
mod node;
mod settings;

pub use node::{Subject, check, check_room};
