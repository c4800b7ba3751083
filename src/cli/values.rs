//! Values of arguments that clap knows nothing of.

use std::str::FromStr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

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

/// A whole number from 1.
pub fn at_least_one<N: FromStr + Default + PartialEq>(text: &str) -> Result<N, String> {
    match text.parse() {
        Ok(number) if number != N::default() => Ok(number),
        _ => Err("give a whole number, at least 1".to_owned()),
    }
}
