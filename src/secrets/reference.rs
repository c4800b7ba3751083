//! `env:NAME`, `file:PATH`, `cmd:COMMAND`: what can be said about a reference without following it.

use super::refusal::Refusal;

/// Where a secret is. Without `Debug`: a command may have one in its words.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Reference<'a> {
    Environment(&'a str),
    File(&'a str),
    Command(&'a str),
}

const WAYS: &str = "use `env:NAME`, `file:PATH` or `cmd:COMMAND`";

impl<'a> Reference<'a> {
    /// Reads a reference. What is none may be the secret itself and is not shown.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Ok(Self::Environment(name)),
            Some(("env", _)) => Err(Refusal::new(
                "what stands behind `env:` is not the name of an environment variable",
            )
            .with_hint("write the name alone, as in `env:K3S_TOKEN`")),
            Some(("file", path)) if path.trim().is_empty() => {
                Err(Refusal::new("`file:` names no file").with_hint(WAYS))
            }
            Some(("file", path)) => Ok(Self::File(path)),
            Some(("cmd", command)) => check_command(command).map(|()| Self::Command(command)),
            _ => Err(Refusal::new(
                "this is not a place where a secret can be; a secret is never written into a profile",
            )
            .with_hint(WAYS)),
        }
    }
}

/// Errors when `text` is not a reference that can be followed.
pub fn check_reference(text: &str) -> Result<(), Refusal> {
    Reference::parse(text).map(drop)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_command(command: &str) -> Result<(), Refusal> {
    if command.trim().is_empty() {
        return Err(Refusal::new("`cmd:` names no command").with_hint(WAYS));
    }
    if command.contains('\0') {
        return Err(Refusal::new("the command has a NUL character in it"));
    }
    if makes_random(command) && !keeps_result(command) {
        return Err(Refusal::new(
            "the command makes another value at every run, so an image that is built later does not fit the others",
        )
        .with_hint("keep the value: `(umask 077; openssl rand -hex 24 > NAME)` once, then `file:NAME`"));
    }
    Ok(())
}

/// Programs that print something else each time.
const GENERATORS: &[&str] = &[
    "pwgen",
    "uuidgen",
    "apg",
    "makepasswd",
    "pwqgen",
    "xkcdpass",
    "diceware",
    "mktemp",
];

/// Such programs when their first argument is this.
const GENERATING: &[(&str, &str)] = &[
    ("openssl", "rand"),
    ("gpg", "--gen-random"),
    ("wg", "genkey"),
    ("wg", "genpsk"),
];

const RANDOM_FILES: &[&str] = &[
    "/dev/urandom",
    "/dev/random",
    "/proc/sys/kernel/random/uuid",
];

fn makes_random(command: &str) -> bool {
    command.contains("$RANDOM")
        || RANDOM_FILES.iter().any(|file| command.contains(file))
        || command.split(['|', ';', '&', '(', '`', '\n']).any(|part| {
            let mut words = part.split_whitespace();
            let program = words.next().unwrap_or_default().rsplit('/').next();
            let program = program.unwrap_or_default();
            let argument = words.next().unwrap_or_default();
            GENERATORS.contains(&program) || GENERATING.contains(&(program, argument))
        })
}

/// Whether a command looks as if it made its value once and found it again later.
fn keeps_result(command: &str) -> bool {
    let mut rest = command.replace([' ', '\t'], "");
    for nowhere in ["2>&1", ">/dev/null"] {
        rest = rest.replace(nowhere, "");
    }
    rest.contains('>') || rest.contains("||") || command.contains("tee ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_reference_is_refused_and_not_shown() {
        for bad in [
            "hunter2",
            "",
            "ENV:hunter2",
            " env:hunter2",
            "env:hunter-2",
            "env:",
            "env:2hunter",
            "env: hunter2",
            "env:$hunter2",
            "file:",
            "file:  ",
            "cmd:",
            "cmd: ",
        ] {
            let refusal = Reference::parse(bad).unwrap_err();
            assert!(
                !refusal.what().contains("hunter"),
                "{bad}: {}",
                refusal.what()
            );
        }
        assert_eq!(Reference::parse("file:a:b"), Ok(Reference::File("a:b")));
        assert_eq!(
            Reference::parse("env:_A1"),
            Ok(Reference::Environment("_A1"))
        );
    }

    #[test]
    fn commands_that_print_something_else_each_time_are_refused() {
        for bad in [
            "openssl rand -hex 24",
            "/usr/bin/openssl rand -hex 24 2>/dev/null",
            "echo $(openssl rand -hex 24)",
            "head -c 24 /dev/urandom | base64",
            "uuidgen | tr -d -",
            "pwgen -s 32 1",
            "echo $RANDOM$RANDOM$RANDOM",
        ] {
            assert!(check_reference(&format!("cmd:{bad}")).is_err(), "{bad}");
        }
        for good in [
            "pass show pwgen/k3s",
            "cat token || openssl rand -hex 24 | tee token",
            "test -f t || openssl rand -hex 24 > t; cat t",
            "openssl enc -d -in token.enc",
            "gpg --decrypt token.gpg",
        ] {
            assert!(check_reference(&format!("cmd:{good}")).is_ok(), "{good}");
        }
    }
}
