//! Values of a profile that only the base can judge.

use std::collections::BTreeSet;

use super::case::Case;
use super::edits::{account_of, brings};
use crate::config::{Kind, Node, Schema};
use crate::error::Result;
use crate::image::{Layouts, Zones};
use crate::overlay::Role;
use crate::patch::accounts;
use crate::problem::Problem;
use crate::problems::Problems;
use crate::suggest::nearest;

/// Locales that the C library brings along, whatever can be compiled.
const BUILT_IN_LOCALES: &[&str] = &["C", "C.UTF-8", "POSIX"];
/// What makes a file a program that somebody can start.
const EXECUTABLE: u32 = 0o111;

/// A key, its values, and what each of them is.
struct Setting<'a> {
    key: String,
    kind: Kind,
    values: Vec<&'a str>,
}

/// Why a value does not do, and what to do about it.
struct Flaw {
    what: String,
    hint: Option<String>,
}

impl Flaw {
    fn new(what: String, hint: Option<String>) -> Self {
        Self { what, hint }
    }
}

/// Checks the values of the node.
pub fn check(case: &Case<'_>, problems: &mut Problems) -> Result<()> {
    let Case { node, roles, .. } = *case;
    for setting in core_settings(node).into_iter().chain(options(node, roles)) {
        for value in setting.values {
            if let Some(flaw) = case.flaw(setting.kind, value)? {
                let place = node.origin(&setting.key);
                let what = format!("`{}`: {}", setting.key, flaw.what);
                problems.push(Problem::new(place, what).with_maybe_hint(flaw.hint));
            }
        }
    }
    Ok(())
}

fn core_settings(node: &Node) -> Vec<Setting<'_>> {
    let locale = &node.locale;
    // The groups of Raspberry Pi OS's own user are a wish: a small base does not have all of them.
    let wishes = default_groups();
    let groups = node.user.groups.iter().filter(|g| !wishes.contains(*g));
    let country = locale.wifi_country.as_deref();
    [
        (
            "locale.timezone",
            Kind::TimeZone,
            vec![locale.timezone.as_str()],
        ),
        ("locale.lang", Kind::Locale, vec![&locale.lang]),
        ("locale.keyboard", Kind::Keyboard, vec![&locale.keyboard]),
        (
            "locale.wifi_country",
            Kind::Country,
            country.into_iter().collect(),
        ),
        ("user.shell", Kind::Shell, vec![&node.user.shell]),
        (
            "user.groups",
            Kind::GroupName,
            groups.map(String::as_str).collect(),
        ),
    ]
    .into_iter()
    .map(|(key, kind, values)| Setting {
        key: key.to_owned(),
        kind,
        values,
    })
    .collect()
}

fn default_groups() -> BTreeSet<String> {
    let schema = Schema::core();
    let user = schema.tables().find(|table| table.name == "user");
    let fields = user.into_iter().flat_map(|table| &table.fields);
    fields
        .filter(|field| field.name == "groups")
        .filter_map(|field| field.default.as_ref())
        .flat_map(|default| default.texts())
        .collect()
}

/// Options of the node's roles that are strings or lists of them. An empty one is none.
fn options<'a>(node: &'a Node, roles: &'a [&'a Role]) -> impl Iterator<Item = Setting<'a>> {
    let all = roles.iter().flat_map(|role| {
        let options = role.manifest.options.iter();
        options.map(move |(name, spec)| (&role.name, name, spec))
    });
    all.filter_map(|(role, name, spec)| {
        let value = node.options.get(role)?.get(name)?;
        let texts = value.as_array().map_or(std::slice::from_ref(value), |v| v);
        let texts = texts.iter().filter_map(|text| text.as_str());
        Some(Setting {
            key: format!("{role}.{name}"),
            kind: spec.of.unwrap_or(spec.kind),
            values: texts.filter(|text| !text.is_empty()).collect(),
        })
    })
}

impl Case<'_> {
    fn flaw(&self, kind: Kind, value: &str) -> Result<Option<Flaw>> {
        match kind {
            Kind::TimeZone => self.time_zone(value),
            Kind::Locale => self.locale(value),
            Kind::Keyboard => self.keyboard(value),
            Kind::Shell => self.shell(value),
            Kind::GroupName => self.group(value),
            Kind::Country => self.wifi_country(value),
            Kind::DiskLabel => Ok(self.label(value)),
            _ => Ok(None),
        }
    }

    fn time_zone(&self, zone: &str) -> Result<Option<Flaw>> {
        let path = format!("/usr/share/zoneinfo/{zone}");
        if brings(self.edits, &path) || self.facts.is_zone(zone)? {
            return Ok(None);
        }
        let hint = zone_hint(zone, self.facts.zones()?);
        let what = format!("the base has no time zone `{zone}`");
        Ok(Some(Flaw::new(what, Some(hint))))
    }

    fn locale(&self, lang: &str) -> Result<Option<Flaw>> {
        let known = self.facts.locales()?;
        let wanted = crate::plan::locale_line(lang);
        if known.is_empty() || known.contains(&wanted) || BUILT_IN_LOCALES.contains(&lang) {
            return Ok(None);
        }
        let others = known.iter().filter_map(|line| line.split_once(' '));
        let what = match others.clone().find(|(name, _)| *name == lang) {
            Some((_, charset)) => format!("the base's `{lang}` is {charset}, not UTF-8"),
            None => format!("the base has no locale `{lang}`"),
        };
        // Of those that would do, not of all that there are.
        let names: Vec<&str> = others
            .map(|(name, _)| name)
            .filter(|name| known.contains(&crate::plan::locale_line(name)))
            .collect();
        let hint = locale_hint(lang, &names);
        Ok(Some(Flaw::new(what, Some(hint))))
    }

    fn keyboard(&self, keyboard: &str) -> Result<Option<Flaw>> {
        let layouts = self.facts.layouts()?;
        if layouts.is_empty() {
            return Ok(None);
        }
        for part in keyboard.split(',') {
            if let Some(flaw) = keyboard_flaw(part, layouts) {
                return Ok(Some(flaw));
            }
        }
        Ok(None)
    }

    fn shell(&self, shell: &str) -> Result<Option<Flaw>> {
        if brings(self.edits, shell) {
            return Ok(None);
        }
        // A file system without any shell is a part of a system: it cannot tell.
        if self.facts.target("/bin/sh")?.is_none() && self.facts.target("/bin/bash")?.is_none() {
            return Ok(None);
        }
        let listed = self.facts.shells()?;
        let what = match self.facts.target(shell)? {
            None => format!("the base has no `{shell}`: nobody could log in"),
            Some(stat)
                if stat.mode & EXECUTABLE == 0 || stat.kind != crate::ext4::FileKind::File =>
            {
                format!("`{shell}` of the base is not a program")
            }
            Some(_) if brings(self.edits, "/etc/shells") => return Ok(None),
            Some(_) => match listed {
                Some(shells) if !shells.contains(shell) => {
                    format!(
                        "`{shell}` is not a login shell: the base's /etc/shells does not list it"
                    )
                }
                _ => return Ok(None),
            },
        };
        Ok(Some(Flaw::new(what, self.shell_hint(listed)?)))
    }

    fn shell_hint(&self, listed: Option<&BTreeSet<String>>) -> Result<Option<String>> {
        let mut there = Vec::new();
        for shell in listed.into_iter().flatten() {
            if self.facts.target(shell)?.is_some() {
                there.push(format!("`{shell}`"));
            }
        }
        Ok(match there.is_empty() {
            true => Some("`/bin/bash` is the shell of Raspberry Pi OS".to_owned()),
            false => Some(format!("its login shells are {}", there.join(", "))),
        })
    }

    fn group(&self, group: &str) -> Result<Option<Flaw>> {
        let base = self.facts.accounts()?;
        let account = self.edits.iter().find_map(|edit| account_of(edit));
        let first = account.and_then(|a| accounts::first_user(&base.passwd, a.uid));
        let own = account.map(|a| a.name.as_str());
        // The group of the base's first user is renamed with the user.
        let names: Vec<&str> = accounts::group_names(&base.group)
            .filter(|name| first.as_ref().is_none_or(|user| user.name != *name))
            .chain(own)
            .collect();
        if names.contains(&group) || brings(self.edits, "/etc/group") {
            return Ok(None);
        }
        let hint = nearest(group, &names).map(|near| format!("did you mean `{near}`?"));
        Ok(Some(Flaw::new(
            format!("the base has no group `{group}`"),
            hint,
        )))
    }

    fn wifi_country(&self, country: &str) -> Result<Option<Flaw>> {
        let Some(countries) = self.facts.countries()? else {
            return Ok(None);
        };
        if countries.contains(country) {
            return Ok(None);
        }
        let what = format!("the base's Wi-Fi rules know no country `{country}`");
        let hint = "write the country's ISO 3166 code, such as `GB` or `DE`".to_owned();
        Ok(Some(Flaw::new(what, Some(hint))))
    }

    fn label(&self, label: &str) -> Option<Flaw> {
        let mut labels = self.facts.base().labels.iter();
        let (_, owner) = labels.find(|(known, _)| known == label)?;
        let what = format!("`{label}` is the label of the base's own {owner}");
        Some(Flaw::new(what, Some("choose another label".to_owned())))
    }
}

fn zone_hint(zone: &str, zones: &Zones) -> String {
    if let Some(modern) = modern_name(zone, zones) {
        return format!("write `{modern}`: `{zone}` is its old name, which only tzdata-legacy has");
    }
    let names: Vec<&str> = zones.names.iter().map(String::as_str).collect();
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let same_city = names.iter().find(|name| last(name) == last(zone));
    // A word alone is like half of all zones.
    let near = same_city.copied().or_else(|| match zone.contains('/') {
        true => nearest(zone, &names),
        false => None,
    });
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name a city as /usr/share/zoneinfo does, such as `Europe/London`".to_owned(),
    }
}

/// What the base calls a zone that it knows by an old name only.
fn modern_name<'a>(zone: &str, zones: &'a Zones) -> Option<&'a str> {
    let modern = zones.links.get(zone)?;
    zones.names.contains(modern).then_some(modern)
}

fn locale_hint(lang: &str, names: &[&str]) -> String {
    let language = lang.split(['.', '@']).next().unwrap_or_default();
    let guesses = [
        format!("{}.UTF-8", language.replace('-', "_")),
        format!("{language}_{}.UTF-8", language.to_uppercase()),
    ];
    let guess = names.iter().find(|name| guesses.iter().any(|g| g == *name));
    match guess.copied().or_else(|| nearest(lang, names)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "name a locale as /usr/share/i18n/SUPPORTED does, such as `en_GB.UTF-8`".to_owned(),
    }
}

/// `de`, or `de(nodeadkeys)` with a variant.
fn keyboard_flaw(part: &str, layouts: &Layouts) -> Option<Flaw> {
    let (layout, variant) = match part.strip_suffix(')').and_then(|p| p.split_once('(')) {
        Some((layout, variant)) => (layout, Some(variant)),
        None => (part, None),
    };
    let Some(variants) = layouts.get(layout) else {
        let what = format!("the base has no keyboard layout `{layout}`");
        return Some(Flaw::new(what, layout_hint(layout, layouts)));
    };
    let variant = variant.filter(|v| !variants.contains(*v))?;
    let names: Vec<&str> = variants.iter().map(String::as_str).collect();
    let what = format!("the base's keyboard layout `{layout}` has no variant `{variant}`");
    let hint = nearest(variant, &names).map(|near| format!("did you mean `{layout}({near})`?"));
    Some(Flaw::new(what, hint))
}

/// Names of two letters are all alike, so the nearest is only a guess for a name that begins with
/// one, such as `de-latin1`.
fn layout_hint(layout: &str, layouts: &Layouts) -> Option<String> {
    let head = layout.split(['-', '_']).next().unwrap_or_default();
    match layouts.contains_key(head) {
        true => Some(format!("did you mean `{head}`?")),
        false => Some("name an XKB layout, such as `gb`, `us` or `de`".to_owned()),
    }
}
