//! Who writes the records.

/// The name of the program.
pub const PROGRAM: &str = env!("CARGO_PKG_NAME");
/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where it is from.
pub const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
