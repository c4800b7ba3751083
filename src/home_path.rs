//! Paths as users write them.

use std::path::{Path, PathBuf};

/// `~/` is the home directory; other relative paths start at `project`.
pub fn expand(path: &str, project: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => project.join(path),
    }
}
