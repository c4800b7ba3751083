//! What must hold between keys and between nodes, checked before anything is downloaded or written.
//! Rules of a role are in its folder (`[[check]]` of role.toml), not here.

mod cluster;
mod domains;
mod machine;
mod network;
mod provides;

pub use cluster::check_cluster;
pub use machine::check_stock_base;
