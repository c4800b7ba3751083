//! From plans to image files: fetches what the plans name, patches one copy-on-write disk a node
//! over a shared base, and writes the outputs.

mod payloads;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config::Node;
use crate::disk::{CowDisk, RawFile, ReadAt};
use crate::emit::{self, Emitted, Format, PackOptions, XzOptions, XzSplice};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::Job;
use crate::patch::{self, PatchOptions, Patched, Payloads};
use crate::plan::Plan;
use crate::project::Project;
use crate::source::{BaseImage, BaseRequest, FetchOptions, Fetcher};

/// Name of the checksum file in the output folder, in the format of sha256sum(1).
const CHECKSUMS: &str = "SHA256SUMS";

/// What to build, and where to.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    pub out: PathBuf,
    pub formats: Vec<Format>,
    /// A base in the place of the profiles' own.
    pub base: Option<BaseRequest>,
    pub fetch: FetchOptions,
    /// Preset of the blocks that are encoded, 0 to 9.
    pub xz_preset: u32,
    /// Level of an `.img.zst`, 1 to 22.
    pub zstd_level: i32,
    /// Level of an `.img.gz`, 1 to 9.
    pub gzip_level: i32,
    /// Whether a block map is written beside the images of a node.
    pub bmap: bool,
    /// Nodes built at the same time.
    pub jobs: usize,
    /// Unix time (seconds) of everything written; `None`: the base's own.
    pub time: Option<i64>,
}

/// What was made of one node.
#[derive(Debug, Clone)]
pub struct NodeImages {
    pub hostname: String,
    pub images: Vec<Emitted>,
    pub patched: Patched,
}

/// A base that nodes are built from.
struct Base {
    disk: Arc<dyn ReadAt>,
    splice: Option<XzSplice>,
    image: BaseImage,
}

/// Builds `nodes`. Returns them in their order, and the path of the checksum file.
pub fn build(
    project: &Project,
    nodes: &[&Node],
    options: &BuildOptions,
    job: &Job,
) -> Result<(Vec<NodeImages>, PathBuf)> {
    let plans: Vec<Plan> = nodes
        .iter()
        .map(|node| project.plan(node, false))
        .collect::<Result<_>>()?;
    emit::prepare_folder(&options.out)?;
    let fetcher = Fetcher::new(options.fetch.clone(), job.clone())?;
    let bases = open_bases(project, nodes, options, &fetcher)?;
    let payloads = payloads::load(&plans, &fetcher)?;
    let work: Vec<Work<'_>> = plans
        .iter()
        .zip(bases)
        .map(|(plan, base)| Work { plan, base })
        .collect();
    let (done, failed) = build_all(work, &payloads, options, job);
    // Also when a node failed: the images that were replaced must not stand beside their old digests.
    let sums = match done.is_empty() {
        true => options.out.join(CHECKSUMS),
        false => write_checksums(&options.out, &done)?,
    };
    match failed {
        None => Ok((done, sums)),
        Some(error) => Err(error),
    }
}

/// The base of every node; nodes with the same request share one.
fn open_bases(
    project: &Project,
    nodes: &[&Node],
    options: &BuildOptions,
    fetcher: &Fetcher,
) -> Result<Vec<Arc<Base>>> {
    let mut opened: BTreeMap<String, Arc<Base>> = BTreeMap::new();
    let mut bases = Vec::new();
    for node in nodes {
        let request = base_request(project, node, options);
        let key = format!("{request:?}");
        let base = match opened.get(&key) {
            Some(base) => base.clone(),
            None => {
                let base = Arc::new(open_base(&request, options, fetcher)?);
                opened.insert(key, base.clone());
                base
            }
        };
        bases.push(base);
    }
    Ok(bases)
}

fn base_request(project: &Project, node: &Node, options: &BuildOptions) -> BaseRequest {
    if let Some(request) = &options.base {
        return request.clone();
    }
    match BaseRequest::from_setting(&node.base.image, node.base.sha256.clone()) {
        BaseRequest::Path(path) => {
            let path = crate::secrets::expand(&path.to_string_lossy(), project.folder());
            BaseRequest::Path(path)
        }
        other => other,
    }
}

fn open_base(request: &BaseRequest, options: &BuildOptions, fetcher: &Fetcher) -> Result<Base> {
    let image = fetcher.base(request)?;
    let raw = RawFile::open(&image.raw)?;
    let splice = match &image.compressed {
        Some(file) if options.formats.contains(&Format::ImgXz) => XzSplice::open(file, raw.len())?,
        _ => None,
    };
    Ok(Base {
        disk: Arc::new(raw),
        splice,
        image,
    })
}

struct Work<'a> {
    plan: &'a Plan,
    base: Arc<Base>,
}

/// Builds with `jobs` threads. The first failure stops the others.
fn build_all(
    work: Vec<Work<'_>>,
    payloads: &Payloads,
    options: &BuildOptions,
    job: &Job,
) -> (Vec<NodeImages>, Option<Error>) {
    let count = work.len();
    let threads = options.jobs.clamp(1, count.max(1));
    let options = &BuildOptions {
        jobs: threads,
        ..options.clone()
    };
    let queue: Mutex<VecDeque<(usize, Work<'_>)>> =
        Mutex::new(work.into_iter().enumerate().collect());
    let results: Mutex<Vec<(usize, Result<NodeImages>)>> = Mutex::new(Vec::with_capacity(count));
    // A failure must stop the other nodes, but must not look like the user's Ctrl-C to the caller.
    let stop = job.cancel.child();
    let job = Job {
        progress: job.progress.clone(),
        cancel: stop.clone(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, work)) = take(&queue) {
                    let result = build_node(&work, payloads, options, &job).context(|| {
                        format!(
                            "building {} (profile {})",
                            work.plan.hostname, work.plan.profile
                        )
                    });
                    if result.is_err() {
                        stop.cancel();
                    }
                    results
                        .lock()
                        .unwrap_or_else(|e| e.into_inner())
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(index, _)| *index);
    in_order(results.into_iter().map(|(_, result)| result).collect())
}

fn take<'a>(queue: &Mutex<VecDeque<(usize, Work<'a>)>>) -> Option<(usize, Work<'a>)> {
    queue.lock().unwrap_or_else(|e| e.into_inner()).pop_front()
}

/// What was done, and of the errors the one that stopped the others rather than one of those it
/// stopped.
fn in_order(results: Vec<Result<NodeImages>>) -> (Vec<NodeImages>, Option<Error>) {
    let mut done = Vec::new();
    let mut first: Option<Error> = None;
    for result in results {
        match (result, &first) {
            (Ok(node), _) => done.push(node),
            (Err(error), None) => first = Some(error),
            (Err(error), Some(known)) if known.kind() == ErrorKind::Interrupted => {
                first = Some(error);
            }
            (Err(_), Some(_)) => {}
        }
    }
    (done, first)
}

fn build_node(
    work: &Work<'_>,
    payloads: &Payloads,
    options: &BuildOptions,
    job: &Job,
) -> Result<NodeImages> {
    let plan = work.plan;
    job.cancel.check()?;
    let disk = Arc::new(CowDisk::new(work.base.disk.clone()));
    let patched = patch::apply(
        plan,
        &disk,
        &PatchOptions {
            payloads,
            time: options.time,
            cancel: &job.cancel,
        },
    )
    .context(|| format!("patching {}", work.base.image.description))?;
    let mut images = Vec::new();
    for format in &options.formats {
        let name = format!("{}.{}", plan.hostname, format.extension());
        let path = options.out.join(&name);
        let emitted = match format {
            Format::Img => emit::write_img(&disk, &path, job, &name)?,
            Format::ImgXz => {
                let xz = XzOptions {
                    preset: options.xz_preset,
                    ..XzOptions::default()
                };
                emit::write_xz(&disk, work.base.splice.as_ref(), &path, xz, job, &name)?
            }
            Format::ImgZst => {
                let zstd = pack_options(options.zstd_level, options);
                emit::write_zst(&disk, &path, zstd, job, &name)?
            }
            Format::ImgGz => {
                let gzip = pack_options(options.gzip_level, options);
                emit::write_gz(&disk, &path, gzip, job, &name)?
            }
        };
        images.push(emitted);
    }
    if options.bmap {
        images.push(write_bmap(&plan.hostname, &disk, options, job)?);
    }
    Ok(NodeImages {
        hostname: plan.hostname.clone(),
        images,
        patched,
    })
}

fn pack_options(level: i32, options: &BuildOptions) -> PackOptions {
    PackOptions {
        level,
        threads: threads_per_node(options),
    }
}

/// The processors are shared among the nodes that are built at the same time, which keeps the memory
/// in bounds.
fn threads_per_node(options: &BuildOptions) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    processors.div_ceil(options.jobs.max(1))
}

/// One block map for all images of a node: `bmaptool` finds it by their names without `.xz`.
fn write_bmap(
    hostname: &str,
    disk: &Arc<CowDisk>,
    options: &BuildOptions,
    job: &Job,
) -> Result<Emitted> {
    let name = format!("{hostname}.img.bmap");
    let used = patch::used_ranges(disk, &job.cancel)?;
    let threads = threads_per_node(options);
    emit::write_bmap(disk, &used, &options.out.join(&name), threads, job, &name)
}

/// Writes SHA256SUMS beside the images. Lines of images that were built earlier and are still there
/// are kept.
fn write_checksums(out: &Path, results: &[NodeImages]) -> Result<PathBuf> {
    let path = out.join(CHECKSUMS);
    let mut sums: BTreeMap<String, String> = BTreeMap::new();
    if let Ok(text) = std::fs::read_to_string(&path) {
        for line in text.lines() {
            if let Some((digest, name)) = line.split_once("  ")
                && out.join(name).is_file()
            {
                sums.insert(name.to_owned(), digest.to_owned());
            }
        }
    }
    for image in results.iter().flat_map(|r| &r.images) {
        let name = image
            .path
            .file_name()
            .ok_or_else(|| Error::failed(format!("{} has no file name", image.path.display())))?;
        sums.insert(name.to_string_lossy().into_owned(), image.sha256.clone());
    }
    let entries: Vec<(String, String)> = sums.into_iter().map(|(name, sum)| (sum, name)).collect();
    emit::write_checksums(&path, &entries)?;
    Ok(path)
}
