//! Raspberry Pi Imager's list of operating systems, and the aliases looked up in it.
//!
//! The list is a tree: an item is an operating system, a node with `subitems`, or a node whose
//! children are in another file, `subitems_url`.

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::suggest::did_you_mean;
use crate::url::Url;

/// An alias of a base image and the folder of the download server that its images lie in. The
/// folder is matched, not the name shown to people, as that changes.
const ALIASES: [(&str, &str); 2] = [
    ("raspios-lite-arm64", "raspios_lite_arm64"),
    (
        "raspios-oldstable-lite-arm64",
        "raspios_oldstable_lite_arm64",
    ),
];

const MAX_DEPTH: usize = 16;
const MAX_ITEMS: usize = 50_000;
const MAX_FILES: usize = 64;

/// The names that stand for a base image.
pub fn aliases() -> impl Iterator<Item = &'static str> {
    ALIASES.iter().map(|(alias, _)| *alias)
}

/// An operating system of the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    pub url: Url,
    pub release_date: String,
    pub download_size: Option<u64>,
    pub download_sha256: Option<Digest>,
    pub extract_size: Option<u64>,
    pub extract_sha256: Option<Digest>,
}

/// The newest entry that `alias` stands for. `fetch` reads a file of the list from its URL.
pub(super) fn resolve(
    alias: &str,
    index_url: &str,
    fetch: &mut dyn FnMut(&str) -> Result<String>,
) -> Result<Entry> {
    let folder = folder_of(alias)?;
    let mut walk = Walk::new(folder);
    walk.read(&fetch(index_url)?, index_url)?;
    while walk.found.is_none() {
        let Some(url) = walk.next_link()? else {
            return Err(walk.nothing_found(alias, index_url));
        };
        let read = fetch(&url).and_then(|text| walk.read(&text, &url));
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => walk.unreadable.push(error),
            Ok(()) => {}
        }
    }
    walk.found.take().map_or_else(
        || Err(walk.nothing_found(alias, index_url)),
        |item| entry(&item),
    )
}

fn folder_of(alias: &str) -> Result<&'static str> {
    if let Some((_, folder)) = ALIASES.iter().find(|(known, _)| *known == alias) {
        return Ok(folder);
    }
    let known: Vec<_> = aliases().collect();
    let hint = did_you_mean(alias, &known).map_or(String::new(), |asked| format!("{asked} "));
    Err(
        Error::usage(format!("there is no base image called `{alias}`")).with_hint(format!(
            "{hint}known are {}; a URL with its sha256 or the path of an image file do as well",
            known.join(", ")
        )),
    )
}

/// A walk through the list, breadth first over its files: those of other systems' vendors are read
/// only when what is wanted was not in those before.
struct Walk {
    folder: &'static str,
    found: Option<Value>,
    links: VecDeque<String>,
    seen: BTreeSet<String>,
    files: usize,
    items: usize,
    unreadable: Vec<Error>,
}

impl Walk {
    fn new(folder: &'static str) -> Self {
        Self {
            folder,
            found: None,
            links: VecDeque::new(),
            seen: BTreeSet::new(),
            files: 0,
            items: 0,
            unreadable: Vec::new(),
        }
    }

    fn read(&mut self, text: &str, url: &str) -> Result<()> {
        self.seen.insert(url.to_owned());
        let broken = || Error::failed(format!("{url} is not an Imager list of operating systems"));
        let document: Value = serde_json::from_str(text).map_err(|error| {
            broken().with_source(error).with_hint(
                "a proxy or login page may have answered instead; look at the URL in a browser",
            )
        })?;
        let items = match &document {
            Value::Array(items) => items,
            other => other
                .get("os_list")
                .and_then(Value::as_array)
                .ok_or_else(|| broken().with_hint("it has no `os_list`"))?,
        };
        self.visit(items, 0)
    }

    fn visit(&mut self, items: &[Value], depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.too_large("nested deeper", MAX_DEPTH));
        }
        for item in items {
            self.items += 1;
            if self.items > MAX_ITEMS {
                return Err(self.too_large("longer", MAX_ITEMS));
            }
            if self.is_wanted(item) && self.is_newer(item) {
                self.found = Some(item.clone());
            }
            if let Some(children) = item.get("subitems").and_then(Value::as_array) {
                self.visit(children, depth + 1)?;
            }
            if let Some(link) = text(item, "subitems_url")
                && self.seen.insert(link.to_owned())
            {
                self.links.push_back(link.to_owned());
            }
        }
        Ok(())
    }

    fn next_link(&mut self) -> Result<Option<String>> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(self.too_large("spread over more files", MAX_FILES));
        }
        Ok(self.links.pop_front())
    }

    fn is_wanted(&self, item: &Value) -> bool {
        text(item, "url").is_some_and(|url| url.split('/').any(|part| part == self.folder))
    }

    fn is_newer(&self, item: &Value) -> bool {
        let date = |item| text(item, "release_date").unwrap_or_default().to_owned();
        self.found
            .as_ref()
            .is_none_or(|found| date(item) > date(found))
    }

    fn too_large(&self, how: &str, limit: usize) -> Error {
        Error::failed(format!(
            "the list of operating systems is {how} than {limit}; it is not read further"
        ))
        .with_hint("name the image by URL and sha256 in the profile instead")
    }

    fn nothing_found(&mut self, alias: &str, index_url: &str) -> Error {
        let error = Error::failed(format!(
            "{index_url} lists no image in a folder `{}`, which is what `{alias}` stands for{}",
            self.folder,
            match self.unreadable.len() {
                0 => String::new(),
                n => format!("; {n} of the lists it refers to could not be read"),
            }
        ))
        .with_hint("name the image by URL and sha256 in the profile instead");
        match self.unreadable.pop() {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }
}

fn entry(item: &Value) -> Result<Entry> {
    let url = Url::parse(text(item, "url").unwrap_or_default())
        .context(|| "in the list of operating systems".into())?;
    let digest = |key: &str| match text(item, key) {
        None | Some("") => Ok(None),
        Some(hex) => Digest::parse(hex).map(Some).ok_or_else(|| {
            Error::failed(format!(
                "the list of operating systems gives `{hex}` as {key} of {url}"
            ))
            .with_hint("a sha256 is 64 hexadecimal digits; try again later")
        }),
    };
    let size = |key: &str| {
        item.get(key)
            .and_then(Value::as_u64)
            .filter(|&size| size > 0)
    };
    Ok(Entry {
        name: text(item, "name").unwrap_or("Raspberry Pi OS").to_owned(),
        release_date: text(item, "release_date").unwrap_or_default().to_owned(),
        download_size: size("image_download_size"),
        download_sha256: digest("image_download_sha256")?,
        extract_size: size("extract_size"),
        extract_sha256: digest("extract_sha256")?,
        url,
    })
}

fn text<'a>(item: &'a Value, key: &str) -> Option<&'a str> {
    item.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const INDEX: &str = "http://x/index.json";

    fn image(folder: &str, date: &str) -> Value {
        json!({
            "name": "Raspberry Pi OS Lite (64-bit)",
            "url": format!("http://x/{folder}/images/{folder}-{date}/{date}-lite.img.xz"),
            "release_date": date,
            "extract_size": 3_078_619_136u64,
            "extract_sha256": "B8".repeat(32),
            "image_download_size": 550_466_056,
        })
    }

    fn resolve_in(files: &[(&str, Value)], alias: &str) -> Result<(Entry, Vec<String>)> {
        let mut asked = Vec::new();
        let entry = resolve(alias, INDEX, &mut |url| {
            asked.push(url.to_owned());
            let file = files.iter().find(|(name, _)| *name == url);
            file.map(|(_, json)| json.to_string())
                .ok_or_else(|| Error::failed(format!("no {url}")))
        })?;
        Ok((entry, asked))
    }

    #[test]
    fn nested_subitems_are_walked_and_the_newest_wins() {
        let list = json!({"imager": {}, "os_list": [
            image("raspios_arm64", "2026-12-31"),
            {"name": "Other", "subitems": [
                image("raspios_lite_arm64", "2026-06-18"),
                {"subitems": [image("raspios_lite_arm64", "2026-10-06")]},
                image("raspios_lite_arm64", "2025-12-04"),
                image("raspios_oldstable_lite_arm64", "2026-11-01"),
            ]},
            {"name": "Vendor", "subitems_url": "http://x/vendor.json"},
        ]});
        let (entry, asked) = resolve_in(&[(INDEX, list)], "raspios-lite-arm64").unwrap();
        assert_eq!(entry.release_date, "2026-10-06");
        assert_eq!(entry.extract_size, Some(3_078_619_136));
        assert_eq!(entry.extract_sha256.unwrap().to_string(), "b8".repeat(32));
        assert_eq!(entry.download_sha256, None);
        assert_eq!(asked, [INDEX]);
    }

    #[test]
    fn linked_files_are_followed_even_when_they_form_a_cycle() {
        let index = json!({"os_list": [
            {"subitems_url": "http://x/gone.json"}, {"subitems_url": "http://x/a.json"}]});
        let a = json!({"os_list": [
            {"subitems_url": INDEX}, {"subitems_url": "http://x/a.json"}, {"subitems_url": "http://x/b.json"}]});
        let b = json!([image("raspios_oldstable_lite_arm64", "2026-09-15")]);
        let files = [
            (INDEX, index),
            ("http://x/a.json", a),
            ("http://x/b.json", b),
        ];
        let (entry, _) = resolve_in(&files, "raspios-oldstable-lite-arm64").unwrap();
        assert_eq!(entry.release_date, "2026-09-15");
        let error = resolve_in(&files, "raspios-lite-arm64").unwrap_err();
        assert!(error.to_string().contains("raspios_lite_arm64"), "{error}");
        assert!(error.to_string().contains("1 of the lists"), "{error}");
    }

    #[test]
    fn an_endless_chain_of_files_is_given_up() {
        let mut count = 0;
        let error = resolve("raspios-lite-arm64", INDEX, &mut |_| {
            count += 1;
            Ok(json!({"os_list": [{"subitems_url": format!("http://x/{count}")}]}).to_string())
        })
        .unwrap_err();
        assert!(error.to_string().contains("more files than 64"), "{error}");
        assert!(count <= MAX_FILES + 1);
    }

    #[test]
    fn a_deep_tree_is_given_up() {
        let mut item = image("raspios_lite_arm64", "2026-10-06");
        for _ in 0..MAX_DEPTH + 1 {
            item = json!({"subitems": [item]});
        }
        let error =
            resolve_in(&[(INDEX, json!({"os_list": [item]}))], "raspios-lite-arm64").unwrap_err();
        assert!(
            error.to_string().contains("nested deeper than 16"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_alias_lists_the_known_and_names_the_nearest() {
        let error = resolve_in(&[], "raspios-lite-amd64").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains("`raspios-lite-amd64`"));
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("did you mean `raspios-lite-arm64`?"),
            "{hint}"
        );
        assert!(hint.contains("raspios-oldstable-lite-arm64"), "{hint}");
    }

    #[test]
    fn what_is_not_a_list_is_named() {
        let error = resolve("raspios-lite-arm64", INDEX, &mut |_| Ok("<html>".into())).unwrap_err();
        assert!(error.to_string().contains(INDEX), "{error}");
        assert!(error.hint().unwrap().contains("login page"));
        let mut bad = image("raspios_lite_arm64", "2026-10-06");
        bad["image_download_sha256"] = json!("12ab");
        let error =
            resolve_in(&[(INDEX, json!({"os_list": [bad]}))], "raspios-lite-arm64").unwrap_err();
        assert!(error.to_string().contains("`12ab`"), "{error}");
    }
}
