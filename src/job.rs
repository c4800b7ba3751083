//! What long work is given to report on itself and to be stopped: progress and cancellation.
//! The library never prints; the command line implements [`Progress`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Receives the progress of tasks that run at the same time.
pub trait Progress: Send + Sync {
    /// A task begins. `total` is in bytes; `None` when it is not known.
    fn begin(&self, label: &str, total: Option<u64>) -> Box<dyn Task>;
    /// Something the user should know that is not an error.
    fn note(&self, message: &str);
}

/// One running task; it ends when it is dropped.
pub trait Task: Send {
    /// `bytes` more are done.
    fn advance(&mut self, bytes: u64);
}

/// A flag that stops work at its next check.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    parent: Option<Box<Cancel>>,
}

impl Cancel {
    /// Asks all work that holds this flag to stop.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// A flag that this one stops too, but that does not stop this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            flag: Arc::default(),
            parent: Some(Box::new(self.clone())),
        }
    }

    /// Errors with kind `Interrupted` when stopping was asked for. Call it in every long loop.
    pub fn check(&self) -> Result<()> {
        match (self.flag.load(Ordering::SeqCst), &self.parent) {
            (true, _) => Err(Error::interrupted()),
            (false, Some(parent)) => parent.check(),
            (false, None) => Ok(()),
        }
    }
}

/// Progress and cancellation, handed together to everything that may take long.
#[derive(Clone)]
pub struct Job {
    pub progress: Arc<dyn Progress>,
    pub cancel: Cancel,
}

impl Job {
    /// A job that reports to nobody.
    pub fn silent() -> Self {
        Self {
            progress: Arc::new(Silent),
            cancel: Cancel::default(),
        }
    }

    /// The same job with a flag of its own: stopping this one stops the child, and not the other way.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            progress: self.progress.clone(),
            cancel: self.cancel.child(),
        }
    }
}

struct Silent;

impl Progress for Silent {
    fn begin(&self, _label: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, _message: &str) {}
}

impl Task for Silent {
    fn advance(&mut self, _bytes: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_stops_all_below_it_and_none_above() {
        let root = Cancel::default();
        let child = root.child();
        let (first, second) = (child.child(), child.child());
        first.cancel();
        assert!(first.check().is_err() && second.check().is_ok() && root.check().is_ok());
        root.cancel();
        assert!(second.check().is_err() && child.check().is_err());
    }
}
