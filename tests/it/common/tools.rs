//! Programs that are not ours: they make what tests work on, and judge what we wrote.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::needs;

/// A program with the PATH where distributions put them and nothing of the user's locale. Without it
/// the test ends here, skipped.
pub fn tool(name: &str) -> Command {
    needs::programs(&[name]);
    let mut command = Command::new(name);
    command
        .env("PATH", needs::search_path())
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("MTOOLSRC", "/dev/null")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::null());
    command
}

/// Runs `command`, whatever it says.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output();
    out.unwrap_or_else(|e| panic!("{name} cannot be run: {e}"))
}

/// Runs `program ARGS`, whatever it says.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> Output {
    output(tool(program).args(args))
}

/// Runs `program ARGS`, which must succeed, and returns what it printed.
#[track_caller]
pub fn ok(program: &str, args: &[&str]) -> Vec<u8> {
    ends_with(&[0], program, args)
}

/// The same, as text.
#[track_caller]
pub fn text(program: &str, args: &[&str]) -> String {
    String::from_utf8_lossy(&ok(program, args)).into_owned()
}

/// Runs `program ARGS`, which must end with one of `codes`, and returns what it printed.
#[track_caller]
pub fn ends_with(codes: &[i32], program: &str, args: &[&str]) -> Vec<u8> {
    let out = run(program, args);
    assert!(
        out.status.code().is_some_and(|code| codes.contains(&code)),
        "{program} {args:?} ended with {}:\n{}",
        out.status,
        both(&out)
    );
    out.stdout
}

/// Runs `program ARGS` on `input`; it must succeed. Returns all that it said.
#[track_caller]
pub fn fed(program: &str, args: &[&str], input: &str) -> String {
    let mut command = tool(program);
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let out = child.wait_with_output().unwrap();
    let said = both(&out);
    assert!(out.status.success(), "{program} {args:?}: {said}");
    said
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

/// What the program sha256sum says of a file.
pub fn sha256sum(path: &Path) -> String {
    text("sha256sum", &[path.to_str().unwrap()])[..64].to_owned()
}

pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
