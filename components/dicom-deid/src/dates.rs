//! Dates move back by whole days; times of day stay.

/// Shifts every date of a DA or DT value back by `days`, and appends the value to `out`: several values, ranges
/// (`a-b`, `-b`, `a-`), the old form with points, partial dates, fractions and zones included. A partial date moves
/// from its first day and keeps its precision. Says no, with `out` as before, where any part is not a date.
#[must_use]
pub(crate) fn shift(value: &[u8], days: u32, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    for (index, one) in value.split(|byte| *byte == b'\\').enumerate() {
        if index > 0 {
            out.push(b'\\');
        }
        if shift_range(one.trim_ascii(), days, out).is_none() {
            out.truncate(begin);
            return false;
        }
    }
    true
}

fn shift_range(value: &[u8], days: u32, out: &mut Vec<u8>) -> Option<()> {
    let value = match value {
        // Some writers fill DA and DT with null bytes.
        [kept @ .., 0] => kept.trim_ascii_end(),
        all => all,
    };
    if value.is_empty() {
        return Some(());
    }
    let dash = (0..value.len()).find(|at| value.get(*at) == Some(&b'-') && !is_zone(value, *at));
    match dash.and_then(|at| value.split_at_checked(at)) {
        None => shift_one(value, days, out),
        Some((from, to)) => {
            let to = to.get(1..)?.trim_ascii();
            let from = from.trim_ascii();
            if from.is_empty() && to.is_empty() {
                return None;
            }
            if !from.is_empty() {
                shift_one(from, days, out)?;
            }
            out.push(b'-');
            if to.is_empty() { Some(()) } else { shift_one(to, days, out) }
        }
    }
}

/// Whether the hyphen at `at` begins a zone: four digits up to `1400`, at the end or before another hyphen, behind
/// at least a year.
fn is_zone(value: &[u8], at: usize) -> bool {
    let (Some(zone), after) = (value.get(at + 1..at + 5), value.get(at + 5)) else { return false };
    let hours = number(zone.get(..2).unwrap_or_default());
    at >= 4
        && matches!(after, None | Some(b'-'))
        && hours.is_some_and(|hours| hours <= 14)
        && number(zone.get(2..).unwrap_or_default()).is_some_and(|minutes| minutes < 60)
}

fn shift_one(value: &[u8], days: u32, out: &mut Vec<u8>) -> Option<()> {
    if let [y0, y1, y2, y3, b'.', m0, m1, b'.', d0, d1] = *value {
        let plain = [y0, y1, y2, y3, m0, m1, d0, d1];
        return shift_one(&plain, days, out);
    }
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let precision = digits.min(8);
    let (date, rest) = value.split_at_checked(precision)?;
    if !rest_is_time(rest, precision) {
        return None;
    }
    let (year, month, day) = match precision {
        4 => (number(date)?, 1, 1),
        6 => (number(date.get(..4)?)?, number(date.get(4..)?)?, 1),
        8 => (number(date.get(..4)?)?, number(date.get(4..6)?)?, number(date.get(6..)?)?),
        _ => return None,
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) || year < 1 {
        return None;
    }
    let (year, month, day) = civil(ordinal(year, month, day) - i64::from(days));
    if !(1..=9999).contains(&year) {
        return None;
    }
    let shifted = format!("{year:04}{month:02}{day:02}");
    out.extend_from_slice(shifted.as_bytes().get(..precision)?);
    out.extend_from_slice(rest);
    Some(())
}

/// Whether what follows the first `precision` digits of a date is a time of day, a fraction, a zone.
fn rest_is_time(rest: &[u8], precision: usize) -> bool {
    let zone = rest.iter().position(|byte| matches!(byte, b'+' | b'-'));
    let (time, zone) = rest.split_at_checked(zone.unwrap_or(rest.len())).unwrap_or_default();
    let zone_fits = match *zone {
        [] => true,
        [_, h0, h1, m0, m1] => number(&[h0, h1]).is_some_and(|hours| hours <= 14) && sixtieth(&[m0, m1]),
        _ => false,
    };
    zone_fits && (time.is_empty() || precision == 8 && time_of_day(time))
}

/// Whether a TM value is times of day and nothing else: several, ranges, the old form with colons included.
pub(crate) fn is_time(value: &[u8]) -> bool {
    let is_padding = |byte: &u8| matches!(byte, 0 | b' ');
    let end = value.iter().rposition(|byte| !is_padding(byte)).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or_default().split(|byte| *byte == b'\\').all(|one| {
        let one = one.trim_ascii();
        let (from, to) = match one.iter().position(|byte| *byte == b'-') {
            Some(dash) => (one.get(..dash).unwrap_or_default(), one.get(dash + 1..).unwrap_or_default()),
            None => (one, [].as_slice()),
        };
        [from, to].iter().all(|time| time.is_empty() || time_of_day(time.trim_ascii()))
    })
}

/// `HH`, `HHMM`, `HHMMSS`, `HH:MM`, `HH:MM:SS`, the last with a fraction of up to six digits.
fn time_of_day(time: &[u8]) -> bool {
    let point = time.iter().position(|byte| *byte == b'.').unwrap_or(time.len());
    let (whole, fraction) = time.split_at_checked(point).unwrap_or_default();
    let fraction_fits = match fraction {
        [] => true,
        [_, digits @ ..] => (1..=6).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
    };
    let hour = |digits: &[u8]| number(digits).is_some_and(|hours| hours < 24);
    // The sixty-first second of a leap minute is one.
    let second = |digits: &[u8]| number(digits).is_some_and(|seconds| seconds <= 60);
    fraction_fits
        && match *whole {
            [a, b] => fraction.is_empty() && hour(&[a, b]),
            [a, b, c, d] | [a, b, b':', c, d] => fraction.is_empty() && hour(&[a, b]) && sixtieth(&[c, d]),
            [a, b, c, d, e, f] | [a, b, b':', c, d, b':', e, f] => {
                hour(&[a, b]) && sixtieth(&[c, d]) && second(&[e, f])
            }
            _ => false,
        }
}

fn sixtieth(digits: &[u8]) -> bool {
    number(digits).is_some_and(|count| count < 60)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

const fn leaps(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if leaps(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1 March of year 0: the proleptic Gregorian calendar with the year turned so that leap days come last.
const fn ordinal(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
        - 1
}

/// The inverse of [`ordinal`].
const fn civil(days: i64) -> (i64, i64, i64) {
    let era = days.div_euclid(146_097);
    let rest = days.rem_euclid(146_097);
    let year = (rest - rest / 1_460 + rest / 36_524 - rest / 146_096) / 365;
    let in_year = rest - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(value: &str, days: u32) -> Option<String> {
        let mut out = Vec::new();
        shift(value.as_bytes(), days, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn dates_move_back_and_keep_precision_zone_and_fraction() {
        for (value, days, expected) in [
            ("20200301", 1, "20200229"),
            ("20210301", 1, "20210228"),
            ("20000101", 3650, "19900103"),
            ("2019.07.04", 3, "20190701"),
            ("20190704101112.123456-0500", 3, "20190701101112.123456-0500"),
            ("20190704+0100", 3, "20190701+0100"),
            ("201907", 1, "201906"),
            ("2019", 1, "2018"),
            ("20190704-20190705", 3, "20190701-20190702"),
            ("-20190704", 3, "-20190701"),
            ("20190704-", 3, "20190701-"),
            ("20190704-0500-20190705-0500", 3, "20190701-0500-20190702-0500"),
            ("2019-2020", 1, "2018-2019"),
            ("20190704\\20190705 ", 3, "20190701\\20190702"),
            ("", 3, ""),
        ] {
            assert_eq!(shifted(value, days).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_date_is_not_shifted() {
        for value in
            ["SMITH", "20191301", "20190230", "2019070", "00000101", "20190704 SMITH", "-", "2019-07-04"]
                .into_iter()
                .chain([
                    "2019070410111",
                    "20190704251112",
                    "20190704.19310317",
                    "20190704+9912",
                    "20190704101112.",
                    "20190704123-0500",
                ])
        {
            assert_eq!(shifted(value, 3), None, "{value}");
        }
    }

    #[test]
    fn a_time_of_day_is_nothing_else() {
        for value in [
            "",
            "10",
            "1011",
            "101112",
            "101112.5",
            "101112.123456 ",
            "10:11:12",
            "235960",
            "08-0930",
            "10\\11",
            "1011\0",
        ] {
            assert!(is_time(value.as_bytes()), "{value}");
        }
        for value in [
            "19310317",
            "2511",
            "1061",
            "101112.1234567",
            "10.5",
            "4711",
            "101112 SMITH",
            "1",
            "10:1112",
            "1011\0SMITH",
        ] {
            assert!(!is_time(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        let first = ordinal(1899, 1, 1);
        for day in first..first + 146_097 {
            let (year, month, date) = civil(day);
            assert_eq!(ordinal(year, month, date), day);
            assert!((1..=days_of(year, month)).contains(&date), "{year} {month} {date}");
        }
    }
}
