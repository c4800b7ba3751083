//! How long the fuzzers look.

use proptest::prelude::ProptestConfig;

/// `usual` cases, times what the variable FUZZ_FACTOR says.
pub fn cases(usual: u32) -> ProptestConfig {
    let factor = std::env::var("FUZZ_FACTOR").map_or(1, |n| n.parse().expect("a whole number"));
    ProptestConfig::with_cases(usual * factor)
}
