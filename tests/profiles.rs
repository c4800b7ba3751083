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

mod cli_support;

use std::fs;
use std::path::{Path, PathBuf};

use cli_support::{Workbench, files_below};

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
                Some(("gone", file)) => fs::remove_file(case.bench.path(file)).unwrap(),
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
    let key = r#"user.ssh_keys=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAo test"]"#;
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
    bench.write("profiles/node.toml", cli_support::PROFILE);
    let ran = bench.run(&["check"]);
    assert!(!ran.stderr.contains("built-in"), "{}", ran.stderr);
}
