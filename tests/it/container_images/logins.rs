//! Registries that want a login.

use imgbuild::error::ErrorKind;

use super::fake_registry::{Access, Instead, blob_path};
use super::test_image::TestImage;
use super::{Lab, assert_error};

const NAME: &str = "registry.test/team/app:1";
const REPOSITORY: &str = "team/app";
const TAG: &str = "/v2/team/app/manifests/1";
/// tom:hunter2
const TOM: &str = "Basic dG9tOmh1bnRlcjI=";
const TOKEN: &str = "/token?scope=repository%3Ateam%2Fapp%3Apull&service=a+test";

fn lab(access: Access) -> (Lab, TestImage) {
    let lab = Lab::new();
    let image = TestImage::new("arm64", &[b"layer"]);
    lab.registry.push(REPOSITORY, "1", &image);
    lab.registry.access(access);
    (lab, image)
}

/// What docker writes for the registry of the lab.
fn write_login(lab: &Lab, auth: &str) {
    let host = lab.registry.host();
    lab.logins(&format!("{{\"auths\": {{\"http://{host}/v2/\": {auth}}}}}"));
}

#[test]
fn a_token_for_everybody_is_asked_for() {
    let (lab, image) = lab(Access::Token(None));
    let entry = lab.resolve(NAME).unwrap();
    lab.fetch(&entry).unwrap();
    let tokens = lab.registry.asked(TOKEN);
    assert_eq!(
        tokens.len(),
        2,
        "one for a look at the tag, one for the blobs"
    );
    assert!(
        tokens
            .iter()
            .all(|asked| asked.head("authorization").is_none())
    );
    let blob = lab.registry.asked(&blob_path(REPOSITORY, &image.blobs[1]));
    assert_eq!(
        blob.last().unwrap().head("authorization"),
        Some("Bearer token-0-repository-team-app-pull")
    );
}

#[test]
fn a_token_that_expires_is_replaced() {
    let (lab, image) = lab(Access::Token(None));
    let entry = lab.resolve(NAME).unwrap();
    lab.registry.instead(
        &blob_path(REPOSITORY, &image.blobs[1]),
        [Instead::ExpireTokens],
    );
    lab.fetch(&entry).unwrap();
    // The configuration was fetched with the manifest's look, so this is the layer's: 401, then 200.
    assert_eq!(
        lab.registry
            .asked(&blob_path(REPOSITORY, &image.blobs[1]))
            .len(),
        2
    );
}

#[test]
fn a_login_goes_to_the_registry_or_to_who_gives_tokens() {
    for access in [Access::Basic(TOM), Access::Token(Some(TOM))] {
        let (lab, _) = lab(access);
        write_login(&lab, "{\"auth\": \"dG9tOmh1bnRlcjI=\"}");
        lab.pull(NAME).unwrap();
    }
}

#[test]
fn without_a_login_the_error_says_where_one_belongs() {
    let hints = ["config.json", "docker login 127.0.0.1:", "DOCKER_CONFIG"];
    let (basic, _) = lab(Access::Basic(TOM));
    assert_error(
        basic.resolve(NAME),
        ErrorKind::Failed,
        &[&[NAME, "requires a login"], &hints[..]].concat(),
    );
    let (token, _) = lab(Access::Token(Some(TOM)));
    assert_error(
        token.resolve(NAME),
        ErrorKind::Failed,
        &[
            &[NAME, "without a login", "there is no such image"],
            &hints[..],
        ]
        .concat(),
    );
}

#[test]
fn a_wrong_login_is_not_repeated_and_not_told() {
    for access in [Access::Basic(TOM), Access::Token(Some(TOM))] {
        let (lab, _) = lab(access);
        write_login(&lab, "{\"username\": \"tom\", \"password\": \"s3cret\"}");
        let error = lab.resolve(NAME).unwrap_err();
        let text = format!("{}\n{:?}", super::whole(&error), error);
        assert!(
            text.contains("refuses the login for 127.0.0.1:") && text.contains("config.json"),
            "{text}"
        );
        assert!(
            !text.contains("s3cret") && !text.contains("czNjcmV0"),
            "{text}"
        );
        assert!(lab.registry.requests() <= 3);
    }
}

#[test]
fn credential_helpers_are_named_where_they_would_be_needed() {
    let (private, _) = lab(Access::Token(Some(TOM)));
    write_login(&private, "{}");
    let host = private.registry.host();
    private.logins(&format!(
        "{{\"auths\": {{\"{host}\": {{}}}}, \"credsStore\": \"desktop\"}}"
    ));
    let said = [
        "docker-credential-desktop",
        "no credential helpers",
        "auths",
        "DOCKER_CONFIG",
    ];
    assert_error(private.resolve(NAME), ErrorKind::Failed, &said);
    private.registry.access(Access::Basic(TOM));
    assert_error(private.resolve(NAME), ErrorKind::Failed, &said);
    // For all to read: nobody needs it.
    private.registry.access(Access::Token(None));
    private.resolve(NAME).unwrap();
    let (token, _) = lab(Access::Token(Some(TOM)));
    write_login(
        &token,
        "{\"auth\": \"MDA6\", \"identitytoken\": \"s3cret\"}",
    );
    assert_error(
        token.resolve(NAME),
        ErrorKind::Failed,
        &["identity token", "user and password"],
    );
}

#[test]
fn a_damaged_file_of_logins_is_told_without_what_is_in_it() {
    let (lab, _) = lab(Access::Basic(TOM));
    for wrong in [
        "{\"auths\": {\"x\": hunter2}}",
        "{\"auths\": \"hunter2\"}",
        "\u{feff}hunter2",
    ] {
        lab.logins(wrong);
        let error = lab.resolve(NAME).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let text = format!("{}\n{:?}", super::whole(&error), error);
        assert!(
            text.contains("docker/config.json:1") && !text.contains("hunter2"),
            "{text}"
        );
    }
    write_login(&lab, "{\"auth\": \"hunter2!\"}");
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Usage,
        &["`auth` of http://127.0.0.1:", "base64"],
    );
    // Who needs no login does not read it.
    lab.registry.access(Access::Everybody);
    lab.resolve(NAME).unwrap();
}

#[test]
fn logins_do_not_go_where_everybody_can_read_them() {
    let (lab, _) = lab(Access::Token(Some(TOM)));
    write_login(&lab, "{\"auth\": \"dG9tOmh1bnRlcjI=\"}");
    lab.registry.realm("http://tokens.invalid/token");
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Refused,
        &["http://tokens.invalid/token without encryption", "https"],
    );
}

#[test]
fn challenges_that_nobody_understands_are_told() {
    let (lab, _) = lab(Access::Everybody);
    let answer = |challenge: &str| {
        Instead::Status(401, vec![("WWW-Authenticate", challenge.to_owned())], "")
    };
    lab.registry.instead(TAG, [answer("Negotiate")]);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["a kind that imgbuild does not know"],
    );
    lab.registry
        .instead(TAG, [answer("Bearer realm=\"ftp://x\"")]);
    assert_error(lab.resolve(NAME), ErrorKind::Usage, &["ftp://x"]);
    let here = lab.registry.url("/v2/team/app/manifests/1");
    lab.registry
        .instead(TAG, [answer(&format!("Bearer realm=\"{here}\""))]);
    assert_error(lab.resolve(NAME), ErrorKind::Failed, &["404"]);
    // A token that is none.
    lab.registry.manifest(
        "x",
        "1?scope=repository%3Ateam%2Fapp%3Apull",
        "*/*",
        b"{\"token\": \"a b\"}".to_vec(),
    );
    let there = lab.registry.url("/v2/x/manifests/1");
    lab.registry
        .instead(TAG, [answer(&format!("Bearer realm=\"{there}\""))]);
    assert_error(
        lab.resolve(NAME),
        ErrorKind::Failed,
        &["did not answer with one"],
    );
}
