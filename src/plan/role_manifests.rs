//! What a role changes of the manifests that it takes from upstream.

use std::collections::BTreeMap;

use minijinja::Value;

use crate::error::{Error, Result};
use crate::kubernetes::{ContainerEdit, ManifestEdits, ObjectEdit};
use crate::overlay::{EditSpec, ManifestSpec, Renderer};

/// The changes of `spec`, with their texts rendered for the node and `item`.
pub fn manifest_edits(
    renderer: &Renderer,
    spec: &ManifestSpec,
    item: &Value,
) -> Result<ManifestEdits> {
    let texts = Texts { renderer, item };
    let mut edits = Vec::new();
    for edit in &spec.edit {
        let holds = match &edit.when {
            Some(condition) => renderer.eval(condition, item)?.is_true(),
            None => true,
        };
        if holds {
            edits.push(texts.edit(edit)?);
        }
    }
    Ok(ManifestEdits {
        namespace: texts.maybe(&spec.namespace)?,
        edits,
    })
}

/// Renders the texts of a manifest.
struct Texts<'a> {
    renderer: &'a Renderer,
    item: &'a Value,
}

impl Texts<'_> {
    fn edit(&self, edit: &EditSpec) -> Result<ObjectEdit> {
        let mut set = BTreeMap::new();
        for (path, value) in &edit.set {
            set.insert(path.clone(), self.json(value)?);
        }
        Ok(ObjectEdit {
            kind: edit.kind.clone(),
            name: self.maybe(&edit.name)?,
            drop: edit.drop,
            annotations: self.table(&edit.annotations)?,
            labels: self.table(&edit.labels)?,
            container: ContainerEdit {
                name: self.maybe(&edit.container)?,
                image: self.maybe(&edit.image)?,
                remove_args: edit.remove_args.clone(),
                add_args: self.list(&edit.add_args)?,
            },
            set,
        })
    }

    fn text(&self, text: &str) -> Result<String> {
        self.renderer.text_of(text, self.item)
    }

    /// A text that may be missing; an empty one is.
    fn maybe(&self, text: &Option<String>) -> Result<Option<String>> {
        let text = text.as_deref().map(|text| self.text(text)).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn table(&self, table: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        let rendered = table.iter();
        rendered
            .map(|(key, value)| Ok((key.clone(), self.text(value)?)))
            .collect()
    }

    /// Words that come out empty are left out.
    fn list(&self, list: &[String]) -> Result<Vec<String>> {
        let words = list.iter().map(|word| self.text(word));
        let words: Vec<String> = words.collect::<Result<_>>()?;
        Ok(words.into_iter().filter(|word| !word.is_empty()).collect())
    }

    /// The JSON text of a value, with its strings rendered.
    fn json(&self, value: &toml::Value) -> Result<String> {
        let rendered = self.rendered(value)?;
        serde_json::to_string(&rendered).map_err(|why| Error::usage(why.to_string()))
    }

    fn rendered(&self, value: &toml::Value) -> Result<toml::Value> {
        Ok(match value {
            toml::Value::String(text) => toml::Value::String(self.text(text)?),
            toml::Value::Array(items) => {
                let items = items.iter().map(|item| self.rendered(item));
                toml::Value::Array(items.collect::<Result<_>>()?)
            }
            toml::Value::Table(table) => {
                let table = table.iter();
                let table = table.map(|(key, value)| Ok((key.clone(), self.rendered(value)?)));
                toml::Value::Table(table.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }
}
