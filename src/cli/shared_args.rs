//! Arguments that several commands have.

use std::path::PathBuf;

use clap::Args;

/// Options of every command; they may also stand before it.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Folder with profiles/ and overlays/ [default: the current folder]
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Print more detail
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print only results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// Options of everything that reads profiles.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// Override a key of the profiles, e.g. --set k3s.version=v1.36.5+k3s1; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Which nodes.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Node, by the name of its profile or by its host name; repeatable
    #[arg(short, long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// All nodes
    #[arg(long, conflicts_with = "profile")]
    pub all: bool,
}
