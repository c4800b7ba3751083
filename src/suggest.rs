//! Names for messages: the nearest to what was written, and lists of them.

use std::fmt;

/// The name most like `word`, if any is like it at all.
pub fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(word, name), *name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Asks whether the name most like `word` was meant, if any is like it.
pub fn did_you_mean(word: &str, names: &[&str]) -> Option<String> {
    nearest(word, names).map(meant)
}

/// Asks whether `name` was meant.
pub fn meant(name: impl fmt::Display) -> String {
    format!("did you mean `{name}`?")
}

/// The question as the end of a message; nothing where there is no name.
pub fn or_meant(name: Option<impl fmt::Display>) -> String {
    name.map_or(String::new(), |name| format!("; {}", meant(name)))
}

/// The names in backticks, with commas between.
pub fn quoted(names: &[impl fmt::Display]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
