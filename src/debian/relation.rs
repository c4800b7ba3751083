//! Relations between packages: `Depends`, `Provides`, `Conflicts` and their like (Debian Policy, 7.1).

use std::fmt;

use super::names::{is_architecture, is_name};
use super::version::Version;

/// Relations of one field. The longest in Debian has 1,500.
const MAX_RELATIONS: usize = 20_000;

/// How a version is compared with the one that a relation names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

/// Of which architecture a package may be that satisfies a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Qualifier {
    /// The architecture of the one that asks.
    Own,
    /// `name:any`: any, if the package says `Multi-Arch: allowed`.
    Any,
    /// `name:arm64`.
    Only(String),
}

/// A package that a relation names, such as `libc6 (>= 2.36)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub qualifier: Qualifier,
    pub version: Option<(Comparison, Version)>,
}

/// One relation: alternatives of which one satisfies it, `ksmbd-tools | samba`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub alternatives: Vec<Target>,
}

impl Comparison {
    /// Whether a package with the version `found` is what the relation asks for.
    pub fn holds(self, found: &Version, named: &Version) -> bool {
        match self {
            Self::Earlier => found < named,
            Self::EarlierOrEqual => found <= named,
            Self::Equal => found == named,
            Self::LaterOrEqual => found >= named,
            Self::Later => found > named,
        }
    }

    /// A single `<` or `>`, long deprecated, means or equal.
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }
}

impl Target {
    /// Whether `version` is among those that are asked for.
    pub fn takes(&self, version: &Version) -> bool {
        let asked = self.version.as_ref();
        asked.is_none_or(|(comparison, named)| comparison.holds(version, named))
    }

    /// Whether a package that says `Provides: self` is what `asked` asks for by that name: where a
    /// version is asked for, one has to be provided.
    pub(super) fn is_provided_for(&self, asked: &Self) -> bool {
        let version = match (&asked.version, &self.version) {
            (None, _) => true,
            (Some(_), Some((Comparison::Equal, provided))) => asked.takes(provided),
            (Some(_), _) => false,
        };
        self.name == asked.name && version
    }

    /// `name[:qualifier] [(comparison version)] [[architectures]] [<profiles>…]`. The inner `None` is a
    /// package that is not meant for `architecture`, or only for a profile of building.
    fn parse(text: &str, architecture: &str) -> Option<Option<Self>> {
        let end = text.find([' ', '\t', '\n', '(', '[', '<']);
        let (name, rest) = text.split_at(end.unwrap_or(text.len()));
        let (name, qualifier) = match name.split_once(':') {
            None => (name, Qualifier::Own),
            Some((name, "any")) => (name, Qualifier::Any),
            Some((name, only)) if is_architecture(only) => (name, Qualifier::Only(only.to_owned())),
            Some(_) => return None,
        };
        let (version, rest) = version(rest.trim_start())?;
        let (here, rest) = is_for(rest, architecture)?;
        let built = is_in_no_profile(rest)?;
        let target = is_name(name).then(|| Self {
            name: name.to_owned(),
            qualifier,
            version,
        })?;
        Some((here && built).then_some(target))
    }
}

impl Relation {
    /// The relations of a field, separated by commas; `None` if it is malformed.
    pub fn parse_all(field: &str, architecture: &str) -> Option<Vec<Self>> {
        let parts = field.split(',').map(str::trim).filter(|p| !p.is_empty());
        let mut relations = Vec::new();
        for part in parts {
            let alternatives = part.split('|').map(str::trim);
            let alternatives: Option<Vec<_>> = alternatives
                .map(|text| Target::parse(text, architecture))
                .collect();
            let alternatives: Vec<Target> = alternatives?.into_iter().flatten().collect();
            if !alternatives.is_empty() {
                relations.push(Self { alternatives });
            }
            if relations.len() > MAX_RELATIONS {
                return None;
            }
        }
        Some(relations)
    }
}

/// `(>= 1.0)` at the beginning of a text, and what follows it.
type Versioned<'a> = (Option<(Comparison, Version)>, &'a str);

fn version(text: &str) -> Option<Versioned<'_>> {
    let Some(inner) = text.strip_prefix('(') else {
        return Some((None, text));
    };
    let (inner, rest) = inner.split_once(')')?;
    let inner = inner.trim();
    let (comparison, named) = inner.split_at(inner.find(|c| !"<>=".contains(c))?);
    let version = Version::parse(named.trim())?;
    Some((
        Some((Comparison::parse(comparison)?, version)),
        rest.trim_start(),
    ))
}

/// Whether a list such as `[arm64 linux-any]` or `[!i386]` holds for `architecture`.
fn is_for<'a>(text: &'a str, architecture: &str) -> Option<(bool, &'a str)> {
    let Some(inner) = text.strip_prefix('[') else {
        return Some((true, text));
    };
    let (inner, rest) = inner.split_once(']')?;
    let matches = |pattern: &str| {
        let pattern = pattern.strip_prefix("linux-").unwrap_or(pattern);
        let pattern = pattern.strip_prefix("any-").unwrap_or(pattern);
        pattern == "any" || pattern == architecture
    };
    let mut here = inner.trim_start().starts_with('!');
    for pattern in inner.split_ascii_whitespace() {
        match pattern.strip_prefix('!') {
            Some(not) => here &= !matches(not),
            None => here |= matches(pattern),
        }
    }
    Some((here, rest.trim_start()))
}

/// Whether restrictions such as `<!nocheck> <stage1 cross>` hold where no profile is active: one of the
/// lists has to have only negated profiles.
fn is_in_no_profile(text: &str) -> Option<bool> {
    let mut rest = text.trim();
    let mut holds = rest.is_empty();
    while !rest.is_empty() {
        let (list, after) = rest.strip_prefix('<')?.split_once('>')?;
        let mut profiles = list.split_ascii_whitespace();
        holds |= profiles.all(|profile| profile.starts_with('!'));
        rest = after.trim_start();
    }
    Some(holds)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.qualifier {
            Qualifier::Own => {}
            Qualifier::Any => f.write_str(":any")?,
            Qualifier::Only(architecture) => write!(f, ":{architecture}")?,
        }
        match &self.version {
            Some((comparison, version)) => write!(f, " ({comparison} {version})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, target) in self.alternatives.iter().enumerate() {
            let between = if n == 0 { "" } else { " | " };
            write!(f, "{between}{target}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(field: &str) -> Option<Vec<String>> {
        let relations = Relation::parse_all(field, "arm64")?;
        Some(relations.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn relations_are_read_and_written() {
        for (field, wanted) in [
            ("", &[][..]),
            (
                "a,b (>=1.0~), c:any (<< 2:1-1) | d",
                &["a", "b (>= 1.0~)", "c:any (<< 2:1-1) | d"],
            ),
            ("a (= 1),\n b:arm64,", &["a (= 1)", "b:arm64"]),
            ("a (< 1), b (> 1)", &["a (<= 1)", "b (>= 1)"]),
            ("a [arm64], b [!arm64], c [i386 linux-any]", &["a", "c"]),
            ("a [!i386 !amd64] | b [any-arm64]", &["a | b"]),
            (
                "a <!nocheck>, b <stage1>, c <!a !b> <c>, d (>= 1) [arm64] <!x>",
                &["a", "c", "d (>= 1)"],
            ),
        ] {
            assert_eq!(
                parsed(field).as_deref(),
                Some(wanted.to_vec())
                    .map(|w| w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{field}"
            );
        }
    }

    #[test]
    fn what_is_no_relation_is_none() {
        for field in [
            "a (>= )",
            "a (1.0)",
            "a (>= 1.0",
            "a (=> 1.0)",
            "a b",
            "|",
            "a | ",
            "../a",
            "a:",
            "a [arm64",
            "a <x",
            "a (>= 1) x",
            "é",
        ] {
            assert_eq!(parsed(field), None, "{field}");
        }
        assert_eq!(parsed(&"a,".repeat(30_000)), None);
    }
}
