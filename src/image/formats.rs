//! The files of a base that tell what it has, as text and bytes.

use std::collections::{BTreeMap, BTreeSet};

/// XKB layouts with their variants.
pub type Layouts = BTreeMap<String, BTreeSet<String>>;

/// `en_GB.UTF-8 UTF-8` of every line of /usr/share/i18n/SUPPORTED or /etc/locale.gen, where those
/// that are not to be compiled stand behind a `#`.
pub fn locales(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(|line| line.trim_start_matches(['#', ' ']))
        .filter_map(
            |line| match line.split_whitespace().collect::<Vec<_>>()[..] {
                [name, charset] => Some(format!("{name} {charset}")),
                _ => None,
            },
        )
        .collect()
}

/// Login shells of /etc/shells (shells(5)).
pub fn shells(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// Layouts of a list of XKB rules (`base.lst`, `evdev.lst`): `name  description` below `! layout`,
/// `name  layout: description` below `! variant`.
pub fn xkb_list(text: &str) -> Layouts {
    let mut layouts = Layouts::new();
    let mut section = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('!') {
            section = name.trim();
            continue;
        }
        let Some((name, rest)) = line.trim().split_once(char::is_whitespace) else {
            continue;
        };
        match (section, rest.trim().split_once(':')) {
            ("layout", _) => {
                layouts.entry(name.to_owned()).or_default();
            }
            ("variant", Some((layout, _))) => {
                let variants = layouts.entry(layout.to_owned()).or_default();
                variants.insert(name.to_owned());
            }
            _ => {}
        }
    }
    layouts
}

/// Layouts of the KeyboardNames.pl of keyboard-configuration, which is there without xkb-data:
/// `'German' => 'de',` in `%layouts`, and below `'de' => {` in `%variants`.
pub fn keyboard_names(text: &str) -> Layouts {
    let mut layouts = Layouts::new();
    let mut section = "";
    let mut layout = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('%') {
            section = name.split([' ', '=']).next().unwrap_or_default();
            continue;
        }
        let Some((left, right)) = line.split_once("=>") else {
            continue;
        };
        let quoted = |text: &str| text.trim().trim_matches([',', '\'']).to_owned();
        match (section, right.trim()) {
            ("layouts", code) => {
                layouts.entry(quoted(code)).or_default();
            }
            ("variants", "{") => layout = quoted(left),
            ("variants", code) => {
                let variants = layouts.entry(layout.clone()).or_default();
                variants.insert(quoted(code));
            }
            _ => {}
        }
    }
    layouts
}

/// First eight bytes of a regulatory.db: its magic and its version.
const RULES: &[u8] = b"RGDB\0\0\0\x14";

/// Countries of a regulatory.db, without the world's own `00`; `None` when it is none of the kind
/// that is known (<https://git.kernel.org/pub/scm/linux/kernel/git/wens/wireless-regdb.git>).
pub fn countries(bytes: &[u8]) -> Option<BTreeSet<String>> {
    let entries = bytes.strip_prefix(RULES)?.chunks_exact(4);
    let used = entries.take_while(|entry| entry[2..] != [0, 0]);
    let names = used.map(|entry| String::from_utf8_lossy(&entry[..2]).into_owned());
    Some(names.filter(|name| name != "00").collect())
}

/// Names that stand for another time zone in tzdata.zi (zic(8)): old name → what it stands for.
pub fn zone_links(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["L", target, name] => Some((name.to_owned(), target.to_owned())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn locales_stand_behind_a_hash_too() {
        let text = "# This file lists locales\n#\n# de_DE.UTF-8 UTF-8\n\nen_GB.UTF-8 UTF-8\n";
        let wanted = ["de_DE.UTF-8 UTF-8", "en_GB.UTF-8 UTF-8"];
        assert_eq!(names(&locales(text)), wanted);
    }

    #[test]
    fn shells_are_paths() {
        let text = "# /etc/shells: valid login shells\n/bin/sh\n/usr/bin/bash \n\n";
        assert_eq!(names(&shells(text)), ["/bin/sh", "/usr/bin/bash"]);
    }

    #[test]
    fn layouts_of_both_files_have_their_variants() {
        let list = "! model\n  pc104  Generic\n\n! layout\n  us  English (US)\n  de  German\n\n\
            ! variant\n  nodeadkeys      de: German (no dead keys)\n\n! option\n  grp  Switch\n";
        let perl = "%models = (\n 'Generic' => 'pc104',\n);\n\n%layouts = (\n    'English (US)' => 'us',\n\
            \x20   'German' => 'de',\n);\n\n%variants = (\n    'de' => {\n\t'German (no dead keys)' => 'nodeadkeys',\n    },\n);\n";
        for layouts in [xkb_list(list), keyboard_names(perl)] {
            assert_eq!(layouts.keys().collect::<Vec<_>>(), ["de", "us"]);
            assert_eq!(names(&layouts["de"]), ["nodeadkeys"]);
        }
    }

    #[test]
    fn countries_end_at_the_first_entry_without_rules() {
        let mut bytes = RULES.to_vec();
        bytes.extend(b"00\x04\xa7AD\x05\x05GB\x05\xd4\0\0\0\0XX\x05\x05");
        assert_eq!(names(&countries(&bytes).unwrap()), ["AD", "GB"]);
        assert_eq!(countries(b"RGDB\0\0\0\x15AD\x05\x05"), None);
        assert_eq!(countries(b""), None);
    }

    #[test]
    fn old_names_lead_to_new_ones() {
        let text = "# version 2026a\nR A 1916 o - Jun 14 23s 1 S\nZ Asia/Kolkata 5:53:28 - LMT\nL Asia/Kolkata Asia/Calcutta\n";
        let links = zone_links(text);
        assert_eq!(links.len(), 1);
        assert_eq!(links["Asia/Calcutta"], "Asia/Kolkata");
    }
}
