//! Builds nodes with the program itself, and says what must have become of the base.
//!
//! `build` runs imgbuild, `tree` and `boot` read the two file systems back without any code of ours,
//! `model` says what they must hold, `judges` asks the programs that will read the files.

pub mod boot;
pub mod build;
pub mod judges;
pub mod model;
pub mod tree;

use std::path::PathBuf;

use super::needs;
use super::workbench::script;

pub fn large_base(suite: &str) -> PathBuf {
    script("full-base", &[suite])
}

/// Whether the tests on large bases run; says so where a person sees it if they do not.
pub fn full_tier() -> bool {
    let asked = std::env::var("IMGBUILD_TEST_FULL").is_ok_and(|v| v == "1");
    if !asked {
        needs::say("needs the large bases of scripts/full-base: set IMGBUILD_TEST_FULL=1");
    }
    asked
}

/// Complains about the first of `problems`, all at once.
pub fn no_problems(what: &str, problems: &[String]) {
    const SHOWN: usize = 25;
    let shown: Vec<&str> = problems.iter().take(SHOWN).map(String::as_str).collect();
    assert!(
        problems.is_empty(),
        "{what}: {} problems\n  {}",
        problems.len(),
        shown.join("\n  ")
    );
}
