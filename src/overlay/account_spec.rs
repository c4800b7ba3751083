//! `[accounts.NAME]` of role.toml: system accounts, made while the image is built.

use serde::Deserialize;

/// A system account as a role writes it. Every text may be a template.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSpec {
    pub uid: Number,
    /// Number of the group of the same name; that of the user where it is left out.
    pub gid: Option<Number>,
    #[serde(default = "nowhere")]
    pub home: String,
    #[serde(default = "no_login")]
    pub shell: String,
    /// Further groups, which the base has.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A number, or a template that becomes one.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Number {
    Fixed(u32),
    Template(String),
}

/// Debian's folder for accounts that have none (Debian Policy 9.2.3).
fn nowhere() -> String {
    "/nonexistent".to_owned()
}

fn no_login() -> String {
    "/usr/sbin/nologin".to_owned()
}

impl AccountSpec {
    /// Errors when a number that is written out cannot be that of a system account.
    pub fn check(&self) -> Result<(), String> {
        for number in [Some(&self.uid), self.gid.as_ref()].into_iter().flatten() {
            if let Number::Fixed(number) = number {
                system_id(*number)?;
            }
        }
        Ok(())
    }
}

impl Number {
    /// The text to render.
    pub fn text(&self) -> String {
        match self {
            Self::Fixed(number) => number.to_string(),
            Self::Template(text) => text.clone(),
        }
    }
}

/// Numbers that Debian leaves to the packages and services of a system: 100 to 999 (Debian Policy
/// 9.2.2). Below are its own fixed ones, above those of people.
pub fn system_id(number: u32) -> Result<u32, String> {
    if (100..1000).contains(&number) {
        Ok(number)
    } else {
        Err(format!(
            "{number} is not the number of a system account (100 to 999)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_system_are_between_those_of_debian_and_of_people() {
        for good in [100, 969, 999] {
            assert_eq!(system_id(good), Ok(good));
        }
        for bad in [0, 99, 1000, 65534] {
            assert!(system_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_left_out_is_locked_out() {
        let spec: AccountSpec = toml::from_str("uid = \"{{ options.uid }}\"").unwrap();
        assert_eq!(spec.uid.text(), "{{ options.uid }}");
        assert_eq!(
            (spec.home.as_str(), spec.shell.as_str()),
            ("/nonexistent", "/usr/sbin/nologin")
        );
        let fixed: AccountSpec = toml::from_str("uid = 5").unwrap();
        assert!(fixed.check().is_err());
    }
}
