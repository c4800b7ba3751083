//! What patching is given besides the plan.

use super::payload::Payloads;
use crate::job::Cancel;

/// What patching is given besides the plan.
pub struct PatchOptions<'a> {
    pub payloads: &'a Payloads,
    /// Unix time (seconds) that everything written gets. `None`: when the base was last written.
    pub time: Option<i64>,
    pub cancel: &'a Cancel,
}
