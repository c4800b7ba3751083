//! `[secrets.NAME]` of role.toml: what a role asks of a secret. All rules are data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde::Deserialize;

use super::required::Required;
use crate::config::full_match;
use crate::secrets::{Memo, Refusal};

/// A secret that a role asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    #[serde(default)]
    pub required: Required,
    /// When not empty, the value begins with one of them.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Condition under which `prefixes` hold.
    pub prefixes_when: Option<String>,
    /// Characters that the value has at least.
    #[serde(default)]
    pub min_length: usize,
    /// A regular expression that the whole value matches.
    pub pattern: Option<String>,
    /// What `pattern` asks for, in words.
    pub pattern_help: Option<String>,
    /// Values that look right and do not work.
    #[serde(default)]
    pub refuse: Vec<RefusedForm>,
    /// Template: the last day it can be used, `YYYY-MM-DD`, or nothing.
    pub expires: Option<String>,
    /// Whether all nodes that use it must have the same value.
    #[serde(default)]
    pub shared: bool,
    /// A secret in whose presence the node does not use this one.
    pub replaced_by: Option<String>,
    /// Secrets that must have another value, and why.
    #[serde(default)]
    pub differs_from: BTreeMap<String, String>,
    /// Secrets that cannot be given beside this one.
    #[serde(default)]
    pub conflicts: Vec<String>,
    pub help: String,
}

/// A form that the value must not have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedForm {
    /// A regular expression for the whole value.
    pub pattern: String,
    /// A regular expression for values that are fine all the same.
    pub unless: Option<String>,
    /// Condition under which the form is refused.
    pub when: Option<String>,
    /// What is wrong with it, after "the value".
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

impl SecretUse {
    /// Errors when the rules themselves are wrong: `known` are the secrets of the same role.
    pub fn check_rules(&self, known: &BTreeMap<String, Self>) -> std::result::Result<(), String> {
        let patterns = self
            .refuse
            .iter()
            .flat_map(|f| [Some(&f.pattern), f.unless.as_ref()]);
        for pattern in patterns.flatten().chain(&self.pattern) {
            full_match(pattern)?;
        }
        if self.pattern.is_some() != self.pattern_help.is_some() {
            return Err("`pattern` and `pattern_help` go together".to_owned());
        }
        let others = self.differs_from.keys().chain(&self.conflicts);
        match others
            .chain(&self.replaced_by)
            .find(|name| !known.contains_key(*name))
        {
            Some(name) => Err(format!("the role has no secret `{name}`")),
            None => Ok(()),
        }
    }

    /// Errors when `value` is too short.
    pub fn check_length(&self, value: &str) -> std::result::Result<(), Refusal> {
        if value.chars().count() >= self.min_length {
            return Ok(());
        }
        let what = format!("the value is shorter than {} characters", self.min_length);
        Err(Refusal::new(what).with_hint(&self.help))
    }

    /// Errors when `value` begins with none of `prefixes`.
    pub fn check_prefix(&self, value: &str) -> std::result::Result<(), Refusal> {
        if self.prefixes.iter().any(|p| value.starts_with(p)) {
            return Ok(());
        }
        let what = format!(
            "the value does not begin with {}",
            self.prefixes.join(" or ")
        );
        Err(Refusal::new(what).with_hint(&self.help))
    }

    /// Errors when `value` does not match `pattern`.
    pub fn check_pattern(&self, value: &str) -> std::result::Result<(), Refusal> {
        let (Some(pattern), Some(help)) = (&self.pattern, &self.pattern_help) else {
            return Ok(());
        };
        if matches(pattern, value) {
            return Ok(());
        }
        Err(Refusal::new(format!("the value is not {help}")).with_hint(&self.help))
    }
}

impl RefusedForm {
    /// Whether `value` has this form.
    pub fn fits(&self, value: &str) -> bool {
        let unless = self.unless.as_ref();
        matches(&self.pattern, value) && !unless.is_some_and(|p| matches(p, value))
    }
}

/// Every node of a large cluster asks for the same few patterns.
static PATTERNS: LazyLock<Memo<Option<Regex>>> = LazyLock::new(Memo::default);

/// Patterns were checked when the role was read.
fn matches(pattern: &str, value: &str) -> bool {
    let regex = PATTERNS.get(pattern, || full_match(pattern).ok());
    regex.is_some_and(|regex| regex.is_match(value))
}

/// `secrets.NAME`
pub fn key_of(name: &str) -> String {
    format!("secrets.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> BTreeMap<String, SecretUse> {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn rules_that_name_nothing_are_refused() {
        for (text, why) in [
            (
                "[a]\nhelp = \"\"\npattern = \"(\"\npattern_help = \"x\"",
                "not a regular expression",
            ),
            ("[a]\nhelp = \"\"\npattern = \"x\"", "go together"),
            ("[a]\nhelp = \"\"\nreplaced_by = \"b\"", "no secret `b`"),
            ("[a]\nhelp = \"\"\nconflicts = [\"b\"]", "no secret `b`"),
            (
                "[a]\nhelp = \"\"\ndiffers_from.b = \"why\"",
                "no secret `b`",
            ),
            (
                "[[a.refuse]]\npattern = \"x\"\nunless = \"(\"\nwhy = \"\"\nhint = \"\"\n[a]\nhelp = \"\"",
                "not a regular expression",
            ),
        ] {
            let known = rules(text);
            let error = known["a"].check_rules(&known).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
