//! Labels and taints, as the kubelet takes them.
//!
//! Source: Kubernetes' documentation "Labels and Selectors", "Taints and Tolerations", and the kubelet's
//! `--node-labels` (which namespaces a node may set on itself).

use super::reason::Reason;

/// Keys of `kubernetes.io` that a kubelet may set on its own node.
const NODE_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// Labels that say what a Raspberry Pi is, whoever sets them. The host name is the kubelet's business.
const FACTS: &[(&str, &str)] = &[
    ("kubernetes.io/hostname", ""),
    ("kubernetes.io/os", "linux"),
    ("beta.kubernetes.io/os", "linux"),
    ("kubernetes.io/arch", "arm64"),
    ("beta.kubernetes.io/arch", "arm64"),
];

/// Arguments of the kubelet that k3s sets, or that are gone.
const NOT_OURS: &[&str] = &[
    "address",
    "anonymous-auth",
    "authentication-token-webhook",
    "authorization-mode",
    "bootstrap-kubeconfig",
    "cert-dir",
    "cgroup-driver",
    "client-ca-file",
    "cluster-dns",
    "cluster-domain",
    "config",
    "container-runtime",
    "container-runtime-endpoint",
    "containerd",
    "hostname-override",
    "kubeconfig",
    "network-plugin",
    "node-ip",
    "node-labels",
    "port",
    "read-only-port",
    "register-with-taints",
    "resolv-conf",
    "root-dir",
    "tls-cert-file",
    "tls-private-key-file",
];

/// Arguments that are numbers, with their least and greatest.
const NUMBERS: &[(&str, u32, u32)] = &[
    ("container-log-max-files", 2, u32::MAX),
    ("image-gc-high-threshold", 1, 100),
    ("image-gc-low-threshold", 0, 99),
    ("max-pods", 1, u32::MAX),
    ("pods-per-core", 0, u32::MAX),
    ("v", 0, 10),
];

/// Namespaces in which it may set any label.
const NODE_NAMESPACES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub fn label(text: &str) -> Result<(), Reason> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` has no value; write `key=value`"))?;
    qualified_name(key)?;
    label_value(value)?;
    if let Some((_, right)) = FACTS.iter().find(|(fact, _)| *fact == key) {
        return if value == *right {
            Ok(())
        } else {
            Err(format!(
                "`{text}` contradicts what the node is, so that nothing is scheduled on it; leave it to the kubelet"
            ))
        };
    }
    if is_reserved(key) {
        return Err(format!(
            "the kubelet refuses to set `{key}` on its own node and does not start; choose a key outside kubernetes.io and k8s.io, or label the node later with kubectl"
        ));
    }
    Ok(())
}

fn is_reserved(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else {
        return false;
    };
    let is_in = |domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
    (is_in("kubernetes.io") || is_in("k8s.io"))
        && !NODE_LABELS.contains(&key)
        && !NODE_NAMESPACES.iter().any(|n| is_in(n))
}

pub fn taint(text: &str) -> Result<(), Reason> {
    let (rest, effect) = text.rsplit_once(':').ok_or_else(|| {
        format!(
            "`{text}` has no effect; write `key=value:Effect` with {}",
            EFFECTS.join(", ")
        )
    })?;
    if !EFFECTS.contains(&effect) {
        return Err(format!(
            "`{text}`: the effect must be {}",
            EFFECTS.join(", ")
        ));
    }
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    qualified_name(key)?;
    label_value(value)
}

/// `[prefix/]name`: a DNS subdomain, and up to 63 letters, digits, `-`, `_` and `.`.
fn qualified_name(key: &str) -> Result<(), Reason> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let wrong = || format!("`{key}` is not a key like `role` or `example.com/role`");
    if name.is_empty() || !is_value(name) {
        return Err(wrong());
    }
    match prefix {
        Some(prefix) => super::name::dns_name(prefix).map_err(|_| wrong()),
        None => Ok(()),
    }
}

fn label_value(value: &str) -> Result<(), Reason> {
    if value.is_empty() || is_value(value) {
        Ok(())
    } else {
        Err(format!(
            "`{value}` is not a value: up to 63 letters, digits, -, _ and ., beginning and ending with a letter or digit"
        ))
    }
}

fn is_value(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// `key=value` that k3s turns into `--key=value`.
pub fn argument(text: &str) -> Result<(), Reason> {
    if text.starts_with('-') {
        return Err(format!(
            "`{text}`: leave the dashes out; k3s puts them there"
        ));
    }
    let (key, value) = text.split_once('=').unwrap_or_default();
    if NOT_OURS.contains(&key) {
        return Err(format!(
            "`{key}` is set by k3s, or the kubelet no longer has it"
        ));
    }
    if let Some((_, least, most)) = NUMBERS.iter().find(|(number, ..)| *number == key) {
        let number = value.parse::<u32>().ok();
        if number.is_none_or(|n| n < *least || n > *most) {
            return Err(format!(
                "`{text}`: `{value}` is not a number that `{key}` can be"
            ));
        }
    }
    let fine = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fine {
        Ok(())
    } else {
        Err(format!("`{text}` is not an argument like `max-pods=50`"))
    }
}
