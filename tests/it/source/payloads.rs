//! Payloads, verified by what is known of them.

use super::*;

#[test]
fn a_payload_is_verified_by_its_digest_or_a_sums_file() {
    let lab = Lab::new();
    let url = lab.server.serve("/v1%2Bk3s1/k3s-arm64", "binary");
    let by_digest = payload(&lab, web(&url), Some(sha256(b"binary")), None).unwrap();
    assert_eq!(fs::read(&by_digest.path).unwrap(), b"binary");
    assert_eq!(
        (by_digest.size, by_digest.verified),
        (6, vec![Verified::Given])
    );
    let lines = format!(
        "{}  k3s-airgap\n{} *k3s-arm64\n",
        "0".repeat(64),
        sha256(b"binary")
    );
    let sums = lab.server.serve("/sums.txt", lines);
    let listed = payload(&lab, web(&url), None, Some(sums.clone())).unwrap();
    assert_eq!(listed.path, by_digest.path);
    assert_eq!(listed.verified, [Verified::PublishedSums]);
    assert_eq!(listed.sha256.to_string(), sha256(b"binary"));
    assert_eq!(lab.server.log("/v1%2Bk3s1/k3s-arm64").len(), 1);
    let offline = lab.offline().payload(&PayloadRequest {
        name: "k3s".into(),
        location: web(&url),
        sha256: None,
        sums: Some(web(&sums)),
        first_use: false,
    });
    assert_eq!(offline.unwrap().path, by_digest.path);
}

#[test]
fn a_payload_without_digest_or_with_a_wrong_one_is_an_error() {
    let lab = Lab::new();
    let url = lab.server.serve("/k3s-arm64", "binary");
    let at = || web(&url);
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
        (path.clone(), vec![Verified::Local])
    );
    assert_eq!(artifact.sha256.to_string(), sha256(b"binary"));
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
        [Verified::PublishedSums]
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
    let result = payload(&lab, web(&url), None, Some(sums));
    assert_error(result, ErrorKind::Failed, &["/sums", "is larger than"]);
    let sums = lab.server.serve("/sums", vec![0xFF; 100]);
    let result = payload(&lab, web(&url), None, Some(sums));
    assert_error(result, ErrorKind::Failed, &["/sums", "not a text file"]);
}
