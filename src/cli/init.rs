//! `imgbuild init`: writes the built-in profiles out to edit.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output;
use super::shared_args::GlobalArgs;
use crate::config::ProfileSource;
use crate::error::{Error, Result, ResultExt};
use crate::overlay::Catalog;

/// Arguments of `imgbuild init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Folder to write profiles/ into [default: that of --project]
    pub folder: Option<PathBuf>,
    /// Also write the built-in roles, as overlays/
    #[arg(long)]
    pub overlays: bool,
}

/// Keys, and images that hold them.
const IGNORED: &str = "\
# Keys of the cluster, made by the first build.
/secrets.toml
/.secrets.toml.*
# Images hold keys too.
/out/
";

/// Writes the folders.
pub fn run(args: &InitArgs, global: &GlobalArgs) -> Result<()> {
    let folder = args.folder.as_ref().or(global.project.as_ref());
    let folder = folder.map_or(Path::new("."), PathBuf::as_path);
    write_folder(&folder.join("profiles"), &ProfileSource::built_in_files())?;
    if args.overlays {
        write_folder(&folder.join("overlays"), &Catalog::built_in_files())?;
    }
    write_gitignore(&folder.join(".gitignore"))
}

/// What git must not take. A file that is there stays as it is: builds tell what is missing in it.
fn write_gitignore(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::write(path, IGNORED).context(|| format!("writing {}", path.display()))?;
    output::line(path.display())
}

fn write_folder(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    if folder.exists() {
        return Err(
            Error::refused(format!("{} already exists", folder.display()))
                .with_hint("nothing was changed; move the folder away to start afresh"),
        );
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).context(|| format!("making {}", parent.display()))?;
        fs::write(&path, bytes).context(|| format!("writing {}", path.display()))?;
        output::line(path.display())?;
    }
    Ok(())
}
