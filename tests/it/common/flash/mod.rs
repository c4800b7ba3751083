//! Cards to flash to: in memory, as loop devices, and behind FUSE, with every fault that cards have.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use crate::common::needs;
use imgbuild::flash::Medium;
use imgbuild::job::Cancel;
use tempfile::TempDir;

/// What was done to a card, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    Write(Range<u64>),
    Settle,
    Read(Range<u64>),
}

/// What is wrong with a card. Offsets in bytes.
#[derive(Debug, Clone)]
pub enum Fault {
    None,
    FailWrite(u64),
    FailRead(u64),
    /// The so-manieth time, from 0.
    FailSettle(usize),
    Lose(Range<u64>),
    /// Begins again at 0 behind this many bytes.
    Fake(u64),
    Flip(u64),
    /// Ctrl-C while this is written.
    Interrupt(u64, Cancel),
}

/// A card in memory.
pub struct Card {
    bytes: Mutex<Vec<u8>>,
    log: Mutex<Vec<Done>>,
    fault: Fault,
}

impl Card {
    /// With 0xFF everywhere.
    pub fn new(len: usize, fault: Fault) -> Self {
        Self {
            bytes: Mutex::new(vec![0xff; len]),
            log: Mutex::default(),
            fault,
        }
    }

    pub fn put(&self, at: usize, bytes: &[u8]) {
        self.bytes.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub fn log(&self) -> Vec<Done> {
        self.log.lock().unwrap().clone()
    }

    fn note(&self, done: Done) {
        self.log.lock().unwrap().push(done);
    }

    /// Where a sector really lies.
    fn place(&self, at: u64) -> usize {
        match self.fault {
            Fault::Fake(capacity) => (at % capacity) as usize,
            _ => at as usize,
        }
    }
}

fn range(offset: u64, len: usize) -> Range<u64> {
    offset..offset + len as u64
}

fn io_error() -> std::io::Error {
    std::io::Error::from_raw_os_error(5)
}

impl Medium for Card {
    fn len(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        assert_eq!(data.as_ptr().addr() % 512, 0, "not aligned in memory");
        assert_eq!((offset | data.len() as u64) % 512, 0, "not whole sectors");
        let at = range(offset, data.len());
        self.note(Done::Write(at.clone()));
        match &self.fault {
            Fault::FailWrite(bad) if at.contains(bad) => return Err(io_error()),
            Fault::Lose(lost) if at.start < lost.end && lost.start < at.end => return Ok(()),
            Fault::Interrupt(when, cancel) if at.contains(when) => cancel.cancel(),
            _ => {}
        }
        let mut bytes = self.bytes.lock().unwrap();
        for (at, piece) in (at.step_by(512)).zip(data.chunks(512)) {
            bytes[self.place(at)..][..piece.len()].copy_from_slice(piece);
        }
        Ok(())
    }

    fn settle(&self) -> std::io::Result<()> {
        let before = self.log().iter().filter(|d| **d == Done::Settle).count();
        self.note(Done::Settle);
        match self.fault {
            Fault::FailSettle(n) if n == before => Err(io_error()),
            _ => Ok(()),
        }
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let at = range(offset, buf.len());
        self.note(Done::Read(at.clone()));
        if let Fault::FailRead(bad) = self.fault
            && at.contains(&bad)
        {
            return Err(io_error());
        }
        let bytes = self.bytes.lock().unwrap();
        for (at, piece) in (at.clone().step_by(512)).zip(buf.chunks_mut(512)) {
            piece.copy_from_slice(&bytes[self.place(at)..][..piece.len()]);
        }
        if let Fault::Flip(bad) = self.fault
            && at.contains(&bad)
        {
            buf[(bad - offset) as usize] ^= 4;
        }
        Ok(())
    }
}

pub fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A new file of 0xFF.
pub fn filled(path: &Path, len: u64) {
    let file = File::create(path).unwrap();
    let ones = vec![0xff; 1 << 20];
    for at in (0..len).step_by(ones.len()) {
        let n = (len - at).min(ones.len() as u64) as usize;
        file.write_all_at(&ones[..n], at).unwrap();
    }
}

pub fn bytes_at(path: &Path, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut bytes, range.start)
        .unwrap_or_else(|e| panic!("reading {range:?} of {}: {e}", path.display()));
    bytes
}

/// Says where a person sees it that something cannot be tested here.
pub fn skipped(_test: &str, why: &str) {
    needs::say(&format!("cannot be tested here: {why}"));
}

fn run(command: &mut Command) -> Result<String, String> {
    command.env("PATH", needs::search_path());
    let out = command
        .output()
        .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
    }
}

/// A loop device; it is gone when this is dropped.
pub struct Loop {
    pub path: PathBuf,
}

impl Loop {
    /// Shows `file` as a disk. An error says why that cannot be done here.
    pub fn over(file: &Path, options: &[&str]) -> Result<Self, String> {
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]).args(options).arg(file);
        let path = PathBuf::from(run(&mut command)?);
        Ok(Self { path })
    }

    /// The same, or `None` with a word about it.
    pub fn or_skip(test: &str, file: &Path, options: &[&str]) -> Option<Self> {
        Self::over(file, options)
            .map_err(|why| skipped(test, &format!("no loop device is to be had: {why}")))
            .ok()
    }

    pub fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub fn detach(self) {}
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.path));
    }
}

/// Something mounted; it is not when this is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Read-only, since mounting alone would change it.
    pub fn of(device: &Path, folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).unwrap();
        run(Command::new("mount").arg("-r").arg(device).arg(folder))?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(&self.0));
    }
}

/// A disk with a fault, as a file: faulty_disk.py.
pub struct FaultyDisk {
    pub file: PathBuf,
    folder: PathBuf,
    server: Child,
}

impl FaultyDisk {
    /// `folder` is made, `backing` is what it really holds.
    pub fn new(folder: &Path, backing: &Path, fault: &[&str]) -> Result<Self, String> {
        let test = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        test.map_err(|e| format!("/dev/fuse: {e}"))?;
        std::fs::create_dir_all(folder).unwrap();
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/common/flash/faulty_disk.py"
        );
        let server = Command::new("/usr/bin/python3")
            .args(["-B", script])
            .arg(folder)
            .arg(backing)
            .args(fault)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("/usr/bin/python3: {e}"))?;
        let mut disk = Self {
            file: folder.join("disk"),
            folder: folder.to_owned(),
            server,
        };
        disk.wait().map(|()| disk)
    }

    /// The same, or `None` with a word about it.
    pub fn or_skip(test: &str, folder: &Path, backing: &Path, fault: &[&str]) -> Option<Self> {
        Self::new(folder, backing, fault)
            .map_err(|why| skipped(test, &format!("FUSE does not work here: {why}")))
            .ok()
    }

    fn wait(&mut self) -> Result<(), String> {
        loop {
            if self.file.exists() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                let mut said = String::new();
                if let Some(stderr) = &mut self.server.stderr {
                    let _ = std::io::Read::read_to_string(stderr, &mut said);
                }
                return Err(format!("faulty_disk.py ended with {status}: {said}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        let unmounted = run(Command::new("fusermount3").arg("-u").arg(&self.folder));
        if unmounted.is_err() {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}
