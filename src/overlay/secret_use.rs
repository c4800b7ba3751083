//! `[secrets.NAME]` of role.toml: what a role asks of a secret. All rules are data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde::Deserialize;

use super::role::{Required, Role};
use super::template::Renderer;
use crate::clock;
use crate::config::{Node, Origin, full_match};
use crate::error::Result;
use crate::problem::{Problem, Problems};
use crate::secrets::{Memo, Refusal, Secret};

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

    fn check_length(&self, value: &str) -> std::result::Result<(), Refusal> {
        if value.chars().count() >= self.min_length {
            return Ok(());
        }
        let what = format!("the value is shorter than {} characters", self.min_length);
        Err(Refusal::new(what).with_hint(&self.help))
    }

    fn check_prefix(&self, value: &str) -> std::result::Result<(), Refusal> {
        if self.prefixes.iter().any(|p| value.starts_with(p)) {
            return Ok(());
        }
        let what = format!(
            "the value does not begin with {}",
            self.prefixes.join(" or ")
        );
        Err(Refusal::new(what).with_hint(&self.help))
    }

    fn check_pattern(&self, value: &str) -> std::result::Result<(), Refusal> {
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
    fn fits(&self, value: &str) -> bool {
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

/// Where `node` says the secret `name` is, if one of its roles uses it.
pub fn used_reference<'a>(
    name: &str,
    node: &'a Node,
    roles: &[&Role],
) -> Option<&'a (String, Origin)> {
    let uses = || {
        roles
            .iter()
            .filter_map(|role| role.manifest.secrets.get(name))
    };
    let replaced = uses()
        .filter_map(|secret| secret.replaced_by.as_ref())
        .any(|other| node.secrets.contains_key(other));
    let used = uses().next().is_some() && !replaced;
    node.secrets.get(name).filter(|_| used)
}

/// Collects what is wrong with the secrets that `role` asks for on a node with `roles`: those that
/// have no place to come from, and those that cannot be right.
pub fn check_secrets(
    role: &Role,
    roles: &[&Role],
    node: &Node,
    renderer: &Renderer,
    problems: &mut Problems,
) -> Result<()> {
    for (name, secret) in &role.manifest.secrets {
        let check = Check {
            role,
            node,
            name,
            secret,
            renderer,
        };
        if !node.secrets.contains_key(name) {
            if renderer.is_required(&secret.required)? {
                problems.push(check.missing());
            }
        } else if let Some((_, origin)) = used_reference(name, node, roles) {
            problems.keep(check.expiry(origin))?;
            check.conflicts(origin, problems);
            check.value(origin, problems)?;
        }
    }
    Ok(())
}

struct Check<'a> {
    role: &'a Role,
    node: &'a Node,
    name: &'a str,
    secret: &'a SecretUse,
    renderer: &'a Renderer,
}

impl Check<'_> {
    fn missing(&self) -> Problem {
        let what = format!("`{}` is not set", key_of(self.name));
        let (hostname, role, name) = (&self.node.hostname, &self.role.name, self.name);
        Problem::new(self.node.origin("secrets"), what).with_hint(format!(
            "{hostname} needs it for the role {role}; under [secrets] write `{name} = \"env:NAME\"`, `\"file:PATH\"` or `\"cmd:COMMAND\"`"
        ))
    }

    fn expiry(&self, origin: &Origin) -> Result<()> {
        let Some(template) = &self.secret.expires else {
            return Ok(());
        };
        let text = self.renderer.text(template)?;
        let date = text.trim();
        if date.is_empty() {
            return Ok(());
        }
        let key = key_of(self.name);
        let last = clock::parse_date(date).ok_or_else(|| {
            let what = format!("it is said to expire on `{date}`, which is not a date");
            let refusal = Refusal::new(what).with_hint("write the date as 2026-12-31");
            refusal.error(origin, &key)
        })?;
        if last >= clock::today()? {
            return Ok(());
        }
        let help = &self.secret.help;
        Err(Refusal::new(format!("it expired on {date}"))
            .with_hint(format!("make a new one, and change the date too: {help}"))
            .error(origin, &key))
    }

    fn conflicts(&self, origin: &Origin, problems: &mut Problems) {
        for other in &self.secret.conflicts {
            if let Some((_, place)) = self.node.secrets.get(other) {
                let what = format!("`{}` is given too ({place})", key_of(other));
                let refusal = Refusal::new(what).with_hint("only one of the two can be given");
                problems.push(refusal.problem(origin, &key_of(self.name)));
            }
        }
    }

    /// What is wrong with the value, where rendering may see it.
    fn value(&self, origin: &Origin, problems: &mut Problems) -> Result<()> {
        let Some(value) = problems.keep(self.renderer.value(self.name))?.flatten() else {
            return Ok(());
        };
        let key = key_of(self.name);
        let secret = self.secret;
        let prefixed =
            !secret.prefixes.is_empty() && self.renderer.holds(secret.prefixes_when.as_deref())?;
        let prefix = if prefixed {
            secret.check_prefix(value.expose())
        } else {
            Ok(())
        };
        let shape = prefix
            .and_then(|()| secret.check_length(value.expose()))
            .and_then(|()| secret.check_pattern(value.expose()));
        if let Err(refusal) = shape {
            problems.push(refusal.problem(origin, &key));
            return Ok(());
        }
        for form in &secret.refuse {
            if form.fits(value.expose()) && self.renderer.holds(form.when.as_deref())? {
                let refusal = Refusal::new(format!("the value {}", form.why));
                problems.push(refusal.with_hint(&form.hint).problem(origin, &key));
            }
        }
        self.differs(&value, origin, problems)
    }

    fn differs(&self, value: &Secret, origin: &Origin, problems: &mut Problems) -> Result<()> {
        for (other, why) in &self.secret.differs_from {
            let Some((_, place)) = self.node.secrets.get(other) else {
                continue;
            };
            let same = problems.keep(self.renderer.value(other))?.flatten();
            if same.is_some_and(|other| other == *value) {
                let what = format!("it has the value of `{}` ({place})", key_of(other));
                let refusal = Refusal::new(what).with_hint(why);
                problems.push(refusal.problem(origin, &key_of(self.name)));
            }
        }
        Ok(())
    }
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
