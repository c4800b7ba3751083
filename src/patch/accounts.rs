//! The user's account in /etc/passwd and its sister files, as text.
//!
//! Formats: passwd(5), shadow(5), group(5), gshadow(5), subuid(5).

use crate::error::{Error, Result};
use crate::plan::Account;
use crate::secrets::Secret;

/// The account files.
pub const FILES: [&str; 6] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
];

/// Contents of the account files. subuid and subgid need not exist. Without `Debug`: shadow has the hash
/// of the password.
#[derive(Clone)]
pub struct AccountFiles {
    pub passwd: String,
    pub shadow: String,
    pub group: String,
    pub gshadow: String,
    pub subuid: String,
    pub subgid: String,
}

/// What the account was before.
#[derive(Debug, PartialEq, Eq)]
pub struct Before {
    /// Home folder of the account that was renamed; `None` when there was none.
    pub home: Option<String>,
}

/// No password: the account is open to keys only.
const LOCKED: &str = "!";
/// First of the 65,536 subordinate ids of the first user, as `useradd` deals them out.
const SUBORDINATE_IDS: &str = "100000:65536";

/// Makes the first user of the base (the one with `account.uid`) into `account`, or adds it.
/// `day` is the day of the last password change, in days since 1970.
pub fn apply(files: &mut AccountFiles, account: &Account, day: i64) -> Result<Before> {
    if let Some(obstacle) = obstacles(&files.passwd, &files.group, account).pop() {
        return Err(
            Error::usage(format!("`user.name`: {}", obstacle.what)).with_hint(obstacle.hint)
        );
    }
    let (old_name, home) = match first_user(&files.passwd, account.uid) {
        Some(user) => (user.name, Some(user.home)),
        None => (String::new(), None),
    };
    files.passwd = passwd(&files.passwd, account, &old_name);
    files.shadow = shadow(&files.shadow, account, &old_name, day);
    files.group = group(&files.group, account, &old_name);
    files.gshadow = gshadow(&files.gshadow, account, &old_name);
    files.subuid = subordinate(&files.subuid, account, &old_name);
    files.subgid = subordinate(&files.subgid, account, &old_name);
    Ok(Before { home })
}

/// The account of the base that becomes the node's.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstUser {
    pub name: String,
    pub home: String,
}

/// The account with the number `uid`.
pub fn first_user(passwd: &str, uid: u32) -> Option<FirstUser> {
    let fields = lines(passwd).find(|fields| number(fields, 2) == Some(uid))?;
    Some(FirstUser {
        name: fields[0].to_owned(),
        home: fields.get(5).copied().unwrap_or_default().to_owned(),
    })
}

/// Names of the groups in the text of /etc/group.
pub fn group_names(group: &str) -> impl Iterator<Item = &str> {
    lines(group).map(|fields| fields[0])
}

/// Something of the base that is where the account should be, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub what: String,
    pub hint: &'static str,
}

/// What of the base is in the way of `account`.
pub fn obstacles(passwd: &str, group: &str, account: &Account) -> Vec<Obstacle> {
    const OTHER_NAME: &str = "choose another user name";
    const OTHER_BASE: &str = "start from an image of Raspberry Pi OS whose first user is a person";
    let (name, uid, gid) = (&account.name, account.uid, account.gid);
    let first = first_user(passwd, uid);
    let first_name = first.as_ref().map_or("", |user| &user.name);
    let mut found = Vec::new();
    let mut tell = |what: String, hint| found.push(Obstacle { what, hint });
    if let Some(user) = &first
        && !user.home.starts_with("/home/")
    {
        let FirstUser { name, home } = user;
        let what = format!("number {uid} of the base is `{name}`, at home in `{home}`: no user");
        tell(what, OTHER_BASE);
    }
    let taken = |fields: &Vec<&str>| fields[0] == *name && fields[0] != first_name;
    if let Some(fields) = lines(group).find(|f| number(f, 2) == Some(gid) && f[0] != first_name) {
        // The account's own group is added, so the number must be free.
        if !lines(group).any(|f| f[0] == first_name) {
            let what = format!("group number {gid} of the base is `{}`", fields[0]);
            tell(what, OTHER_BASE);
        }
    }
    if let Some(fields) = lines(passwd).find(taken) {
        let uid = fields.get(2).unwrap_or(&"?");
        let what = format!("the base has an account `{name}` already (uid {uid})");
        tell(what, OTHER_NAME);
    } else if lines(group).any(|fields| taken(&fields)) {
        tell(format!("the base has a group `{name}` already"), OTHER_NAME);
    }
    found
}

/// The fields of each line of an account file.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|l| !l.is_empty())
        .map(|l| l.split(':').collect())
}

/// The field at `index` as a number.
pub(super) fn number(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index)?.parse().ok()
}

/// Rewrites the line of `old_name`, or adds `fresh` at the end.
fn edit_line(
    text: &str,
    old_name: &str,
    fresh: String,
    rewrite: impl Fn(&[&str]) -> String,
) -> String {
    let mut found = false;
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if !old_name.is_empty() && fields[0] == old_name {
            found = true;
            out.push_str(&rewrite(&fields));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    if !found {
        out.push_str(&fresh);
        out.push('\n');
    }
    out
}

fn passwd(text: &str, account: &Account, old_name: &str) -> String {
    let line = |gid: &str, gecos: &str| {
        let Account {
            name, uid, shell, ..
        } = account;
        format!("{name}:x:{uid}:{gid}:{gecos}:{}:{shell}", account.home())
    };
    let fresh = line(&account.gid.to_string(), ",,,");
    edit_line(text, old_name, fresh, |fields| {
        let gid = fields.get(3).copied().unwrap_or_default();
        line(gid, fields.get(4).copied().unwrap_or_default())
    })
}

fn shadow(text: &str, account: &Account, old_name: &str, day: i64) -> String {
    let hash = account.password_hash.as_ref();
    let hash = hash.map_or(LOCKED, Secret::expose);
    let line = format!("{}:{hash}:{day}:0:99999:7:::", account.name);
    edit_line(text, old_name, line.clone(), |_| line.clone())
}

/// The member list of a group without the account's old and new name, and with it where wanted.
fn members(list: &str, group: &str, account: &Account, old_name: &str) -> String {
    let mut names: Vec<&str> = list
        .split(',')
        .filter(|n| !n.is_empty() && *n != old_name && *n != account.name)
        .collect();
    if account.groups.iter().any(|g| g == group) {
        names.push(&account.name);
    }
    names.join(",")
}

fn with_members(text: &str, account: &Account, old_name: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        match line.rsplit_once(':') {
            Some((head, list)) => {
                let group = head.split(':').next().unwrap_or_default();
                let list = members(list, group, account, old_name);
                out.push_str(&format!("{head}:{list}\n"));
            }
            None => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

fn group(text: &str, account: &Account, old_name: &str) -> String {
    let fresh = format!("{}:x:{}:", account.name, account.gid);
    let text = with_members(text, account, old_name);
    edit_line(&text, old_name, fresh, |fields| {
        format!("{}:{}", account.name, fields[1..].join(":"))
    })
}

fn gshadow(text: &str, account: &Account, old_name: &str) -> String {
    let fresh = format!("{}:!::", account.name);
    let text = with_members(text, account, old_name);
    edit_line(&text, old_name, fresh, |fields| {
        format!("{}:{}", account.name, fields[1..].join(":"))
    })
}

fn subordinate(text: &str, account: &Account, old_name: &str) -> String {
    let fresh = format!("{}:{SUBORDINATE_IDS}", account.name);
    edit_line(text, old_name, fresh, |fields| {
        format!("{}:{}", account.name, fields[1..].join(":"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> AccountFiles {
        AccountFiles {
            passwd:
                "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/usr/sbin/nologin\n"
                    .into(),
            shadow: "root:*:20000:0:99999:7:::\npi:!:20000:0:99999:7:::\n".into(),
            group: "root:x:0:\nsudo:x:27:pi\nvideo:x:44:pi,x\nlpadmin:x:108:pi\npi:x:1000:\n"
                .into(),
            gshadow: "root:*::\nsudo:*::pi\nvideo:*::pi,x\nlpadmin:!::pi\npi:!::\n".into(),
            subuid: "pi:100000:65536\n".into(),
            subgid: "pi:100000:65536\n".into(),
        }
    }

    fn account(name: &str) -> Account {
        Account {
            name: name.into(),
            uid: 1000,
            gid: 1000,
            shell: "/bin/bash".into(),
            groups: vec!["sudo".into(), "video".into(), "gpio".into()],
            password_hash: Some(Secret::new("$y$j9T$abc$def".into())),
        }
    }

    #[test]
    fn the_first_user_is_renamed_everywhere() {
        let mut files = base();
        let before = apply(&mut files, &account("alice"), 20500).unwrap();
        assert_eq!(before.home.as_deref(), Some("/home/pi"));
        assert!(
            files
                .passwd
                .ends_with("alice:x:1000:1000:,,,:/home/alice:/bin/bash\n")
        );
        assert!(
            files
                .shadow
                .ends_with("alice:$y$j9T$abc$def:20500:0:99999:7:::\n")
        );
        assert_eq!(
            files.group,
            "root:x:0:\nsudo:x:27:alice\nvideo:x:44:x,alice\nlpadmin:x:108:\nalice:x:1000:\n"
        );
        assert_eq!(
            files.gshadow,
            "root:*::\nsudo:*::alice\nvideo:*::x,alice\nlpadmin:!::\nalice:!::\n"
        );
        assert_eq!(files.subuid, "alice:100000:65536\n");
    }

    #[test]
    fn a_missing_first_user_is_added() {
        let mut files = base();
        files.passwd = "root:x:0:0:root:/root:/bin/bash\n".into();
        files.group = "root:x:0:\n".into();
        let before = apply(&mut files, &account("alice"), 1).unwrap();
        assert_eq!(before.home, None);
        assert!(
            files
                .passwd
                .contains("alice:x:1000:1000:,,,:/home/alice:/bin/bash\n")
        );
        assert!(files.group.contains("alice:x:1000:\n"));
    }

    #[test]
    fn names_that_are_taken_are_refused() {
        let mut files = base();
        let error = apply(&mut files, &account("video"), 1).unwrap_err();
        assert!(error.to_string().contains("group `video`"), "{error}");
    }

    #[test]
    fn no_hash_locks_the_password() {
        let mut files = base();
        let account = Account {
            password_hash: None,
            ..account("pi")
        };
        apply(&mut files, &account, 7).unwrap();
        assert!(files.shadow.ends_with("pi:!:7:0:99999:7:::\n"));
    }
}
