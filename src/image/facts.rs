//! What a base has. Each fact is read when it is first asked for, and kept: the nodes of a build
//! ask the same, and of a packed base every part that is read has to be decoded.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::formats::{self, Layouts};
use super::open_base::OpenBase;
use crate::disk::ReadAt;
use crate::error::Result;
use crate::ext4::{FileKind, Stat};

const ZONES: &str = "/usr/share/zoneinfo";
/// Not names of zones: links to whatever the machine has set.
const NO_ZONES: &[&str] = &["localtime", "posixrules"];
/// Folders in a folder of zones: no base nests them deeper.
const ZONE_DEPTH: usize = 4;
const LOCALES: &[&str] = &["/usr/share/i18n/SUPPORTED", "/etc/locale.gen"];
const XKB_RULES: &[&str] = &[
    "/usr/share/X11/xkb/rules/evdev.lst",
    "/usr/share/X11/xkb/rules/base.lst",
];
const KEYBOARD_NAMES: &str = "/usr/share/console-setup/KeyboardNames.pl";
const WIFI_RULES: &str = "/usr/lib/firmware/regulatory.db";

/// The facts of one base.
pub struct BaseFacts {
    base: OpenBase,
    targets: RefCell<BTreeMap<String, Option<Stat>>>,
    entries: RefCell<BTreeMap<String, Option<Stat>>>,
    zones: OnceCell<Zones>,
    locales: OnceCell<BTreeSet<String>>,
    layouts: OnceCell<Layouts>,
    shells: OnceCell<Option<BTreeSet<String>>>,
    countries: OnceCell<Option<BTreeSet<String>>>,
    accounts: OnceCell<Accounts>,
}

/// Time zones.
pub struct Zones {
    /// Those that the base has.
    pub names: BTreeSet<String>,
    /// Names that stand for others, also where the base does not have them.
    pub links: BTreeMap<String, String>,
}

/// Text of the files that list accounts and groups.
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

impl BaseFacts {
    /// The facts of the image on `disk`.
    pub fn open(disk: Arc<dyn ReadAt>) -> Result<Self> {
        Ok(Self {
            base: OpenBase::open(disk)?,
            targets: RefCell::default(),
            entries: RefCell::default(),
            zones: OnceCell::new(),
            locales: OnceCell::new(),
            layouts: OnceCell::new(),
            shells: OnceCell::new(),
            countries: OnceCell::new(),
            accounts: OnceCell::new(),
        })
    }

    /// What says whether plans can be carried out.
    pub fn base(&self) -> &OpenBase {
        &self.base
    }

    /// What `path` of the root file system leads to, symbolic links followed.
    pub fn target(&self, path: &str) -> Result<Option<Stat>> {
        if let Some(known) = self.targets.borrow().get(path) {
            return Ok(*known);
        }
        let found = self.base.root.stat_target(path)?;
        self.targets.borrow_mut().insert(path.to_owned(), found);
        Ok(found)
    }

    /// What is at `path` of the root file system itself.
    pub fn entry(&self, path: &str) -> Result<Option<Stat>> {
        if let Some(known) = self.entries.borrow().get(path) {
            return Ok(*known);
        }
        let found = self.base.root.stat(path)?;
        self.entries.borrow_mut().insert(path.to_owned(), found);
        Ok(found)
    }

    /// Names in the folder `path` of the root file system; none when there is no such folder.
    pub fn names_in(&self, path: &str) -> Result<Vec<String>> {
        match self.target(path)? {
            Some(stat) if stat.kind == FileKind::Directory => {
                let entries = self.base.root.read_dir(path)?;
                Ok(entries.into_iter().map(|entry| entry.name).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The text of a file of the root file system, if it is there.
    pub fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes = self.bytes(path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The content of a file of the root file system, if it is there.
    pub fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.target(path)? {
            Some(stat) if stat.kind == FileKind::File => self.base.root.read(path).map(Some),
            _ => Ok(None),
        }
    }

    /// Where the symbolic link at `path` points; `None` when there is none.
    pub fn link(&self, path: &str) -> Result<Option<String>> {
        match self.entry(path)? {
            Some(stat) if stat.kind == FileKind::Symlink => {
                self.base.root.read_link(path).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether `name` is a time zone of the base. A base without any knows none, and all may do.
    pub fn is_zone(&self, name: &str) -> Result<bool> {
        if self.target(ZONES)?.is_none() {
            return Ok(true);
        }
        let content = self.bytes(&format!("{ZONES}/{name}"))?;
        let is_one = content.is_some_and(|bytes| bytes.starts_with(b"TZif"));
        Ok(is_one && !NO_ZONES.contains(&name))
    }

    /// All time zones: takes reading many folders.
    pub fn zones(&self) -> Result<&Zones> {
        once(&self.zones, || {
            let mut names = BTreeSet::new();
            self.collect_zones("", ZONE_DEPTH, &mut names)?;
            let table = self.text(&format!("{ZONES}/tzdata.zi"))?;
            Ok(Zones {
                names,
                links: formats::zone_links(&table.unwrap_or_default()),
            })
        })
    }

    fn collect_zones(
        &self,
        prefix: &str,
        depth: usize,
        names: &mut BTreeSet<String>,
    ) -> Result<()> {
        for entry in self.base.root.read_dir(&format!("{ZONES}/{prefix}"))? {
            let name = format!("{prefix}{}", entry.name);
            // Folders and zones begin with a capital letter; lists and tables do not.
            let is_named = entry.name.starts_with(|c: char| c.is_ascii_uppercase());
            match entry.kind {
                FileKind::Directory if is_named && depth > 0 => {
                    self.collect_zones(&format!("{name}/"), depth - 1, names)?;
                }
                FileKind::File | FileKind::Symlink if is_named => {
                    names.insert(name);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Locales that the base can compile, as `en_GB.UTF-8 UTF-8`; none when it does not say.
    pub fn locales(&self) -> Result<&BTreeSet<String>> {
        once(&self.locales, || {
            let mut all = BTreeSet::new();
            for path in LOCALES {
                all.extend(formats::locales(&self.text(path)?.unwrap_or_default()));
            }
            Ok(all)
        })
    }

    /// Keyboard layouts; none when the base does not say.
    pub fn layouts(&self) -> Result<&Layouts> {
        once(&self.layouts, || {
            for path in XKB_RULES {
                if let Some(text) = self.text(path)? {
                    return Ok(formats::xkb_list(&text));
                }
            }
            let names = self.text(KEYBOARD_NAMES)?.unwrap_or_default();
            Ok(formats::keyboard_names(&names))
        })
    }

    /// Login shells, where the base lists them.
    pub fn shells(&self) -> Result<Option<&BTreeSet<String>>> {
        let read = || Ok(self.text("/etc/shells")?.map(|text| formats::shells(&text)));
        Ok(once(&self.shells, read)?.as_ref())
    }

    /// Countries with rules for Wi-Fi, where the base has such rules.
    pub fn countries(&self) -> Result<Option<&BTreeSet<String>>> {
        let read = || {
            Ok(self
                .bytes(WIFI_RULES)?
                .and_then(|db| formats::countries(&db)))
        };
        Ok(once(&self.countries, read)?.as_ref())
    }

    /// Accounts and groups.
    pub fn accounts(&self) -> Result<&Accounts> {
        once(&self.accounts, || {
            Ok(Accounts {
                passwd: self.text("/etc/passwd")?.unwrap_or_default(),
                group: self.text("/etc/group")?.unwrap_or_default(),
            })
        })
    }
}

fn once<T>(cell: &OnceCell<T>, read: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let value = read()?;
    Ok(cell.get_or_init(|| value))
}
