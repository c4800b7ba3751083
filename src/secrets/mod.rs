//! Where secrets come from. A profile only ever holds a reference: `env:NAME`, `file:PATH` or
//! `cmd:COMMAND`; the value exists in memory from here to the root file system of one image.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::Origin;
use crate::error::{Error, Result};

/// What stands in for a secret wherever it would be shown.
pub const REDACTED: &str = "‹secret›";

/// Resolves `reference`. Relative paths start at `project`; line ends at the end are not part of
/// the secret. `wanted_by` names key, profile and role for the message.
pub fn resolve(
    reference: &str,
    project: &Path,
    origin: &Origin,
    wanted_by: &str,
) -> Result<String> {
    let value = fetch(reference, project).map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        let outer = Error::usage(format!("{origin}: {wanted_by}: {error}"));
        match hint {
            Some(hint) => outer.with_hint(hint),
            None => outer,
        }
    })?;
    let value = value.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(Error::usage(format!(
            "{origin}: {wanted_by}: {reference} is empty"
        )));
    }
    if value.contains(['\r', '\n', '\0']) {
        return Err(Error::usage(format!(
            "{origin}: {wanted_by}: {reference} has more than one line; a secret is one line"
        )));
    }
    Ok(value.to_owned())
}

fn fetch(reference: &str, project: &Path) -> Result<String> {
    match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|_| {
            Error::usage(format!("the environment variable {name} is not set")).with_hint(format!(
                "export {name}=…, or point the key at file:PATH or cmd:COMMAND"
            ))
        }),
        Some(("file", path)) => {
            let path = expand(path, project);
            std::fs::read_to_string(&path)
                .map_err(|error| Error::usage(format!("reading {}: {error}", path.display())))
        }
        Some(("cmd", command)) => run(command),
        _ => Err(Error::usage(
            "this is not a place where a secret can be; a secret is never written into a profile",
        )
        .with_hint("use env:NAME, file:PATH or cmd:COMMAND")),
    }
}

/// `~/` is the home directory; other relative paths start at `project`.
pub fn expand(path: &str, project: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => project.join(path),
    }
}

fn run(command: &str) -> Result<String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Error::usage(format!("running `{command}`: {error}")))?;
    if !output.status.success() {
        return Err(Error::usage(format!(
            "`{command}` failed: {}",
            output.status
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Error::usage(format!("what `{command}` printed is not UTF-8 text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(reference: &str, project: &Path) -> Result<String> {
        resolve(
            reference,
            project,
            &Origin::named("p.toml:3"),
            "`secrets.x` of profile p for role r",
        )
    }

    #[test]
    fn line_ends_are_stripped_from_files_and_commands() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s"), "hunter2\r\n\r\n").unwrap();
        assert_eq!(get("file:s", dir.path()).unwrap(), "hunter2");
        assert_eq!(get("cmd:printf 'a b\\n'", dir.path()).unwrap(), "a b");
    }

    #[test]
    fn what_is_missing_is_named_without_its_value() {
        let dir = tempfile::tempdir().unwrap();
        for (reference, why) in [
            ("env:IMGBUILD_NOT_SET", "IMGBUILD_NOT_SET is not set"),
            ("file:none", "none: No such file"),
            ("cmd:exit 3", "exit status: 3"),
            ("cmd:true", "is empty"),
            ("cmd:printf 'a\\nb'", "more than one line"),
            ("hunter2", "never written into a profile"),
        ] {
            let error = get(reference, dir.path()).unwrap_err().to_string();
            assert!(
                error.starts_with("p.toml:3: `secrets.x` of profile p for role r: "),
                "{error}"
            );
            assert!(error.contains(why), "{reference}: {error}");
        }
        assert!(
            !get("hunter2", dir.path())
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
    }
}
