//! The bases that nodes are built from, each opened once.
//!
//! An `.img.xz` base is read where it lies, block by block, and is not unpacked: to change a node and
//! pack it again takes only the blocks that the metadata and the edits are in. A raw copy in the cache
//! is used when it is there. It is made only when it pays at once: when several nodes need the whole
//! raw image (as `.img`, or for its digest), which is then decoded once, or when the file system can
//! clone it into the output, which then costs neither time nor space. A single `.img` is decoded
//! straight to its place. The copy takes 2 to 3 GB, can be removed at any time, and saves the next
//! build of an `.img` about half a minute.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::budget;
use super::options::{Digests, Inputs, Outputs};
use crate::config::Node;
use crate::disk::{RawFile, ReadAt};
use crate::emit::{self, Format};
use crate::error::{Error, Result};
use crate::home_path::expand;
use crate::job::Job;
use crate::lock::{Location, Pin};
use crate::project::Project;
use crate::source::{BaseImage, BaseImages, BaseRequest, Pins, Store};
use crate::xz::{Splice, XzFile, XzImage};

/// A base that nodes are built from.
pub struct Base {
    pub disk: Arc<dyn ReadAt>,
    /// The same, if it is read packed.
    packed: Option<Arc<XzImage>>,
    pub splice: Option<Splice>,
    image: BaseImage,
    /// When it was pinned, in seconds since 1970; a file of this computer is not.
    pub locked: Option<i64>,
}

/// How a base was used.
#[derive(Debug, Clone)]
pub struct BaseUsage {
    /// What it is, for people.
    pub description: String,
    /// Of a base that was read packed: how many of its blocks were decoded, and how many it has.
    pub decoded: Option<(usize, usize)>,
}

/// What a base has to give: the blocks that the edits are in, and what the outputs take beside them.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// An `.img.xz` is made of its packed blocks, if it has any that can be copied.
    splice: bool,
    /// All of the raw image is read.
    whole: bool,
    /// Where clones of the raw image are of use.
    clone_to: Option<PathBuf>,
}

impl Demand {
    /// That of nodes that are not written to a file.
    pub fn of_edits() -> Self {
        Self::default()
    }

    pub fn of(outputs: &Outputs) -> Self {
        let formats = &outputs.formats;
        Self {
            splice: formats.contains(&Format::ImgXz),
            whole: outputs.digests == Digests::Raw
                || formats.iter().any(|format| *format != Format::ImgXz),
            clone_to: formats
                .contains(&Format::Img)
                .then(|| outputs.folder.clone()),
        }
    }

    /// Whether building a node takes all of the raw base, not only the blocks with changes.
    fn reads_all(&self, spliced: bool) -> bool {
        self.whole || (self.splice && !spliced)
    }

    /// Whether raw images can be made by cloning what is in the folder `raw`.
    fn clones(&self, raw: &Path) -> bool {
        let to = self.clone_to.as_deref();
        to.is_some_and(|to| emit::can_clone(raw, to))
    }
}

impl Base {
    /// Opens the base that `pin` stands for.
    pub fn open(
        pin: &Pin,
        path: PathBuf,
        demand: &Demand,
        memory: u64,
        store: &Store,
    ) -> Result<Self> {
        let mut base = Self::of(BaseImages::new(store).open(pin, path)?, demand, memory)?;
        base.locked = matches!(pin.location, Location::Url(_)).then_some(pin.resolved);
        Ok(base)
    }

    fn of(image: BaseImage, demand: &Demand, memory: u64) -> Result<Self> {
        let options = budget::image_options(memory);
        let image_of = |file: &Arc<XzFile>| Arc::new(XzImage::new(file.clone(), options));
        let (disk, packed): (Arc<dyn ReadAt>, _) = match (&image.raw, &image.packed) {
            (Some(raw), _) => (Arc::new(RawFile::open(raw)?), None),
            (None, Some(file)) => {
                let packed = image_of(file);
                (packed.clone(), Some(packed))
            }
            (None, None) => return Err(Error::failed("the base image is neither raw nor packed")),
        };
        let file = image.packed.as_ref().filter(|_| demand.splice);
        let splice = file.and_then(|file| Splice::of(file, disk.len()));
        Ok(Self {
            disk,
            packed,
            splice,
            image,
            locked: None,
        })
    }

    /// What it is, for people.
    pub fn description(&self) -> &str {
        &self.image.description
    }

    /// Keeps what was read of a packed base. A later build without it takes longer, and is the same:
    /// that it cannot be kept is no reason to fail.
    fn remember(&self, store: &Store, job: &Job) {
        let pages = self.packed.as_ref().and_then(|packed| packed.known_pages());
        if let Some(pages) = pages
            && let Err(error) = BaseImages::new(store).remember(&self.image, &pages)
        {
            job.progress.note(&format!("the cache: {error}"));
        }
    }

    fn usage(&self) -> BaseUsage {
        let blocks = |image: &Arc<XzImage>| (image.decoded(), image.layout().blocks.len());
        BaseUsage {
            description: self.image.description.clone(),
            decoded: self.packed.as_ref().map(blocks),
        }
    }
}

/// Opens a base as it is found. Nothing has been verified of it that takes all of it.
fn find(request: &BaseRequest, demand: &Demand, memory: u64, pins: &Pins<'_>) -> Result<Base> {
    let pin = pins.base(request)?;
    let path = pins.store().fetch(&pin)?;
    Base::open(&pin, path, demand, memory, pins.store())
}

/// Opens the base that `sharing` nodes are built from.
pub fn open(
    request: &BaseRequest,
    sharing: usize,
    demand: &Demand,
    memory: u64,
    pins: &Pins<'_>,
) -> Result<Base> {
    let base = find(request, demand, memory, pins)?;
    let images = BaseImages::new(pins.store());
    // Otherwise all of it is decoded on its way to the outputs.
    if base.splice.is_some() || !demand.reads_all(false) {
        images.vouch(&base.image)?;
    }
    let pays = sharing > 1 || demand.clones(&images.raw_folder());
    if base.packed.is_some() && pays && demand.reads_all(base.splice.is_some()) {
        let unpacked = Base::of(images.unpack(base.image)?, demand, memory)?;
        return Ok(Base {
            locked: base.locked,
            ..unpacked
        });
    }
    if let Some(packed) = &base.packed
        && let Some(pages) = images.recall(&base.image)
    {
        packed.recall(&pages);
    }
    Ok(base)
}

/// What `node` is built from: what was asked for in the place of the profiles' own, or that.
pub fn request(project: &Project, node: &Node, inputs: &Inputs) -> Result<BaseRequest> {
    if let Some(request) = &inputs.base {
        return Ok(request.clone());
    }
    let base = &node.base;
    Ok(
        match BaseRequest::from_setting(&base.image, base.sha256.as_deref())? {
            BaseRequest::Path { path, sha256 } => {
                let path = expand(&path.to_string_lossy(), project.folder());
                BaseRequest::Path { path, sha256 }
            }
            other => other,
        },
    )
}

/// The bases of some nodes. Nodes with the same request share one.
pub struct Bases {
    distinct: Vec<Arc<Base>>,
    /// The place in `distinct` of each node's base, in the order of the nodes.
    places: Vec<usize>,
}

impl Bases {
    /// Opens the base of every node of `nodes`.
    pub fn open(
        project: &Project,
        nodes: &[&Node],
        inputs: &Inputs,
        demand: &Demand,
        pins: &Pins<'_>,
    ) -> Result<Self> {
        let requests: Vec<BaseRequest> = nodes
            .iter()
            .map(|node| request(project, node, inputs))
            .collect::<Result<_>>()?;
        let mut bases = Self {
            distinct: Vec::new(),
            places: Vec::new(),
        };
        let mut known: Vec<&BaseRequest> = Vec::new();
        for request in &requests {
            let place = known.iter().position(|other| *other == request);
            if place.is_none() {
                let sharing = requests.iter().filter(|other| *other == request).count();
                let base = open(request, sharing, demand, inputs.memory, pins)?;
                known.push(request);
                bases.distinct.push(Arc::new(base));
            }
            bases.places.push(place.unwrap_or(known.len() - 1));
        }
        Ok(bases)
    }

    /// Each base once.
    pub fn distinct(&self) -> &[Arc<Base>] {
        &self.distinct
    }

    /// The place in [`distinct`](Self::distinct) of every node's base, in the order of the nodes.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().copied()
    }

    /// The base of every node, in the order of the nodes.
    pub fn of_nodes(&self) -> impl Iterator<Item = &Arc<Base>> {
        self.places.iter().map(|place| &self.distinct[*place])
    }

    /// Keeps what was read of packed bases for later builds.
    pub fn remember(&self, store: &Store, job: &Job) {
        self.distinct
            .iter()
            .for_each(|base| base.remember(store, job));
    }

    /// How each was used.
    pub fn usage(&self) -> Vec<BaseUsage> {
        self.distinct.iter().map(|base| base.usage()).collect()
    }
}
