//! What a role changes of a manifest that it takes from upstream.

use std::collections::BTreeMap;

use serde_json::Value;

use super::documents::{read, write};
use super::namespace::move_to;
use super::object::Object;
use super::pod_spec::containers_mut;

/// The changes of one manifest, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestEdits {
    /// Where the objects of the manifest's own namespace go.
    pub namespace: Option<String>,
    pub edits: Vec<ObjectEdit>,
}

/// A change of those objects that have this kind and name.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectEdit {
    pub kind: Option<String>,
    pub name: Option<String>,
    /// They are left out.
    pub drop: bool,
    pub annotations: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub container: ContainerEdit,
    /// Paths from the object on, with a `.` between keys, and the JSON text of the value that goes there.
    pub set: BTreeMap<String, String>,
}

/// A change of containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerEdit {
    /// The container's name; without one all of them.
    pub name: Option<String>,
    pub image: Option<String>,
    /// Arguments that are one of these, or begin with one of these and a `=`.
    pub remove_args: Vec<String>,
    pub add_args: Vec<String>,
}

impl ManifestEdits {
    /// The manifest with the changes. Says which of them fits nothing: then upstream is not what the role
    /// was written for.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        let mut objects = read(text)?;
        if objects.is_empty() {
            return Err("holds no objects".into());
        }
        if let Some(namespace) = &self.namespace {
            move_to(&mut objects, namespace)?;
        }
        for edit in &self.edits {
            edit.apply(&mut objects)?;
        }
        Ok(write(&objects))
    }
}

impl ObjectEdit {
    fn apply(&self, objects: &mut Vec<Object>) -> Result<(), String> {
        let before = objects.len();
        if self.drop {
            objects.retain(|object| !self.fits(object));
            return match objects.len() == before {
                true => Err(self.fits_nothing()),
                false => Ok(()),
            };
        }
        let mut changed = false;
        for object in objects.iter_mut().filter(|object| self.fits(object)) {
            let title = object.title();
            self.change(object)
                .map_err(|why| format!("{title}: {why}"))?;
            changed = true;
        }
        match changed {
            true => Ok(()),
            false => Err(self.fits_nothing()),
        }
    }

    fn fits(&self, object: &Object) -> bool {
        self.kind
            .as_deref()
            .is_none_or(|kind| kind == object.kind())
            && self
                .name
                .as_deref()
                .is_none_or(|name| name == object.name())
    }

    fn fits_nothing(&self) -> String {
        let kind = self.kind.as_deref().unwrap_or("object");
        let name = self.name.as_deref().map(|name| format!(" {name}"));
        format!("holds no {kind}{}", name.unwrap_or_default())
    }

    fn change(&self, object: &mut Object) -> Result<(), String> {
        for (table, values) in [("annotations", &self.annotations), ("labels", &self.labels)] {
            for (key, value) in values {
                object.set(&["metadata", table, key], value.as_str().into())?;
            }
        }
        if !self.container.is_empty() {
            self.container.change(object)?;
        }
        for (path, json) in &self.set {
            let value: Value =
                serde_json::from_str(json).map_err(|why| format!("{path}: {why}"))?;
            let path: Vec<&str> = path.split('.').collect();
            object.set(&path, value)?;
        }
        Ok(())
    }
}

impl ContainerEdit {
    fn is_empty(&self) -> bool {
        self.image.is_none() && self.remove_args.is_empty() && self.add_args.is_empty()
    }

    fn change(&self, object: &mut Object) -> Result<(), String> {
        let mut changed = false;
        for container in containers_mut(object) {
            let name = container.get("name").and_then(Value::as_str);
            if self.name.is_some() && name != self.name.as_deref() {
                continue;
            }
            let Some(container) = container.as_object_mut() else {
                continue;
            };
            if let Some(image) = &self.image {
                container.insert("image".into(), image.as_str().into());
            }
            if !self.remove_args.is_empty() || !self.add_args.is_empty() {
                let args = container.entry("args").or_insert(Value::Array(Vec::new()));
                let args = args.as_array_mut().ok_or("`args` is no list")?;
                args.retain(|arg| !arg.as_str().is_some_and(|arg| self.removes(arg)));
                args.extend(self.add_args.iter().map(|arg| arg.as_str().into()));
            }
            changed = true;
        }
        match (changed, &self.name) {
            (true, _) => Ok(()),
            (false, Some(name)) => Err(format!("has no container `{name}`")),
            (false, None) => Err("has no containers".into()),
        }
    }

    fn removes(&self, arg: &str) -> bool {
        let is = |wanted: &String| {
            arg.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        self.remove_args.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: old}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: b}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}
subjects: [{kind: ServiceAccount, name: a, namespace: old}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: leader, namespace: kube-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: a}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: old}
spec:
  template:
    spec:
      containers:
      - {name: c, image: x:1, args: [--port=1, --portal, --keep]}
";

    fn applied(edits: ManifestEdits) -> Result<Vec<Object>, String> {
        edits.apply(MANIFEST).and_then(|text| read(&text))
    }

    fn only(edit: ObjectEdit) -> ManifestEdits {
        ManifestEdits {
            namespace: None,
            edits: vec![edit],
        }
    }

    #[test]
    fn objects_and_references_move_to_another_namespace() {
        let edits = ManifestEdits {
            namespace: Some("new".into()),
            edits: Vec::new(),
        };
        let objects = applied(edits).unwrap();
        let titles: Vec<String> = objects.iter().map(Object::title).collect();
        assert_eq!(
            titles,
            [
                "Namespace new",
                "ClusterRoleBinding b",
                "Role kube-system/leader",
                "ServiceAccount new/a",
                "Deployment new/d"
            ]
        );
        let subject = objects[1].at(&["subjects"]).unwrap();
        assert_eq!(subject[0]["namespace"], "new");
    }

    #[test]
    fn containers_metadata_and_values_change() {
        let edit = ObjectEdit {
            kind: Some("Deployment".into()),
            annotations: [("a/b".into(), "c".into())].into(),
            container: ContainerEdit {
                image: Some("y:2".into()),
                remove_args: vec!["--port".into()],
                add_args: vec!["--port=2".into()],
                ..ContainerEdit::default()
            },
            set: [("spec.replicas".into(), "2".into())].into(),
            ..ObjectEdit::default()
        };
        let objects = applied(only(edit)).unwrap();
        let object = &objects[4];
        assert_eq!(object.at(&["spec", "replicas"]).unwrap(), 2);
        assert_eq!(object.text(&["metadata", "annotations", "a/b"]), Some("c"));
        let container = &object
            .at(&["spec", "template", "spec", "containers"])
            .unwrap()[0];
        assert_eq!(container["image"], "y:2");
        let args: Vec<&str> = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(args, ["--portal", "--keep", "--port=2"]);
    }

    #[test]
    fn objects_are_left_out() {
        let edit = ObjectEdit {
            kind: Some("Role".into()),
            drop: true,
            ..ObjectEdit::default()
        };
        assert_eq!(applied(only(edit)).unwrap().len(), 4);
    }

    #[test]
    fn a_change_that_fits_nothing_is_told() {
        let of = |kind: &str, name: &str| ObjectEdit {
            kind: Some(kind.into()),
            name: Some(name.into()),
            ..ObjectEdit::default()
        };
        let drop = ObjectEdit {
            drop: true,
            ..of("Role", "x")
        };
        assert_eq!(applied(only(drop)).unwrap_err(), "holds no Role x");
        assert_eq!(applied(only(of("Pod", "x"))).unwrap_err(), "holds no Pod x");
        let container = ContainerEdit {
            name: Some("z".into()),
            image: Some("y".into()),
            ..ContainerEdit::default()
        };
        let edit = ObjectEdit {
            container,
            ..of("Deployment", "d")
        };
        let why = applied(only(edit)).unwrap_err();
        assert_eq!(why, "Deployment old/d: has no container `z`");
        let set = [("kind.x".to_owned(), "1".to_owned())].into();
        let edit = ObjectEdit {
            set,
            ..of("Role", "leader")
        };
        let why = applied(only(edit)).unwrap_err();
        assert!(why.contains("`kind.x` cannot be set"), "{why}");
    }
}
