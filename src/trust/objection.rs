//! Why a signature does not count, in words.

use std::fmt;

use crate::clock;

/// A reason against one signature. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    Unreadable(String),
    WrongType(&'static str),
    WeakHash {
        what: &'static str,
        hash: String,
    },
    Undated(&'static str),
    Future {
        what: &'static str,
        made: i64,
        now: i64,
    },
    Expired {
        what: &'static str,
        at: i64,
    },
    Critical {
        what: &'static str,
        item: String,
    },
    NoIssuer,
    NotPinned,
    NotHere,
    OlderThanKey {
        made: i64,
        key: i64,
    },
    Revoked {
        what: &'static str,
        at: Option<i64>,
        reason: Option<String>,
    },
    WeakKey(String),
    Unbound(&'static str),
    MayNotSign(&'static str),
    Mismatch,
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = |at: i64| clock::date_of(at);
        match self {
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Self::WrongType(expected) => write!(f, "is not a signature of {expected}"),
            Self::WeakHash { what, hash } => write!(f, "{what} uses {hash}, which is broken"),
            Self::Undated(what) => write!(f, "{what} has no date"),
            Self::Future { what, made, now } => {
                let (made, now) = (day(*made), day(*now));
                write!(f, "{what} was made on {made}, after today ({now})")
            }
            Self::Expired { what, at } => write!(f, "{what} expired on {}", day(*at)),
            Self::Critical { what, item } => {
                write!(
                    f,
                    "{what} has a critical {item} that imgbuild does not know"
                )
            }
            Self::NoIssuer => f.write_str("does not name the key that made it"),
            Self::NotPinned => f.write_str("the key is not one that is trusted for this"),
            Self::NotHere => f.write_str("the key is trusted, but was not available"),
            Self::OlderThanKey { made, key } => {
                let (made, key) = (day(*made), day(*key));
                write!(f, "it was made on {made}, before its key existed ({key})")
            }
            Self::Revoked { what, at, reason } => {
                write!(f, "{what} was revoked")?;
                if let Some(at) = at {
                    write!(f, " on {}", day(*at))?;
                }
                reason.iter().try_for_each(|why| write!(f, " ({why})"))
            }
            Self::WeakKey(why) => write!(f, "the key is too weak: {why}"),
            Self::Unbound(what) => f.write_str(what),
            Self::MayNotSign(what) => write!(f, "{what} is not meant for signing data"),
            Self::Mismatch => f.write_str("it does not match the data"),
        }
    }
}

impl Objection {
    /// What the user can do about it beyond loading the data again; `None`: nothing else.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Future { .. } => Some("check the clock of this computer"),
            Self::Expired { .. }
            | Self::Revoked { .. }
            | Self::NotPinned
            | Self::WeakHash { .. }
            | Self::WeakKey(_)
            | Self::Critical { .. } => Some("update imgbuild, which may know newer keys"),
            Self::NotHere => Some("run again with a network, to fetch the key"),
            _ => None,
        }
    }
}
