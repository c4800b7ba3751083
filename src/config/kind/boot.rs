//! Interfaces, and settings of the firmware and the kernel.
//!
//! Source: Raspberry Pi's documentation of config.txt (conditional filters), and the device tree of the PoE
//! HAT, whose `poe_fan_temp0` … are thousandths of a degree.

use super::reason::Reason;
use crate::suggest::{nearest, or_meant};

/// Words of cmdline.txt that decide what starts, and who sets them.
const OWN_WORDS: &[(&str, &str)] = &[
    (
        "root=",
        "names the root partition, which the base does already",
    ),
    (
        "rootfstype=",
        "names the root file system, which the base does already",
    ),
    ("init=", "replaces systemd, so the node never starts"),
    (
        "rdinit=",
        "replaces the initramfs' init, so the node never starts",
    ),
    (
        "rootflags=",
        "mounts the root file system in another way than the base",
    ),
    ("break", "stops in a shell of the initramfs"),
    (
        "boot=",
        "makes the root file system forget, or start from elsewhere",
    ),
    ("overlayroot", "makes the root file system forget"),
    ("systemd.volatile=", "makes the root file system forget"),
    ("systemd.run", "runs one program and powers off"),
    (
        "systemd.mask=",
        "masks units that the node may need; disable them in a role",
    ),
    (
        "systemd.confirm_spawn",
        "asks on the console before each service",
    ),
    (
        "systemd.condition-first-boot=",
        "decides whether the root file system grows",
    ),
    ("mem=", "takes memory away from the node"),
    ("ds=", "is set with cloud-init's seed"),
    ("cloud-init=", "is decided by `firstboot`"),
    (
        "cfg80211.ieee80211_regdom=",
        "is set from `locale.wifi_country`",
    ),
    ("usb-storage.quirks=", "is set from `boot.usb_quirks`"),
];

/// Words with which systemd starts no services.
const RESCUE_WORDS: &[&str] = &[
    "single",
    "rescue",
    "emergency",
    "s",
    "S",
    "1",
    "-b",
    "systemd.unit=rescue.target",
    "systemd.unit=emergency.target",
];

/// What the firmware reads of a line of config.txt.
const CONFIG_LINE: usize = 98;

/// Lines of config.txt without `=`.
const COMMANDS: &[&str] = &["include ", "initramfs "];

/// Settings of config.txt with which a 64-bit system does not start, and why.
const BROKEN_SETTINGS: &[(&str, &str)] = &[
    (
        "arm_64bit=0",
        "starts a 32-bit kernel, and the system is 64-bit",
    ),
    (
        "dtparam=sd=off",
        "switches the card off that the node starts from",
    ),
    (
        "dtoverlay=disable-emmc2",
        "switches the card off that the node starts from",
    ),
    (
        "os_prefix=",
        "makes the firmware look for kernel and cmdline.txt in another folder",
    ),
    (
        "cmdline=",
        "makes the firmware read another file than cmdline.txt, which is the one that is edited",
    ),
    (
        "kernel=kernel.img",
        "is a 32-bit kernel, and the system is 64-bit",
    ),
    (
        "kernel=kernel7.img",
        "is a 32-bit kernel, and the system is 64-bit",
    ),
    (
        "kernel=kernel7l.img",
        "is a 32-bit kernel, and the system is 64-bit",
    ),
];

const FILTERS: &[&str] = &[
    "all", "none", "tryboot", "pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400",
    "pi5", "pi500", "cm0", "cm1", "cm3", "cm3+", "cm4", "cm4s", "cm5",
];

/// Filters that end in a value of their own.
const FILTERS_WITH_VALUE: &[&str] = &[
    "EDID=",
    "HDMI:",
    "0x",
    "gpio",
    "board-type=",
    "partition=",
    "boot_",
    "bootvar",
    "serial=",
];

/// Interfaces that programs make, and modems.
const VIRTUAL_INTERFACES: &[&str] = &[
    "ap0",
    "cni",
    "docker",
    "flannel",
    "kube-",
    "p2p-",
    "tailscale",
    "tap",
    "tun",
    "veth",
    "virbr",
    "wg",
    "wwan",
];

pub fn interface(text: &str) -> Result<(), Reason> {
    let fine = (1..=15).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let is_virtual = VIRTUAL_INTERFACES.iter().any(|v| text.starts_with(v));
    let is_named = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| !b.is_ascii_uppercase())
        && (text.contains(|c: char| c.is_ascii_digit()) || text.starts_with("en"));
    if !fine || is_virtual || !is_named {
        return Err(format!(
            "`{text}` is not a network interface of a Pi, such as `eth0` or `wlan0`"
        ));
    }
    Ok(())
}

/// What 802.11 allows: 1 to 32 bytes.
pub fn ssid(text: &str) -> Result<(), Reason> {
    if text.len() <= 32 {
        Ok(())
    } else {
        Err(format!(
            "the name of a Wi-Fi network has at most 32 bytes, and this has {}",
            text.len()
        ))
    }
}

/// Temperatures that make sense for a fan: 1 to 110 °C.
pub fn millidegrees(text: &str) -> Result<(), Reason> {
    match text.parse::<u32>() {
        Ok(1_000..=110_000) => Ok(()),
        Ok(n @ 1..=110) => Err(format!(
            "`{text}` is in thousandths of a degree; {n} °C is `{}`",
            n * 1000
        )),
        _ => Err(format!(
            "`{text}` is not a temperature in thousandths of a degree, such as `50000` for 50 °C"
        )),
    }
}

pub fn usb_quirk(text: &str) -> Result<(), Reason> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_id = |id: &str| id.len() == 4 && id.bytes().all(|b| b.is_ascii_hexdigit());
    match parts[..] {
        [vendor, product, flags]
            if is_id(vendor)
                && is_id(product)
                && !flags.is_empty()
                && flags.bytes().all(|b| b.is_ascii_lowercase()) =>
        {
            Ok(())
        }
        _ => Err(format!("`{text}` is not a quirk like `152d:0578:u`")),
    }
}

/// One or several words of cmdline.txt.
pub fn kernel_word(text: &str) -> Result<(), Reason> {
    if text.trim().is_empty() {
        return Err("an empty word says nothing; leave it out".into());
    }
    if text.matches('"').count() % 2 == 1 {
        return Err(format!("`{text}` has a quote that is never closed"));
    }
    for word in text.split_whitespace() {
        if let Some((start, why)) = OWN_WORDS.iter().find(|(start, _)| word.starts_with(start)) {
            return Err(format!("`{word}`: `{start}` {why}"));
        }
        if RESCUE_WORDS.contains(&word) {
            return Err(format!(
                "`{word}` starts a rescue shell in place of the node"
            ));
        }
    }
    Ok(())
}

pub fn config_line(text: &str) -> Result<(), Reason> {
    let line = text.split('#').next().unwrap_or_default().trim();
    if line.starts_with('[') {
        return filter(line);
    }
    if line.len() > CONFIG_LINE {
        return Err(format!(
            "`{line}` is longer than the {CONFIG_LINE} characters that the firmware reads"
        ));
    }
    let is_command = COMMANDS.iter().any(|command| line.starts_with(command));
    if !line.is_empty() && !line.contains('=') && !is_command {
        return Err(format!("`{line}` is not a setting like `gpu_mem=16`"));
    }
    let setting: String = line.split_whitespace().collect();
    let broken = BROKEN_SETTINGS.iter().find(|(start, _)| {
        if start.ends_with('=') {
            setting.starts_with(start)
        } else {
            setting == *start
        }
    });
    if let Some((_, why)) = broken {
        return Err(format!("`{line}` {why}"));
    }
    let fan = setting.strip_prefix("dtparam=poe_fan_temp");
    match fan.and_then(|fan| fan.split_once('=')) {
        Some((_, temperature)) => millidegrees(temperature),
        None => Ok(()),
    }
}

fn filter(line: &str) -> Result<(), Reason> {
    let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) else {
        return Err(format!("`{line}` is not a filter like `[pi4]`"));
    };
    let known = FILTERS.iter().any(|f| f.eq_ignore_ascii_case(name));
    if known || FILTERS_WITH_VALUE.iter().any(|f| name.starts_with(f)) {
        return Ok(());
    }
    let near = or_meant(nearest(name, FILTERS).map(|near| format!("[{near}]")));
    Err(format!(
        "the firmware has no filter `{line}`, and would skip what follows{near}"
    ))
}
