//! Accounts of services in /etc/passwd and its sister files, as text.
//!
//! Formats: passwd(5), shadow(5), group(5), gshadow(5).

use super::accounts::{AccountFiles, Obstacle, lines, number};
use crate::error::{Error, Result};
use crate::plan::SystemAccount;

const OTHER_NUMBER: &str = "choose another number, below 1000, for the account";
const OTHER_BASE: &str = "start from an image of Raspberry Pi OS that does not have the account";

/// Adds `account`. One that is there as it should be is left as it is. `day` is the day of the last
/// password change, in days since 1970.
pub fn apply(files: &mut AccountFiles, account: &SystemAccount, day: i64) -> Result<()> {
    if let Some(obstacle) = obstacles(&files.passwd, &files.group, account).pop() {
        return Err(Error::usage(obstacle.what).with_hint(obstacle.hint));
    }
    let SystemAccount {
        name,
        uid,
        gid,
        home,
        shell,
        ..
    } = account;
    // The password is locked, and no time limits hold for it.
    add(
        &mut files.passwd,
        name,
        &format!("{name}:x:{uid}:{gid}::{home}:{shell}"),
    );
    add(&mut files.shadow, name, &format!("{name}:!:{day}::::::"));
    add(&mut files.group, name, &format!("{name}:x:{gid}:"));
    add(&mut files.gshadow, name, &format!("{name}:!::"));
    for text in [&mut files.group, &mut files.gshadow] {
        *text = with_member(text, account);
    }
    Ok(())
}

/// What of the base is in the way of `account`.
pub fn obstacles(passwd: &str, group: &str, account: &SystemAccount) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut tell = |what: String, hint| found.push(Obstacle { what, hint });
    let SystemAccount { name, uid, gid, .. } = account;
    if let Some(user) = lines(passwd).find(|fields| fields[0] == name) {
        if !is_the_same(&user, account) {
            let uid = user.get(2).unwrap_or(&"?");
            let what =
                format!("the base has an account `{name}` already (uid {uid}), and another one");
            tell(what, OTHER_BASE);
        }
    } else if let Some(user) = lines(passwd).find(|fields| number(fields, 2) == Some(*uid)) {
        let what = format!(
            "number {uid} of the account `{name}` is `{}` of the base",
            user[0]
        );
        tell(what, OTHER_NUMBER);
    }
    if let Some(own) = lines(group).find(|fields| fields[0] == name) {
        if number(&own, 2) != Some(*gid) {
            let gid = own.get(2).unwrap_or(&"?");
            tell(
                format!("the base has a group `{name}` already (gid {gid})"),
                OTHER_BASE,
            );
        }
    } else if let Some(other) = lines(group).find(|fields| number(fields, 2) == Some(*gid)) {
        let what = format!(
            "group number {gid} of the account `{name}` is `{}` of the base",
            other[0]
        );
        tell(what, OTHER_NUMBER);
    }
    for wanted in &account.groups {
        if wanted != name && !lines(group).any(|fields| fields[0] == wanted) {
            let what = format!("the base has no group `{wanted}` for the account `{name}`");
            tell(what, "leave the group out of the role's `groups`");
        }
    }
    found
}

/// Whether a line of passwd is that of `account`, apart from its comment.
fn is_the_same(user: &[&str], account: &SystemAccount) -> bool {
    number(user, 2) == Some(account.uid)
        && number(user, 3) == Some(account.gid)
        && user.get(5) == Some(&account.home.as_str())
        && user.get(6) == Some(&account.shell.as_str())
}

/// Adds `line` unless there is one of `name`.
fn add(text: &mut String, name: &str, line: &str) {
    if lines(text).any(|fields| fields[0] == name) {
        return;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

/// The text of group or gshadow with the account in its further groups.
fn with_member(text: &str, account: &SystemAccount) -> String {
    let line = |line: &str| match line.rsplit_once(':') {
        Some((head, members)) if is_wanted(head, account) => {
            let mut names: Vec<&str> = members.split(',').filter(|n| !n.is_empty()).collect();
            if !names.contains(&account.name.as_str()) {
                names.push(&account.name);
            }
            format!("{head}:{}\n", names.join(","))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn is_wanted(head: &str, account: &SystemAccount) -> bool {
    let group = head.split(':').next().unwrap_or_default();
    account.groups.iter().any(|wanted| wanted == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> AccountFiles {
        AccountFiles {
            passwd: "root:x:0:0:root:/root:/bin/bash\nsync:x:990:990::/:/bin/sync".into(),
            shadow: "root:*:20000:0:99999:7:::\n".into(),
            group: "root:x:0:\nnetdev:x:106:pi\nsync:x:990:\n".into(),
            gshadow: "root:*::\nnetdev:!::pi\n".into(),
            subuid: String::new(),
            subgid: String::new(),
        }
    }

    fn account() -> SystemAccount {
        SystemAccount {
            name: "pihole".into(),
            uid: 969,
            gid: 968,
            home: "/home/pihole".into(),
            shell: "/usr/sbin/nologin".into(),
            groups: vec!["netdev".into()],
        }
    }

    #[test]
    fn an_account_is_added_locked_and_once() {
        let mut files = base();
        apply(&mut files, &account(), 20500).unwrap();
        assert!(
            files
                .passwd
                .ends_with("/bin/sync\npihole:x:969:968::/home/pihole:/usr/sbin/nologin\n")
        );
        assert!(files.shadow.ends_with("\npihole:!:20500::::::\n"));
        assert!(files.group.contains("netdev:x:106:pi,pihole\n"));
        assert!(files.group.ends_with("pihole:x:968:\n"));
        assert!(files.gshadow.ends_with("netdev:!::pi,pihole\npihole:!::\n"));
        let once = files.clone();
        apply(&mut files, &account(), 20501).unwrap();
        assert_eq!((files.passwd, files.shadow), (once.passwd, once.shadow));
        assert_eq!((files.group, files.gshadow), (once.group, once.gshadow));
    }

    #[test]
    fn what_the_base_has_otherwise_is_refused() {
        let refused = |change: &dyn Fn(&mut SystemAccount), part: &str| {
            let mut files = base();
            files
                .passwd
                .push_str("\ntaken:x:500:500::/nonexistent:/bin/false\n");
            let mut account = account();
            change(&mut account);
            let error = apply(&mut files, &account, 1).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.hint().is_some());
        };
        refused(
            &|a| a.uid = 990,
            "number 990 of the account `pihole` is `sync`",
        );
        refused(
            &|a| a.gid = 106,
            "group number 106 of the account `pihole` is `netdev`",
        );
        refused(
            &|a| a.name = "taken".into(),
            "account `taken` already (uid 500)",
        );
        refused(
            &|a| a.name = "netdev".into(),
            "group `netdev` already (gid 106)",
        );
        refused(&|a| a.groups.push("video".into()), "no group `video`");
    }
}
