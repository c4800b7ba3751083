//! Filters of the field, for templates.

use md4::{Digest, Md4};
use minijinja::{Environment, Error, ErrorKind, Value};
use zeroize::Zeroizing;

use super::balloon;
use super::host_key::HostKey;
use crate::config::Cidr;
use crate::secrets::REDACTED;

/// Adds all filters to `env`.
pub fn register(env: &mut Environment<'_>) {
    env.add_filter("yaml", yaml);
    env.add_filter("toml", toml_value);
    env.add_filter("systemd", systemd);
    env.add_filter("shell", shell);
    env.add_filter("keyfile", keyfile);
    env.add_filter("keyfile_ssid", keyfile_ssid);
    env.add_filter("cidr_host", cidr_host);
    env.add_filter("cidr_netmask", cidr_netmask);
    env.add_filter("nt_hash", nt_hash);
    env.add_filter("balloon_sha256", balloon_sha256);
    env.add_filter("uuid5", uuid5);
    env.add_filter("ssh_host_key", ssh_host_key);
}

fn invalid(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// YAML flow text of a scalar or list. JSON is YAML.
fn yaml(value: Value) -> Result<String, Error> {
    serde_json::to_string(&value).map_err(|e| invalid(e.to_string()))
}

fn toml_value(value: Value) -> Result<String, Error> {
    toml::Value::try_from(&value)
        .map(|v| v.to_string())
        .map_err(|e| invalid(e.to_string()))
}

/// Text for the right-hand side of a unit file: specifiers and quotes lose their meaning.
fn systemd(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
}

/// One quoted word for a POSIX shell.
fn shell(value: Value) -> String {
    format!("'{}'", value.to_string().replace('\'', "'\\''"))
}

/// A string value of a keyfile (the format of GLib's GKeyFile): blanks at either end and backslashes
/// are escaped.
fn keyfile(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\");
    let body = escaped.trim_matches(' ');
    let start = escaped.len() - escaped.trim_start_matches(' ').len();
    let end = escaped.len() - start - body.len();
    format!("{}{body}{}", "\\s".repeat(start), "\\s".repeat(end))
}

/// The name of a Wi-Fi network for NetworkManager: as text where that cannot be misread, otherwise as
/// the list of its bytes (nm-settings-keyfile(5)).
fn keyfile_ssid(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    if !is_number && text.bytes().all(plain) {
        text.to_owned()
    } else {
        text.bytes().map(|b| format!("{b};")).collect()
    }
}

fn cidr_host(text: &str, n: u32) -> Result<String, Error> {
    let cidr: Cidr = text.parse().map_err(|why: String| invalid(why))?;
    cidr.host(n)
        .map(|address| address.to_string())
        .ok_or_else(|| invalid(format!("{text} has no host {n}")))
}

fn cidr_netmask(text: &str) -> Result<String, Error> {
    let cidr: Cidr = text.parse().map_err(|why: String| invalid(why))?;
    Ok(cidr.netmask().to_string())
}

/// The NT hash of a password: MD4 of its UTF-16LE form ([MS-NLMP] 3.3.1), upper-case hexadecimal as
/// smbpasswd files have it.
fn nt_hash(password: &str) -> String {
    let utf16: Vec<u8> = password.encode_utf16().flat_map(u16::to_le_bytes).collect();
    Md4::digest(&*Zeroizing::new(utf16))
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect()
}

/// What Pi-hole keeps of a password, for the node `owner`.
fn balloon_sha256(password: &str, owner: &str) -> String {
    // A hash made of the placeholder would look like the real one.
    if password == REDACTED {
        return REDACTED.to_owned();
    }
    balloon::pihole_hash(password, owner)
}

/// The UUID (version 5, RFC 9562) of `name` within a namespace, which is any text.
fn uuid5(namespace: &str, name: &str) -> String {
    let namespace = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, namespace.as_bytes());
    uuid::Uuid::new_v5(&namespace, name.as_bytes()).to_string()
}

/// The private SSH host key that `seed` gives the node `fqdn`. Its public half is not a filter but a
/// function, `ssh_host_public_key`: what filters make of a secret counts as secret.
fn ssh_host_key(seed: &str, fqdn: &str, hostname: &str) -> String {
    HostKey::derive(seed, fqdn, hostname).private_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(nt_hash("password"), "8846F7EAEE8FB117AD06BDD830B7586C");
        assert_eq!(shell(Value::from("it's")), r"'it'\''s'");
        assert_eq!(
            yaml(Value::from(vec!["a: b", "c"])).unwrap(),
            r#"["a: b","c"]"#
        );
        assert_eq!(toml_value(Value::from("a\"b")).unwrap(), "'a\"b'");
        assert_eq!(cidr_host("10.100.0.0/24", 7).unwrap(), "10.100.0.7");
        assert_eq!(systemd("50% \"x\""), "50%% \\\"x\\\"");
        assert_eq!(keyfile(r" a\b;  "), r"\sa\\b;\s\s");
        assert_eq!(keyfile_ssid("home-5G"), "home-5G");
        assert_eq!(keyfile_ssid("a b"), "97;32;98;");
        assert_eq!(keyfile_ssid("12"), "49;50;");
        assert_ne!(uuid5("a", "b"), uuid5("b", "b"));
    }
}
