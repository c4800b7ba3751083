//! What is judged: a node, what it is given, and the base that it is given to.

use crate::config::Node;
use crate::image::BaseFacts;
use crate::overlay::Role;
use crate::plan::Edit;

/// A node against a base. The rules are in files by subject.
pub struct Case<'a> {
    pub node: &'a Node,
    pub roles: &'a [&'a Role],
    /// Those that apply to the base.
    pub edits: &'a [&'a Edit],
    pub facts: &'a BaseFacts,
}
