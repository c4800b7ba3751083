//! Shows a plan to a person or a program. Secrets are never shown, nor how long they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::account::SystemAccount;
use super::edit::{Action, Attr, Content, Edit};
use super::node_plan::Plan;
use super::payload::PayloadRef;
use crate::config::DiskTable;
use crate::overlay::Part;
use crate::secrets::REDACTED;
use crate::size::human;

/// What a new file takes the place of. Only a base could tell more.
const AT_PATH: &str = "what is at the path";
/// Columns of a terminal. Only a word that is longer by itself goes beyond them.
const WIDTH: usize = 80;

/// Which paths an edit touches, on its own partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// `*` stands for what only the base knows.
    pub paths: Vec<String>,
    /// Folders that are made where the base does not have them.
    pub parents: Vec<String>,
}

/// A table for people: the edits of each role with the paths they touch, then a summary. `touched`
/// belongs to the edits in their order.
pub fn print_text(plan: &Plan, touched: &[Touched]) -> String {
    let edits = plan.edits.len();
    let mut out = format!("{} (profile {})\n", plan.hostname, plan.profile);
    if plan.table == DiskTable::Gpt {
        out.push_str(&entry(
            "gpt            partition table",
            "new PARTUUIDs in /etc/fstab and /boot/firmware/cmdline.txt",
            &[],
        ));
    }
    for origin in origins(plan) {
        out.push_str(&format!("\n{}\n", title(origin)));
        for (edit, touched) in plan.edits.iter().zip(touched) {
            if edit.origin == origin {
                out.push_str(&edit_text(edit, touched));
            }
        }
    }
    out.push_str(&format!("\nsummary of {}: {edits} edits\n", plan.hostname));
    out.push_str("  write and link replace a file of the base at the same path\n");
    out.push_str(&summary(plan, touched));
    out
}

/// Who asks for edits, in the order of their first.
fn origins(plan: &Plan) -> Vec<&str> {
    let mut origins: Vec<&str> = Vec::new();
    for edit in &plan.edits {
        if !origins.contains(&edit.origin.as_str()) {
            origins.push(&edit.origin);
        }
    }
    origins
}

fn title(origin: &str) -> String {
    match origin {
        "identity" | "profile" => origin.to_owned(),
        role => format!("role {role}"),
    }
}

fn edit_text(edit: &Edit, touched: &Touched) -> String {
    let row = Row::of(edit);
    let mode = row
        .attr
        .map_or(String::new(), |a| format!("{:04o}", a.mode));
    let path = display_path(edit.part, &edit.path);
    let first = format!("{:<8}{mode:>4}  {path}", row.verb);
    let others: Vec<String> = touched
        .paths
        .iter()
        .map(|touched| display_path(edit.part, touched))
        .filter(|touched| *touched != path)
        .collect();
    entry(&first, &notes(edit, &row), &others)
}

/// What is said behind the path.
fn notes(edit: &Edit, row: &Row) -> String {
    let owner = row.attr.filter(|a| (a.uid, a.gid) != (0, 0));
    let owner = owner.map(|a| format!("owner {}:{}", a.uid, a.gid));
    let size = match row.size.parse::<u64>() {
        Ok(1) => Some("1 byte".to_owned()),
        Ok(bytes) => Some(format!("{bytes} bytes")),
        Err(_) => Some(row.size.clone()).filter(|s| !s.is_empty()),
    };
    let when = edit.when.note().map(|note| format!("[{note}]"));
    let notes = [size, owner, row.detail.clone(), when];
    notes.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// A line with its notes, and one line for each further path. What does not fit goes below, indented.
fn entry(first: &str, notes: &str, paths: &[String]) -> String {
    let line = format!("{first}  {notes}");
    let mut out = match line.trim_end() {
        line if width(line) <= WIDTH => format!("{line}\n"),
        _ => {
            let first = if width(first) <= WIDTH {
                format!("{first}\n")
            } else {
                wrapped(first, "")
            };
            format!("{first}{}", wrapped(notes, "    "))
        }
    };
    for path in paths {
        out.push_str(&format!("  {path}\n"));
    }
    out
}

/// Breaks `text` between words into lines of at most [`WIDTH`] columns; all but the first are
/// indented by two more.
fn wrapped(text: &str, indent: &str) -> String {
    filled(text.split(' '), indent)
}

/// The same for words that may have blanks in them.
fn filled<'a>(words: impl IntoIterator<Item = &'a str>, indent: &str) -> String {
    let mut out = String::new();
    let mut line = indent.to_owned();
    let mut first = true;
    for word in words {
        if !first && width(&line) + 1 + width(word) > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = format!("{indent}  ");
        } else if !first {
            line.push(' ');
        }
        line.push_str(word);
        first = false;
    }
    if !first {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// What all edits come to: a title and items a row. Rows without items are left out.
fn summary(plan: &Plan, touched: &[Touched]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut secrets, mut parents) = (BTreeSet::new(), BTreeSet::new());
    for (edit, touched) in plan.edits.iter().zip(touched) {
        let row = Row::of(edit);
        *counts.entry(row.verb).or_default() += 1;
        if row.secret {
            secrets.insert(display_path(edit.part, &edit.path));
        }
        let folders = touched.parents.iter();
        parents.extend(folders.map(|folder| display_path(edit.part, folder)));
    }
    let counts = counts.iter().map(|(verb, count)| format!("{count} {verb}"));
    let payloads = plan.payloads().into_iter().map(|p| p.request.name.clone());
    // Of one archive, many files may be taken.
    let payloads: BTreeSet<String> = payloads.collect();
    let rows: [(&str, Vec<String>); 7] = [
        ("edits:", counts.collect()),
        ("fetched by the build:", payloads.into_iter().collect()),
        ("packages for the first boot to install:", packages(plan)),
        ("packages of the base that they replace:", replaced(plan)),
        ("container images on the card:", images(plan)),
        ("secrets in:", secrets.into_iter().collect()),
        (
            "folders made where the base has none (0755, owner 0:0):",
            parents.into_iter().collect(),
        ),
    ];
    let rows = rows.iter().filter(|(_, items)| !items.is_empty());
    rows.map(|(title, items)| {
        filled(
            std::iter::once(*title).chain(separated(items).iter().map(String::as_str)),
            "  ",
        )
    })
    .collect()
}

/// What is pinned, or else what is asked for.
fn packages(plan: &Plan) -> Vec<String> {
    if plan.pinned.is_empty() {
        return plan.packages.clone();
    }
    let new = plan
        .pinned
        .iter()
        .filter(|package| package.replaces.is_none());
    new.map(|package| format!("{} {}", package.name, package.version))
        .collect()
}

/// With their sizes, where they are pinned.
fn images(plan: &Plan) -> Vec<String> {
    let pinned = plan.pinned_images.iter();
    let shown: BTreeMap<&str, String> = pinned
        .map(|image| {
            (
                image.name.as_str(),
                format!("{} ({})", image.name, human(image.size)),
            )
        })
        .collect();
    let asked = plan.images.iter().map(|name| (name.as_str(), name.clone()));
    let all: BTreeMap<&str, String> = asked.chain(shown).collect();
    let unknown = plan.images_of_manifests && plan.pinned_images.is_empty();
    let more = unknown.then(|| "all that manifests name".to_owned());
    all.into_values().chain(more).collect()
}

fn replaced(plan: &Plan) -> Vec<String> {
    let replaced = plan.pinned.iter().filter_map(|package| {
        let old = package.replaces.as_ref()?;
        Some(format!("{} {old} → {}", package.name, package.version))
    });
    replaced.collect()
}

/// With a comma behind all but the last.
fn separated(items: &[String]) -> Vec<String> {
    let last = items.len().saturating_sub(1);
    let items = items.iter().enumerate();
    items
        .map(|(i, item)| {
            if i < last {
                format!("{item},")
            } else {
                item.clone()
            }
        })
        .collect()
}

/// The same as a JSON value.
pub fn print_json(plan: &Plan, touched: &[Touched]) -> Json {
    json!({
        "profile": plan.profile,
        "hostname": plan.hostname,
        "identity": plan.identity,
        "instance_id": plan.instance_id,
        "table": plan.table,
        "edits": plan.edits.iter().zip(touched).map(edit_json).collect::<Vec<_>>(),
        "images": { "wanted": plan.images, "pinned": plan.pinned_images },
        "packages": { "wanted": plan.packages, "pinned": plan.pinned },
        "next": plan.next,
    })
}

fn edit_json((edit, touched): (&Edit, &Touched)) -> Json {
    let row = Row::of(edit);
    json!({
        "action": row.verb,
        "partition": edit.part.name(),
        "path": edit.path,
        "paths": touched.paths,
        "parents": touched.parents,
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
pub(super) fn display_path(part: Part, path: &str) -> String {
    match part {
        Part::Boot => format!("/boot/firmware{path}"),
        Part::Root => path.to_owned(),
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
            Action::Write(Content::Bytes(bytes), attr) => Self {
                attr: Some(*attr),
                size: if bytes.is_secret() {
                    REDACTED.to_owned()
                } else {
                    bytes.len().to_string()
                },
                secret: bytes.is_secret(),
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
                    "{} {}:{}, shell {}, password {}, groups {}",
                    account.name,
                    account.uid,
                    account.gid,
                    account.shell,
                    if account.password_hash.is_some() {
                        REDACTED
                    } else {
                        "none"
                    },
                    account.groups.join(", ")
                )),
                secret: account.password_hash.is_some(),
                ..Self::new("account", Some("the base's first user"))
            },
            Action::SystemAccount(account) => Self {
                detail: Some(system_account_text(account)),
                ..Self::new("account", None)
            },
            Action::EnableUnit => Self::new("enable", None),
            Action::DisableUnit => Self::new("disable", Some("the unit's links")),
            Action::MaskUnit => Self::new("mask", None),
        }
    }
}

fn system_account_text(account: &SystemAccount) -> String {
    let SystemAccount {
        name,
        uid,
        gid,
        shell,
        groups,
        ..
    } = account;
    let mut text = format!("{name} {uid}:{gid}, shell {shell}, password none");
    if !groups.is_empty() {
        text.push_str(&format!(", groups {}", groups.join(", ")));
    }
    text
}

fn payload_text(payload: &PayloadRef) -> String {
    let from = &payload.request.location;
    match &payload.member {
        Some(member) => format!("← {from} ({member})"),
        None => format!("← {from}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_80_columns_and_words_stay_whole() {
        let word = "/a/path/of/thirty/characters/x";
        let long = "x".repeat(90);
        let text = format!("{word} {word} {word} {long} {word}");
        let lines: Vec<String> = wrapped(&text, "  ").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], format!("  {word} {word}"));
        assert_eq!(lines[2], format!("    {long}"));
        assert!(lines.iter().all(|l| width(l) <= WIDTH || l.trim() == long));
    }

    #[test]
    fn what_does_not_fit_goes_below() {
        let path = format!("write   0644  /{}", "p".repeat(60));
        assert_eq!(entry(&path, "1 byte", &[]), format!("{path}\n    1 byte\n"));
        assert_eq!(
            entry("mask    a.service", "", &["/etc/a".into()]),
            "mask    a.service\n  /etc/a\n"
        );
    }
}
