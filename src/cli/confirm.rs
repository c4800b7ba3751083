//! The question before a disk is overwritten.

use std::io::{self, BufRead, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::output;
use crate::error::{Error, Result};
use crate::flash::{Contents, Target};
use crate::job::Cancel;

/// How often Ctrl-C is looked for while the user thinks.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks whether `target` may lose what it holds. A blank one needs no question, and `--yes` none
/// either; when there is nobody to ask, the answer is no.
pub fn overwrite(target: &Target, contents: &Contents, yes: bool, cancel: &Cancel) -> Result<()> {
    if yes || *contents == Contents::Blank {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Error::refused(format!(
            "will not overwrite {target} without a word: it holds {contents}"
        ))
        .with_hint("`--yes` overwrites it; on a terminal imgbuild asks"));
    }
    let question = format!("{target} holds {contents}.\nOverwrite all of it? [y/N] ");
    if is_yes(&ask(&question, cancel)?) {
        return Ok(());
    }
    Err(
        Error::refused(format!("{} stays as it is", target.path().display()))
            .with_hint("answer `y`, or give `--yes`, to overwrite it"),
    )
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

/// A line from the terminal. A thread waits for it, since a signal does not end the wait.
fn ask(question: &str, cancel: &Cancel) -> Result<String> {
    output::ask(question);
    let (answered, answer) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        // Nobody listens any more after Ctrl-C.
        let _ = answered.send(read.map(|_| line));
    });
    loop {
        match answer.recv_timeout(PAUSE) {
            Ok(Ok(line)) => return Ok(line),
            Ok(Err(error)) => {
                return Err(Error::refused("cannot read the answer").with_source(error));
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(String::new()),
            Err(RecvTimeoutError::Timeout) => cancel.check().map_err(|stopped| {
                output::tell("");
                stopped.with_hint("nothing was written")
            })?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("y\n", true),
            (" Yes \r\n", true),
            ("", false),
            ("\n", false),
            ("n", false),
            ("yep", false),
            ("y y", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}
