//! What the user sees on stderr: progress, notes, errors.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{masked, tell};
use crate::error::{Error, ErrorKind};
use crate::job::{Job, Progress, Task};

/// Progress bars on a terminal, plain lines elsewhere, nothing when `quiet`.
pub fn progress(quiet: bool) -> Arc<dyn Progress> {
    if quiet {
        Job::silent().progress
    } else if std::io::stderr().is_terminal() {
        Arc::new(Bars(MultiProgress::new()))
    } else {
        Arc::new(Lines)
    }
}

/// Prints an error, its causes and, where there is one, what to do about it.
pub fn print_error(error: &Error) {
    if error.kind() == ErrorKind::Interrupted {
        let left = error.hint().unwrap_or("nothing unfinished was left behind");
        tell(format_args!("interrupted: {left}"));
        return;
    }
    let mut chain = error.chain();
    let first = chain.next().map(ToString::to_string).unwrap_or_default();
    tell(format_args!("error: {first}"));
    let mut last = first;
    for cause in chain {
        let text = cause.to_string();
        if text != last {
            tell(format_args!("  caused by: {text}"));
        }
        last = text;
    }
    if let Some(hint) = error.hint() {
        tell(format_args!("hint: {hint}"));
    }
}

struct Bars(MultiProgress);

impl Progress for Bars {
    fn begin(&self, label: &str, total: Option<u64>) -> Box<dyn Task> {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg:30!} {bar:30} {bytes:>10} / {total_bytes:10} {eta:>4}",
            )),
            None => ProgressBar::new_spinner().with_style(style("{msg:30!} {spinner} {bytes}")),
        };
        let bar = self.0.add(bar.with_message(masked(label).into_owned()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Box::new(BarTask(bar))
    }

    fn note(&self, message: &str) {
        // When the terminal is gone there is nobody to tell.
        let _ = self.0.println(masked(message));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct BarTask(ProgressBar);

impl Task for BarTask {
    fn advance(&mut self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for BarTask {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

struct Lines;

impl Progress for Lines {
    fn begin(&self, label: &str, total: Option<u64>) -> Box<dyn Task> {
        match total {
            Some(total) => tell(format_args!("{label} ({} MiB)", total >> 20)),
            None => tell(label),
        }
        Box::new(LineTask)
    }

    fn note(&self, message: &str) {
        tell(message);
    }
}

struct LineTask;

impl Task for LineTask {
    fn advance(&mut self, _bytes: u64) {}
}
