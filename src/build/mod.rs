//! From plans to image files: fetches what the plans name, patches one copy-on-write disk a node
//! over a shared base, and writes the outputs.
//!
//! An `.img.xz` base is read where it lies, block by block, and is not unpacked: to change a node and
//! pack it again takes only the blocks that the metadata and the edits are in. A raw copy in the cache
//! is used when it is there. It is made only when it pays at once: when several nodes need the whole
//! raw image (as `.img`, or for its digest), which is then decoded once, or when the file system can
//! clone it into the output, which then costs neither time nor space. A single `.img` is decoded
//! straight to its place. The copy takes 2 to 3 GB, can be removed at any time, and saves the next
//! build of an `.img` about half a minute.

mod base_check;
mod memory;
mod payloads;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config::Node;
use crate::disk::{CowDisk, PageMemory, RawFile, ReadAt, XzImage, partition_table};
use crate::emit::{
    self, ChangedBlocks, Emitted, Format, ImgOptions, PackOptions, Packing, XzOptions, XzSplice,
};
use crate::error::{Error, Result, ResultExt};
use crate::job::Job;
use crate::patch::{self, PatchOptions, Patched, Payloads};
use crate::plan::Plan;
use crate::project::Project;
use crate::source::{BaseImage, BaseRequest, FetchOptions, Fetcher};

use base_check::BaseCheck;
pub use base_check::check_with_bases;
pub use memory::DEFAULT_MEMORY;
use memory::Shares;

/// What to build, and where to.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    pub out: PathBuf,
    pub formats: Vec<Format>,
    /// A base in the place of the profiles' own.
    pub base: Option<BaseRequest>,
    pub fetch: FetchOptions,
    /// How hard images are packed; how many threads do it is decided here.
    pub packing: Packing,
    /// Whether a block map is written beside the images of a node.
    pub bmap: bool,
    /// Nodes built at the same time, as far as the memory allows.
    pub jobs: usize,
    /// Bytes of memory to stay below, about, whatever the number of nodes.
    pub memory: u64,
    pub digests: Digests,
    /// Unix time (seconds) of everything written; `None`: the base's own.
    pub time: Option<i64>,
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

impl BuildOptions {
    /// For a node or an image that is not written to a file.
    pub fn without_files(
        base: Option<BaseRequest>,
        fetch: FetchOptions,
        time: Option<i64>,
    ) -> Self {
        Self {
            out: PathBuf::new(),
            formats: Vec::new(),
            base,
            fetch,
            packing: Packing::fast(),
            bmap: false,
            jobs: 1,
            memory: DEFAULT_MEMORY,
            digests: Digests::Free,
            time,
        }
    }
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// In the order of the nodes.
    pub nodes: Vec<NodeImages>,
    /// The checksum file, if there is anything in it.
    pub checksums: Option<PathBuf>,
    /// Each base once.
    pub bases: Vec<BaseUse>,
}

/// How a base was used.
#[derive(Debug, Clone)]
pub struct BaseUse {
    /// What it is, for people.
    pub description: String,
    /// Of a base that was read packed: how many of its blocks were decoded, and how many it has.
    pub decoded: Option<(usize, usize)>,
}

/// What was made of one node.
#[derive(Debug, Clone)]
pub struct NodeImages {
    pub hostname: String,
    pub images: Vec<Emitted>,
    pub patched: Patched,
    /// The blocks of the image that differ from the base.
    pub blocks: ChangedBlocks,
}

/// A base that nodes are built from.
struct Base {
    disk: Arc<dyn ReadAt>,
    /// The same, if it is read packed.
    packed: Option<Arc<XzImage>>,
    splice: Option<XzSplice>,
    image: BaseImage,
}

impl Base {
    fn open(image: BaseImage, options: &BuildOptions) -> Result<Self> {
        let (disk, packed): (Arc<dyn ReadAt>, _) = match &image.raw {
            Some(raw) => (Arc::new(RawFile::open(raw)?), None),
            None => {
                let packed = Arc::new(open_packed(&image, options)?);
                (packed.clone(), Some(packed))
            }
        };
        let splice = match &image.compressed {
            Some(file) if options.formats.contains(&Format::ImgXz) => {
                XzSplice::open(file, disk.len())?
            }
            _ => None,
        };
        Ok(Self {
            disk,
            packed,
            splice,
            image,
        })
    }

    /// Keeps what was read of a packed base. A later build without it takes longer, and is the same:
    /// that it cannot be kept is no reason to fail.
    fn remember(&self, fetcher: &Fetcher, job: &Job) {
        let pages = self.packed.as_ref().and_then(|packed| packed.known_pages());
        if let Some(pages) = pages
            && let Err(error) = fetcher.remember(&self.image, &pages)
        {
            job.progress.note(&format!("the cache: {error}"));
        }
    }

    fn usage(&self) -> BaseUse {
        let blocks = |image: &Arc<XzImage>| (image.decoded(), image.layout().blocks.len());
        BaseUse {
            description: self.image.description.clone(),
            decoded: self.packed.as_ref().map(blocks),
        }
    }
}

/// Builds `nodes`.
pub fn build(
    project: &Project,
    nodes: &[&Node],
    options: &BuildOptions,
    job: &Job,
) -> Result<Built> {
    let plans = project.plans(nodes, false)?;
    emit::prepare_folder(&options.out)?;
    let fetcher = Fetcher::new(options.fetch.clone(), job.clone())?;
    let bases = open_bases(project, nodes, options, &fetcher)?;
    let base_check = BaseCheck::open(project, nodes, &plans, &bases)?;
    base_check.check()?;
    let payloads = payloads::load(&plans, &fetcher)?;
    base_check.check_room(&payloads)?;
    drop(base_check);
    let work: Vec<Work<'_>> = plans
        .iter()
        .zip(&bases)
        .map(|(plan, base)| Work { plan, base })
        .collect();
    let (done, failed) = build_all(work, &payloads, options, job);
    let images = done.iter().flat_map(|node| &node.images);
    // Also when a node failed: the images that were replaced must not stand beside their old digests.
    let checksums = write_checksums(&options.out, images.chain(&failed.images));
    if let Some(error) = failed.error {
        return Err(error);
    }
    let checksums = checksums?;
    let mut distinct: Vec<&Arc<Base>> = Vec::new();
    for base in &bases {
        if !distinct.iter().any(|known| Arc::ptr_eq(known, base)) {
            distinct.push(base);
        }
    }
    distinct
        .iter()
        .for_each(|base| base.remember(&fetcher, job));
    Ok(Built {
        nodes: done,
        checksums,
        bases: distinct.into_iter().map(|base| base.usage()).collect(),
    })
}

/// The base of every node; nodes with the same request share one.
fn open_bases(
    project: &Project,
    nodes: &[&Node],
    options: &BuildOptions,
    fetcher: &Fetcher,
) -> Result<Vec<Arc<Base>>> {
    let requests: Vec<BaseRequest> = nodes
        .iter()
        .map(|node| base_request(project, node, options))
        .collect();
    let mut opened: BTreeMap<String, Arc<Base>> = BTreeMap::new();
    let mut bases = Vec::new();
    for request in &requests {
        let key = format!("{request:?}");
        let base = match opened.get(&key) {
            Some(base) => base.clone(),
            None => {
                let sharing = requests.iter().filter(|other| *other == request).count();
                let base = Arc::new(open_base(request, sharing, options, fetcher)?);
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
        BaseRequest::Path { path, sha256 } => {
            let path = crate::secrets::expand(&path.to_string_lossy(), project.folder());
            BaseRequest::Path { path, sha256 }
        }
        other => other,
    }
}

/// Opens the base that `sharing` nodes are built from.
fn open_base(
    request: &BaseRequest,
    sharing: usize,
    options: &BuildOptions,
    fetcher: &Fetcher,
) -> Result<Base> {
    let base = Base::open(fetcher.find(request)?, options)?;
    // Otherwise all of it is decoded on its way to the outputs.
    if base.splice.is_some() || !reads_all(options, false) {
        fetcher.vouch(&base.image)?;
    }
    let pays = sharing > 1 || clones(options, &fetcher.raw_folder());
    if base.packed.is_some() && pays && reads_all(options, base.splice.is_some()) {
        return Base::open(fetcher.unpack(base.image)?, options);
    }
    if let Some(packed) = &base.packed
        && let Some(pages) = fetcher.recall(&base.image)
    {
        packed.recall(&pages);
    }
    Ok(base)
}

fn open_packed(image: &BaseImage, options: &BuildOptions) -> Result<XzImage> {
    let file = image.compressed.as_deref().unwrap_or(Path::new(""));
    XzImage::open(file, memory::image_options(options.memory))?.ok_or_else(|| {
        Error::failed(format!("{} changed while it was used", file.display()))
            .with_hint("wait until whatever writes to it is done")
    })
}

/// Whether building a node takes all of the raw base, not only the blocks with changes.
fn reads_all(options: &BuildOptions, spliced: bool) -> bool {
    options.digests == Digests::Raw
        || options
            .formats
            .iter()
            .any(|format| *format != Format::ImgXz || !spliced)
}

/// Whether raw images can be made by cloning what is in the folder `raw`.
fn clones(options: &BuildOptions, raw: &Path) -> bool {
    options.formats.contains(&Format::Img) && emit::can_clone(raw, &options.out)
}

struct Work<'a> {
    plan: &'a Plan,
    base: &'a Base,
}

/// What all nodes of a build have in common.
struct Common<'a> {
    payloads: &'a Payloads,
    options: &'a BuildOptions,
    shares: Shares,
    /// For the pages of all nodes.
    pages: Arc<PageMemory>,
    job: Job,
}

/// Builds several nodes at a time. The first failure stops the others.
fn build_all(
    work: Vec<Work<'_>>,
    payloads: &Payloads,
    options: &BuildOptions,
    job: &Job,
) -> (Vec<NodeImages>, Failed) {
    let count = work.len();
    let threads = options.jobs.clamp(1, count.max(1));
    let options = &BuildOptions {
        jobs: threads,
        ..options.clone()
    };
    let queue: Mutex<VecDeque<(usize, Work<'_>)>> =
        Mutex::new(work.into_iter().enumerate().collect());
    let results = Mutex::new(Vec::with_capacity(count));
    // A failure must stop the other nodes, but must not look like the user's Ctrl-C to the caller.
    let stop = job.cancel.child();
    let shares = Shares::new(options, count);
    let common = Common {
        payloads,
        options,
        pages: Arc::new(PageMemory::new(memory::PAGES, &options.out)),
        shares,
        job: Job {
            progress: job.progress.clone(),
            cancel: stop.clone(),
        },
    };
    std::thread::scope(|scope| {
        for _ in 0..shares.nodes {
            scope.spawn(|| {
                while let Some((index, work)) = take(&queue) {
                    let mut images = Vec::new();
                    let result = build_node(&work, &common, &mut images).context(|| {
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
                        .push((index, images, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(index, ..)| *index);
    sorted_out(results)
}

fn take<'a>(queue: &Mutex<VecDeque<(usize, Work<'a>)>>) -> Option<(usize, Work<'a>)> {
    queue.lock().unwrap_or_else(|e| e.into_inner()).pop_front()
}

/// Of the nodes that failed.
#[derive(Default)]
struct Failed {
    /// The error that stopped the others, rather than one of those it stopped.
    error: Option<Error>,
    /// Images that were complete before it.
    images: Vec<Emitted>,
}

/// What became of one node: its number, and the images that were complete when it failed.
type Outcome = (usize, Vec<Emitted>, Result<NodeImages>);

fn sorted_out(results: Vec<Outcome>) -> (Vec<NodeImages>, Failed) {
    let (mut done, mut failed) = (Vec::new(), Failed::default());
    for (_, images, result) in results {
        match result {
            Ok(node) => done.push(node),
            Err(error) => {
                failed.images.extend(images);
                failed.error = Some(match failed.error.take() {
                    Some(known) => known.or_cause(error),
                    None => error,
                });
            }
        }
    }
    (done, failed)
}

/// A node whose image is in memory and in its base, not in a file.
pub struct PatchedNode {
    pub disk: Arc<CowDisk>,
    pub patched: Patched,
    /// What the base is, for people.
    pub base: String,
}

/// Makes one node without writing it anywhere.
pub fn patched_node(
    project: &Project,
    node: &Node,
    options: &BuildOptions,
    job: &Job,
) -> Result<PatchedNode> {
    let plan = project.plan(node, false)?;
    let fetcher = Fetcher::new(options.fetch.clone(), job.clone())?;
    let base = open_base(&base_request(project, node, options), 1, options, &fetcher)?;
    let base = Arc::new(base);
    let (plans, bases) = (std::slice::from_ref(&plan), std::slice::from_ref(&base));
    let base_check = BaseCheck::open(project, &[node], plans, bases)?;
    base_check.check()?;
    let payloads = payloads::load(plans, &fetcher)?;
    base_check.check_room(&payloads)?;
    let common = Common {
        payloads: &payloads,
        options,
        shares: Shares::new(options, 1),
        pages: Arc::new(PageMemory::new(memory::PAGES, &std::env::temp_dir())),
        job: job.clone(),
    };
    let (disk, patched) = patch_disk(&plan, &base, &common)?;
    base.remember(&fetcher, job);
    Ok(PatchedNode {
        disk,
        patched,
        base: base.image.description.clone(),
    })
}

/// A base or an image that was built, as a disk without a change.
pub fn open_image(path: &Path, fetch: &FetchOptions, job: &Job) -> Result<Arc<CowDisk>> {
    let raw = RawFile::open(path)?;
    // What has a partition table is no archive; anything else may be one.
    if partition_table::read(&raw).is_ok() {
        return Ok(Arc::new(CowDisk::new(Arc::new(raw))));
    }
    let fetcher = Fetcher::new(fetch.clone(), job.clone())?;
    let options = BuildOptions::without_files(None, fetch.clone(), None);
    let image = fetcher.find(&BaseRequest::file(path))?;
    Ok(Arc::new(CowDisk::new(Base::open(image, &options)?.disk)))
}

fn patch_disk(plan: &Plan, base: &Base, common: &Common<'_>) -> Result<(Arc<CowDisk>, Patched)> {
    let job = &common.job;
    job.cancel.check()?;
    let disk = Arc::new(CowDisk::with_memory(
        base.disk.clone(),
        common.pages.clone(),
    ));
    let patched = patch::apply(
        plan,
        &disk,
        &PatchOptions {
            payloads: common.payloads,
            time: common.options.time,
            cancel: &job.cancel,
        },
    )
    .context(|| format!("patching {}", base.image.description))?;
    Ok((disk, patched))
}

/// Makes the images of a node. When one fails, those that are complete are in `images`.
fn build_node(
    work: &Work<'_>,
    common: &Common<'_>,
    images: &mut Vec<Emitted>,
) -> Result<NodeImages> {
    let plan = work.plan;
    let (disk, patched) = patch_disk(plan, work.base, common)?;
    for format in &common.options.formats {
        images.push(emit_one(*format, work, &disk, common)?);
    }
    if common.options.digests == Digests::Raw {
        add_raw_digest(images, &plan.hostname, &disk, common)?;
    }
    if common.options.bmap {
        images.push(write_bmap(&plan.hostname, &disk, common)?);
    }
    Ok(NodeImages {
        hostname: plan.hostname.clone(),
        images: std::mem::take(images),
        patched,
        blocks: ChangedBlocks::of(&disk, work.base.splice.as_ref()),
    })
}

fn emit_one(
    format: Format,
    work: &Work<'_>,
    disk: &CowDisk,
    common: &Common<'_>,
) -> Result<Emitted> {
    let name = format!("{}.{}", work.plan.hostname, format.extension());
    let path = common.options.out.join(&name);
    let (threads, job) = (common.shares.threads, &common.job);
    let private = work.plan.holds_secrets();
    let pack = |level| PackOptions {
        level,
        threads,
        private,
    };
    match format {
        Format::Img => {
            let options = ImgOptions {
                digest: common.options.digests != Digests::Free,
                threads,
                private,
            };
            emit::write_img_with(disk, &path, options, job, &name)
        }
        Format::ImgXz => {
            let xz = XzOptions {
                threads,
                private,
                ..common.options.packing.xz
            };
            emit::write_xz(disk, work.base.splice.as_ref(), &path, xz, job, &name)
        }
        Format::ImgZst => {
            let options = pack(common.options.packing.zstd_level);
            emit::write_zst(disk, &path, options, job, &name)
        }
        Format::ImgGz => {
            let options = pack(common.options.packing.gzip_level);
            emit::write_gz(disk, &path, options, job, &name)
        }
    }
}

/// Every image of a node holds the same raw image, so its digest is taken once.
fn add_raw_digest(
    images: &mut [Emitted],
    hostname: &str,
    disk: &CowDisk,
    common: &Common<'_>,
) -> Result<()> {
    let known = images.iter().find_map(|image| image.raw_sha256.clone());
    let digest = match known {
        Some(digest) => digest,
        None => {
            let label = format!("{hostname}: digest of the raw image");
            emit::raw_digest(disk, common.shares.threads, &common.job, &label)?
        }
    };
    for image in images {
        image.raw_sha256 = Some(digest.clone());
    }
    Ok(())
}

/// One block map for all images of a node: `bmaptool` finds it by their names without `.xz`.
fn write_bmap(hostname: &str, disk: &Arc<CowDisk>, common: &Common<'_>) -> Result<Emitted> {
    let (threads, job) = (common.shares.threads, &common.job);
    let name = format!("{hostname}.img.bmap");
    let used = patch::used_ranges(disk, &job.cancel)?;
    let path = common.options.out.join(&name);
    emit::write_bmap(disk, &used, &path, threads, job, &name)
}

/// Writes SHA256SUMS beside the images. Lines of images that were built earlier and are still there
/// are kept. `None`: there is nothing to write in it.
fn write_checksums<'a>(
    out: &Path,
    images: impl Iterator<Item = &'a Emitted>,
) -> Result<Option<PathBuf>> {
    let path = out.join(emit::CHECKSUMS);
    let mut sums: BTreeMap<String, String> = BTreeMap::new();
    let before = std::fs::read_to_string(&path);
    for line in before.as_deref().unwrap_or_default().lines() {
        if let Some((digest, name)) = line.split_once("  ")
            && out.join(name).is_file()
        {
            sums.insert(name.to_owned(), digest.to_owned());
        }
    }
    let mut images = images.peekable();
    if images.peek().is_none() {
        return Ok(None);
    }
    for image in images {
        let name = image
            .path
            .file_name()
            .ok_or_else(|| Error::failed(format!("{} has no file name", image.path.display())))?;
        let name = name.to_string_lossy().into_owned();
        match &image.sha256 {
            Some(digest) => sums.insert(name, digest.clone()),
            None => sums.remove(&name),
        };
    }
    if sums.is_empty() {
        // Its lines would be those of images that were replaced.
        let removed = before.map_or(Ok(()), |_| std::fs::remove_file(&path));
        return removed
            .context(|| format!("removing {}", path.display()))
            .map(|()| None);
    }
    let entries: Vec<(String, String)> = sums.into_iter().map(|(name, sum)| (sum, name)).collect();
    emit::write_checksums(&path, &entries)?;
    Ok(Some(path))
}
