//! Points in time, as records spell them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock;

/// Seconds since 1970. As text it is `2026-11-24T23:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clock::utc(self.0))
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = clock::parse_utc(&text).filter(|time| *time >= 0);
        time.map(Self)
            .ok_or_else(|| format!("`{text}` is not a time like 2026-11-24T23:00:00Z"))
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}
