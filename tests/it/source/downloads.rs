//! Downloads from servers that misbehave: resumed, retried, verified, given up.

use super::*;
use crate::common::workbench::{Ran, Workbench};

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
fn a_server_that_says_nothing_more_is_asked_again() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    let stall = Behaviour::StallAfter(body.len() / 2);
    lab.server.next("/a.img.xz", [stall]);
    let mut options = lab.options();
    options.patience = Duration::from_millis(200);
    let base = lab.fetcher_with(options).base(&url_request(&url, &body));
    assert_is_image(&base.unwrap());
    let log = lab.server.log("/a.img.xz");
    let range = format!("bytes={}-", body.len() / 2);
    assert_eq!(log.len(), 2);
    assert_eq!(log[1].header("Range"), Some(range.as_str()));
}

/// The variables are of the whole process, so a process of its own is asked.
#[test]
fn the_variables_for_proxies_are_obeyed() {
    let base = "http://mirror.lab/a.img";
    for variable in ["HTTP_PROXY", "http_proxy"] {
        let (bench, lab) = (Workbench::new(), Lab::new());
        lab.server.serve(base, vec![b'x'; 600]);
        let digest = sha256(&[b'x'; 600]);
        let args = ["-p", "node", "--base", base, "--base-sha256", &digest];
        let run = |no_proxy: &str| {
            let mut command = bench.imgbuild(&args);
            let command = command.env(variable, lab.server.url(""));
            Ran::of(command.env("NO_PROXY", no_proxy).output().unwrap())
        };
        run("elsewhere.lab").assert_fails(1, &["is not a disk image"]);
        assert_eq!(lab.server.log(base).len(), 1, "{variable}");
    }
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
    let result = BaseRequest::from_setting("ftp://host/a.img", None);
    assert_error(result, ErrorKind::Usage, &["ftp://host/a.img"]);
    let result = BaseRequest::from_setting(&lab.server.url("/a.img"), Some("123"));
    assert_error(result, ErrorKind::Usage, &["`123`", "/a.img"]);
}

#[test]
fn a_url_without_digest_uses_the_sha256_file_beside_it() {
    let lab = Lab::new();
    let body = image_xz();
    let url = lab.server.serve("/a.img.xz", body.clone());
    let request = BaseRequest::from_setting(&url, None).unwrap();
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
    assert_eq!(base.verified, [Verified::PublishedSums]);
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
