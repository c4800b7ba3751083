//! Whether cloud-init of an image will read its seed.
//!
//! After ds-identify(8) and the units of cloud-init 25.2 (`cloud-init-generator`, `ds-identify` and
//! `cloud-init.target` of Debian's package): the generator has the target started at boot unless
//! `/etc/cloud/cloud-init.disabled` is there, the kernel's command line says `cloud-init=disabled`, or
//! the policy of ds-identify is `disabled`; the target starts what is linked into
//! `cloud-init.target.wants`; and each unit of it can be masked.

use super::unit_files;
use crate::error::Result;
use crate::ext4::Ext4;

/// A file that keeps it from running.
pub const MARKER: &str = "/etc/cloud/cloud-init.disabled";
const POLICY_FILE: &str = "/etc/cloud/ds-identify.cfg";
const TARGET: &str = "cloud-init.target";
const GENERATOR: &str = "cloud-init-generator";
/// Where generators are, the ones that win first (systemd.generator(7)).
const GENERATORS: &[&str] = &[
    "/etc/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
];
/// The stages that make the account's keys, the locale and the time zone. The second unit of the
/// network stage is what cloud-init before 24.3 calls it.
const STAGES: &[&[&str]] = &[
    &["cloud-init-local.service"],
    &["cloud-init-network.service", "cloud-init.service"],
    &["cloud-config.service"],
];
/// Runs all stages since cloud-init 24.3.
const MAIN: &str = "cloud-init-main.service";

/// What a base has of cloud-init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudInit {
    Absent,
    /// It is there but will not run, and this is why.
    Off(String),
    Ready,
}

impl CloudInit {
    /// Why it will not run although it is there.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Off(reason) => Some(reason.clone()),
            Self::Absent | Self::Ready => None,
        }
    }
}

/// Whether cloud-init is there, whether it runs or not.
pub fn is_there(fs: &Ext4) -> Result<bool> {
    let has = |path: &str| fs.stat_target(path).map(|stat| stat.is_some());
    Ok(has("/etc/cloud/cloud.cfg")? && has("/usr/bin/cloud-init")?)
}

/// Whether `name` is one of the units that have to run.
pub fn is_unit(name: &str) -> bool {
    name == TARGET || name == MAIN || STAGES.iter().any(|names| names.contains(&name))
}

/// Why it will not run, if the kernel's command line is `cmdline`. What [`MARKER`] says counts only
/// with `marked`.
pub fn why_off(fs: &Ext4, cmdline: &str, marked: bool) -> Result<Option<String>> {
    if marked && fs.stat_target(MARKER)?.is_some() {
        return Ok(Some(format!("it has {MARKER}")));
    }
    if let Some(word) = switched_off_by(cmdline) {
        return Ok(Some(format!("cmdline.txt says `{word}`")));
    }
    if policy_is_off(&unit_files::text(fs, POLICY_FILE)?.unwrap_or_default()) {
        return Ok(Some(format!("{POLICY_FILE} says `policy: disabled`")));
    }
    if let Some(reason) = generator_is_off(fs)? {
        return Ok(Some(reason));
    }
    units_are_off(fs)
}

/// The word of the kernel's command line that switches cloud-init off.
fn switched_off_by(cmdline: &str) -> Option<&str> {
    cmdline.split_whitespace().find(|word| {
        let policy = word.strip_prefix("ci.di.policy=");
        word.contains("cloud-init=disabled") || policy.is_some_and(is_off)
    })
}

/// `disabled` among the words of a policy such as `disabled,report=true`; `notfound=disabled`, which
/// is the default, is another matter.
fn is_off(policy: &str) -> bool {
    policy.split(',').any(|word| word.trim() == "disabled")
}

fn policy_is_off(text: &str) -> bool {
    let policy = text.lines().rev().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.trim().strip_prefix("policy:")
    });
    policy.is_some_and(is_off)
}

fn generator_is_off(fs: &Ext4) -> Result<Option<String>> {
    for folder in GENERATORS {
        let path = format!("{folder}/{GENERATOR}");
        if fs.stat(&path)?.is_some() {
            let masked = unit_files::is_mask(fs, &path)?;
            return Ok(masked.then(|| format!("{path} is masked")));
        }
    }
    // Without a generator the target can still be linked like any other unit.
    Ok(match is_wanted(fs, TARGET, "multi-user.target")? {
        true => None,
        false => Some(format!(
            "it has no {GENERATOR}, and {TARGET} is not enabled"
        )),
    })
}

fn units_are_off(fs: &Ext4) -> Result<Option<String>> {
    let target: &[&str] = &[TARGET];
    for names in [target].iter().chain(STAGES) {
        let mut there = false;
        for name in *names {
            let Some(path) = unit_files::find(&|path| has_entry(fs, path), name)? else {
                continue;
            };
            if unit_files::is_mask(fs, &path)? {
                return Ok(Some(format!("{name} is masked ({path})")));
            }
            there = true;
        }
        if !there {
            return Ok(Some(format!("it has no unit {}", names[0])));
        }
    }
    if let Some(path) = unit_files::find(&|path| has_entry(fs, path), MAIN)?
        && unit_files::is_mask(fs, &path)?
    {
        return Ok(Some(format!("{MAIN} is masked ({path})")));
    }
    for name in STAGES.iter().copied().flatten().chain([&MAIN]) {
        if is_wanted(fs, name, TARGET)? {
            return Ok(None);
        }
    }
    Ok(Some(format!("none of its units is enabled in {TARGET}")))
}

fn has_entry(fs: &Ext4, path: &str) -> Result<bool> {
    Ok(fs.stat(path)?.is_some())
}

fn is_wanted(fs: &Ext4, unit: &str, by: &str) -> Result<bool> {
    for folder in unit_files::FOLDERS {
        if has_entry(fs, &format!("{folder}/{by}.wants/{unit}"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_words_that_switch_it_off() {
        for off in [
            "policy: disabled\n",
            "# x\npolicy: disabled,report=true # why\n",
            "policy:disabled",
        ] {
            assert!(policy_is_off(off), "{off}");
        }
        let default = "policy: search,found=all,maybe=none,notfound=disabled\n";
        for on in [
            "",
            "# policy: disabled\n",
            default,
            "policy: disabled\npolicy: enabled\n",
        ] {
            assert!(!policy_is_off(on), "{on}");
        }
        assert_eq!(
            switched_off_by("a cloud-init=disabled b"),
            Some("cloud-init=disabled")
        );
        assert_eq!(
            switched_off_by("ci.di.policy=disabled"),
            Some("ci.di.policy=disabled")
        );
        assert_eq!(switched_off_by("ds=nocloud cloud-init=enabled"), None);
        assert_eq!(
            switched_off_by("ci.di.policy=search,notfound=disabled"),
            None
        );
    }
}
