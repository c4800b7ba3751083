//! Whether cloud-init of a base will read its seed once a plan was carried out.

use crate::error::Result;
use crate::ext4::Ext4;
use crate::image::cloud_init::{self, CloudInit, MARKER};
use crate::overlay::Part;
use crate::plan::{Action, Edit, When};

/// Looks at the root file system and at the kernel's command line, both as `edits` will leave them.
pub fn probe(fs: &Ext4, cmdline: &str, edits: &[Edit]) -> Result<CloudInit> {
    if !cloud_init::is_there(fs)? {
        return Ok(CloudInit::Absent);
    }
    let reason = match switched_off_in(edits) {
        Some(reason) => Some(reason),
        None => cloud_init::why_off(fs, cmdline, !is_unmarked_in(edits))?,
    };
    Ok(match reason {
        Some(reason) => CloudInit::Off(reason),
        None => CloudInit::Ready,
    })
}

/// Whether edits that every base gets take away what keeps it from running.
fn is_unmarked_in(edits: &[Edit]) -> bool {
    let is_removed = |edit: &Edit| {
        edit.when == When::Always && edit.path == MARKER && matches!(edit.action, Action::Remove)
    };
    edits.iter().any(is_removed)
}

/// Why it will not run after edits that every base gets.
fn switched_off_in(edits: &[Edit]) -> Option<String> {
    let always = edits.iter().filter(|edit| edit.when == When::Always);
    let mut always = always.filter(|edit| edit.part == Part::Root);
    let edit = always.find(|edit| match edit.action {
        Action::Write(..) | Action::Symlink(_) => edit.path == MARKER,
        Action::MaskUnit => cloud_init::is_unit(&edit.path),
        _ => false,
    })?;
    let (verb, path) = match edit.action {
        Action::MaskUnit => ("masks", &edit.path),
        _ => ("writes", &edit.path),
    };
    Some(format!("`{}` {verb} {path}", edit.origin))
}
