//! Who may log in to a node: the keys of `user.ssh_keys`, and whether anybody can at all.

use super::ssh_key::{check_line, is_authority, is_private};
use crate::config::{Node, Origin, Sudo};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::{Refusal, Vault};

const KEY: &str = "user.ssh_keys";
const MAKE_ONE: &str = "make a key with `ssh-keygen -t ed25519`, or name another: --set 'user.ssh_keys=[\"file:PATH\"]'";

/// The public keys of the user as lines of authorized_keys: `file:PATH` is read, comments and empty
/// lines are left out. Whoever cannot get in is told so here too, wherever the list came from.
pub fn read_ssh_keys(node: &Node, vault: &Vault, problems: &mut Problems) -> Vec<String> {
    let before = problems.len();
    let mut keys = Vec::new();
    for (entry, origin) in &node.user.ssh_keys {
        match read_entry(entry, vault, origin, problems) {
            Ok(lines) => keys.extend(lines),
            Err(refusal) => problems.push(refusal.problem(origin, KEY)),
        }
    }
    // A key that cannot be read is a mistake by itself; without it, it is not known who gets in.
    if problems.len() == before {
        let without_keys = keys.iter().all(|key| is_authority(key));
        check_login(node, without_keys, problems);
    }
    keys
}

/// The keys of one entry: a key itself, or `file:PATH`. No message quotes what is no path.
fn read_entry(
    entry: &str,
    vault: &Vault,
    origin: &Origin,
    problems: &mut Problems,
) -> Result<Vec<String>, Refusal> {
    let Some(path) = entry.strip_prefix("file:") else {
        return Ok(read_lines(entry, "", origin, problems));
    };
    if path.trim().is_empty() || path.contains(char::is_control) || is_private(path) {
        return Err(
            Refusal::new("`file:` must be followed by the path of a file").with_hint(MAKE_ONE),
        );
    }
    let text = vault.text_file(path).map_err(|r| r.or_hint(MAKE_ONE))?;
    let before = problems.len();
    let lines = read_lines(&text, path, origin, problems);
    if lines.is_empty() && problems.len() == before {
        return Err(Refusal::new(format!("{path} has no key in it")).with_hint(MAKE_ONE));
    }
    Ok(lines)
}

/// The keys in `text`, which is that of the file `path`, or of the entry itself.
fn read_lines(text: &str, path: &str, origin: &Origin, problems: &mut Problems) -> Vec<String> {
    if is_private(text) {
        let place = if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        };
        let what = format!("{place}this is a private key; give the public one (.pub)");
        problems.push(Refusal::new(what).problem(origin, KEY));
        return Vec::new();
    }
    let mut keys = Vec::new();
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match check_line(line) {
            Ok(()) => keys.push(line.to_owned()),
            Err(why) => {
                let place = match path {
                    "" => String::new(),
                    path => format!("{path}:{}: ", number + 1),
                };
                let refusal = Refusal::new(format!("{place}{why}"));
                problems.push(refusal.problem(origin, KEY));
            }
        }
    }
    keys
}

/// A profile that many nodes extend is told of once: the message names no node.
fn check_login(node: &Node, without_keys: bool, problems: &mut Problems) {
    let password = node.secrets.contains_key("password_hash");
    if node.ssh.enabled && without_keys && !(node.ssh.password_login && password) {
        let what = format!(
            "nobody could log in: `{KEY}` has no key, and there is no login with a password"
        );
        problems.push(Problem::new(node.origin(KEY), what).with_hint(MAKE_ONE));
    }
}

/// sudo that asks for a password which nobody has leaves a node without an administrator.
pub fn check_sudo(node: &Node, problems: &mut Problems) {
    if node.user.sudo == Sudo::WithPassword && !node.secrets.contains_key("password_hash") {
        let what =
            "`user.sudo` is `password`, but the user has no password: nobody could become root";
        let hint = "set `secrets.password_hash`, or write `sudo = \"nopasswd\"`";
        problems.push(Problem::new(node.origin("user.sudo"), what).with_hint(hint));
    }
}
