//! Whether git would take the secrets file.

use std::fs;
use std::path::Path;

/// Says what to do when `folder` is part of a git work tree whose ignore files do not name `file`.
///
/// It reads the plain forms of patterns, and asks no git: a repository's settings can make git run
/// programs. So a pattern of another form ends in advice that was not needed.
pub fn not_ignored(folder: &Path, file: &str) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let root = folder.ancestors().find(|path| path.join(".git").exists())?;
    let within: Vec<&Path> = folder
        .ancestors()
        .take_while(|path| path.starts_with(root))
        .collect();
    let named = within.iter().any(|at| {
        let relative = folder.strip_prefix(at).unwrap_or(Path::new(""));
        names(&at.join(".gitignore"), &relative.join(file), file)
    });
    let relative = folder.strip_prefix(root).unwrap_or(Path::new(""));
    if named || names(&root.join(".git/info/exclude"), &relative.join(file), file) {
        return None;
    }
    Some(format!(
        "git does not ignore {file}, which holds keys: echo /{file} >> {}",
        folder.join(".gitignore").display()
    ))
}

/// Whether a line of the ignore file at `path` means `file`, which is at `relative` to its folder.
fn names(path: &Path, relative: &Path, file: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut named = false;
    for line in text.lines().map(str::trim_end) {
        let (line, kept) = match line.strip_prefix('!') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let line = line.trim_start_matches("**/");
        let anchored = line.strip_prefix('/').unwrap_or(line);
        let is_path = Path::new(anchored) == relative;
        let is_name = line == file || line == "*" || line == "*.toml" || line == "secrets.*";
        if is_path || is_name {
            named = !kept;
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("home/cluster");
        fs::create_dir_all(&project).unwrap();
        let advice = || not_ignored(&project, "secrets.toml");
        assert_eq!(advice(), None, "no repository");
        fs::create_dir(dir.path().join(".git")).unwrap();
        assert!(advice().unwrap().contains("home/cluster/.gitignore"));
        for (file, text, ignored) in [
            ("home/cluster/.gitignore", "/out\n/secrets.toml\n", true),
            (
                "home/cluster/.gitignore",
                "secrets.toml\n!secrets.toml\n",
                false,
            ),
            (".gitignore", "secrets.toml\r\n", true),
            (".gitignore", "/secrets.toml\n", false),
            (".gitignore", "home/cluster/secrets.toml\n", true),
            ("home/.gitignore", "/cluster/secrets.toml\n", true),
            (".git/info/exclude", "**/secrets.toml\n", true),
            (
                "home/cluster/.gitignore",
                "# secrets.toml\nsecrets.toml.bak\n",
                false,
            ),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            assert_eq!(advice().is_none(), ignored, "{file}: {text}");
            fs::remove_file(&path).unwrap();
        }
    }
}
