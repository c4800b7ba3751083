//! Checks the roles of every node: known, without conflicts, with their required options, and by the
//! rules that roles bring along.

use std::collections::BTreeSet;

use minijinja::Value;

use super::catalog::Catalog;
use super::context::{ClusterContext, NodeContext};
use super::role::{CheckRule, Level, Role};
use super::template::Renderer;
use crate::config::{Cluster, Node, Origin};
use crate::error::Result;
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::SecretAccess;

/// What rules found.
#[derive(Debug, Default)]
pub struct Findings {
    pub problems: Problems,
    /// What the user should know, each once.
    pub notes: BTreeSet<String>,
}

/// Checks all nodes, with `redacted` secrets. Where their roles are known, returns what these see.
pub fn check_roles(
    cluster: &Cluster,
    catalog: &Catalog,
    redacted: &SecretAccess,
    findings: &mut Findings,
) -> Result<Option<ClusterContext>> {
    let mut fine = true;
    for node in &cluster.nodes {
        let checked = check_role_names(node, catalog, &mut findings.problems);
        let kept = findings.problems.keep(checked)?;
        fine &= kept == Some(true);
    }
    if !fine {
        return Ok(None);
    }
    let shared = ClusterContext::new(cluster, catalog)?;
    for node in &cluster.nodes {
        let roles = catalog.roles_of(node)?;
        check_tables(node, catalog, &roles, &mut findings.problems);
        let context = NodeContext::new(&shared, node, &[]);
        for role in &roles {
            let context = context.of_role(role);
            let renderer = Renderer::new(role, node, context, redacted.clone());
            let checked = check_role(node, role, &renderer, findings);
            findings.problems.keep(checked)?;
        }
    }
    Ok(Some(shared))
}

/// Whether the roles of `node` can be on one node.
fn check_role_names(node: &Node, catalog: &Catalog, problems: &mut Problems) -> Result<bool> {
    let roles = catalog.roles_of(node)?;
    let before = problems.len();
    for role in &roles {
        for other in &role.manifest.conflicts {
            if roles.iter().any(|r| r.name == *other) {
                // Sorted, as each of the two may refuse the other.
                let mut pair = [role.name.as_str(), other];
                pair.sort_unstable();
                let [a, b] = pair;
                let what = format!(
                    "the roles `{a}` and `{b}` cannot both be on {}",
                    node.hostname
                );
                problems.push(Problem::new(node.origin("roles"), what));
            }
        }
    }
    Ok(problems.len() == before)
}

/// Options of a role that the node does not have, written in the node's own profile, do nothing.
fn check_tables(node: &Node, catalog: &Catalog, roles: &[&Role], problems: &mut Problems) {
    for role in catalog.roles() {
        let Some(origin) = node.own_table(&role.name) else {
            continue;
        };
        if roles.iter().any(|r| r.name == role.name) {
            continue;
        }
        let what = format!(
            "[{}] has no effect: {} does not have the role `{}`",
            role.name, node.hostname, role.name
        );
        let hint = format!("add `{}` to `roles`, or remove the table", role.name);
        problems.push(Problem::new(origin, what).with_hint(hint));
    }
}

fn check_role(
    node: &Node,
    role: &Role,
    renderer: &Renderer,
    findings: &mut Findings,
) -> Result<()> {
    check_options(node, role, renderer, &mut findings.problems)?;
    check_rules(node, role, renderer, false, findings)
}

/// Required options must be there, and options without effect must not.
fn check_options(
    node: &Node,
    role: &Role,
    renderer: &Renderer,
    problems: &mut Problems,
) -> Result<()> {
    for (name, spec) in &role.manifest.options {
        let key = format!("{}.{name}", role.name);
        let value = node.options.get(&role.name).and_then(|o| o.get(name));
        let missing = value.is_none_or(|v| v.is_null() || v.as_str() == Some(""));
        if missing && renderer.is_required(&spec.required)? {
            let what = format!(
                "the role `{}` requires the option `{key}`: {}",
                role.name, spec.help
            );
            problems.push(Problem::new(node.origin("roles"), what));
        }
        let Some(condition) = spec
            .when
            .as_deref()
            .filter(|_| !missing && node.is_set(&key))
        else {
            continue;
        };
        if !renderer.holds(Some(condition))? {
            let condition = condition.replace("options.", &format!("{}.", role.name));
            let what = format!("`{key}` has no effect here; it needs `{condition}`");
            problems.push(Problem::new(node.origin(&key), what));
        }
    }
    Ok(())
}

/// The rules of `role` that read secrets, or those that do not.
pub fn check_rules(
    node: &Node,
    role: &Role,
    renderer: &Renderer,
    with_secrets: bool,
    findings: &mut Findings,
) -> Result<()> {
    for rule in &role.manifest.check {
        if rule.secrets.is_empty() == with_secrets {
            continue;
        }
        let readable = rule.secrets.iter().all(|name| renderer.can_read(name));
        if readable && renderer.holds(rule.when.as_deref())? {
            check_rule(node, role, rule, renderer, findings)?;
        }
    }
    Ok(())
}

fn check_rule(
    node: &Node,
    role: &Role,
    rule: &CheckRule,
    renderer: &Renderer,
    findings: &mut Findings,
) -> Result<()> {
    let items: Vec<Value> = match &rule.each {
        None => vec![Value::UNDEFINED],
        Some(list) => renderer.items(list)?,
    };
    let held = renderer.eval_each(&rule.that, &items)?;
    for (index, (item, held)) in items.iter().zip(held).enumerate() {
        if held.is_true() {
            continue;
        }
        let what = renderer.message(&rule.message, item)?;
        let hint = rule.hint.as_deref();
        let hint = hint.map(|text| renderer.message(text, item)).transpose()?;
        match rule.level {
            Level::Note => {
                findings.notes.insert(match hint {
                    Some(hint) => format!("{what} ({hint})"),
                    None => what,
                });
            }
            Level::Error => {
                let place = place(node, role, rule, renderer, item, index)?;
                let problem = Problem::new(place, what).with_maybe_hint(hint);
                findings.problems.push(problem);
            }
        }
    }
    Ok(())
}

/// Where the key of a rule was written. A name without a dot is an option of the role.
fn place(
    node: &Node,
    role: &Role,
    rule: &CheckRule,
    renderer: &Renderer,
    item: &Value,
    index: usize,
) -> Result<Origin> {
    let Some(key) = &rule.key else {
        return Ok(node.origin("roles"));
    };
    let key = renderer.message(key, item)?;
    let key = if role.manifest.options.contains_key(&key) {
        format!("{}.{key}", role.name)
    } else {
        key
    };
    let of_item = rule
        .each
        .as_ref()
        .and_then(|_| node.item_origin(&key, index));
    Ok(of_item.unwrap_or_else(|| node.origin(&key)))
}
