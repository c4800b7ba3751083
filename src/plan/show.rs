//! What one path of a planned node will hold, for people. Works on plans whose secrets are masked.

use super::edit::{Action, Content, Edit, When};
use super::node_plan::Plan;
use super::print::display_path;
use crate::secrets::REDACTED;

/// What an edit puts at a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// The role, or `identity`, that asks for it.
    pub origin: String,
    pub when: When,
    pub text: String,
}

/// The paths that [`show`] knows, sorted; those of the boot partition as the running system has them.
pub fn showable(plan: &Plan) -> Vec<String> {
    let mut paths: Vec<String> = plan.edits.iter().filter_map(path_of).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// What the edits of `plan` put at `path`, in their order.
pub fn show(plan: &Plan, path: &str) -> Vec<Shown> {
    let edits = plan.edits.iter();
    edits
        .filter(|edit| path_of(edit).as_deref() == Some(path))
        .map(|edit| Shown {
            origin: edit.origin.clone(),
            when: edit.when,
            text: text_of(edit),
        })
        .collect()
}

/// Units are names, not paths.
fn path_of(edit: &Edit) -> Option<String> {
    match edit.action {
        Action::EnableUnit | Action::DisableUnit | Action::MaskUnit => None,
        _ => Some(display_path(edit.part, &edit.path)),
    }
}

fn text_of(edit: &Edit) -> String {
    match &edit.action {
        Action::Write(Content::Bytes(bytes), _) => match std::str::from_utf8(bytes) {
            // Made from the placeholder, as a hash is: it would look like the real one.
            Ok(text) if bytes.is_secret() && !text.contains(REDACTED) => lines([REDACTED]),
            Ok(text) => text.to_owned(),
            Err(_) => lines([format!("({} bytes that are not text)", bytes.len())]),
        },
        Action::Write(Content::Payload(payload), _) => lines([format!(
            "(fetched by the build: {})",
            payload.request.location
        )]),
        Action::Unpack(payload) => lines([format!(
            "(unpacked by the build: {})",
            payload.request.location
        )]),
        Action::Symlink(target) => lines([format!("(symbolic link to {target})")]),
        Action::Directory(attr) => lines([format!("(folder with mode {:04o})", attr.mode)]),
        Action::SetAttr(attr) => lines([format!(
            "(mode {:04o} and owner {}:{})",
            attr.mode, attr.uid, attr.gid
        )]),
        Action::Remove => lines(["(removed)"]),
        Action::Cmdline { add, remove } => lines(
            remove
                .iter()
                .map(|word| format!("-{word}"))
                .chain(add.iter().map(|word| format!("+{word}"))),
        ),
        Action::ConfigTxt(added) => lines(added),
        Action::SetLine { line, .. } => lines([line]),
        Action::Account(account) => lines([format!(
            "{}:x:{}:{}:,,,:{}:{} (password {})",
            account.name,
            account.uid,
            account.gid,
            account.home(),
            account.shell,
            match account.password_hash {
                Some(_) => REDACTED,
                None => "locked",
            }
        )]),
        Action::SystemAccount(account) => lines([format!(
            "{}:x:{}:{}::{}:{} (password locked)",
            account.name, account.uid, account.gid, account.home, account.shell,
        )]),
        Action::EnableUnit | Action::DisableUnit | Action::MaskUnit => String::new(),
    }
}

fn lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    lines
        .into_iter()
        .map(|line| format!("{}\n", line.as_ref()))
        .collect()
}
