//! Whole images: nodes built by the program from a base, read back by readers that share no code
//! with it, and judged by the programs that will use them.
//!
//! Ordinarily the bases are the small ones of scripts/make-fixture. IMGBUILD_TEST_FULL=1 adds the
//! large ones of scripts/full-base.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::common::images::build::{
    KEY, PASSWORD_HASH, PROFILES, Request, Table, World, secret_values, table,
};
use crate::common::images::model::{Model, renamed};
use crate::common::images::tree::Tree;
use crate::common::images::{boot, full_tier, judges, large_base, no_problems, tree};
use crate::common::tools::{accepts, tool};
use crate::common::workbench::{fixture, fixture_xz};
use imgbuild::disk::STRETCH;
use imgbuild::overlay::Part;
use imgbuild::plan::{Action, Content, Edit, FileBytes, Plan, When};
use imgbuild::secrets::SECRETS_FILE;

/// A base, read once.
struct Base {
    path: PathBuf,
    table: Table,
    tree: Tree,
    /// As debugfs shows them.
    inodes: BTreeMap<String, String>,
    boot: boot::Files,
    has_cloud_init: bool,
}

impl Base {
    fn read(path: PathBuf) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let table = table(&path);
        let tree = tree::read(&tree::open(&path, table.root.start));
        let fat = dir.path().join("fat");
        boot::cut_out(&path, &table.boot, &fat);
        Self {
            boot: boot::read(&fat, &dir.path().join("boot")),
            inodes: tree::inodes(&path, table.root.start, tree.keys()),
            has_cloud_init: tree.contains_key("/usr/bin/cloud-init"),
            path,
            table,
            tree,
        }
    }

    /// A fixture, read by the first test that wants it.
    fn fixture(variant: &str) -> &'static Self {
        static TRIXIE: OnceLock<Base> = OnceLock::new();
        static BOOKWORM: OnceLock<Base> = OnceLock::new();
        static GPT: OnceLock<Base> = OnceLock::new();
        let base = match variant {
            "trixie" => &TRIXIE,
            "bookworm" => &BOOKWORM,
            "gpt" => &GPT,
            other => panic!("no fixture {other}"),
        };
        let base = base.get_or_init(|| Self::read(fixture(variant)));
        let mut inodes = base.inodes.values();
        let has_capability = inodes.any(|i| i.contains("security.capability"));
        assert!(has_capability, "{variant}: no capability to compare");
        base
    }
}

/// One built node and everything that is known of it.
struct Node<'a> {
    world: &'a World,
    base: &'a Base,
    request: &'a Request<'a>,
    plan: &'a Plan,
    /// Says in messages what was built from what.
    name: String,
    image: PathBuf,
    table: Table,
    time: i64,
    cloud_init: bool,
    may_grow: bool,
    tree: Tree,
    boot: boot::Files,
    fat: PathBuf,
    /// /etc, units and scripts of the node.
    root: PathBuf,
}

impl<'a> Node<'a> {
    fn read(world: &'a World, base: &'a Base, request: &'a Request<'a>, plan: &'a Plan) -> Self {
        let image = world.image(request, plan, "img");
        let table = table(&image);
        let fs = tree::open(&image, table.root.start);
        let label = base.path.file_name().unwrap().to_string_lossy();
        let fat = world.path(&format!("{}.fat", plan.hostname));
        boot::cut_out(&image, &table.boot, &fat);
        let root = world.folder(&format!("{}-root", plan.hostname));
        for (folder, to) in [
            ("/etc", ""),
            ("/usr/lib/systemd", "usr/lib"),
            ("/usr/lib/imgbuild", "usr/lib"),
        ] {
            tree::extract(&image, table.root.start, folder, &root.join(to));
        }
        let offline = request.sets.iter().any(|s| s == "firstboot=offline");
        let wtime = || tree::last_written(&base.path, base.table.root.start);
        Self {
            name: format!("{} ({}) from {label}", plan.hostname, plan.profile),
            time: request.time.unwrap_or_else(wtime),
            cloud_init: base.has_cloud_init && !offline,
            may_grow: false,
            tree: tree::read(&fs),
            boot: boot::read(&fat, &world.folder(&format!("{}-boot", plan.hostname))),
            world,
            base,
            request,
            plan,
            image,
            table,
            fat,
            root,
        }
    }

    /// The edits of the plan that apply to this base.
    fn edits(&self) -> Vec<&'a Edit> {
        let applies = |when: When| match when {
            When::Always => true,
            When::CloudInit => self.cloud_init,
            When::Offline => !self.cloud_init,
            When::CloudInitUnused => !self.cloud_init && self.base.has_cloud_init,
        };
        self.plan.edits.iter().filter(|e| applies(e.when)).collect()
    }

    fn check(&self) -> Vec<&'static str> {
        self.file_systems_are_clean();
        self.partition_table_is_as_wanted();
        self.root_is_as_planned();
        self.boot_is_as_planned();
        self.secrets_are_kept();
        self.rendered_files_are_accepted()
    }

    fn file_systems_are_clean(&self) {
        let name = &self.name;
        accepts(
            name,
            tool("e2fsck")
                .arg("-fn")
                .arg(tree::at(&self.image, self.table.root.start)),
        );
        let said = accepts(name, tool("fsck.vfat").arg("-n").arg(&self.fat));
        let complaints = ["irty", "differ", "rong", "orrect", "eclaim"];
        assert!(
            complaints.iter().all(|c| !said.contains(c)),
            "{name}: fsck.vfat says\n{said}"
        );
        let said = accepts(name, tool("sfdisk").arg("--verify").arg(&self.image));
        assert!(
            said.contains("No errors detected"),
            "{name}: sfdisk says\n{said}"
        );
    }

    /// Old and new `PARTUUID`s, when an MBR became a GPT.
    fn new_ids(&self) -> Vec<(String, String)> {
        if self.base.table.label == self.table.label {
            return Vec::new();
        }
        let disk_id = self.base.table.id.strip_prefix("0x").unwrap();
        let (boot, root) = (&self.table.boot, &self.table.root);
        vec![
            (format!("{disk_id}-01"), boot.uuid.to_lowercase()),
            (format!("{disk_id}-02"), root.uuid.to_lowercase()),
        ]
    }

    fn partition_table_is_as_wanted(&self) {
        let (old, new) = (&self.base.table, &self.table);
        let name = &self.name;
        let mut expected = old.clone();
        let len = |path: &Path| path.metadata().unwrap().len();
        let (mut old_len, new_len) = (len(&self.base.path), len(&self.image));
        if self.request.sets.iter().any(|s| s == "disk.table=gpt") && old.label == "dos" {
            expected = as_gpt(old, new);
            old_len += 1 << 20;
        }
        if self.may_grow {
            assert!(new.root.len > old.root.len, "{name}: it did not grow");
            expected.root.len = new.root.len;
        } else {
            assert_eq!(old_len, new_len, "{name}: length");
        }
        assert_eq!(*new, expected, "{name}: partition table");
        if new.label == "gpt" {
            sgdisk_is_content(name, &self.image);
        }
        // Boot code and disk id.
        let (old, new) = (head(&self.base.path, 446), head(&self.image, 446));
        assert_eq!(old, new, "{name}: first 446 bytes");
        let fs = tree::fs_len(&self.image, self.table.root.start);
        let spare = self.table.root.len - fs;
        assert!(
            spare < 1 << 20,
            "{name}: the file system leaves {spare} bytes of its partition unused"
        );
    }

    fn root_is_as_planned(&self) {
        let edits = self.edits();
        let units = self.unit_files();
        let base = self.base;
        let base_fs = tree::open(&base.path, base.table.root.start);
        let mut model = Model::new(&base.tree, &base_fs, self.world, &edits, self.time, &units);
        model.rename_partitions(&self.new_ids());
        no_problems(&self.name, &tree::differences(&model.tree, &self.tree));
        self.untouched_inodes_are_the_same(&model);
    }

    /// A scratch root with the unit files of the node and none of its links.
    fn unit_files(&self) -> PathBuf {
        let units = self.world.folder(&format!("{}-units", self.plan.hostname));
        for folder in ["etc/systemd/system", "usr/lib/systemd/system"] {
            let to = units.join(folder);
            std::fs::create_dir_all(&to).unwrap();
            for found in std::fs::read_dir(self.root.join(folder)).unwrap() {
                let found = found.unwrap();
                if found.file_type().unwrap().is_file() {
                    std::fs::copy(found.path(), to.join(found.file_name())).unwrap();
                }
            }
        }
        std::os::unix::fs::symlink("usr/lib", units.join("lib")).unwrap();
        units
    }

    /// What no edit touched has the same inode: number, flags, all four times, attributes (such as
    /// capabilities) and extents.
    fn untouched_inodes_are_the_same(&self, model: &Model<'_>) {
        let touched: BTreeSet<&String> = model.touched.iter().collect();
        let base_path = |path: &String| match &model.moved {
            Some((from, to)) if path.starts_with(&format!("{to}/")) => path.replacen(to, from, 1),
            _ => path.clone(),
        };
        let pairs: Vec<(String, String)> = model
            .tree
            .keys()
            .filter(|p| !touched.contains(p))
            .map(|p| (base_path(p), p.clone()))
            .collect();
        let old = &self.base.inodes;
        let start = self.table.root.start;
        let new = tree::inodes(&self.image, start, pairs.iter().map(|(_, b)| b));
        let problems: Vec<String> = pairs
            .iter()
            .filter(|(a, b)| old.get(a) != new.get(b))
            .map(|(a, b)| {
                let (old, new) = (old.get(a), new.get(b));
                format!("{b}: its inode was {old:?}\n      and is {new:?}")
            })
            .collect();
        assert!(new.len() > 1000, "{}: debugfs saw too little", self.name);
        no_problems(&self.name, &problems);
    }

    fn boot_is_as_planned(&self) {
        let mut expected = boot::expected(self.world, &self.base.boot, &self.edits(), self.time);
        let line = expected.get_mut("/cmdline.txt").unwrap();
        let before = String::from_utf8(line.bytes.take().unwrap()).unwrap();
        line.bytes = Some(renamed(&before, &self.new_ids()).into_bytes());
        no_problems(&self.name, &boot::differences(&expected, &self.boot));
        let text = |path: &str| {
            let entry = self.boot.get(path).and_then(|e| e.bytes.clone());
            String::from_utf8(entry.unwrap_or_default()).unwrap()
        };
        let cmdline = text("/cmdline.txt");
        assert_eq!(cmdline.lines().count(), 1, "{}: {cmdline}", self.name);
        let seeds: Vec<&str> = cmdline
            .split_whitespace()
            .filter_map(|w| w.strip_prefix("ds="))
            .collect();
        if self.cloud_init {
            let id = text("/meta-data")
                .lines()
                .find_map(|l| l.strip_prefix("instance-id: ").map(str::to_owned))
                .unwrap_or_else(|| panic!("{}: no instance-id", self.name));
            assert_eq!(seeds, [format!("nocloud;i={id}")], "{}", self.name);
        } else {
            assert!(seeds.is_empty(), "{}: {cmdline}", self.name);
            let base = &self.base.boot;
            for file in ["/user-data", "/meta-data"] {
                assert!(
                    self.boot.get(file) == base.get(file),
                    "{}: {file} changed",
                    self.name
                );
            }
        }
    }

    /// Secrets are neither in a byte of the boot partition nor in a file that others can read.
    fn secrets_are_kept(&self) {
        let secrets = secret_values(self.request);
        let fat = std::fs::read(&self.fat).unwrap();
        for (what, value) in &secrets {
            assert!(
                !contains(&fat, value.as_bytes()),
                "{}: {what} lies on the boot partition",
                self.name
            );
        }
        let fs = tree::open(&self.image, self.table.root.start);
        let mut met = 0;
        for (path, entry) in &self.tree {
            let tree::Kind::File { len, .. } = &entry.kind else {
                continue;
            };
            if self.base.tree.get(path) == Some(entry) || *len > 1 << 20 {
                continue;
            }
            let bytes = fs.read(path.as_str()).unwrap();
            let holds = |(_, value): &&(String, String)| contains(&bytes, value.as_bytes());
            if let Some((what, _)) = secrets.iter().find(holds) {
                met += 1;
                let shadow = path == "/etc/shadow" && entry.mode == 0o640 && entry.gid == 42;
                assert!(
                    entry.uid == 0 && (entry.mode & 0o077 == 0 || shadow),
                    "{}: {path} holds {what} and has mode {:04o}, owner {}:{}",
                    self.name,
                    entry.mode,
                    entry.uid,
                    entry.gid
                );
            }
        }
        assert!(met > 0, "{}: no secret reached the node", self.name);
        for edit in self.edits() {
            if let Action::Write(Content::Bytes(FileBytes::Secret(_)), attr) = &edit.action {
                let fine = edit.part == Part::Root && attr.mode == 0o600 && attr.uid == 0;
                assert!(fine, "{}: {} {attr:?}", self.name, edit.path);
            }
        }
    }

    fn rendered_files_are_accepted(&self) -> Vec<&'static str> {
        let user_data = self
            .world
            .path(&format!("{}-user-data", self.plan.hostname));
        let seed = self.boot.get("/user-data").and_then(|e| e.bytes.clone());
        if let Some(bytes) = &seed {
            std::fs::write(&user_data, bytes).unwrap();
        }
        judges::ask(&judges::Node {
            name: &self.name,
            plan: self.plan,
            root: &self.root,
            tree: &self.tree,
            user_data: seed.is_some().then_some(user_data.as_path()),
            cloud_init: self.cloud_init,
            scratch: &self.world.folder("judges"),
        })
    }

    fn text(&self, path: &str) -> String {
        let fs = tree::open(&self.image, self.table.root.start);
        fs.read_to_string(path)
            .unwrap_or_else(|e| panic!("{}: {path}: {e}", self.name))
    }
}

fn sgdisk_is_content(name: &str, image: &Path) {
    let said = accepts(name, tool("sgdisk").arg("--verify").arg(image));
    assert!(
        said.contains("No problems found"),
        "{name}: sgdisk says\n{said}"
    );
}

/// The table of an MBR base as a GPT: places and order stay, types are their counterparts, and the
/// ids are what they are.
fn as_gpt(old: &Table, new: &Table) -> Table {
    let mut expected = Table {
        label: "gpt".to_owned(),
        id: new.id.clone(),
        ..old.clone()
    };
    for (part, kind, uuid) in [
        (
            &mut expected.boot,
            "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
            &new.boot.uuid,
        ),
        (
            &mut expected.root,
            "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
            &new.root.uuid,
        ),
    ] {
        (part.kind, part.uuid) = (kind.to_owned(), uuid.clone());
    }
    assert!(new.boot.uuid != new.root.uuid && new.id.len() == new.root.uuid.len());
    expected
}

fn head(path: &Path, len: usize) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = vec![0; len];
    let mut file = std::fs::File::open(path).unwrap();
    file.read_exact(&mut bytes).unwrap();
    bytes
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == wanted[0]) {
        if rest[at..].starts_with(wanted) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// What the program prints says nothing secret, and its plan is the one that was carried out.
fn plan_is_printed(world: &World, request: &Request<'_>, plans: &[Plan], said: &str) {
    let json = world.plan_text(request, true);
    let texts = [said, &json, &world.plan_text(request, false)];
    for (what, value) in secret_values(request) {
        for text in texts {
            assert!(!text.contains(&value), "{what} is printed:\n{text}");
        }
    }
    let printed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let printed = printed.as_array().unwrap();
    assert_eq!(printed.len(), plans.len());
    for (printed, plan) in printed.iter().zip(plans) {
        assert_eq!(printed["instance_id"], plan.instance_id.as_str());
        let rows: Vec<(&str, &str, &str)> = printed["edits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                let text = |key: &str| e[key].as_str().unwrap_or_default();
                (text("partition"), text("path"), text("mode"))
            })
            .collect();
        // FAT has no modes to print.
        let mode = |edit: &Edit| match &edit.action {
            Action::Write(_, attr) | Action::Directory(attr) | Action::SetAttr(attr)
                if edit.part == Part::Root =>
            {
                format!("{:04o}", attr.mode)
            }
            _ => String::new(),
        };
        let modes: Vec<String> = plan.edits.iter().map(mode).collect();
        let expected: Vec<(&str, &str, &str)> = plan
            .edits
            .iter()
            .zip(&modes)
            .map(|(e, mode)| (e.part.name(), e.path.as_str(), mode.as_str()))
            .collect();
        assert_eq!(rows, expected, "{}: plan --json", plan.hostname);
    }
}

/// Builds, checks everything of every node, and returns what was judged.
fn check(world: &World, base: &Base, request: &Request<'_>) -> BTreeSet<&'static str> {
    let said = world.build(request);
    let plans = world.plans(request);
    plan_is_printed(world, request, &plans, &said);
    let mut judged = BTreeSet::new();
    for plan in &plans {
        judged.extend(Node::read(world, base, request, plan).check());
    }
    judged
}

/// All default nodes of a base.
fn check_default_nodes(base: &Base) {
    let world = World::new();
    let request = Request::all(&base.path);
    let judged = check(&world, base, &request);
    let all: BTreeSet<&str> = judges::all(base.has_cloud_init).into_iter().collect();
    assert_eq!(judged, all, "judges that had nothing to judge");
    let plans = world.plans(&request);
    let built: Vec<&str> = plans.iter().map(|p| p.profile.as_str()).collect();
    assert_eq!(built, PROFILES);
    for plan in &plans {
        let changed = changed_stretches(&base.path, &world.image(&request, plan, "img"));
        // Table and FAT, metadata of the root file system, new data; one to spare.
        assert!(changed.len() <= 4, "{}: {changed:?}", plan.hostname);
    }
}

/// Which stretches, the blocks of a packed base, are not as in the base.
fn changed_stretches(base: &Path, image: &Path) -> BTreeSet<u64> {
    use std::io::Read;
    const CHUNK: u64 = 1 << 20;
    let [mut before, mut after] = [base, image].map(|path| std::fs::File::open(path).unwrap());
    let mut changed = BTreeSet::new();
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for at in (0..).step_by(CHUNK as usize) {
        for (file, chunk) in [(&mut before, &mut old), (&mut after, &mut new)] {
            chunk.clear();
            file.take(CHUNK).read_to_end(chunk).unwrap();
        }
        if new.is_empty() {
            break;
        }
        if old != new {
            changed.insert(at / STRETCH);
        }
    }
    changed
}

#[test]
fn default_nodes_from_trixie() {
    check_default_nodes(Base::fixture("trixie"));
}

#[test]
fn default_nodes_from_bookworm() {
    check_default_nodes(Base::fixture("bookworm"));
}

#[test]
fn default_nodes_from_a_whole_trixie() {
    if full_tier() {
        check_default_nodes(&Base::read(large_base("trixie")));
    }
}

#[test]
fn default_nodes_from_a_whole_bookworm() {
    if full_tier() {
        check_default_nodes(&Base::read(large_base("bookworm")));
    }
}

#[test]
fn a_gpt_base_keeps_its_table() {
    let world = World::new();
    let base = Base::fixture("gpt");
    check(&world, base, &Request::one(&base.path, "master"));
}

/// An MBR base with a GPT, also of a fixed size; and a base that has one.
#[test]
fn a_base_gets_a_gpt() {
    let world = World::new();
    for (variant, profile, size) in [
        ("trixie", "gateway", None),
        ("bookworm", "worker-2", Some(1 << 30)),
        ("gpt", "worker-1", Some(1 << 30)),
    ] {
        let base = Base::fixture(variant);
        let mut request = Request::one(&base.path, profile).set("disk.table=gpt");
        let size_set = size.map(|size: u64| format!("disk.size={size}"));
        request.sets.extend(size_set);
        let said = world.build(&request);
        let plans = world.plans(&request);
        plan_is_printed(&world, &request, &plans, &said);
        assert!(world.plan_text(&request, false).contains("\ngpt "));
        assert!(
            world
                .plan_text(&request, true)
                .contains("\"table\": \"gpt\"")
        );
        let mut node = Node::read(&world, base, &request, &plans[0]);
        node.name = format!("{} as a GPT", node.name);
        node.may_grow = size.is_some();
        match variant {
            "gpt" => node.partition_table_is_as_wanted(),
            _ => drop(node.check()),
        }
        names_its_partitions(&node);
        first_boot_grows_it(&node);
        if let Some(size) = size {
            let len = node.image.metadata().unwrap().len();
            assert_eq!(len, size, "{}: length", node.name);
        }
    }
}

/// What the kernel and systemd look for is in the table, and the first boot leaves the table alone
/// but for our own unit.
fn names_its_partitions(node: &Node<'_>) {
    let name = &node.name;
    let (boot, root) = (&node.table.boot, &node.table.root);
    let cmdline = node.boot["/cmdline.txt"].bytes.clone().unwrap();
    let cmdline = String::from_utf8(cmdline).unwrap();
    let words: Vec<&str> = cmdline.split_whitespace().collect();
    let found = format!("root=PARTUUID={}", root.uuid.to_lowercase());
    assert!(words.contains(&found.as_str()), "{name}: {cmdline}");
    let not = |w: &&&str| w.starts_with("resize") || w.contains("firstboot");
    assert_eq!(words.iter().find(not), None, "{name}: {cmdline}");
    let fstab = node.text("/etc/fstab");
    for (uuid, place) in [(&boot.uuid, "/boot/firmware"), (&root.uuid, "/")] {
        let device = format!("PARTUUID={}", uuid.to_lowercase());
        let line = |l: &str| l.split_whitespace().take(2).eq([device.as_str(), place]);
        assert!(fstab.lines().any(line), "{name}: no {place} in\n{fstab}");
    }
    let unit = "/etc/systemd/system/sysinit.target.wants/imgbuild-grow.service";
    assert!(node.tree.contains_key(unit), "{name}: {unit}");
}

/// What the first boot does to the table of a card that is larger than the image: the very command.
fn first_boot_grows_it(node: &Node<'_>) {
    let name = &node.name;
    let card = node.world.path("card");
    accepts(
        name,
        tool("cp").arg("--sparse=always").args([&node.image, &card]),
    );
    let len = node.image.metadata().unwrap().len() + (1 << 30) + 512;
    let file = std::fs::File::options().write(true).open(&card).unwrap();
    file.set_len(len).unwrap();
    let script = node.text("/usr/lib/imgbuild/grow");
    let command = script.lines().find(|l| l.contains("sfdisk --")).unwrap();
    let command = format!("set -eu; number=2; disk=$1; {command}");
    crate::common::needs::programs(&["sfdisk", "sgdisk"]);
    for _ in 0..2 {
        accepts(name, tool("sh").args(["-c", &command, "sh"]).arg(&card));
        sgdisk_is_content(name, &card);
        let mut expected = node.table.clone();
        expected.root.len = len - 33 * 512 - expected.root.start;
        assert_eq!(table(&card), expected, "{name}: on a larger card");
    }
}

/// Without SOURCE_DATE_EPOCH everything is dated as the base was last written.
#[test]
fn the_time_is_the_bases_own() {
    let world = World::new();
    let base = Base::fixture("trixie");
    let request = Request {
        time: None,
        ..Request::one(&base.path, "worker-1")
    };
    check(&world, base, &request);
}

/// Another user, a password, and cloud-init left unused.
#[test]
fn another_user_with_a_password_and_offline() {
    let world = World::new();
    for (variant, profile) in [("trixie", "master"), ("bookworm", "gateway")] {
        let base = Base::fixture(variant);
        let mut request = Request::one(&base.path, profile)
            .set("user.name=alice")
            .set("firstboot=offline")
            .set("secrets.password_hash=env:PASSWORD_HASH")
            .set("locale.lang=de_DE.UTF-8")
            .set("locale.timezone=Europe/Berlin")
            .set("locale.keyboard=de")
            // nft judges the set of each IP version.
            .set("pihole.allow=[\"192.168.9.0/24\", \"2001:db8:1::/64\", \"2001:db8:2::7\"]");
        request.env = vec![("PASSWORD_HASH".to_owned(), PASSWORD_HASH.to_owned())];
        check(&world, base, &request);
        let plans = world.plans(&request);
        let node = Node::read(&world, base, &request, &plans[0]);
        offline_identity(&node, "alice", PASSWORD_HASH, "de", "Europe/Berlin");
        assert!(!node.tree.contains_key("/home/pi"), "{}", node.name);
        let old_name = |text: &str| text.split([':', ',', '\n']).any(|w| w == "pi");
        for file in ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"] {
            let text = node.text(&format!("/etc/{file}"));
            assert!(!old_name(&text), "{}: /etc/{file}\n{text}", node.name);
        }
        let disabled = node.tree.contains_key("/etc/cloud/cloud-init.disabled");
        assert_eq!(disabled, base.has_cloud_init, "{}", node.name);
    }
}

/// A renamed user on a base with cloud-init, whose seed must name the same one.
#[test]
fn another_user_through_cloud_init() {
    let world = World::new();
    let base = Base::fixture("trixie");
    // The owner's lines of config.txt: filters, and the same line twice.
    let config = r#"boot.config_txt=["[pi4]", "over_voltage=2", "[all]", "gpu_mem=16", "[pi4]", "arm_freq=1800", "gpu_mem=16"]"#;
    let request = Request::one(&base.path, "worker-2")
        .set("user.name=alice")
        .set(config);
    check(&world, base, &request);
    let plans = world.plans(&request);
    let node = Node::read(&world, base, &request, &plans[0]);
    assert!(node.tree.contains_key("/home/alice/.bashrc"));
    assert!(node.text("/etc/group").contains("alice"));
}

/// With a seed the host key is the node's own, and is still the one in use after a first boot.
#[test]
fn host_keys_come_from_the_seed() {
    let world = World::new();
    let mut keys = BTreeSet::new();
    for (variant, profile) in [("trixie", "worker-1"), ("bookworm", "worker-2")] {
        let base = Base::fixture(variant);
        let mut request =
            Request::one(&base.path, profile).set("secrets.host_key_seed=env:HOST_KEY_SEED");
        request.env = vec![("HOST_KEY_SEED".into(), "CoreOfTheHostKeySeed3190".into())];
        check(&world, base, &request);
        let plans = world.plans(&request);
        let node = Node::read(&world, base, &request, &plans[0]);
        keys.insert(host_key(&node));
    }
    assert_eq!(keys.len(), 2, "{keys:?}");
}

/// The public key of a node, after OpenSSH and the secrecy of the private one were asked.
fn host_key(node: &Node<'_>) -> String {
    const KEY: &str = "/etc/ssh/imgbuild_host_ed25519_key";
    let name = &node.name;
    let (private, public) = (node.text(KEY), node.text(&format!("{KEY}.pub")));
    let has = |path: &str, mode| {
        let entry = &node.tree[path];
        assert_eq!(
            (entry.mode & 0o7777, entry.uid),
            (mode, 0),
            "{name}: {path}"
        );
    };
    has(KEY, 0o600);
    has(&format!("{KEY}.pub"), 0o644);
    // The line with the private half.
    let line = private.lines().nth(4).unwrap();
    assert!(!contains(
        &std::fs::read(&node.fat).unwrap(),
        line.as_bytes()
    ));
    for json in [false, true] {
        assert!(!node.world.plan_text(node.request, json).contains(line));
    }

    crate::common::needs::programs(&["ssh-keygen"]);
    // What Bookworm does to host keys when it first boots; Trixie leaves out the first half.
    let first_boot = "rm -f \"$0\"/etc/ssh/ssh_host_*_key* && ssh-keygen -A -f \"$0\"";
    accepts(name, tool("sh").args(["-c", first_boot]).arg(&node.root));
    let ssh = node.root.join("etc/ssh");
    let key = node.root.join(&KEY[1..]);
    let keygen = |option: &str, key: &Path| {
        let said = accepts(name, tool("ssh-keygen").arg(option).arg("-f").arg(key));
        said.trim().to_owned()
    };
    assert_eq!(keygen("-y", &key), public.trim(), "{name}");
    let shown = keygen("-l", &key);
    assert!(shown.contains(&format!("root@{} (ED25519)", node.plan.hostname)));
    assert_eq!(shown, keygen("-l", &key.with_extension("pub")), "{name}");

    let config = ssh.join("sshd_config.d/10-imgbuild.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("/etc/ssh", ssh.to_str().unwrap());
    std::fs::write(&config, text).unwrap();
    let said = accepts(
        name,
        tool("/usr/sbin/sshd").arg("-T").arg("-f").arg(&config),
    );
    let used: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("hostkey "))
        .collect();
    assert_eq!(used, [key.to_str().unwrap()], "{name}");
    public
}

/// What an offline node knows, said without the plan.
fn offline_identity(node: &Node<'_>, user: &str, hash: &str, keyboard: &str, zone: &str) {
    let name = &node.name;
    let has_line = |path: &str, line: &str| {
        let text = node.text(path);
        assert!(
            text.lines().any(|l| l == line),
            "{name}: {path} has no line {line:?}:\n{text}"
        );
    };
    has_line("/etc/hostname", &node.plan.hostname);
    has_line(&format!("/home/{user}/.ssh/authorized_keys"), KEY);
    has_line("/etc/locale.gen", "de_DE.UTF-8 UTF-8");
    has_line("/etc/default/locale", "LANG=de_DE.UTF-8");
    has_line("/etc/timezone", zone);
    has_line(
        "/etc/default/keyboard",
        &format!("XKBLAYOUT=\"{keyboard}\""),
    );
    let passwd = node.text("/etc/passwd");
    let line = passwd
        .lines()
        .find(|l| l.starts_with(&format!("{user}:")))
        .unwrap();
    assert!(
        line.ends_with(&format!(":/home/{user}:/bin/bash")),
        "{name}: {line}"
    );
    let shadow = node.text("/etc/shadow");
    assert!(
        shadow
            .lines()
            .any(|l| l.starts_with(&format!("{user}:{hash}:"))),
        "{name}: /etc/shadow"
    );
    let groups: BTreeMap<String, Vec<String>> = node
        .text("/etc/group")
        .lines()
        .map(|l| {
            let (head, members) = l.rsplit_once(':').unwrap();
            let group = head.split(':').next().unwrap();
            let members = members.split(',').map(str::to_owned);
            (group.to_owned(), members.collect())
        })
        .collect();
    for group in ["sudo", "video", "gpio"] {
        assert!(
            groups[group].iter().any(|m| m == user),
            "{name}: {user} is not in {group}: {:?}",
            groups[group]
        );
    }
    let zone = format!("/usr/share/zoneinfo/{zone}");
    assert_eq!(
        node.tree["/etc/localtime"].kind,
        tree::Kind::Link(zone),
        "{name}"
    );
    let keys = &node.tree[&format!("/home/{user}/.ssh/authorized_keys")];
    assert_eq!(
        (keys.mode, keys.uid, keys.gid),
        (0o600, 1000, 1000),
        "{name}: authorized_keys"
    );
}

/// More payload than there is room, and a size that the profile fixes.
#[test]
fn images_grow() {
    let world = World::new();
    for (variant, set, k3s_mib) in [
        ("trixie", None, 100),
        ("bookworm", None, 100),
        ("gpt", None, 100),
        ("trixie", Some("disk.size=1GiB"), 3),
    ] {
        world.large_k3s(k3s_mib);
        let base = Base::fixture(variant);
        let mut request = Request::one(&base.path, "worker-1");
        request.sets.extend(set.map(str::to_owned));
        world.build(&request);
        let plans = world.plans(&request);
        let mut node = Node::read(&world, base, &request, &plans[0]);
        node.name = format!("{} with {k3s_mib} MiB of k3s, {set:?}", node.name);
        node.may_grow = true;
        node.check();
        if set.is_some() {
            let len = node.image.metadata().unwrap().len();
            assert_eq!(len, 1 << 30, "{}: length", node.name);
        }
    }
}

/// Two builds that differ in everything that must not matter.
#[test]
fn builds_are_reproducible() {
    let world = World::new();
    let base = fixture_xz("trixie");
    let raw = fixture("trixie");
    let env = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    };
    let args = |list: &[&str]| list.iter().map(|a| (*a).to_owned()).collect();
    let other = world.folder("elsewhere/deep");
    // The keys of the cluster are one of the inputs.
    std::fs::copy(world.path(SECRETS_FILE), other.join(SECRETS_FILE)).unwrap();
    let elsewhere = format!("umask 077 && cd {}", other.display());
    let first = Request {
        formats: &["img", "img.xz"],
        env: env(&[("TZ", "Pacific/Kiritimati"), ("HOME", "/nonexistent")]),
        args: args(&["--jobs", "1"]),
        out: "first",
        time: None,
        // All of them would take long to compress; these two share the fewest roles.
        profiles: vec!["gateway", "master"],
        ..Request::all(&base)
    };
    let second = Request {
        env: env(&[("TZ", "America/St_Johns"), ("LC_ALL", "C"), ("USER", "x")]),
        args: args(&["--jobs", "4"]),
        out: "another/folder/second",
        before: &elsewhere,
        ..first.clone()
    };
    // The same base, not compressed.
    let third = Request {
        base: &raw,
        formats: &["img"],
        env: env(&[("TZ", "Asia/Kathmandu")]),
        args: args(&["--jobs", "2"]),
        out: "third",
        before: "umask 002",
        ..first.clone()
    };
    for request in [&first, &second, &third] {
        world.build(request);
    }
    let [a, b, c] = [&first, &second, &third].map(|r| checksums(&world.path(r.out)));
    assert_eq!(
        a.len(),
        10,
        "two nodes in two formats, with three records: {a:?}"
    );
    assert_eq!(a, b, "two builds of the same differ");
    let images = |sums: &BTreeMap<String, String>| {
        let all = sums.clone().into_iter();
        all.filter(|(name, _)| name.ends_with(".img"))
            .collect::<Vec<_>>()
    };
    assert_eq!(images(&a), images(&c), "built from the raw base");
    for (name, sum) in images(&a) {
        crate::common::needs::programs(&["xz"]);
        let pipe = "xz -dc \"$1\".xz | sha256sum";
        let image = world.path(first.out).join(&name);
        let said = accepts(&name, tool("sh").args(["-c", pipe, "sh"]).arg(image));
        assert!(said.starts_with(&sum), "{name}.xz holds another image");
    }
}

/// The sums in SHA256SUMS of a folder, after sha256sum has checked them.
fn checksums(folder: &Path) -> BTreeMap<String, String> {
    accepts(
        "SHA256SUMS",
        tool("sha256sum")
            .args(["-c", "--quiet", "SHA256SUMS"])
            .current_dir(folder),
    );
    let text = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let pairs = text.lines().map(|l| l.split_once("  ").unwrap());
    pairs
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect()
}
