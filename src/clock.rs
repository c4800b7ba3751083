//! What time it is: the clock's, or the one that `SOURCE_DATE_EPOCH` says.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

const DAY: i64 = 86_400;

/// <https://reproducible-builds.org/specs/source-date-epoch/>
pub fn source_date_epoch() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(None),
        Ok(text) => text
            .parse()
            .ok()
            .filter(|t| *t >= 0)
            .map(Some)
            .ok_or_else(|| {
                Error::usage(format!(
                    "SOURCE_DATE_EPOCH is `{text}`, not a number of seconds since 1970"
                ))
            }),
    }
}

/// Today, in days since 1970.
pub fn today() -> Result<i64> {
    Ok(source_date_epoch()?.unwrap_or_else(now) / DAY)
}

/// What the clock says, in seconds since 1970. For records only: no image depends on it.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs() as i64)
}

/// The day that `YYYY-MM-DD` names, in days since 1970; `None` for anything else.
pub fn parse_date(text: &str) -> Option<i64> {
    let parsed: toml::value::Datetime = text.parse().ok()?;
    let date = parsed.date.filter(|_| parsed.time.is_none())?;
    let (year, month, day) = (
        i64::from(date.year),
        i64::from(date.month),
        i64::from(date.day),
    );
    // After Howard Hinnant's “chrono-Compatible Low-Level Date Algorithms”: years begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The day of a moment in seconds since 1970, as `YYYY-MM-DD` in UTC.
pub fn date_of(seconds: i64) -> String {
    // The way back of `parse_date`, after the same source.
    let day = seconds.div_euclid(DAY) + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for day in (0..60_000).step_by(7).chain([11_016, 19_782, 20_512]) {
            let date = date_of(day * DAY + DAY - 1);
            assert_eq!(parse_date(&date), Some(day), "{date}");
        }
        assert_eq!(date_of(-1), "1969-12-31");
    }

    #[test]
    fn dates_are_days_since_1970() {
        for (text, day) in [
            ("1970-01-01", Some(0)),
            ("2000-02-29", Some(11_016)),
            ("2026-04-13", Some(20_556)),
            ("2027-02-29", None),
            ("2026-13-01", None),
            ("2026-4-1", None),
            ("13.4.2026", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text), day, "{text}");
        }
    }
}
