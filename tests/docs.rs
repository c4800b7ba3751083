//! The reference in docs/ says what the program does: it is made from the program's own tables.
//! `UPDATE_DOCS=1 cargo test --test docs` writes it anew.

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
        "docs/{name} is not what the program says; UPDATE_DOCS=1 cargo test --test docs"
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
    let choices = match field.choices.is_empty() {
        true => String::new(),
        false => format!(" One of `{}`.", field.choices.join("`, `")),
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
        "# Profile reference\n\nMade from the program by `tests/docs.rs`. A table that bears the name of a role holds that role's options.\n\n",
    );
    for table in schema.tables() {
        section(&mut out, table);
    }
    out.push_str("## [secrets]\n\nEach value says where the secret is: `env:NAME`, `file:PATH` or `cmd:COMMAND`. An empty value unsets it. Each is\nfollowed once a run. A literal secret is refused, as are placeholders, values in quotes or with blanks around them, and\ncommands that make another value at every run (`openssl rand`): keep such a value in a file.\n\n| name | what |\n|---|---|\n");
    for (name, help) in schema.secrets() {
        writeln!(out, "| `{name}` | {} |", help.replace('|', "\\|")).unwrap();
    }
    out.push_str("\n## Roles\n\n| role | what | brings along | not with |\n|---|---|---|---|\n");
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

#[test]
fn command_reference_is_current() {
    let mut out = String::from("# Command line\n\nMade from `--help` by `tests/docs.rs`.\n");
    for command in [
        None,
        Some("plan"),
        Some("check"),
        Some("init"),
        Some("flash"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_imgbuild"))
            .args(command)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        let title = command.map_or("imgbuild".to_owned(), |c| format!("imgbuild {c}"));
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(
            out,
            "\n## {title}\n\n```\n{}\n```\n",
            help.join("\n").trim_end()
        )
        .unwrap();
    }
    compare("command-line.md", &out);
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
