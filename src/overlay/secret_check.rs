//! Checks the secrets of a node against what its roles ask of them.

use super::role::Role;
use super::secret_use::{SecretUse, key_of};
use super::template::Renderer;
use crate::clock;
use crate::config::{Node, Origin};
use crate::error::Result;
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::{Refusal, Secret};

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
