//! Where an image is to go, and every reason not to write there.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::medium::{OpenFile, WriteMode};
use super::system::{BlockDevice, DeviceNumber, System};
use crate::disk::{ReadAt, SECTOR_SIZE};
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::positioned::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use crate::size::gigabytes;

const AGAIN: &str = "then run the same command again";

/// What the user allows beyond the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Override {
    /// The target may be a partition.
    pub partition: bool,
    /// The target may be this disk although the machine's own system is on it, or its /etc/fstab
    /// names it.
    pub system_disk: Option<PathBuf>,
}

/// A device or a file that may be written to, as far as could be seen.
#[derive(Debug, Clone)]
pub struct Target {
    path: PathBuf,
    kind: Kind,
    /// Bytes; `None` when it takes the image's length.
    len: Option<u64>,
    /// Vendor and model.
    model: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Device(u64),
    File,
    NewFile,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let size = self.len.map(gigabytes);
        let about = [Some(self.model.clone()).filter(|m| !m.is_empty()), size];
        let about: Vec<String> = about.into_iter().flatten().collect();
        match self.kind {
            Kind::Device(_) => write!(f, " ({})", about.join(", ")),
            Kind::File | Kind::NewFile => Ok(()),
        }
    }
}

impl Target {
    /// Looks at `path`. Nothing is written, and nothing is kept open, so whoever was refused can
    /// try again when the reason is gone.
    ///
    /// Refuses (exit code 4) what is mounted or otherwise in use, the disks of the running system,
    /// partitions, what is read-only, and disks whose sectors are not of 512 bytes.
    pub fn examine(path: &Path, allowed: &Override, system: &System) -> Result<Self> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => return Self::new_file(path),
            Err(e) => {
                return Err(unusable(path, "it cannot be looked at").with_source(e));
            }
        };
        let kind = metadata.file_type();
        if kind.is_block_device() {
            return Self::device(path, metadata.rdev(), allowed, system);
        }
        if kind.is_file() {
            return Self::file(path, &metadata, system);
        }
        let what = match kind.is_dir() {
            true => "it is a folder",
            false => "it is neither a disk nor a file",
        };
        Err(unusable(path, what).with_hint("name a disk, such as /dev/sdX; `lsblk` lists them"))
    }

    /// Its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn new_file(path: &Path) -> Result<Self> {
        // A card that is not in would become a file in memory.
        if path.starts_with("/dev") {
            return Err(unusable(path, "there is no such device")
                .with_hint("is the card in? `lsblk` lists the disks"));
        }
        Ok(Self {
            path: path.to_owned(),
            kind: Kind::NewFile,
            len: None,
            model: String::new(),
        })
    }

    fn file(path: &Path, metadata: &Metadata, system: &System) -> Result<Self> {
        let canonical = path
            .canonicalize()
            .context(|| format!("looking at {}", path.display()))?;
        if let Some(device) = system.loop_over(&canonical) {
            let device = device.path();
            return Err(
                unusable(path, &format!("{device} shows its content as a disk")).with_hint(
                    format!("write to {device}, or: losetup -d {device}, {AGAIN}"),
                ),
            );
        }
        if system.swaps()?.contains(&canonical) {
            return Err(unusable(path, "it is swap space")
                .with_hint(format!("swapoff {}, {AGAIN}", path.display())));
        }
        Ok(Self {
            path: path.to_owned(),
            kind: Kind::File,
            len: Some(metadata.len()).filter(|&len| len > 0),
            model: String::new(),
        })
    }

    fn device(path: &Path, rdev: u64, allowed: &Override, system: &System) -> Result<Self> {
        let device = system
            .device(numbers(rdev)?)
            .context(|| format!("will not write to {}", path.display()))?;
        check_device(path, &device, allowed, system)?;
        Ok(Self {
            path: path.to_owned(),
            kind: Kind::Device(rdev),
            len: Some(device.size()),
            model: device.model(),
        })
    }

    /// What it holds now.
    pub fn contents(&self) -> Result<Contents> {
        let Some(len) = self.len else {
            return Ok(Contents::Blank);
        };
        let file = File::open(&self.path).map_err(|e| self.explain_open(e))?;
        Ok(Contents::of(&Peek { file, len }))
    }

    /// Refuses a target that is the image itself. What is no file (a URL, say) is another thing.
    pub fn check_source(&self, source: Option<&Path>) -> Result<()> {
        let same = source.and_then(|source| {
            let (source, target) = (fs::metadata(source).ok()?, fs::metadata(&self.path).ok()?);
            Some((source.dev(), source.ino()) == (target.dev(), target.ino()))
        });
        match same {
            Some(true) => Err(unusable(&self.path, "it is the image itself")
                .with_hint("name the disk to write to")),
            _ => Ok(()),
        }
    }

    /// Refuses what an image of `image_len` bytes does not fit on.
    pub fn check_room(&self, image_len: u64) -> Result<()> {
        match self.len {
            Some(len) if len < image_len => {
                let hint = match self.kind {
                    Kind::Device(_) => "use a larger card",
                    // Whoever gave the name of a file by mistake keeps it.
                    Kind::File | Kind::NewFile => {
                        "an existing file is treated as a disk; give the name of a new file, or of a larger one"
                    }
                };
                Err(unusable(
                    &self.path,
                    &format!("the image has {image_len} bytes, and only {len} are there"),
                )
                .with_hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// Opens the target for an image of `image_len` bytes, so that nobody can mount it meanwhile.
    pub(super) fn open(&self, image_len: u64, job: &Job) -> Result<OpenFile> {
        self.check_room(image_len)?;
        match self.kind {
            Kind::Device(rdev) => self.open_device(rdev, image_len, job),
            Kind::File | Kind::NewFile => self.open_file(image_len),
        }
    }

    fn open_file(&self, image_len: u64) -> Result<OpenFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // It may hold secrets.
        options.create_new(self.kind == Kind::NewFile).mode(0o600);
        let open = || -> io::Result<(File, u64)> {
            let file = options.open(&self.path)?;
            if self.len.is_none() {
                file.set_len(image_len)?;
            }
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|e| self.explain_open(e))?;
        Ok(OpenFile {
            file,
            len,
            way: WriteMode::Cached,
            holes: true,
        })
    }

    fn open_device(&self, rdev: u64, image_len: u64, job: &Job) -> Result<OpenFile> {
        let (mut file, way) = os::open_exclusive(&self.path).map_err(|e| self.explain_open(e))?;
        os::lock(&file, &self.path, job)?;
        let found = file
            .metadata()
            .context(|| format!("looking at {}", self.path.display()))?;
        if !found.file_type().is_block_device() || found.rdev() != rdev {
            return Err(
                unusable(&self.path, "it is another device than a moment ago")
                    .with_hint("leave cards in their reader, and run the same command again"),
            );
        }
        let len = file
            .seek(SeekFrom::End(0))
            .context(|| format!("asking for the size of {}", self.path.display()))?;
        Self {
            len: Some(len),
            ..self.clone()
        }
        .check_room(image_len)?;
        Ok(OpenFile {
            file,
            len,
            way,
            holes: false,
        })
    }

    /// Removes a file that flashing made, when nothing came of it.
    pub(super) fn discard(&self) {
        if self.kind == Kind::NewFile {
            // Nothing more can be done about it here, and the error that led here matters more.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn explain_open(&self, error: io::Error) -> Error {
        let path = self.path.display();
        let (refused, hint) = match error.kind() {
            ErrorKind::ResourceBusy => (
                true,
                format!(
                    "some program uses it or has it mounted: end that (`lsblk {path}` and `fuser -v {path}` may tell), {AGAIN}"
                ),
            ),
            ErrorKind::PermissionDenied => (
                false,
                format!(
                    "run the same command with sudo, or as a member of the group that `ls -l {path}` shows"
                ),
            ),
            ErrorKind::ReadOnlyFilesystem => (
                true,
                format!("a card's lock switch may be on; move it, {AGAIN}"),
            ),
            ErrorKind::AlreadyExists => (
                true,
                "somebody made it just now; run the same command again".to_owned(),
            ),
            _ => (false, format!("is the card in? Put it in, {AGAIN}")),
        };
        let message = format!("{path} cannot be opened for writing");
        let explained = match refused {
            true => Error::refused(message),
            false => Error::failed(message),
        };
        explained.with_source(error).with_hint(hint)
    }
}

/// A target that is only looked at. Devices do not have their length where files have it.
struct Peek {
    file: File,
    len: u64,
}

impl ReadAt for Peek {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (self.file.read_exact_at(buf, offset)).context(|| format!("reading at offset {offset}"))
    }
}

/// Everything that speaks against writing to a device.
fn check_device(
    path: &Path,
    device: &BlockDevice,
    allowed: &Override,
    system: &System,
) -> Result<()> {
    if device.is_partition() && !allowed.partition {
        return Err(unusable(
            path,
            "it is a partition, and an image is a whole disk with a partition table",
        )
        .with_hint("name the disk, without the partition's number; --partition if you mean it"));
    }
    if device.size() == 0 {
        return Err(
            unusable(path, "there is no card in it").with_hint(format!("put a card in, {AGAIN}"))
        );
    }
    if device.is_read_only() {
        return Err(unusable(path, "it is read-only")
            .with_hint(format!("a card's lock switch may be on; move it, {AGAIN}")));
    }
    check_own(path, device, allowed, system)?;
    let uses = system.uses(&device.family())?;
    if !uses.is_empty() {
        let list = |text: fn(&super::system::Use) -> &str, by: &str| {
            let texts: Vec<&str> = uses.iter().map(text).collect();
            texts.join(by)
        };
        let what = format!("it is in use: {}", list(|u| &u.what, ", "));
        let remedies = list(|u| &u.remedy, " && ");
        return Err(unusable(path, &what).with_hint(format!("{remedies}, {AGAIN}")));
    }
    match device.sector_size() {
        None | Some(SECTOR_SIZE) => Ok(()),
        Some(size) => Err(unusable(
            path,
            &format!("it has sectors of {size} bytes, and the image's partition table counts in {SECTOR_SIZE}: nothing would find the partitions"),
        )
        .with_hint("use another disk or another adapter")),
    }
}

/// Refuses the machine's own disks. A word helps only against a mistake: what is mounted is refused
/// all the same.
fn check_own(path: &Path, device: &BlockDevice, allowed: &Override, system: &System) -> Result<()> {
    let named = allowed.system_disk.as_deref();
    let named = named.and_then(|path| system.device_at(path));
    if named.is_some_and(|named| named.number == device.number) {
        return Ok(());
    }
    let numbers = [Some(device.number), device.disk().map(|disk| disk.number)];
    let own = system.own_disks()?;
    match own
        .into_iter()
        .find(|own| numbers.contains(&Some(own.number)))
    {
        None => Ok(()),
        Some(own) => {
            let path_shown = path.display();
            Err(
                unusable(path, &format!("it belongs to this machine: {}", own.why)).with_hint(
                    format!(
                        "`lsblk` lists the disks. If you mean it: --system-disk {path_shown}; it must not be mounted even so"
                    ),
                ),
            )
        }
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::refused(format!("will not write to {}: {why}", path.display()))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn numbers(rdev: u64) -> Result<DeviceNumber> {
    Ok(DeviceNumber {
        major: rustix::fs::major(rdev),
        minor: rustix::fs::minor(rdev),
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn numbers(_: u64) -> Result<DeviceNumber> {
    Err(
        Error::failed("imgbuild can write to disks on Linux only so far")
            .with_hint("build an image and write it with Raspberry Pi Imager"),
    )
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod os {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::path::Path;
    use std::time::Duration;

    use rustix::fs::{FlockOperation, OFlags, flock};
    use rustix::io::Errno;

    use super::{WriteMode, unusable};
    use crate::error::Result;
    use crate::job::Job;
    use crate::positioned::OpenOptionsExt;

    /// How often, and how long apart, a lock is asked for: udev holds it while it looks at a card
    /// that was just put in.
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);

    /// Opens a block device for nobody but us: the kernel refuses when it or a part of it is
    /// mounted, and refuses to mount it meanwhile.
    pub fn open_exclusive(path: &Path) -> io::Result<(File, WriteMode)> {
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits() as i32)
                .open(path)
        };
        match open(OFlags::EXCL | OFlags::DIRECT) {
            Ok(file) => Ok((file, WriteMode::Direct)),
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Ok((open(OFlags::EXCL)?, WriteMode::Cached))
            }
            Err(e) => Err(e),
        }
    }

    /// Takes the lock that udev and partitioning tools respect (systemd's “Locking Block Device
    /// Access”), so that nobody probes a half-written disk.
    pub fn lock(file: &File, path: &Path, job: &Job) -> Result<()> {
        for _ in 0..TRIES {
            match flock(file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    job.cancel.check()?;
                    std::thread::sleep(PAUSE);
                }
                // Where there are no locks, there is nobody to keep out.
                _ => return Ok(()),
            }
        }
        Err(
            unusable(path, "another program is working on it").with_hint(format!(
                "`fuser -v {}` may tell which; wait for it, then run the same command again",
                path.display()
            )),
        )
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod os {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use super::WriteMode;
    use crate::error::Result;
    use crate::job::Job;

    pub fn open_exclusive(_: &Path) -> io::Result<(File, WriteMode)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn lock(_: &File, _: &Path, _: &Job) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::ErrorKind;

    /// The files of a machine: an encrypted system on sda, a card at mmcblk0, and whatever a test adds.
    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let machine = Self {
                root: tempfile::tempdir().unwrap(),
            };
            machine.disk("sda", "8:0", &["1", "2"]);
            machine.disk("mmcblk0", "179:0", &["p1", "p2"]);
            machine.disk("sdb", "8:16", &[]);
            machine.disk("dm-0", "253:0", &[]);
            machine.write("sys/devices/dm-0/dm/name", "cryptroot\n");
            machine.write("sys/devices/dm-0/dm/uuid", "CRYPT-LUKS2-0000-cryptroot\n");
            machine.link("../../../dm-0", "sys/devices/sda/sda2/holders/dm-0");
            machine.link("../../sda/sda2", "sys/devices/dm-0/slaves/sda2");
            machine.link("../dm-0", "dev/mapper/cryptroot");
            machine.mounts(
                "20 1 253:0 / / rw - ext4 /dev/mapper/cryptroot rw\n\
                 21 20 8:1 / /boot rw - ext4 /dev/sda1 rw\n\
                 22 20 0:5 / /dev rw - devtmpfs devtmpfs rw\n",
            );
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn link(&self, to: &str, path: &str) {
            let path = self.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(to, path).unwrap();
        }

        fn mounts(&self, text: &str) {
            self.write("proc/self/mountinfo", text);
        }

        /// 32 GB, with partitions whose numbers follow its own.
        fn disk(&self, name: &str, number: &str, partitions: &[&str]) {
            self.node(&format!("sys/devices/{name}"), name, number);
            self.write(
                &format!("sys/devices/{name}/device/model"),
                "Card  Reader \n",
            );
            self.write(
                &format!("sys/devices/{name}/queue/logical_block_size"),
                "512\n",
            );
            let (major, minor) = number.split_once(':').unwrap();
            let minor: u32 = minor.parse().unwrap();
            for (i, suffix) in (1..).zip(partitions) {
                let part = format!("{name}{suffix}");
                let folder = format!("sys/devices/{name}/{part}");
                self.node(&folder, &part, &format!("{major}:{}", minor + i));
                self.write(&format!("{folder}/partition"), &format!("{i}\n"));
            }
        }

        fn node(&self, folder: &str, name: &str, number: &str) {
            self.write(&format!("{folder}/dev"), &format!("{number}\n"));
            self.write(&format!("{folder}/size"), "62500000\n");
            self.write(&format!("{folder}/ro"), "0\n");
            let up = format!("../../../{folder}");
            self.link(&up, &format!("sys/dev/block/{number}"));
            self.link(&up, &format!("sys/class/block/{name}"));
            self.write(&format!("dev/{name}"), "");
        }

        fn system(&self) -> System {
            System::below(self.root.path())
        }

        fn check(&self, path: &str, allowed: &Override) -> Result<()> {
            let path = Path::new(path);
            let device = self.system().device_at(path).unwrap();
            check_device(path, &device, allowed, &self.system())
        }

        /// What is said when writing to `path` is refused.
        #[track_caller]
        fn refused(&self, path: &str, allowed: &Override) -> (String, String) {
            let error = self.check(path, allowed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let hint = error.hint().unwrap_or_default().to_owned();
            (error.to_string(), hint)
        }
    }

    fn nothing() -> Override {
        Override::default()
    }

    fn own(path: &str) -> Override {
        Override {
            partition: false,
            system_disk: Some(path.into()),
        }
    }

    #[test]
    fn a_card_that_nobody_uses_may_be_written() {
        let machine = Machine::new();
        machine.check("/dev/mmcblk0", &nothing()).unwrap();
        machine.check("/dev/sdb", &nothing()).unwrap();
        let device = machine.system().device_at(Path::new("/dev/sdb")).unwrap();
        assert_eq!(device.model(), "Card Reader");
        assert_eq!(device.size(), 32_000_000_000);
    }

    #[test]
    fn what_is_mounted_is_refused_until_it_is_not() {
        let machine = Machine::new();
        let before = fs::read_to_string(machine.root.path().join("proc/self/mountinfo")).unwrap();
        let card = "30 20 179:1 / /media/me/boot\\040fs rw - vfat /dev/mmcblk0p1 rw\n\
                    31 20 179:2 / /media/me/rootfs rw - ext4 /dev/mmcblk0p2 rw\n";
        machine.mounts(&format!("{before}{card}"));
        let (what, hint) = machine.refused("/dev/mmcblk0", &nothing());
        assert!(what.contains("/dev/mmcblk0p1 is mounted at /media/me/boot fs, /dev/mmcblk0p2 is"));
        assert_eq!(
            hint,
            "umount '/media/me/boot fs' && umount /media/me/rootfs, then run the same command again"
        );
        machine.mounts(&before);
        machine.check("/dev/mmcblk0", &nothing()).unwrap();
    }

    #[test]
    fn what_is_mounted_by_another_number_is_known_by_its_source() {
        let machine = Machine::new();
        machine.link("../../sdb", "dev/disk/by-id/usb-card");
        machine.mounts("30 20 0:40 /@ /mnt rw - btrfs /dev/disk/by-id/usb-card rw\n");
        let (what, _) = machine.refused("/dev/sdb", &nothing());
        assert!(what.contains("/dev/sdb is mounted at /mnt"), "{what}");
    }

    #[test]
    fn swap_and_what_others_are_made_of_is_refused() {
        let machine = Machine::new();
        machine.write(
            "proc/swaps",
            "Filename Type Size Used Priority\n/dev/mmcblk0p2 partition 1 0 -2\n",
        );
        let (what, hint) = machine.refused("/dev/mmcblk0", &nothing());
        assert!(what.contains("/dev/mmcblk0p2 is swap space"), "{what}");
        assert!(hint.starts_with("swapoff /dev/mmcblk0p2,"), "{hint}");
        machine.link("../../dm-0", "sys/devices/sdb/holders/dm-0");
        let (what, hint) = machine.refused("/dev/sdb", &nothing());
        assert!(what.contains("/dev/sdb is a part of /dev/mapper/cryptroot"));
        assert!(hint.starts_with("cryptsetup close cryptroot,"), "{hint}");
    }

    #[test]
    fn the_system_disk_needs_a_word_and_must_not_be_mounted_even_so() {
        let machine = Machine::new();
        let (what, hint) = machine.refused("/dev/sda", &nothing());
        assert!(what.contains("the running system has / on it"), "{what}");
        assert!(hint.contains("--system-disk /dev/sda"), "{hint}");
        // The word names the disk: one that fits another disk is none.
        machine.refused("/dev/sda", &own("/dev/sdb"));
        machine.refused("/dev/sda", &own("/dev/sda1"));
        let (what, _) = machine.refused("/dev/sda", &own("/dev/sda"));
        assert!(what.contains("/dev/sda1 is mounted at /boot"), "{what}");
        assert!(what.contains("/dev/sda2 is a part of /dev/mapper/cryptroot"));
        let (what, _) = machine.refused("/dev/dm-0", &nothing());
        assert!(what.contains("the running system has / on it"), "{what}");
        // From a system on another disk.
        machine.mounts("20 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw\n");
        machine.refused("/dev/mmcblk0", &nothing());
        let (what, _) = machine.refused("/dev/sda", &nothing());
        assert!(what.contains("is a part of"), "{what}");
    }

    #[test]
    fn disks_of_fstab_need_a_word() {
        let machine = Machine::new();
        machine.link("../../sdb", "dev/disk/by-uuid/1234-ABCD");
        machine.write(
            "etc/fstab",
            "# comment\nproc /proc proc\nUUID=1234-ABCD /srv/backup\\040disk ext4 nofail 0 2\n\
             /dev/mmcblk0p1 /mnt vfat noauto,user 0 0\n",
        );
        machine.check("/dev/mmcblk0", &nothing()).unwrap();
        let (what, _) = machine.refused("/dev/sdb", &nothing());
        assert!(
            what.contains("/etc/fstab mounts /dev/sdb at /srv/backup disk"),
            "{what}"
        );
        machine.check("/dev/sdb", &own("/dev/sdb")).unwrap();
        let by_id = own("/dev/disk/by-uuid/1234-ABCD");
        machine.check("/dev/sdb", &by_id).unwrap();
    }

    #[test]
    fn partitions_are_refused_unless_asked_for() {
        let machine = Machine::new();
        let (what, hint) = machine.refused("/dev/mmcblk0p2", &nothing());
        assert!(what.contains("it is a partition"), "{what}");
        assert!(hint.contains("--partition"), "{hint}");
        let allowed = |system_disk: Option<&str>| Override {
            partition: true,
            system_disk: system_disk.map(PathBuf::from),
        };
        machine.check("/dev/mmcblk0p2", &allowed(None)).unwrap();
        // One of the system disk needs both words.
        machine.mounts("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
        let holder = "sys/devices/sda/sda2/holders/dm-0";
        fs::remove_file(machine.root.path().join(holder)).unwrap();
        machine.refused("/dev/sda2", &allowed(None));
        let both = allowed(Some("/dev/sda2"));
        machine.check("/dev/sda2", &both).unwrap();
        machine.refused("/dev/sda1", &allowed(Some("/dev/sda1")));
    }

    #[test]
    fn what_can_not_hold_an_image_is_refused() {
        let machine = Machine::new();
        let with = |path: &str, text: &str, word: &str| {
            let before = fs::read_to_string(machine.root.path().join(path)).unwrap();
            machine.write(path, text);
            let (what, _) = machine.refused("/dev/sdb", &nothing());
            assert!(what.contains(word), "{what}");
            machine.write(path, &before);
            machine.check("/dev/sdb", &nothing()).unwrap();
        };
        with("sys/devices/sdb/size", "0\n", "no card in it");
        with("sys/devices/sdb/ro", "1\n", "read-only");
        with(
            "sys/devices/sdb/queue/logical_block_size",
            "4096\n",
            "sectors of 4096 bytes",
        );
    }

    #[test]
    fn without_sysfs_or_mountinfo_nothing_is_written() {
        let machine = Machine::new();
        let unknown = DeviceNumber {
            major: 65,
            minor: 3,
        };
        let error = machine.system().device(unknown).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        fs::remove_file(machine.root.path().join("proc/self/mountinfo")).unwrap();
        assert!(machine.check("/dev/sdb", &nothing()).is_err());
    }

    #[test]
    fn folders_and_what_is_not_there_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| {
            let error = Target::examine(path, &nothing(), &System::host()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            assert!(error.hint().is_some(), "{error}");
        };
        refused(dir.path());
        refused(Path::new("/dev/no-such-disk"));
        refused(Path::new("/dev/null"));
    }
}
