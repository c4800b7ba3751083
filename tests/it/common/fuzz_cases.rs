//! How long the fuzzers look.

use proptest::prelude::ProptestConfig;

/// `usual` cases, times what the variable FUZZ_FACTOR says.
///
/// What the cases need is asked for before: proptest takes what ends a case for a fault.
pub fn cases(usual: u32) -> ProptestConfig {
    let factor = std::env::var("FUZZ_FACTOR").map_or(1, |n| n.parse().expect("a whole number"));
    ProptestConfig::with_cases(usual * factor)
}
