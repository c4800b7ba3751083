//! Sources against a server that misbehaves, and against files that are not what they should be.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::time::Duration;

use crate::common::http_server::{Behaviour, HttpServer, etag_of};
use imgbuild::error::{Error, ErrorKind, Result};
use imgbuild::job::{Cancel, Job, Progress, Task};
use imgbuild::source::{
    Artifact, BaseImage, BaseRequest, FetchOptions, Fetcher, Location, PayloadRequest, Verified,
};
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const XZ_PATH: &str = "/raspios_lite_arm64/images/raspios_lite_arm64-2026-10-06/2026-10-06-raspios-trixie-arm64-lite.img.xz";
const OLD_PATH: &str = "/raspios_oldstable_lite_arm64/images/raspios_oldstable_lite_arm64-2026-09-15/2026-09-15-raspios-bookworm-arm64-lite.img.xz";

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
        options
    }

    fn fetcher_with(&self, options: FetchOptions) -> Fetcher {
        let job = Job {
            progress: self.reports.clone(),
            cancel: self.cancel.clone(),
        };
        Fetcher::new(options, job).unwrap()
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
        url: url.to_owned(),
        sha256: Some(sha256(content)),
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
    assert_eq!(base.raw_sha256, Some(sha256(&image())));
}

// The index

#[test]
fn an_alias_is_the_newest_release_of_the_index() {
    let lab = Lab::new();
    lab.serve_releases();
    let base = lab.fetcher().base(&lite()).unwrap();
    assert_is_image(&base);
    assert_eq!(
        base.description,
        "Raspberry Pi OS Lite (64-bit), 2026-10-06"
    );
    assert_eq!(base.source_sha256, sha256(&image_xz()));
    assert_eq!(base.verified, Verified::Index);
    assert_eq!(base.url, Some(lab.server.url(XZ_PATH)));
    assert_eq!(fs::read(base.compressed.unwrap()).unwrap(), image_xz());
    assert_eq!(lab.server.log("/legacy.json").len(), 0);
}

#[test]
fn an_alias_is_found_in_a_linked_file_and_past_a_broken_one() {
    let lab = Lab::new();
    lab.serve_releases();
    let base = lab
        .fetcher()
        .base(&alias("raspios-oldstable-lite-arm64"))
        .unwrap();
    assert_is_image(&base);
    assert!(base.description.contains("2026-09-15"));
    assert_eq!(lab.server.log("/not-there.json").len(), 1);
}

#[test]
fn the_second_build_downloads_and_unpacks_nothing() {
    let lab = Lab::new();
    lab.serve_releases();
    let first = lab.fetcher().base(&lite()).unwrap();
    let second = lab.fetcher().base(&lite()).unwrap();
    assert_eq!(first.raw, second.raw);
    assert_eq!(lab.server.log(XZ_PATH).len(), 1);
    assert_eq!(lab.begun("unpacking"), 1);
    let index = lab.server.log("/index.json");
    assert_eq!(index.len(), 2);
    assert!(index[1].header("If-None-Match").is_some());
}

#[test]
fn without_a_digest_in_the_index_that_of_the_sha256_file_is_used() {
    let lab = Lab::new();
    lab.serve_releases();
    lab.change_entry(|item| {
        item.as_object_mut()
            .unwrap()
            .remove("image_download_sha256");
    });
    let base = lab.fetcher().base(&lite()).unwrap();
    assert_eq!(base.verified, Verified::PublishedSums);
    lab.server.remove(&format!("{XZ_PATH}.sha256"));
    fs::remove_dir_all(lab.cache()).unwrap();
    let result = lab.fetcher().base(&lite());
    assert_error(result, ErrorKind::Usage, &["no sha256 is known", XZ_PATH]);
}

#[test]
fn index_and_sha256_file_must_agree() {
    let lab = Lab::new();
    lab.serve_releases();
    let other = "0".repeat(64);
    lab.server
        .serve(&format!("{XZ_PATH}.sha256"), other.clone());
    let result = lab.fetcher().base(&lite());
    let indexed = sha256(&image_xz());
    assert_error(
        result,
        ErrorKind::Verification,
        &[&other, &indexed, ".sha256"],
    );
    assert_eq!(lab.server.log(XZ_PATH).len(), 0);
}

#[test]
fn the_unpacked_image_must_be_what_the_index_says() {
    let lab = Lab::new();
    lab.serve_releases();
    let other = "1".repeat(64);
    lab.change_entry(|item| item["extract_sha256"] = json!(other));
    let result = lab.fetcher().base(&lite());
    let found = sha256(&image());
    assert_error(
        result,
        ErrorKind::Verification,
        &["wrong sha256", &other, &found],
    );
    assert!(lab.cached("raw").is_empty());
    lab.change_entry(|item| item["extract_size"] = json!(image().len() + 1));
    let result = lab.fetcher().base(&lite());
    assert_error(
        result,
        ErrorKind::Verification,
        &["wrong size", "800321", "800322"],
    );
    lab.change_entry(|item| item["extract_size"] = json!(5000));
    let result = lab.fetcher().base(&lite());
    assert_error(
        result,
        ErrorKind::Verification,
        &["wrong size", "5000", "800321"],
    );
    assert!(lab.cached("raw").is_empty());
}

#[test]
fn a_cached_image_is_compared_with_the_index_too() {
    let lab = Lab::new();
    lab.serve_releases();
    lab.fetcher().base(&lite()).unwrap();
    let other = "1".repeat(64);
    lab.change_entry(|item| item["extract_sha256"] = json!(other));
    let result = lab.fetcher().base(&lite());
    assert_error(result, ErrorKind::Verification, &["wrong sha256", &other]);
}

#[test]
fn an_unknown_alias_names_the_nearest() {
    let lab = Lab::new();
    let error = lab
        .fetcher()
        .base(&alias("raspios-lite-arm46"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.hint().unwrap().contains("`raspios-lite-arm64`"));
    assert_eq!(lab.server.requests(), 0);
}

#[test]
fn an_index_that_is_none_is_named() {
    let lab = Lab::new();
    let url = lab
        .server
        .serve("/index.json", "<html>please log in</html>");
    let result = lab.fetcher().base(&lite());
    assert_error(
        result,
        ErrorKind::Failed,
        &["raspios-lite-arm64", &url, "is not an Imager list"],
    );
}

#[test]
fn a_server_that_is_down_does_not_matter_once_the_cache_is_filled() {
    let lab = Lab::new();
    lab.serve_releases();
    lab.fetcher().base(&lite()).unwrap();
    lab.server.always("/index.json", Behaviour::Status(503));
    assert_is_image(&lab.fetcher().base(&lite()).unwrap());
    assert!(lab.was_noted("in the cache"));
}

// Downloads

#[test]
fn a_dropped_connection_is_resumed_where_it_broke() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server
        .next("/a.img.xz", [Behaviour::DropAfter(150_000)]);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].header("Range"), None);
    assert_eq!(log[1].header("Range"), Some("bytes=150000-"));
    assert_eq!(log[1].header("If-Range"), Some(etag_of(&body).as_str()));
    assert!(lab.cached("partial").is_empty());
}

#[test]
fn last_modified_serves_where_there_is_no_strong_etag() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    let date = "Tue, 06 Oct 2026 08:00:00 GMT";
    lab.server
        .validators("/a.img.xz", Some("W/\"weak\""), Some(date));
    lab.server
        .next("/a.img.xz", [Behaviour::DropAfter(150_000)]);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    assert_eq!(log[1].header("If-Range"), Some(date));
    assert_eq!(log[1].header("Range"), Some("bytes=150000-"));
}

#[test]
fn without_anything_to_compare_by_a_download_starts_again() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server.validators("/a.img.xz", Some("W/\"weak\""), None);
    lab.server
        .next("/a.img.xz", [Behaviour::DropAfter(150_000)]);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    assert_eq!(lab.server.log("/a.img.xz")[1].header("Range"), None);
}

#[test]
fn a_server_that_ignores_range_starts_the_file_again() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server.next(
        "/a.img.xz",
        [Behaviour::DropAfter(150_000), Behaviour::IgnoreRange],
    );
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    assert_eq!(log.len(), 2);
    assert!(log[1].header("Range").is_some());
}

#[test]
fn a_file_that_changed_meanwhile_is_downloaded_from_its_start() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", vec![7; 500_000]);
    lab.server
        .next("/a.img.xz", [Behaviour::DropAfter(150_000)]);
    lab.server.always("/a.img.xz", Behaviour::Status(503));
    let result = lab.at_url(&url, &body);
    assert_error(result, ErrorKind::Failed, &["503", "5 attempts", &url]);
    lab.server.serve("/a.img.xz", body.clone());
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    assert_eq!(log.last().unwrap().header("Range"), Some("bytes=150000-"));
}

#[test]
fn a_range_other_than_asked_for_and_416_start_the_file_again() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    for refusal in [Behaviour::WrongRange, Behaviour::Status(416)] {
        let _ = fs::remove_dir_all(lab.cache());
        let before = lab.server.log("/a.img.xz").len();
        lab.server
            .next("/a.img.xz", [Behaviour::DropAfter(150_000), refusal]);
        assert_is_image(&lab.at_url(&url, &body).unwrap());
        let log = lab.server.log("/a.img.xz").split_off(before);
        assert_eq!(log.len(), 3);
        assert!(log[1].header("Range").is_some());
        assert_eq!(log[2].header("Range"), None);
    }
}

#[test]
fn a_resumed_download_that_comes_out_wrong_gets_one_fresh_try() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server
        .next("/a.img.xz", [Behaviour::DropAfterGarbage(150_000)]);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    assert_eq!(log.len(), 3);
    assert_eq!(log[2].header("Range"), None);
    assert!(lab.was_noted("starting it again"));
}

#[test]
fn a_wrong_file_is_a_verification_error_that_names_both_digests_and_leaves_nothing() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server.always("/a.img.xz", Behaviour::WrongBody);
    let wrong: Vec<u8> = body.iter().map(|byte| !byte).collect();
    let parts = [&*sha256(&body), &sha256(&wrong), &url, "a.img.xz"];
    assert_error(lab.at_url(&url, &body), ErrorKind::Verification, &parts);
    assert_eq!(lab.server.log("/a.img.xz").len(), 1);
    lab.assert_nothing_kept();
    lab.server.next(
        "/a.img.xz",
        [Behaviour::DropAfterGarbage(1000), Behaviour::Good],
    );
    assert_error(lab.at_url(&url, &body), ErrorKind::Verification, &parts);
    lab.assert_nothing_kept();
}

#[test]
fn a_short_file_is_a_verification_error() {
    let lab = Lab::new();
    lab.serve_releases();
    let body = image_xz();
    lab.server.always(XZ_PATH, Behaviour::Short(1000));
    let url = lab.server.url(XZ_PATH);
    let parts = ["wrong sha256", &sha256(&body[..1000]), "1000 bytes"];
    assert_error(lab.at_url(&url, &body), ErrorKind::Verification, &parts);
    let result = lab.fetcher().base(&lite());
    let parts = ["wrong size", &body.len().to_string(), "1000"];
    assert_error(result, ErrorKind::Verification, &parts);
    lab.assert_nothing_kept();
}

#[test]
fn a_server_that_never_gets_far_is_given_up_with_what_came_kept() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server.always("/a.img.xz", Behaviour::DropAfter(1000));
    let result = lab.at_url(&url, &body);
    assert_error(
        result,
        ErrorKind::Failed,
        &["gave up after 5 attempts", "broke off", &url],
    );
    assert_eq!(lab.server.log("/a.img.xz").len(), 5);
    assert!(lab.cached("sha256").is_empty());
    lab.server.always("/a.img.xz", Behaviour::Good);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    assert_eq!(
        lab.server.log("/a.img.xz")[5].header("Range"),
        Some("bytes=5000-")
    );
}

#[test]
fn a_length_that_is_not_announced_does_not_matter() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server.always("/a.img.xz", Behaviour::NoLength);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
}

#[test]
fn we_say_who_we_are() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    lab.server
        .always("/a.img.xz", Behaviour::RefuseDefaultAgent);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    let agent = format!("imgbuild/{} (+https://", env!("CARGO_PKG_VERSION"));
    assert!(log[0].header("User-Agent").unwrap().starts_with(&agent));
}

#[test]
fn refusals_are_not_retried_and_say_status_and_url() {
    let lab = Lab::new();
    let url = lab.server.serve("/a.img.xz", "x");
    for status in [401, 403, 404, 410] {
        lab.server.next("/a.img.xz", [Behaviour::Status(status)]);
        let result = lab.at_url(&url, b"y");
        assert_error(
            result,
            ErrorKind::Failed,
            &[&status.to_string(), &url, "downloading a.img.xz"],
        );
    }
    assert_eq!(lab.server.log("/a.img.xz").len(), 4);
}

#[test]
fn what_may_pass_is_retried() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    let statuses = [503, 429, 408, 500].map(Behaviour::Status);
    lab.server.next("/a.img.xz", statuses);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    assert_eq!(lab.server.log("/a.img.xz").len(), 5);
    assert!(lab.was_noted("503"));
}

#[test]
fn redirects_are_followed_with_the_range_but_not_in_circles() {
    let lab = Lab::new();
    let body = image_xz();
    let real = lab.server.serve("/real/a.img.xz", body.clone());
    let url = lab.server.serve("/latest", "");
    lab.server.always("/latest", Behaviour::Redirect(real));
    lab.server
        .next("/real/a.img.xz", [Behaviour::DropAfter(150_000)]);
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/real/a.img.xz");
    assert_eq!(log[1].header("Range"), Some("bytes=150000-"));
    assert!(log[1].header("If-Range").is_some());
    lab.server
        .always("/latest", Behaviour::Redirect(url.clone()));
    let before = lab.server.requests();
    let result = lab.at_url(&url, b"other");
    assert_error(result, ErrorKind::Failed, &["too many redirects", &url]);
    assert!(lab.server.requests() - before <= 12);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let lab = Lab::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.img.xz", listener.local_addr().unwrap());
    drop(listener);
    let result = lab.at_url(&url, b"x");
    assert_error(
        result,
        ErrorKind::Failed,
        &["cannot fetch", &url, "refused"],
    );
}

#[test]
fn other_schemes_and_wrong_digests_are_usage_errors() {
    let lab = Lab::new();
    let result = lab.at_url("ftp://host/a.img", b"x");
    assert_error(result, ErrorKind::Usage, &["ftp://host/a.img"]);
    let result = lab.fetcher().base(&BaseRequest::Url {
        url: lab.server.url("/a.img"),
        sha256: Some("123".into()),
    });
    assert_error(result, ErrorKind::Usage, &["`123`", "/a.img"]);
}

#[test]
fn a_url_without_digest_uses_the_sha256_file_beside_it() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    let request = BaseRequest::Url { url, sha256: None };
    let result = lab.fetcher().base(&request);
    assert_error(
        result,
        ErrorKind::Usage,
        &["no sha256 is known", "/a.img.xz.sha256"],
    );
    lab.server
        .serve("/a.img.xz.sha256", format!("{} *a.img.xz", sha256(&body)));
    let base = lab.fetcher().base(&request).unwrap();
    assert_is_image(&base);
    assert_eq!(base.verified, Verified::PublishedSums);
    assert_is_image(&lab.offline().base(&request).unwrap());
}

#[test]
fn an_interrupted_download_leaves_no_file_and_resumes_later() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    *lab.reports.stop_after.lock().unwrap() = Some((150_000, lab.cancel.clone()));
    let error = lab.at_url(&url, &body).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(lab.cached("sha256").is_empty());
    let kept = fs::metadata(&lab.cached("partial")[0]).unwrap().len();
    let lab = Lab {
        reports: Arc::default(),
        cancel: Cancel::default(),
        ..lab
    };
    assert_is_image(&lab.at_url(&url, &body).unwrap());
    let log = lab.server.log("/a.img.xz");
    assert_eq!(log.len(), 2);
    let range = log[1].header("Range").unwrap();
    assert!(
        range.starts_with("bytes=") && range != "bytes=0-",
        "{range}"
    );
    assert!(kept > 0);
}

#[test]
fn an_interrupted_unpacking_leaves_no_image() {
    let lab = Lab::new();
    let path = lab.file("a.img.gz", &gz(&image()));
    lab.at_path(&path).unwrap();
    fs::remove_dir_all(lab.cache().join("raw")).unwrap();
    *lab.reports.stop_after.lock().unwrap() = Some((1, lab.cancel.clone()));
    let error = lab.at_path(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    lab.assert_nothing_kept();
}

#[test]
fn two_builds_at_once_download_and_unpack_once() {
    let lab = Lab::new();
    lab.serve_releases();
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let fetcher = lab.fetcher();
                barrier.wait();
                assert_is_image(&fetcher.base(&lite()).unwrap());
            });
        }
    });
    assert_eq!(lab.server.log(XZ_PATH).len(), 1);
    assert_eq!(lab.begun("unpacking"), 1);
}

#[test]
fn offline_works_after_online_and_says_what_is_missing_before() {
    let lab = Lab::new();
    lab.serve_releases();
    let result = lab.offline().base(&lite());
    assert_error(
        result,
        ErrorKind::Failed,
        &["/index.json", "is not in the cache"],
    );
    let url = lab.server.url(XZ_PATH);
    let result = lab.offline().base(&url_request(&url, &image_xz()));
    assert_error(result, ErrorKind::Failed, &[&url, "is not in the cache"]);
    assert_eq!(lab.server.requests(), 0);
    lab.fetcher().base(&lite()).unwrap();
    let asked = lab.server.requests();
    assert_is_image(&lab.offline().base(&lite()).unwrap());
    assert_eq!(lab.server.requests(), asked);
}

// Formats

#[test]
fn every_container_is_unpacked_whatever_its_name() {
    let lab = Lab::new();
    let image = image();
    let halves = image.split_at(350_000);
    let mut padded_xz = xz(halves.0);
    padded_xz.extend([0; 8]);
    padded_xz.extend(xz(halves.1));
    padded_xz.extend([0; 4]);
    let zipped = zip(&[("readme.txt", b"hello"), ("folder/Disk.IMG", &image)]);
    let containers = [
        xz(&image),
        gz(&image),
        zst(&image),
        zipped,
        padded_xz,
        [gz(halves.0), gz(halves.1)].concat(),
        [zst(halves.0), zst(halves.1)].concat(),
    ];
    for (number, container) in containers.iter().enumerate() {
        let path = lab.file(&format!("{number}.img"), container);
        let base = lab.at_path(&path).unwrap();
        assert_is_image(&base);
        assert_eq!(base.source_sha256, sha256(container));
        assert_eq!(base.compressed, Some(path));
        assert_eq!(base.verified, Verified::Local);
    }
}

#[test]
fn an_xz_of_many_blocks_is_unpacked() {
    let lab = Lab::new();
    let path = lab.file("many.img.xz", &in_blocks());
    assert_is_image(&lab.at_path(&path).unwrap());
}

#[test]
fn an_xz_that_has_blocks_stays_packed_until_it_is_asked_for() {
    let lab = Lab::new();
    lab.serve_releases();
    let found = lab.fetcher().find(&lite()).unwrap();
    assert_eq!(
        (found.raw.as_ref(), found.raw_sha256.as_ref()),
        (None, None)
    );
    assert_eq!(found.source_sha256, sha256(&image_xz()));
    assert!(lab.cached("raw").is_empty());
    assert_eq!(lab.begun("unpacking"), 0);
    let unpacked = lab.fetcher().unpack(found).unwrap();
    assert_is_image(&unpacked);
    // From then on the copy is used, and when it is removed its digest is still known.
    assert_is_image(&lab.fetcher().find(&lite()).unwrap());
    fs::remove_file(unpacked.raw.unwrap()).unwrap();
    let found = lab.fetcher().find(&lite()).unwrap();
    assert_eq!(found.raw, None);
    assert_eq!(found.raw_sha256, Some(sha256(&image())));
    assert_eq!(lab.begun("unpacking"), 1);
    // Other ways of packing have to be unpacked.
    for packed in [gz(&image()), zst(&image()), zip(&[("a.img", &image())])] {
        let path = lab.file("a.packed", &packed);
        assert_is_image(&lab.fetcher().find(&BaseRequest::file(path)).unwrap());
    }
    assert!(!lab.was_noted("blocks"));
    let path = lab.file("large.xz", &xz(&vec![0; 65 << 20]));
    let found = lab.fetcher().find(&BaseRequest::file(path)).unwrap();
    assert_eq!(fs::metadata(found.raw.unwrap()).unwrap().len(), 65 << 20);
    assert!(lab.was_noted("large.xz is not packed in blocks"));
}

#[test]
fn a_packed_image_of_the_wrong_size_is_found_without_unpacking() {
    let lab = Lab::new();
    lab.serve_releases();
    lab.change_entry(|entry| entry["extract_size"] = json!(image().len() + 512));
    let found = lab.fetcher().find(&lite());
    assert_error(found, ErrorKind::Verification, &["wrong size"]);
    lab.change_entry(|entry| entry["extract_sha256"] = json!(sha256(b"something else")));
    let found = lab.fetcher().find(&lite()).unwrap();
    let unpacked = lab.fetcher().unpack(found);
    assert_error(unpacked, ErrorKind::Verification, &["wrong sha256"]);
    let mut options = lab.options();
    options.max_image_bytes = 1 << 19;
    let path = lab.file("a.img.xz", &image_xz());
    let found = lab.fetcher_with(options).find(&BaseRequest::file(path));
    assert_error(found, ErrorKind::Refused, &["a.img.xz", "512.0 KiB"]);
    assert_eq!(lab.begun("unpacking"), 1);
}

#[test]
fn a_raw_image_is_used_where_it_is() {
    let lab = Lab::new();
    let path = lab.file("a.img", &image());
    let base = lab.at_path(&path).unwrap();
    assert_eq!(base.raw, Some(path));
    assert_eq!(base.compressed, None);
    assert_is_image(&base);
    assert!(lab.cached("raw").is_empty());
    let url = lab.server.serve("/a.img", image());
    let base = lab.at_url(&url, &image()).unwrap();
    assert_is_image(&base);
    assert_eq!(base.compressed, None);
}

#[test]
fn a_local_file_is_hashed_and_unpacked_again_only_when_it_changed() {
    let lab = Lab::new();
    let path = lab.file("a.img.xz", &image_xz());
    lab.at_path(&path).unwrap();
    lab.at_path(&path).unwrap();
    assert_eq!((lab.begun("checking"), lab.begun("unpacking")), (1, 1));
    fs::write(&path, xz(b"another image")).unwrap();
    let base = lab.at_path(&path).unwrap();
    assert_eq!(fs::read(base.raw.unwrap()).unwrap(), b"another image");
    assert_eq!((lab.begun("checking"), lab.begun("unpacking")), (2, 2));
}

#[test]
#[cfg(unix)]
fn zeros_become_holes() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    let mut image = image();
    image.resize(8 << 20, 0);
    let path = lab.file("a.img.zst", &zst(&image));
    let base = lab.at_path(&path).unwrap();
    let metadata = fs::metadata(base.raw.unwrap()).unwrap();
    assert_eq!(metadata.len(), 8 << 20);
    assert!(
        metadata.blocks() * 512 < 2 << 20,
        "{} blocks",
        metadata.blocks()
    );
    assert_eq!(base.raw_sha256, Some(sha256(&image)));
}

#[test]
fn a_local_file_with_a_digest_must_be_that() {
    let lab = Lab::new();
    let path = lab.file("a.img.xz", &image_xz());
    let given = |sha256: String| BaseRequest::Path {
        path: path.clone(),
        sha256: Some(sha256),
    };
    let found = lab.fetcher().find(&given(sha256(&image_xz()))).unwrap();
    assert_eq!(found.verified, Verified::Given);
    let other = sha256(b"other");
    assert_error(
        lab.fetcher().find(&given(other.clone())),
        ErrorKind::Verification,
        &["a.img.xz", "wrong sha256", &other],
    );
    let result = lab.fetcher().find(&given("abc".to_owned()));
    assert_error(result, ErrorKind::Usage, &["a.img.xz", "`abc`"]);
}

#[test]
fn a_packed_file_that_nothing_vouches_for_is_verified_once() {
    let lab = Lab::new();
    let packed = in_blocks();
    let path = lab.file("a.img.xz", &packed);
    let vouch = |request: &BaseRequest| {
        let fetcher = lab.fetcher();
        let base = fetcher.find(request)?;
        fetcher.vouch(&base)
    };
    let local = BaseRequest::file(&path);
    vouch(&local).unwrap();
    vouch(&local).unwrap();
    assert_eq!(lab.begun("verifying"), 1);
    assert_eq!(lab.cached("raw"), Vec::<PathBuf>::new());

    // The same length, but for the file system's clock.
    let mut damaged = packed.clone();
    damaged[packed.len() / 2] ^= 0x10;
    fs::write(&path, &damaged).unwrap();
    for tries in 2..4 {
        let parts = ["a.img.xz", "block ", "at byte", "damaged"];
        assert_error(vouch(&local), ErrorKind::Verification, &parts);
        assert_eq!(lab.begun("verifying"), tries);
    }
    // Whoever gives the digest of a file vouches for it.
    let given = BaseRequest::Path {
        path: path.clone(),
        sha256: Some(sha256(&damaged)),
    };
    vouch(&given).unwrap();
    let url = lab.server.serve("/a.img.xz", packed.clone());
    vouch(&url_request(&url, &packed)).unwrap();
    // What was unpacked was verified.
    fs::write(&path, xz(b"another image")).unwrap();
    lab.at_path(&path).unwrap();
    vouch(&local).unwrap();
    assert_eq!(lab.begun("verifying"), 3);
}

#[test]
fn truncated_files_say_so() {
    let lab = Lab::new();
    let image = image();
    let containers = [
        ("a.xz", xz(&image)),
        ("a.gz", gz(&image)),
        ("a.zst", zst(&image)),
    ];
    for (name, container) in containers {
        for length in [container.len() / 2, container.len() - 3] {
            let path = lab.file(name, &container[..length]);
            let parts = [name, "truncated", &format!("{length} bytes")];
            assert_error(lab.at_path(&path), ErrorKind::Verification, &parts);
        }
    }
    let container = zip(&[("a.img", &image)]);
    let path = lab.file("a.zip", &container[..container.len() / 2]);
    assert_error(
        lab.at_path(&path),
        ErrorKind::Verification,
        &["a.zip", "not a whole zip"],
    );
    lab.assert_nothing_kept();
}

#[test]
fn damaged_files_say_so() {
    let lab = Lab::new();
    let image = image();
    let containers = [
        ("a.xz", xz(&image)),
        ("a.gz", gz(&image)),
        ("a.zip", zip(&[("a.img", &image)])),
    ];
    for (name, mut container) in containers {
        let middle = container.len() / 2;
        container[middle] ^= 0xFF;
        let path = lab.file(name, &container);
        assert_error(
            lab.at_path(&path),
            ErrorKind::Verification,
            &[name, "damaged"],
        );
    }
    let trailing = [xz(&image), b"something trails".to_vec()].concat();
    let path = lab.file("b.xz", &trailing);
    assert_error(
        lab.at_path(&path),
        ErrorKind::Verification,
        &["b.xz", "damaged"],
    );
    lab.assert_nothing_kept();
}

#[test]
fn a_zip_must_hold_one_image() {
    let lab = Lab::new();
    let path = lab.file("none.zip", &zip(&[("a.txt", b"x")]));
    assert_error(
        lab.at_path(&path),
        ErrorKind::Failed,
        &["none.zip", "no .img"],
    );
    let path = lab.file("two.zip", &zip(&[("a.img", b"x"), ("b.img", b"y")]));
    assert_error(
        lab.at_path(&path),
        ErrorKind::Failed,
        &["2 .img files", "a.img, b.img"],
    );
}

#[test]
fn an_image_that_fills_disks_is_refused() {
    let lab = Lab::new();
    let path = lab.file("bomb.img.zst", &zst(&vec![0; 8 << 20]));
    let mut options = lab.options();
    options.max_image_bytes = 1 << 20;
    let result = lab.fetcher_with(options).base(&BaseRequest::file(path));
    assert_error(result, ErrorKind::Refused, &["bomb.img.zst", "1.0 MiB"]);
    lab.assert_nothing_kept();
}

#[test]
fn paths_that_are_no_images_are_usage_errors() {
    let lab = Lab::new();
    let empty = lab.file("empty.img", b"");
    assert_error(
        lab.at_path(&empty),
        ErrorKind::Usage,
        &["empty.img", "is empty"],
    );
    let missing = lab.folder.path().join("missing.img");
    assert_error(lab.at_path(&missing), ErrorKind::Usage, &["missing.img"]);
    assert_error(
        lab.at_path(lab.folder.path()),
        ErrorKind::Usage,
        &["is not a file"],
    );
    let hollow = lab.file("hollow.img.gz", &gz(b""));
    assert_error(
        lab.at_path(&hollow),
        ErrorKind::Failed,
        &["hollow.img.gz", "is empty"],
    );
    let url = lab.server.serve("/empty.img", "");
    assert_error(lab.at_url(&url, b""), ErrorKind::Failed, &["is empty"]);
}

#[test]
fn settings_are_aliases_urls_or_paths() {
    let of = |image: &str| BaseRequest::from_setting(image, None);
    assert_eq!(of("raspios-lite-arm64"), lite());
    assert_eq!(of("base.IMG.XZ"), BaseRequest::file("base.IMG.XZ"));
    assert_eq!(of("images/base"), BaseRequest::file("images/base"));
    let url = "https://x/a.img".to_owned();
    assert_eq!(of(&url), BaseRequest::Url { url, sha256: None });
}

// Payloads

fn payload(
    lab: &Lab,
    location: Location,
    sha256: Option<String>,
    sums: Option<String>,
) -> Result<Artifact> {
    lab.fetcher().payload(&PayloadRequest {
        name: "k3s".into(),
        location,
        sha256,
        sums,
    })
}

#[test]
fn a_payload_is_verified_by_its_digest_or_a_sums_file() {
    let lab = Lab::new();
    let url = lab.server.serve("/v1%2Bk3s1/k3s-arm64", "binary");
    let by_digest = payload(
        &lab,
        Location::Url(url.clone()),
        Some(sha256(b"binary")),
        None,
    )
    .unwrap();
    assert_eq!(fs::read(&by_digest.path).unwrap(), b"binary");
    assert_eq!((by_digest.size, by_digest.verified), (6, Verified::Given));
    let lines = format!(
        "{}  k3s-airgap\n{} *k3s-arm64\n",
        "0".repeat(64),
        sha256(b"binary")
    );
    let sums = lab.server.serve("/sums.txt", lines);
    let listed = payload(&lab, Location::Url(url.clone()), None, Some(sums.clone())).unwrap();
    assert_eq!(listed.path, by_digest.path);
    assert_eq!(listed.verified, Verified::PublishedSums);
    assert_eq!(listed.sha256, sha256(b"binary"));
    assert_eq!(lab.server.log("/v1%2Bk3s1/k3s-arm64").len(), 1);
    let offline = lab.offline().payload(&PayloadRequest {
        name: "k3s".into(),
        location: Location::Url(url),
        sha256: None,
        sums: Some(sums),
    });
    assert_eq!(offline.unwrap().path, by_digest.path);
}

#[test]
fn a_payload_without_digest_or_with_a_wrong_one_is_an_error() {
    let lab = Lab::new();
    let url = lab.server.serve("/k3s-arm64", "binary");
    let at = || Location::Url(url.clone());
    let result = payload(&lab, at(), None, None);
    assert_error(
        result,
        ErrorKind::Usage,
        &["fetching k3s", "no sha256 is known", &url],
    );
    let other = "2".repeat(64);
    let result = payload(&lab, at(), Some(other.clone()), None);
    assert_error(
        result,
        ErrorKind::Verification,
        &[&other, &sha256(b"binary")],
    );
    let sums = lab.server.serve("/sums.txt", format!("{other}  k3s-armhf"));
    let result = payload(&lab, at(), None, Some(sums.clone()));
    assert_error(
        result,
        ErrorKind::Failed,
        &[&sums, "no sha256 for k3s-arm64"],
    );
    let gone = lab.server.url("/gone.txt");
    let result = payload(&lab, at(), None, Some(gone.clone()));
    assert_error(result, ErrorKind::Failed, &["404", &gone]);
    lab.assert_nothing_kept();
}

#[test]
fn a_local_payload_is_checked_when_there_is_something_to_check_it_by() {
    let lab = Lab::new();
    let path = lab.file("k3s", b"binary");
    let at = || Location::File(path.clone());
    let artifact = payload(&lab, at(), None, None).unwrap();
    assert_eq!(
        (artifact.path, artifact.verified),
        (path.clone(), Verified::Local)
    );
    assert_eq!(artifact.sha256, sha256(b"binary"));
    let other = "3".repeat(64);
    let result = payload(&lab, at(), Some(other.clone()), None);
    assert_error(
        result,
        ErrorKind::Verification,
        &["k3s", &other, &sha256(b"binary")],
    );
    let sums = lab.file("sums", format!("{}  k3s", sha256(b"binary")).as_bytes());
    let sums = Some(sums.to_str().unwrap().to_owned());
    assert_eq!(
        payload(&lab, at(), None, sums).unwrap().verified,
        Verified::PublishedSums
    );
    let missing = Location::File(lab.folder.path().join("missing"));
    let result = payload(&lab, missing, None, None);
    assert_error(result, ErrorKind::Usage, &["fetching k3s", "missing"]);
}

#[test]
fn a_sums_file_that_is_endless_or_binary_is_refused() {
    let lab = Lab::new();
    let url = lab.server.serve("/k3s", "binary");
    let sums = lab.server.serve("/sums", vec![b'a'; (16 << 20) + 1]);
    let result = payload(&lab, Location::Url(url.clone()), None, Some(sums));
    assert_error(result, ErrorKind::Failed, &["/sums", "is larger than"]);
    let sums = lab.server.serve("/sums", vec![0xFF; 100]);
    let result = payload(&lab, Location::Url(url), None, Some(sums));
    assert_error(result, ErrorKind::Failed, &["/sums", "not a text file"]);
}

// Payloads of which only a SHA-1 is published

const FTL: &str = "/v6.7/pihole-FTL-arm64";
const FTL_SUMS: &str = "/v6.7/pihole-FTL-arm64.sha1";

/// Serves `body` as FTL, with `sums` beside it.
fn serve_ftl(lab: &Lab, body: &[u8], sums: String) {
    lab.server.serve(FTL, body);
    lab.server.serve(FTL_SUMS, sums);
}

fn ftl_sums(body: &[u8]) -> String {
    format!("{}  pihole-FTL-arm64\n", sha1(body))
}

fn ftl(lab: &Lab) -> PayloadRequest {
    PayloadRequest {
        name: "pihole-ftl".into(),
        location: Location::Url(lab.server.url(FTL)),
        sha256: None,
        sums: Some(lab.server.url(FTL_SUMS)),
    }
}

#[track_caller]
fn assert_is_ftl(lab: &Lab, artifact: &Artifact, body: &[u8]) {
    assert!(fs::read(&artifact.path).unwrap() == body);
    assert_eq!(artifact.sha256, sha256(body));
    assert_eq!(artifact.size, body.len() as u64);
    assert!(artifact.path.ends_with(sha256(body)));
    assert!(lab.cached("partial").is_empty());
}

#[test]
fn a_published_sha1_verifies_a_download_and_says_which_sha256_to_pin() {
    let lab = Lab::new();
    for (body, sums) in [
        (&b"binary"[..], ftl_sums(b"binary")),
        (b"another", sha1(b"another").to_uppercase()),
    ] {
        serve_ftl(&lab, body, sums);
        let before = lab.server.log(FTL).len();
        for _ in 0..2 {
            let artifact = lab.fetcher().payload(&ftl(&lab)).unwrap();
            assert_is_ftl(&lab, &artifact, body);
            assert_eq!(artifact.verified, Verified::PublishedSha1);
        }
        assert_eq!(lab.server.log(FTL).len(), before + 1);
        assert_eq!(lab.noted(&format!("sha256 = \"{}\"", sha256(body))), 1);
    }
    assert_eq!(lab.noted("SHA-1"), 2);
}

#[test]
fn a_wrong_sha1_is_a_verification_error_that_names_both_digests_and_leaves_nothing() {
    let lab = Lab::new();
    serve_ftl(&lab, b"binary", ftl_sums(b"expected"));
    let (expected, found) = (sha1(b"expected"), sha1(b"binary"));
    assert_error(
        lab.fetcher().payload(&ftl(&lab)),
        ErrorKind::Verification,
        &["pihole-ftl", "wrong SHA-1", &expected, &found, FTL],
    );
    lab.assert_nothing_kept();
    assert!(!lab.was_noted("SHA-1"));
}

#[test]
fn what_was_verified_by_its_sha1_is_there_offline_for_as_long_as_the_sha1_stays() {
    let lab = Lab::new();
    serve_ftl(&lab, b"binary", ftl_sums(b"binary"));
    let sums = lab.file("sums", ftl_sums(b"binary").as_bytes());
    let request = PayloadRequest {
        sums: Some(sums.to_str().unwrap().to_owned()),
        ..ftl(&lab)
    };
    let before = lab.offline().payload(&request);
    assert_error(before, ErrorKind::Failed, &[FTL, "is not in the cache"]);
    lab.fetcher().payload(&ftl(&lab)).unwrap();
    let asked = lab.server.requests();
    for request in [&ftl(&lab), &request] {
        let artifact = lab.offline().payload(request).unwrap();
        assert_is_ftl(&lab, &artifact, b"binary");
        assert_eq!(artifact.verified, Verified::PublishedSha1);
    }
    lab.file("sums", ftl_sums(b"newer").as_bytes());
    let after = lab.offline().payload(&request);
    assert_error(after, ErrorKind::Failed, &[FTL, "is not in the cache"]);
    assert_eq!(lab.server.requests(), asked);
}

#[test]
fn what_is_downloaded_again_for_the_same_sha1_must_have_the_pinned_sha256() {
    let lab = Lab::new();
    serve_ftl(&lab, b"binary", ftl_sums(b"binary"));
    let artifact = lab.fetcher().payload(&ftl(&lab)).unwrap();
    fs::remove_file(&artifact.path).unwrap();
    lab.server.serve(FTL, "pretend that the SHA-1 is the same");
    assert_error(
        lab.fetcher().payload(&ftl(&lab)),
        ErrorKind::Verification,
        &["wrong sha256", &sha256(b"binary")],
    );
    lab.server.serve(FTL, "binary");
    let artifact = lab.fetcher().payload(&ftl(&lab)).unwrap();
    assert_is_ftl(&lab, &artifact, b"binary");
}

#[test]
fn a_download_by_sha1_is_resumed_and_started_again_when_that_goes_wrong() {
    let body = image_xz();
    for (drop, requests) in [
        (Behaviour::DropAfter(150_000), 2),
        (Behaviour::DropAfterGarbage(150_000), 3),
    ] {
        let lab = Lab::new();
        serve_ftl(&lab, &body, ftl_sums(&body));
        lab.server.next(FTL, [drop]);
        let artifact = lab.fetcher().payload(&ftl(&lab)).unwrap();
        assert_is_ftl(&lab, &artifact, &body);
        let log = lab.server.log(FTL);
        assert_eq!(log.len(), requests);
        assert_eq!(log[1].header("Range"), Some("bytes=150000-"));
        assert_eq!(lab.noted("SHA-1"), 1);
    }
}

#[test]
fn an_interrupted_download_by_sha1_resumes_in_the_next_run() {
    let lab = Lab::new();
    let body = image_xz();
    serve_ftl(&lab, &body, ftl_sums(&body));
    lab.server.always(FTL, Behaviour::DropAfter(1000));
    let result = lab.fetcher().payload(&ftl(&lab));
    assert_error(result, ErrorKind::Failed, &["gave up after 5 attempts"]);
    assert!(lab.cached("sha256").is_empty() && lab.cached("pins").is_empty());
    lab.server.always(FTL, Behaviour::Good);
    let artifact = lab.fetcher().payload(&ftl(&lab)).unwrap();
    assert_is_ftl(&lab, &artifact, &body);
    let log = lab.server.log(FTL);
    assert_eq!(log[5].header("Range"), Some("bytes=5000-"));
}

#[test]
fn builds_at_once_download_by_sha1_once() {
    let lab = Lab::new();
    let body = image_xz();
    serve_ftl(&lab, &body, ftl_sums(&body));
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let fetcher = lab.fetcher();
                barrier.wait();
                let artifact = fetcher.payload(&ftl(&lab)).unwrap();
                assert_eq!(artifact.sha256, sha256(&body));
            });
        }
    });
    assert_eq!(lab.server.log(FTL).len(), 1);
    assert_eq!(lab.noted("sha256 ="), 1);
}

#[test]
fn a_sha256_in_the_same_sums_file_wins_over_a_sha1() {
    let lab = Lab::new();
    let sha256_line = |body: &[u8]| format!("{} *pihole-FTL-arm64\n", sha256(body));
    for sums in [
        ftl_sums(b"other") + &sha256_line(b"binary"),
        sha256_line(b"binary") + &ftl_sums(b"other"),
    ] {
        serve_ftl(&lab, b"binary", sums);
        let artifact = lab.fetcher().payload(&ftl(&lab)).unwrap();
        assert_eq!(artifact.verified, Verified::PublishedSums);
        assert_is_ftl(&lab, &artifact, b"binary");
        fs::remove_file(artifact.path).unwrap();
    }
    serve_ftl(
        &lab,
        b"binary",
        ftl_sums(b"binary") + &sha256_line(b"other"),
    );
    let result = lab.fetcher().payload(&ftl(&lab));
    assert_error(result, ErrorKind::Verification, &[&sha256(b"other")]);
    lab.assert_nothing_kept();
    assert!(!lab.was_noted("SHA-1"));
}

#[test]
fn a_sha1_read_without_encryption_is_refused() {
    let lab = Lab::new();
    let plain = "http://127.0.0.1.mirror.lab/pihole-FTL-arm64.sha1";
    let page = json!({"url": plain, "etag": null, "body": ftl_sums(b"binary")});
    let offline = lab.offline();
    let record = format!("pages/{}.json", sha256(plain.as_bytes()));
    fs::write(lab.cache().join(record), page.to_string()).unwrap();
    let mut request = ftl(&lab);
    request.sums = Some(plain.to_owned());
    let parts = ["pihole-ftl", "only a SHA-1", plain, "without encryption"];
    assert_error(offline.payload(&request), ErrorKind::Refused, &parts);
    let sums = lab.file("sums", ftl_sums(b"binary").as_bytes());
    let request = PayloadRequest {
        location: Location::Url("http://mirror.lab/pihole-FTL-arm64".into()),
        sums: Some(sums.to_str().unwrap().to_owned()),
        ..request
    };
    let parts = ["only a SHA-1", "http://mirror.lab/", "without encryption"];
    assert_error(lab.fetcher().payload(&request), ErrorKind::Refused, &parts);
    assert_eq!(lab.server.requests(), 0);
}

#[test]
fn a_sha1_is_not_enough_for_a_local_payload_or_a_base() {
    let lab = Lab::new();
    let path = lab.file("ftl", b"binary");
    let sums = lab.file("sums", sha1(b"binary").as_bytes());
    let sums = sums.to_str().unwrap().to_owned();
    let result = payload(&lab, Location::File(path), None, Some(sums));
    let only = "lists no sha256 for ftl, only a SHA-1";
    assert_error(result, ErrorKind::Failed, &[only]);
    let url = lab.server.serve("/a.img.xz", image_xz());
    lab.server.serve("/a.img.xz.sha256", sha1(&image_xz()));
    let result = lab.fetcher().base(&BaseRequest::Url { url, sha256: None });
    assert_error(result, ErrorKind::Failed, &["no sha256 for a.img.xz"]);
    lab.assert_nothing_kept();
}
