//! Profiles that are wrong, and what must be said about each; and profiles that are right.
//!
//! A case is a folder of `tests/profiles/invalid` or `valid`. Its files are laid over those of
//! `tests/profiles/common`. Its `expected.txt` has the exit code, then lines that stderr must hold,
//! and among them
//!
//! ```text
//! args: …         the command line, when it is not `check --no-secrets`
//! gone: FILE      a file of `common` that is not there
//! arg: …          one more argument, which may have blanks and `\n` in it
//! gone: FILE      a file of `common` that is not there
//! env: NAME=VALUE a variable that is set
//! not: …          what stderr must not hold
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::needs;
use crate::common::workbench::{Workbench, files_below};
use imgbuild::config::{Kind, Value};

struct Case {
    name: String,
    bench: Workbench,
    code: i32,
    args: String,
    more_args: Vec<String>,
    env: Vec<(String, String)>,
    said: Vec<String>,
    unsaid: Vec<String>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/profiles")
        .join(name)
}

fn lay(bench: &Workbench, folder: &Path) {
    for path in files_below(folder) {
        let relative = path.strip_prefix(folder).unwrap().to_str().unwrap();
        bench.write(relative, fs::read(&path).unwrap());
    }
}

impl Case {
    fn read(path: &Path) -> Self {
        let bench = Workbench::empty();
        lay(&bench, &folder("common"));
        lay(&bench, path);
        let expected = fs::read_to_string(path.join("expected.txt"));
        let expected = expected.unwrap_or_else(|_| "0".into());
        let mut lines = expected.lines();
        let mut case = Self {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            bench,
            code: lines.next().unwrap().parse().unwrap(),
            args: "check --no-secrets".into(),
            more_args: Vec::new(),
            env: Vec::new(),
            said: Vec::new(),
            unsaid: Vec::new(),
        };
        for line in lines {
            match line.split_once(": ") {
                Some(("args", args)) => case.args = args.to_owned(),
                Some(("gone", file)) => fs::remove_file(case.bench.path(file)).unwrap(),
                Some(("arg", text)) => case.more_args.push(text.replace("\\n", "\n")),
                Some(("not", text)) => case.unsaid.push(text.to_owned()),
                Some(("env", pair)) => {
                    let (name, value) = pair.split_once('=').unwrap();
                    case.env.push((name.to_owned(), value.to_owned()));
                }
                _ => case.said.push(line.to_owned()),
            }
        }
        case
    }

    /// What is not as expected.
    fn problems(&self) -> Vec<String> {
        let args: Vec<&str> = self.args.split_whitespace().collect();
        let mut command = self.bench.imgbuild(&args);
        command.args(&self.more_args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let mut problems = Vec::new();
        if output.status.code() != Some(self.code) {
            problems.push(format!("{}, not {}", output.status, self.code));
        }
        if !output.stdout.is_empty() {
            problems.push("something on stdout".to_owned());
        }
        let errors = stderr.lines().filter(|l| l.starts_with("error: ")).count();
        if errors != usize::from(self.code != 0) || stderr.contains("panicked") {
            problems.push(format!("{errors} errors"));
        }
        let missing = self.said.iter().filter(|text| !stderr.contains(*text));
        problems.extend(missing.map(|text| format!("no “{text}”")));
        let shown = self.unsaid.iter().filter(|text| stderr.contains(*text));
        problems.extend(shown.map(|text| format!("shows “{text}”")));
        if !problems.is_empty() {
            problems.push(format!("in:\n{stderr}"));
        }
        problems
    }
}

fn check_all(kind: &str) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failed = Vec::new();
    for case in paths.iter().map(|path| Case::read(path)) {
        assert_eq!(case.code == 0, kind == "valid", "{}", case.name);
        let problems = case.problems();
        if !problems.is_empty() {
            failed.push(format!("{}: {}", case.name, problems.join("; ")));
        }
        case.bench.assert_nothing_left();
    }
    assert!(
        failed.is_empty(),
        "{} of {} cases:\n{}",
        failed.len(),
        paths.len(),
        failed.join("\n")
    );
}

/// Rows of `tests/profiles/mistakes.toml`, by the folder that `imgbuild init` writes.
fn check_row(row: &toml::Table) -> Vec<String> {
    let bench = Workbench::empty();
    let output = bench.imgbuild(&["init", "."]).output().unwrap();
    assert!(output.status.success());
    let key =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q test\n";
    bench.write("key.pub", key);
    let lines = row["set"].as_str().unwrap().lines();
    let mut overlay: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    lay_over(
        &mut overlay,
        "cluster",
        "user",
        "ssh_keys = ['file:key.pub']",
    );
    for (profile, values) in &overlay {
        let path = format!("profiles/{profile}.toml");
        let text = fs::read_to_string(bench.path(&path)).unwrap();
        let mut merged: toml::Table = text.parse().unwrap();
        merge(&mut merged, values.as_table().unwrap());
        bench.write(&path, toml::to_string(&merged).unwrap());
    }
    let output = bench.imgbuild(&["check", "--no-secrets"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let text = |key: &str| row.get(key).and_then(toml::Value::as_str);
    let wanted = if row.contains_key("said") { 2 } else { 0 };
    let mut problems = Vec::new();
    if output.status.code() != Some(wanted) {
        problems.push(format!("{}, not {wanted}", output.status));
    }
    if let Some(said) = text("said").filter(|said| !stderr.contains(said)) {
        problems.push(format!("no “{said}”"));
    }
    if let Some(unsaid) = text("not").filter(|unsaid| stderr.contains(unsaid)) {
        problems.push(format!("shows “{unsaid}”"));
    }
    if !problems.is_empty() {
        problems.push(format!("in:\n{stderr}"));
    }
    problems
}

/// Adds `line` to a table of a profile, unless the row has that table's key already.
fn lay_over(overlay: &mut toml::Table, profile: &str, table: &str, line: &str) {
    let added: toml::Table = format!("[{profile}.{table}]\n{line}").parse().unwrap();
    let own = std::mem::replace(overlay, added);
    merge(overlay, &own);
}

fn merge(under: &mut toml::Table, over: &toml::Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            _ => drop(under.insert(key.clone(), value.clone())),
        }
    }
}

#[test]
fn single_mistakes_are_caught_and_right_values_pass() {
    let text = fs::read_to_string(folder("mistakes.toml")).unwrap();
    let families: toml::Table = text.parse().unwrap();
    let rows: Vec<(String, toml::Table)> = families
        .iter()
        .flat_map(|(family, rows)| {
            let rows = rows["row"].as_array().unwrap().iter();
            rows.map(|row| (family.clone(), row.as_table().unwrap().clone()))
        })
        .collect();
    let mut failed = Vec::new();
    for (family, row) in &rows {
        let problems = check_row(row);
        if !problems.is_empty() {
            failed.push(format!("{family}: {}: {}", row["set"], problems.join("; ")));
        }
    }
    let (wrong, all) = (failed.len(), rows.len());
    assert!(wrong == 0, "{wrong} of {all} rows:\n{}", failed.join("\n"));
}

#[test]
fn invalid_profiles_are_refused_with_their_place() {
    check_all("invalid");
}

#[test]
fn valid_profiles_pass() {
    check_all("valid");
}

/// Every command says so when it does not use profiles of the user's own.
#[test]
fn built_in_profiles_are_announced() {
    let bench = Workbench::empty();
    let key = r#"user.ssh_keys=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF test"]"#;
    fs::write(bench.path("card"), vec![0; 1 << 20]).unwrap();
    for (args, code) in [
        (&["check", "--no-secrets"][..], 0),
        (&["plan", "--all"], 0),
        (&["--profile", "master", "--offline"], 2),
        (
            &["flash", "--profile", "master", "--offline", "--to", "card"],
            2,
        ),
    ] {
        let ran = bench.run(&[args, &["--set", key]].concat());
        let said = &ran.stderr;
        assert!(
            said.contains("using the built-in profiles"),
            "{args:?}: {said}"
        );
        assert_eq!(ran.code == Some(0), code == 0, "{args:?}: {said}");
    }
    bench.write("profiles/node.toml", crate::common::workbench::PROFILE);
    let ran = bench.run(&["check"]);
    assert!(!ran.stderr.contains("built-in"), "{}", ran.stderr);
}

/// What `go ARGS` says in `tests/judges/tailscale`, or why it could not.
fn go(args: &[&str], input: &str) -> Result<String, String> {
    let bench = Workbench::empty();
    bench.write("input", input);
    let output = Command::new("go")
        .args(args)
        .current_dir(folder("../judges/tailscale"))
        .stdin(fs::File::open(bench.path("input")).unwrap())
        .output()
        .map_err(|error| format!("there is no go: {error}"))?;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        return Ok(text(output.stdout));
    }
    Err(text(output.stderr))
}

/// Whether `check` takes an option of tailscale-router; it must say which one it refuses.
fn router_takes(bench: &Workbench, option: &str, value: &str) -> bool {
    let set = match option {
        "hostname" => format!("{value:?}"),
        _ => format!("{:?}", value.split(',').collect::<Vec<_>>()),
    };
    let set = format!("tailscale-router.{option}={set}");
    let ran = bench.run(&["check", "--no-secrets", "--set", &set]);
    if ran.code != Some(0) {
        ran.assert_fails(2, &[&format!("`tailscale-router.{option}`")]);
    }
    ran.code == Some(0)
}

/// `tests/judges/tailscale/values.toml` and short texts, judged by imgbuild and by Tailscale's code.
#[test]
fn what_tailscale_refuses_is_refused() {
    if let Err(why) = go(&["mod", "download"], "") {
        assert!(!why.contains("SECURITY ERROR"), "{why}");
        return needs::say(&format!(
            "needs Go and Tailscale's module: {}",
            why.trim_end()
        ));
    }
    let bench = Workbench::empty();
    let profile = crate::common::workbench::PROFILE.replace("= []", r#"= ["tailscale-router"]"#);
    bench.write(
        "profiles/node.toml",
        profile + "[secrets]\ntailscale_key = 'env:KEY'",
    );
    // What is judged, whether we take it, and whether both should.
    let (mut asked, mut verdicts) = (String::new(), Vec::new());
    let table = include_str!("../judges/tailscale/values.toml");
    for (option, rows) in &table.parse::<toml::Table>().unwrap() {
        for key in ["fine", "wrong", "stricter"] {
            let wanted = (key == "fine", key != "wrong");
            for value in rows[key].as_array().unwrap() {
                let value = value.as_str().unwrap();
                asked += &format!("{option}\t{value}\n");
                verdicts.push((router_takes(&bench, option, value), Some(wanted)));
            }
        }
    }
    let pieces = ["", "a", "Z", "0", "-", "_", ".", ",", " ", "é"];
    for n in 0..pieces.len().pow(3) {
        let text = [n / 100, n / 10 % 10, n % 10].map(|n| pieces[n]).concat();
        for (option, kind, start) in [
            ("tags", Kind::Tag, "tag:"),
            ("hostname", Kind::Hostname, ""),
        ] {
            let value = format!("{start}{text}");
            asked += &format!("{option}\t{value}\n");
            verdicts.push((kind.check(&Value::Text(value)).is_ok(), None));
        }
    }
    let said = go(&["run", "-mod=readonly", "-buildvcs=false", "."], &asked).unwrap();
    assert_eq!(said.lines().count(), verdicts.len(), "{said}");
    let answers = asked.lines().zip(said.lines()).zip(verdicts);
    let failed: Vec<String> = answers
        .filter(|((_, said), (ours, wanted))| {
            let both = (*ours, *said == "ok");
            both == (true, false) || wanted.is_some_and(|wanted| wanted != both)
        })
        .map(|((asked, said), (ours, _))| format!("{asked}: {said}, and we take it: {ours}"))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
