//! Renders templates, and keeps track of which results hold a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};

use super::filters;
use super::functions;
use super::host_key::HostKey;
use super::required::Required;
use super::role::Role;
use super::role_keys::RoleKeys;
use super::secret_use::key_of;
use crate::config::{Node, Origin};
use crate::error::{Error, Result};
use crate::parallel::lock;
use crate::secrets::{REDACTED, Secret, SecretAccess};

/// A rendered text. Without `Debug`: it may hold a secret.
pub struct Rendered {
    pub text: String,
    /// Whether a secret is in it.
    pub secret: bool,
}

/// Renders the templates of one role on one node.
pub struct Renderer {
    env: Environment<'static>,
    context: Value,
    used: Arc<AtomicBool>,
    failure: Arc<Mutex<Option<Error>>>,
    secrets: Arc<RoleSecrets>,
    place: String,
}

/// The secrets of a node, for the templates of one role.
struct RoleSecrets {
    access: SecretAccess,
    references: BTreeMap<String, (String, Origin)>,
    declared: BTreeSet<String>,
    role: String,
}

impl RoleSecrets {
    /// The value; None where it must not be seen.
    fn get(&self, name: &str) -> Result<Option<Secret>> {
        let role = &self.role;
        if !self.declared.contains(name) {
            return Err(Error::usage(format!(
                "the role {role} uses a secret without declaring it in [secrets] of its role.toml",
            )));
        }
        let Some((reference, origin)) = self.references.get(name) else {
            let what = format!("the role {role} uses `{}`, which is not set", key_of(name));
            return Err(Error::usage(what));
        };
        let value = self.access.get(reference);
        value.map_err(|refusal| refusal.error(origin, &key_of(name)))
    }

    /// What a template sees.
    fn text(&self, name: &str) -> Result<String> {
        let value = self.get(name)?;
        let text = value.as_ref().map_or(REDACTED, Secret::expose);
        Ok(text.to_owned())
    }
}

impl Renderer {
    /// A renderer for `role` on `node`; `context` is what templates see.
    pub fn new(role: &Role, node: &Node, context: Value, access: SecretAccess) -> Self {
        let used = Arc::new(AtomicBool::new(false));
        let failure = Arc::new(Mutex::new(None));
        let keys = RoleKeys::new(role, &access);
        let context = match role.manifest.pki.is_empty() {
            true => context,
            false => context! { pki => keys.public(), ..context },
        };
        let secrets = Arc::new(RoleSecrets {
            access,
            references: node.secrets.clone(),
            declared: role.manifest.secrets.keys().cloned().collect(),
            role: role.name.clone(),
        });
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_syntax(syntax());
        filters::register(&mut env);
        functions::register(&mut env);
        let names: BTreeSet<String> = secrets.references.keys().cloned().collect();
        env.add_function("has_secret", move |name: &str| names.contains(name));
        let (slot, source) = (failure.clone(), secrets.clone());
        let get = move |name: &str| {
            source.text(name).map_err(|error| {
                let message = error.to_string();
                *lock(&slot) = Some(error);
                minijinja::Error::new(ErrorKind::InvalidOperation, message)
            })
        };
        let (flag, get_secret) = (used.clone(), get.clone());
        env.add_function("secret", move |name: &str| {
            let value = get_secret(name)?;
            flag.store(true, Ordering::SeqCst);
            Ok(value)
        });
        let (slot, flag) = (failure.clone(), used.clone());
        env.add_function("pki_key", move |name: &str| {
            let key = keys.key(name);
            flag.store(true, Ordering::SeqCst);
            key.map_err(|error| {
                let message = error.to_string();
                *lock(&slot) = Some(error);
                minijinja::Error::new(ErrorKind::InvalidOperation, message)
            })
        });
        // The one thing made of a secret that is none: everybody who connects is shown this key.
        env.add_function(
            "ssh_host_public_key",
            move |name: &str, fqdn: &str, hostname: &str| {
                let seed = get(name)?;
                // A key made from the placeholder would look like the node's.
                if seed == REDACTED {
                    return Ok(seed);
                }
                Ok(HostKey::derive(&seed, fqdn, hostname).public_line())
            },
        );
        Self {
            env,
            context,
            used,
            failure,
            secrets,
            place: format!("{}/role.toml", role.label),
        }
    }

    /// Renders template text; `name` is how messages call it.
    pub fn render(&self, name: &str, text: &str) -> Result<Rendered> {
        self.used.store(false, Ordering::SeqCst);
        let text = self
            .env
            .render_named_str(name, text, &self.context)
            .map_err(|error| self.explain(name, &error))?;
        Ok(Rendered {
            text,
            secret: self.used.load(Ordering::SeqCst),
        })
    }

    /// Renders a string of role.toml, which cannot hold a secret.
    pub fn text(&self, text: &str) -> Result<String> {
        self.text_of(text, &Value::UNDEFINED)
    }

    /// The same for a string that may name an `item`.
    pub fn text_of(&self, text: &str, item: &Value) -> Result<String> {
        self.without_secret(
            text,
            item,
            "secrets can only go into files of the root partition",
        )
    }

    /// Evaluates a condition; an absent one holds.
    pub fn holds(&self, condition: Option<&str>) -> Result<bool> {
        match condition {
            None => Ok(true),
            Some(condition) => Ok(self.eval(condition, &Value::UNDEFINED)?.is_true()),
        }
    }

    /// The items of an expression for a list; of anything else there are none.
    pub fn items(&self, list: &str) -> Result<Vec<Value>> {
        let list = self.eval(list, &Value::UNDEFINED)?;
        Ok(list.try_iter().map(Iterator::collect).unwrap_or_default())
    }

    /// The value of an expression that may name an `item` beside what templates see.
    pub fn eval(&self, expression: &str, item: &Value) -> Result<Value> {
        let values = self.eval_each(expression, std::slice::from_ref(item))?;
        Ok(values.into_iter().next().unwrap_or_default())
    }

    /// The values of an expression for each of `items`; it is compiled once.
    pub fn eval_each(&self, expression: &str, items: &[Value]) -> Result<Vec<Value>> {
        let values = self
            .env
            .compile_expression(expression)
            .and_then(|compiled| {
                let values = items.iter().map(|item| compiled.eval(self.with_item(item)));
                values.collect()
            });
        values.map_err(|error| {
            let name = format!("{}: condition `{expression}`", self.place);
            self.explain(&name, &error)
        })
    }

    /// Whether expressions see the values of secrets, or only what stands in for them. A condition on
    /// a value says nothing without them.
    pub fn sees_secrets(&self) -> bool {
        self.secrets.access.sees_values()
    }

    /// A message, rendered with an `item`. It cannot hold a secret.
    pub fn message(&self, text: &str, item: &Value) -> Result<String> {
        self.without_secret(text, item, "a message cannot hold a secret")
    }

    fn without_secret(&self, text: &str, item: &Value, why: &str) -> Result<String> {
        self.used.store(false, Ordering::SeqCst);
        let name = format!("{}: `{text}`", self.place);
        let rendered = self
            .env
            .render_named_str(&name, text, self.with_item(item))
            .map_err(|error| self.explain(&name, &error))?;
        if self.used.load(Ordering::SeqCst) {
            return Err(Error::usage(format!("{name}: {why}")));
        }
        Ok(rendered)
    }

    /// From now on templates see which Debian packages the roles of the node ask for, as `packages`.
    pub fn know_packages(&mut self, packages: &[String]) {
        let packages = Value::from(packages.to_vec());
        self.context = context! { packages, ..self.context.clone() };
    }

    fn with_item(&self, item: &Value) -> Value {
        if item.is_undefined() {
            self.context.clone()
        } else {
            context! { item, ..self.context.clone() }
        }
    }

    /// Whether the secret `name` is given and may be read.
    pub fn can_read(&self, name: &str) -> bool {
        self.sees_secrets() && self.secrets.references.contains_key(name)
    }

    /// The value of a secret, where rendering may see secrets.
    pub(super) fn value(&self, name: &str) -> Result<Option<Secret>> {
        self.secrets.get(name)
    }

    /// Whether a secret or an option must be there.
    pub fn is_required(&self, required: &Required) -> Result<bool> {
        match required {
            Required::Always(required) => Ok(*required),
            Required::When(condition) => self.holds(Some(condition)),
        }
    }

    fn explain(&self, name: &str, error: &minijinja::Error) -> Error {
        let failure = lock(&self.failure).take();
        if let Some(failure) = failure {
            return failure;
        }
        let name = error.name().unwrap_or(name);
        let place = match error.line() {
            Some(line) => format!("{name}:{line}"),
            None => name.to_owned(),
        };
        let detail = error.detail().map(|d| format!(": {d}")).unwrap_or_default();
        Error::usage(format!("{place}: {}{detail}", error.kind()))
            .with_hint("docs/roles.md lists what a template can use")
    }
}

/// Block tags leave no empty lines behind, and files keep their last line end.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .unwrap_or_default()
}
