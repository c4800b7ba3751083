//! Moving the objects of a manifest into another namespace.

use serde_json::Value;

use super::object::Object;

/// Kinds of Kubernetes' own APIs that are in no namespace (`kubectl api-resources --namespaced=false`).
const CLUSTER_KINDS: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// Namespaces that are the cluster's: objects there stay.
const OF_THE_CLUSTER: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Moves what is in the manifest's own namespace, or says none, to `namespace`: the objects, and where
/// accounts, webhooks and API services refer to it. Arguments of programs are not looked at.
pub fn move_to(objects: &mut [Object], namespace: &str) -> Result<(), String> {
    let old = own_namespace(objects)?;
    let clustered = cluster_kinds(objects);
    for object in objects {
        let is_in_none = clustered.iter().any(|kind| kind == object.kind());
        let moves = match object.namespace() {
            None => !is_in_none,
            Some(now) => old.as_deref() == Some(now),
        };
        if moves {
            object.set(&["metadata", "namespace"], namespace.into())?;
        }
        if let Some(old) = old.as_deref() {
            if object.kind() == "Namespace" && object.name() == old {
                object.set(&["metadata", "name"], namespace.into())?;
            }
            for place in ["subjects", "webhooks", "spec"] {
                if let Some(value) = object.at_mut(&[place]) {
                    rename_references(value, old, namespace);
                }
            }
        }
    }
    Ok(())
}

/// The namespace that the manifest brings, or else the one that its objects are in.
fn own_namespace(objects: &[Object]) -> Result<Option<String>, String> {
    let brought = objects.iter().filter(|object| object.kind() == "Namespace");
    let mut names: Vec<&str> = brought.map(Object::name).collect();
    if names.is_empty() {
        names = objects.iter().filter_map(Object::namespace).collect();
        names.retain(|name| !OF_THE_CLUSTER.contains(name));
        names.sort_unstable();
        names.dedup();
    }
    match names.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).to_owned())),
        several => Err(format!(
            "`namespace` is for manifests with one namespace, and this one has {}",
            several.join(", ")
        )),
    }
}

/// Kinds without a namespace, those that the manifest defines included.
fn cluster_kinds(objects: &[Object]) -> Vec<String> {
    let defined = objects.iter().filter(|object| {
        object.kind() == "CustomResourceDefinition"
            && object.text(&["spec", "scope"]) == Some("Cluster")
    });
    let defined = defined.filter_map(|object| object.text(&["spec", "names", "kind"]));
    let known = CLUSTER_KINDS.iter().copied();
    known.chain(defined).map(str::to_owned).collect()
}

/// Tables that name an account or a service have `name` and `namespace` side by side.
fn rename_references(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::Object(table) => {
            let is_reference = table.get("name").is_some_and(Value::is_string)
                && table.get("namespace").and_then(Value::as_str) == Some(old);
            if is_reference {
                table.insert("namespace".into(), new.into());
            }
            let inner = table.values_mut();
            inner.for_each(|value| rename_references(value, old, new));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| rename_references(value, old, new)),
        _ => {}
    }
}
