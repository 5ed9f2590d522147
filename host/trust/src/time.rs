//! Points in time, always handed in: this crate reads no clock.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, between the years 1970 and 9999. Its text is RFC 3339 in UTC without a
/// fraction, as TUF writes it: `2026-11-23T12:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

/// The text is not a point in time, or the time lies before 1970 or behind 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is written `YYYY-MM-DDThh:mm:ssZ`, from 1970 to 9999")]
pub struct TimestampError;

/// 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;
const DAY: u64 = 86_400;

impl Timestamp {
    /// 9999-12-31T23:59:59Z.
    pub const LAST: Self = Self(LAST);

    /// So many seconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// Behind the year 9999.
    pub const fn from_unix(seconds: u64) -> Result<Self, TimestampError> {
        if seconds <= LAST { Ok(Self(seconds)) } else { Err(TimestampError) }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn as_unix(self) -> u64 {
        self.0
    }

    /// So many days later, or the last second of 9999.
    #[must_use]
    pub const fn plus_days(self, days: u32) -> Self {
        let seconds = self.0.saturating_add(days as u64 * DAY);
        Self(if seconds <= LAST { seconds } else { LAST })
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = TimestampError;

    fn try_from(time: SystemTime) -> Result<Self, TimestampError> {
        Self::from_unix(time.duration_since(UNIX_EPOCH).map_err(|_| TimestampError)?.as_secs())
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant, `days_from_civil`).
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days after 1970-01-01 (`civil_from_days`).
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        if text.len() != 20 || !text.is_ascii() {
            return Err(TimestampError);
        }
        let field = |from: usize, to: usize| -> Result<u64, TimestampError> {
            let digits = text.get(from..to).ok_or(TimestampError)?;
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(TimestampError);
            }
            digits.parse().map_err(|_| TimestampError)
        };
        let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
        let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
        if year < 1970 || !(1..=12).contains(&month) || day < 1 || hour > 23 || minute > 59 || second > 59 {
            return Err(TimestampError);
        }
        let seconds = days_from_civil(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
        let time = Self::from_unix(seconds)?;
        // Writing it again catches wrong separators and days that the month does not have.
        if time.to_string() == text { Ok(time) } else { Err(TimestampError) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0 / DAY);
        let (hour, minute, second) = (self.0 / 3_600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_and_count_leap_days() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-23T19:23:07Z", 1_795_461_787),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.as_unix(), seconds, "{text}");
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn every_day_from_1970_to_2400_reads_back() {
        for day in 0..157_000 {
            let time = Timestamp::from_unix(day * DAY).unwrap();
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn times_that_no_clock_shows_are_refused() {
        for text in [
            "",
            "1969-12-31T23:59:59Z",
            "2023-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T19:60:07Z",
            "2026-11-23T19:23:60Z",
            "2026-11-23 19:23:07Z",
            "2026-11-23T19:23:07z",
            "2026-11-23T19:23:07.5Z",
            "2026-11-23T19:23:07+00:00",
            "+026-11-23T19:23:07Z",
            "2026-11-23T19:23:07é",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError), "{text}");
        }
    }

    #[test]
    fn days_that_go_beyond_the_last_year_end_in_its_last_second() {
        let day = Timestamp::from_unix(DAY).unwrap();
        assert_eq!(day.plus_days(2), Timestamp::from_unix(3 * DAY).unwrap());
        assert_eq!(day.plus_days(u32::MAX), Timestamp::LAST);
        assert_eq!(Timestamp::LAST.plus_days(1), Timestamp::LAST);
    }
}
