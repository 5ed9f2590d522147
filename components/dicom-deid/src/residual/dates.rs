//! Dates that go: how they are spelled in texts, and how a text is searched for them.

use std::collections::BTreeSet;

use super::words::is_word;

/// Dates that were taken away.
#[derive(Default)]
pub(super) struct Dates {
    /// Year, month and day as one number.
    days: BTreeSet<u32>,
    /// Dates of birth with two digits of the year.
    births: BTreeSet<u32>,
}

impl Dates {
    /// The dates of a DA or DT value.
    pub(super) fn add(&mut self, value: &[u8]) {
        self.days.extend(dates_of(value));
    }

    /// Those of a date of birth. People write it in short forms, which for other dates are as often something else.
    pub(super) fn add_birth(&mut self, value: &[u8]) {
        self.add(value);
        self.births.extend(dates_of(value).map(|day| day % 1_000_000));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Whether one begins here, spelled as in binary values: with four digits of the year and no month by its name.
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        spelled(text).iter().flatten().any(|day| self.days.contains(day))
    }

    /// Whether bytes have one of them, spelled as [`Dates::begins`] has it.
    pub(super) fn in_bytes(&self, value: &[u8]) -> bool {
        !self.is_empty()
            && value
                .iter()
                .enumerate()
                .any(|(at, byte)| byte.is_ascii_digit() && self.begins(value.get(at..).unwrap_or_default()))
    }

    /// Whether a text has one of them: also without zeros ahead, with a month by its name, and a date of birth with two digits
    /// of the year.
    pub(super) fn in_text(&self, value: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut before = None;
        value.iter().enumerate().any(|(at, byte)| {
            let begins = before.replace(*byte).is_none_or(|before| !is_part(before));
            let here = value.get(at..).unwrap_or_default();
            byte.is_ascii_digit() && self.begins(here)
                || begins && byte.is_ascii_alphanumeric() && self.written(here)
        })
    }

    /// Whether a text begins with one that stands by itself, in parts: `13.12.1951`, `3-DEC-51`, `Dec 13, 1951`; `131251`.
    fn written(&self, text: &[u8]) -> bool {
        let (first, rest) = part(text);
        if let Some(Part::Number(number, 6)) = first {
            let parts = [number / 10_000, number / 100 % 100, number % 100];
            return ends(rest) && self.is_birth(parts);
        }
        let Some(first) = first else { return false };
        let (one, rest) = gap(rest);
        let (Some(second), rest) = part(rest) else { return false };
        let (other, rest) = gap(rest);
        let (Some(third), rest) = part(rest) else { return false };
        if !ends(rest) {
            return false;
        }
        let (day, month, year) = match (first, second, third) {
            (Part::Number(year, 4), Part::Month(month), Part::Number(day, 1 | 2))
            | (Part::Number(day, 1 | 2), Part::Month(month), Part::Number(year, 4))
            | (Part::Month(month), Part::Number(day, 1 | 2), Part::Number(year, 4)) => (day, month, year),
            (Part::Number(day, 1 | 2), Part::Month(month), Part::Number(year, 2))
            | (Part::Month(month), Part::Number(day, 1 | 2), Part::Number(year, 2)) => {
                return self.births.contains(&(year * 10_000 + month * 100 + day));
            }
            // Numbers alone are a date where the same character stands between them.
            _ if one.is_empty() || one != other => return false,
            (Part::Number(year, 4), Part::Number(month, 1 | 2), Part::Number(day, 1 | 2)) => {
                (day, month, year)
            }
            (Part::Number(one, 1 | 2), Part::Number(other, 1 | 2), Part::Number(year, 4)) => {
                return [(one, other), (other, one)]
                    .iter()
                    .any(|(day, month)| self.days.contains(&(year * 10_000 + month * 100 + day)));
            }
            (Part::Number(one, 1 | 2), Part::Number(two, 1 | 2), Part::Number(three, 2)) => {
                return self.is_birth([one, two, three]);
            }
            _ => return false,
        };
        self.days.contains(&(year * 10_000 + month * 100 + day))
    }

    /// Whether three numbers below a hundred are a date of birth: year, month, day; day, month, year; month, day, year.
    fn is_birth(&self, [one, two, three]: [u32; 3]) -> bool {
        [[one, two, three], [three, two, one], [three, one, two]]
            .iter()
            .any(|[year, month, day]| self.births.contains(&(year * 10_000 + month * 100 + day)))
    }
}

/// A piece of a written date.
#[derive(Clone, Copy)]
enum Part {
    /// Its value, and how many digits it has: six at most.
    Number(u32, usize),
    /// By its name, from one.
    Month(u32),
}

/// The number or month that a text begins with, and what stands behind it.
fn part(text: &[u8]) -> (Option<Part>, &[u8]) {
    let run = |is: fn(&u8) -> bool| text.iter().position(|byte| !is(byte)).unwrap_or(text.len());
    let digits = run(u8::is_ascii_digit);
    let letters = run(u8::is_ascii_alphabetic);
    let (here, rest) = text.split_at_checked(digits.max(letters)).unwrap_or_default();
    let part = match (digits, letters) {
        (1..=6, _) => {
            let value = here.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit.wrapping_sub(b'0')));
            Some(Part::Number(value, digits))
        }
        (0, 3..=9) => month(here).map(Part::Month),
        _ => None,
    };
    (part, rest)
}

/// What may stand between the parts of a date, two characters at most, and what stands behind it.
fn gap(text: &[u8]) -> (&[u8], &[u8]) {
    let is_gap = |byte: &&u8| matches!(**byte, b' ' | b'-' | b'.' | b'/' | b',');
    text.split_at_checked(text.iter().take(2).take_while(is_gap).count()).unwrap_or_default()
}

/// What a number or a word is a part of where it stands at it.
const fn is_part(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'-' | b'.' | b'/')
}

/// Whether nothing follows of which the text ahead could be a part.
fn ends(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b'-' | b'.' | b'/', next, ..] => !next.is_ascii_digit(),
        [next, ..] => !is_word(*next),
    }
}

/// A month by its English or German name, or the first three letters of it.
fn month(word: &[u8]) -> Option<u32> {
    const NAMES: [(&[u8], u32); 18] = [
        (b"january", 1),
        (b"januar", 1),
        (b"february", 2),
        (b"februar", 2),
        (b"march", 3),
        (b"mrz", 3),
        (b"april", 4),
        (b"may", 5),
        (b"mai", 5),
        (b"june", 6),
        (b"july", 7),
        (b"august", 8),
        (b"september", 9),
        (b"october", 10),
        (b"oktober", 10),
        (b"november", 11),
        (b"december", 12),
        (b"dezember", 12),
    ];
    let names = |name: &[u8]| {
        let begin = name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
        begin && (word.len() <= 4 || word.len() == name.len())
    };
    NAMES.iter().find(|(name, _)| names(name)).map(|(_, month)| *month)
}

/// The dates of a DA or DT value.
fn dates_of(value: &[u8]) -> impl Iterator<Item = u32> {
    value.split(|byte| matches!(byte, b'\\' | b'-' | b'+')).filter_map(|one| {
        let digits = one.iter().filter(|byte| **byte != b'.').copied().take(8);
        date(&digits.collect::<Vec<u8>>())
    })
}

/// The dates that the begin of a text may spell: `20190704`, `2019-07-04`, `2019/07/04`, `04.07.2019`, `04/07/2019`,
/// `07/04/2019`.
fn spelled(text: &[u8]) -> [Option<u32>; 3] {
    let separator = |byte: &u8| matches!(byte, b'-' | b'/' | b'.');
    let compact = text.get(..8).and_then(date);
    let (mut year_first, mut swapped) = (None, None);
    if let Some(&[a, b, c, d, e, f, g, h, i, j]) = text.first_chunk::<10>() {
        if separator(&e) && e == h {
            year_first = date(&[a, b, c, d, f, g, i, j]);
        } else if separator(&c) && c == f {
            year_first = date(&[g, h, i, j, d, e, a, b]);
            swapped = date(&[g, h, i, j, a, b, d, e]);
        }
    }
    [compact, year_first, swapped]
}

/// Eight digits as a number, where they can be a date of these centuries.
fn date(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0_u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))?;
    let (month, day) = (number / 100 % 100, number % 100);
    // The first day of 1900 stands for a date that nobody knows.
    let dummy = number == 19_000_101;
    ((1800..=2199).contains(&(number / 10_000))
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && !dummy)
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Dates {
        let mut dates = Dates::default();
        dates.add_birth(b"19511213");
        dates.add(b"20190704\\2019.07.05-20190706\\19000101");
        dates
    }

    #[test]
    fn dates_are_found_however_they_are_written() {
        for text in [
            "19511213",
            "born 1951-12-13.",
            "1951/12/13",
            "13.12.1951",
            "13/12/1951",
            "12/13/1951",
            "v20190704",
            "20190706101112",
        ] {
            assert!(known().in_text(text.as_bytes()) && known().in_bytes(text.as_bytes()), "{text}");
        }
        for text in [
            "13DEC1951",
            "born 13-Dec-1951,",
            "13. Dezember 1951",
            "Dec 13, 1951",
            "DECEMBER 13 1951",
            "1951-DEC-13",
            "4.7.2019",
            "7/4/2019",
            "2019-7-4",
            "4 July 2019",
            "4JUL2019",
            "51-12-13",
            "13.12.51",
            "12/13/51",
            "13DEC51",
            "dec 13 51",
            "DOB 131251",
            "511213",
            "121351;",
            "131251 5",
        ] {
            assert!(known().in_text(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_date_is_none() {
        for text in [
            "19511214",
            "1951",
            "20190707",
            "1951-12/13",
            "19000101",
            "1 Jan 1900",
            // Dates of others than birth in short.
            "04.07.19",
            "190704",
            "04JUL19",
            // Parts of something else.
            "1.13.12.51",
            "13.12.51.2",
            "1131251",
            "v131251",
            "0.131251",
            "13 12 51x",
            "13DECADE1951",
            "13D1951",
            "1.2.840.10008.5",
            "",
        ] {
            assert!(!known().in_text(text.as_bytes()), "{text}");
        }
    }
}
