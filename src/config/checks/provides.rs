//! What roles do for other nodes, asked of whoever knows the roles.

use crate::config::node::Node;

/// Whether a node does something for the others: `dns`, `share`.
pub type Provides<'a> = &'a dyn Fn(&Node, &str) -> bool;
