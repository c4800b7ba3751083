//! An HTTP server on this computer that misbehaves on request, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::tcp_service::TcpService;

/// How a path answers.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// As a good server does, with `Range`, `If-Range` and `If-None-Match`.
    Good,
    /// Announces everything, closes the connection after so many bytes of it.
    DropAfter(usize),
    /// The same, but what it does send is wrong.
    DropAfterGarbage(usize),
    /// Announces everything, sends so many bytes of it, and then says nothing for a second.
    StallAfter(usize),
    /// Sends the whole file whatever range was asked for.
    IgnoreRange,
    /// Sends, and announces, only so many bytes of the file.
    Short(usize),
    /// Sends something else of the same length.
    WrongBody,
    /// Does not say how long the file is.
    NoLength,
    /// Answers a range with another one.
    WrongRange,
    /// 403 to whoever does not say who they are.
    RefuseDefaultAgent,
    Status(u16),
    Redirect(String),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Clone)]
struct Route {
    body: Vec<u8>,
    etag: Option<String>,
    last_modified: Option<String>,
    next: VecDeque<Behaviour>,
    then: Behaviour,
}

#[derive(Default)]
struct State {
    routes: HashMap<String, Route>,
    log: Vec<Request>,
}

/// The server; it stops when it is dropped.
pub struct HttpServer {
    service: TcpService,
    state: Arc<Mutex<State>>,
}

impl HttpServer {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let service = TcpService::start({
            let state = Arc::clone(&state);
            move |stream, _| serve(stream, &state)
        });
        Self { service, state }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address)
    }

    /// Serves `body` at `path`, with a strong `ETag`, and returns its URL.
    pub fn serve(&self, path: &str, body: impl Into<Vec<u8>>) -> String {
        let body = body.into();
        let route = Route {
            etag: Some(etag_of(&body)),
            last_modified: None,
            body,
            next: VecDeque::new(),
            then: Behaviour::Good,
        };
        self.state().routes.insert(path.to_owned(), route);
        self.url(path)
    }

    /// Replaces the validators that `path` is served with.
    pub fn validators(&self, path: &str, etag: Option<&str>, last_modified: Option<&str>) {
        let mut state = self.state();
        let route = state.routes.get_mut(path).unwrap();
        route.etag = etag.map(str::to_owned);
        route.last_modified = last_modified.map(str::to_owned);
    }

    /// How `path` answers its next requests, one each.
    pub fn next(&self, path: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        let mut state = self.state();
        state.routes.get_mut(path).unwrap().next.extend(behaviours);
    }

    /// How `path` answers when nothing else was asked for.
    pub fn always(&self, path: &str, behaviour: Behaviour) {
        self.state().routes.get_mut(path).unwrap().then = behaviour;
    }

    pub fn remove(&self, path: &str) {
        self.state().routes.remove(path);
    }

    /// The requests for `path` so far.
    pub fn log(&self, path: &str) -> Vec<Request> {
        let state = self.state();
        let asked = state.log.iter().filter(|request| request.path == path);
        asked.cloned().collect()
    }

    /// The number of all requests so far.
    pub fn requests(&self) -> usize {
        self.state().log.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// The strong `ETag` that `body` is served with.
pub fn etag_of(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:x}\"", hasher.finish())
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let Some(request) = read_request(&stream) else {
        return;
    };
    let route = {
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        state.routes.get_mut(&request.path).map(|route| {
            let behaviour = route.next.pop_front().unwrap_or(route.then.clone());
            (route.clone(), behaviour)
        })
    };
    let answer = match &route {
        Some((route, behaviour)) => answer(&request, route, behaviour),
        None => Answer::status(404),
    };
    let _ = answer.send(stream);
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Some(Request { path, headers })
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    announced: Option<usize>,
    body: Vec<u8>,
    /// Before the connection is closed.
    pause: Duration,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self::whole(status, format!("status {status}").into_bytes())
    }

    fn whole(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            announced: Some(body.len()),
            body,
            pause: Duration::ZERO,
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn send(self, mut stream: TcpStream) -> std::io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 {} X\r\nConnection: close\r\n",
            self.status
        )?;
        for (name, value) in &self.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        if let Some(length) = self.announced {
            write!(stream, "Content-Length: {length}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        stream.write_all(&self.body)?;
        std::thread::sleep(self.pause);
        Ok(())
    }
}

fn answer(request: &Request, route: &Route, behaviour: &Behaviour) -> Answer {
    let mut answer = match behaviour {
        Behaviour::Status(status) => return Answer::status(*status),
        Behaviour::Redirect(to) => return Answer::status(302).with("Location", to.as_str()),
        Behaviour::RefuseDefaultAgent if !names_itself(request) => return Answer::status(403),
        Behaviour::IgnoreRange => Answer::whole(200, route.body.clone()),
        Behaviour::Short(length) => Answer::whole(200, route.body[..*length].to_vec()),
        Behaviour::WrongBody => Answer::whole(200, inverted(&route.body)),
        Behaviour::WrongRange => wrong_range(request, route),
        _ => good(request, route),
    };
    match behaviour {
        Behaviour::DropAfter(length) => answer.body.truncate(*length),
        Behaviour::StallAfter(length) => {
            answer.body.truncate(*length);
            answer.pause = Duration::from_secs(1);
        }
        Behaviour::DropAfterGarbage(length) => {
            answer.body.truncate(*length);
            answer.body = inverted(&answer.body);
        }
        Behaviour::NoLength => answer.announced = None,
        _ => {}
    }
    if let Some(etag) = &route.etag {
        answer = answer.with("ETag", etag.as_str());
    }
    if let Some(date) = &route.last_modified {
        answer = answer.with("Last-Modified", date.as_str());
    }
    answer
}

fn good(request: &Request, route: &Route) -> Answer {
    let total = route.body.len();
    if route.etag.is_some() && request.header("If-None-Match") == route.etag.as_deref() {
        return Answer::whole(304, Vec::new());
    }
    let validators = [route.etag.as_deref(), route.last_modified.as_deref()];
    let is_same = request
        .header("If-Range")
        .is_none_or(|validator| validators.contains(&Some(validator)));
    match range_start(request).filter(|_| is_same) {
        None => Answer::whole(200, route.body.clone()),
        Some(start) if start >= total => {
            Answer::status(416).with("Content-Range", format!("bytes */{total}"))
        }
        Some(start) => Answer::whole(206, route.body[start..].to_vec()).with(
            "Content-Range",
            format!("bytes {start}-{}/{total}", total - 1),
        ),
    }
}

fn wrong_range(request: &Request, route: &Route) -> Answer {
    let start = range_start(request).unwrap_or(0).saturating_sub(1);
    let total = route.body.len();
    Answer::whole(206, route.body[start..].to_vec()).with(
        "Content-Range",
        format!("bytes {start}-{}/{total}", total - 1),
    )
}

fn range_start(request: &Request) -> Option<usize> {
    let range = request.header("Range")?.strip_prefix("bytes=")?;
    range.strip_suffix('-')?.parse().ok()
}

fn names_itself(request: &Request) -> bool {
    request
        .header("User-Agent")
        .is_some_and(|agent| agent.starts_with("imgbuild/") && agent.contains("+http"))
}

fn inverted(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}
