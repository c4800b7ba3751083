//! The list of operating systems, and what an alias comes to.

use super::*;

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
    assert_eq!(base.source_sha256.to_string(), sha256(&image_xz()));
    assert_eq!(
        base.verified[1..],
        [Verified::Index, Verified::PublishedSums]
    );
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
    assert_eq!(base.verified[1..], [Verified::PublishedSums]);
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
