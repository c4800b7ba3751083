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
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    Some(days_since_1970(i64::from(date.year), month, day))
}

/// `time`, in seconds since 1970, as `2026-11-24T23:00:00Z`.
pub fn utc(time: i64) -> String {
    let (day, second) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, date) = civil(day);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let second = second % 60;
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The day of `time`, in seconds since 1970, as `2026-11-24`.
pub fn date_of(time: i64) -> String {
    let (year, month, date) = civil(time.div_euclid(DAY));
    format!("{year:04}-{month:02}-{date:02}")
}

/// The seconds since 1970 that [`utc`] wrote as `text`; `None` for anything else.
pub fn parse_utc(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let day = parse_date(date)?;
    let mut parts = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let time = day * DAY + hour * 3600 + minute * 60 + second;
    // Also refuses hours above 23 and the like.
    (utc(time) == text).then_some(time)
}

// Both after Howard Hinnant's “chrono-Compatible Low-Level Date Algorithms”: years begin in March.

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970.
pub fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, date)
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

    #[test]
    fn times_are_written_and_read_in_utc() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(time), text);
            assert_eq!(parse_utc(text), Some(time));
        }
        for wrong in [
            "2026-09-21",
            "2026-09-21T24:00:00Z",
            "2026-09-21T14:13:20",
            "2026-9-21T14:13:20Z",
            "2026-09-21T14:13:20.5Z",
        ] {
            assert_eq!(parse_utc(wrong), None, "{wrong}");
        }
        assert_eq!(date_of(951_782_400), "2000-02-29");
    }
}
