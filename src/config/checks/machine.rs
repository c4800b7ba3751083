//! One node: its fan and the size of its image.

use crate::config::kind::{BASE_ALIASES, STOCK_SHELLS, is_system_group, modern_zone};
use crate::config::node::{DiskTable, FirstBoot, Node};
use crate::problem::Problem;
use crate::problems::Problems;

/// Steps of the fan that the firmware of a PoE HAT knows.
const FAN_STEPS: usize = 4;

/// No Raspberry Pi OS is smaller than this.
const LEAST_IMAGE: u64 = 64 << 20;

/// What an MBR can address: 2^32 sectors of 512 bytes.
const MOST_WITH_MBR: u64 = 2 << 40;

/// The Raspberry Pi OS before the current one, without cloud-init.
const OLDSTABLE: &str = "raspios-oldstable-lite-arm64";

pub fn check(node: &Node, problems: &mut Problems) {
    check_fan(node, problems);
    check_size(node, problems);
    check_password_login(node, problems);
}

/// Tells what Raspberry Pi OS Lite is known not to have, without a base. Of a base that is given
/// instead, and of others, the build tells.
pub fn check_stock_base(node: &Node, problems: &mut Problems) {
    if !BASE_ALIASES.contains(&node.base.image.as_str()) {
        return;
    }
    check_first_boot(node, problems);
    let image = &node.base.image;
    let zone = &node.locale.timezone;
    if let Some(modern) = modern_zone(zone).filter(|_| image != OLDSTABLE) {
        let what =
            format!("`locale.timezone`: `{zone}` is an old name, which `{image}` no longer has");
        let problem = Problem::new(node.origin("locale.timezone"), what);
        problems.push(problem.with_hint(format!("write `{modern}`")));
    }
    if !STOCK_SHELLS.contains(&node.user.shell.as_str()) {
        let what = format!(
            "`user.shell`: `{image}` has no {}, and without its shell nobody can log in",
            node.user.shell
        );
        let problem = Problem::new(node.origin("user.shell"), what);
        problems.push(problem.with_hint("use /bin/bash, and change the shell later with chsh"));
    }
    for (index, group) in node.user.groups.iter().enumerate() {
        if !is_system_group(group) {
            let key = "user.groups";
            let place = node.item_origin(key, index);
            let place = place.unwrap_or_else(|| node.origin(key));
            let what = format!("`{key}`: `{image}` has no group `{group}`");
            problems.push(Problem::new(place, what));
        }
    }
}

/// Passwords are of no use to an account without one.
fn check_password_login(node: &Node, problems: &mut Problems) {
    let key = "ssh.password_login";
    let why = if !node.ssh.password_login {
        return;
    } else if !node.ssh.enabled {
        "`ssh.enabled` is false"
    } else if !node.secrets.contains_key("password_hash") {
        "the user has no password"
    } else {
        return;
    };
    let what = format!("`{key}` has no effect: {why}");
    let hint = "set `secrets.password_hash`, or remove the key";
    problems.push(Problem::new(node.origin(key), what).with_hint(hint));
}

/// Bookworm has no cloud-init. Of other bases the build tells.
fn check_first_boot(node: &Node, problems: &mut Problems) {
    if node.first_boot == FirstBoot::CloudInit && node.base.image == OLDSTABLE {
        let what = format!("`firstboot` is \"cloud-init\", which `{OLDSTABLE}` does not have");
        let hint = "leave `firstboot` at \"auto\"";
        problems.push(Problem::new(node.origin("firstboot"), what).with_hint(hint));
    }
}

fn check_fan(node: &Node, problems: &mut Problems) {
    let key = "boot.poe_fan";
    let steps: Vec<u32> = node
        .boot
        .poe_fan
        .iter()
        .filter_map(|t| t.parse().ok())
        .collect();
    if steps.len() > FAN_STEPS {
        let what = format!(
            "`{key}` has {} temperatures; the fan has {FAN_STEPS} steps",
            steps.len()
        );
        problems.push(Problem::new(node.origin(key), what));
    }
    if !steps.is_sorted_by(|a, b| a < b) {
        let what = format!("`{key}`: each temperature must be higher than the one before");
        problems.push(Problem::new(node.origin(key), what));
    }
}

fn check_size(node: &Node, problems: &mut Problems) {
    let Some(size) = node.disk.size else { return };
    let key = "disk.size";
    if size < LEAST_IMAGE {
        let what = format!(
            "`{key}` is {size} bytes, and no Raspberry Pi OS fits in that; write a size like 8GiB"
        );
        problems.push(Problem::new(node.origin(key), what));
    } else if size <= node.disk.spare {
        let what = format!("`{key}` is not more than `disk.spare`, so nothing fits");
        problems.push(Problem::new(node.origin(key), what));
    } else if size > MOST_WITH_MBR && node.disk.table == DiskTable::Keep {
        let what = format!("`{key}` is more than 2 TiB, which an MBR cannot address");
        let hint = "set `disk.table = \"gpt\"`";
        problems.push(Problem::new(node.origin(key), what).with_hint(hint));
    }
}
