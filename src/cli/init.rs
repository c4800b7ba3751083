//! `imgbuild init`: writes the built-in profiles out to edit.

use std::fs;
use std::path::Path;

use super::args::InitArgs;
use super::output;
use crate::config::ProfileSource;
use crate::error::{Error, Result, ResultExt};
use crate::overlay::Catalog;

pub fn run(args: &InitArgs) -> Result<()> {
    write_folder(
        &args.folder.join("profiles"),
        &ProfileSource::built_in_files(),
    )?;
    if args.overlays {
        write_folder(&args.folder.join("overlays"), &Catalog::built_in_files())?;
    }
    Ok(())
}

fn write_folder(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    if folder.exists() {
        return Err(
            Error::refused(format!("{} exists already", folder.display()))
                .with_hint("nothing was changed; move it away to start afresh"),
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
