//! Payloads of which only a SHA-1 is published.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

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
        location: web(&lab.server.url(FTL)),
        sha256: None,
        sums: Some(web(&lab.server.url(FTL_SUMS))),
        first_use: false,
    }
}

#[track_caller]
fn assert_is_ftl(lab: &Lab, artifact: &Artifact, body: &[u8]) {
    assert!(fs::read(&artifact.path).unwrap() == body);
    assert_eq!(artifact.sha256.to_string(), sha256(body));
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
            assert_eq!(artifact.verified, [Verified::PublishedSha1]);
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
        sums: Some(Location::File(sums)),
        ..ftl(&lab)
    };
    let before = lab.offline().payload(&request);
    assert_error(before, ErrorKind::Failed, &[FTL, "is not in the cache"]);
    lab.fetcher().payload(&ftl(&lab)).unwrap();
    let asked = lab.server.requests();
    for request in [&ftl(&lab), &request] {
        let artifact = lab.offline().payload(request).unwrap();
        assert_is_ftl(&lab, &artifact, b"binary");
        assert_eq!(artifact.verified, [Verified::PublishedSha1]);
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
                assert_eq!(artifact.sha256.to_string(), sha256(&body));
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
        assert_eq!(artifact.verified, [Verified::PublishedSums]);
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
    let body = STANDARD.encode(ftl_sums(b"binary"));
    let page = json!({"url": plain, "etag": null, "body": body});
    let offline = lab.offline();
    let record = format!("pages/{}.json", sha256(plain.as_bytes()));
    fs::write(lab.cache().join(record), page.to_string()).unwrap();
    let mut request = ftl(&lab);
    request.sums = Some(web(plain));
    let parts = ["pihole-ftl", "only a SHA-1", plain, "without encryption"];
    assert_error(offline.payload(&request), ErrorKind::Refused, &parts);
    let sums = lab.file("sums", ftl_sums(b"binary").as_bytes());
    let request = PayloadRequest {
        location: web("http://mirror.lab/pihole-FTL-arm64"),
        sums: Some(Location::File(sums)),
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
    let result = lab
        .fetcher()
        .base(&BaseRequest::from_setting(&url, None).unwrap());
    assert_error(result, ErrorKind::Failed, &["no sha256 for a.img.xz"]);
    lab.assert_nothing_kept();
}
