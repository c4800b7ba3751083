//! The one error type: what failed, why, what to do about it, and the exit code it leads to.

use std::error::Error as StdError;
use std::fmt;

use crate::problem::Problem;

/// Exit codes of the command line, as documented in the README.
pub mod exit_code {
    /// Everything asked for was made.
    pub const DONE: u8 = 0;
    /// Something failed that is neither the user's input nor a verification.
    pub const FAILED: u8 = 1;
    /// The command line or a profile is wrong.
    pub const USAGE: u8 = 2;
    /// A checksum or signature did not match.
    pub const VERIFICATION: u8 = 3;
    /// Refused, because going on could destroy something.
    pub const REFUSED: u8 = 4;
    /// Stopped by Ctrl-C or SIGTERM.
    pub const INTERRUPTED: u8 = 130;
}

/// What kind of failure this is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    Failed,
    Usage,
    Verification,
    Refused,
    Interrupted,
}

impl ErrorKind {
    /// The process exit code of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => exit_code::FAILED,
            Self::Usage => exit_code::USAGE,
            Self::Verification => exit_code::VERIFICATION,
            Self::Refused => exit_code::REFUSED,
            Self::Interrupted => exit_code::INTERRUPTED,
        }
    }
}

/// A failure, with the chain of causes below it and, where one is known, a hint.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    problems: Vec<Problem>,
}

/// `Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
            problems: Vec::new(),
        }
    }

    /// Something went wrong while working (exit code 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// The command line or a profile is wrong (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A checksum or signature does not match (exit code 3).
    pub fn verification(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Verification, message)
    }

    /// Refused for safety (exit code 4).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Stopped by the user (exit code 130).
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a hint, if there is one.
    #[must_use]
    pub fn with_maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Keeps the problems that the message lists, for whoever collects them.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// Names the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Wraps this error in a message that says what was being done; the kind stays.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self::new(self.kind, message).with_source(self)
    }

    /// Of two errors the one that stopped the other work, rather than the one of being stopped.
    #[must_use]
    pub fn or_cause(self, other: Self) -> Self {
        match self.kind() {
            ErrorKind::Interrupted => other,
            _ => self,
        }
    }

    /// The same for any error; the kind of an inner [`Error`] is kept.
    pub fn around(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::new(kind_of(source.as_ref()), message).with_source(source)
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The innermost hint of the chain: the one closest to the cause.
    pub fn hint(&self) -> Option<&str> {
        self.chain()
            .filter_map(|e| e.downcast_ref::<Error>())
            .filter_map(|e| e.hint.as_deref())
            .last()
    }

    /// The problems that this error or one of its causes lists; empty for an error that is one itself.
    pub fn problems(&self) -> &[Problem] {
        self.chain()
            .filter_map(|e| e.downcast_ref::<Error>())
            .map(|e| e.problems.as_slice())
            .find(|problems| !problems.is_empty())
            .unwrap_or_default()
    }

    /// This error and its causes, outermost first.
    pub fn chain(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        std::iter::from_fn(move || {
            let current = next?;
            next = current.source();
            Some(current)
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

/// A problem that is told alone.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::usage(problem.message()).with_maybe_hint(problem.hint().map(str::to_owned))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

/// Adds what was being done to any error on its way up.
pub trait ResultExt<T> {
    /// Wraps an error in `message`; the kind of an inner [`Error`] is kept.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> ResultExt<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::around(message(), error))
    }
}

/// The kind of the outermost [`Error`] in a chain, looking through `io::Error` wrappers.
fn kind_of(error: &(dyn StdError + 'static)) -> ErrorKind {
    if let Some(ours) = error.downcast_ref::<Error>() {
        return ours.kind;
    }
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match inner {
        Some(inner) => kind_of(inner),
        None => error.source().map_or(ErrorKind::Failed, kind_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_and_innermost_hint() {
        let inner: Result<()> =
            Err(Error::verification("sha256 differs").with_hint("download again"));
        let outer = inner.context(|| "fetching base".into()).unwrap_err();
        assert_eq!(outer.kind(), ErrorKind::Verification);
        assert_eq!(outer.hint(), Some("download again"));
        assert_eq!(outer.chain().count(), 2);
    }

    #[test]
    fn kind_survives_an_io_error_wrapper() {
        let io: std::io::Error = Error::interrupted().into();
        let wrapped = Err::<(), _>(io).context(|| "writing".into()).unwrap_err();
        assert_eq!(wrapped.kind().exit_code(), exit_code::INTERRUPTED);
    }
}
