//! A real registry (Debian's docker-registry) and a real importer (containerd), which know nothing of us.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use imgbuild::error::ErrorKind;
use imgbuild::job::{Cancel, Job, Progress, Task};
use imgbuild::oci::{Archive, ArchivedImage, ImageName};
use imgbuild::source::{ContainerImages, FetchOptions, Store};
use serde_json::json;
use tempfile::TempDir;

use super::assert_error;
use super::test_image::{INDEX, MANIFEST, TestImage, digest, index};
use crate::common::needs;
use crate::common::tools::{accepts, ok, sha256, tool};
use crate::common::workbench::script;

const NAME: &str = "registry.test/team/app:1";
const USER: &str = "tom";
const PASSWORD: &str = "hunter2 of the test";
/// bcrypt of the password, as `htpasswd -B` writes it.
const HTPASSWD: &str = "tom:$2b$05$abcdefghijklmnopqrstuuTJ/QhyJe55AkJfQKJeoogop8V0dg8G6\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wait_until(what: &str, log: &Path, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        assert!(start.elapsed() < PATIENCE, "{what}:\n{}", said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A registry with its data in a folder of the test.
struct Registry {
    folder: TempDir,
    address: String,
    _running: Running,
}

impl Registry {
    /// `auth` is a section of its configuration, with `FOLDER` for the folder that `prepare` fills.
    fn start(auth: &str, prepare: impl FnOnce(&Path)) -> Self {
        let program = script("container-judges", &[]).join("docker-registry");
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let place = folder.path().display().to_string();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: FOLDER/data\n\
             http:\n  addr: {address}\n{auth}"
        );
        let config = config.replace("FOLDER", &place);
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let log = folder.path().join("log");
        let running = start(
            tool(program.to_str().unwrap()).args(["serve", &format!("{place}/config.yml")]),
            &log,
        );
        wait_until("no registry answers", &log, || {
            TcpStream::connect(&address).is_ok()
        });
        Self {
            folder,
            address,
            _running: running,
        }
    }

    /// Puts an index of `images` there as `team/app:1`. `login` are arguments for curl.
    fn push(&self, images: &[TestImage], login: &[&str]) {
        for image in images {
            for blob in &image.blobs {
                self.push_blob(blob, login);
            }
            self.push_manifest(&digest(&image.manifest), MANIFEST, &image.manifest, login);
        }
        let entries: Vec<TestImage> = images.to_vec();
        // Without the attestation, which a real registry would want to have.
        let mut list: serde_json::Value = serde_json::from_slice(&index(&entries)).unwrap();
        list["manifests"].as_array_mut().unwrap().pop();
        self.push_manifest("1", INDEX, list.to_string().as_bytes(), login);
    }

    fn push_blob(&self, blob: &[u8], login: &[&str]) {
        let url = format!("http://{}/v2/team/app/blobs/uploads/", self.address);
        let heads = curl(login, &["-X", "POST", "-D", "-", "-o", "/dev/null", &url]);
        let location = heads
            .lines()
            .find_map(|line| line.strip_prefix("Location: "));
        let location = location
            .unwrap_or_else(|| panic!("no place for a blob: {heads}"))
            .trim();
        let joint = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{joint}digest={}", digest(blob));
        self.put(&target, "application/octet-stream", blob, login);
    }

    fn push_manifest(&self, reference: &str, media_type: &str, content: &[u8], login: &[&str]) {
        let url = format!("http://{}/v2/team/app/manifests/{reference}", self.address);
        self.put(&url, media_type, content, login);
    }

    fn put(&self, url: &str, media_type: &str, content: &[u8], login: &[&str]) {
        let file = self.folder.path().join("upload");
        fs::write(&file, content).unwrap();
        let data = format!("@{}", file.display());
        let kind = format!("Content-Type: {media_type}");
        curl(
            login,
            &["-X", "PUT", "-H", &kind, "--data-binary", &data, url],
        );
    }

    fn options(&self, folder: &Path) -> FetchOptions {
        let mut options = FetchOptions::new(folder.join("cache"));
        options.retry_delay = Duration::from_millis(10);
        let mirror = (
            "https://registry.test".to_owned(),
            format!("http://{}", self.address),
        );
        options.mirrors.push(mirror);
        let config = folder.join("config.json");
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let text = json!({"auths": {self.address.as_str(): {"auth": auth}}});
        fs::write(&config, text.to_string()).unwrap();
        options.docker_config = Some(config);
        options
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

fn start(command: &mut Command, log: &Path) -> Running {
    let out = File::create(log).unwrap();
    let err = out.try_clone().unwrap();
    Running(
        command
            .stdout(out)
            .stderr(err)
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

fn curl(login: &[&str], args: &[&str]) -> String {
    let mut command = tool("curl");
    command
        .args(["-sS", "--fail-with-body", "--noproxy", "*"])
        .args(login)
        .args(args);
    accepts("the registry", &mut command)
}

fn basic() -> Registry {
    let auth = "auth:\n  htpasswd:\n    realm: a test\n    path: FOLDER/htpasswd\n";
    Registry::start(auth, |folder| {
        fs::write(folder.join("htpasswd"), HTPASSWD).unwrap()
    })
}

fn images() -> [TestImage; 2] {
    let large: Vec<u8> = (0..4_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    [
        TestImage::new("amd64", &[b"of another machine"]),
        TestImage::new("arm64", &[b"first", &large]),
    ]
}

fn pull(store: &Store) -> imgbuild::error::Result<ArchivedImage> {
    let images = ContainerImages::new(store);
    let entry = images.resolve(&ImageName::parse(NAME).unwrap())?;
    images.fetch(&entry)
}

/// Stops the job once a task has done so many bytes.
struct StopAfter(u64, Cancel);

struct Counter(u64, u64, Cancel);

impl Progress for StopAfter {
    fn begin(&self, _label: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Counter(0, self.0, self.1.clone()))
    }

    fn note(&self, _message: &str) {}
}

impl Task for Counter {
    fn advance(&mut self, bytes: u64) {
        self.0 += bytes;
        if self.0 >= self.1 {
            self.2.cancel();
        }
    }
}

#[test]
fn a_registry_with_basic_auth_gives_its_image_and_goes_on_after_a_break() {
    let registry = basic();
    let login = format!("{USER}:{PASSWORD}");
    let images = images();
    registry.push(&images, &["-u", &login]);
    let folder = tempfile::tempdir().unwrap();
    let options = registry.options(folder.path());
    let cancel = Cancel::default();
    let job = Job {
        progress: Arc::new(StopAfter(2_000_000, cancel.clone())),
        cancel,
    };
    assert_eq!(
        pull(&Store::new(options.clone(), job).unwrap())
            .unwrap_err()
            .kind(),
        ErrorKind::Interrupted
    );
    assert!(
        !registry.log().contains("http.response.status=206"),
        "{}",
        registry.log()
    );
    let pulled = pull(&Store::new(options.clone(), Job::silent()).unwrap()).unwrap();
    assert!(
        registry.log().contains("http.response.status=206"),
        "{}",
        registry.log()
    );
    let found: Vec<String> = pulled
        .blobs
        .iter()
        .map(|blob| blob.digest.to_string())
        .collect();
    let [_, image] = &images;
    let wanted = [&image.manifest]
        .into_iter()
        .chain(&image.blobs)
        .map(|bytes| sha256(bytes));
    assert_eq!(found, wanted.collect::<Vec<_>>());
    // Nobody else gets it.
    let mut options = registry.options(folder.path());
    options.docker_config = None;
    let store = Store::new(options, Job::silent()).unwrap();
    assert_error(pull(&store), ErrorKind::Failed, &[NAME, "requires a login"]);
}

#[test]
fn a_registry_that_wants_tokens_takes_what_we_asked_for() {
    let tokens = TokenServer::start();
    let auth = format!(
        "auth:\n  token:\n    realm: {}\n    service: a test\n    issuer: an issuer\n    rootcertbundle: {}\n",
        tokens.url,
        tokens.certificate().display()
    );
    let registry = Registry::start(&auth, |_| {});
    let bearer = format!(
        "Authorization: Bearer {}",
        tokens.key.token("team/app", &["pull", "push"])
    );
    registry.push(&images(), &["-H", &bearer]);
    let folder = tempfile::tempdir().unwrap();
    let options = registry.options(folder.path());
    // The token server is its own host, with its own login.
    pull(&Store::new(options.clone(), Job::silent()).unwrap()).unwrap();
    let mut nobody = options;
    nobody.docker_config = None;
    let store = Store::new(nobody, Job::silent()).unwrap();
    assert_error(pull(&store), ErrorKind::Failed, &[NAME, "without a login"]);
}

#[test]
fn containerd_imports_the_archive_under_the_full_names() {
    // It mounts and makes namespaces of its own.
    if ok("id", &["-u"]) != b"0\n" {
        return needs::say("lets containerd be: it wants root");
    }
    let registry = basic();
    let login = format!("{USER}:{PASSWORD}");
    let images = images();
    registry.push(&images, &["-u", &login]);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(registry.options(folder.path()), Job::silent()).unwrap();
    let pulled = pull(&store).unwrap();
    // The same image under a second name, as `docker.io/library`.
    let again = ArchivedImage {
        name: ImageName::parse("web:2").unwrap(),
        ..pulled.clone()
    };
    let tar = folder.path().join("images.tar");
    let archive = Archive::of(&[pulled, again]).unwrap();
    std::io::copy(&mut archive.reader(), &mut File::create(&tar).unwrap()).unwrap();
    assert_eq!(fs::metadata(&tar).unwrap().len(), archive.size());
    let containerd = Containerd::start();
    containerd.ctr(&[
        "images",
        "import",
        "--all-platforms",
        "--no-unpack",
        tar.to_str().unwrap(),
    ]);
    let listed = containerd.ctr(&["images", "ls"]);
    let [_, image] = &images;
    for name in [NAME, "docker.io/library/web:2"] {
        let line = listed
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in:\n{listed}"));
        assert!(
            line.contains(&digest(&image.manifest)) && line.contains("linux/arm64"),
            "{line}"
        );
    }
    let checked = containerd.ctr(&["images", "check"]);
    assert_eq!(checked.matches("complete (3/3)").count(), 2, "{checked}");
}

/// containerd with everything in a folder of the test.
struct Containerd {
    folder: TempDir,
    ctr: PathBuf,
    _running: Running,
}

impl Containerd {
    fn start() -> Self {
        let programs = script("container-judges", &[]);
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let config = format!(
            "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{place}/socket\"\n"
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let log = folder.path().join("log");
        let program = programs.join("containerd");
        let config = format!("{place}/config.toml");
        let running = start(
            tool(program.to_str().unwrap()).args(["--config", &config]),
            &log,
        );
        let containerd = Self {
            ctr: programs.join("ctr"),
            folder,
            _running: running,
        };
        wait_until("containerd does not answer", &log, || {
            let mut asked = containerd.command(&["version"]);
            asked.output().is_ok_and(|out| out.status.success())
        });
        containerd
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = tool(self.ctr.to_str().unwrap());
        command
            .arg("--address")
            .arg(self.folder.path().join("socket"))
            .args(["-n", "k8s.io"]);
        command.args(args);
        command
    }

    fn ctr(&self, args: &[&str]) -> String {
        accepts("containerd", &mut self.command(args))
    }
}

/// Signs tokens as the token specification has them, by a certificate that the registry trusts.
struct TokenKey {
    folder: TempDir,
}

impl TokenKey {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (key, certificate) = (path("key.pem"), path("certificate.pem"));
        ok(
            "openssl",
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=a test",
                "-keyout",
                &key,
                "-out",
                &certificate,
            ],
        );
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn token(&self, repository: &str, actions: &[&str]) -> String {
        let certificate = self.path("certificate.pem");
        let der = ok(
            "openssl",
            &[
                "x509",
                "-in",
                certificate.to_str().unwrap(),
                "-outform",
                "DER",
            ],
        );
        let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(der)]});
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let claims = json!({
            "iss": "an issuer", "sub": USER, "aud": "a test", "jti": "1",
            "exp": now + 300, "nbf": now - 10, "iat": now - 10,
            "access": [{"type": "repository", "name": repository, "actions": actions}],
        });
        let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encoded(head), encoded(claims));
        // Requests come one after the other in these tests.
        let file = self.path("text");
        fs::write(&file, &text).unwrap();
        let key = self.path("key.pem");
        let signed = ok(
            "openssl",
            &[
                "dgst",
                "-sha256",
                "-sign",
                key.to_str().unwrap(),
                file.to_str().unwrap(),
            ],
        );
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed))
    }
}

/// Gives tokens to whoever logs in.
struct TokenServer {
    url: String,
    key: Arc<TokenKey>,
}

impl TokenServer {
    fn start() -> Self {
        use std::io::{BufRead, BufReader, Write};
        let key = Arc::new(TokenKey::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let login = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        let giver = key.clone();
        // Ends with the process: it waits for requests that no one makes any more.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                let heads: Vec<String> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let is_known = heads.iter().any(|head| {
                    let pair = head.split_once(": ");
                    pair.is_some_and(|(name, value)| {
                        name.eq_ignore_ascii_case("authorization") && value == login
                    })
                });
                let is_right = first.contains("service=a+test")
                    && first.contains("scope=repository%3Ateam%2Fapp%3Apull");
                let (status, body) = match is_known && is_right {
                    true => (
                        200,
                        json!({"token": giver.token("team/app", &["pull"])}).to_string(),
                    ),
                    false => (401, "{}".to_owned()),
                };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { url, key }
    }

    fn certificate(&self) -> PathBuf {
        self.key.path("certificate.pem")
    }
}
