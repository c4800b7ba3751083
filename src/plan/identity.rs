//! Who the node is: host name, account, keys, locale. The account is written into the root file
//! system everywhere, because its password hash must not lie on the boot partition. The rest goes
//! through cloud-init's NoCloud seed where the base has cloud-init, and offline where it has not.

use std::sync::LazyLock;

use regex_lite::Regex;
use sha2::{Digest, Sha256};

use super::account::Account;
use super::edit::{Action, Attr, Content, Edit, When, edit};
use super::file_bytes::FileBytes;
use crate::config::{Node, Sudo, full_match};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::overlay::{Part, USER_ID};
use crate::secrets::{Refusal, Secret, SecretAccess};

const ORIGIN: &str = "identity";

/// Locales are compiled on the machine that uses them; the one the base brings is kept as it is.
const LOCALE_UNIT: &str = "imgbuild-locale.service";
const LOCALE_UNIT_TEXT: &str = "\
[Unit]
Description=imgbuild: compile the locale
ConditionPathExists=/usr/sbin/locale-gen
ConditionPathExists=!/var/lib/imgbuild/locale.done
After=local-fs.target

[Service]
Type=oneshot
ExecStart=/usr/sbin/locale-gen --keep-existing
ExecStartPost=/usr/bin/touch /var/lib/imgbuild/locale.done

[Install]
WantedBy=multi-user.target
";

/// The edits, and the instance-id of the seed.
pub struct Identity {
    pub edits: Vec<Edit>,
    pub instance_id: String,
}

/// Plans the identity of `node`.
pub fn identity_edits(
    node: &Node,
    ssh_keys: &[String],
    password_hash: Option<Secret>,
) -> Result<Identity> {
    let user_data = user_data(node, ssh_keys, password_hash.is_some())?;
    let instance_id = instance_id(&user_data);
    let mut edits = account_edits(node, password_hash);
    edits.extend(first_boot_dialog_edits());
    edits.push(write(
        "/etc/hostname",
        &format!("{}\n", node.hostname),
        0o644,
    ));
    if node.ssh.enabled {
        edits.push(edit(Part::Root, "ssh.service", ORIGIN, Action::EnableUnit));
    }
    edits.extend(seed_edits(&user_data, &instance_id));
    edits.extend(offline_edits(node, ssh_keys));
    Ok(Identity { edits, instance_id })
}

/// Hashes that Debian's libxcrypt takes, whole (crypt(5)).
const CRYPT_HASHES: &[&str] = &[
    // yescrypt, gost-yescrypt
    r"\$g?y\$[./A-Za-z0-9]+\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}",
    // scrypt
    r"\$7\$[./A-Za-z0-9]{11,97}\$[./A-Za-z0-9]{43}",
    // bcrypt
    r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}",
    // SHA-512
    r"\$6\$(rounds=[1-9][0-9]{3,8}\$)?[^$:\s]{1,16}\$[./A-Za-z0-9]{86}",
    // SHA-256
    r"\$5\$(rounds=[1-9][0-9]{3,8}\$)?[^$:\s]{1,16}\$[./A-Za-z0-9]{43}",
];

/// Compiled once: every node of a large cluster has a hash.
static CRYPT_FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let forms = CRYPT_HASHES.iter().map(|form| full_match(form));
    forms.filter_map(Result::ok).collect()
});

fn is_crypt_hash(text: &str) -> bool {
    text.is_ascii() && CRYPT_FORMS.iter().any(|form| form.is_match(text))
}

/// The hash of the user's password, if there is one.
pub fn password_hash(node: &Node, secrets: &SecretAccess) -> Result<Option<Secret>> {
    const KEY: &str = "secrets.password_hash";
    let Some((reference, origin)) = node.secrets.get("password_hash") else {
        return Ok(None);
    };
    let value = secrets.get(reference);
    let value = value.map_err(|refusal| refusal.error(origin, KEY))?;
    let Some(value) = value else {
        return Ok(Some(Secret::redacted()));
    };
    if is_crypt_hash(value.expose()) {
        return Ok(Some(value));
    }
    let what = "the value is not a whole crypt hash of the kind yescrypt (`$y$`), SHA-512 (`$6$`), SHA-256 (`$5$`), bcrypt (`$2b$`) or scrypt (`$7$`)";
    Err(Refusal::new(what)
        .with_hint("`mkpasswd -m yescrypt` or `openssl passwd -6` makes one; in a shell it stands in single quotes")
        .error(origin, KEY))
}

fn write(path: &str, text: &str, mode: u32) -> Edit {
    write_as(path, text, Attr::root(mode))
}

fn write_as(path: &str, text: &str, attr: Attr) -> Edit {
    let content = plain(text);
    edit(Part::Root, path, ORIGIN, Action::Write(content, attr))
}

fn plain(text: &str) -> Content {
    Content::Bytes(FileBytes::Plain(text.as_bytes().to_vec()))
}

fn on(when: When, mut edit: Edit) -> Edit {
    edit.when = when;
    edit
}

fn account_edits(node: &Node, password_hash: Option<Secret>) -> Vec<Edit> {
    let user = &node.user;
    let mut groups = user.groups.clone();
    if user.sudo == Sudo::None {
        groups.retain(|g| g != "sudo");
    }
    let account = Account {
        name: user.name.clone(),
        uid: USER_ID,
        gid: USER_ID,
        shell: user.shell.clone(),
        groups,
        password_hash,
    };
    let mut edits = vec![edit(
        Part::Root,
        "/etc/passwd",
        ORIGIN,
        Action::Account(account),
    )];
    let rule = match user.sudo {
        Sudo::WithoutPassword => format!("{} ALL=(ALL) NOPASSWD: ALL\n", user.name),
        Sudo::WithPassword => format!("{} ALL=(ALL:ALL) ALL\n", user.name),
        Sudo::None => return edits,
    };
    edits.push(write("/etc/sudoers.d/010_imgbuild", &rule, 0o440));
    edits
}

/// Raspberry Pi OS asks on the console for a user until one is named, which would hold up
/// multi-user.target for ever.
fn first_boot_dialog_edits() -> Vec<Edit> {
    let remove = |path| edit(Part::Root, path, ORIGIN, Action::Remove);
    vec![
        remove("/etc/systemd/system/multi-user.target.wants/userconfig.service"),
        remove("/etc/ssh/sshd_config.d/rename_user.conf"),
        remove("/etc/sudoers.d/010_pi-nopasswd"),
        edit(Part::Root, "getty@tty1.service", ORIGIN, Action::EnableUnit),
    ]
}

/// cloud-init's view of the node. No secret goes in here: everybody who holds the card can read it.
fn user_data(node: &Node, ssh_keys: &[String], has_password: bool) -> Result<String> {
    let locale = &node.locale;
    let data = serde_json::json!({
        "hostname": node.hostname,
        "fqdn": node.fqdn(),
        "prefer_fqdn_over_hostname": false,
        "manage_etc_hosts": false,
        "ssh_pwauth": node.ssh.password_login,
        "locale": locale.lang,
        "timezone": locale.timezone,
        "keyboard": { "layout": locale.keyboard },
        "users": [{
            "name": node.user.name,
            "shell": node.user.shell,
            "lock_passwd": !has_password,
            "ssh_authorized_keys": ssh_keys,
        }],
    });
    let keys = [
        "hostname",
        "fqdn",
        "prefer_fqdn_over_hostname",
        "manage_etc_hosts",
        "ssh_pwauth",
        "locale",
        "timezone",
        "keyboard",
        "users",
    ];
    let mut text = String::from(
        "#cloud-config\n# Made by imgbuild. After an edit, change instance-id in meta-data and cmdline.txt alike.\n",
    );
    for key in keys {
        let value = serde_json::to_string(&data[key])
            .map_err(|e| Error::failed(format!("rendering user-data: {e}")))?;
        text.push_str(&format!("{key}: {value}\n"));
    }
    Ok(text)
}

/// The same seed has the same id on every machine, another seed another one.
fn instance_id(user_data: &str) -> String {
    let digest = Sha256::digest(user_data.as_bytes());
    format!("imgbuild-{}", hex(&digest[..8]))
}

fn seed_edits(user_data: &str, instance_id: &str) -> Vec<Edit> {
    let boot_file = |path: &str, text: &str| {
        let content = plain(text);
        edit(
            Part::Boot,
            path,
            ORIGIN,
            Action::Write(content, Attr::root(0o755)),
        )
    };
    let meta_data = format!("dsmode: local\ninstance-id: {instance_id}\n");
    let datasource = "# Made by imgbuild: the seed lies on the boot partition.\n\
        datasource_list: [NoCloud, None]\n\
        datasource: {NoCloud: {seedfrom: \"file:///boot/firmware\"}}\n";
    let cmdline = Action::Cmdline {
        add: vec![format!("ds=nocloud;i={instance_id}")],
        remove: vec!["ds=".to_owned()],
    };
    let edits = [
        boot_file("/user-data", user_data),
        boot_file("/meta-data", &meta_data),
        edit(Part::Boot, "/cmdline.txt", ORIGIN, cmdline),
        write(
            "/etc/cloud/cloud.cfg.d/99z-imgbuild-seed.cfg",
            datasource,
            0o644,
        ),
    ];
    edits.into_iter().map(|e| on(When::CloudInit, e)).collect()
}

/// The line of /etc/locale.gen that has the locale `lang` compiled.
pub fn locale_line(lang: &str) -> String {
    let charset = lang.split('.').nth(1).unwrap_or("UTF-8");
    format!("{lang} {charset}")
}

fn offline_edits(node: &Node, ssh_keys: &[String]) -> Vec<Edit> {
    let locale = &node.locale;
    let owner = |mode| Attr {
        mode,
        uid: USER_ID,
        gid: USER_ID,
    };
    let ssh = format!("/home/{}/.ssh", node.user.name);
    let keys: String = ssh_keys.iter().map(|k| format!("{k}\n")).collect();
    let zone = format!("/usr/share/zoneinfo/{}", locale.timezone);
    let link = |path, target: String| edit(Part::Root, path, ORIGIN, Action::Symlink(target));
    let line = |path, prefix: &str, line: String| {
        let action = Action::SetLine {
            prefix: prefix.to_owned(),
            line,
        };
        edit(Part::Root, path, ORIGIN, action)
    };
    let generated = locale_line(&locale.lang);
    let mut edits = vec![
        write(
            &format!("/etc/systemd/system/{LOCALE_UNIT}"),
            LOCALE_UNIT_TEXT,
            0o644,
        ),
        edit(Part::Root, LOCALE_UNIT, ORIGIN, Action::EnableUnit),
        edit(Part::Root, &ssh, ORIGIN, Action::Directory(owner(0o700))),
        write_as(&format!("{ssh}/authorized_keys"), &keys, owner(0o600)),
        write(
            "/etc/default/locale",
            &format!("LANG={}\n", locale.lang),
            0o644,
        ),
        line("/etc/locale.gen", &generated, generated.clone()),
        write("/etc/timezone", &format!("{}\n", locale.timezone), 0o644),
        link("/etc/localtime", zone),
        line(
            "/etc/default/keyboard",
            "XKBLAYOUT=",
            format!("XKBLAYOUT=\"{}\"", locale.keyboard),
        ),
    ];
    for edit in &mut edits {
        edit.when = When::Offline;
    }
    edits.push(on(
        When::CloudInitUnused,
        write("/etc/cloud/cloud-init.disabled", "", 0o644),
    ));
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_crypt_hashes_are_taken_and_others_not() {
        // `openssl passwd`, `mkpasswd` of libxcrypt, and the bcrypt of a public bug report.
        let sha512 = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g.";
        let sha256 = "$5$salt$Gcm6FsVtF/Qa77ZKD.iwsJlCVPY0XSMgLJL0Hnww/c1";
        let rounds = sha512.replacen("$6$", "$6$rounds=5000$", 1);
        let bcrypt = "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
        let yescrypt = format!("$y$j9T$F5Jx5fExrKuPp53xLKQ..1${}", "x".repeat(43));
        for good in [sha512, sha256, &rounds, bcrypt, &yescrypt] {
            assert!(is_crypt_hash(good), "{good}");
            assert!(!is_crypt_hash(&good[..good.len() - 1]), "cut: {good}");
            assert!(!is_crypt_hash(&format!("{good}x")), "more: {good}");
        }
        for bad in [
            "hunter2",
            "$6$salt$abc",
            "$y$j9T$abc",
            "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
            "*",
            "!",
            "$2b$12$",
        ] {
            assert!(!is_crypt_hash(bad), "{bad}");
        }
    }
}
