//! What is to be built, and from what.

use std::path::PathBuf;

use super::budget::DEFAULT_MEMORY;
use crate::emit::{Format, Packing};
use crate::lock::LockPolicy;
use crate::source::{BaseRequest, FetchOptions};

/// What nodes are made from. Enough for a node that is not written to a file.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// A base in the place of the profiles' own.
    pub base: Option<BaseRequest>,
    pub fetch: FetchOptions,
    /// What may be done about pins.
    pub lock: LockPolicy,
    /// Unix time (seconds) of everything written; `None`: when the base was pinned, or that of a base
    /// that is not.
    pub time: Option<i64>,
    /// Bytes of memory to stay below, about, whatever the number of nodes.
    pub memory: u64,
}

impl Inputs {
    /// With the memory that is used unless told otherwise.
    pub fn new(base: Option<BaseRequest>, fetch: FetchOptions, time: Option<i64>) -> Self {
        Self {
            base,
            fetch,
            lock: LockPolicy::default(),
            time,
            memory: DEFAULT_MEMORY,
        }
    }
}

/// What to build, and where to.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    pub inputs: Inputs,
    pub outputs: Outputs,
    /// Nodes built at the same time, as far as the memory allows.
    pub jobs: usize,
}

/// The files that are written of every node.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// Their folder.
    pub folder: PathBuf,
    pub formats: Vec<Format>,
    /// How hard images are packed; how many threads do it is decided here.
    pub packing: Packing,
    /// Whether a block map is written beside the images of a node.
    pub bmap: bool,
    pub digests: Digests,
}

/// Which SHA-256 are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digests {
    /// Those that cost no further pass over an image: not those of raw images.
    Free,
    /// Those of all files that are written.
    #[default]
    Files,
    /// Those of the raw image in packed files, too.
    Raw,
}
