//! Shows a plan to a person or a program. Secrets are never shown, nor how long they are.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::{Action, Attr, Content, Edit, PayloadLocation, PayloadRef, Plan, When};
use crate::config::DiskTable;
use crate::overlay::Part;
use crate::secrets::REDACTED;

/// What a new file takes the place of. Only a base could tell more.
const AT_PATH: &str = "what is at the path";

/// One line an edit, for people.
pub fn print_text(plan: &Plan) -> String {
    let mut out = format!(
        "{} (profile {}): {} edits; write, link and remove replace {AT_PATH}\n",
        plan.hostname,
        plan.profile,
        plan.edits.len()
    );
    if plan.table == DiskTable::Gpt {
        out.push_str(
            "  gpt      the partition table, and the PARTUUIDs in fstab and cmdline.txt\n",
        );
    }
    for edit in &plan.edits {
        let row = Row::of(edit);
        let when = match edit.when {
            When::Always => String::new(),
            When::CloudInit => " [base with cloud-init]".to_owned(),
            When::Offline => " [base without cloud-init]".to_owned(),
            When::CloudInitUnused => " [cloud-init unused]".to_owned(),
        };
        // Writing to a String can not fail.
        let _ = writeln!(
            out,
            "  {:<8} {} {:>10} {:>10}  {}{}{when}  ({}{})",
            row.verb,
            row.attr
                .map_or("    ".to_owned(), |a| format!("{:04o}", a.mode)),
            row.attr
                .map_or(String::new(), |a| format!("{}:{}", a.uid, a.gid)),
            row.size,
            display_path(edit),
            row.detail.map(|d| format!("  {d}")).unwrap_or_default(),
            edit.origin,
            row.replaces
                .filter(|r| *r != AT_PATH)
                .map(|r| format!("; replaces {r}"))
                .unwrap_or_default(),
        );
    }
    out
}

/// The same as a JSON value.
pub fn print_json(plan: &Plan) -> Json {
    json!({
        "profile": plan.profile,
        "hostname": plan.hostname,
        "identity": plan.identity,
        "instance_id": plan.instance_id,
        "table": plan.table,
        "edits": plan.edits.iter().map(edit_json).collect::<Vec<_>>(),
    })
}

fn edit_json(edit: &Edit) -> Json {
    let row = Row::of(edit);
    json!({
        "action": row.verb,
        "partition": edit.part.name(),
        "path": edit.path,
        "mode": row.attr.map(|a| format!("{:04o}", a.mode)),
        "uid": row.attr.map(|a| a.uid),
        "gid": row.attr.map(|a| a.gid),
        "size": row.size.parse::<u64>().ok(),
        "secret": row.secret,
        "when": edit.when,
        "replaces": row.replaces,
        "detail": row.detail,
        "origin": edit.origin,
    })
}

/// Paths of the boot partition as the running system has them.
fn display_path(edit: &Edit) -> String {
    match edit.part {
        Part::Boot => format!("/boot/firmware{}", edit.path),
        Part::Root => edit.path.clone(),
    }
}

struct Row {
    verb: &'static str,
    attr: Option<Attr>,
    /// Bytes, or what stands in for them.
    size: String,
    detail: Option<String>,
    secret: bool,
    /// What is at the path before, as far as it is known without a base.
    replaces: Option<&'static str>,
}

impl Row {
    fn new(verb: &'static str, replaces: Option<&'static str>) -> Self {
        Self {
            verb,
            attr: None,
            size: String::new(),
            detail: None,
            secret: false,
            replaces,
        }
    }

    fn of(edit: &Edit) -> Self {
        let row = Self::of_action(edit);
        match edit.part {
            // FAT has neither modes nor owners.
            Part::Boot => Self { attr: None, ..row },
            Part::Root => row,
        }
    }

    fn of_action(edit: &Edit) -> Self {
        let file = Some(AT_PATH);
        match &edit.action {
            Action::Write(Content::Bytes { bytes, secret }, attr) => Self {
                attr: Some(*attr),
                size: match secret {
                    true => REDACTED.to_owned(),
                    false => bytes.len().to_string(),
                },
                secret: *secret,
                ..Self::new("write", file)
            },
            Action::Write(Content::Payload(payload), attr) => Self {
                attr: Some(*attr),
                detail: Some(payload_text(payload)),
                ..Self::new("write", file)
            },
            Action::Unpack(payload) => Self {
                detail: Some(payload_text(payload)),
                ..Self::new("unpack", Some("files of the same names"))
            },
            Action::Directory(attr) => Self {
                attr: Some(*attr),
                ..Self::new("mkdir", None)
            },
            Action::Symlink(target) => Self {
                detail: Some(format!("→ {target}")),
                ..Self::new("link", file)
            },
            Action::Remove => Self::new("remove", file),
            Action::SetAttr(attr) => Self {
                attr: Some(*attr),
                ..Self::new("chmod", Some("mode and owner"))
            },
            Action::Cmdline { add, remove } => {
                let minus = remove.iter().map(|w| format!("-{w}"));
                let words: Vec<String> = minus.chain(add.iter().map(|w| format!("+{w}"))).collect();
                Self {
                    detail: Some(words.join(" ")),
                    ..Self::new("cmdline", None)
                }
            }
            Action::ConfigTxt(lines) => Self {
                detail: Some(lines.join(" | ")),
                ..Self::new("config", None)
            },
            Action::SetLine { line, .. } => Self {
                detail: Some(line.clone()),
                ..Self::new("line", Some("the line with this key"))
            },
            Action::Account(account) => Self {
                detail: Some(format!(
                    "{} {}:{} {} password {}, groups {}",
                    account.name,
                    account.uid,
                    account.gid,
                    account.shell,
                    if account.password_hash.is_some() {
                        REDACTED
                    } else {
                        "none"
                    },
                    account.groups.join(",")
                )),
                secret: account.password_hash.is_some(),
                ..Self::new("account", Some("the base's first user"))
            },
            Action::EnableUnit => Self::new("enable", None),
            Action::DisableUnit => Self::new("disable", Some("the unit's links")),
            Action::MaskUnit => Self::new("mask", None),
        }
    }
}

fn payload_text(payload: &PayloadRef) -> String {
    let from = match &payload.location {
        PayloadLocation::Url(url) => url.clone(),
        PayloadLocation::File(path) => path.display().to_string(),
    };
    match &payload.member {
        Some(member) => format!("← {from} ({member})"),
        None => format!("← {from}"),
    }
}
