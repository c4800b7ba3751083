//! The real binary, run in a folder of its own, and what every failure of it must look like.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use tempfile::TempDir;

use super::needs;

/// What a node needs at the least.
pub const PROFILE: &str = r#"
hostname = "node"
address  = "10.0.0.2"
roles    = []
[network]
cidr    = "10.0.0.0/24"
gateway = "10.0.0.1"
dns     = ["10.0.0.1"]
[user]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF test"]
"#;

/// A project folder, an output folder and a cache that nobody else uses.
pub struct Workbench {
    dir: TempDir,
}

impl Workbench {
    /// With one profile, `node`.
    pub fn new() -> Self {
        let bench = Self::empty();
        bench.write("profiles/node.toml", PROFILE);
        bench
    }

    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes a file of the project, with the folders it is in.
    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Adds the role `x` to the project and to its node.
    pub fn add_role(&self, manifest: &str) {
        let text = format!("description = \"a test\"\n{manifest}");
        self.write("overlays/x/role.toml", text);
        let profile = PROFILE.replace("roles    = []", "roles    = [\"x\"]");
        self.write("profiles/node.toml", profile);
    }

    /// `imgbuild ARGS`, which sees nothing of the user's own files and secrets.
    pub fn imgbuild(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgbuild"));
        command.args(args);
        self.surround(&mut command);
        command
    }

    /// Gives a command the environment and the folder of this workbench.
    pub fn surround(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("IMGBUILD_CACHE", self.path("cache"))
            .env("SOURCE_DATE_EPOCH", "1776038400")
            .current_dir(self.dir.path());
    }

    /// The arguments that build `node` from `base` into `out/`.
    pub fn build_args<'a>(&self, base: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["--profile", "node", "--base", base, "--offline"];
        args.extend(more);
        args
    }

    /// Builds `node` from `base` into `out/`, as a raw image.
    pub fn build(&self, base: &str) -> Ran {
        let args = self.build_args(base, &["--format", "img"]);
        Ran::of(self.imgbuild(&args).output().unwrap())
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.imgbuild(args).output().unwrap())
    }

    /// No output and nothing half done, neither beside the output nor in the cache.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(files_below(&self.path("out")), Vec::<PathBuf>::new());
        let unfinished: Vec<PathBuf> = files_below(&self.path("cache"))
            .into_iter()
            .filter(|p| p.to_string_lossy().contains(".part"))
            .collect();
        assert_eq!(unfinished, Vec::<PathBuf>::new(), "left in the cache");
    }
}

/// All files below `folder`; none when it does not exist.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// What a run came to.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// One clear message with all of `words`, the exit code, no panic, nothing on stdout.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, words: &[&str]) {
        let said = &self.stderr;
        assert_eq!(self.code, Some(code), "{said}");
        assert_eq!(self.stdout, "", "results of a failed run");
        assert!(!said.contains("panicked"), "{said}");
        let messages = said.lines().filter(|l| l.starts_with("error: ")).count();
        assert_eq!(messages, 1, "{said}");
        for word in words {
            assert!(said.contains(word), "no “{word}” in:\n{said}");
        }
    }
}

/// The small base image `variant` that `scripts/make-fixture` makes, or made once and kept.
pub fn fixture(variant: &str) -> PathBuf {
    made(&[variant])
}

/// The same, compressed.
pub fn fixture_xz(variant: &str) -> PathBuf {
    made(&[variant, "--xz"])
}

/// What `make-fixture ARGS` said, or why it could not: nobody waits twice for what cannot be had.
static MADE: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());

fn made(args: &[&str]) -> PathBuf {
    let mut all = MADE.lock().unwrap();
    let made = all.entry(args.join(" "));
    let made = made.or_insert_with(|| run_script("make-fixture", args));
    let made = made.clone();
    drop(all);
    made.unwrap_or_else(|why| needs::missing(&format!("the fixture {}: {why}", args[0])))
}

/// What a script of ours prints as the path of an image; without it the test is skipped.
pub fn script(name: &str, args: &[&str]) -> PathBuf {
    run_script(name, args).unwrap_or_else(|why| needs::missing(&why))
}

fn run_script(name: &str, args: &[&str]) -> Result<PathBuf, String> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let output = Command::new(scripts.join(name)).args(args).output();
    let output = output.map_err(|e| format!("scripts/{name}: {e}"))?;
    if output.status.success() {
        let path = String::from_utf8(output.stdout).unwrap();
        return Ok(PathBuf::from(path.trim_end()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().rfind(|line| line.contains("error: "));
    let why = why.or(said.lines().last()).unwrap_or_default();
    Err(format!("scripts/{name} {}: {why}", args.join(" ")))
}
