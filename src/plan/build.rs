//! Makes a plan from a node, its roles and their overlays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::attributes::attr_of;
use super::edit::{Action, Attr, Content, Edit, When, edit};
use super::file_bytes::FileBytes;
use super::identity::{identity_edits, password_hash};
use super::images::RoleImages;
use super::manifests::{local_manifest, manifest_files};
use super::node_plan::Plan;
use super::order::sort;
use super::packages::role_packages;
use super::role_accounts::system_accounts;
use super::role_payloads::PayloadPlanner;
use super::ssh_keys::{check_sudo, read_ssh_keys};
use crate::config::{Kind, Node, Value};
use crate::error::{Error, Result, ResultExt};
use crate::overlay::{
    Catalog, ClusterContext, FileKind, Findings, NodeContext, OverlayFile, Part, Renderer, Role,
    check_rules, check_secrets, parse_mode,
};
use crate::problem::Problem;
use crate::problems::Problems;
use crate::secrets::SecretAccess;

/// Plans one node of the cluster that `shared` describes.
pub fn plan_node(
    catalog: &Catalog,
    shared: &ClusterContext,
    node: &Node,
    secrets: &SecretAccess,
) -> Result<Plan> {
    let roles = catalog.roles_of(node)?;
    let mut findings = Findings::default();
    let problems = &mut findings.problems;
    let ssh_keys = read_ssh_keys(node, secrets.vault(), problems);
    check_sudo(node, problems);
    let password_hash = problems.keep(password_hash(node, secrets))?.flatten();
    let context = NodeContext::new(shared, node, &ssh_keys);
    let mut renderers = Vec::new();
    for role in &roles {
        let renderer = Renderer::new(role, node, context.of_role(role), secrets.clone());
        check_secrets(role, &roles, node, &renderer, &mut findings.problems)?;
        let checked = check_rules(node, role, &renderer, true, &mut findings);
        findings.problems.keep(checked)?;
        renderers.push((*role, renderer));
    }
    let (mut packages, mut images) = (BTreeSet::new(), RoleImages::default());
    for (role, renderer) in &renderers {
        let found = findings.problems.keep(role_packages(role, renderer))?;
        packages.extend(found.unwrap_or_default());
        findings.problems.keep(images.add(role, renderer))?;
    }
    findings.problems.report()?;
    let packages: Vec<String> = packages.into_iter().collect();
    for (_, renderer) in &mut renderers {
        renderer.know_packages(&packages);
    }
    let (mut edits, mut next) = (Vec::new(), Vec::new());
    for (role, renderer) in &renderers {
        let planner = RolePlanner {
            role,
            renderer,
            project: secrets.vault().project(),
        };
        edits.extend(planner.edits()?);
        next.extend(planner.words(&role.manifest.next)?);
    }
    edits.extend(node_boot_edits(node));
    let identity = identity_edits(node, &ssh_keys, password_hash)?;
    edits.extend(identity.edits);
    refuse_collisions(&edits)?;
    manifest_files(&edits, local_manifest)?;
    sort(&mut edits);
    Ok(Plan {
        profile: node.profile.clone(),
        hostname: node.hostname.clone(),
        identity: node.first_boot,
        instance_id: identity.instance_id,
        edits,
        packages,
        pinned: Vec::new(),
        images: images.names,
        images_of_manifests: images.of_manifests,
        pinned_images: Vec::new(),
        image_size: node.disk.size,
        spare: node.disk.spare,
        table: node.disk.table,
        next,
    })
}

/// Two edits that put something at the same path contradict each other.
fn refuse_collisions(edits: &[Edit]) -> Result<()> {
    let mut seen: BTreeMap<(Part, &str, When), &str> = BTreeMap::new();
    for edit in edits {
        if !matches!(edit.action, Action::Write(..) | Action::Symlink(_)) {
            continue;
        }
        let key = (edit.part, edit.path.as_str(), edit.when);
        if let Some(other) = seen.insert(key, &edit.origin) {
            return Err(Error::usage(format!(
                "the roles `{other}` and `{}` both write {} of the {} partition",
                edit.origin,
                edit.path,
                edit.part.name()
            )));
        }
    }
    Ok(())
}

/// Additions to config.txt and cmdline.txt that the profile itself makes.
fn node_boot_edits(node: &Node) -> Vec<Edit> {
    let mut edits = Vec::new();
    if !node.boot.config_txt.is_empty() {
        let action = Action::ConfigTxt(node.boot.config_txt.clone());
        edits.push(edit(Part::Boot, "/config.txt", "profile", action));
    }
    if !node.boot.cmdline.is_empty() {
        let action = Action::Cmdline {
            add: node.boot.cmdline.clone(),
            remove: Vec::new(),
        };
        edits.push(edit(Part::Boot, "/cmdline.txt", "profile", action));
    }
    edits
}

struct RolePlanner<'a> {
    role: &'a Role,
    renderer: &'a Renderer,
    /// Relative paths start here.
    project: &'a Path,
}

impl RolePlanner<'_> {
    fn edits(&self) -> Result<Vec<Edit>> {
        let mut edits = Vec::new();
        for file in &self.role.files {
            edits.extend(self.file(file)?);
        }
        let of_role = PayloadPlanner::new(self.role, self.renderer, self.project);
        for payload in &self.role.manifest.payload {
            edits.extend(of_role.edits(payload)?);
        }
        for manifest in &self.role.manifest.manifest {
            edits.extend(of_role.manifest(manifest)?);
        }
        edits.extend(system_accounts(self.role, self.renderer)?);
        self.tables(&mut edits)?;
        self.boot(&mut edits)?;
        self.units(&mut edits)?;
        Ok(edits)
    }

    fn edit(&self, part: Part, path: &str, action: Action) -> Edit {
        edit(part, path, &self.role.name, action)
    }

    /// Whether `[when]` lets `path` be there.
    fn is_there(&self, path: &str) -> Result<bool> {
        let condition = self.role.manifest.when.get(path);
        self.renderer.holds(condition.map(String::as_str))
    }

    fn file(&self, file: &OverlayFile) -> Result<Option<Edit>> {
        if !self.is_there(&file.path)? {
            return Ok(None);
        }
        let (bytes, secret) = match &file.kind {
            FileKind::Link(target) => {
                let action = Action::Symlink(target.clone());
                return Ok(Some(self.edit(file.part, &file.path, action)));
            }
            FileKind::Bytes(bytes) => (bytes.clone(), false),
            FileKind::File(path) => {
                let bytes =
                    std::fs::read(path).context(|| format!("reading {}", path.display()))?;
                (bytes, false)
            }
            FileKind::Template(text) => {
                let rendered = self.renderer.render(&file.source, text)?;
                (rendered.text.into_bytes(), rendered.secret)
            }
        };
        let attr = attr_of(self.role, self.renderer, &file.path, 0o644)?;
        if secret {
            keep_secret(file, attr)?;
        }
        let action = Action::Write(Content::Bytes(FileBytes::new(bytes, secret)), attr);
        Ok(Some(self.edit(file.part, &file.path, action)))
    }

    /// [directories], [links], [remove], and modes or owners of what the base has.
    fn tables(&self, edits: &mut Vec<Edit>) -> Result<()> {
        let manifest = &self.role.manifest;
        for (path, mode) in &manifest.directories {
            if self.is_there(path)? {
                let mode = parse_mode(mode).map_err(Error::usage)?;
                let action = Action::Directory(attr_of(self.role, self.renderer, path, mode)?);
                edits.push(self.edit(Part::Root, path, action));
            }
        }
        for (path, target) in &manifest.links {
            if self.is_there(path)? {
                let action = Action::Symlink(self.renderer.text(target)?);
                edits.push(self.edit(Part::Root, path, action));
            }
        }
        for path in &manifest.remove.paths {
            if self.is_there(path)? {
                edits.push(self.edit(Part::Root, path, Action::Remove));
            }
        }
        for path in manifest.modes.keys().chain(manifest.owners.keys()) {
            let brought = edits.iter().any(|e| e.path == *path)
                || self.role.files.iter().any(|f| f.path == *path);
            if !brought && manifest.modes.contains_key(path) && self.is_there(path)? {
                let action = Action::SetAttr(attr_of(self.role, self.renderer, path, 0o755)?);
                edits.push(self.edit(Part::Root, path, action));
            }
        }
        Ok(())
    }

    fn boot(&self, edits: &mut Vec<Edit>) -> Result<()> {
        let manifest = &self.role.manifest;
        let add = self.words(&manifest.cmdline.add)?;
        self.check_words(Kind::KernelWord, "[cmdline]", &manifest.cmdline.add)?;
        let remove = self.words(&manifest.cmdline.remove)?;
        if !add.is_empty() || !remove.is_empty() {
            let action = Action::Cmdline { add, remove };
            edits.push(self.edit(Part::Boot, "/cmdline.txt", action));
        }
        let lines = lines_of(&self.words(&manifest.config_txt.lines)?);
        self.check_words(Kind::ConfigLine, "[config_txt]", &manifest.config_txt.lines)?;
        if !lines.is_empty() {
            let action = Action::ConfigTxt(lines);
            edits.push(self.edit(Part::Boot, "/config.txt", action));
        }
        Ok(())
    }

    /// What holds for the words of a profile holds for those of a project's role. The built-in roles
    /// set what profiles have keys for.
    fn check_words(&self, kind: Kind, table: &str, texts: &[String]) -> Result<()> {
        let own = texts
            .iter()
            .filter(|text| !self.role.built_in_words.contains(text));
        let own: Vec<String> = own.cloned().collect();
        let mut problems = Problems::new();
        for word in lines_of(&self.words(&own)?) {
            if is_seen_in_base(&word) {
                continue;
            }
            if let Err(why) = kind.check(&Value::Text(word)) {
                let place = format!("{}/role.toml", self.role.label);
                problems.push(Problem::new(place, format!("{table}: {why}")));
            }
        }
        problems.report()
    }

    /// Rendered texts; those that come out empty are left out.
    fn words(&self, texts: &[String]) -> Result<Vec<String>> {
        let mut words = Vec::new();
        for text in texts {
            let word = self.renderer.text(text)?.trim().to_owned();
            if !word.is_empty() {
                words.push(word);
            }
        }
        Ok(words)
    }

    fn units(&self, edits: &mut Vec<Edit>) -> Result<()> {
        let units = &self.role.manifest.units;
        for (names, action) in [
            (&units.enable, Action::EnableUnit),
            (&units.disable, Action::DisableUnit),
            (&units.mask, Action::MaskUnit),
        ] {
            for name in self.words(names)? {
                if self.is_there(&name)? {
                    edits.push(self.edit(Part::Root, &name, action.clone()));
                }
            }
        }
        Ok(())
    }
}

/// The lines of texts, without empty ones.
fn lines_of(texts: &[String]) -> Vec<String> {
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What a role may mean by these words depends on the base, and is judged there.
fn is_seen_in_base(word: &str) -> bool {
    word.starts_with("root=") || word.starts_with("cloud-init=")
}

/// A file with a secret lies in the root file system and only its owner can read it.
fn keep_secret(file: &OverlayFile, attr: Attr) -> Result<()> {
    if file.part == Part::Boot {
        return Err(Error::refused(format!(
            "{}: a secret cannot go onto the boot partition, where everybody who holds the card can read it",
            file.source
        )));
    }
    if attr.mode & 0o077 != 0 {
        return Err(Error::refused(format!(
            "{}: {} holds a secret but has mode {:04o}",
            file.source, file.path, attr.mode
        ))
        .with_hint(format!(
            "[modes] of role.toml: \"{}\" = \"0600\"",
            file.path
        )));
    }
    Ok(())
}
