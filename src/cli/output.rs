//! The one way to stdout and stderr.
//!
//! A reader that has gone (`imgbuild plan --json | head`) has all it wanted: the work goes on, and
//! ends as it would have.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::error::{Error, Result};

/// Prints a result and ends the line.
pub fn line(result: impl Display) -> Result<()> {
    text(&format!("{result}\n"))
}

/// Prints results as they are.
pub fn text(results: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(results.as_bytes())
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
    let _ = writeln!(io::stderr(), "{message}");
}
