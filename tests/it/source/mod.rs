//! Sources against a server that misbehaves, and against files that are not what they should be.

mod downloads;
mod formats;
mod index;
mod payloads;
mod published_sha1;
mod signatures;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::time::Duration;

use crate::common::http_server::{Behaviour, HttpServer, etag_of};
use crate::common::openpgp::TestKey;
use imgbuild::digest::Digest as Sha;
use imgbuild::error::{Error, ErrorKind, Result, ResultExt};
use imgbuild::job::{Cancel, Job, Progress, Task};
use imgbuild::lock::{Location, PayloadRequest, Pin, Verified};
use imgbuild::source::{
    BaseImage, BaseImages, BaseRequest, BaseResolver, FetchOptions, PayloadResolver, Store,
};
use imgbuild::trust::Purpose;
use imgbuild::url::Url;
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const XZ_PATH: &str = "/raspios_lite_arm64/images/raspios_lite_arm64-2026-10-06/2026-10-06-raspios-trixie-arm64-lite.img.xz";
const OLD_PATH: &str = "/raspios_oldstable_lite_arm64/images/raspios_oldstable_lite_arm64-2026-09-15/2026-09-15-raspios-bookworm-arm64-lite.img.xz";

/// Signs what the server has.
static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::with_subkey(1));

/// A server, a cache, and what was reported.
struct Lab {
    server: HttpServer,
    folder: TempDir,
    reports: Arc<Reports>,
    cancel: Cancel,
}

/// Keeps notes, and stops the job once a task has done so many bytes.
#[derive(Default)]
struct Reports {
    notes: Mutex<Vec<String>>,
    begun: Mutex<Vec<String>>,
    stop_after: Mutex<Option<(u64, Cancel)>>,
}

struct Counter {
    done: u64,
    stop: Option<(u64, Cancel)>,
}

impl Progress for Reports {
    fn begin(&self, label: &str, _total: Option<u64>) -> Box<dyn Task> {
        self.begun.lock().unwrap().push(label.to_owned());
        Box::new(Counter {
            done: 0,
            stop: self.stop_after.lock().unwrap().clone(),
        })
    }

    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
    }
}

impl Task for Counter {
    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some((limit, cancel)) = &self.stop
            && self.done >= *limit
        {
            cancel.cancel();
        }
    }
}

/// A store with all that resolves requests for it.
struct Fetcher(Store);

impl Fetcher {
    fn find(&self, request: &BaseRequest) -> Result<BaseImage> {
        let pin = BaseResolver::new(&self.0).resolve(request, None)?;
        BaseImages::new(&self.0).open(&pin, self.0.fetch(&pin)?)
    }

    fn base(&self, request: &BaseRequest) -> Result<BaseImage> {
        self.unpack(self.find(request)?)
    }

    fn unpack(&self, base: BaseImage) -> Result<BaseImage> {
        BaseImages::new(&self.0).unpack(base)
    }

    fn vouch(&self, base: &BaseImage) -> Result<()> {
        BaseImages::new(&self.0).vouch(base)
    }

    fn payload(&self, request: &PayloadRequest) -> Result<Artifact> {
        let fetching = || format!("fetching {}", request.name);
        let resolved = PayloadResolver::new(&self.0).resolve(request);
        let pin = resolved.context(fetching)?;
        let path = self.0.fetch(&pin).context(fetching)?;
        let Pin {
            sha256, verified, ..
        } = pin;
        let size = fs::metadata(&path).unwrap().len();
        Ok(Artifact {
            path,
            size,
            sha256,
            verified,
        })
    }
}

/// A payload, whole and verified.
#[derive(Debug)]
struct Artifact {
    path: PathBuf,
    size: u64,
    sha256: Sha,
    verified: Vec<Verified>,
}

fn web(url: &str) -> Location {
    Location::Url(Url::parse(url).unwrap())
}

impl Lab {
    fn new() -> Self {
        Self {
            server: HttpServer::start(),
            folder: tempfile::tempdir().unwrap(),
            reports: Arc::default(),
            cancel: Cancel::default(),
        }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn options(&self) -> FetchOptions {
        let mut options = FetchOptions::new(self.cache());
        options.index_url = self.server.url("/index.json");
        options.retry_delay = Duration::from_millis(1);
        // Keys are not asked for anywhere else.
        for keys in [
            "https://www.raspberrypi.org",
            "https://keyserver.ubuntu.com",
        ] {
            let here = self.server.url("/keys");
            options.mirrors.push((keys.to_owned(), here));
        }
        options.trust = KEY.trust(Purpose::BaseDownloads);
        options
    }

    fn fetcher_with(&self, options: FetchOptions) -> Fetcher {
        let job = Job {
            progress: self.reports.clone(),
            cancel: self.cancel.clone(),
        };
        Fetcher(Store::new(options, job).unwrap())
    }

    fn fetcher(&self) -> Fetcher {
        self.fetcher_with(self.options())
    }

    fn offline(&self) -> Fetcher {
        let mut options = self.options();
        options.offline = true;
        self.fetcher_with(options)
    }

    fn at_path(&self, path: &Path) -> Result<BaseImage> {
        self.fetcher().base(&BaseRequest::file(path))
    }

    fn at_url(&self, url: &str, content: &[u8]) -> Result<BaseImage> {
        self.fetcher().base(&url_request(url, content))
    }

    /// Files below a folder of the cache.
    fn cached(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.cache().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Fails unless nothing was kept of a download or image that was wrong.
    fn assert_nothing_kept(&self) {
        for folder in ["sha256", "partial", "raw", "pins"] {
            let files = self.cached(folder);
            assert!(files.is_empty(), "left in the cache: {files:?}");
        }
    }

    fn was_noted(&self, text: &str) -> bool {
        self.noted(text) > 0
    }

    fn noted(&self, text: &str) -> usize {
        let notes = self.reports.notes.lock().unwrap();
        notes.iter().filter(|note| note.contains(text)).count()
    }

    fn begun(&self, label: &str) -> usize {
        let begun = self.reports.begun.lock().unwrap();
        begun.iter().filter(|begun| begun.contains(label)).count()
    }

    /// Serves an index of the real shape, and the images in it.
    fn serve_releases(&self) {
        let xz = image_xz();
        let url = self.server.serve(XZ_PATH, xz.clone());
        self.server.serve(
            &format!("{XZ_PATH}.sha256"),
            format!(
                "{}  2026-10-06-raspios-trixie-arm64-lite.img.xz\n",
                sha256(&xz)
            ),
        );
        let old_url = self.server.serve(OLD_PATH, xz.clone());
        for path in [XZ_PATH, OLD_PATH] {
            self.server.serve(&format!("{path}.sig"), KEY.detached(&xz));
        }
        let older = url.replace("2026-10-06", "2026-06-18");
        let extra = self.server.serve(
            "/legacy.json",
            json!({"os_list": [
                entry("Raspberry Pi OS (Legacy, 64-bit) Lite", &old_url, "2026-09-15", &xz),
                {"name": "back to the top", "subitems_url": self.server.url("/index.json")},
            ]})
            .to_string(),
        );
        let index = json!({
            "imager": {"latest_version": "2.0.11", "devices": [{"name": "Raspberry Pi 5", "tags": ["pi5-64bit"]}]},
            "os_list": [
                entry("Raspberry Pi OS (64-bit)", &url.replace("_lite_", "_full_"), "2026-10-06", &xz),
                {"name": "Raspberry Pi OS (other)", "description": "Other", "icon": "icon.png", "subitems": [
                    entry("Raspberry Pi OS Lite (64-bit)", &older, "2026-06-18", &xz),
                    entry("Raspberry Pi OS Lite (64-bit)", &url, "2026-10-06", &xz),
                ]},
                {"name": "Broken vendor", "subitems_url": self.server.url("/not-there.json")},
                {"name": "Legacy", "subitems_url": extra},
            ],
        });
        self.server.serve("/index.json", index.to_string());
    }

    /// Changes the newest Lite entry of the index.
    fn change_entry(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let mut item = entry("Lite", &self.server.url(XZ_PATH), "2026-10-06", &image_xz());
        change(&mut item);
        self.server
            .serve("/index.json", json!({"os_list": [item]}).to_string());
    }
}

fn entry(name: &str, url: &str, date: &str, xz: &[u8]) -> serde_json::Value {
    json!({
        "name": name, "description": "A port of Debian", "icon": "icon.png", "url": url,
        "extract_size": image().len(), "extract_sha256": sha256(&image()),
        "image_download_size": xz.len(), "image_download_sha256": sha256(xz),
        "release_date": date, "init_format": "cloudinit-rpi", "devices": ["pi5-64bit", "pi4-64bit"],
    })
}

/// Something like a disk image: data, a large hole, data, and no round length.
static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 1u32;
    let mut noise = |n: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..n).map(|_| next()).collect()
    };
    let mut image = noise(160_000);
    image.resize(700_000, 0);
    image.extend(noise(100_321));
    image
});

static IMAGE_XZ: LazyLock<Vec<u8>> = LazyLock::new(|| xz(&IMAGE));

fn image() -> Vec<u8> {
    IMAGE.clone()
}

fn image_xz() -> Vec<u8> {
    IMAGE_XZ.clone()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha1(bytes: &[u8]) -> String {
    let digest = Sha1::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = liblzma::read::XzEncoder::new(bytes, 1);
    encoder.read_to_end(&mut out).unwrap();
    out
}

/// The image as an .xz of many blocks.
fn in_blocks() -> Vec<u8> {
    let stream = liblzma::stream::MtStreamBuilder::new()
        .threads(2)
        .preset(1)
        .block_size(100_000)
        .encoder()
        .unwrap();
    let mut many = Vec::new();
    liblzma::read::XzEncoder::new_stream(image().as_slice(), stream)
        .read_to_end(&mut many)
        .unwrap();
    many
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        out.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        out.write_all(content).unwrap();
    }
    out.finish().unwrap().into_inner()
}

fn url_request(url: &str, content: &[u8]) -> BaseRequest {
    BaseRequest::Url {
        url: Url::parse(url).unwrap(),
        sha256: Sha::parse(&sha256(content)),
    }
}

fn alias(name: &str) -> BaseRequest {
    BaseRequest::Alias(name.to_owned())
}

fn lite() -> BaseRequest {
    alias("raspios-lite-arm64")
}

/// An error with all its causes, as one text.
fn whole(error: &Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

#[track_caller]
fn assert_error<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let error = result.unwrap_err();
    let text = whole(&error);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(error.hint().is_some(), "no hint: {text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[track_caller]
fn assert_is_image(base: &BaseImage) {
    let path = base.raw.as_ref().unwrap();
    let raw = fs::read(path).unwrap();
    assert!(raw == image(), "{} is not the image", path.display());
    assert_eq!(
        base.raw_sha256.map(|d| d.to_string()),
        Some(sha256(&image()))
    );
}

fn payload(
    lab: &Lab,
    location: Location,
    sha256: Option<String>,
    sums: Option<String>,
) -> Result<Artifact> {
    let sha256 = sha256.map(|text| Sha::given(&text, "k3s")).transpose()?;
    lab.fetcher().payload(&PayloadRequest {
        name: "k3s".into(),
        location,
        sha256,
        sums: sums.map(|text| Location::parse(&text).unwrap()),
        first_use: false,
    })
}
