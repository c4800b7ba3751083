//! `imgbuild --profile master` is short for `imgbuild build --profile master`.

use std::ffi::OsString;

/// What a word before the command is.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// A global option.
    Global,
    /// A global option whose value is the next word.
    GlobalWithValue,
    /// An option of a command that was not named.
    Other,
    /// A command, `--help` or `--version`.
    End,
}

impl Word {
    fn of(word: &str) -> Self {
        match word {
            "--verbose" | "--quiet" => return Self::Global,
            "--project" => return Self::GlobalWithValue,
            "--" | "--help" | "--version" => return Self::End,
            _ if word.starts_with("--project=") => return Self::Global,
            _ if word.starts_with("--") => return Self::Other,
            _ => {}
        }
        let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) else {
            return Self::End;
        };
        match letters.trim_start_matches(['v', 'q']) {
            "" => Self::Global,
            "C" => Self::GlobalWithValue,
            rest if rest.starts_with('C') => Self::Global,
            rest if rest.starts_with(['h', 'V']) => Self::End,
            _ => Self::Other,
        }
    }
}

/// The command line with `build` written out where options stand without a command.
pub fn with_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if let Some(place) = place_of_build(&args) {
        args.insert(place, "build".into());
    }
    args
}

fn place_of_build(args: &[OsString]) -> Option<usize> {
    let mut place = 1;
    loop {
        match Word::of(args.get(place)?.to_str()?) {
            Word::Global => place += 1,
            Word::GlobalWithValue => place += 2,
            Word::Other => return Some(place),
            Word::End => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = format!("imgbuild {line}");
        Cli::try_parse_from(with_command(words.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_without_a_command_are_those_of_build() {
        for line in [
            "--profile a -p b",
            "-v --profile a",
            "-vp a",
            "-C x --set a=b --all",
            "-qC x --all",
            "-Cx -j 2 --all",
            "--project=x --offline",
            "-p plan",
        ] {
            let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(matches!(cli.command, Command::Build(_)), "{line}");
        }
    }

    #[test]
    fn global_options_stand_before_and_behind_the_command() {
        for line in [
            "-C x -v plan --all",
            "plan --all -v -C x",
            "-vCx plan --all",
            "-v plan --project x --all",
            "--project x plan --verbose --all",
        ] {
            let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(matches!(cli.command, Command::Plan(_)), "{line}");
            assert!(cli.global.verbose && !cli.global.quiet, "{line}");
            assert_eq!(cli.global.project, Some("x".into()), "{line}");
        }
    }

    #[test]
    fn a_command_behind_build_options_is_no_command() {
        assert!(parse("--all plan").is_err());
        assert!(parse("-v").is_err());
    }
}
