//! Files beside the images that let people in: a kubeconfig, and the authority of the LAN's services. They
//! are no part of an image, and stand in no checksum file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::config::Node;
use crate::error::{Error, Result, ResultExt};
use crate::pki::{Access, Kubeconfig, Purpose, local_ca_file};
use crate::project::Project;
use crate::whole_file;

/// Name of the kubeconfig.
pub const KUBECONFIG: &str = "kubeconfig";
/// Name of the authority's certificate.
pub const LOCAL_CA: &str = "ca.crt";

/// A larger file is no kubeconfig of ours.
const LIMIT: u64 = 1 << 20;

/// What was written, or was there and still fits.
#[derive(Debug, Clone, Default)]
pub struct AccessFiles {
    /// The kubeconfig and its last day, `YYYY-MM-DD`.
    pub kubeconfig: Option<(PathBuf, String)>,
    pub local_ca: Option<PathBuf>,
    /// A file of somebody else where the kubeconfig would be.
    pub foreign: Option<PathBuf>,
}

/// Writes into `folder` what goes with `nodes`. A kubeconfig that fits the cluster and is of use for a week or
/// more stays as it is; one that is not imgbuild's stays in any case.
pub fn write(project: &Project, nodes: &[&Node], folder: &Path) -> Result<AccessFiles> {
    let needs = project.pki_needs(nodes)?;
    let mut files = AccessFiles::default();
    let server = project.cluster.k3s_server();
    let has_server = server.is_some_and(|server| nodes.iter().any(|n| n.profile == server.profile));
    if has_server && needs.contains(&Purpose::Cluster) {
        let path = folder.join(KUBECONFIG);
        files.kubeconfig = kubeconfig(project, &path)?;
        files.foreign = files.kubeconfig.is_none().then_some(path);
    }
    if needs.contains(&Purpose::LocalCa)
        && let Some(text) = local_ca_file(project.keys()?.as_ref())
    {
        let path = folder.join(LOCAL_CA);
        whole_file::write(&path, text.as_bytes())
            .context(|| format!("cannot write {}", path.display()))?;
        files.local_ca = Some(path);
    }
    Ok(files)
}

fn kubeconfig(project: &Project, path: &Path) -> Result<Option<(PathBuf, String)>> {
    let (keys, place, now) = (project.keys()?, project.place()?, clock::now());
    let there = read(path)?;
    if let Some(text) = &there {
        if !Kubeconfig::is_ours(text) {
            return Ok(None);
        }
        if let Some(until) = Kubeconfig::fresh(text, &keys, &place, now) {
            return Ok(Some((path.to_owned(), until)));
        }
    }
    let made = Kubeconfig::make(&keys, &place, &Access::default(), now)?;
    put(path, &made)?;
    Ok(Some((path.to_owned(), made.until)))
}

/// Makes a kubeconfig at `path`, in the place of another one of imgbuild.
pub fn write_kubeconfig(project: &Project, access: &Access, path: &Path) -> Result<Kubeconfig> {
    if read(path)?.is_some_and(|text| !Kubeconfig::is_ours(&text)) {
        return Err(Error::refused(format!(
            "{} was not written by imgbuild, and may lead to other clusters",
            path.display()
        ))
        .with_hint("give another file with --out, and name both in KUBECONFIG"));
    }
    let keys = project.keys()?;
    let made = Kubeconfig::make(&keys, &project.place()?, access, clock::now())?;
    let folder = whole_file::folder(path);
    fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    put(path, &made)?;
    Ok(made)
}

fn put(path: &Path, kubeconfig: &Kubeconfig) -> Result<()> {
    whole_file::write_private(path, kubeconfig.text.as_bytes(), false)
        .context(|| format!("cannot write {}", path.display()))
}

/// The text at `path`; `None` where there is nothing.
fn read(path: &Path) -> Result<Option<String>> {
    let Ok(found) = fs::metadata(path) else {
        return Ok(None);
    };
    if !found.is_file() || found.len() > LIMIT {
        return Ok(Some(String::new()));
    }
    let bytes = fs::read(path).context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
