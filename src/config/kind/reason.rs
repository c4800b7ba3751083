//! Why a value is wrong.

/// Words that fit behind `key`: .
pub type Reason = String;
