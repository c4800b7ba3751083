//! An archive of Debian packages on the test's own server: signed, with by-hash indexes.

#![allow(dead_code)]

use std::cell::RefCell;

use super::http_server::HttpServer;
use super::openpgp::{Made, TestKey, clearsigned};
use super::tools::sha256;

/// What bases of tests call it; `IMGBUILD_MIRRORS` leads to the server.
pub const URI: &str = "http://deb.debian.org/debian";

/// A package of the archive. Its file is its own text.
#[derive(Debug, Clone)]
pub struct TestPackage {
    name: String,
    version: String,
    /// More fields, each with its line end.
    fields: String,
}

/// The archive. It is served as it is at [`publish`](Self::publish).
pub struct TestArchive {
    pub server: HttpServer,
    pub key: TestKey,
    /// `Date` of the next index.
    pub date: RefCell<String>,
    /// More lines of the next `InRelease`.
    pub more: RefCell<String>,
    packages: RefCell<Vec<TestPackage>>,
}

impl TestArchive {
    pub fn new() -> Self {
        Self {
            server: HttpServer::start(),
            key: TestKey::with_subkey(7),
            date: RefCell::new("Sat, 21 Nov 2026 09:15:44 UTC".to_owned()),
            more: RefCell::default(),
            packages: RefCell::default(),
        }
    }

    /// Adds a version of a package, in the place of another.
    pub fn package(&self, name: &str, version: &str, fields: &str) -> &Self {
        let mut packages = self.packages.borrow_mut();
        packages.retain(|package| package.name != name);
        packages.push(TestPackage {
            name: name.to_owned(),
            version: version.to_owned(),
            fields: fields.to_owned(),
        });
        self
    }

    /// Serves the packages and their signed index.
    pub fn publish(&self) -> &Self {
        self.publish_signed(|text| self.key.clearsigned(text))
    }

    /// The same with an `InRelease` by several keys.
    pub fn publish_by(&self, keys: &[&TestKey]) -> &Self {
        let keys: Vec<(&TestKey, Made)> = keys.iter().map(|key| (*key, Made::default())).collect();
        self.publish_signed(|text| clearsigned(text, &keys))
    }

    pub fn publish_signed(&self, sign: impl Fn(&str) -> Vec<u8>) -> &Self {
        let index: String = self
            .packages
            .borrow()
            .iter()
            .map(|p| self.serve(p))
            .collect();
        let digest = sha256(index.as_bytes());
        let folder = "main/binary-arm64";
        for path in [
            format!("{folder}/Packages"),
            format!("{folder}/by-hash/SHA256/{digest}"),
        ] {
            self.server
                .serve(&format!("/debian/dists/trixie/{path}"), index.clone());
        }
        let release = format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: {}\nAcquire-By-Hash: yes\n\
             Architectures: all arm64\nNo-Support-for-Architecture-all: Packages\nComponents: main\n\
             {}SHA256:\n {digest} {} {folder}/Packages\n",
            self.date.borrow(),
            self.more.borrow(),
            index.len()
        );
        self.server
            .serve("/debian/dists/trixie/InRelease", sign(&release));
        self
    }

    /// Where the file of a package is on the server.
    pub fn path(name: &str, version: &str) -> String {
        format!("/debian/pool/{name}_{version}_arm64.deb")
    }

    fn serve(&self, package: &TestPackage) -> String {
        let TestPackage {
            name,
            version,
            fields,
        } = package;
        let path = Self::path(name, version);
        let content = format!("{name} {version}");
        self.server.serve(&path, content.clone());
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\n{fields}Filename: {}\nSize: {}\nSHA256: {}\n\n",
            &path["/debian/".len()..],
            content.len(),
            sha256(content.as_bytes())
        )
    }

    /// `IMGBUILD_MIRRORS` and `IMGBUILD_TRUST` for it. `folder` keeps its key.
    pub fn environment(&self, folder: &std::path::Path) -> Vec<(&'static str, String)> {
        let key = folder.join("archive-key.pgp");
        std::fs::write(&key, self.key.public()).unwrap();
        let trust = format!("debian={}={}", self.key.fingerprint(), key.display());
        vec![
            (
                "IMGBUILD_MIRRORS",
                format!("{URI}={}", self.server.url("/debian")),
            ),
            ("IMGBUILD_TRUST", trust),
            ("IMGBUILD_SNAPSHOT_URL", self.server.url("/snapshot")),
        ]
    }
}
