//! The container images that manifests name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::object::Object;
use super::pod_spec::{containers, is_for_windows};

/// The images of `objects` as they are written there: of containers, of those that run first, and those
/// that are handed to a controller in an argument (`--acme-http01-solver-image=quay.io/…:v1`).
pub fn images(objects: &[Object]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for object in objects.iter().filter(|object| !is_for_windows(object)) {
        for container in containers(object) {
            let image = container.get("image").and_then(Value::as_str);
            found.extend(image.map(str::to_owned));
            for list in ["command", "args"] {
                let words = container.get(list).and_then(Value::as_array);
                let words = words.into_iter().flatten().filter_map(Value::as_str);
                found.extend(words.filter_map(image_in).map(str::to_owned));
            }
        }
    }
    found
}

/// The image in an argument: with a registry and a tag, since anything else may be a file or an address.
fn image_in(word: &str) -> Option<&str> {
    let value = word.split_once('=').map_or(word, |(_, value)| value);
    let (registry, rest) = value.split_once('/')?;
    let (path, tag) = rest.rsplit_once(':')?;
    let is_host = registry.contains('.')
        && !registry.starts_with('.')
        && registry
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b));
    let is_path = !path.is_empty()
        && path
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._/".contains(&b));
    let is_tag = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    (is_host && is_path && is_tag).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::documents::read;
    use super::*;

    #[test]
    fn images_of_containers_and_arguments_are_found() {
        let text = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  template:
    spec:
      initContainers: [{name: i, image: busybox:1}]
      containers:
      - name: c
        image: quay.io/x/controller:v1
        args: [--solver=quay.io/x/solver:v1, --endpoint=unix:///csi/csi.sock, --url=http://a.b/c:1, --bind=0.0.0.0:80, ./a/b:c]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: w}
spec: {template: {spec: {nodeSelector: {kubernetes.io/os: windows}, containers: [{name: c, image: win:1}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: j}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: job:1}]}}}}}
";
        let found: Vec<String> = images(&read(text).unwrap()).into_iter().collect();
        assert_eq!(
            found,
            [
                "busybox:1",
                "job:1",
                "quay.io/x/controller:v1",
                "quay.io/x/solver:v1"
            ]
        );
    }
}
