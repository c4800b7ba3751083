//! `imgbuild verify`: compares an image with the record of its build.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::shared_args::GlobalArgs;
use crate::assemble::{Digested, Verified, VerifyRequest, verify};
use crate::error::{Error, Result};
use crate::image::{Change, Difference};
use crate::job::Job;
use crate::source::FetchOptions;

/// More paths than this are printed only with --verbose.
const MANY: usize = 200;

/// Arguments of `imgbuild verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Image to verify, a card such as /dev/sda, or a copy of one
    pub image: PathBuf,
    /// Record of the build [default: NAME.record.json beside the image]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Compare every file even if the SHA-256 of the image is right
    #[arg(long)]
    pub deep: bool,
    /// Base that the image was built from, if it is not in the cache
    #[arg(long, value_name = "FILE")]
    pub base: Option<PathBuf>,
}

/// Verifies the image. What differs goes to stdout, one path a line.
pub fn run(args: &VerifyArgs, global: &GlobalArgs, job: &Job) -> Result<()> {
    let request = VerifyRequest {
        image: args.image.clone(),
        record: args.record.clone(),
        base: args.base.clone(),
        deep: args.deep,
        fetch: FetchOptions {
            offline: true,
            ..FetchOptions::from_env()?
        },
    };
    let found = verify(&request, job)?;
    for line in notes(&found) {
        job.progress.note(&line);
    }
    print(&found, global, job)?;
    if found.is_same() {
        return output::line(format_args!("{}: the same", args.image.display()));
    }
    Err(failure(args, &found))
}

/// What else is to know of a result.
fn notes(found: &Verified) -> Vec<String> {
    let mut lines = Vec::new();
    match &found.digest {
        Digested::Same => lines.push("SHA-256 of the image: the same".to_owned()),
        Digested::Differs {
            expected,
            found: now,
        } => lines.push(format!(
            "SHA-256 of the image: {now}, and the record says {expected}"
        )),
        Digested::Unknown => lines.push(
            "SHA-256 of the image: the record has none to compare it with; partition table and free space are not compared"
                .to_owned(),
        ),
    }
    if let Some(files) = &found.files {
        lines.push(format!("{} paths of the record compared", files.compared));
        if let Some(why) = &files.no_base {
            lines.push(format!("all other files were not compared: {why}"));
        }
    }
    lines
}

fn print(found: &Verified, global: &GlobalArgs, job: &Job) -> Result<()> {
    for path in &found.other_records {
        let path = path.display();
        output::line(format_args!("{path}: not what was written with the image"))?;
    }
    let Some(files) = &found.files else {
        return Ok(());
    };
    let all = files.differences.len();
    let shown = if global.verbose { all } else { MANY };
    for difference in files.differences.iter().take(shown) {
        output::line(described(difference))?;
    }
    if all > shown {
        job.progress.note(&format!(
            "… and {} more paths; --verbose prints all",
            all - shown
        ));
    }
    Ok(())
}

/// A path must not be able to write to a terminal: it is from an image that nobody vouches for.
fn described(difference: &Difference) -> String {
    let path: String = difference
        .path
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let what = match difference.change {
        Change::Added => "added".to_owned(),
        Change::Removed => "missing".to_owned(),
        Change::Changed(aspects) => format!("{aspects} changed"),
    };
    format!("{}:{path}: {what}", difference.on)
}

fn failure(args: &VerifyArgs, found: &Verified) -> Error {
    let image = args.image.display();
    let files = found.files.as_ref();
    let count = files.map_or(0, |files| files.differences.len());
    let what = match count {
        0 if matches!(found.digest, Digested::Differs { .. }) => {
            "no file that was compared differs, so other bytes do".to_owned()
        }
        0 => "other records are beside it".to_owned(),
        1 => "1 path differs".to_owned(),
        count => format!("{count} paths differ"),
    };
    let outputs = found.outputs.join(", ");
    Error::verification(format!("{image} is not as it was built: {what}")).with_hint(format!(
        "{} is of {outputs}; a card that has booted always differs; copy or build any other image again",
        found.record.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Aspects, FileSystem};

    #[test]
    fn paths_cannot_write_to_the_terminal() {
        let difference = Difference {
            on: FileSystem::Root,
            path: "/a\u{1b}[31m\nb".to_owned(),
            change: Change::Changed(Aspects {
                content: true,
                mode: true,
                ..Aspects::default()
            }),
        };
        let wanted = "root:/a\u{fffd}[31m\u{fffd}b: content, mode changed";
        assert_eq!(described(&difference), wanted);
    }
}
