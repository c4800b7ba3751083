//! What a test needs and a machine may not have. Where it is missing the test ends: skipped, with a line
//! that is seen, or failed where IMGBUILD_TEST_REQUIRE=1 says that nothing may be missing (scripts/test).
//!
//! Whoever runs a program asks here first, however deep in a test that is; the tests themselves say
//! nothing. Their `#[test]` is that of tests/may-skip, which puts them into [`may_skip`].

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

thread_local! {
    /// The test of this thread.
    static TEST: Cell<&'static str> = const { Cell::new("a thread of a test") };
    /// Why it ends early.
    static MISSING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `test`, which is skipped when something within it asks for what is missing.
pub fn may_skip(name: &'static str, test: impl FnOnce()) {
    TEST.set(name.strip_prefix("it::").unwrap_or(name));
    MISSING.take();
    let Err(panic) = catch_unwind(AssertUnwindSafe(test)) else {
        return;
    };
    // Not by what `panic` holds: a library that catches panics (proptest) puts its own there.
    if let Some(why) = MISSING.take() {
        say(&why);
    } else {
        resume_unwind(panic);
    }
}

/// Ends the test unless all `programs` are here, each a name or a path.
pub fn programs(programs: &[&str]) {
    for program in programs {
        if !is_here(program) {
            missing(program);
        }
    }
}

/// Ends the test: `what` is missing.
pub fn missing(what: &str) -> ! {
    let why = format!("needs {what}");
    assert!(!required(), "this test {why} (IMGBUILD_TEST_REQUIRE=1)");
    MISSING.set(Some(why));
    // Not panic!, which would tell of a failure.
    resume_unwind(Box::new(()) as Box<dyn Any + Send>)
}

/// Says of this test what it leaves out since nobody may do it here, as root or the kernel decide:
/// that is no failure anywhere.
pub fn say(why: &str) {
    // Not eprintln!, which the test harness swallows. One write: other tests are talking, too.
    let line = format!("skipped: {} {why}\n", TEST.get());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn required() -> bool {
    std::env::var("IMGBUILD_TEST_REQUIRE").is_ok_and(|value| value == "1")
}

/// PATH, and where distributions put the programs of root.
pub fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

fn is_here(program: &str) -> bool {
    let folders = search_path();
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        let folders = folders.split(':').map(Path::new);
        folders.map(|folder| folder.join(program)).collect()
    };
    places.iter().any(|place| place.is_file())
}
