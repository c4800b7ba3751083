//! The files of systemd units: where they are, and what masks them (systemd.unit(5)).

use crate::error::Result;
use crate::ext4::{Ext4, FileKind};

/// Where the machine's own units are.
pub const ADMIN: &str = "/etc/systemd/system";
/// Where units are looked for, in systemd's order.
pub const FOLDERS: &[&str] = &[ADMIN, "/usr/lib/systemd/system", "/lib/systemd/system"];
/// What a masked unit is a link to.
pub const NOWHERE: &str = "/dev/null";

/// The text of the file that `path` leads to; `None` when it leads to none.
pub fn text(fs: &Ext4, path: &str) -> Result<Option<String>> {
    match fs.stat_target(path)? {
        Some(stat) if stat.kind == FileKind::File => {
            let bytes = fs.read(path)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Ok(None),
    }
}

/// Whether `path` is what masks a unit: a link to /dev/null or an empty file.
pub fn is_mask(fs: &Ext4, path: &str) -> Result<bool> {
    let Some(stat) = fs.stat(path)? else {
        return Ok(false);
    };
    match stat.kind {
        FileKind::Symlink => Ok(fs.read_link(path)? == NOWHERE),
        FileKind::File => Ok(stat.size == 0),
        _ => Ok(false),
    }
}

/// Where the file of `unit` or of its template may be, the folder that wins first.
pub fn paths(unit: &str) -> Vec<String> {
    let names = [Some(unit.to_owned()), template_of(unit)];
    let below = |name: String| FOLDERS.iter().map(move |folder| format!("{folder}/{name}"));
    names.into_iter().flatten().flat_map(below).collect()
}

/// The file of `unit`, or of its template, in the folder that wins.
pub fn find(is_there: &dyn Fn(&str) -> Result<bool>, unit: &str) -> Result<Option<String>> {
    for path in paths(unit) {
        if is_there(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// `getty@.service` of `getty@tty1.service`.
pub fn template_of(unit: &str) -> Option<String> {
    let (name, rest) = unit.split_once('@')?;
    let (_, kind) = rest.rsplit_once('.')?;
    Some(format!("{name}@.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_templates() {
        assert_eq!(
            template_of("getty@tty1.service").as_deref(),
            Some("getty@.service")
        );
        assert_eq!(template_of("ssh.service"), None);
    }
}
