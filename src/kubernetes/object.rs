//! One object of a manifest.

use serde_json::{Map, Value};

/// An object with a kind, an API version and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object(Value);

/// What tells an object from all others of a cluster: API group, kind, namespace and name.
pub type ObjectKey<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Object {
    /// Takes `value` over. Says what it lacks to be an object.
    pub fn new(value: Value) -> Result<Self, String> {
        if !value.is_object() {
            return Err("is no object".into());
        }
        let object = Self(value);
        for field in ["apiVersion", "kind"] {
            if object.text(&[field]).is_none_or(str::is_empty) {
                return Err(format!("has no `{field}`"));
            }
        }
        match object.text(&["metadata", "name"]) {
            Some(name) if !name.is_empty() => Ok(object),
            _ => Err(format!("is a {} without `metadata.name`", object.kind())),
        }
    }

    pub fn kind(&self) -> &str {
        self.text(&["kind"]).unwrap_or_default()
    }

    /// Of the API: empty for the core one.
    pub fn group(&self) -> &str {
        let version = self.text(&["apiVersion"]).unwrap_or_default();
        version.split_once('/').map_or("", |(group, _)| group)
    }

    pub fn name(&self) -> &str {
        self.text(&["metadata", "name"]).unwrap_or_default()
    }

    pub fn namespace(&self) -> Option<&str> {
        self.text(&["metadata", "namespace"])
    }

    pub(super) fn key(&self) -> ObjectKey<'_> {
        let namespace = self.namespace().unwrap_or_default();
        (self.group(), self.kind(), namespace, self.name())
    }

    /// How messages call it.
    pub fn title(&self) -> String {
        match self.namespace() {
            Some(namespace) => format!("{} {namespace}/{}", self.kind(), self.name()),
            None => format!("{} {}", self.kind(), self.name()),
        }
    }

    /// What is at `path`.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |value, key| value.get(key))
    }

    pub(super) fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter()
            .try_fold(&mut self.0, |value, key| value.get_mut(key))
    }

    /// The text at `path`.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        self.at(path).and_then(Value::as_str)
    }

    /// Puts `value` at `path`. Tables on the way are made; what is there and is no table is in the way.
    pub(super) fn set(&mut self, path: &[&str], value: Value) -> Result<(), String> {
        let Some((last, way)) = path.split_last() else {
            return Ok(());
        };
        let mut place = &mut self.0;
        for key in way {
            let table = table_of(place).ok_or_else(|| in_the_way(path, key))?;
            place = table.entry((*key).to_owned()).or_insert(Value::Null);
        }
        let table = table_of(place).ok_or_else(|| in_the_way(path, last))?;
        table.insert((*last).to_owned(), value);
        Ok(())
    }

    pub(super) fn value(&self) -> &Value {
        &self.0
    }
}

/// A value as a table; nothing becomes an empty one.
fn table_of(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn in_the_way(path: &[&str], key: &str) -> String {
    format!(
        "`{}` cannot be set: what `{key}` would be in is no table",
        path.join(".")
    )
}
