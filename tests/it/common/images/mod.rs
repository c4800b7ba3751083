//! Builds nodes with the program itself, and says what must have become of the base.
//!
//! `build` runs imgbuild, `tree` and `boot` read the two file systems back without any code of ours,
//! `model` says what they must hold, `judges` asks the programs that will read the files.

pub mod boot;
pub mod build;
pub mod judges;
pub mod model;
pub mod tree;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A tool that judges, with the PATH where distributions put them and nothing of the user's locale.
pub fn tool(name: &str) -> Command {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new(name);
    command
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("MTOOLSRC", "/dev/null")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null());
    command
}

/// Runs `command`, whatever it says.
pub fn output(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .output()
        .unwrap_or_else(|e| panic!("{name} is missing: run scripts/test, which installs it ({e})"))
}

/// Runs `command`, which must succeed, and returns what it printed. `what` is judged.
pub fn accepts(what: &str, command: &mut Command) -> String {
    let out = output(command);
    let text = both(&out);
    assert!(
        out.status.success(),
        "{what}: {command:?} ended with {}:\n{text}",
        out.status
    );
    text
}

pub fn both(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// What a script of ours prints as the path of an image.
fn script(name: &str, args: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name);
    let out = output(Command::new(path).args(args).stderr(Stdio::inherit()));
    assert!(out.status.success(), "scripts/{name} {args:?} failed");
    PathBuf::from(String::from_utf8(out.stdout).unwrap().trim())
}

pub fn fixture(args: &[&str]) -> PathBuf {
    script("make-fixture", args)
}

pub fn large_base(suite: &str) -> PathBuf {
    script("full-base", &[suite])
}

/// Whether the tests on large bases run; says so where a person sees it if they do not.
pub fn full_tier(test: &str) -> bool {
    let asked = std::env::var("IMGBUILD_TEST_FULL").is_ok_and(|v| v == "1");
    if !asked {
        // Not eprintln!, which the test harness swallows.
        let _ = writeln!(
            std::io::stderr(),
            "{test}: SKIPPED, it needs the large bases of scripts/full-base: set IMGBUILD_TEST_FULL=1"
        );
    }
    asked
}

/// Complains about the first of `problems`, all at once.
pub fn no_problems(what: &str, problems: &[String]) {
    const SHOWN: usize = 25;
    let shown: Vec<&str> = problems.iter().take(SHOWN).map(String::as_str).collect();
    assert!(
        problems.is_empty(),
        "{what}: {} problems\n  {}",
        problems.len(),
        shown.join("\n  ")
    );
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
