//! The same operations done by us and by the Linux kernel on a loop mount, and their results
//! compared.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use imgbuild::ext4::{Attr, Ext4};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

/// A loop mount, unmounted when dropped.
pub struct Mount {
    pub at: PathBuf,
}

impl Mount {
    /// Mounts `image` on a directory beside it, or says why that cannot be done here.
    pub fn new(image: &Path, options: &str) -> Result<Self, String> {
        let at = image.with_extension("mnt");
        std::fs::create_dir_all(&at).map_err(|e| e.to_string())?;
        let output = Command::new("mount")
            .args(["-t", "ext4", "-o", options])
            .args([image, &at])
            .output()
            .map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(Self { at }),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever looks at every mount of the machine (udev, a scanner) can hold it for a moment.
        for _ in 0..50 {
            match Command::new("umount").arg(&self.at).output() {
                Ok(output) if !output.status.success() => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                _ => return,
            }
        }
    }
}

/// One edit.
#[derive(Debug, Clone)]
pub enum Op {
    Write(String, Vec<u8>, Attr),
    MakeDir(String, Attr),
    Symlink(String, String, Attr),
    Link(String, String),
    Remove(String),
    RemoveTree(String),
    Rename(String, String),
    SetAttr(String, Attr),
    /// Another content and modification time for a file that is there.
    Rewrite(String, Vec<u8>, i64),
    SetXattr(String, String, Vec<u8>),
}

impl Op {
    pub fn ours(&self, fs: &mut Ext4) -> imgbuild::error::Result<()> {
        match self {
            Self::Write(path, data, attr) => {
                fs.write_file(path, &mut &data[..], data.len() as u64, attr)
            }
            Self::MakeDir(path, attr) => fs.make_dir(path, attr),
            Self::Symlink(path, target, attr) => fs.symlink(path, target, attr),
            Self::Link(from, to) => fs.hard_link(from, to),
            Self::Remove(path) => fs.remove(path),
            Self::RemoveTree(path) => fs.remove_tree(path),
            Self::Rename(from, to) => fs.rename(from, to),
            Self::SetAttr(path, attr) => fs.set_attr(path, attr),
            Self::Rewrite(path, data, mtime) => fs.rewrite(path, data, *mtime),
            Self::SetXattr(path, name, value) => fs.set_xattr(path, name, value),
        }
    }

    pub fn kernels(&self, root: &Path) -> io::Result<()> {
        let at = |path: &String| root.join(path.trim_start_matches('/'));
        match self {
            Self::Write(path, data, attr) => {
                vacate(&at(path))?;
                std::fs::write(at(path), data)?;
                apply(&at(path), attr)
            }
            Self::MakeDir(path, attr) => {
                std::fs::create_dir(at(path))?;
                apply(&at(path), attr)
            }
            Self::Symlink(path, target, attr) => {
                vacate(&at(path))?;
                std::os::unix::fs::symlink(target, at(path))?;
                apply(&at(path), attr)
            }
            Self::Link(from, to) => std::fs::hard_link(at(from), at(to)),
            Self::Remove(path) => match at(path).symlink_metadata()?.is_dir() {
                true => std::fs::remove_dir(at(path)),
                false => std::fs::remove_file(at(path)),
            },
            Self::RemoveTree(path) => match at(path).symlink_metadata()?.is_dir() {
                true => std::fs::remove_dir_all(at(path)),
                false => std::fs::remove_file(at(path)),
            },
            Self::Rename(from, to) => {
                let source = at(from).symlink_metadata()?;
                match at(to).symlink_metadata() {
                    Ok(target) if from != to && (target.is_dir() || source.is_dir()) => {
                        Err(io::ErrorKind::AlreadyExists.into())
                    }
                    _ => std::fs::rename(at(from), at(to)),
                }
            }
            Self::SetAttr(path, attr) => apply(&at(path), attr),
            Self::Rewrite(path, data, mtime) => rewrite(&at(path), data, *mtime),
            Self::SetXattr(path, name, value) => Ok(rustix::fs::lsetxattr(
                at(path),
                name,
                value,
                XattrFlags::empty(),
            )?),
        }
    }
}

fn rewrite(path: &Path, data: &[u8], mtime: i64) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).truncate(true).open(path)?;
    file.write_all(data)?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime,
            tv_nsec: 0,
        },
    };
    Ok(rustix::fs::futimens(&file, &times)?)
}

fn vacate(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn apply(path: &Path, attr: &Attr) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(attr.uid), Some(attr.gid))?;
    if !path.symlink_metadata()?.is_symlink() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(attr.mode))?;
    }
    let time = Timespec {
        tv_sec: attr.mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Everything about everything below `root`, by path. Sizes and times of directories are not:
/// they depend on how and when.
pub fn manifest(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mut line = format!(
                "{:o} {}:{} links {} ",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.nlink()
            );
            if meta.is_dir() {
                pending.push(path.clone());
            } else {
                line += &format!(
                    "mtime {}.{} size {} ",
                    meta.mtime(),
                    meta.mtime_nsec(),
                    meta.size()
                );
            }
            if meta.is_symlink() {
                line += &format!("to {:?} ", std::fs::read_link(&path).unwrap());
            } else if meta.is_file() && !meta.file_type().is_fifo() {
                line += &format!(
                    "crc {:08x} ",
                    crc32c::crc32c(&std::fs::read(&path).unwrap())
                );
            }
            line += &xattrs(&path);
            all.insert(path.strip_prefix(root).unwrap().to_owned(), line);
        }
    }
    all
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let n = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut list: Vec<_> = names[..n]
        .split(|&b| b == 0)
        .filter(|n| !n.is_empty())
        .collect();
    list.sort();
    let show = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let n = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        format!(
            "{}={:08x}/{n} ",
            String::from_utf8_lossy(name),
            crc32c::crc32c(&value[..n])
        )
    };
    list.into_iter().map(show).collect()
}
