//! The reference in docs/ says what the program does: it is made from the program's own tables.
//! `UPDATE_DOCS=1 cargo test --test it docs::` writes it anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use imgbuild::config::{Field, Table, Value};
use imgbuild::overlay::Catalog;

fn compare(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/{name} is not what the program says; UPDATE_DOCS=1 cargo test --test it docs::"
    );
}

/// The kind of a key, or of the items of its list.
fn kind(field: &Field) -> String {
    match field.of {
        Some(of) => format!("list: {}", of.describe()),
        None => field.kind.describe().to_owned(),
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("\"{text}\""),
        Value::Integer(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|i| self::value(&i.value)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => String::new(),
    }
}

fn row(field: &Field) -> String {
    let default = field.default.as_ref().map(|v| format!("`{}`", value(v)));
    let choices = if field.choices.is_empty() {
        String::new()
    } else {
        format!(" One of `{}`.", field.choices.join("`, `"))
    };
    format!(
        "| `{}` | {} | {} | {}{choices} |\n",
        field.name,
        kind(field),
        default.unwrap_or_default(),
        field.help.replace('|', "\\|")
    )
}

fn section(out: &mut String, table: &Table) {
    let title = match table.name.as_str() {
        "" => "Top of a profile".to_owned(),
        name => format!("[{name}]"),
    };
    writeln!(out, "## {title}\n\n{}.\n", table.help.trim_end_matches('.')).unwrap();
    out.push_str("| key | kind | default | what |\n|---|---|---|---|\n");
    for field in &table.fields {
        out.push_str(&row(field));
    }
    out.push('\n');
}

#[test]
fn profile_reference_is_current() {
    let catalog = Catalog::load(Path::new("/nonexistent")).unwrap();
    let schema = catalog.schema().unwrap();
    let mut out = String::from(
        "# Profile reference\n\nMade from the program by `tests/it/docs.rs`. A table named after a role has the options of that role.\n\n",
    );
    for table in schema.tables() {
        section(&mut out, table);
    }
    out.push_str("## [secrets]\n\nEach value says where the secret is: `env:NAME`, `file:PATH` or `cmd:COMMAND`. An empty value unsets it. Each is\nfollowed once a run. A literal secret is refused, as are placeholders, values in quotes or with blanks around them, and\ncommands that make another value at every run (`openssl rand`): keep such a value in a file.\n\n| name | what |\n|---|---|\n");
    for (name, help) in schema.secrets() {
        writeln!(out, "| `{name}` | {} |", help.replace('|', "\\|")).unwrap();
    }
    out.push_str("\n## Roles\n\n| role | what | needs | not with |\n|---|---|---|---|\n");
    for role in catalog.roles() {
        let m = &role.manifest;
        writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            role.name,
            m.description,
            m.requires.join(", "),
            m.conflicts.join(", ")
        )
        .unwrap();
    }
    compare("profiles.md", &out);
}

/// The program itself and all its commands, each as the words that name it.
fn commands() -> Vec<Vec<String>> {
    fn collect(command: &clap::Command, trail: &[String], found: &mut Vec<Vec<String>>) {
        found.push(trail.to_vec());
        for sub in command.get_subcommands() {
            let trail = [trail, &[sub.get_name().to_owned()]].concat();
            collect(sub, &trail, found);
        }
    }
    let mut found = Vec::new();
    collect(&imgbuild::cli::command(), &[], &mut found);
    found
}

#[test]
fn command_reference_is_current() {
    let mut out = String::from("# Command line\n\nMade from `--help` by `tests/it/docs.rs`.\n");
    for command in commands() {
        let output = Command::new(env!("CARGO_BIN_EXE_imgbuild"))
            .args(&command)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        let title = [&["imgbuild".to_owned()], command.as_slice()].concat();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(
            out,
            "\n## {}\n\n```\n{}\n```\n",
            title.join(" "),
            help.join("\n").trim_end()
        )
        .unwrap();
    }
    compare("command-line.md", &out);
}

#[test]
fn every_option_and_command_has_help() {
    fn check(command: &clap::Command) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} has no help");
        for argument in command.get_arguments() {
            let id = argument.get_id();
            assert!(argument.get_help().is_some(), "{name}: {id} has no help");
        }
        command.get_subcommands().for_each(check);
    }
    check(&imgbuild::cli::command());
}

/// The files that tell people what to type.
fn guides() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    paths.extend(docs.map(|entry| entry.unwrap().path()));
    paths.retain(|path| path.extension().is_some_and(|end| end == "md"));
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The `imgbuild …` lines of code blocks, as words.
fn examples(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().map(|line| line.trim_start_matches("$ "));
    lines
        .filter(|line| line.starts_with("imgbuild "))
        .map(|line| line.split(" #").next().unwrap())
        .map(|line| line.split(['|', '>']).next().unwrap())
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn commands_in_the_documentation_are_understood() {
    let mut seen = 0;
    for (name, text) in guides() {
        let blocks = text.split("```").skip(1).step_by(2);
        for words in blocks
            .filter(|block| block.starts_with("sh"))
            .flat_map(examples)
        {
            let args = words.iter().map(std::ffi::OsString::from);
            let parsed =
                imgbuild::cli::command().try_get_matches_from(imgbuild::cli::with_command(args));
            assert!(parsed.is_ok(), "{name}: {words:?}: {}", parsed.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen > 3, "found only {seen} commands");
}

#[test]
fn cargo_is_told_to_keep_to_the_lock_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = ["quickstart", "test", "bench", "boot-test"].map(|name| {
        let path = root.join("scripts").join(name);
        (name.to_owned(), std::fs::read_to_string(path).unwrap())
    });
    let builds = ["cargo build", "cargo install", "cargo run"];
    for (name, text) in guides().into_iter().chain(scripts) {
        for line in text.lines() {
            let is_build = builds.iter().any(|command| line.contains(command));
            assert!(!is_build || line.contains("--locked"), "{name}: {line}");
        }
    }
}

#[test]
fn every_direct_dependency_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = std::fs::read_to_string(root.join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let docs = std::fs::read_to_string(root.join("docs/dependencies.md")).unwrap();
    for table in ["dependencies", "dev-dependencies"] {
        for name in manifest[table].as_table().unwrap().keys() {
            assert!(
                docs.contains(&format!("| `{name}` |")),
                "docs/dependencies.md does not explain `{name}`"
            );
        }
    }
}
