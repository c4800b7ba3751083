//! A judge of Kubernetes objects, offline: by Kubernetes' own definitions (`tests/data/kubernetes`), and by
//! the CustomResourceDefinitions that come with the objects. It sees wrong types, values that are no choice,
//! and fields that are missing or unknown; what an API server checks beyond that it does not see.

#![allow(dead_code)]

use std::path::Path;

use serde_json::Value;

/// The definitions to judge by.
pub struct Definitions {
    core: Value,
    custom: Vec<Value>,
}

impl Definitions {
    /// Those of Kubernetes, and the CustomResourceDefinitions among `objects`.
    pub fn with(objects: &[&Value]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("tests/data/kubernetes/definitions.json");
        let is_definition = |object: &&&Value| text(object, "/kind") == "CustomResourceDefinition";
        Self {
            core: serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap(),
            custom: objects
                .iter()
                .filter(is_definition)
                .map(|o| (*o).clone())
                .collect(),
        }
    }

    /// What is wrong with `object`; None where nothing here defines its kind.
    pub fn judge(&self, object: &Value) -> Option<Vec<String>> {
        let schema = self.core(object).or_else(|| self.custom(object))?;
        let mut wrong = Vec::new();
        self.hold(schema, object, "", &mut wrong);
        Some(wrong)
    }

    fn core(&self, object: &Value) -> Option<&Value> {
        let version = text(object, "/apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let all = self.core["definitions"].as_object()?.values();
        let mut all = all.filter(|schema| {
            let kind = &schema["x-kubernetes-group-version-kind"][0];
            (text(kind, "/group"), text(kind, "/version")) == (group, version)
                && text(kind, "/kind") == text(object, "/kind")
        });
        all.next()
    }

    fn custom(&self, object: &Value) -> Option<&Value> {
        let (group, version) = text(object, "/apiVersion").split_once('/')?;
        let definition = self.custom.iter().find(|definition| {
            text(definition, "/spec/group") == group
                && text(definition, "/spec/names/kind") == text(object, "/kind")
        })?;
        let mut versions = definition["spec"]["versions"].as_array()?.iter();
        let version = versions.find(|v| text(v, "/name") == version && v["served"] == true)?;
        version.pointer("/schema/openAPIV3Schema")
    }

    fn hold(&self, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
        // As if it were not there.
        if value.is_null() {
            return;
        }
        let reference = text(schema, "/$ref");
        if let Some(name) = reference.strip_prefix("#/definitions/") {
            // Amounts may be numbers as well.
            if name.ends_with(".Quantity") && value.is_number() {
                return;
            }
            return self.hold(&self.core["definitions"][name], value, path, wrong);
        }
        let choices = schema.get("enum").and_then(Value::as_array);
        if !fits(schema, value) || choices.is_some_and(|choices| !choices.contains(value)) {
            wrong.push(format!("{path} is {value}"));
            return;
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.hold(&schema["items"], item, &format!("{path}/{index}"), wrong);
        }
        if let Some(table) = value.as_object() {
            self.hold_table(schema, table, path, wrong);
        }
    }

    fn hold_table(
        &self,
        schema: &Value,
        table: &serde_json::Map<String, Value>,
        path: &str,
        wrong: &mut Vec<String>,
    ) {
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(key) {
                wrong.push(format!("{path} has no `{key}`"));
            }
        }
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        let open = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        for (key, value) in table {
            let below = format!("{path}/{key}");
            match known.and_then(|known| known.get(key)).or(others) {
                Some(schema) => self.hold(schema, value, &below, wrong),
                None if open || known.is_none() => {}
                None => wrong.push(format!("{below} is unknown")),
            }
        }
    }
}

fn fits(schema: &Value, value: &Value) -> bool {
    let is_number = value.is_i64() || value.is_u64();
    match text(schema, "/type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" if text(schema, "/format") == "int-or-string" => value.is_string() || is_number,
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => is_number,
        "number" => value.is_number(),
        _ => true,
    }
}

/// The text at `path`; empty where there is none.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}
