//! The one way to stdout and stderr. What was resolved as a secret does not get through.
//!
//! A reader that has gone (`imgbuild plan --json | head`) has all it wanted: the work goes on, and
//! ends as it would have.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::thread;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secrets::{Mask, Overheard, Vault};

/// What the run's vault has to say to the writer.
struct Discretion {
    mask: Mask,
    overheard: Overheard,
}

static DISCRETION: OnceLock<Discretion> = OnceLock::new();

/// Masks from now on what `vault` resolves, and tells what its commands say. A run has one vault.
pub fn keep_secrets_of(vault: &Vault) {
    let discretion = Discretion {
        mask: vault.mask().clone(),
        overheard: vault.overheard().clone(),
    };
    // A second vault of the same run would be a mistake of `dispatch`, which opens one project.
    let _ = DISCRETION.set(discretion);
}

/// `text` without secrets.
pub fn masked(text: &str) -> Cow<'_, str> {
    match DISCRETION.get() {
        Some(discretion) => discretion.mask.apply(text),
        None => Cow::Borrowed(text),
    }
}

/// Prints a result and ends the line.
pub fn line(result: impl Display) -> Result<()> {
    text(&format!("{result}\n"))
}

/// Prints results as they are.
pub fn text(results: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(masked(results).as_bytes())
        .and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot write the results to stdout").with_source(error))
        }
        _ => Ok(()),
    }
}

/// Tells the user something, on stderr. When nobody is there to read it, that is no reason to stop.
pub fn tell(message: impl Display) {
    tell_overheard();
    let message = message.to_string();
    let _ = writeln!(io::stderr(), "{}", masked(&message));
}

/// Tells the user the beginning of a line, which the answer ends.
pub fn ask(question: &str) {
    tell_overheard();
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{}", masked(question)).and_then(|()| stderr.flush());
}

/// Passes on what commands said while they were asked for secrets.
pub fn tell_overheard() {
    for said in overheard() {
        let said = masked(&said);
        let end = if said.ends_with('\n') { "" } else { "\n" };
        let _ = write!(io::stderr(), "{said}{end}");
    }
}

fn overheard() -> Vec<Zeroizing<String>> {
    let overheard = DISCRETION.get().map(|discretion| &discretion.overheard);
    overheard.map(Overheard::take).unwrap_or_default()
}

/// A mistake in the program is told like anything else: its message may quote what was at hand.
pub fn tell_panics() {
    panic::set_hook(Box::new(|info| tell(panic_text(info))));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        format!("thread '{name}' {info}\n{backtrace}")
    } else {
        format!("thread '{name}' {info}")
    }
}
