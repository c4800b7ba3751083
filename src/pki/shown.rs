//! What templates see of keys.

use super::purpose::{Purpose, SERVER_CA};
use super::token::token_hash;
use crate::secrets::{Secret, Tables};

/// The public values of `purpose`, by the names that templates know them by. Where `tables` has none (or must
/// not be seen: `None`), something stands in for it if `stand_ins` is set.
pub fn shown_values(
    purpose: Purpose,
    tables: Option<&Tables>,
    stand_ins: bool,
) -> Vec<(String, String)> {
    let certificate = |name| {
        let value = tables?.value(name, "certificate")?;
        Some(value.expose().to_owned())
    };
    let mut values = Vec::new();
    let mut put = |name: String, value: Option<String>| {
        let stand_in = stand_ins.then(|| format!("‹{}›", name.replace('_', " ")));
        if let Some(value) = value.or(stand_in) {
            values.push((name, value));
        }
    };
    for name in purpose.authorities() {
        put(template_name(name), certificate(name));
    }
    if purpose == Purpose::Cluster {
        let hash = certificate(SERVER_CA).map(|certificate| token_hash(&certificate).to_string());
        put("token_hash".to_owned(), hash);
    }
    values
}

/// The key of `purpose` that templates know as `name`: `None` when there is no such key,
/// `Some(None)` when `tables` has not got it.
pub fn hidden_value(
    purpose: Purpose,
    name: &str,
    tables: Option<&Tables>,
) -> Option<Option<Secret>> {
    let table = purpose
        .tables()
        .find(|table| template_name(table) == name)?;
    Some(
        tables
            .and_then(|tables| tables.value(table, "key"))
            .cloned(),
    )
}

fn template_name(table: &str) -> String {
    table.replace('-', "_")
}
