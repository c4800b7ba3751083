//! Bases in every container, packed and unpacked.

use super::*;

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
        assert_eq!(base.source_sha256.to_string(), sha256(container));
        assert_eq!(base.compressed, Some(path));
        assert_eq!(base.verified, [Verified::Local]);
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
    assert_eq!(found.source_sha256.to_string(), sha256(&image_xz()));
    assert!(lab.cached("raw").is_empty());
    assert_eq!(lab.begun("unpacking"), 0);
    let unpacked = lab.fetcher().unpack(found).unwrap();
    assert_is_image(&unpacked);
    // From then on the copy is used, and when it is removed its digest is still known.
    assert_is_image(&lab.fetcher().find(&lite()).unwrap());
    fs::remove_file(unpacked.raw.unwrap()).unwrap();
    let found = lab.fetcher().find(&lite()).unwrap();
    assert_eq!(found.raw, None);
    assert_eq!(
        found.raw_sha256.map(|d| d.to_string()),
        Some(sha256(&image()))
    );
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
    assert_eq!(base.raw_sha256.map(|d| d.to_string()), Some(sha256(&image)));
}

#[test]
fn a_local_file_with_a_digest_must_be_that() {
    let lab = Lab::new();
    let path = lab.file("a.img.xz", &image_xz());
    let given = |sha256: &str| BaseRequest::at_path(&path, Some(sha256)).unwrap();
    let found = lab.fetcher().find(&given(&sha256(&image_xz()))).unwrap();
    assert_eq!(found.verified, [Verified::Given]);
    let other = sha256(b"other");
    assert_error(
        lab.fetcher().find(&given(&other)),
        ErrorKind::Verification,
        &["a.img.xz", "wrong sha256", &other],
    );
    let result = BaseRequest::at_path(&path, Some("abc"));
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
        sha256: Sha::parse(&sha256(&damaged)),
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
    let of = |image: &str| BaseRequest::from_setting(image, None).unwrap();
    assert_eq!(of("raspios-lite-arm64"), lite());
    assert_eq!(of("base.IMG.XZ"), BaseRequest::file("base.IMG.XZ"));
    assert_eq!(of("images/base"), BaseRequest::file("images/base"));
    let url = Url::parse("https://x/a.img").unwrap();
    let request = BaseRequest::Url { url, sha256: None };
    assert_eq!(of("https://x/a.img"), request);
}
