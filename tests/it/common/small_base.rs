//! Small bases, made from a folder: for what the fixtures have not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::needs;
use super::tools::text as run;

const MIB: u64 = 1 << 20;
/// Where the partitions begin, and their lengths.
const BOOT: (u64, u64) = (8 * MIB, 40 * MIB);
const ROOTS: u64 = 48 * MIB;

/// What a base is made of.
pub struct SmallBase {
    dir: tempfile::TempDir,
    pub cmdline: String,
    /// More arguments for mke2fs.
    pub mke2fs: Vec<&'static str>,
    /// Length of each root file system, MiB.
    pub mib: u64,
    /// `/etc/fstab` of each Linux partition.
    pub fstabs: Vec<&'static str>,
    pub gpt: bool,
}

/// The disk id of an MBR.
pub const DISK_ID: &str = "5ca1ab1e";
pub const FSTAB: &str = "PARTUUID=5ca1ab1e-02 / ext4 defaults 0 1\n";

impl SmallBase {
    /// With a user `pi` and no cloud-init.
    pub fn new() -> Self {
        let base = Self {
            dir: tempfile::tempdir().unwrap(),
            cmdline: format!("console=tty1 root=PARTUUID={DISK_ID}-02 rootwait"),
            mke2fs: Vec::new(),
            mib: 64,
            fstabs: vec![FSTAB],
            gpt: false,
        };
        for folder in [
            "home/pi",
            "root",
            "etc/skel",
            "etc/default",
            "usr/bin",
            "dev",
            "boot/firmware",
        ] {
            fs::create_dir_all(base.tree(folder)).unwrap();
        }
        symlink("usr/lib", base.tree("lib")).unwrap();
        base.file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n",
        );
        base.file(
            "etc/shadow",
            "root:*:20556:0:99999:7:::\npi:!:20556:0:99999:7:::\n",
        );
        base.file("etc/group", "root:x:0:\nsudo:x:27:pi\npi:x:1000:\n");
        base.file("etc/gshadow", "root:*::\nsudo:*::pi\npi:!::\n");
        base.file("etc/hostname", "raspberrypi\n");
        base.file("etc/hosts", "127.0.0.1 localhost\n");
        base.file("etc/default/keyboard", "XKBLAYOUT=\"us\"\n");
        base.file("etc/locale.gen", "# en_GB.UTF-8 UTF-8\n");
        base.file("usr/bin/bash", "");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(base.tree("usr/bin/bash"), mode).unwrap();
        base.link("bin", "usr/bin");
        for unit in ["ssh.service", "getty@.service"] {
            base.unit(unit);
        }
        base
    }

    /// A path of the root file system, before it is one.
    pub fn tree(&self, path: &str) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    pub fn file(&self, path: &str, text: &str) {
        let path = self.tree(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.tree(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    pub fn unit(&self, name: &str) {
        let text = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
        self.file(&format!("usr/lib/systemd/system/{name}"), text);
    }

    /// Makes the image at `image`; `edit` may change each root file system before it is put in.
    pub fn make(&self, image: &Path, edit: impl Fn(&Path)) {
        needs::programs(&["sfdisk", "mkfs.vfat", "mcopy", "mke2fs"]);
        let _ = fs::remove_file(image);
        let length = ROOTS + (self.mib * self.fstabs.len() as u64 + 1) * MIB;
        fs::File::create(image).unwrap().set_len(length).unwrap();
        run(
            "sh",
            &[
                "-c",
                "sfdisk -q --no-reread --no-tell-kernel \"$1\" >/dev/null <<E\n$2\nE",
                "sh",
                &path_text(image),
                &self.table(),
            ],
        );
        let fat = self.dir.path().join("fat");
        self.boot(&fat);
        put(&fat, image, BOOT.0);
        let root = self.dir.path().join("root");
        for (index, fstab) in (0..).zip(&self.fstabs) {
            self.file("etc/fstab", fstab);
            let _ = fs::remove_file(&root);
            let size = format!("{}M", self.mib);
            let label = format!("root-{}", index + 2);
            let uuid = format!("00000000-0000-0000-0000-00000000000{}", index + 2);
            let (tree, path) = (path_text(&self.tree("")), path_text(&root));
            let mut args = vec![
                "-q", "-F", "-t", "ext4", "-L", &label, "-U", &uuid, "-d", &tree,
            ];
            args.extend(&self.mke2fs);
            args.extend([path.as_str(), size.as_str()]);
            run("mke2fs", &args);
            edit(&root);
            put(&root, image, root_at(index, self.mib));
        }
    }

    fn table(&self) -> String {
        let (linux, fat, head) = match self.gpt {
            true => (
                "L",
                "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
                "label: gpt".to_owned(),
            ),
            false => ("83", "c", format!("label: dos\nlabel-id: 0x{DISK_ID}")),
        };
        let mut table = format!(
            "{head}\nstart={}, size={}, type={fat}\n",
            BOOT.0 / 512,
            BOOT.1 / 512
        );
        for index in 0..self.fstabs.len() as u64 {
            let (start, size) = (root_at(index, self.mib) / 512, self.mib * MIB / 512);
            let name = match self.gpt {
                true => format!(", name=\"part-{}\"", index + 2),
                false => String::new(),
            };
            table += &format!("start={start}, size={size}, type={linux}{name}\n");
        }
        table
    }

    fn boot(&self, fat: &Path) {
        let _ = fs::remove_file(fat);
        fs::File::create(fat).unwrap().set_len(BOOT.1).unwrap();
        run(
            "mkfs.vfat",
            &["--invariant", "-F", "32", "-s", "1", &path_text(fat)],
        );
        for (name, content) in [
            ("cmdline.txt", self.cmdline.as_str()),
            ("config.txt", "[all]"),
        ] {
            let file = self.dir.path().join(name);
            fs::write(&file, format!("{content}\n")).unwrap();
            run("mcopy", &["-i", &path_text(fat), &path_text(&file), "::"]);
        }
    }
}

/// An image of 32 MiB a partition without anything of a test's own, and the folder that it goes with.
pub fn plain_base() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("base.img");
    let mut base = SmallBase::new();
    base.mib = 32;
    base.make(&image, |_| {});
    (dir, image)
}

/// Where the root file system `index` (from 0) begins in an image, bytes.
pub fn root_at(index: u64, mib: u64) -> u64 {
    ROOTS + index * mib * MIB
}

fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn put(part: &Path, image: &Path, at: u64) {
    run(
        "dd",
        &[
            &format!("if={}", part.display()),
            &format!("of={}", image.display()),
            "bs=1M",
            &format!("seek={}", at / MIB),
            "conv=notrunc,sparse",
            "status=none",
        ],
    );
}

/// What debugfs prints about the file system at byte `at` of an image.
pub fn debugfs(image: &Path, at: u64, request: &str) -> String {
    run(
        "debugfs",
        &["-R", request, &format!("{}?offset={at}", image.display())],
    )
}
