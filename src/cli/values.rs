//! Values of arguments that clap knows nothing of.

use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::assemble::Digests;
use crate::emit::Format;

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Img => "The raw image, with holes where it is zero",
            Self::ImgXz => "Packed with xz; unchanged blocks of the base are reused",
            Self::ImgZst => "Packed with zstd, seekable",
            Self::ImgGz => "Packed with gzip",
        };
        Some(PossibleValue::new(self.extension()).help(help))
    }
}

impl ValueEnum for Digests {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Free, Self::Files, Self::Raw]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Free => (
                "none",
                "Skip checksums that need an extra pass. An img is then copied or cloned at once and is not listed in SHA256SUMS",
            ),
            Self::Files => ("files", "Hash every file that is written, in SHA256SUMS"),
            Self::Raw => (
                "all",
                "Also hash the raw image inside packed files, as Raspberry Pi Imager's manifests require. Decodes the whole base",
            ),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// A whole number from 1.
pub fn at_least_one<N: FromStr + Default + PartialEq>(text: &str) -> Result<N, String> {
    match text.parse() {
        Ok(number) if number != N::default() => Ok(number),
        _ => Err("give a whole number, at least 1".to_owned()),
    }
}
