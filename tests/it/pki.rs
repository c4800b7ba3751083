//! The keys of a cluster: made once, kept in secrets.toml, put on servers, and what is made of them.
//! openssl judges.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::common::images::build::{Table, table};
use crate::common::small_base::debugfs;
use crate::common::tools::{ok, run, sha256sum, text, tool};
use crate::common::workbench::{Ran, Workbench, files_below, fixture};

const TOKEN: &str = "servers-of-the-tests";
const AGENT_TOKEN: &str = "agents-of-the-tests";
const TLS: &str = "/var/lib/rancher/k3s/server/tls";
/// The authorities: tables of secrets.toml, and files below `TLS`.
const AUTHORITIES: [(&str, &str); 5] = [
    ("server-ca", "server-ca"),
    ("client-ca", "client-ca"),
    ("request-header-ca", "request-header-ca"),
    ("etcd-server-ca", "etcd/server-ca"),
    ("etcd-peer-ca", "etcd/peer-ca"),
];

const CLUSTER: &str = r#"
[network]
cidr    = "10.0.0.0/24"
gateway = "10.0.0.1"
dns     = ["10.0.0.1"]
domain  = "home.lab"
[cluster]
name = "homelab"
[user]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF test"]
[k3s]
binary = "k3s"
[secrets]
k3s_token       = "env:K3S_TOKEN"
k3s_agent_token = "env:K3S_AGENT_TOKEN"
"#;

/// A project with a server and an agent.
struct Lab {
    bench: Workbench,
}

impl Lab {
    fn new() -> Self {
        let bench = Workbench::empty();
        bench.write("profiles/cluster.toml", CLUSTER);
        for (profile, number, role) in [("server", 2, "k3s-server"), ("agent", 3, "k3s-agent")] {
            let node = format!(
                "extends = \"cluster\"\nhostname = \"{profile}\"\naddress = \"10.0.0.{number}\"\nroles = [\"{role}\"]\n"
            );
            bench.write(&format!("profiles/{profile}.toml"), node);
        }
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        (elf[16], elf[18]) = (2, 183);
        bench.write("k3s", elf);
        Self { bench }
    }

    /// A project that others share the keys of.
    fn with_keys_of(other: &Self) -> Self {
        let lab = Self::new();
        lab.write_keys(&other.keys());
        lab
    }

    /// A third node, with a role of the project's own.
    fn with_role(self, manifest: &str) -> Self {
        let role = format!("description = \"a test\"\n{manifest}");
        self.bench.write("overlays/x/role.toml", role);
        let node = "extends = \"cluster\"\nhostname = \"other\"\naddress = \"10.0.0.4\"\nroles = [\"x\"]\n";
        self.bench.write("profiles/other.toml", node);
        self
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_at(args, None)
    }

    /// The same, at another time for everything but kubeconfigs.
    fn run_at(&self, args: &[&str], time: Option<i64>) -> Ran {
        let mut command = self.bench.imgbuild(args);
        command
            .env("K3S_TOKEN", TOKEN)
            .env("K3S_AGENT_TOKEN", AGENT_TOKEN);
        if let Some(time) = time {
            command.env("SOURCE_DATE_EPOCH", time.to_string());
        }
        Ran::of(command.output().unwrap())
    }

    fn build(&self, nodes: &[&str]) -> Ran {
        let base = fixture("trixie");
        let mut args = vec![
            "build",
            "--offline",
            "--format",
            "img",
            "--base",
            base.to_str().unwrap(),
        ];
        match nodes {
            [] => args.push("--all"),
            nodes => nodes.iter().for_each(|node| args.extend(["-p", node])),
        }
        self.run(&args)
    }

    #[track_caller]
    fn built(&self, nodes: &[&str]) -> Ran {
        let ran = self.build(nodes);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    fn keys(&self) -> String {
        fs::read_to_string(self.path("secrets.toml")).unwrap()
    }

    fn write_keys(&self, text: &str) {
        self.bench.write("secrets.toml", text);
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.path("secrets.toml"), mode).unwrap();
    }

    /// A value of secrets.toml as a file.
    fn kept(&self, table: &str, key: &str) -> PathBuf {
        let tables: toml::Table = toml::from_str(&self.keys()).unwrap();
        let value = tables[table][key].as_str().unwrap();
        let path = self.path(&format!("{table}.{key}"));
        fs::write(&path, format!("{value}\n")).unwrap();
        path
    }

    /// Replaces a value of secrets.toml.
    fn set(&self, table: &str, key: &str, value: &str) {
        let mut tables: toml::Table = toml::from_str(&self.keys()).unwrap();
        let values = tables[table].as_table_mut().unwrap();
        values.insert(key.to_owned(), value.into());
        self.write_keys(&toml::to_string(&tables).unwrap());
    }

    fn card(&self, node: &str) -> Card {
        let image = self.path(&format!("out/{node}.img"));
        let table = table(&image);
        Card { image, table }
    }

    /// What the kubeconfig at `path` has behind `key`.
    fn kubeconfig(&self, path: &str, key: &str) -> String {
        let text = fs::read_to_string(self.path(path)).unwrap();
        let mut lines = text.lines().map(str::trim);
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        value.unwrap().trim_matches('"').to_owned()
    }

    /// The same, decoded into a file.
    fn kubeconfig_file(&self, path: &str, key: &str) -> PathBuf {
        let file = self.path(&format!("kubeconfig.{key}"));
        fs::write(&file, STANDARD.decode(self.kubeconfig(path, key)).unwrap()).unwrap();
        file
    }
}

/// What was built of a node.
struct Card {
    image: PathBuf,
    table: Table,
}

impl Card {
    fn debugfs(&self, request: &str) -> String {
        debugfs(&self.image, self.table.root.start, request)
    }

    fn read(&self, path: &str) -> String {
        self.debugfs(&format!("cat {path}"))
    }

    /// `40700 0 0 name`: mode, owner and group of what is in a folder.
    fn list(&self, folder: &str) -> BTreeMap<String, String> {
        let listing = self.debugfs(&format!("ls -p {folder}"));
        let lines = listing.lines().filter_map(|line| {
            let parts: Vec<&str> = line.split('/').collect();
            let [_, _, mode, uid, gid, name, ..] = parts.as_slice() else {
                return None;
            };
            Some(((*name).to_owned(), format!("{mode} {uid}:{gid}")))
        });
        lines.collect()
    }

    /// The boot partition, all of its bytes.
    fn boot(&self) -> Vec<u8> {
        let bytes = fs::read(&self.image).unwrap();
        let (start, len) = (self.table.boot.start as usize, self.table.boot.len as usize);
        bytes[start..start + len].to_vec()
    }
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `openssl verify` says of a certificate, for clients or servers, by the authorities in a file.
fn verified(authority: &Path, purpose: &str, more: &[&str], certificate: &Path) -> bool {
    let args = [
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-CAfile",
        name(authority),
    ];
    run("openssl", &[&args, more, &[name(certificate)]].concat())
        .status
        .success()
}

/// A certificate that openssl signs with an authority of the lab.
fn signed_by(lab: &Lab, authority: &str, subject: &str, extensions: &str) -> PathBuf {
    let file = |end: &str| lab.path(&format!("signed.{end}"));
    let (key, request, made, conf) = (file("key"), file("csr"), file("crt"), file("conf"));
    fs::write(&conf, extensions).unwrap();
    let new_key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let names = [
        "-keyout",
        name(&key),
        "-out",
        name(&request),
        "-subj",
        subject,
    ];
    ok(
        "openssl",
        &[&["req", "-new"], &new_key[..], &names].concat(),
    );
    let (ca, ca_key) = (
        lab.kept(authority, "certificate"),
        lab.kept(authority, "key"),
    );
    #[rustfmt::skip]
    ok("openssl", &["x509", "-req", "-days", "30", "-in", name(&request), "-out", name(&made), "-CA", name(&ca),
        "-CAkey", name(&ca_key), "-CAcreateserial", "-extfile", name(&conf)]);
    made
}

const FOR_CLIENTS: &str = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\nauthorityKeyIdentifier=keyid\n";

/// An authority that openssl makes, and its key in SEC1.
fn foreign_authority(lab: &Lab, more: &[&str]) -> (String, String) {
    let (key, made) = (lab.path("foreign.key"), lab.path("foreign.crt"));
    ok(
        "openssl",
        &[
            "ecparam",
            "-genkey",
            "-name",
            "prime256v1",
            "-out",
            name(&key),
        ],
    );
    let usage = "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign";
    let args = [
        "req",
        "-x509",
        "-new",
        "-key",
        name(&key),
        "-out",
        name(&made),
        "-subj",
        "/CN=k3s-server-ca@1700000000",
    ];
    ok("openssl", &[&args, &["-addext", usage][..], more].concat());
    (
        fs::read_to_string(made).unwrap(),
        fs::read_to_string(key).unwrap(),
    )
}

#[test]
fn servers_have_the_keys_and_agents_have_none() {
    let lab = Lab::new();
    let ran = lab.built(&[]);
    for word in [
        "secrets.toml holds new keys",
        "Keep a copy",
        "every node must be flashed again",
    ] {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    let (server, agent) = (lab.card("server"), lab.card("agent"));
    let tls = server.list(TLS);
    let expected = ["server-ca", "client-ca", "request-header-ca"]
        .iter()
        .flat_map(|name| {
            [
                (format!("{name}.crt"), "100644 0:0"),
                (format!("{name}.key"), "100600 0:0"),
            ]
        });
    let more = [
        (".", "040700 0:0"),
        ("..", "040700 0:0"),
        ("etcd", "040700 0:0"),
        ("service.key", "100600 0:0"),
    ];
    let more = more.map(|(name, mode)| (name.to_owned(), mode));
    let expected: BTreeMap<String, String> = expected
        .chain(more)
        .map(|(name, mode)| (name, mode.to_owned()))
        .collect();
    assert_eq!(tls, expected);
    let etcd = server.list(&format!("{TLS}/etcd"));
    for (file, mode) in [
        ("server-ca.crt", "100644 0:0"),
        ("server-ca.key", "100600 0:0"),
        ("peer-ca.crt", "100644 0:0"),
        ("peer-ca.key", "100600 0:0"),
    ] {
        assert_eq!(etcd[file], mode, "{file}");
    }
    assert!(agent.list("/var/lib/rancher/k3s/server").is_empty());
    let tables = AUTHORITIES.iter().map(|(table, _)| *table);
    for table in tables.chain(["service"]) {
        let pem = fs::read_to_string(lab.kept(table, "key")).unwrap();
        let line = pem.lines().nth(1).unwrap();
        for (card, is_there) in [(&server, true), (&agent, false)] {
            let found = run("grep", &["-aqF", line, name(&card.image)]);
            assert_eq!(found.status.success(), is_there, "{table}");
        }
    }
}

/// facts C5, C6: what Go takes for an authority, and its key.
#[test]
fn openssl_takes_the_authorities_for_what_they_are() {
    let lab = Lab::new();
    lab.built(&["server"]);
    let server = lab.card("server");
    for (table, file) in AUTHORITIES {
        let (crt, key) = (lab.kept(table, "certificate"), lab.kept(table, "key"));
        assert_eq!(
            server.read(&format!("{TLS}/{file}.crt")),
            fs::read_to_string(&crt).unwrap()
        );
        assert_eq!(
            server.read(&format!("{TLS}/{file}.key")),
            fs::read_to_string(&key).unwrap()
        );
        let shown = text("openssl", &["x509", "-noout", "-text", "-in", name(&crt)]);
        for line in [
            &format!("Subject: O = homelab, CN = {table}@"),
            "Not Before: Jan  1 00:00:00 2020 GMT",
            "Not After : Dec 31 00:00:00 2049 GMT",
            "NIST CURVE: P-256",
            "X509v3 Basic Constraints: critical\n                CA:TRUE\n",
            "X509v3 Key Usage: critical\n                Digital Signature, Certificate Sign, CRL Sign\n",
            "X509v3 Subject Key Identifier:",
            "X509v3 Authority Key Identifier:",
        ] {
            assert!(shown.contains(line), "{table}: no {line} in\n{shown}");
        }
        assert!(!shown.contains("Extended Key Usage"), "{shown}");
        assert!(verified(&crt, "any", &[], &crt), "{table}");
        // Each stands alone.
        for (other, _) in AUTHORITIES.iter().filter(|(other, _)| *other != table) {
            assert!(
                !verified(&lab.kept(other, "certificate"), "any", &[], &crt),
                "{table} by {other}"
            );
        }
        assert_eq!(
            text("openssl", &["pkey", "-in", name(&key), "-pubout"]),
            text("openssl", &["x509", "-in", name(&crt), "-noout", "-pubkey"])
        );
    }
    let mut keys = vec![lab.kept("service", "key")];
    keys.extend(AUTHORITIES.map(|(table, _)| lab.kept(table, "key")));
    for key in &keys {
        let pem = fs::read_to_string(key).unwrap();
        assert!(
            pem.starts_with("-----BEGIN EC PRIVATE KEY-----\n"),
            "SEC1, not PKCS #8"
        );
        ok("openssl", &["ec", "-check", "-noout", "-in", name(key)]);
        // Written again by openssl, it is the same.
        assert_eq!(text("openssl", &["ec", "-in", name(key)]), pem);
    }
    assert_eq!(
        server.read(&format!("{TLS}/service.key")),
        fs::read_to_string(&keys[0]).unwrap()
    );
}

/// facts B2: one certificate, so the hash is that of the file.
#[test]
fn tokens_name_the_authority_that_the_server_shows() {
    let lab = Lab::new();
    lab.built(&[]);
    let (server, agent) = (lab.card("server"), lab.card("agent"));
    let shown = lab.path("shown");
    fs::write(&shown, server.read(&format!("{TLS}/server-ca.crt"))).unwrap();
    let hash = sha256sum(&shown);
    let config = server.read("/etc/rancher/k3s/config.yaml");
    for line in [
        format!("token: \"K10{hash}::server:{TOKEN}\"\n"),
        format!("agent-token: \"{AGENT_TOKEN}\"\n"),
    ] {
        assert!(config.contains(&line), "no {line} in:\n{config}");
    }
    let config = agent.read("/etc/rancher/k3s/config.yaml");
    let token = format!("\ntoken: \"K10{hash}::node:{AGENT_TOKEN}\"\n");
    assert!(config.contains(&token), "no {token} in:\n{config}");
    assert!(!config.contains(TOKEN), "the servers' token");
    // Without a token of their own agents have the servers'.
    lab.bench.write(
        "profiles/cluster.toml",
        CLUSTER.replace("k3s_agent_token", "#"),
    );
    lab.built(&["agent"]);
    let config = lab.card("agent").read("/etc/rancher/k3s/config.yaml");
    let token = format!("\ntoken: \"K10{hash}::server:{TOKEN}\"\n");
    assert!(config.contains(&token), "no {token} in:\n{config}");
}

#[test]
fn the_kubeconfig_is_valid_before_the_cluster_has_booted() {
    let lab = Lab::new();
    let ran = lab.built(&["server"]);
    assert!(
        ran.stderr
            .contains("kubectl --kubeconfig out/kubeconfig get nodes"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.ends_with("out/kubeconfig\n"), "{}", ran.stdout);
    let path = "out/kubeconfig";
    let mode = fs::metadata(lab.path(path)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(lab.kubeconfig(path, "server"), "https://10.0.0.2:6443");
    let authority = lab.kubeconfig_file(path, "certificate-authority-data");
    let shown = lab.card("server").read(&format!("{TLS}/server-ca.crt"));
    assert_eq!(fs::read_to_string(authority).unwrap(), shown);
    let client = lab.kubeconfig_file(path, "client-certificate-data");
    let key = lab.kubeconfig_file(path, "client-key-data");
    for (table, _) in AUTHORITIES {
        let authority = lab.kept(table, "certificate");
        let fits = verified(&authority, "sslclient", &[], &client);
        assert_eq!(fits, table == "client-ca", "{table}");
    }
    assert!(!verified(
        &lab.kept("client-ca", "certificate"),
        "sslserver",
        &[],
        &client
    ));
    let subject = [
        "x509",
        "-noout",
        "-subject",
        "-startdate",
        "-in",
        name(&client),
    ];
    assert_eq!(
        text("openssl", &subject),
        "subject=O = system:masters, CN = imgbuild-admin\nnotBefore=Jan  1 00:00:00 2020 GMT\n"
    );
    assert_eq!(
        text("openssl", &["pkey", "-in", name(&key), "-pubout"]),
        text(
            "openssl",
            &["x509", "-in", name(&client), "-noout", "-pubkey"]
        )
    );
    assert!(lasts(&client, 30) && !lasts(&client, 32));
}

/// Whether a certificate is still valid in so many days.
fn lasts(certificate: &Path, days: u32) -> bool {
    let seconds = (days * 86_400).to_string();
    let args = [
        "x509",
        "-noout",
        "-checkend",
        &seconds,
        "-in",
        name(certificate),
    ];
    run("openssl", &args).status.success()
}

/// facts C11: this is what a common root would allow.
#[test]
fn no_other_authority_makes_an_administrator() {
    let lab = Lab::new();
    lab.built(&["server"]);
    let client_ca = lab.kept("client-ca", "certificate");
    for (table, _) in AUTHORITIES {
        let forged = signed_by(&lab, table, "/O=system:masters/CN=mallory", FOR_CLIENTS);
        let own = lab.kept(table, "certificate");
        assert!(
            verified(&own, "sslclient", &[], &forged),
            "{table}: the test forges well"
        );
        for chain in [&[][..], &["-untrusted", name(&own)]] {
            let taken = verified(&client_ca, "sslclient", chain, &forged);
            assert_eq!(taken, table == "client-ca", "{table} {chain:?}");
        }
    }
}

#[test]
fn another_kubeconfig_is_made_as_it_is_asked_for() {
    let lab = Lab::new();
    let none = lab.run(&["kubeconfig"]);
    none.assert_fails(2, &["no keys yet", "hint: build the nodes first"]);
    assert!(!lab.path("secrets.toml").exists() && !lab.path("out").exists());
    lab.built(&["server"]);
    let args = [
        "kubeconfig",
        "--days",
        "400",
        "--user",
        "ann",
        "--group",
        "readers",
        "--out",
        "else/where",
    ];
    let ran = lab.run(&args);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "else/where\n"),
        "{}",
        ran.stderr
    );
    let client = lab.kubeconfig_file("else/where", "client-certificate-data");
    assert!(verified(
        &lab.kept("client-ca", "certificate"),
        "sslclient",
        &[],
        &client
    ));
    assert!(lasts(&client, 400) && !lasts(&client, 402));
    let subject = text(
        "openssl",
        &["x509", "-noout", "-subject", "-in", name(&client)],
    );
    assert_eq!(subject, "subject=O = readers, CN = ann\n");
    // It may be replaced, and what others wrote may not.
    assert_eq!(lab.run(&args).code, Some(0));
    lab.bench.write("theirs", "apiVersion: v1\n");
    let ran = lab.run(&["kubeconfig", "--out", "theirs"]);
    ran.assert_fails(
        4,
        &[
            "was not written by imgbuild",
            "hint: give another file with --out",
        ],
    );
    assert_eq!(
        fs::read_to_string(lab.path("theirs")).unwrap(),
        "apiVersion: v1\n"
    );
    for (option, value, why) in [
        ("--days", "0", "1..=3650"),
        ("--days", "3651", "1..=3650"),
        ("--user", "", "1 to 64 characters"),
        ("--group", "a\nb", "1 to 64 characters"),
        ("--user", " a", "without blanks"),
    ] {
        let ran = lab.run(&["kubeconfig", option, value]);
        assert!(
            ran.code == Some(2) && ran.stderr.contains(why),
            "{option} {value}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_build_keeps_a_kubeconfig_that_is_good_for_a_week() {
    let lab = Lab::new();
    lab.built(&["server"]);
    let read = || fs::read_to_string(lab.path("out/kubeconfig")).unwrap();
    let first = read();
    lab.built(&["server"]);
    assert!(read() == first, "kept");
    lab.built(&["agent"]);
    assert!(read() == first, "an agent has none");
    assert_eq!(lab.run(&["kubeconfig", "--days", "3"]).code, Some(0));
    lab.built(&["server"]);
    let client = lab.kubeconfig_file("out/kubeconfig", "client-certificate-data");
    assert!(lasts(&client, 30), "replaced");
    // That of another cluster in the same place, and that of nobody we know.
    let other = Lab::new();
    other.built(&["server"]);
    other.bench.write("out/kubeconfig", &first);
    other.built(&["server"]);
    let client = other.kubeconfig_file("out/kubeconfig", "client-certificate-data");
    assert!(verified(
        &other.kept("client-ca", "certificate"),
        "sslclient",
        &[],
        &client
    ));
    other.bench.write("out/kubeconfig", "apiVersion: v1\n");
    let ran = other.built(&["server"]);
    assert!(
        ran.stderr.contains("is not imgbuild's and was left alone"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        fs::read_to_string(other.path("out/kubeconfig")).unwrap(),
        "apiVersion: v1\n"
    );
}

#[test]
fn the_same_keys_make_the_same_images() {
    let first = Lab::new();
    first.built(&[]);
    let second = Lab::with_keys_of(&first);
    let ran = second.built(&[]);
    assert!(!ran.stderr.contains("new keys"), "{}", ran.stderr);
    for file in [
        "server.img",
        "agent.img",
        "server.record.json",
        "SHA256SUMS",
    ] {
        let read = |lab: &Lab| fs::read(lab.path(&format!("out/{file}"))).unwrap();
        assert!(read(&first) == read(&second), "{file}");
    }
    assert_eq!(first.keys(), second.keys());
    let sums = fs::read_to_string(first.path("out/SHA256SUMS")).unwrap();
    assert!(!sums.contains("kubeconfig"), "{sums}");
    let third = Lab::new();
    third.built(&[]);
    assert_ne!(first.keys(), third.keys());
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    let places = bytes.iter().enumerate().filter(|(_, b)| **b == part[0]);
    places
        .map(|(at, _)| &bytes[at..])
        .any(|rest| rest.starts_with(part))
}

/// Everything that a build leaves but the images' root file systems, secrets.toml and the kubeconfig.
#[test]
fn keys_are_where_they_belong_and_nowhere_else() {
    let lab = Lab::new();
    let ran = lab.built(&[]);
    let mut said = vec![(
        "what the build says".to_owned(),
        [ran.stdout, ran.stderr].concat().into_bytes(),
    )];
    for args in [
        &["check"][..],
        &["plan", "--all"],
        &["plan", "--all", "--json"],
        &[
            "plan",
            "--all",
            "--show",
            "/var/lib/rancher/k3s/server/tls/client-ca.key",
        ],
        &["kubeconfig", "-v"],
    ] {
        let ran = lab.run(args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        said.push((
            args.join(" "),
            [ran.stdout, ran.stderr].concat().into_bytes(),
        ));
    }
    for path in files_below(&lab.path("")) {
        let is_theirs = ["img", "toml", "key"]
            .iter()
            .any(|end| path.extension().is_some_and(|e| e == *end));
        if !is_theirs && !path.ends_with("kubeconfig") {
            said.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    assert!(
        said.iter()
            .any(|(name, _)| name.ends_with("server.record.json"))
    );
    for node in ["server", "agent"] {
        said.push((format!("boot partition of {node}"), lab.card(node).boot()));
    }
    let mut spellings = Vec::new();
    for table in [
        "server-ca",
        "client-ca",
        "request-header-ca",
        "etcd-server-ca",
        "etcd-peer-ca",
        "service",
    ] {
        let pem = fs::read_to_string(lab.kept(table, "key")).unwrap();
        let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(lines.concat()).unwrap();
        let number = &der[7..39];
        spellings.push(lines[0].as_bytes().to_vec());
        spellings.push(number.to_vec());
        spellings.push(
            number
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                .into_bytes(),
        );
    }
    for (place, bytes) in &said {
        for spelling in &spellings {
            assert!(!contains(bytes, spelling), "a key in {place}");
        }
    }
}

#[test]
fn nothing_is_made_where_nothing_is_needed() {
    let lab = Lab::new().with_role("");
    for args in [&["check"][..], &["plan", "--all"]] {
        let ran = lab.run(args);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!lab.path("secrets.toml").exists(), "{args:?}");
    }
    let shown = lab.run(&[
        "plan",
        "-p",
        "server",
        "--show",
        "/etc/rancher/k3s/config.yaml",
    ]);
    assert!(
        shown
            .stdout
            .contains("token: \"K10‹token hash›::server:‹secret›\""),
        "{}",
        shown.stdout
    );
    // A build that cannot go on makes none, either.
    lab.bench.write(
        "profiles/cluster.toml",
        CLUSTER.replace("env:K3S_TOKEN", "env:NO_TOKEN"),
    );
    assert_eq!(lab.build(&["server"]).code, Some(2));
    lab.bench.write("profiles/cluster.toml", CLUSTER);
    lab.built(&["other"]);
    assert!(!lab.path("secrets.toml").exists() && !lab.path("out/kubeconfig").exists());
}

#[test]
fn two_first_builds_at_once_agree() {
    let lab = Lab::new();
    let base = fixture("trixie");
    let children = ["server", "agent"].map(|node| {
        let args = [
            "build",
            "--offline",
            "--format",
            "img",
            "--base",
            base.to_str().unwrap(),
            "-p",
            node,
        ];
        let mut command = lab.bench.imgbuild(&args);
        command
            .env("K3S_TOKEN", TOKEN)
            .env("K3S_AGENT_TOKEN", AGENT_TOKEN);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    for child in children {
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let hash = sha256sum(&lab.kept("server-ca", "certificate"));
    for node in ["server", "agent"] {
        let config = lab.card(node).read("/etc/rancher/k3s/config.yaml");
        assert!(config.contains(&format!("K10{hash}::")), "{node}: {config}");
    }
    let left: Vec<_> = files_below(&lab.path(""))
        .into_iter()
        .filter(|p| p.to_string_lossy().contains(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_damaged_file_is_told_and_stays_as_it_is() {
    let lab = Lab::new();
    lab.built(&["server"]);
    let good = lab.keys();
    let (soon, soon_key) = foreign_authority(&lab, &["-days", "30"]);
    let (purposes, purposes_key) = foreign_authority(
        &lab,
        &["-days", "4000", "-addext", "extendedKeyUsage=clientAuth"],
    );
    let (leaf, leaf_key) = foreign_authority(
        &lab,
        &[
            "-days",
            "4000",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    );
    let pkcs8 = {
        let key = lab.kept("service", "key");
        text(
            "openssl",
            &["pkcs8", "-topk8", "-nocrypt", "-in", name(&key)],
        )
    };
    let get = |table: &str, key: &str| fs::read_to_string(lab.kept(table, key)).unwrap();
    let (server, server_key) = (get("server-ca", "certificate"), get("server-ca", "key"));
    let two = format!("{server}{}", get("client-ca", "certificate"));
    let signed = fs::read_to_string(signed_by(
        &lab,
        "client-ca",
        "/CN=below",
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n",
    ))
    .unwrap();
    type Change<'a> = (&'a str, &'a [(&'a str, &'a str, &'a str)], &'a str);
    let changes: &[Change<'_>] = &[
        (
            "server-ca",
            &[("server-ca", "key", &get("client-ca", "key"))],
            "`key` is not that of `certificate`",
        ),
        (
            "server-ca",
            &[("server-ca", "certificate", "")],
            "holds 0 certificates",
        ),
        (
            "server-ca",
            &[("server-ca", "certificate", &two)],
            "holds 2 certificates, not one",
        ),
        (
            "server-ca",
            &[("server-ca", "certificate", &server[..200])],
            "ends before its END line",
        ),
        (
            "server-ca",
            &[("server-ca", "certificate", &server.replace("MII", "MIJ"))],
            "not a certificate that can be read",
        ),
        (
            "server-ca",
            &[("server-ca", "certificate", &server_key)],
            "is not a certificate",
        ),
        (
            "server-ca",
            &[
                ("server-ca", "certificate", &soon),
                ("server-ca", "key", &soon_key),
            ],
            "expires on",
        ),
        (
            "server-ca",
            &[
                ("server-ca", "certificate", &purposes),
                ("server-ca", "key", &purposes_key),
            ],
            "extended key usage",
        ),
        (
            "server-ca",
            &[
                ("server-ca", "certificate", &leaf),
                ("server-ca", "key", &leaf_key),
            ],
            "not that of an authority",
        ),
        (
            "server-ca",
            &[("server-ca", "certificate", &signed)],
            "not signed by itself",
        ),
        (
            "client-ca",
            &[
                ("client-ca", "certificate", &server),
                ("client-ca", "key", &server_key),
            ],
            "has the key of [server-ca]",
        ),
        ("service", &[("service", "key", &pkcs8)], "neither in SEC1"),
        (
            "service",
            &[("service", "key", "hunter22")],
            "neither in SEC1",
        ),
    ];
    for (table, values, why) in changes {
        lab.write_keys(&good);
        for (table, key, value) in *values {
            lab.set(table, key, value);
        }
        let place = format!("secrets.toml: [{table}]: ");
        assert_told(&lab, &[&place, why]);
    }
    for (text, why) in [
        (
            good.replace("version = 1", "version = 2"),
            "is of version 2",
        ),
        (good.replace("version = 1", ""), "`version` is not 1"),
        (good[..good.len() - 40].to_owned(), "is not TOML"),
        (
            good.replace("[service]", "[other]"),
            "[service]: `key` is missing",
        ),
        (
            good.replace("[client-ca]", "[other]"),
            "[client-ca]: `certificate` is missing",
        ),
        (String::new(), "`version` is not 1"),
    ] {
        lab.write_keys(&text);
        assert_told(&lab, &["secrets.toml", why]);
    }
    lab.write_keys(&good);
    fs::set_permissions(lab.path("secrets.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_told(&lab, &["(mode 0644)", "hint: chmod 600"]);
    lab.write_keys(&good);
    assert_eq!(lab.run(&["check"]).code, Some(0));
}

/// `check` and a build say so, quote no key, and change nothing.
#[track_caller]
fn assert_told(lab: &Lab, words: &[&str]) {
    let before = lab.keys();
    for ran in [lab.run(&["check"]), lab.build(&["server"])] {
        ran.assert_fails(2, words);
        assert!(
            !ran.stderr.contains("hunter22") && !ran.stderr.contains("MHc"),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(lab.keys(), before);
    assert_eq!(
        lab.run(&["check", "--no-secrets"]).code,
        Some(0),
        "it is not looked at"
    );
}

/// A clone of the project on another computer, or in CI.
#[test]
fn a_project_without_its_keys_makes_no_others() {
    let lab = Lab::new();
    lab.built(&[]);
    let hash = sha256sum(&lab.kept("server-ca", "certificate"));
    let lock = fs::read_to_string(lab.path("imgbuild.lock")).unwrap();
    assert!(
        lock.contains(&format!("[authority]\nserver-ca = \"{hash}\"\n")),
        "{lock}"
    );
    let clone = Lab::new().with_role("");
    clone.bench.write("imgbuild.lock", &lock);
    for ran in [clone.run(&["check"]), clone.build(&["agent"])] {
        ran.assert_fails(2, &[
            &format!("imgbuild.lock: [authority] server-ca is {hash}, and secrets.toml does not have it"),
            "new keys would not fit",
            "copy secrets.toml to here",
        ]);
        assert!(!clone.path("secrets.toml").exists());
    }
    assert_eq!(clone.run(&["check", "--no-secrets"]).code, Some(0));
    clone.built(&["other"]);
    clone.write_keys(&lab.keys());
    clone.built(&["agent"]);
    assert_eq!(
        fs::read_to_string(clone.path("imgbuild.lock")).unwrap(),
        lock
    );
    // One that may not pin anything.
    fs::remove_file(clone.path("imgbuild.lock")).unwrap();
    let base = fixture("trixie");
    let args = [
        "build",
        "-p",
        "agent",
        "--locked",
        "--offline",
        "--format",
        "img",
        "--base",
        base.to_str().unwrap(),
    ];
    assert_eq!(clone.run(&args).code, Some(0));
    assert!(!clone.path("imgbuild.lock").exists());
}

#[test]
fn an_authority_that_ends_is_told_in_time() {
    let lab = Lab::new();
    lab.built(&["server"]);
    let end = 2_524_521_600; // 2049-12-31
    let day = 86_400;
    let check = |days: i64| lab.run_at(&["check"], Some(end - days * day));
    assert!(!check(401).stderr.contains("expires"));
    let noted = check(399);
    assert_eq!(noted.code, Some(0));
    assert!(
        noted
            .stderr
            .contains("[client-ca] expires on 2049-12-31; docs/secrets.md"),
        "{}",
        noted.stderr
    );
    check(89).assert_fails(
        2,
        &[
            "[client-ca]: `certificate` expires on 2049-12-31",
            "docs/secrets.md",
        ],
    );
    check(-2).assert_fails(2, &["[server-ca]: `certificate` expired on 2049-12-31"]);
}

/// A cluster whose authorities k3s has made itself.
#[test]
fn keys_that_k3s_has_made_can_be_taken_over() {
    let lab = Lab::new();
    lab.built(&["server"]);
    for (table, _) in AUTHORITIES {
        let (certificate, key) = foreign_authority(&lab, &["-days", "3650"]);
        lab.set(table, "certificate", &certificate);
        // With the block of parameters that openssl writes before it.
        lab.set(table, "key", &key);
    }
    let rsa = lab.path("rsa.key");
    ok(
        "openssl",
        &["genrsa", "-traditional", "-out", name(&rsa), "2048"],
    );
    lab.set("service", "key", &fs::read_to_string(&rsa).unwrap());
    lab.run(&["check"])
        .assert_fails(2, &["secrets.toml has another one", "remove the line"]);
    fs::remove_file(lab.path("imgbuild.lock")).unwrap();
    let ran = lab.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    fs::remove_file(lab.path("out/kubeconfig")).unwrap();
    lab.built(&["server"]);
    let server = lab.card("server");
    assert_eq!(
        server.read(&format!("{TLS}/service.key")),
        fs::read_to_string(&rsa).unwrap()
    );
    let client = lab.kubeconfig_file("out/kubeconfig", "client-certificate-data");
    assert!(verified(
        &lab.kept("client-ca", "certificate"),
        "sslclient",
        &[],
        &client
    ));
    let shown = lab.path("shown");
    fs::write(&shown, server.read(&format!("{TLS}/server-ca.crt"))).unwrap();
    let config = server.read("/etc/rancher/k3s/config.yaml");
    assert!(
        config.contains(&format!("K10{}::", sha256sum(&shown))),
        "{config}"
    );
}

const LOCAL_CA: &str = "[pki.local-ca]\nkeys = true\n[modes]\n\"/etc/ca.key\" = \"0600\"\n";

/// A node with the role above and its two files.
fn lab_with_local_ca(manifest: &str) -> Lab {
    let lab = Lab::new().with_role(manifest);
    lab.bench
        .write("overlays/x/root/etc/ca.crt.j2", "{{ pki.local_ca }}\n");
    lab.bench.write(
        "overlays/x/root/etc/ca.key.j2",
        "{{ pki_key('local_ca') }}\n",
    );
    lab
}

#[test]
fn a_role_has_an_authority_for_the_services_of_the_lan() {
    let lab = lab_with_local_ca(LOCAL_CA);
    let ran = lab.built(&["other"]);
    assert!(ran.stdout.contains("out/ca.crt\n"), "{}", ran.stdout);
    let (crt, key) = (
        lab.kept("local-ca", "certificate"),
        lab.kept("local-ca", "key"),
    );
    assert_eq!(
        fs::read(lab.path("out/ca.crt")).unwrap(),
        fs::read(&crt).unwrap()
    );
    let other = lab.card("other");
    assert_eq!(other.read("/etc/ca.crt"), fs::read_to_string(&crt).unwrap());
    assert_eq!(other.read("/etc/ca.key"), fs::read_to_string(&key).unwrap());
    let tables: toml::Table = toml::from_str(&lab.keys()).unwrap();
    assert!(
        !tables.contains_key("server-ca"),
        "the cluster's keys are not needed here"
    );
    // It signs for the domain and for nothing else: devices that trust it risk no more.
    for (host, fits) in [
        ("demo.home.lab", true),
        ("*.home.lab", true),
        ("example.com", false),
    ] {
        let usage = format!(
            "subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\nauthorityKeyIdentifier=keyid\n"
        );
        let leaf = signed_by(&lab, "local-ca", "/CN=service", &usage);
        assert_eq!(verified(&crt, "sslserver", &[], &leaf), fits, "{host}");
    }
    // The cluster's come later, and it stays.
    let before = lab.keys();
    let ran = lab.built(&[]);
    assert!(
        ran.stderr.contains("secrets.toml holds new keys"),
        "{}",
        ran.stderr
    );
    let start = before.find("[local-ca]").unwrap();
    assert!(
        lab.keys().contains(before[start..].trim_end()),
        "the local authority changed"
    );
    let forged = signed_by(
        &lab,
        "local-ca",
        "/O=system:masters/CN=mallory",
        FOR_CLIENTS,
    );
    let client_ca = lab.kept("client-ca", "certificate");
    assert!(!verified(
        &client_ca,
        "sslclient",
        &["-untrusted", name(&crt)],
        &forged
    ));
    // Another domain needs another one.
    lab.bench.write(
        "profiles/cluster.toml",
        CLUSTER.replace("home.lab", "casa.lab"),
    );
    let ran = lab.run(&["check"]);
    ran.assert_fails(
        2,
        &[
            "may only sign for home.lab",
            "`network.domain` is casa.lab",
            "remove the table [local-ca]",
        ],
    );
}

#[test]
fn a_role_gets_no_key_that_it_does_not_ask_for() {
    let modes = "[modes]\n\"/etc/ca.key\" = \"0600\"\n";
    for (manifest, why) in [
        (modes.to_owned(), "undefined"),
        (format!("[pki.cluster]\nkeys = true\n{modes}"), "undefined"),
        (
            format!("[pki.local-ca]\n{modes}"),
            "does not say `keys = true`",
        ),
        (
            "[pki.local-ca]\nkeys = true\n".to_owned(),
            "holds a secret but has mode 0644",
        ),
        (
            format!("[pki.else]\n{modes}"),
            "role.toml:2: unknown variant",
        ),
        (
            format!("[pki.local-ca]\nkeys = true\nwhen = \"false\"\n{modes}"),
            "undefined",
        ),
    ] {
        let lab = lab_with_local_ca(&manifest);
        let ran = lab.build(&["other"]);
        assert!(
            matches!(ran.code, Some(2 | 4)),
            "{manifest}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(why), "{manifest}: {}", ran.stderr);
        assert!(!lab.path("out/other.img").exists());
    }
    let lab = lab_with_local_ca(LOCAL_CA);
    lab.bench
        .write("overlays/x/boot/ca.key.j2", "{{ pki_key('local_ca') }}");
    lab.build(&["other"])
        .assert_fails(4, &["cannot go onto the boot partition"]);
    let lab = lab_with_local_ca(LOCAL_CA);
    lab.bench.write(
        "overlays/x/root/etc/ca.key.j2",
        "{{ pki_key('server_ca') }}",
    );
    lab.build(&["other"])
        .assert_fails(2, &["the key `server_ca`, which is none of those"]);
}

#[test]
fn git_is_told_to_leave_the_keys_alone() {
    let lab = Lab::new();
    fs::create_dir(lab.path(".git")).unwrap();
    let ran = lab.built(&["server"]);
    assert!(
        ran.stderr.contains("git does not ignore secrets.toml"),
        "{}",
        ran.stderr
    );
    lab.bench.write(".gitignore", "/secrets.toml\n");
    assert!(!lab.run(&["check"]).stderr.contains("git does not"));
    let bench = Workbench::empty();
    let ran = bench.run(&["init"]);
    assert!(ran.stdout.contains(".gitignore\n"), "{}", ran.stdout);
    let text = fs::read_to_string(bench.path(".gitignore")).unwrap();
    assert!(
        text.contains("/secrets.toml\n") && text.contains("/out/\n"),
        "{text}"
    );
    // As git itself reads it.
    ok("git", &["init", "--quiet", name(&bench.path(""))]);
    for file in [
        "secrets.toml",
        ".secrets.toml.a1b2c3.part",
        "out/kubeconfig",
    ] {
        let mut git = tool("git");
        git.arg("-C")
            .arg(bench.path(""))
            .args(["check-ignore", "--quiet", file]);
        assert!(git.status().unwrap().success(), "{file}");
    }
    bench.write("theirs/.gitignore", "mine\n");
    bench.run(&["init", "theirs"]);
    assert_eq!(
        fs::read_to_string(bench.path("theirs/.gitignore")).unwrap(),
        "mine\n"
    );
}
