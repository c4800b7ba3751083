//! How a build stays within its memory, whatever the number of nodes.
//!
//! Decoded blocks of a base are shared by all nodes and bounded; so are the changed pages of all
//! nodes together, which go to a temporary file beyond that. What else takes memory is threads that
//! hold a block each, so their number is what is left divided by what one takes.

use crate::xz::XzImageOptions;

/// What a build stays below, about, unless told otherwise.
pub const DEFAULT_MEMORY: u64 = 400 << 20;

/// The program itself: profiles, roles, plans, file systems being edited.
const PROGRAM: u64 = 60 << 20;
/// Pages of all nodes.
pub const PAGES: u64 = 48 << 20;
/// Blocks of the base: those that are kept, and two that are on their way.
const BLOCKS: u64 = 72 << 20;
const SPARE_BLOCKS: u64 = 48 << 20;
/// A thread that encodes, with a block of 24 MiB and what becomes of it: transcoding, and preset 6.
const FAST_ENCODER: u64 = 80 << 20;
const BEST_ENCODER: u64 = 170 << 20;

/// What one of several nodes that are built at the same time may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Nodes at the same time.
    pub nodes: usize,
    /// Threads of each that encode or decode.
    pub threads: usize,
}

impl Shares {
    /// For `nodes` nodes, of which `jobs` may be built at a time, in `memory` bytes; images are packed
    /// with `preset` of xz.
    pub fn new(memory: u64, preset: u32, jobs: usize, nodes: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self::divide(memory, preset, jobs, nodes, cores)
    }

    fn divide(memory: u64, preset: u32, jobs: usize, nodes: usize, cores: usize) -> Self {
        let encoder = match preset {
            0..=3 => FAST_ENCODER,
            _ => BEST_ENCODER,
        };
        let left = memory.saturating_sub(PROGRAM + PAGES + BLOCKS + SPARE_BLOCKS);
        let fit = (left / encoder).clamp(1, 1 << 10) as usize;
        let nodes = jobs.min(nodes).min(fit).max(1);
        Self {
            nodes,
            threads: (fit.min(cores) / nodes).max(1),
        }
    }
}

/// How a packed base is read.
pub fn image_options(memory: u64) -> XzImageOptions {
    XzImageOptions {
        // Who gives more memory gets more of it used.
        cache: BLOCKS.max(memory.saturating_sub(DEFAULT_MEMORY) / 2),
        ..XzImageOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_more_at_a_time_and_never_none() {
        let share = |memory: u64, preset, jobs, nodes, cores| {
            let shares = Shares::divide(memory << 20, preset, jobs, nodes, cores);
            (shares.nodes, shares.threads)
        };
        assert_eq!(share(400, 1, 2, 4, 2), (2, 1));
        assert_eq!(share(400, 1, 50, 50, 2), (2, 1));
        assert_eq!(share(400, 1, 8, 1, 8), (1, 2));
        assert_eq!(share(400, 6, 8, 8, 8), (1, 1));
        assert_eq!(share(4000, 6, 4, 8, 8), (4, 2));
        assert_eq!(share(0, 1, 0, 0, 1), (1, 1));
    }
}
