//! The order in which edits are carried out.

use super::edit::{Action, Edit};
use crate::overlay::Part;

/// Sorts edits into their order.
pub(super) fn sort(edits: &mut [Edit]) {
    edits.sort_by(|a, b| order(a).cmp(&order(b)));
}

/// Deletions, then the account, folders, files, links, attributes, lines, units; by path within.
fn order(edit: &Edit) -> (u8, Part, &str) {
    let stage = match edit.action {
        Action::Remove => 0,
        Action::Account(_) | Action::SystemAccount(_) => 1,
        Action::Directory(_) => 2,
        Action::Unpack(_) => 3,
        Action::Write(..) => 4,
        Action::Symlink(_) => 5,
        Action::SetAttr(_) => 6,
        Action::SetLine { .. } | Action::Cmdline { .. } | Action::ConfigTxt(_) => 7,
        Action::DisableUnit => 8,
        Action::EnableUnit => 9,
        Action::MaskUnit => 10,
    };
    (stage, edit.part, &edit.path)
}
