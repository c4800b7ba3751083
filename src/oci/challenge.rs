//! How a registry asks for a login: `WWW-Authenticate` (RFC 9110, 11.6.1; the token specification of
//! distribution).

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token, which `realm` gives out.
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// The first challenge of `headers`, the values of all `WWW-Authenticate`, that is understood; a token
    /// rather than a password.
    pub fn find<'h>(headers: impl IntoIterator<Item = &'h str>) -> Option<Self> {
        let mut found: Vec<Self> = headers.into_iter().flat_map(read).collect();
        let bearer = found
            .iter()
            .position(|challenge| matches!(challenge, Self::Bearer { .. }));
        (!found.is_empty()).then(|| found.swap_remove(bearer.unwrap_or(0)))
    }
}

/// A scheme, or `key=value` of the scheme before it.
enum Word {
    Scheme(String),
    Parameter(String, String),
}

fn read(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for word in words(header) {
        match (word, challenges.last_mut()) {
            (Word::Scheme(scheme), _) => challenges.push((scheme, Vec::new())),
            (Word::Parameter(key, value), Some((_, parameters))) => parameters.push((key, value)),
            (Word::Parameter(..), None) => {}
        }
    }
    challenges
        .into_iter()
        .filter_map(|(scheme, parameters)| known(&scheme, &parameters))
        .collect()
}

fn known(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let find = |wanted: &str| {
        let mut parameters = parameters.iter();
        parameters
            .find(|(key, _)| key.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.clone())
    };
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: find("realm")?,
            service: find("service"),
        }),
        _ => None,
    }
}

/// Words with blanks or commas between them; a value may be in quotes, with `\` before a quote in it.
fn words(header: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() && after.is_empty() {
            return words;
        }
        match after.trim_start().strip_prefix('=') {
            None => {
                words.push(Word::Scheme(name.to_owned()));
                rest = after;
            }
            Some(text) => {
                let (value, after) = value(text.trim_start());
                words.push(Word::Parameter(name.to_owned(), value));
                rest = after;
            }
        }
    }
}

/// A value, and what is behind it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (place, letter) in quoted.char_indices() {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[place + 1..]),
            _ => {
                value.push(letter);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:library/nginx:pull,push\"";
        let realm = "https://auth.docker.io/token";
        assert_eq!(
            Challenge::find([hub]),
            bearer(realm, Some("registry.docker.io"))
        );
        assert_eq!(
            Challenge::find(["Basic realm=\"Registry Realm\""]),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::find(["basic"]), Some(Challenge::Basic));
        let both = [
            "Basic realm=\"a, b=c\", Bearer realm=\"https://x/\\\"t\", error=\"insufficient_scope\"",
        ];
        assert_eq!(Challenge::find(both), bearer("https://x/\"t", None));
        assert_eq!(
            Challenge::find(["Basic realm=x", "BEARER realm=https://x"]),
            bearer("https://x", None)
        );
    }

    #[test]
    fn what_is_not_understood_is_none() {
        for wrong in [
            "",
            ",",
            "=",
            "Negotiate",
            "Bearer",
            "Bearer service=\"x\"",
            "realm=\"x\"",
            "\"",
            "=\"",
        ] {
            assert_eq!(Challenge::find([wrong]), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "[a-z=\",\\\\ é]{0,60}") {
            let _ = Challenge::find([header.as_str()]);
        }
    }
}
