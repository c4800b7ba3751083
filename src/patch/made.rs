//! What patching touched, in the end.

use std::collections::BTreeMap;

use crate::overlay::Part;

/// A path that was made, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadePath {
    pub part: Part,
    /// Absolute on the partition. Symbolic links may lead to it.
    pub path: String,
    /// Whether its content is for its owner only.
    pub secret: bool,
    /// Whether what a symbolic link at the path leads to was changed.
    pub through: bool,
}

/// Paths of one partition.
#[derive(Debug, Default)]
pub struct Made(BTreeMap<String, Traits>);

#[derive(Debug, Default)]
struct Traits {
    secret: bool,
    through: bool,
}

impl Made {
    /// Notes `path`.
    pub fn add(&mut self, path: &str) {
        self.traits(path);
    }

    /// Notes `path` and the folders above it.
    pub fn add_with_folders(&mut self, path: &str) {
        self.add(path);
        for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
            self.add(&path[..end]);
        }
    }

    /// Notes that `path` has a secret in it. It stays one whatever is done to it.
    pub fn secret(&mut self, path: &str) {
        self.traits(path).secret = true;
    }

    /// Notes that the file that `path` leads to was changed.
    pub fn through(&mut self, path: &str) {
        self.traits(path).through = true;
    }

    /// All of them, sorted.
    pub fn paths(self, part: Part) -> impl Iterator<Item = MadePath> {
        self.0.into_iter().map(move |(path, traits)| MadePath {
            part,
            path,
            secret: traits.secret,
            through: traits.through,
        })
    }

    fn traits(&mut self, path: &str) -> &mut Traits {
        self.0.entry(path.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stays_one_and_folders_are_named_once() {
        let mut made = Made::default();
        made.secret("/a/b");
        made.add("/a/b");
        made.add_with_folders("/a/c/d");
        let found: Vec<_> = made
            .paths(Part::Boot)
            .map(|made| (made.path, made.secret))
            .collect();
        let wanted = [
            ("/a", false),
            ("/a/b", true),
            ("/a/c", false),
            ("/a/c/d", false),
        ];
        assert_eq!(
            found,
            wanted.map(|(path, secret)| (path.to_owned(), secret))
        );
    }
}
