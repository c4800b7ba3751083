//! What the kernel tells of block devices and of who uses them.
//!
//! Sources: sysfs (`Documentation/ABI/stable/sysfs-block` of the kernel), `/proc/self/mountinfo`
//! (proc_pid_mountinfo(5)), `/proc/swaps` (proc_swaps(5)) and `/etc/fstab` (fstab(5)).

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result, ResultExt};

/// Where these mount points are, the running system is.
const SYSTEM_MOUNTS: [&str; 6] = ["/", "/usr", "/boot", "/boot/efi", "/boot/firmware", "/efi"];
/// `size` of sysfs counts in these, whatever sectors the device has.
const SYSFS_SECTOR: u64 = 512;

/// Number of a block device, as the kernel tells devices apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let (major, minor) = text.trim().split_once(':').ok_or(())?;
        Ok(Self {
            major: major.parse().map_err(drop)?,
            minor: minor.parse().map_err(drop)?,
        })
    }
}

/// A block device as sysfs has it: a disk, a partition, or a virtual one (dm, md, loop).
#[derive(Debug, Clone)]
pub struct BlockDevice {
    pub number: DeviceNumber,
    /// The kernel's name, as in `/dev/sda1`.
    pub name: String,
    folder: PathBuf,
}

impl BlockDevice {
    fn at(folder: &Path) -> Option<Self> {
        let folder = folder.canonicalize().ok()?;
        let number = std::fs::read_to_string(folder.join("dev")).ok()?;
        let name = folder.file_name()?.to_str()?.replace('!', "/");
        Some(Self {
            number: number.parse().ok()?,
            name,
            folder,
        })
    }

    /// Its path in /dev.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Text of one of its attributes, without the line's end; empty when it has none such.
    fn attribute(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        text.trim().to_owned()
    }

    /// Whether it is a part of a disk.
    pub fn is_partition(&self) -> bool {
        self.folder.join("partition").exists()
    }

    /// The disk that a partition is on.
    pub fn disk(&self) -> Option<Self> {
        self.is_partition()
            .then(|| self.folder.parent().and_then(Self::at))
            .flatten()
    }

    /// The disk itself and its partitions; of a partition only itself.
    pub fn family(&self) -> Vec<Self> {
        let partitions = devices_in(&self.folder)
            .into_iter()
            .filter(Self::is_partition);
        std::iter::once(self.clone()).chain(partitions).collect()
    }

    /// Devices that were made of it: LVM, encryption, RAID, multipath.
    fn holders(&self) -> Vec<Self> {
        devices_in(&self.folder.join("holders"))
    }

    /// Devices that it is made of.
    fn slaves(&self) -> Vec<Self> {
        devices_in(&self.folder.join("slaves"))
    }

    /// Length in bytes; 0 when a reader has no card in it.
    pub fn size(&self) -> u64 {
        let sectors: u64 = self.attribute("size").parse().unwrap_or(0);
        sectors.saturating_mul(SYSFS_SECTOR)
    }

    pub fn is_read_only(&self) -> bool {
        self.attribute("ro") == "1"
    }

    /// Bytes of a logical sector: what a partition table on it counts in.
    pub fn sector_size(&self) -> Option<u64> {
        let disk = self.disk();
        let disk = disk.as_ref().unwrap_or(self);
        disk.attribute("queue/logical_block_size").parse().ok()
    }

    /// Vendor and model, as far as the device says.
    pub fn model(&self) -> String {
        let disk = self.disk();
        let disk = disk.as_ref().unwrap_or(self);
        let words = ["device/vendor", "device/model", "device/name"].map(|a| disk.attribute(a));
        let words: Vec<&str> = words.iter().flat_map(|w| w.split_whitespace()).collect();
        words.join(" ")
    }
}

/// The devices that have an entry in `folder`, by name.
fn devices_in(folder: &Path) -> Vec<BlockDevice> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut devices: Vec<BlockDevice> = entries
        .flatten()
        .filter_map(|entry| BlockDevice::at(&entry.path()))
        .collect();
    devices.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    devices
}

/// Why a device must be left alone, and how to change that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Such as “/dev/sda1 is mounted at /mnt”.
    pub what: String,
    /// The command that ends it.
    pub remedy: String,
}

impl Use {
    fn mounted(device: &BlockDevice, at: &str) -> Self {
        Self {
            what: format!("{} is mounted at {at}", device.path()),
            remedy: format!("umount {}", quoted(at)),
        }
    }

    fn swap(device: &BlockDevice) -> Self {
        Self {
            what: format!("{} is swap space", device.path()),
            remedy: format!("swapoff {}", device.path()),
        }
    }

    /// `by` was made of `device`.
    fn held(device: &BlockDevice, by: &BlockDevice) -> Self {
        let name = by.attribute("dm/name");
        let (shown, remedy) = match name.is_empty() {
            true => (by.path(), format!("mdadm --stop {}", by.path())),
            // Who made it with device mapper shows in the beginning of its uuid.
            false => {
                let uuid = by.attribute("dm/uuid");
                let remedy = match uuid.split('-').next().unwrap_or_default() {
                    "CRYPT" => format!("cryptsetup close {name}"),
                    "LVM" => format!("lvchange -an /dev/mapper/{name}"),
                    _ => format!("dmsetup remove {name}"),
                };
                (format!("/dev/mapper/{name}"), remedy)
            }
        };
        Self {
            what: format!("{} is a part of {shown}", device.path()),
            remedy,
        }
    }
}

/// `text` for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A disk that this machine needs, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDisk {
    pub number: DeviceNumber,
    pub why: String,
}

/// The system that is asked: the one that runs, or a copy of its files for tests.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
}

struct Mount {
    number: Option<DeviceNumber>,
    source: String,
    at: String,
}

impl System {
    /// The system that runs.
    pub fn host() -> Self {
        Self::below(Path::new("/"))
    }

    /// One whose `/sys`, `/proc`, `/dev` and `/etc` are below `root`.
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The block device with this number. An error when sysfs does not know it, since nothing can
    /// be said of who uses it then.
    pub fn device(&self, number: DeviceNumber) -> Result<BlockDevice> {
        let folder = self.root.join(format!("sys/dev/block/{number}"));
        BlockDevice::at(&folder).ok_or_else(|| {
            Error::refused(format!(
                "the kernel says nothing of the block device {number}, so nobody knows who uses it"
            ))
            .with_hint("is /sys mounted here? In a container, run imgbuild outside of it")
        })
    }

    /// The block device that a path in /dev names.
    pub fn device_at(&self, path: &Path) -> Option<BlockDevice> {
        let dev = self.root.join("dev").canonicalize().ok()?;
        let path = dev
            .join(path.strip_prefix("/dev").ok()?)
            .canonicalize()
            .ok()?;
        let names: Vec<_> = path
            .strip_prefix(&dev)
            .ok()?
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let name = names.join("!");
        BlockDevice::at(&self.root.join("sys/class/block").join(name))
    }

    /// All uses of any of `devices`.
    pub fn uses(&self, devices: &[BlockDevice]) -> Result<Vec<Use>> {
        let find = |number| devices.iter().find(|d| Some(d.number) == number);
        let mut uses = Vec::new();
        for mount in self.mounts()? {
            // Some file systems (btrfs) have a number of their own, and only the source tells.
            let source = self.device_at(Path::new(&mount.source)).map(|d| d.number);
            if let Some(device) = find(mount.number).or_else(|| find(source)) {
                uses.push(Use::mounted(device, &mount.at));
            }
        }
        for path in self.swaps()? {
            if let Some(device) = find(self.device_at(&path).map(|d| d.number)) {
                uses.push(Use::swap(device));
            }
        }
        for device in devices {
            let held = |by: &BlockDevice| Use::held(device, by);
            uses.extend(device.holders().iter().map(held));
        }
        uses.dedup();
        Ok(uses)
    }

    /// Paths of the devices and files that are swapped to.
    pub fn swaps(&self) -> Result<Vec<PathBuf>> {
        let text = self.optional("proc/swaps")?;
        let lines = text.lines().skip(1);
        let paths = lines.filter_map(|line| line.split_whitespace().next());
        Ok(paths.map(|path| PathBuf::from(unescape(path))).collect())
    }

    /// The loop device that shows the content of `file`, which is a canonical path.
    pub fn loop_over(&self, file: &Path) -> Option<BlockDevice> {
        devices_in(&self.root.join("sys/class/block"))
            .into_iter()
            .find(|device| {
                let backing = device.attribute("loop/backing_file");
                !backing.is_empty() && Path::new(&backing) == file
            })
    }

    /// The disks that the running system is on, through whatever lies between, and those that
    /// /etc/fstab mounts at every start.
    pub fn own_disks(&self) -> Result<Vec<OwnDisk>> {
        let mut own = Vec::new();
        for mount in self.mounts()? {
            if !SYSTEM_MOUNTS.contains(&mount.at.as_str()) {
                continue;
            }
            let source = self.device_at(Path::new(&mount.source));
            let number = mount.number.and_then(|number| self.device(number).ok());
            for device in source.into_iter().chain(number) {
                let why = format!("the running system has {} on it", mount.at);
                own.extend(disks_below(&device).into_iter().map(|number| OwnDisk {
                    number,
                    why: why.clone(),
                }));
            }
        }
        for (device, at) in self.fstab()? {
            let why = format!("/etc/fstab mounts {} at {at}", device.path());
            own.extend(disks_below(&device).into_iter().map(|number| OwnDisk {
                number,
                why: why.clone(),
            }));
        }
        Ok(own)
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let path = self.root.join("proc/self/mountinfo");
        let text = std::fs::read(&path)
            .context(|| format!("reading {} to see what is mounted", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().filter_map(parse_mount).collect())
    }

    /// What is mounted at every start: the devices that are there now, and their places.
    fn fstab(&self) -> Result<Vec<(BlockDevice, String)>> {
        let text = self.optional("etc/fstab")?;
        let lines = text.lines().map(str::trim).filter(|l| !l.starts_with('#'));
        let entry = |line: &str| {
            let mut fields = line.split_whitespace();
            let (spec, at, _, options) =
                (fields.next()?, fields.next()?, fields.next(), fields.next());
            if options.is_some_and(|options| options.split(',').any(|o| o == "noauto")) {
                return None;
            }
            let device = self.device_at(&tagged(&unescape(spec)))?;
            Some((device, unescape(at)))
        };
        Ok(lines.filter_map(entry).collect())
    }

    /// Text of a file that need not be there.
    fn optional(&self, path: &str) -> Result<String> {
        match std::fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(e).context(|| format!("reading /{path} to see which devices are in use")),
        }
    }
}

/// The whole disks that `device` lies on, itself among them when it is one.
fn disks_below(device: &BlockDevice) -> BTreeSet<DeviceNumber> {
    let mut disks = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![device.clone()];
    while let Some(device) = open.pop() {
        if !seen.insert(device.number) {
            continue;
        }
        match device.disk() {
            Some(disk) => open.push(disk),
            None => {
                disks.insert(device.number);
            }
        }
        open.extend(device.slaves());
    }
    disks
}

/// A line of mountinfo: the third field is the device, the fifth the place, and the source is the
/// second one behind the lone hyphen.
fn parse_mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    let source = back.split(' ').nth(1).unwrap_or_default();
    Some(Mount {
        number: front.get(2)?.parse().ok(),
        source: unescape(source),
        at: unescape(front.get(4)?),
    })
}

/// Path in /dev of a device as fstab may name it.
fn tagged(spec: &str) -> PathBuf {
    const TAGS: [(&str, &str); 4] = [
        ("UUID=", "by-uuid"),
        ("PARTUUID=", "by-partuuid"),
        ("LABEL=", "by-label"),
        ("PARTLABEL=", "by-partlabel"),
    ];
    for (tag, folder) in TAGS {
        if let Some(value) = spec.strip_prefix(tag) {
            return Path::new("/dev/disk")
                .join(folder)
                .join(value.trim_matches('"'));
        }
    }
    PathBuf::from(spec)
}

/// Undoes the kernel's escapes: a backslash and three octal digits stand for a byte.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(first));
        rest = match code {
            Some(_) => &after[3..],
            None => after,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo_are_understood() {
        let line = r"36 35 8:2 / /mnt/my\040card rw,noatime master:1 - ext4 /dev/sd\134a2 rw";
        let mount = parse_mount(line).unwrap();
        let number = DeviceNumber { major: 8, minor: 2 };
        assert_eq!(mount.number, Some(number));
        assert_eq!(mount.at, "/mnt/my card");
        assert_eq!(mount.source, r"/dev/sd\a2");
        assert!(parse_mount("36 35").is_none());
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(r"a\9\04"), r"a\9\04");
        assert_eq!(unescape("\\303\\244"), "ä");
    }
}
