//! Container images: from registries, pinned, and in the archive that a node imports.

mod fake_registry;
mod logins;
mod project;
mod pulls;
mod real_programs;
mod test_image;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imgbuild::error::{Error, ErrorKind, Result};
use imgbuild::job::{Cancel, Job, Progress, Task};
use imgbuild::lock::ImageEntry;
use imgbuild::oci::{ArchivedImage, ImageName};
use imgbuild::source::{ContainerImages, FetchOptions, Store};
use tempfile::TempDir;

use fake_registry::FakeRegistry;

/// Where names of tests have their registry; mirrors lead to the fake one.
const HOST: &str = "registry.test";

/// A registry on this computer, a cache, and what was reported.
struct Lab {
    registry: FakeRegistry,
    folder: TempDir,
    notes: Arc<Notes>,
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _label: &str, _total: Option<u64>) -> Box<dyn Task> {
        struct Silent;
        impl Task for Silent {
            fn advance(&mut self, _bytes: u64) {}
        }
        Box::new(Silent)
    }

    fn note(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

impl Lab {
    fn new() -> Self {
        Self {
            registry: FakeRegistry::start(),
            folder: tempfile::tempdir().unwrap(),
            notes: Arc::default(),
        }
    }

    fn options(&self) -> FetchOptions {
        let mut options = FetchOptions::new(self.folder.path().join("cache"));
        options.retry_delay = Duration::from_millis(1);
        options.docker_config = Some(self.docker_config());
        let mirror = (format!("https://{HOST}"), self.registry.url(""));
        options.mirrors.push(mirror);
        options
    }

    fn docker_config(&self) -> PathBuf {
        self.folder.path().join("docker/config.json")
    }

    /// Writes docker's file with logins.
    fn logins(&self, text: &str) {
        let path = self.docker_config();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn store(&self) -> Store {
        self.store_with(self.options())
    }

    fn store_with(&self, options: FetchOptions) -> Store {
        let job = Job {
            progress: self.notes.clone(),
            cancel: Cancel::default(),
        };
        Store::new(options, job).unwrap()
    }

    fn resolve(&self, name: &str) -> Result<ImageEntry> {
        ContainerImages::new(&self.store()).resolve(&ImageName::parse(name).unwrap())
    }

    fn fetch(&self, entry: &ImageEntry) -> Result<ArchivedImage> {
        ContainerImages::new(&self.store()).fetch(entry)
    }

    /// Resolves and fetches.
    fn pull(&self, name: &str) -> Result<ArchivedImage> {
        self.resolve(name).and_then(|entry| self.fetch(&entry))
    }

    fn was_noted(&self, text: &str) -> bool {
        let notes = self.notes.0.lock().unwrap();
        notes.iter().any(|note| note.contains(text))
    }
}

/// An error with all its causes, as one text.
fn whole(error: &Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

#[track_caller]
fn assert_error<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let Err(error) = result else {
        panic!("no error with {parts:?}");
    };
    let text = whole(&error);
    assert_eq!(error.kind(), kind, "{text}");
    let hint = error.hint().unwrap_or_default();
    assert!(!hint.is_empty(), "no hint: {text}");
    let all = format!("{text}\n{hint}");
    for part in parts {
        assert!(all.contains(part), "`{part}` is not in: {all}");
    }
}
