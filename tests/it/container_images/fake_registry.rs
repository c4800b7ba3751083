//! A registry on this computer that follows the distribution and token specifications, asks for logins,
//! and misbehaves on request.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use super::test_image::{INDEX, MANIFEST, TestImage, digest, index};
use crate::common::tcp_service::TcpService;

/// Who may read.
#[derive(Clone, Default)]
pub enum Access {
    #[default]
    Everybody,
    /// Whoever sends this `Authorization`.
    Basic(&'static str),
    /// Whoever has a token. Tokens are for everybody, or for whoever sends this `Authorization`.
    Token(Option<&'static str>),
}

/// How the next request of a path is answered, in the place of the right answer.
#[derive(Clone)]
pub enum Instead {
    /// A status, with heads and a body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// All that is right, up to so many bytes of the body.
    Break(usize),
    /// The right length, and wrong content.
    Garbage,
    /// The content of a manifest, and another digest in the head.
    WrongPromise,
    /// The token that was sent counts no more.
    ExpireTokens,
}

#[derive(Clone)]
pub struct Asked {
    pub path: String,
    heads: Vec<(String, String)>,
}

impl Asked {
    pub fn head(&self, name: &str) -> Option<&str> {
        let found = self
            .heads
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    /// Content type and content by path.
    content: HashMap<String, (String, Vec<u8>)>,
    instead: HashMap<String, VecDeque<Instead>>,
    access: Access,
    /// Where clients are sent for a token; this server where it is `None`.
    realm: Option<String>,
    /// Tokens are numbered; lower ones have expired.
    token: usize,
    log: Vec<Asked>,
}

/// The registry; it stops when it is dropped.
pub struct FakeRegistry {
    service: TcpService,
    state: Arc<Mutex<State>>,
}

impl FakeRegistry {
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let service = TcpService::start({
            let state = state.clone();
            move |stream, address| serve(&stream, &state, address)
        });
        Self { service, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address)
    }

    pub fn host(&self) -> String {
        self.service.address.to_string()
    }

    pub fn access(&self, access: Access) {
        self.state().access = access;
    }

    pub fn realm(&self, realm: &str) {
        self.state().realm = Some(realm.to_owned());
    }

    /// Has `images` as an index under a tag.
    pub fn push_index(&self, repository: &str, tag: &str, images: &[TestImage]) {
        for image in images {
            self.push_parts(repository, image);
        }
        self.manifest(repository, tag, INDEX, index(images));
    }

    /// Has one image under a tag.
    pub fn push(&self, repository: &str, tag: &str, image: &TestImage) {
        self.push_parts(repository, image);
        self.manifest(repository, tag, MANIFEST, image.manifest.clone());
    }

    /// Has a manifest under a tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str, media_type: &str, content: Vec<u8>) {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.state()
            .content
            .insert(path, (media_type.to_owned(), content));
    }

    fn push_parts(&self, repository: &str, image: &TestImage) {
        let manifest = &image.manifest;
        self.manifest(repository, &digest(manifest), MANIFEST, manifest.clone());
        for blob in &image.blobs {
            let content = ("application/octet-stream".to_owned(), blob.clone());
            self.state()
                .content
                .insert(blob_path(repository, blob), content);
        }
    }

    /// How the next requests for `path` are answered, one each.
    pub fn instead(&self, path: &str, answers: impl IntoIterator<Item = Instead>) {
        let mut state = self.state();
        state
            .instead
            .entry(path.to_owned())
            .or_default()
            .extend(answers);
    }

    /// The requests for `path` so far.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let state = self.state();
        state
            .log
            .iter()
            .filter(|asked| asked.path == path)
            .cloned()
            .collect()
    }

    /// The number of all requests so far.
    pub fn requests(&self) -> usize {
        self.state().log.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

pub fn blob_path(repository: &str, blob: &[u8]) -> String {
    format!("/v2/{repository}/blobs/{}", digest(blob))
}

struct Answer {
    status: u16,
    heads: Vec<(String, String)>,
    length: usize,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            heads: Vec::new(),
            length: body.len(),
            body,
        }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.heads.push((name.to_owned(), value.into()));
        self
    }

    fn send(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 {} X\r\nConnection: close\r\n",
            self.status
        )?;
        for (name, value) in &self.heads {
            write!(stream, "{name}: {value}\r\n")?;
        }
        write!(stream, "Content-Length: {}\r\n\r\n", self.length)?;
        stream.write_all(&self.body)
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, address: SocketAddr) {
    let Some(asked) = read(stream) else {
        return;
    };
    let answer = {
        let mut state = state.lock().unwrap();
        state.log.push(asked.clone());
        answer(&mut state, &asked, address)
    };
    let _ = answer.send(stream);
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let target = first.split(' ').nth(1)?;
    let path = target.to_owned();
    let mut heads = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        heads.push((name.to_owned(), value.trim().to_owned()));
    }
    Some(Asked { path, heads })
}

fn answer(state: &mut State, asked: &Asked, address: SocketAddr) -> Answer {
    if let Some(query) = asked.path.strip_prefix("/token?") {
        return token(state, asked, query);
    }
    let instead = state
        .instead
        .get_mut(&asked.path)
        .and_then(VecDeque::pop_front);
    if let Some(Instead::ExpireTokens) = instead {
        state.token += 1;
    }
    if let Some(Instead::Status(status, heads, body)) = &instead {
        let answer = Answer::new(*status, *body);
        return heads
            .iter()
            .fold(answer, |answer, (name, value)| answer.with(name, value));
    }
    if let Some(refusal) = refusal(state, asked, address) {
        return refusal;
    }
    let Some((media_type, content)) = state.content.get(&asked.path) else {
        let body =
            "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}";
        return Answer::new(404, body);
    };
    // As distribution does: an index is not for whoever does not say that indexes are welcome.
    if asked.path.contains("/manifests/")
        && !asked.head("accept").is_some_and(|a| a.contains(media_type))
    {
        return Answer::new(
            404,
            "OCI index found, but accept header does not support OCI indexes",
        );
    }
    good(asked, media_type, content, instead.as_ref())
}

fn good(asked: &Asked, media_type: &str, content: &[u8], instead: Option<&Instead>) -> Answer {
    let etag = format!("\"{}\"", digest(content));
    let start = asked
        .head("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let start: usize = start.map_or(0, |start| start.parse().unwrap());
    let mut answer = match start {
        0 => Answer::new(200, content),
        start => Answer::new(206, &content[start..]).with(
            "Content-Range",
            format!("bytes {start}-{}/{}", content.len() - 1, content.len()),
        ),
    };
    let promise = match instead {
        Some(Instead::WrongPromise) => digest(b"something else"),
        _ => digest(content),
    };
    match instead {
        Some(Instead::Break(len)) => answer.body.truncate(*len),
        Some(Instead::Garbage) => answer.body.fill(b' '),
        _ => {}
    }
    answer
        .with("Content-Type", media_type)
        .with("ETag", etag)
        .with("Docker-Content-Digest", promise)
}

/// 401 to whoever may not read, as the token specification has it.
fn refusal(state: &State, asked: &Asked, address: SocketAddr) -> Option<Answer> {
    let authorization = asked.head("authorization");
    match &state.access {
        Access::Everybody => None,
        Access::Basic(wanted) if authorization == Some(wanted) => None,
        Access::Basic(_) => {
            Some(Answer::new(401, "{}").with("WWW-Authenticate", "Basic realm=\"A registry\""))
        }
        Access::Token(_) => {
            let repository = asked.path.strip_prefix("/v2/")?;
            let end = repository
                .find("/manifests/")
                .or(repository.find("/blobs/"))?;
            let scope = format!("repository:{}:pull", &repository[..end]);
            if authorization == Some(&bearer(state.token, &scope)) {
                return None;
            }
            let here = format!("http://{address}/token");
            let realm = state.realm.as_ref().unwrap_or(&here);
            let challenge =
                format!("Bearer realm=\"{realm}\",service=\"a test\",scope=\"{scope}\"");
            Some(Answer::new(401, "{}").with("Www-Authenticate", challenge))
        }
    }
}

fn bearer(number: usize, scope: &str) -> String {
    format!("Bearer token-{number}-{}", scope.replace(['/', ':'], "-"))
}

/// A token for the scope that is asked for, to whoever may have one.
fn token(state: &State, asked: &Asked, query: &str) -> Answer {
    let Access::Token(wanted) = &state.access else {
        return Answer::new(404, "");
    };
    if wanted.is_some() && asked.head("authorization") != *wanted {
        return Answer::new(401, "{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}");
    }
    let find = |key: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
    };
    let (service, scope) = (find("service"), find("scope").unwrap_or_default());
    if service.as_deref() != Some("a+test") {
        return Answer::new(400, "another service");
    }
    let scope = scope.replace("%3A", ":").replace("%2F", "/");
    let token = bearer(state.token, &scope).replace("Bearer ", "");
    Answer::new(
        200,
        format!("{{\"token\": \"{token}\", \"expires_in\": 300}}"),
    )
    .with("Content-Type", "application/json")
}
