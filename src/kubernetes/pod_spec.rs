//! Where objects keep the specification of pods (Kubernetes API, `core/v1` PodSpec).

use serde_json::Value;

use super::object::Object;

/// The lists of a PodSpec that hold containers.
const CONTAINER_LISTS: [&str; 2] = ["containers", "initContainers"];

/// Where an object of `kind` has its PodSpec.
fn path_of(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Pod" => Some(&["spec"]),
        "Deployment"
        | "DaemonSet"
        | "StatefulSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => Some(&["spec", "template", "spec"]),
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        _ => None,
    }
}

/// The containers of an object, also those that run before the others.
pub fn containers(object: &Object) -> Vec<&Value> {
    let spec = path_of(object.kind()).and_then(|path| object.at(path));
    let lists = CONTAINER_LISTS
        .iter()
        .filter_map(|list| spec?.get(list)?.as_array());
    lists.flatten().collect()
}

/// The same, to be changed.
pub fn containers_mut(object: &mut Object) -> Vec<&mut Value> {
    let spec = path_of(object.kind()).and_then(|path| object.at_mut(path));
    let Some(Value::Object(spec)) = spec else {
        return Vec::new();
    };
    spec.iter_mut()
        .filter(|(key, _)| CONTAINER_LISTS.contains(&key.as_str()))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
        .collect()
}

/// Whether its pods run on Windows, which no Raspberry Pi does.
pub fn is_for_windows(object: &Object) -> bool {
    let spec = path_of(object.kind()).and_then(|path| object.at(path));
    let selector = spec.and_then(|spec| spec.get("nodeSelector"));
    let system = selector.and_then(|selector| selector.get("kubernetes.io/os"));
    system.and_then(Value::as_str) == Some("windows")
}
