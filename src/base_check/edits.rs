//! Edits that only the base can judge: units to enable, attributes of what must be there, and paths
//! that something else is in the way of.

use std::fmt::Display;

use super::case::Case;
use crate::error::{ErrorKind, Result};
use crate::ext4::FileKind;
use crate::image::unit_files;
use crate::overlay::Part;
use crate::patch::accounts::Obstacle;
use crate::patch::{system_accounts, units};
use crate::plan::{Account, Action, Content, Edit, SystemAccount};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::suggest::nearest;

/// Letters that a slip of the finger changes at most.
const SLIP: usize = 2;

/// Whether one of `edits` puts something at `path` of the root file system. What an archive holds is
/// not known yet: it may be anything below its folder.
pub fn brings(edits: &[&Edit], path: &str) -> bool {
    root_edits(edits).any(|edit| match &edit.action {
        Action::Write(..) | Action::Directory(_) | Action::Symlink(_) => {
            edit.path == path || is_below(&edit.path, path)
        }
        Action::Unpack(_) => is_below(path, &edit.path),
        _ => false,
    })
}

/// The account that an edit makes.
pub fn account_of(edit: &Edit) -> Option<&Account> {
    match &edit.action {
        Action::Account(account) => Some(account),
        _ => None,
    }
}

fn root_edits<'a>(edits: &'a [&'a Edit]) -> impl Iterator<Item = &'a Edit> {
    edits.iter().copied().filter(|e| e.part == Part::Root)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Checks the edits that apply to the base.
pub fn check(case: &Case<'_>, problems: &mut Problems) -> Result<()> {
    for edit in root_edits(case.edits) {
        if let Some(problem) = case.problem(edit)? {
            problems.push(problem);
        }
    }
    Ok(())
}

impl Case<'_> {
    fn problem(&self, edit: &Edit) -> Result<Option<Problem>> {
        match &edit.action {
            Action::EnableUnit => self.enable(edit),
            Action::DisableUnit => self.disable(edit),
            Action::SetAttr(_) => self.attributes(edit),
            Action::SystemAccount(account) => self.system_account(edit, account),
            Action::Write(..) | Action::Symlink(_) | Action::Directory(_) | Action::Unpack(_) => {
                self.way(edit)
            }
            _ => Ok(None),
        }
    }

    /// Where the edit was written: the role, or the key that the identity has it from.
    fn place(&self, edit: &Edit) -> String {
        match self.roles.iter().find(|role| role.name == edit.origin) {
            Some(role) => format!("{}/role.toml", role.label),
            None if edit.path == "ssh.service" => self.node.origin("ssh.enabled").to_string(),
            None => self.node.origin("base.image").to_string(),
        }
    }

    fn tell(&self, edit: &Edit, what: impl Display) -> Problem {
        Problem::new(self.place(edit), what)
    }

    fn enable(&self, edit: &Edit) -> Result<Option<Problem>> {
        let unit = edit.path.as_str();
        if let Some(mask) = self.mask(unit)? {
            let what = format!("`{unit}` is masked in the base, so enabling it has no effect");
            let hint = format!("unmask it in a role: [remove] paths = [\"{mask}\"]");
            return Ok(Some(self.tell(edit, what).with_hint(hint)));
        }
        if self.may_be_in_a_payload() {
            return Ok(None);
        }
        match units::enable(&|path| self.unit_text(path), unit) {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Usage => {
                let near = match self.is_there(unit)? {
                    true => None,
                    false => self.similar_unit(unit)?,
                };
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                Ok(Some(self.tell(edit, error).with_maybe_hint(hint)))
            }
            Err(error) => Err(error),
        }
    }

    /// What masks `unit`: a link to /dev/null or an empty file of the base, in the folder that wins
    /// (systemd.unit(5)).
    fn mask(&self, unit: &str) -> Result<Option<String>> {
        for path in unit_files::paths(unit) {
            if brings(self.edits, &path) {
                return Ok(None);
            }
            let Some(stat) = self.facts.entry(&path)?.filter(|_| !self.removes(&path)) else {
                continue;
            };
            let is_mask = match self.facts.link(&path)? {
                Some(target) => target == unit_files::NOWHERE,
                None => stat.size == 0,
            };
            return Ok(is_mask.then_some(path));
        }
        Ok(None)
    }

    /// Whether units may come with payloads, which are not there yet.
    fn may_be_in_a_payload(&self) -> bool {
        let holds_units = |path: &str| {
            unit_files::FOLDERS
                .iter()
                .any(|folder| *folder == path || is_below(folder, path) || is_below(path, folder))
        };
        root_edits(self.edits).any(|edit| match &edit.action {
            Action::Unpack(_) | Action::Write(Content::Payload(_), _) => holds_units(&edit.path),
            _ => false,
        })
    }

    /// Whether the node will have the file of `unit`, or something in its place.
    fn is_there(&self, unit: &str) -> Result<bool> {
        for path in unit_files::paths(unit) {
            if brings(self.edits, &path) || self.facts.entry(&path)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn removes(&self, path: &str) -> bool {
        let removes = |edit: &Edit| edit.path == path && matches!(edit.action, Action::Remove);
        root_edits(self.edits).any(removes)
    }

    /// The text of the unit file that the node will have at `path`.
    fn unit_text(&self, path: &str) -> Result<Option<String>> {
        let brought = root_edits(self.edits).find_map(|edit| match &edit.action {
            Action::Write(Content::Bytes(bytes), _) if edit.path == path => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => None,
        });
        match brought {
            Some(text) => Ok(Some(text)),
            None if self.removes(path) => Ok(None),
            None => self.facts.text(path),
        }
    }

    /// To disable what is not there is a precaution, unless the base has something of almost the
    /// same name.
    fn disable(&self, edit: &Edit) -> Result<Option<Problem>> {
        let unit = edit.path.as_str();
        if self.is_there(unit)? {
            return Ok(None);
        }
        let Some(near) = self.similar_unit(unit)? else {
            return Ok(None);
        };
        let is_named = root_edits(self.edits).any(|edit| edit.path == near);
        let distance = strsim::osa_distance(unit, &near);
        if is_named || distance > SLIP || differs_by_digits(unit, &near) {
            return Ok(None);
        }
        let what = format!("there is no unit `{unit}` to disable: the base has `{near}`");
        let hint = format!("did you mean `{near}`?");
        Ok(Some(self.tell(edit, what).with_hint(hint)))
    }

    fn similar_unit(&self, unit: &str) -> Result<Option<String>> {
        let kind = unit.rsplit_once('.').map_or("", |(_, kind)| kind);
        let mut names = Vec::new();
        for folder in unit_files::FOLDERS {
            names.extend(self.facts.names_in(folder)?);
        }
        let names = names.iter().map(String::as_str);
        let names: Vec<&str> = names
            .filter(|name| name.rsplit_once('.').is_some_and(|(_, k)| k == kind))
            .collect();
        Ok(nearest(unit, &names).map(str::to_owned))
    }

    /// Something of the base that is where the account should be.
    fn system_account(&self, edit: &Edit, account: &SystemAccount) -> Result<Option<Problem>> {
        let base = self.facts.accounts()?;
        let found = system_accounts::obstacles(&base.passwd, &base.group, account);
        let told = |obstacle: Obstacle| self.tell(edit, obstacle.what).with_hint(obstacle.hint);
        Ok(found.into_iter().next().map(told))
    }

    fn attributes(&self, edit: &Edit) -> Result<Option<Problem>> {
        let path = edit.path.as_str();
        if brings(self.edits, path) || self.facts.entry(path)?.is_some() {
            return Ok(None);
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let siblings = self
            .facts
            .names_in(if folder.is_empty() { "/" } else { folder })?;
        let siblings: Vec<&str> = siblings.iter().map(String::as_str).collect();
        let hint = nearest(name, &siblings).map(|near| format!("did you mean `{folder}/{near}`?"));
        let what = format!("[modes] names `{path}`, which neither the base nor a role has");
        Ok(Some(self.tell(edit, what).with_maybe_hint(hint)))
    }

    /// Something else of the base where the edit puts a file or a folder.
    fn way(&self, edit: &Edit) -> Result<Option<Problem>> {
        let path = edit.path.as_str();
        let is_ours = |path: &str| {
            root_edits(self.edits).any(|edit| {
                let makes_way = matches!(
                    edit.action,
                    Action::Remove | Action::Directory(_) | Action::Symlink(_)
                );
                makes_way && edit.path == path
            })
        };
        let parents = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
        for parent in parents {
            if is_ours(parent) {
                continue;
            }
            match self.facts.target(parent)? {
                None => break,
                Some(stat) if stat.kind != FileKind::Directory => {
                    let what = format!("`{path}` cannot be: `{parent}` of the base is no folder");
                    return Ok(Some(self.tell(edit, what)));
                }
                Some(_) => {}
            }
        }
        if self.removes(path) {
            return Ok(None);
        }
        let wants_folder = matches!(edit.action, Action::Directory(_));
        let what = match self.facts.entry(path)?.map(|stat| stat.kind) {
            Some(FileKind::Directory)
                if !wants_folder && !matches!(edit.action, Action::Unpack(_)) =>
            {
                format!("`{path}` is to be a file, but is a folder of the base")
            }
            Some(kind) if wants_folder && kind != FileKind::Directory => {
                format!("`{path}` is to be a folder, but is something else in the base")
            }
            _ => return Ok(None),
        };
        Ok(Some(self.tell(edit, what)))
    }
}

/// Numbers are chosen, not mistyped: `10-a.conf` is not a slip of `20-a.conf`.
fn differs_by_digits(a: &str, b: &str) -> bool {
    let letters = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    letters(a) == letters(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_hold_what_is_below_them() {
        assert!(is_below("/usr/bin/x", "/usr/bin"));
        assert!(is_below("/usr/bin/x", "/"));
        assert!(!is_below("/usr/bin", "/usr/bin"));
        assert!(!is_below("/usr/binx", "/usr/bin"));
    }

    #[test]
    fn other_numbers_are_no_slips() {
        assert!(differs_by_digits("wsdd.service", "wsdd2.service"));
        assert!(!differs_by_digits(
            "avahi-deamon.service",
            "avahi-daemon.service"
        ));
    }
}
