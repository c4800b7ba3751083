//! The kernel's command line, which Raspberry Pi OS has in cmdline.txt on the boot partition.

use crate::error::Result;
use crate::fat::Fat;

/// Where it is.
pub const CMDLINE: &str = "/cmdline.txt";

/// The first line of cmdline.txt, which is the kernel's command line; empty when there is none.
pub fn kernel_line(fat: &Fat) -> Result<String> {
    let bytes = fat.read(CMDLINE)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// What follows `key` on the kernel's command line; the last one counts.
pub fn kernel_word(fat: &Fat, key: &str) -> Result<Option<String>> {
    let line = kernel_line(fat)?;
    let mut words = line.split_whitespace().rev();
    let found = words.find_map(|word| word.strip_prefix(key));
    Ok(found.map(str::to_owned))
}
