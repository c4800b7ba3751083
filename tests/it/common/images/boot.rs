//! Reads a boot partition with mtools, and says what must be in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use imgbuild::overlay::Part;
use imgbuild::plan::{Action, Edit};

use super::build::{Partition, World};
use crate::common::tools::{accepts, tool};

/// Content and time of a file; a folder has neither.
#[derive(Clone, PartialEq)]
pub struct Entry {
    pub bytes: Option<Vec<u8>>,
    pub mtime: u64,
}

pub type Files = BTreeMap<String, Entry>;

/// The partition as a file of its own, sparse.
pub fn cut_out(image: &Path, part: &Partition, to: &Path) {
    const CHUNK: usize = 1 << 20;
    let (from, to) = (File::open(image).unwrap(), File::create(to).unwrap());
    to.set_len(part.len).unwrap();
    let mut buffer = vec![0; CHUNK];
    let zeros = vec![0; CHUNK];
    for at in (0..part.len).step_by(CHUNK) {
        let n = CHUNK.min((part.len - at) as usize);
        from.read_exact_at(&mut buffer[..n], part.start + at)
            .unwrap();
        if buffer[..n] != zeros[..n] {
            to.write_all_at(&buffer[..n], at).unwrap();
        }
    }
}

/// Everything in the FAT file system in `fat`, taken out to the new folder `to`.
pub fn read(fat: &Path, to: &Path) -> Files {
    accepts(
        "boot partition",
        tool("mcopy")
            .args(["-s", "-m", "-n", "-Q", "-i"])
            .arg(fat)
            .arg("::/")
            .arg(to),
    );
    let mut files = Files::new();
    // mcopy puts what it copied beside or below, by version.
    walk(to, to, &mut files);
    let listed = accepts(
        "boot partition",
        tool("mdir")
            .args(["-/", "-b", "-a", "-i"])
            .arg(fat)
            .arg("::"),
    );
    let listed: BTreeSet<String> = listed
        .lines()
        .filter_map(|l| l.strip_prefix("::"))
        .map(|l| l.trim_end_matches('/').to_owned())
        .filter(|l| !l.is_empty())
        .collect();
    let copied: BTreeSet<String> = files.keys().cloned().collect();
    assert_eq!(listed, copied, "mdir and mcopy disagree about {fat:?}");
    files
}

fn walk(top: &Path, folder: &Path, files: &mut Files) {
    for found in std::fs::read_dir(folder).unwrap() {
        let found: PathBuf = found.unwrap().path();
        let metadata = found.symlink_metadata().unwrap();
        let name = format!("/{}", found.strip_prefix(top).unwrap().display());
        let mtime = metadata.modified().unwrap();
        let entry = Entry {
            bytes: metadata.is_file().then(|| std::fs::read(&found).unwrap()),
            mtime: match metadata.is_file() {
                true => mtime.duration_since(UNIX_EPOCH).unwrap().as_secs(),
                false => 0,
            },
        };
        files.insert(name, entry);
        if metadata.is_dir() {
            walk(top, &found, files);
        }
    }
}

/// What `edits` make of the files of a base.
pub fn expected(world: &World, base: &Files, edits: &[&Edit], time: i64) -> Files {
    let mut files = base.clone();
    let (mut roles, mut owner) = (Vec::new(), None);
    // FAT counts in steps of two seconds.
    let mtime = (time & !1) as u64;
    for edit in edits.iter().filter(|e| e.part == Part::Boot) {
        let before = files.get(&edit.path).and_then(|e| e.bytes.clone());
        let text = || String::from_utf8(before.clone().unwrap()).unwrap();
        let bytes = match &edit.action {
            Action::Write(content, _) => world.content(content),
            Action::Cmdline { add, remove } => cmdline(&text(), add, remove).into_bytes(),
            Action::ConfigTxt(lines) => {
                match edit.origin.as_str() {
                    "profile" => owner = Some(lines),
                    _ => roles.extend(lines.iter().cloned()),
                }
                continue;
            }
            Action::Remove => {
                files.remove(&edit.path);
                continue;
            }
            other => panic!("{other:?} on the boot partition"),
        };
        let bytes = Some(bytes);
        files.insert(edit.path.clone(), Entry { bytes, mtime });
    }
    if !roles.is_empty() || owner.is_some() {
        let before = files["/config.txt"].bytes.clone().unwrap();
        let before = String::from_utf8(before).unwrap();
        let text = before + &config_block(roles, owner);
        let bytes = Some(text.into_bytes());
        files.insert("/config.txt".to_owned(), Entry { bytes, mtime });
    }
    files
}

/// Lines of roles, each once, then those of the profile as they are.
fn config_block(mut roles: Vec<String>, owner: Option<&Vec<String>>) -> String {
    const CLOSE: &str = "[all]\ndtoverlay=\n";
    let lines = |lines: &[String]| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let mut seen = BTreeSet::new();
    roles.retain(|line| seen.insert(line.clone()));
    let first = roles.first().map_or("", String::as_str);
    assert!(
        !first.starts_with("dtparam") && !first.starts_with('['),
        "{first}: model it"
    );
    let mut parts = vec![lines(&roles)];
    parts.extend(owner.map(|owner| lines(owner)));
    parts.retain(|part| !part.is_empty());
    let parts: String = parts.iter().map(|part| format!("{CLOSE}{part}")).collect();
    format!("\n# --- imgbuild begin\n{parts}{CLOSE}# --- imgbuild end\n")
}

fn cmdline(before: &str, add: &[String], remove: &[String]) -> String {
    let gone = |word: &str| {
        let by_key = |r: &String| r.ends_with('=') && word.starts_with(r.as_str());
        remove.iter().any(|r| word == r || by_key(r))
    };
    let first = before.lines().next().unwrap();
    let mut words: Vec<&str> = first.split(' ').filter(|w| !w.is_empty()).collect();
    words.retain(|word| !gone(word));
    for word in add {
        if !words.contains(&word.as_str()) {
            words.push(word);
        }
    }
    words.join(" ") + "\n"
}

pub fn differences(expected: &Files, found: &Files) -> Vec<String> {
    let paths: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let show = |entry: Option<&Entry>| match entry {
        None => "nothing".to_owned(),
        Some(Entry { bytes: None, .. }) => "a folder".to_owned(),
        Some(Entry {
            bytes: Some(b),
            mtime,
        }) => {
            let start = String::from_utf8_lossy(&b[..b.len().min(300)]).into_owned();
            format!("{} bytes of {mtime} {start:?}", b.len())
        }
    };
    paths
        .into_iter()
        .filter(|path| expected.get(*path) != found.get(*path))
        .map(|path| {
            format!(
                "boot partition {path}: expected {}\n      found {}",
                show(expected.get(path)),
                show(found.get(path))
            )
        })
        .collect()
}
