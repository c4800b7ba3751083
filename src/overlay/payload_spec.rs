//! `[[payload]]` of role.toml: a file that is fetched at build time.

use serde::Deserialize;

/// A file fetched at build time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    pub name: String,
    pub when: Option<String>,
    /// Expression for a list: one payload for each `item` of it.
    pub each: Option<String>,
    pub url: Option<String>,
    pub file: Option<String>,
    pub sums: Option<String>,
    pub sha256: Option<String>,
    /// Nothing is published to verify it by: the digest of the first download is kept.
    #[serde(default)]
    pub pin: bool,
    pub member: Option<String>,
    #[serde(default)]
    pub unpack: bool,
    #[serde(default)]
    pub strip: usize,
    /// Files of an unpacked archive that are put elsewhere as well.
    #[serde(default)]
    pub members: Vec<Member>,
    pub path: String,
    #[serde(default = "default_mode")]
    pub mode: String,
    pub elf: Option<String>,
}

/// A file of an archive and its place in the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Path in the archive, without what `strip` drops. With a `*` in its last part: every file of that
    /// folder that fits.
    pub from: String,
    /// Its path in the image; with a `*` in `from` the folder that the files go into.
    pub to: String,
    #[serde(default = "default_mode")]
    pub mode: String,
    /// Texts of the file and what each becomes, wherever it occurs. Not for patterns.
    #[serde(default)]
    pub replace: Vec<(String, String)>,
}

impl Payload {
    /// What its keys contradict each other in.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.url.is_some() && !self.is_verifiable() {
            Some(
                "has a `url`, and neither `sums` nor `sha256` to verify it by (`pin = true`: by the first download)",
            )
        } else if self.url.is_some() && self.is_always_local() {
            Some(
                "has both a `url` and a `file` that always has a value; make two payloads with `when`",
            )
        } else if self.strip > 0 && !self.unpack {
            Some("has `strip`, which is for archives that are unpacked (`unpack = true`)")
        } else if !self.members.is_empty() && !self.unpack {
            Some("has `members`, which are for archives that are unpacked (`unpack = true`)")
        } else {
            None
        }
    }

    /// Whether `file` has a value on every node, so that `url` would never be used.
    fn is_always_local(&self) -> bool {
        let file = self.file.as_deref();
        file.is_some_and(|file| !file.is_empty() && !is_template(file))
    }

    fn is_verifiable(&self) -> bool {
        self.sums.is_some() || self.sha256.is_some() || self.pin
    }
}

impl Member {
    /// Whether it stands for any number of files.
    pub fn is_pattern(&self) -> bool {
        self.from.contains('*')
    }

    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let from = &self.from;
        parse_mode(&self.mode).map_err(|why| format!("member {from}: {why}"))?;
        if !self.is_pattern() {
            return Ok(());
        }
        let (folder, name) = from.rsplit_once('/').unwrap_or(("", from));
        if folder.contains('*') || name.matches('*').count() > 1 {
            return Err(format!(
                "member {from}: one `*` can stand in the name of the file, and none before it"
            ));
        }
        if !self.replace.is_empty() {
            return Err(format!("member {from}: `replace` is for one file"));
        }
        Ok(())
    }
}

fn default_mode() -> String {
    "0644".to_owned()
}

/// Whether `text` is known only once it is rendered.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Parses octal permission bits like `0755` or `4755`.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("`{text}` is not a mode like 0644"))
}
