//! The system accounts of a role.

use super::account::SystemAccount;
use super::edit::{Action, Edit, edit};
use crate::error::{Error, Result};
use crate::overlay::{AccountSpec, Part, Renderer, Role, system_id};

/// What `useradd` of Debian takes for a name, without its `$` at the end.
const NAME_LEN: usize = 32;

/// The accounts that `role` makes. Those whose name comes out empty are left out.
pub fn system_accounts(role: &Role, renderer: &Renderer) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for (name, spec) in &role.manifest.accounts {
        let name = renderer.text(name)?;
        if name.is_empty() {
            continue;
        }
        let place =
            |why: String| Error::usage(format!("{}/role.toml: account {name}: {why}", role.label));
        let account = account(&name, spec, renderer)?.map_err(place)?;
        let action = Action::SystemAccount(account);
        edits.push(edit(Part::Root, "/etc/passwd", &role.name, action));
    }
    Ok(edits)
}

/// The inner error says what is wrong with the account.
fn account(
    name: &str,
    spec: &AccountSpec,
    renderer: &Renderer,
) -> Result<std::result::Result<SystemAccount, String>> {
    let uid = renderer.text(&spec.uid.text())?;
    let gid = match &spec.gid {
        Some(gid) => renderer.text(&gid.text())?,
        None => uid.clone(),
    };
    let (home, shell) = (renderer.text(&spec.home)?, renderer.text(&spec.shell)?);
    let groups = spec.groups.iter().map(|group| renderer.text(group));
    let groups: Vec<String> = groups.collect::<Result<_>>()?;
    Ok(checked(name, &uid, &gid, home, shell, groups))
}

fn checked(
    name: &str,
    uid: &str,
    gid: &str,
    home: String,
    shell: String,
    groups: Vec<String>,
) -> std::result::Result<SystemAccount, String> {
    if !is_name(name) {
        return Err("its name is not one of small letters, digits, `_` and `-`".to_owned());
    }
    if let Some(group) = groups.iter().find(|group| !is_name(group)) {
        return Err(format!("`{group}` is not the name of a group"));
    }
    for path in [&home, &shell] {
        if !path.starts_with('/') || path.contains([':', '\n']) {
            return Err(format!("`{path}` is not an absolute path without `:`"));
        }
    }
    Ok(SystemAccount {
        name: name.to_owned(),
        uid: number(uid)?,
        gid: number(gid)?,
        home,
        shell,
        groups,
    })
}

fn number(text: &str) -> std::result::Result<u32, String> {
    let number = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number"))?;
    system_id(number)
}

fn is_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    first && name.len() <= NAME_LEN && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, uid: &str, home: &str) -> std::result::Result<SystemAccount, String> {
        checked(name, uid, uid, home.into(), "/bin/false".into(), Vec::new())
    }

    #[test]
    fn accounts_are_those_of_services() {
        assert_eq!(of("pihole", "969", "/nonexistent").unwrap().gid, 969);
        for (name, uid, home) in [
            ("pi hole", "969", "/x"),
            ("root:x", "969", "/x"),
            ("", "969", "/x"),
            ("pihole", "0", "/x"),
            ("pihole", "1000", "/x"),
            ("pihole", "many", "/x"),
            ("pihole", "969", "x"),
            ("pihole", "969", "/x:/bin/sh"),
        ] {
            assert!(of(name, uid, home).is_err(), "{name} {uid} {home}");
        }
    }
}
