//! Where an image is to go, and every reason not to write there.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::medium::{OpenFile, Way};
use super::system::{BlockDevice, DeviceNumber, System};
use crate::disk::SECTOR_SIZE;
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;

const AGAIN: &str = "then run the same command again";

/// What the user allows beyond the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
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

/// As it is printed on cards.
fn gigabytes(len: u64) -> String {
    let tenths = len / 100_000_000;
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

impl Target {
    /// Looks at `path`. Nothing is written, and nothing is kept open, so whoever was refused can
    /// try again when the reason is gone.
    ///
    /// Refuses (exit code 4) what is mounted or otherwise in use, the disks of the running system,
    /// partitions, what is read-only, and disks whose sectors are not of 512 bytes.
    pub fn examine(path: &Path, allowed: &Allowed, system: &System) -> Result<Self> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == ErrorKind::NotFound => return Self::new_file(path),
            Err(e) => {
                return Err(unusable(path, "it can not be looked at").with_source(e));
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

    fn device(path: &Path, rdev: u64, allowed: &Allowed, system: &System) -> Result<Self> {
        let own = match &allowed.system_disk {
            Some(path) => Some(number_of(path)?),
            None => None,
        };
        let number = numbers(rdev)?;
        let device = system
            .device(number)
            .context(|| format!("can not write to {}", path.display()))?;
        check_device(path, &device, allowed.partition, own, system)?;
        Ok(Self {
            path: path.to_owned(),
            kind: Kind::Device(rdev),
            len: Some(device.len()),
            model: device.model(),
        })
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
        options.create_new(self.kind == Kind::NewFile);
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
            way: Way::Cached,
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
        let message = format!("{path} can not be opened for writing");
        let explained = match refused {
            true => Error::refused(message),
            false => Error::failed(message),
        };
        explained.with_source(error).with_hint(hint)
    }
}

/// Everything that speaks against writing to a device. `own` is the system disk that the user
/// named.
fn check_device(
    path: &Path,
    device: &BlockDevice,
    partition: bool,
    own: Option<DeviceNumber>,
    system: &System,
) -> Result<()> {
    if device.is_partition() && !partition {
        return Err(unusable(
            path,
            "it is a partition, and an image is a whole disk with a partition table",
        )
        .with_hint("name the disk, without the partition's number; --partition if you mean it"));
    }
    if device.len() == 0 {
        return Err(
            unusable(path, "there is no card in it").with_hint(format!("put a card in, {AGAIN}"))
        );
    }
    if device.is_read_only() {
        return Err(unusable(path, "it is read-only")
            .with_hint(format!("a card's lock switch may be on; move it, {AGAIN}")));
    }
    check_own(path, device, own, system)?;
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
fn check_own(
    path: &Path,
    device: &BlockDevice,
    allowed: Option<DeviceNumber>,
    system: &System,
) -> Result<()> {
    if allowed == Some(device.number) {
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

/// The number of the block device at `path`.
fn number_of(path: &Path) -> Result<DeviceNumber> {
    let metadata = fs::metadata(path).context(|| format!("looking at {}", path.display()))?;
    match metadata.file_type().is_block_device() {
        true => numbers(metadata.rdev()),
        false => Err(Error::usage(format!("{} is no disk", path.display()))),
    }
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
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;
    use std::time::Duration;

    use rustix::fs::{FlockOperation, OFlags, flock};
    use rustix::io::Errno;

    use super::{Way, unusable};
    use crate::error::Result;
    use crate::job::Job;

    /// How often, and how long apart, a lock is asked for: udev holds it while it looks at a card
    /// that was just put in.
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);

    /// Opens a block device for nobody but us: the kernel refuses when it or a part of it is
    /// mounted, and refuses to mount it meanwhile.
    pub fn open_exclusive(path: &Path) -> io::Result<(File, Way)> {
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits() as i32)
                .open(path)
        };
        match open(OFlags::EXCL | OFlags::DIRECT) {
            Ok(file) => Ok((file, Way::Direct)),
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Ok((open(OFlags::EXCL)?, Way::Cached))
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

    use super::Way;
    use crate::error::Result;
    use crate::job::Job;

    pub fn open_exclusive(_: &Path) -> io::Result<(File, Way)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn lock(_: &File, _: &Path, _: &Job) -> Result<()> {
        Ok(())
    }
}
