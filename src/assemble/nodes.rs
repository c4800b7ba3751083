//! Nodes, several at a time: each a copy-on-write disk over its base, patched and written.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::budget;
use super::node_job::{BuildContext, NodeJob};
use super::{node_records, outputs};
use crate::disk::{CowDisk, PageStore};
use crate::emit::{ChangedBlocks, Emitted};
use crate::error::{Error, Result, ResultExt};
use crate::parallel::lock;
use crate::patch::{self, PatchOptions, Patched};

/// What was made of one node.
#[derive(Debug, Clone)]
pub struct NodeImages {
    pub hostname: String,
    pub images: Vec<Emitted>,
    pub patched: Patched,
    /// The blocks of the image that differ from the base.
    pub blocks: ChangedBlocks,
}

/// The nodes that are complete, in their order, and of those that failed what is left.
#[derive(Default)]
pub struct Outcome {
    pub done: Vec<NodeImages>,
    /// The error that stopped the others, rather than one of those it stopped.
    pub error: Option<Error>,
    /// Images of nodes that failed which were complete before.
    pub images: Vec<Emitted>,
}

/// One node: the images that were complete when it failed, and its end.
type Finished = (usize, Vec<Emitted>, Result<NodeImages>);

/// Builds several nodes at a time. The first failure stops the others.
pub fn build(nodes: Vec<NodeJob<'_>>, context: BuildContext<'_>) -> Outcome {
    let queue: Mutex<VecDeque<(usize, NodeJob<'_>)>> =
        Mutex::new(nodes.into_iter().enumerate().collect());
    let finished = Mutex::new(Vec::new());
    // A failure must stop the other nodes, but must not look like the user's Ctrl-C to the caller.
    let context = &BuildContext {
        job: context.job.child(),
        ..context
    };
    let pages = Arc::new(PageStore::new(budget::PAGES, &context.outputs.folder));
    std::thread::scope(|scope| {
        for _ in 0..context.shares.nodes {
            scope.spawn(|| {
                while let Some((index, node)) = take(&queue) {
                    let mut images = Vec::new();
                    let plan = node.plan;
                    let result = build_one(&node, context, &pages, &mut images).context(|| {
                        format!("building {} (profile {})", plan.hostname, plan.profile)
                    });
                    if result.is_err() {
                        if !images.is_empty() {
                            node_records::remove(&context.outputs.folder, &plan.hostname);
                        }
                        context.job.cancel.cancel();
                    }
                    lock(&finished).push((index, images, result));
                }
            });
        }
    });
    outcome(
        finished
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner),
    )
}

fn take<'a>(queue: &Mutex<VecDeque<(usize, NodeJob<'a>)>>) -> Option<(usize, NodeJob<'a>)> {
    lock(queue).pop_front()
}

fn outcome(mut finished: Vec<Finished>) -> Outcome {
    finished.sort_by_key(|(index, ..)| *index);
    let mut outcome = Outcome::default();
    for (_, images, result) in finished {
        match result {
            Ok(node) => outcome.done.push(node),
            Err(error) => {
                outcome.images.extend(images);
                outcome.error = Some(match outcome.error.take() {
                    Some(known) => known.or_cause(error),
                    None => error,
                });
            }
        }
    }
    outcome
}

/// Makes the images of a node. When one fails, those that are complete are in `images`.
fn build_one(
    node: &NodeJob<'_>,
    context: &BuildContext<'_>,
    pages: &Arc<PageStore>,
    images: &mut Vec<Emitted>,
) -> Result<NodeImages> {
    let patch = PatchOptions {
        payloads: context.payloads,
        time: context.time.or(node.base.locked),
        cancel: &context.job.cancel,
    };
    let (disk, patched) = patch_disk(node, pages, &patch)?;
    outputs::write(node, &disk, context, images)?;
    node_records::write(node, &disk, &patched, context, images)?;
    Ok(NodeImages {
        hostname: node.plan.hostname.clone(),
        images: std::mem::take(images),
        patched,
        blocks: ChangedBlocks::of(&disk, node.base.splice.as_ref()),
    })
}

/// The disk of a node: its base, and what differs from that in `pages`.
pub fn patch_disk(
    node: &NodeJob<'_>,
    pages: &Arc<PageStore>,
    options: &PatchOptions<'_>,
) -> Result<(Arc<CowDisk>, Patched)> {
    options.cancel.check()?;
    let disk = CowDisk::with_memory(node.base.disk.clone(), pages.clone());
    let disk = Arc::new(disk);
    let patched = patch::apply(node.plan, &disk, options)
        .context(|| format!("patching {}", node.base.description()))?;
    Ok((disk, patched))
}
