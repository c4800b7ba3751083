//! Which archives a base has: `/etc/apt/sources.list`, `sources.list.d/*.list` and `*.sources`
//! (sources.list(5), both styles).

use super::paragraph::{Paragraph, Paragraphs, shown};
use crate::error::{Error, Result};

/// Archives of a base.
const MAX_SOURCES: usize = 1000;

/// A suite of an archive, with the components that are wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveSource {
    /// Without a slash at its end.
    pub uri: String,
    pub suite: String,
    /// Empty for an archive without `dists`, whose suite is a path that ends in a slash.
    pub components: Vec<String>,
    /// Whose signature it must have. Empty: that of any key that the base trusts.
    pub signed_by: Vec<SignedBy>,
}

/// A word of `Signed-By`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// An absolute path in the base.
    Path(String),
    /// The fingerprint of a key that the base trusts; with `!` at its end no subkey will do.
    Fingerprint(String),
    /// An armoured key, written into the file.
    Key(String),
}

/// Reads a file of one-line style: `deb [options] uri suite component…`. `origin` is its name in
/// messages. Only binary packages for `architecture` count.
///
/// # Errors
/// A line that is malformed, with its number.
pub fn read_list(text: &str, architecture: &str, origin: &str) -> Result<Vec<ArchiveSource>> {
    let mut sources = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let place = format!("{origin}, line {}", n + 1);
        let source = list_line(line, architecture).ok_or_else(|| {
            Error::failed(format!(
                "{place}: not `deb [options] uri suite component…`: `{}`",
                shown(line)
            ))
        })?;
        push(&mut sources, source, &place)?;
    }
    Ok(sources)
}

/// Reads a file of deb822 style (`Types`, `URIs`, `Suites`, `Components`, …). `origin` is its name in
/// messages. Only binary packages for `architecture` count.
///
/// # Errors
/// A paragraph that is malformed, with its line.
pub fn read_sources(text: &str, architecture: &str, origin: &str) -> Result<Vec<ArchiveSource>> {
    let mut paragraphs = Paragraphs::new(text.as_bytes(), origin);
    let mut sources = Vec::new();
    while let Some(paragraph) = paragraphs.next()? {
        if is_wanted(&paragraph, architecture)? {
            for source in of_paragraph(&paragraph, architecture)? {
                push(&mut sources, Some(source), paragraph.place())?;
            }
        }
    }
    Ok(sources)
}

fn push(sources: &mut Vec<ArchiveSource>, new: Option<ArchiveSource>, place: &str) -> Result<()> {
    let new = new.filter(|new| !sources.contains(new));
    if sources.len() + usize::from(new.is_some()) > MAX_SOURCES {
        return Err(Error::failed(format!(
            "{place}: more than {MAX_SOURCES} archives"
        )));
    }
    sources.extend(new);
    Ok(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}

/// The inner `None` is a line that is not about packages for `architecture`.
fn list_line(line: &str, architecture: &str) -> Option<Option<ArchiveSource>> {
    let (kind, rest) = line.split_once([' ', '\t'])?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let is_here = match kind {
        "deb" => is_for(options, architecture)?,
        "deb-src" => false,
        _ => return None,
    };
    let mut rest = words(rest);
    let source = source(
        rest.next()?,
        rest.next()?,
        rest.map(str::to_owned).collect(),
        architecture,
        signed_by(option(options, "signed-by").unwrap_or_default())?,
    )?;
    Some(is_here.then_some(source))
}

/// The value of `name=value` among options.
fn option<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    let mut values =
        words(options).filter_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    values.next()
}

/// `arch=` names all, `arch-=` what is left out; `arch+=` adds others. `None`: no option at all.
fn is_for(options: &str, architecture: &str) -> Option<bool> {
    let has = |list: &str| list.split(',').any(|word| word == architecture);
    if !words(options).all(|option| option.contains('=')) {
        return None;
    }
    let wanted = option(options, "arch").is_none_or(has);
    Some(
        (wanted || option(options, "arch+").is_some_and(has))
            && !option(options, "arch-").is_some_and(has),
    )
}

fn is_wanted(paragraph: &Paragraph, architecture: &str) -> Result<bool> {
    let mut types = words(paragraph.required("Types")?);
    let has = |name: &str| words(paragraph.text(name)).any(|word| word == architecture);
    let disabled = matches!(
        paragraph.text("Enabled"),
        "no" | "false" | "without" | "off" | "disable"
    );
    let listed = paragraph.get("Architectures").is_none() || has("Architectures");
    let added = has("Architectures-Add");
    Ok(!disabled
        && types.any(|kind| kind == "deb")
        && (listed || added)
        && !has("Architectures-Remove"))
}

fn of_paragraph(paragraph: &Paragraph, architecture: &str) -> Result<Vec<ArchiveSource>> {
    let components: Vec<String> = words(paragraph.text("Components"))
        .map(str::to_owned)
        .collect();
    let signed_by = paragraph.maybe("Signed-By", signed_by)?.unwrap_or_default();
    let mut sources = Vec::new();
    for uri in words(paragraph.required("URIs")?) {
        for suite in words(paragraph.required("Suites")?) {
            let components = components.clone();
            let source = source(uri, suite, components, architecture, signed_by.clone());
            sources.push(source.ok_or_else(|| {
                Error::failed(format!(
                    "{}: `{}` with the suite `{}` is no archive",
                    paragraph.place(),
                    shown(uri),
                    shown(suite)
                ))
                .with_hint(
                    "an archive has a URI, a suite, and components; or a suite that ends in `/`, \
                     and no components",
                )
            })?);
        }
    }
    Ok(sources)
}

fn source(
    uri: &str,
    suite: &str,
    components: Vec<String>,
    architecture: &str,
    signed_by: Vec<SignedBy>,
) -> Option<ArchiveSource> {
    let suite = suite.replace("$(ARCH)", architecture);
    let has_uri = uri
        .split_once(':')
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let is_flat = suite.ends_with('/');
    let climbs = |path: &str| path.split('/').any(|part| part == "..");
    let safe = !climbs(&suite) && !components.iter().any(|component| climbs(component));
    (has_uri && safe && is_flat == components.is_empty()).then(|| ArchiveSource {
        uri: uri.trim_end_matches('/').to_owned(),
        suite,
        components,
        signed_by,
    })
}

/// Paths and fingerprints, or one key whose empty lines are written as `.`.
fn signed_by(text: &str) -> Option<Vec<SignedBy>> {
    if text.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
        let lines = text.lines().map(str::trim);
        let lines = lines.map(|line| if line == "." { "" } else { line });
        let lines: Vec<&str> = lines.collect();
        return Some(vec![SignedBy::Key(format!(
            "{}\n",
            lines.join("\n").trim()
        ))]);
    }
    let words = text
        .split([',', ' ', '\t', '\n'])
        .filter(|word| !word.is_empty());
    let word = |word: &str| {
        let digits = word.strip_suffix('!').unwrap_or(word);
        let is_fingerprint = digits.len() >= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match word.starts_with('/') {
            true => Some(SignedBy::Path(word.to_owned())),
            false => is_fingerprint.then(|| SignedBy::Fingerprint(word.to_owned())),
        }
    };
    words.map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "# Debian\nTypes: deb\nURIs: http://deb.debian.org/debian/\n\
        Suites: trixie trixie-updates\nComponents: main contrib\n\
        Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp\n";

    fn told(sources: &[ArchiveSource]) -> Vec<String> {
        let told = |s: &ArchiveSource| format!("{} {} {}", s.uri, s.suite, s.components.join(","));
        sources.iter().map(told).collect()
    }

    #[test]
    fn deb822_sources_are_read() {
        let sources = read_sources(DEBIAN, "arm64", "debian.sources").unwrap();
        let wanted = [
            "http://deb.debian.org/debian trixie main,contrib",
            "http://deb.debian.org/debian trixie-updates main,contrib",
        ];
        assert_eq!(told(&sources), wanted);
        let path = "/usr/share/keyrings/debian-archive-keyring.pgp".to_owned();
        assert_eq!(sources[0].signed_by, [SignedBy::Path(path)]);
        for more in [
            "Enabled: no\n",
            "Architectures: armhf amd64\n",
            "Architectures-Remove: arm64\n",
        ] {
            let text = format!("{DEBIAN}{more}");
            assert_eq!(read_sources(&text, "arm64", "x").unwrap(), [], "{more}");
        }
        let source = DEBIAN.replace("Types: deb", "Types: deb-src");
        assert_eq!(read_sources(&source, "arm64", "x").unwrap(), []);
    }

    #[test]
    fn a_key_can_be_in_the_file() {
        let key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc=\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let begin = DEBIAN.find("Signed-By").unwrap();
        let text = format!("{}{key}", &DEBIAN[..begin]);
        let sources = read_sources(&text, "arm64", "x").unwrap();
        let wanted =
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc=\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(sources[0].signed_by, [SignedBy::Key(wanted.to_owned())]);
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "deb http://a/debian/ bookworm main contrib # note\n\n# deb http://b x main\n\
            deb-src http://a/debian bookworm main\n\
            deb [ arch=arm64,armhf signed-by=/k.gpg ] https://c/ stable/ \n\
            deb [arch=amd64] https://d/ s main\ndeb [arch-=arm64] https://e/ s main\n\
            deb http://a/debian bookworm main contrib\n";
        let sources = read_list(text, "arm64", "sources.list").unwrap();
        let wanted = [
            "http://a/debian bookworm main,contrib",
            "https://c stable/ ",
        ];
        assert_eq!(told(&sources), wanted);
        assert_eq!(sources[1].signed_by, [SignedBy::Path("/k.gpg".to_owned())]);
    }

    #[test]
    fn what_is_malformed_is_an_error_with_its_line() {
        for line in [
            "deb",
            "deb http://a",
            "deb http://a s",
            "dep http://a s main",
            "deb [arch=arm64 http://a s main",
            "deb [trusted] http://a s main",
            "deb http://a ../s main",
            "deb [signed-by=k] http://a s main",
            "deb a s main",
        ] {
            let error = read_list(&format!("\n{line}\n"), "arm64", "sources.list").unwrap_err();
            assert!(
                error.to_string().starts_with("sources.list, line 2: "),
                "{error}"
            );
        }
        for (from, to, wanted) in [
            ("Types: deb\n", "", "line 2: no field `Types`"),
            ("URIs", "URI", "line 2: no field `URIs`"),
            ("Components: main contrib\n", "", "is no archive"),
            ("/usr", "usr", "`Signed-By` cannot be"),
        ] {
            let text = DEBIAN.replace(from, to);
            let error = read_sources(&text, "arm64", "x").unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
