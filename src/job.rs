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
    parent: Option<Arc<AtomicBool>>,
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
            parent: Some(self.flag.clone()),
        }
    }

    /// Errors with kind `Interrupted` when stopping was asked for. Call it in every long loop.
    pub fn check(&self) -> Result<()> {
        let is_set = |flag: &Arc<AtomicBool>| flag.load(Ordering::SeqCst);
        match is_set(&self.flag) || self.parent.as_ref().is_some_and(is_set) {
            true => Err(Error::interrupted()),
            false => Ok(()),
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
