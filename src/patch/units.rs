//! Enables, disables and masks systemd units by the links that `systemctl` would make
//! (systemd.unit(5), "[Install] Section Options").

use crate::error::{Error, Result};
use crate::ext4::Ext4;
use crate::image::unit_files::{ADMIN, NOWHERE, find};

/// Units that name each other in `Also=` must not send us round for ever.
const MAX_ALSO: usize = 32;

/// A link to make: its path and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub path: String,
    pub target: String,
}

/// The links that enable `unit`. `read` gives the text of a file, `None` when there is none.
pub fn enable(read: &dyn Fn(&str) -> Result<Option<String>>, unit: &str) -> Result<Vec<Link>> {
    let mut links = Vec::new();
    let mut pending = vec![unit.to_owned()];
    let mut seen: Vec<String> = Vec::new();
    while let Some(unit) = pending.pop() {
        if seen.contains(&unit) || seen.len() >= MAX_ALSO {
            continue;
        }
        let is_there = |path: &str| Ok(read(path)?.is_some());
        let file = find(&is_there, &unit)?.ok_or_else(|| {
            Error::usage(format!(
                "there is no unit {unit} to enable: neither the base nor a role brings it"
            ))
        })?;
        let text = read(&file)?.unwrap_or_default();
        let install = Install::parse(&text);
        if install.is_empty() {
            return Err(Error::usage(format!(
                "{file} cannot be enabled: it has no [Install] section"
            )));
        }
        links.extend(install.links(&unit, &file));
        pending.extend(install.also.iter().cloned());
        seen.push(unit);
    }
    Ok(links)
}

/// The links that enable `unit`, whose file has the given text.
pub fn links_of(unit: &str, file: &str, text: &str) -> Vec<Link> {
    Install::parse(text).links(unit, file)
}

/// The links of `unit` that exist and that disabling it takes away.
pub fn disable(fs: &Ext4, unit: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs.read_dir(ADMIN)? {
        if !(entry.name.ends_with(".wants") || entry.name.ends_with(".requires")) {
            continue;
        }
        let path = format!("{ADMIN}/{}/{unit}", entry.name);
        if fs.stat(&path)?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

/// The link that masks `unit`.
pub fn mask(unit: &str) -> Link {
    Link {
        path: format!("{ADMIN}/{unit}"),
        target: NOWHERE.to_owned(),
    }
}

#[derive(Debug, Default)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    alias: Vec<String>,
    also: Vec<String>,
}

impl Install {
    fn parse(text: &str) -> Self {
        let mut install = Self::default();
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
                continue;
            };
            let list = match key.trim() {
                "WantedBy" => &mut install.wanted_by,
                "RequiredBy" => &mut install.required_by,
                "Alias" => &mut install.alias,
                "Also" => &mut install.also,
                _ => continue,
            };
            list.extend(value.split_whitespace().map(str::to_owned));
        }
        install
    }

    fn is_empty(&self) -> bool {
        self.wanted_by.is_empty()
            && self.required_by.is_empty()
            && self.alias.is_empty()
            && self.also.is_empty()
    }

    fn links(&self, unit: &str, file: &str) -> Vec<Link> {
        let link = |path: String| Link {
            path,
            target: file.to_owned(),
        };
        let wants = self
            .wanted_by
            .iter()
            .map(|by| format!("{ADMIN}/{by}.wants/{unit}"));
        let requires = self
            .required_by
            .iter()
            .map(|by| format!("{ADMIN}/{by}.requires/{unit}"));
        let alias = self.alias.iter().map(|alias| format!("{ADMIN}/{alias}"));
        wants.chain(requires).chain(alias).map(link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_sections_become_links() {
        let text = "[Unit]\nAlias=no\n[Install]\nWantedBy=multi-user.target a.target\nAlias=sshd.service\n";
        let links =
            Install::parse(text).links("ssh.service", "/usr/lib/systemd/system/ssh.service");
        let paths: Vec<_> = links.iter().map(|l| l.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/etc/systemd/system/multi-user.target.wants/ssh.service",
                "/etc/systemd/system/a.target.wants/ssh.service",
                "/etc/systemd/system/sshd.service",
            ]
        );
    }
}
