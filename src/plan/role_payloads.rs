//! The payloads of a role: what is fetched, and what of it goes where.

use std::path::Path;

use minijinja::Value;

use super::attributes::attr_of;
use super::edit::{Action, Content, Edit, edit};
use super::payload::{PayloadRef, Unpack};
use super::role_manifests::manifest_edits;
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::home_path::expand;
use crate::lock::{Location, PayloadRequest};
use crate::overlay::{ManifestSpec, Member, Part, Payload, Renderer, Role, clean_path, parse_mode};
use crate::url::Url;

/// Plans the payloads of one role on one node.
pub struct PayloadPlanner<'a> {
    role: &'a Role,
    renderer: &'a Renderer,
    /// Relative paths start here.
    project: &'a Path,
}

impl<'a> PayloadPlanner<'a> {
    pub fn new(role: &'a Role, renderer: &'a Renderer, project: &'a Path) -> Self {
        Self {
            role,
            renderer,
            project,
        }
    }

    /// What `payload` puts into the image, once for each of its items.
    pub fn edits(&self, payload: &Payload) -> Result<Vec<Edit>> {
        self.of_items(payload, None)
    }

    /// The same of a manifest, with what is changed of it.
    pub fn manifest(&self, manifest: &ManifestSpec) -> Result<Vec<Edit>> {
        self.of_items(&manifest.payload(), Some(manifest))
    }

    fn of_items(&self, payload: &Payload, manifest: Option<&ManifestSpec>) -> Result<Vec<Edit>> {
        let items = match &payload.each {
            Some(list) => self.renderer.items(list)?,
            None => vec![Value::UNDEFINED],
        };
        let mut edits = Vec::new();
        for item in items {
            let of_item = ItemPlanner {
                all: self,
                payload,
                manifest,
                item,
            };
            edits.extend(of_item.edits()?);
        }
        Ok(edits)
    }
}

/// One payload, of one item where it has `each`.
struct ItemPlanner<'a> {
    all: &'a PayloadPlanner<'a>,
    payload: &'a Payload,
    manifest: Option<&'a ManifestSpec>,
    item: Value,
}

impl ItemPlanner<'_> {
    fn edits(&self) -> Result<Vec<Edit>> {
        if !self.holds()? {
            return Ok(Vec::new());
        }
        let whole = self.whole()?;
        let mut edits = Vec::new();
        for member in &self.payload.members {
            edits.push(self.member(member, &whole)?);
        }
        edits.insert(
            0,
            self.place(&self.payload.path, &self.payload.mode, whole)?,
        );
        Ok(edits)
    }

    fn holds(&self) -> Result<bool> {
        match &self.payload.when {
            Some(condition) => Ok(self.all.renderer.eval(condition, &self.item)?.is_true()),
            None => Ok(true),
        }
    }

    /// A text of role.toml; an empty one is none.
    fn render(&self, text: &Option<String>) -> Result<Option<String>> {
        let text = text.as_deref().map(|text| self.text(text)).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn text(&self, text: &str) -> Result<String> {
        self.all.renderer.text_of(text, &self.item)
    }

    fn where_written(&self) -> String {
        let role = &self.all.role.label;
        let raw = &self.payload.name;
        let name = self.text(raw).unwrap_or_else(|_| raw.clone());
        format!("{role}/role.toml: payload {name}")
    }

    fn usage(&self, why: String) -> Error {
        Error::usage(format!("{}: {why}", self.where_written()))
    }

    fn whole(&self) -> Result<PayloadRef> {
        let payload = self.payload;
        let unpack = payload.unpack.then_some(Unpack::Tree);
        let manifest = self.manifest;
        let manifest = manifest.map(|spec| manifest_edits(self.all.renderer, spec, &self.item));
        Ok(PayloadRef {
            request: self.request()?,
            member: self.render(&payload.member)?,
            replace: Vec::new(),
            unpack,
            strip: payload.strip,
            elf: payload.elf.clone(),
            manifest: manifest.transpose()?,
        })
    }

    fn request(&self) -> Result<PayloadRequest> {
        let payload = self.payload;
        let place = || self.where_written();
        let location = match (self.render(&payload.file)?, self.render(&payload.url)?) {
            (Some(file), _) => Location::File(expand(&file, self.all.project)),
            (None, Some(url)) => Location::Url(Url::parse(&url).context(place)?),
            (None, None) => {
                return Err(self.usage("neither `file` nor `url` has a value".into()));
            }
        };
        let name = self.text(&payload.name)?;
        let sums = self.render(&payload.sums)?;
        let sums = sums.map(|sums| Location::parse(&sums).context(place));
        let sha256 = self.render(&payload.sha256)?;
        let sha256 = sha256.map(|text| Digest::given(&text, &name));
        Ok(PayloadRequest {
            location,
            sha256: sha256.transpose()?,
            sums: sums.transpose()?,
            first_use: payload.pin,
            name,
        })
    }

    fn place(&self, path: &str, mode: &str, what: PayloadRef) -> Result<Edit> {
        let path = clean_path(&self.text(path)?).map_err(|why| self.usage(why))?;
        let role = self.all.role;
        let action = if what.unpack.is_some() {
            Action::Unpack(Box::new(what))
        } else {
            let mode = parse_mode(mode).map_err(|why| self.usage(why))?;
            let attr = attr_of(role, self.all.renderer, &path, mode)?;
            Action::Write(Content::Payload(Box::new(what)), attr)
        };
        Ok(edit(Part::Root, &path, &role.name, action))
    }

    fn member(&self, member: &Member, whole: &PayloadRef) -> Result<Edit> {
        let mode = parse_mode(&member.mode).map_err(|why| self.usage(why))?;
        let mut replace = Vec::new();
        for (text, by) in &member.replace {
            replace.push((self.text(text)?, self.text(by)?));
        }
        let part = PayloadRef {
            member: Some(self.text(&member.from)?),
            unpack: member.is_pattern().then_some(Unpack::Files(mode)),
            replace,
            elf: None,
            ..whole.clone()
        };
        self.place(&member.to, &member.mode, part)
    }
}
