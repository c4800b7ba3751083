//! Manifests as text: YAML in, a stream of JSON documents out, which is YAML as well and has one way of
//! writing everything.

use std::fmt::Write;

use serde_json::Value;

use super::object::Object;

/// Reads the objects of a YAML or JSON text. What is wrong is told with its line; the text itself is not
/// shown, as it may hold secrets.
pub fn read(text: &str) -> Result<Vec<Object>, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        legacy_octal_numbers: true,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            match error.location() {
                Some(place) => format!("line {} is no valid YAML", place.line()),
                None => "is no valid YAML".to_owned(),
            }
        })?;
    let mut objects = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        for value in items(document) {
            let object = Object::new(value);
            objects.push(object.map_err(|why| format!("document {} {why}", index + 1))?);
        }
    }
    Ok(objects)
}

/// The objects of a document: those of a list, or itself. An empty document has none.
fn items(document: Value) -> Vec<Value> {
    match document {
        Value::Null => Vec::new(),
        Value::Object(mut table) if is_list(&table) => match table.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

fn is_list(table: &serde_json::Map<String, Value>) -> bool {
    let kind = table.get("kind").and_then(Value::as_str);
    kind.is_some_and(|kind| kind.ends_with("List"))
        && table.get("items").is_some_and(Value::is_array)
}

/// Writes objects as documents of one stream, in their order.
pub fn write(objects: &[Object]) -> String {
    let mut text = String::new();
    for object in objects {
        // Writing into a String does not fail.
        let _ = writeln!(text, "---\n{:#}", object.value());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# two\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n---\n\
                       apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: b\n  namespace: a\nspec: {mode: 0644, on: yes}\n";

    #[test]
    fn documents_are_read_and_written_again() {
        let objects = read(TWO).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[1].title(), "Deployment a/b");
        assert_eq!(objects[1].group(), "apps");
        let text = write(&objects);
        assert!(
            text.starts_with("---\n{\n  \"apiVersion\": \"v1\""),
            "{text}"
        );
        assert!(text.contains("\"mode\": 420"), "{text}");
        assert_eq!(read(&text).unwrap(), objects);
    }

    #[test]
    fn lists_are_their_items() {
        let text = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: x}\n";
        let objects = read(text).unwrap();
        assert_eq!(objects[0].title(), "ConfigMap x");
    }

    #[test]
    fn what_is_no_object_is_told_with_its_place() {
        for (text, why) in [
            (
                "kind: x\nmetadata: {name: a}\n",
                "document 1 has no `apiVersion`",
            ),
            (
                "apiVersion: v1\nkind: Pod\n",
                "document 1 is a Pod without `metadata.name`",
            ),
            ("- a\n", "document 1 is no object"),
            ("a: [1\n", "line 1 is no valid YAML"),
            ("a: 1\na: 2\n", "line 2 is no valid YAML"),
            ("a: hunter22: b\n", "line 1 is no valid YAML"),
        ] {
            assert_eq!(read(text).unwrap_err(), why);
        }
    }
}
