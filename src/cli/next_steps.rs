//! What a build ends with: how to go on from the images.

use std::path::Path;

use crate::assemble::{AccessFiles, Built};
use crate::config::Node;
use crate::error::Result;
use crate::project::Project;
use crate::secrets::SecretMode;

/// More hosts than this are not listed one by one.
const MANY: usize = 8;

/// The lines, one step each. `nodes` are those that were built.
pub fn next_steps(project: &Project, nodes: &[&Node], built: &Built) -> Result<Vec<String>> {
    let images = built.nodes.iter().flat_map(|node| node.images.first());
    let paths: Vec<&Path> = images.map(|image| image.path.as_path()).collect();
    let Some(first) = paths.first() else {
        return Ok(Vec::new());
    };
    let mut lines = vec![format!("\nNext, for each of the {} images:", paths.len())];
    if paths.len() == 1 {
        lines = vec!["\nNext:".to_owned()];
    }
    lines.extend(flash(first));
    lines
        .push("  boot: progress is in imgbuild-status.txt on the card's boot partition".to_owned());
    let logins: Vec<String> = nodes.iter().filter_map(|node| login(node)).collect();
    lines.extend(logins.iter().take(MANY).cloned());
    if logins.len() > MANY {
        lines.push(format!("  … and {} more nodes", logins.len() - MANY));
    }
    lines.extend(access(&built.access));
    for node in nodes {
        let next = project.plan(node, SecretMode::Redact)?.next;
        lines.extend(next.into_iter().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

/// Ways to get an image onto a card. An image for Imager must be one that it can unpack.
fn flash(image: &Path) -> Vec<String> {
    let name = image.to_string_lossy();
    let path = quoted(&name);
    let dd = "sudo dd of=/dev/sdX bs=4M conv=fsync status=progress";
    let unpack = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("xz") => "xz -dc",
        Some("gz") => "gzip -dc",
        Some("zst") => "zstd -dc",
        _ => "cat",
    };
    vec![
        format!("  flash: imgbuild flash {path} --to /dev/sdX   (find the card with lsblk)"),
        format!("     or: {unpack} {path} | {dd}"),
        "     or: Raspberry Pi Imager, Use custom, without its customisation settings".to_owned(),
    ]
}

/// How to enter the cluster.
fn access(files: &AccessFiles) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((path, until)) = &files.kubeconfig {
        let path = quoted(&path.to_string_lossy());
        lines.push(format!("  kubectl: kubectl --kubeconfig {path} get nodes"));
        lines.push(format!(
            "     (until {until}; imgbuild kubeconfig makes another)"
        ));
    }
    if let Some(path) = &files.foreign {
        let path = path.display();
        lines.push(format!(
            "  kubectl: {path} is not imgbuild's and was left alone; imgbuild kubeconfig --out FILE makes another"
        ));
    }
    lines
}

fn login(node: &Node) -> Option<String> {
    let (user, address, host) = (&node.user.name, node.address, &node.hostname);
    node.ssh
        .enabled
        .then(|| format!("  log in to {host}: ssh {user}@{address}"))
}

/// As a word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_has_its_own_unpacker() {
        for (image, command) in [
            ("out/a.img.xz", "xz -dc out/a.img.xz |"),
            ("out/a.img.gz", "gzip -dc out/a.img.gz |"),
            ("out/a.img.zst", "zstd -dc out/a.img.zst |"),
            ("my out/a.img", "cat 'my out/a.img' |"),
        ] {
            let lines = flash(Path::new(image)).join("\n");
            assert!(lines.contains(command), "{lines}");
        }
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
