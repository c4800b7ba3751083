//! Holds one node against its base.

use super::case::Case;
use super::{edits, settings};
use crate::config::{Node, Origin};
use crate::error::{Error, ErrorKind, Result};
use crate::image::BaseFacts;
use crate::overlay::Role;
use crate::patch::{self, Payloads, accounts};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::problems::Problems;

/// A node and what is known of it before it is built.
pub struct Subject<'a> {
    pub node: &'a Node,
    pub roles: Vec<&'a Role>,
    pub plan: &'a Plan,
}

/// Tells what the base with `facts` lacks for a node, or has in its way. An error is one of reading
/// the base.
pub fn check(subject: &Subject<'_>, facts: &BaseFacts, problems: &mut Problems) -> Result<()> {
    let Subject { node, roles, plan } = subject;
    let mut tell_at = |key: &str, result: Result<()>| -> Result<()> {
        let place = node.origin(key);
        problems.keep(result.map_err(|error| placed(&place, error)))?;
        Ok(())
    };
    tell_at("disk.size", patch::check_size(facts.base(), plan))?;
    let edits = match patch::edits_of(facts.base(), plan) {
        Ok(edits) => edits,
        // What is wrong with the base itself is no mistake of the profile's.
        Err(error) if error.kind() != ErrorKind::Usage => return Err(error),
        Err(error) => {
            tell_at("firstboot", Err(error))?;
            plan.edits.iter().collect()
        }
    };
    let account = edits.iter().find_map(|edit| edits::account_of(edit));
    if let Some(account) = account {
        let base = facts.accounts()?;
        for obstacle in accounts::obstacles(&base.passwd, &base.group, account) {
            let what = format!("`user.name`: {}", obstacle.what);
            problems.push(Problem::new(node.origin("user.name"), what).with_hint(obstacle.hint));
        }
    }
    let case = Case {
        node,
        roles,
        edits: &edits,
        facts,
    };
    settings::check(&case, problems)?;
    edits::check(&case, problems)
}

/// Tells whether the root file system has the room that a node takes, in an image of the size that the
/// profile fixes. An image without one grows; that a base sets a limit to that is an error. Only with
/// the payloads is any of it known.
pub fn check_room(
    subject: &Subject<'_>,
    facts: &BaseFacts,
    payloads: &Payloads,
    problems: &mut Problems,
) -> Result<()> {
    let Subject { node, plan, .. } = subject;
    let checked = patch::check_room(facts.base(), plan, payloads);
    let placed = checked.map_err(|error| match plan.image_size {
        Some(_) => placed(&node.origin("disk.size"), error),
        None => error,
    });
    problems.keep(placed).map(drop)
}

/// An error of what the user asked for, with the place where that was written in front. What went
/// wrong otherwise, such as a base that cannot be read, stays as it is.
fn placed(place: &Origin, error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Usage | ErrorKind::Failed) {
        return error;
    }
    let words: Vec<String> = error.chain().map(ToString::to_string).collect();
    let usage = Error::usage(format!("{place}: {}", words.join(": ")));
    match error.hint() {
        Some(hint) => usage.with_hint(hint),
        None => usage,
    }
}
