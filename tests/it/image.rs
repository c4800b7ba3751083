//! Images that are only read: all of their files, and what differs between two.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::ext4::tool;
use crate::common::workbench::{Workbench, fixture};
use imgbuild::disk::{RawFile, partition_table};
use imgbuild::error::Result;
use imgbuild::image::{BaseFacts, Change, Difference, FileSystem, Tree, differences};
use imgbuild::job::Cancel;
use imgbuild::overlay::Part;
use imgbuild::patch::touched;
use imgbuild::project::Project;
use imgbuild::secrets::SecretMode;

fn raw(path: &Path) -> Arc<RawFile> {
    Arc::new(RawFile::open(path).unwrap())
}

fn tree(path: &Path) -> Tree {
    Tree::open(raw(path)).unwrap()
}

fn between(before: &Path, after: &Path) -> Vec<Difference> {
    differences(&tree(before), &tree(after), &Cancel::default()).unwrap()
}

/// A copy of the trixie fixture, and how debugfs calls its root file system.
fn copy(bench: &Workbench) -> (PathBuf, String) {
    let path = bench.path("base.img");
    fs::copy(fixture("trixie"), &path).unwrap();
    let root = partition_table::read(&*raw(&path)).unwrap().root;
    let name = format!("{}?offset={}", path.display(), root.start);
    (path, name)
}

/// Has debugfs do `requests`.
fn change(root: &str, requests: &str, bench: &Workbench) {
    bench.write("requests", requests);
    let file = bench.path("requests");
    tool("debugfs", &["-w", "-f", file.to_str().unwrap(), root], &[0]);
}

/// Reads everything there is.
fn read_all(path: &Path) -> Result<usize> {
    let tree = Tree::open(raw(path))?;
    let mut count = 0;
    for entry in tree.walk() {
        let entry = entry?;
        if entry.kind == imgbuild::ext4::FileKind::File {
            let mut content = tree.content(&entry)?;
            std::io::copy(&mut content, &mut std::io::sink())
                .map_err(|error| imgbuild::error::Error::failed(error.to_string()))?;
        }
        count += 1;
    }
    Ok(count)
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        Some((head, tail)) => path.starts_with(head) && path.ends_with(tail),
        None => pattern == path,
    }
}

#[test]
fn a_built_image_differs_from_its_base_in_what_the_plan_touches() {
    let bench = Workbench::new();
    bench.write("overlays/x/root/etc/x/new.conf", "new\n");
    bench.add_role("[remove]\npaths = [\"/etc/issue.net\"]\n");
    let base = fixture("trixie");
    let ran = bench.build(base.to_str().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let found = between(&base, &bench.path("out/node.img"));

    let folder = bench.path("");
    let project = Project::open(Some(&folder), &[], &[]).unwrap();
    let node = project.select(&["node".to_owned()], false).unwrap()[0];
    let plan = project.plan(node, SecretMode::Redact).unwrap();
    let edits = || plan.edits.iter().zip(touched(&plan));
    for difference in &found {
        let part = match difference.on {
            FileSystem::Boot => Part::Boot,
            FileSystem::Root => Part::Root,
        };
        // Only the base's unit file says what else it is called.
        let is_alias = difference.path == "/etc/systemd/system/sshd.service";
        let is_planned = is_alias
            || edits().any(|(edit, touched)| {
                let mut paths = touched.paths.iter().chain(&touched.parents);
                edit.part == part && paths.any(|path| matches(path, &difference.path))
            });
        assert!(is_planned, "{difference:?} is in no edit of the plan");
    }
    let by_path: BTreeMap<&str, Change> = (found.iter())
        .map(|difference| (difference.path.as_str(), difference.change))
        .collect();
    assert_eq!(by_path["/etc/x"], Change::Added);
    assert_eq!(by_path["/etc/x/new.conf"], Change::Added);
    let Change::Changed(cmdline) = by_path["/cmdline.txt"] else {
        panic!("{:?}", by_path["/cmdline.txt"]);
    };
    assert_eq!(cmdline.to_string(), "content");
}

#[test]
fn an_image_does_not_differ_from_itself_and_is_read_in_order() {
    let base = fixture("trixie");
    assert_eq!(between(&base, &base), []);
    let tree = tree(&base);
    let entries: Vec<_> = tree.walk().map(Result::unwrap).collect();
    assert!(entries.is_sorted_by(|a, b| a.order(b).is_lt()));
    assert!(entries.iter().any(|entry| entry.on == FileSystem::Boot));
    assert!(
        entries
            .iter()
            .any(|entry| entry.to_string() == "root:/etc/fstab")
    );
}

#[test]
fn attributes_links_and_kinds_are_told_apart() {
    let bench = Workbench::new();
    let (path, root) = copy(&bench);
    change(
        &root,
        "sif /etc/fstab uid 7\nsif /etc/passwd mode 0100600\nrm /etc/group\nsymlink /etc/group passwd\nmkdir /new\n",
        &bench,
    );
    let found = between(&fixture("trixie"), &path);
    let told: Vec<String> = (found.iter())
        .map(|difference| match difference.change {
            Change::Added => format!("+ {}", difference.path),
            Change::Removed => format!("- {}", difference.path),
            Change::Changed(aspects) => format!("{}: {aspects}", difference.path),
        })
        .collect();
    let expected = [
        "/etc/fstab: owner",
        "/etc/group: kind, mode, target",
        "/etc/passwd: mode",
        "+ /new",
    ];
    assert_eq!(told, expected);
}

/// A flavour of the fixture's journal that ext4-view does not read: what is on the disk is told.
#[test]
fn an_image_whose_journal_was_not_carried_out_is_read() {
    let bench = Workbench::new();
    let (path, root) = copy(&bench);
    change(&root, "feature needs_recovery\n", &bench);
    assert!(
        BaseFacts::open(raw(&path)).is_err(),
        "it is fit for editing"
    );
    assert_eq!(between(&fixture("trixie"), &path), []);
}

#[test]
fn a_folder_in_itself_is_an_error() {
    let bench = Workbench::new();
    let (path, root) = copy(&bench);
    change(&root, "mkdir /small\nln /small /small/loop\n", &bench);
    let error = read_all(&path).unwrap_err().to_string();
    assert!(error.contains("deeper folders"), "{error}");
}

#[test]
fn damaged_images_are_errors_and_do_no_harm() {
    let bench = Workbench::new();
    let (path, _) = copy(&bench);
    let table = partition_table::read(&*raw(&path)).unwrap();
    let whole = read_all(&path).unwrap();
    assert!(whole > 10);
    let file = OpenOptions::new()
        .write(true)
        .read(true)
        .open(&path)
        .unwrap();
    // The superblock, its number of blocks, the group descriptors; the boot sector and the tables.
    let (boot, root) = (table.boot.start, table.root.start);
    for (at, len) in [
        (root + 1024, 1024),
        (root + 1024 + 4, 4),
        (root + 1024 + 0x20, 4),
        (root + 4096, 4096),
        (boot, 512),
    ] {
        let mut before = vec![0; len];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(&vec![0xAB; len], at).unwrap();
        assert!(read_all(&path).is_err(), "{len} bytes at {at}");
        file.write_all_at(&before, at).unwrap();
    }
    assert_eq!(read_all(&path).unwrap(), whole);
    let mut random = 1u64;
    for case in 0..10 {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let start = if case % 2 == 0 { boot } else { root };
        let at = start + (random >> 33) % (4 << 20);
        let mut before = [0; 48];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(&random.to_le_bytes().repeat(6), at)
            .unwrap();
        // Whatever it says, it says it soon and without a panic.
        let _ = read_all(&path);
        file.write_all_at(&before, at).unwrap();
    }
}
