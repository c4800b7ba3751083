//! What is installed: `/var/lib/dpkg/status` (dpkg's own record; fields as in dpkg-query(1)).

use std::io::BufRead;

use super::package::Package;
use super::paragraph::Paragraphs;
use crate::error::{Error, Result};

/// Packages of a status. A desktop has some 3,000.
const MAX_PACKAGES: usize = 100_000;

/// An installed package.
#[derive(Debug, Clone)]
pub struct Installed {
    pub package: Package,
    /// Whether the owner of the system wants it to stay as it is.
    pub held: bool,
}

/// What a base has installed.
#[derive(Debug, Default)]
pub struct Status {
    installed: Vec<Installed>,
    /// Names of packages that are half installed or not yet configured, with their state.
    unfinished: Vec<(String, String)>,
}

impl Status {
    /// Reads a dpkg status; `origin` is its name in messages. Packages of which only configuration is
    /// left do not count.
    ///
    /// # Errors
    /// A status that is malformed.
    pub fn read(status: impl BufRead, origin: &str) -> Result<Self> {
        let mut paragraphs = Paragraphs::new(status, origin);
        let mut found = Self::default();
        while let Some(paragraph) = paragraphs.next()? {
            let state = paragraph.parsed("Status", parse_state)?;
            match state.status {
                "not-installed" | "config-files" => continue,
                // Triggers that wait are run by the next dpkg.
                "installed" | "triggers-awaited" | "triggers-pending" => {}
                unfinished => found.unfinished.push((
                    paragraph.required("Package")?.to_owned(),
                    unfinished.to_owned(),
                )),
            }
            let package = Package::read(&paragraph)?;
            let held = state.held;
            found.installed.push(Installed { package, held });
            if found.installed.len() > MAX_PACKAGES {
                return Err(Error::failed(format!(
                    "{}: more than {MAX_PACKAGES} packages",
                    paragraph.place()
                )));
            }
        }
        Ok(found)
    }

    /// What is installed, in the order of the file.
    pub fn installed(&self) -> &[Installed] {
        &self.installed
    }

    /// Names and states of packages that an interrupted dpkg left behind.
    pub fn unfinished(&self) -> &[(String, String)] {
        &self.unfinished
    }
}

struct State<'a> {
    held: bool,
    status: &'a str,
}

/// `want flag status`, such as `install ok installed`.
fn parse_state(text: &str) -> Option<State<'static>> {
    const STATES: [&str; 8] = [
        "not-installed",
        "config-files",
        "half-installed",
        "unpacked",
        "half-configured",
        "triggers-awaited",
        "triggers-pending",
        "installed",
    ];
    let mut words = text.split_ascii_whitespace();
    let (want, flag, status) = (words.next()?, words.next()?, words.next()?);
    let known = STATES.iter().find(|state| **state == status)?;
    // A package that must be reinstalled is as unfinished as one that is half installed.
    let status = if flag == "ok" {
        *known
    } else {
        "half-installed"
    };
    Some(State {
        held: want == "hold",
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(states: &[(&str, &str)]) -> Result<Status> {
        let entry = |(name, state): &(&str, &str)| {
            format!("Package: {name}\nStatus: {state}\nVersion: 1\nArchitecture: all\n\n")
        };
        let text: String = states.iter().map(entry).collect();
        Status::read(text.as_bytes(), "the status")
    }

    #[test]
    fn states_are_told_apart() {
        let status = read(&[
            ("a", "install ok installed"),
            ("b", "deinstall ok config-files"),
            ("c", "hold ok installed"),
            ("d", "install ok half-configured"),
            ("e", "install ok triggers-pending"),
            ("f", "install reinstreq installed"),
        ])
        .unwrap();
        let names = status
            .installed()
            .iter()
            .map(|i| (&*i.package.name, i.held));
        let wanted = [
            ("a", false),
            ("c", true),
            ("d", false),
            ("e", false),
            ("f", false),
        ];
        assert_eq!(names.collect::<Vec<_>>(), wanted);
        let unfinished = [("d", "half-configured"), ("f", "half-installed")];
        let unfinished = unfinished.map(|(name, state)| (name.to_owned(), state.to_owned()));
        assert_eq!(status.unfinished(), unfinished);
    }

    #[test]
    fn a_strange_state_is_an_error_with_its_line() {
        for state in ["", "installed", "install ok lost"] {
            let error = read(&[("a", "install ok installed"), ("b", state)]).unwrap_err();
            assert!(error.to_string().contains("the status, line 6"), "{error}");
        }
    }
}
