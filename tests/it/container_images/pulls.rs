//! What is pulled, and what is not believed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use imgbuild::error::ErrorKind;
use imgbuild::oci::{Archive, ImageName};
use imgbuild::source::ContainerImages;

use super::fake_registry::{FakeRegistry, Instead, blob_path};
use super::test_image::{INDEX, MANIFEST, TestImage, digest, index};
use super::{Lab, assert_error};
use crate::common::tools::sha256;
use crate::common::workbench::files_below;

const NAME: &str = "registry.test/team/app:1";
const REPOSITORY: &str = "team/app";
const TAG: &str = "/v2/team/app/manifests/1";

fn arm64() -> TestImage {
    TestImage::new("arm64", &[b"first layer", &[7; 300_000]])
}

/// A lab with an index for two platforms.
fn lab() -> (Lab, TestImage) {
    let lab = Lab::new();
    let image = arm64();
    let other = TestImage::new("amd64", &[b"of another machine"]);
    lab.registry
        .push_index(REPOSITORY, "1", &[other, image.clone()]);
    (lab, image)
}

/// Names and contents of the files of an archive.
fn files_of(archive: &Archive) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive.reader());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

#[test]
fn of_an_index_only_what_is_for_nodes_is_pulled() {
    let (lab, image) = lab();
    let entry = lab.resolve(NAME).unwrap();
    assert_eq!(entry.name, NAME);
    assert_eq!(format!("sha256:{}", entry.sha256), digest(&image.manifest));
    assert_eq!(entry.index.unwrap().to_string().len(), 64);
    assert_eq!(entry.size, image.size());
    let pulled = lab.fetch(&entry).unwrap();
    let files = files_of(&Archive::of(&[pulled]).unwrap());
    let blobs: BTreeSet<Vec<u8>> = files[2..]
        .iter()
        .map(|(_, content)| content.clone())
        .collect();
    let expected: BTreeSet<Vec<u8>> = image
        .blobs
        .iter()
        .chain([&image.manifest])
        .cloned()
        .collect();
    assert!(blobs == expected && files.len() == 6, "{:?}", files.len());
    // A second time nothing is asked, and a tag not at all.
    let asked = lab.registry.requests();
    lab.fetch(&entry).unwrap();
    assert_eq!(lab.registry.requests(), asked);
    assert_eq!(lab.registry.asked(TAG).len(), 1);
}

#[test]
fn images_share_their_layers() {
    let lab = Lab::new();
    let one = TestImage::new("arm64", &[b"shared", b"one"]);
    let two = TestImage::new("arm64", &[b"shared", b"two"]);
    lab.registry.push(REPOSITORY, "1", &one);
    lab.registry.push("other", "1", &two);
    let images = [NAME, "registry.test/other:1"].map(|name| lab.pull(name).unwrap());
    assert_eq!(
        images.iter().map(|image| image.blobs.len()).sum::<usize>(),
        8
    );
    assert_eq!(files_of(&Archive::of(&images).unwrap()).len(), 2 + 7);
    let blob = &one.blobs[1];
    let asked = [REPOSITORY, "other"].map(|name| lab.registry.asked(&blob_path(name, blob)).len());
    assert_eq!(asked, [1, 0]);
}

#[test]
fn without_an_image_for_nodes_the_error_names_what_there_is() {
    let lab = Lab::new();
    let [amd64, arm] = ["amd64", "arm"].map(|name| TestImage::new(name, &[b"x"]));
    lab.registry
        .push_index(REPOSITORY, "1", &[amd64.clone(), arm]);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &[
            NAME,
            "no image for linux/arm64: it is for linux/amd64, linux/arm",
            "another tag",
        ],
    );
    lab.registry.push(REPOSITORY, "1", &amd64);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["it is for linux/amd64"],
    );
    lab.registry.manifest(REPOSITORY, "1", INDEX, index(&[]));
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["names no platform at all"],
    );
    lab.registry.push(REPOSITORY, "1", &arm64());
    assert_eq!(lab.resolve(NAME).unwrap().index, None);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (lab, image) = lab();
    let path = blob_path(REPOSITORY, &image.blobs[2]);
    lab.registry.instead(&path, [Instead::Break(200_000)]);
    lab.pull(NAME).unwrap();
    let asked = lab.registry.asked(&path);
    let ranges: Vec<Option<&str>> = asked.iter().map(|asked| asked.head("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=200000-")]);
}

#[test]
fn another_run_goes_on_where_the_first_stopped() {
    let (lab, image) = lab();
    let path = blob_path(REPOSITORY, &image.blobs[2]);
    lab.registry
        .instead(&path, std::iter::repeat_n(Instead::Break(1000), 5));
    let entry = lab.resolve(NAME).unwrap();
    assert_error(
        lab.fetch(&entry),
        ErrorKind::Failed,
        &["part 3 of 3", "broke off", "5 attempts"],
    );
    let before = lab.registry.asked(&path).len();
    lab.fetch(&entry).unwrap();
    let asked = lab.registry.asked(&path);
    assert_eq!(asked.len(), before + 1);
    assert_eq!(asked[before].head("range"), Some("bytes=5000-"));
}

#[test]
fn a_resumed_download_that_is_wrong_starts_again() {
    let (lab, image) = lab();
    let path = blob_path(REPOSITORY, &image.blobs[2]);
    let entry = lab.resolve(NAME).unwrap();
    lab.registry
        .instead(&path, std::iter::repeat_n(Instead::Break(1000), 5));
    assert!(lab.fetch(&entry).is_err());
    let cache = lab.folder.path().join("cache/partial");
    let part = files_below(&cache)
        .into_iter()
        .find(|path| path.extension().unwrap() == "part");
    let part = part.unwrap();
    let mut bytes = fs::read(&part).unwrap();
    bytes[10] ^= 1;
    fs::write(&part, bytes).unwrap();
    lab.fetch(&entry).unwrap();
    assert!(lab.was_noted("starting it again"));
}

#[test]
fn content_that_has_another_digest_is_not_believed() {
    let (lab, image) = lab();
    lab.registry.instead(TAG, [Instead::WrongPromise]);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Verification,
        &[NAME, "wrong sha256", "proxy"],
    );
    let manifest = format!("/v2/team/app/manifests/{}", digest(&image.manifest));
    lab.registry.instead(&manifest, [Instead::Garbage]);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Verification,
        &[
            "the manifest of registry.test/team/app:1 has the wrong sha256",
            &sha256(&image.manifest),
        ],
    );
    let entry = lab.resolve(NAME).unwrap();
    let path = blob_path(REPOSITORY, &image.blobs[1]);
    lab.registry.instead(&path, [Instead::Garbage]);
    assert_error(
        lab.fetch(&entry),
        ErrorKind::Verification,
        &["part 2 of 3", "wrong sha256", "nothing was kept"],
    );
    let object = format!(
        "cache/sha256/{}/{}",
        &sha256(&image.blobs[1])[..2],
        sha256(&image.blobs[1])
    );
    assert!(!lab.folder.path().join(object).exists());
    lab.fetch(&entry).unwrap();
}

#[test]
fn what_is_no_manifest_is_told_and_large_answers_are_cut() {
    let lab = Lab::new();
    let put = |media_type: &str, content: Vec<u8>| {
        lab.registry.manifest(REPOSITORY, "1", media_type, content)
    };
    put(MANIFEST, b"<html>".to_vec());
    assert_error(lab.resolve(NAME), ErrorKind::Failed, &[NAME, "no manifest"]);
    put(MANIFEST, vec![b' '; 5 << 20]);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["larger than 4194304 bytes"],
    );
    let chart = arm64();
    let text = String::from_utf8(chart.manifest).unwrap();
    put(
        MANIFEST,
        text.replace("oci.image.config", "cncf.helm.config")
            .into_bytes(),
    );
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["not a container image", "helm"],
    );
    assert_error(
        lab.resolve("registry.test/team/app:2"),
        ErrorKind::Failed,
        &[
            "team/app:2",
            "does not have it",
            "MANIFEST_UNKNOWN manifest unknown",
            "check name and tag",
        ],
    );
}

#[test]
fn a_manifest_that_lies_about_a_size_is_an_error() {
    let lab = Lab::new();
    let mut image = arm64();
    let len = format!("\"size\":{}", image.blobs[1].len());
    let text = String::from_utf8(image.manifest).unwrap();
    assert!(text.contains(&len), "{text}");
    image.manifest = text.replace(&len, "\"size\":17").into_bytes();
    lab.registry.push(REPOSITORY, "1", &image);
    assert_error(
        lab.pull(NAME),
        ErrorKind::Verification,
        &["part 2 of 3", "17 bytes"],
    );
}

#[test]
fn a_pinned_image_that_left_its_registry_says_how_to_move_on() {
    let (lab, _) = lab();
    let mut entry = lab.resolve(NAME).unwrap();
    entry.sha256 = entry.index.unwrap();
    assert_error(
        lab.fetch(&entry),
        ErrorKind::Failed,
        &["does not have it", "imgbuild update"],
    );
}

#[test]
fn offline_only_the_cache_counts() {
    let (lab, _) = lab();
    let offline = || {
        let mut options = lab.options();
        options.offline = true;
        lab.store_with(options)
    };
    let name = ImageName::parse(NAME).unwrap();
    let store = offline();
    let images = ContainerImages::new(&store);
    assert_error(
        images.resolve(&name),
        ErrorKind::Failed,
        &[NAME, "not in the cache", "--offline"],
    );
    let entry = lab.resolve(NAME).unwrap();
    assert_error(
        images.fetch(&entry),
        ErrorKind::Failed,
        &["part 1 of 3", "not in the cache"],
    );
    lab.fetch(&entry).unwrap();
    let asked = lab.registry.requests();
    images.fetch(&entry).unwrap();
    assert_eq!(lab.registry.requests(), asked);
}

#[test]
fn rate_limits_are_waited_for_or_told() {
    let (lab, image) = lab();
    let limit = |seconds: &str| {
        let heads = vec![("Retry-After", seconds.to_owned())];
        Instead::Status(429, heads, "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\"}]}")
    };
    lab.registry.instead(TAG, [limit("0"), limit("1")]);
    lab.resolve(NAME).unwrap();
    assert_eq!(lab.registry.asked(TAG).len(), 3);
    assert!(lab.was_noted("429 Too Many Requests), and asks to wait for 1 s; trying again"));
    // Hours are not waited for.
    let path = blob_path(REPOSITORY, &image.blobs[2]);
    lab.registry.instead(&path, [limit("21600")]);
    assert_error(
        lab.pull(NAME),
        ErrorKind::Failed,
        &[
            NAME,
            "takes no more requests for now",
            "wait for 21600 s",
            "docker login",
            "where it stopped",
        ],
    );
    assert_eq!(lab.registry.asked(&path).len(), 1);
    lab.registry
        .instead(TAG, std::iter::repeat_n(limit("0"), 5));
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["gave up after 5 attempts", "429"],
    );
}

#[test]
fn servers_that_are_in_trouble_are_asked_again() {
    let (lab, _) = lab();
    let status = |status| Instead::Status(status, Vec::new(), "");
    lab.registry.instead(TAG, [status(503), status(500)]);
    lab.resolve(NAME).unwrap();
    lab.registry.instead(TAG, [status(400)]);
    assert_error(lab.resolve(NAME), ErrorKind::Failed, &["400"]);
    assert_eq!(lab.registry.asked(TAG).len(), 4);
}

#[test]
fn a_blob_may_be_elsewhere_and_no_login_goes_there() {
    let (lab, image) = lab();
    lab.registry.access(super::fake_registry::Access::Basic(
        "Basic dG9tOmh1bnRlcjI=",
    ));
    let host = lab.registry.host();
    lab.logins(&format!(
        "{{\"auths\": {{\"{host}\": {{\"auth\": \"dG9tOmh1bnRlcjI=\"}}}}}}"
    ));
    let elsewhere = FakeRegistry::start();
    elsewhere.push(REPOSITORY, "1", &image);
    let path = blob_path(REPOSITORY, &image.blobs[2]);
    // Another host by name: a port is not another host to all clients.
    let there = elsewhere.url(&path).replace("127.0.0.1", "localhost");
    let redirect = Instead::Status(307, vec![("Location", there)], "");
    lab.registry.instead(&path, [redirect]);
    lab.pull(NAME).unwrap();
    let asked = elsewhere.asked(&path);
    assert_eq!((asked.len(), asked[0].head("authorization")), (1, None));
    let asked = lab.registry.asked(&path);
    assert_eq!(
        asked[0].head("authorization"),
        Some("Basic dG9tOmh1bnRlcjI=")
    );
}
