//! Which paths an edit touches, as far as that is known without a base.

use super::{accounts, units};
use crate::image::unit_files;
use crate::overlay::Part;
use crate::plan::{Action, Content, Edit, Plan, Touched};

/// The paths that each edit of `plan` touches, in the order of the edits.
pub fn touched(plan: &Plan) -> Vec<Touched> {
    let edits = plan.edits.iter();
    edits
        .map(|edit| {
            let paths = paths(plan, edit);
            let parents = match edit.action {
                Action::Write(..) | Action::Symlink(_) | Action::Directory(_) => {
                    parents(&edit.path)
                }
                Action::Unpack(_) => {
                    let mut folders = parents(&edit.path);
                    folders.push(edit.path.clone());
                    folders
                }
                Action::EnableUnit => paths.iter().flat_map(|path| parents(path)).collect(),
                _ => Vec::new(),
            };
            Touched { paths, parents }
        })
        .collect()
}

fn paths(plan: &Plan, edit: &Edit) -> Vec<String> {
    match &edit.action {
        Action::Account(account) => {
            let mut paths = accounts::FILES.map(str::to_owned).to_vec();
            paths.push(account.home());
            paths
        }
        Action::SystemAccount(_) => accounts::FILES[..4].iter().map(|&p| p.to_owned()).collect(),
        Action::Unpack(_) => vec![format!("{}/*", edit.path)],
        Action::EnableUnit => enabled(plan, &edit.path),
        Action::DisableUnit => in_any_folder(&edit.path),
        Action::MaskUnit => vec![units::mask(&edit.path).path],
        _ => vec![edit.path.clone()],
    }
}

/// The links that the unit's [Install] section asks for. The plan has the file of a role's own unit; that
/// of a unit of the base is known only with the base.
fn enabled(plan: &Plan, unit: &str) -> Vec<String> {
    let links: Vec<String> = match unit_file(plan, unit) {
        Some((path, text)) => units::links_of(unit, path, &text)
            .into_iter()
            .map(|link| link.path)
            .collect(),
        None => Vec::new(),
    };
    if links.is_empty() {
        in_any_folder(unit)
    } else {
        links
    }
}

fn in_any_folder(unit: &str) -> Vec<String> {
    let folder = unit_files::ADMIN;
    ["wants", "requires"]
        .map(|kind| format!("{folder}/*.{kind}/{unit}"))
        .to_vec()
}

fn unit_file<'a>(plan: &'a Plan, unit: &str) -> Option<(&'a str, String)> {
    let template = unit_files::template_of(unit);
    let names = std::iter::once(unit).chain(template.as_deref());
    let candidates: Vec<String> = names
        .flat_map(|name| {
            unit_files::FOLDERS
                .iter()
                .map(move |folder| format!("{folder}/{name}"))
        })
        .collect();
    plan.edits.iter().find_map(|edit| match &edit.action {
        Action::Write(Content::Bytes(bytes), _)
            if edit.part == Part::Root && candidates.contains(&edit.path) =>
        {
            Some((
                edit.path.as_str(),
                String::from_utf8_lossy(bytes).into_owned(),
            ))
        }
        _ => None,
    })
}

/// The folders above `path`, outermost first, without `/`.
fn parents(path: &str) -> Vec<String> {
    let ends = path.match_indices('/').map(|(index, _)| index);
    ends.filter(|index| *index > 0)
        .filter_map(|index| path.get(..index))
        .filter(|folder| !folder.contains('*'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DiskTable;
    use crate::config::FirstBoot;
    use crate::plan::{Account, Attr, FileBytes, When};

    fn edit(path: &str, action: Action) -> Edit {
        Edit {
            part: Part::Root,
            path: path.into(),
            when: When::Always,
            origin: "r".into(),
            action,
        }
    }

    fn of(edits: Vec<Edit>) -> Vec<Touched> {
        touched(&Plan {
            profile: "p".into(),
            hostname: "h".into(),
            identity: FirstBoot::Auto,
            instance_id: String::new(),
            edits,
            packages: Vec::new(),
            pinned: Vec::new(),
            images: Default::default(),
            images_of_manifests: false,
            pinned_images: Vec::new(),
            image_size: None,
            spare: 0,
            table: DiskTable::Keep,
            next: Vec::new(),
        })
    }

    #[test]
    fn an_account_touches_its_files_and_its_home() {
        let account = Account {
            name: "alice".into(),
            uid: 1000,
            gid: 1000,
            shell: "/bin/sh".into(),
            groups: Vec::new(),
            password_hash: None,
        };
        let found = of(vec![edit("/etc/passwd", Action::Account(account))]);
        for path in ["/etc/shadow", "/etc/group", "/etc/gshadow", "/home/alice"] {
            assert!(found[0].paths.iter().any(|p| p == path), "{path}");
        }
    }

    #[test]
    fn units_touch_their_links() {
        let text = "[Install]\nWantedBy=multi-user.target\nAlias=b.service\n";
        let content = Content::Bytes(FileBytes::Plain(text.into()));
        let found = of(vec![
            edit(
                "/etc/systemd/system/a.service",
                Action::Write(content, Attr::root(0o644)),
            ),
            edit("a.service", Action::EnableUnit),
            edit("ssh.service", Action::EnableUnit),
            edit("c.service", Action::MaskUnit),
        ]);
        assert_eq!(
            found[1].paths,
            [
                "/etc/systemd/system/multi-user.target.wants/a.service",
                "/etc/systemd/system/b.service"
            ]
        );
        let folder = "/etc/systemd/system/multi-user.target.wants";
        assert!(found[1].parents.iter().any(|p| p == folder));
        assert_eq!(found[2].paths[0], "/etc/systemd/system/*.wants/ssh.service");
        assert_eq!(found[3].paths, ["/etc/systemd/system/c.service"]);
    }

    #[test]
    fn folders_above_a_path_are_named() {
        assert_eq!(parents("/a/b/c"), ["/a", "/a/b"]);
        assert_eq!(parents("/a"), [""; 0]);
    }
}
