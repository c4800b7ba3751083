//! Sizes as people read them.

/// `bytes` as a person would say it.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Whole tenths of a gigabyte, as it is printed on cards.
pub fn gigabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000_000;
    format!("{}.{} GB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(human(999), "999 bytes");
        assert_eq!(human(3_078_619_136), "2.9 GiB");
        assert_eq!(human(1 << 60), "1048576.0 TiB");
        assert_eq!(gigabytes(31_999_999_999), "31.9 GB");
    }
}
