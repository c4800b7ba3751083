//! Our block in config.txt.
//!
//! Two things reach beyond the line they stand on: a filter such as `[pi4]` holds until the next one,
//! and `dtparam` lines belong to the `dtoverlay` above them until another or an empty `dtoverlay=`
//! (Raspberry Pi documentation, config.txt, "Conditional filters" and "Device Trees, overlays, and
//! parameters"). The block begins and ends by closing both, so that neither side changes what the
//! other means.

use crate::plan::Edit;

const BEGIN: &str = "# --- imgbuild begin";
const END: &str = "# --- imgbuild end";
/// Closes filters and overlays.
const CLOSE: &str = "[all]\ndtoverlay=\n";
/// Where [`Edit`]s come from whose lines the owner of the node wrote.
const OWNER: &str = "profile";

/// Lines for the block, from one edit.
pub struct Lines<'a> {
    lines: &'a [String],
    is_owners: bool,
}

impl<'a> Lines<'a> {
    pub fn new(edit: &Edit, lines: &'a [String]) -> Self {
        Self {
            lines,
            is_owners: edit.origin == OWNER,
        }
    }
}

/// Puts our block into `text`: where it was, or at the end.
pub fn edit(text: &str, lines: &[Lines<'_>]) -> String {
    let (before, after) = around_block(text);
    let gap = match before {
        "" => "",
        text if text.ends_with("\n\n") || text.ends_with("\r\n\r\n") => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    format!("{before}{gap}{}{after}", block(lines))
}

/// What is before and after our block; all of the text is before it when there is none.
fn around_block(text: &str) -> (&str, &str) {
    let (mut at, mut begin) = (0, None);
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        match (line.trim_end(), begin) {
            (BEGIN, _) => begin = Some(start),
            (END, Some(begin)) => return (&text[..begin], &text[at..]),
            _ => {}
        }
    }
    (text, "")
}

/// First the lines of roles, each thing once, then the owner's as they are.
fn block(lines: &[Lines<'_>]) -> String {
    let mut text = format!("{BEGIN}\n{CLOSE}");
    let (owners, roles): (Vec<_>, Vec<_>) = lines.iter().partition(|l| l.is_owners);
    let mut seen: Vec<Vec<&str>> = Vec::new();
    let groups = roles.iter().flat_map(|role| groups(role.lines));
    for group in groups.chain(owners.iter().map(|owner| Group::whole(owner.lines))) {
        if group.can_repeat && seen.contains(&group.lines) {
            continue;
        }
        if group.is_apart && !text.ends_with(CLOSE) {
            text.push_str(CLOSE);
        }
        for line in &group.lines {
            text.push_str(line);
            text.push('\n');
        }
        if group.is_apart {
            text.push_str(CLOSE);
        }
        seen.push(group.lines);
    }
    if !text.ends_with(CLOSE) {
        text.push_str(CLOSE);
    }
    text + END + "\n"
}

/// Lines that mean something together only.
struct Group<'a> {
    lines: Vec<&'a str>,
    /// It must not be under a filter or overlay of others, nor they under its own. Another overlay,
    /// and a setting that is no `dtparam`, need no such care.
    is_apart: bool,
    /// The same again adds nothing.
    can_repeat: bool,
}

impl<'a> Group<'a> {
    fn whole(lines: &'a [String]) -> Self {
        Self {
            lines: lines.iter().map(String::as_str).collect(),
            is_apart: true,
            can_repeat: false,
        }
    }
}

/// The groups of a role's lines: an overlay with its parameters, or one line. With filters among
/// them they are all one.
fn groups(lines: &[String]) -> Vec<Group<'_>> {
    let has = |line: &String, start: &str| line.trim_start().starts_with(start);
    if lines
        .iter()
        .any(|l| has(l, "[") || l.trim() == "dtoverlay=")
    {
        let can_repeat = true;
        return vec![Group {
            can_repeat,
            ..Group::whole(lines)
        }];
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut overlay_is_open = false;
    for line in lines {
        overlay_is_open = has(line, "dtoverlay=") || overlay_is_open && has(line, "dtparam=");
        match groups.last_mut() {
            Some(overlay) if overlay_is_open && !has(line, "dtoverlay=") => {
                overlay.lines.push(line);
            }
            _ => groups.push(Group {
                lines: vec![line],
                is_apart: has(line, "dtparam="),
                can_repeat: true,
            }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|l| (*l).to_owned()).collect()
    }

    /// The block of roles' lines and of the owner's.
    fn edited(text: &str, roles: &[&[&str]], owner: &[&str]) -> String {
        let roles: Vec<Vec<String>> = roles.iter().map(|lines| owned(lines)).collect();
        let owner = owned(owner);
        let mut lines: Vec<Lines<'_>> = roles
            .iter()
            .map(|lines| Lines {
                lines,
                is_owners: false,
            })
            .collect();
        if !owner.is_empty() {
            lines.push(Lines {
                lines: &owner,
                is_owners: true,
            });
        }
        edit(text, &lines)
    }

    #[test]
    fn the_owners_lines_stay_as_they_are() {
        let owner = [
            "[pi4]",
            "over_voltage=2",
            "[all]",
            "gpu_mem=16",
            "[pi4]",
            "arm_freq=1800",
            "gpu_mem=16",
        ];
        let text = edited("", &[&["a=1"], &["a=1", "gpu_mem=16"]], &owner);
        let expected = format!(
            "{BEGIN}\n{CLOSE}a=1\ngpu_mem=16\n{CLOSE}{}\n{CLOSE}{END}\n",
            owner.join("\n")
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn things_of_roles_come_once_with_what_they_belong_to() {
        let filtered: &[&str] = &["dtoverlay=x", "[pi4]", "dtparam=speed=1", "a=1"];
        let text = edited(
            "",
            &[
                &["a=1", "dtoverlay=x", "dtparam=speed=1", "b=2"],
                &[
                    "dtoverlay=x",
                    "dtparam=speed=1",
                    "dtoverlay=y",
                    "dtparam=speed=1",
                ],
                &["dtparam=speed=1", "b=2", "c=3"],
                filtered,
                filtered,
            ],
            &[],
        );
        let expected = [
            "a=1\ndtoverlay=x\ndtparam=speed=1\nb=2\ndtoverlay=y\ndtparam=speed=1\n",
            "dtparam=speed=1\n",
            "c=3\n",
            "dtoverlay=x\n[pi4]\ndtparam=speed=1\na=1\n",
        ]
        .join(CLOSE);
        assert_eq!(text, format!("{BEGIN}\n{CLOSE}{expected}{CLOSE}{END}\n"));
    }

    #[test]
    fn the_block_stays_in_its_place_and_the_rest_is_kept() {
        let block = |line: &str| format!("{BEGIN}\n{CLOSE}{line}\n{CLOSE}{END}\n");
        for before in ["x=1\n[none]\ndtoverlay=w1-gpio", "x=1\r\n\r\n[pi5]\r\n", ""] {
            let once = edited(before, &[&["a=1"]], &[]);
            assert!(
                once.starts_with(before) && once.ends_with(&block("a=1")),
                "{once:?}"
            );
            assert_eq!(edited(&once, &[&["a=1"]], &[]), once);
            // What was added later keeps its meaning: it is under no filter.
            let longer = format!("{once}dtparam=audio=on\n");
            let again = edited(&longer, &[&["b=2"]], &[]);
            assert!(again.starts_with(before), "{again:?}");
            assert!(
                again.ends_with(&(block("b=2") + "dtparam=audio=on\n")),
                "{again:?}"
            );
        }
        // A beginning without an end is not ours to take away.
        let torn = format!("{BEGIN}\nx=1\n");
        let text = edited(&torn, &[&["a=1"]], &[]);
        assert_eq!(text, format!("{torn}\n{}", block("a=1")));
        assert_eq!(edited(&text, &[&["a=1"]], &[]), text);
    }
}
