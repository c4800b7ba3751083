//! Debian packages, as roles ask for them.

/// A package that a role asks for: `samba`; `wsdd | wsdd2`, the first that there is; with a `?` at the
/// end nothing where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageWish {
    /// Names, the most wanted first.
    pub names: Vec<String>,
    /// Whether the node does without, where no archive has one of them.
    pub optional: bool,
}

impl PackageWish {
    /// What `text` asks for; an error says why it is nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, optional) = match text.trim().strip_suffix('?') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let names: Vec<String> = text.split('|').map(|name| name.trim().to_owned()).collect();
        match names.iter().find(|name| !is_package_name(name)) {
            None => Ok(Self { names, optional }),
            Some(name) => Err(format!(
                "`{name}` is not the name of a Debian package: small letters, digits, +, - and ."
            )),
        }
    }
}

/// Debian Policy 5.6.7.
fn is_package_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() > 1
        && name.starts_with(is_letter)
        && name.chars().all(|c| is_letter(c) || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_have_alternatives_and_may_be_optional() {
        let wish = |names: &[&str], optional| PackageWish {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            optional,
        };
        for (text, expected) in [
            ("samba", wish(&["samba"], false)),
            ("wsdd | wsdd2", wish(&["wsdd", "wsdd2"], false)),
            ("libstdc++6|g++ ?", wish(&["libstdc++6", "g++"], true)),
        ] {
            assert_eq!(PackageWish::parse(text), Ok(expected));
        }
        for wrong in [
            "",
            "Samba",
            "a",
            "samba |",
            "samba (>= 2)",
            "samba; rm -rf /",
            "-o",
        ] {
            assert!(PackageWish::parse(wrong).is_err(), "{wrong}");
        }
    }
}
