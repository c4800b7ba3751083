//! The rooms of `src/`: who uses whom. `src/lib.rs` has the table that this compares with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex_lite::Regex;

/// The only file that may name what only Unix has.
const UNIX: &str = "src/positioned.rs";
/// Files at the top of `src/` that are no ground: they use rooms.
const NO_GROUND: [&str; 3] = ["main", "lib", "project"];

/// A module: its file, its text without comments and tests, and the `use` declarations in that:
/// whether they hand on, and the paths they name.
struct Module {
    file: PathBuf,
    text: String,
    uses: Vec<(bool, Vec<String>)>,
}

/// All modules by their path, such as `xz::image`; faces by that of their folder.
struct Code {
    modules: BTreeMap<String, Module>,
}

type Graph = BTreeMap<String, BTreeSet<String>>;

static CODE: LazyLock<Code> = LazyLock::new(Code::read);

impl Code {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        collect(&root, &mut files);
        let modules = files.into_iter().map(|file| {
            let relative = file.strip_prefix(&root).unwrap().with_extension("");
            let mut names: Vec<String> = relative
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            if names.last().is_some_and(|name| name == "mod") {
                names.pop();
            }
            let text = without_tests_and_comments(&fs::read_to_string(&file).unwrap());
            let uses = uses(&text);
            (names.join("::"), Module { file, text, uses })
        });
        Self {
            modules: modules.collect(),
        }
    }

    /// The paths that a module names, from the root of the crate.
    fn named_by(&self, name: &str) -> Vec<Vec<String>> {
        let module = &self.modules[name];
        let used = module.uses.iter().flat_map(|(_, paths)| paths);
        used.map(String::as_str)
            .chain(inline(&module.text))
            .filter_map(|path| self.absolute(name, path))
            .collect()
    }

    /// `path`, as it stands in the module `name`, from the root of the crate; `None`: not ours.
    fn absolute(&self, name: &str, path: &str) -> Option<Vec<String>> {
        let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
        let mut at: Vec<&str> = name.split("::").collect();
        match parts[0] {
            "crate" => at.clear(),
            "super" | "self" => {}
            first => {
                let child = format!("{name}::{first}");
                if !self.modules.contains_key(&child) {
                    return None;
                }
                parts.insert(0, "self");
            }
        }
        while let Some(step @ ("crate" | "super" | "self")) = parts.first().copied() {
            if step == "super" {
                at.pop();
            }
            parts.remove(0);
        }
        Some(at.into_iter().chain(parts).map(str::to_owned).collect())
    }

    /// The module that `path` is defined in, through the faces that hand it on.
    fn defined_in(&self, path: &[String]) -> Option<String> {
        let depth = (1..=path.len())
            .rev()
            .find(|depth| self.modules.contains_key(&path[..*depth].join("::")))?;
        let module = path[..depth].join("::");
        let Some(item) = path.get(depth) else {
            return Some(module);
        };
        let uses = self.modules[&module].uses.iter();
        let handed_on = uses
            .filter(|(public, _)| *public)
            .flat_map(|(_, paths)| paths)
            .find(|path| path.rsplit("::").next() == Some(item));
        match handed_on.and_then(|path| self.absolute(&module, path)) {
            Some(next) if next != path => self.defined_in(&next),
            _ => Some(module),
        }
    }

    /// Which file uses which.
    fn files(&self) -> Graph {
        let edges = self.modules.keys().map(|name| {
            let face = self.is_face(name);
            let used = self
                .named_by(name)
                .iter()
                .filter_map(|path| self.defined_in(path))
                // A face hands on what is below it; that is no use of it.
                .filter(|used| used != name && !(face && used.starts_with(&format!("{name}::"))))
                .collect();
            (name.clone(), used)
        });
        edges.collect()
    }

    fn is_face(&self, name: &str) -> bool {
        self.modules[name].file.ends_with("mod.rs")
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Tests are the last thing in a file.
fn without_tests_and_comments(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines();
    let code = lines.map(|line| match line.trim_start().starts_with("//") {
        true => "",
        false => line.split(" // ").next().unwrap_or(line),
    });
    code.collect::<Vec<_>>().join("\n")
}

/// The paths of a text that begin with `crate` or `super`.
fn inline(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = text.split(move |letter| !is_part(letter));
    words.filter(|word| word.starts_with("crate::") || word.starts_with("super::"))
}

/// The `use` declarations of a text: whether they hand on, and the paths they name.
fn uses(text: &str) -> Vec<(bool, Vec<String>)> {
    let statements = text.split(';');
    let declarations = statements.filter_map(|statement| {
        let (head, tree) = statement.rsplit_once("use ")?;
        let line = head.rsplit('\n').next().unwrap_or(head).trim();
        (line.is_empty() || line.starts_with("pub")).then(|| (!line.is_empty(), expanded(tree)))
    });
    declarations.collect()
}

/// The paths of a `use` tree. What is renamed keeps its own name.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        return vec![path.strip_suffix("::self").unwrap_or(path).to_owned()];
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let mut branches = vec![String::new()];
    let mut depth = 0;
    for letter in inner.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            branches.push(String::new());
        } else {
            branches.last_mut().unwrap().push(letter);
        }
    }
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    branches
        .flat_map(|branch| expanded(&format!("{}{}", head.trim(), branch.trim())))
        .collect()
}

/// A way from a node back to itself, if there is one.
fn circle(graph: &Graph) -> Option<Vec<&str>> {
    fn walk<'a>(
        graph: &'a Graph,
        node: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> bool {
        if let Some(start) = way.iter().position(|known| *known == node) {
            way.drain(..start);
            way.push(node);
            return true;
        }
        if done.contains(node) {
            return false;
        }
        way.push(node);
        for next in graph.get(node).into_iter().flatten() {
            if walk(graph, next, way, done) {
                return true;
            }
        }
        way.pop();
        done.insert(node);
        false
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|node| {
        let mut way = Vec::new();
        walk(graph, node, &mut way, &mut done).then_some(way)
    })
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn is_ground(code: &Code, room: &str) -> bool {
    let file = code.modules.get(room).map(|module| &module.file);
    file.is_some_and(|file| !file.ends_with("mod.rs")) && !NO_GROUND.contains(&room)
}

/// Which room uses which; what lies on the ground is for all.
fn rooms(code: &Code) -> Graph {
    let mut rooms = Graph::new();
    for (name, used) in code.files() {
        let from = room(&name);
        if is_ground(code, from) || ["main", "lib"].contains(&from) {
            continue;
        }
        let used = used.iter().map(|used| room(used));
        let used = used.filter(|used| *used != from && !is_ground(code, used));
        let known = rooms.entry(from.to_owned()).or_default();
        known.extend(used.map(str::to_owned));
    }
    rooms
}

#[test]
fn no_file_uses_itself_through_others() {
    let code = &*CODE;
    let circle = circle(&code.files()).map(|way| way.join(" → "));
    assert_eq!(circle, None);
}

#[test]
fn no_room_uses_itself_through_others_and_the_ground_uses_no_room() {
    let code = &*CODE;
    assert_eq!(circle(&rooms(code)).map(|way| way.join(" → ")), None);
    for (name, used) in code.files() {
        if is_ground(code, room(&name)) {
            let above: Vec<&String> = used.iter().filter(|u| !is_ground(code, room(u))).collect();
            assert!(
                above.is_empty(),
                "{name} lies on the ground, and uses {above:?}"
            );
        }
    }
}

/// A row says `everything`, `everything but `cli``, `nothing of ours`, or names rooms.
#[test]
fn rooms_use_what_the_table_in_lib_rs_says() {
    let code = &*CODE;
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let lib = fs::read_to_string(lib).unwrap();
    let row = Regex::new(r"(?m)^//! \| \[`(\w+)`\] \| .* \| ([^|]*) \|$").unwrap();
    let table: BTreeMap<String, String> = row
        .captures_iter(&lib)
        .map(|row| (row[1].to_owned(), row[2].to_owned()))
        .collect();
    let mut wrong = Vec::new();
    for (room, used) in rooms(code) {
        let Some(may) = table.get(&room) else {
            wrong.push(format!("{room} is not in the table"));
            continue;
        };
        if may.starts_with("everything") {
            let but = may.split('`').nth(1);
            wrong.extend(
                used.iter()
                    .filter(|u| but == Some(u))
                    .map(|u| format!("{room}: {u}")),
            );
            continue;
        }
        let may: BTreeSet<String> = match may.as_str() {
            "nothing of ours" => BTreeSet::new(),
            rooms => rooms.split(", ").map(str::to_owned).collect(),
        };
        if may != used {
            wrong.push(format!("{room} uses {used:?}, and the table says {may:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faces_hold_no_code() {
    let code = &*CODE;
    let declaration =
        Regex::new(r"(?s)^(#!?\[[^\]]*\]\s*|(pub(\([\w ]+\))? )?(mod|use) [^;]+;\s*)*$").unwrap();
    let faces = code.modules.values().filter(|m| m.file.ends_with("mod.rs"));
    let wrong: Vec<String> = faces
        .filter(|module| !declaration.is_match(module.text.trim()))
        .map(|module| module.file.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "code in\n{}", wrong.join("\n"));
}

#[test]
fn one_file_knows_that_this_is_unix() {
    let code = &*CODE;
    let modules = code.modules.values();
    let unix: Vec<String> = modules
        .filter(|module| module.text.contains("std::os::unix") && !module.file.ends_with(UNIX))
        .map(|module| module.file.display().to_string())
        .collect();
    assert!(unix.is_empty(), "std::os::unix in\n{}", unix.join("\n"));
}

#[test]
fn circles_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph
                .entry((*from).into())
                .or_default()
                .insert((*to).into());
        }
        graph
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let round = graph(&[("a", "b"), ("b", "c"), ("c", "b")]);
    assert_eq!(circle(&round), Some(vec!["b", "c", "b"]));
    let tree = "super::{self, a::{B, C as D}, e}";
    assert_eq!(
        expanded(tree),
        ["super", "super::a::B", "super::a::C", "super::e"]
    );
}
