//! What was taken away, looked for in what stays: a name typed into a filter's description must not stay there.
//!
//! The survey collects names, numbers, places and dates as it meets them in attributes that will be replaced or
//! removed; the rewrite asks about each value that it would keep. This is a net under the table, not a proof: a name
//! that no attribute of the file gives is not found. UIDs are not collected here, their pseudonyms know them.

use std::collections::BTreeSet;

use dicom_stream::{HELD_MAXIMUM, Tag};

use crate::host::Pseudonymized;
use crate::rules::tags;

/// Binary values beyond this, 1 MiB, are not searched: waveforms, megabytes of numbers that stream past.
pub(crate) const BINARY_MAXIMUM: usize = HELD_MAXIMUM;

/// The shortest word that identifies.
const WORD_MINIMUM: usize = 3;

/// From this length on a word also counts inside of a longer one.
const INSIDE_MINIMUM: usize = 6;

/// The shortest word that is looked for among numbers and bytes, where chance makes shorter ones.
const BINARY_MINIMUM: usize = 5;

/// Maker and model: an institution that is a maker's laboratory bears its name.
const OF_THE_MAKER: [Tag; 2] = [Tag(0x0008_0070), Tag(0x0008_1090)];

/// Attributes that number a patient, each value whole.
const NUMBERS: [u32; 13] = [
    0x0008_0050, // Accession Number
    0x0010_0020, // Patient ID
    0x0010_1000, // Other Patient IDs
    0x0010_1090, // Medical Record Locator
    0x0010_2154, // Patient's Telephone Numbers
    0x0020_0010, // Study ID
    0x0038_0010, // Admission ID
    0x0038_0060, // Service Episode ID
    0x0040_0009, // Scheduled Procedure Step ID
    0x0040_0253, // Performed Procedure Step ID
    0x0040_1001, // Requested Procedure ID
    0x0040_2016, // Placer Order Number
    0x0040_2017, // Filler Order Number
];

/// Attributes that name a place or a device, each value whole.
const PLACES: [u32; 9] = [
    0x0008_0080, // Institution Name
    0x0008_0081, // Institution Address
    0x0008_0092, // Referring Physician's Address
    0x0008_0094, // Referring Physician's Telephone Numbers
    0x0008_1010, // Station Name
    0x0010_1040, // Patient's Address
    0x0018_1000, // Device Serial Number
    0x0038_0300, // Current Patient Location
    0x0040_1102, // Person's Address
];

/// Letters in lower case, so that a search does not depend on the case.
type Folded = Box<[u8]>;

/// What was taken away.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Words of names, and numbers.
    people: BTreeSet<Folded>,
    places: BTreeSet<Folded>,
    /// Which three letters any of them begins with: nearly all of a text is passed over by one look.
    begins: Begins,
    /// Year, month and day as one number.
    dates: BTreeSet<u32>,
}

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Characters.
    Text,
    /// UIDs.
    Uids,
    /// Decimal numbers as characters: only a whole number is one.
    Numbers,
    /// Anything.
    Binary,
}

impl Secrets {
    /// Whether [`Secrets::add`] takes values of this attribute.
    pub(crate) fn names(tag: Tag) -> bool {
        NUMBERS.contains(&tag.0) || PLACES.contains(&tag.0)
    }

    /// The words of a person's name, all components and spellings.
    pub(crate) fn add_name(&mut self, value: &[u8]) {
        // Behind an escape a letter is two bytes, any of which may look like a delimiter: fragments of words.
        let escape = value.iter().position(|byte| *byte == 0x1B).unwrap_or(value.len());
        let (plain, escaped) = value.split_at_checked(escape).unwrap_or_default();
        for (part, minimum) in [(plain, WORD_MINIMUM), (escaped, WORD_MINIMUM + 2)] {
            for word in part.split(|byte| !is_word(*byte)).filter(|word| word.len() >= minimum) {
                self.begins.add(word);
                self.people.insert(folded(word));
            }
        }
    }

    /// A value of an attribute that may number somebody or name a place.
    pub(crate) fn add(&mut self, tag: Tag, value: &[u8]) {
        let words = match () {
            () if NUMBERS.contains(&tag.0) => &mut self.people,
            () if PLACES.contains(&tag.0) => &mut self.places,
            () => return,
        };
        // Numbers of steps and studies are often counted from one.
        let minimum = if tag == tags::PATIENT_ID { WORD_MINIMUM } else { WORD_MINIMUM + 2 };
        for one in value.split(|byte| matches!(byte, b'\\' | 0)).map(<[u8]>::trim_ascii) {
            if one.len() >= minimum && one.iter().copied().any(is_word) {
                self.begins.add(one);
                words.insert(folded(one));
            }
        }
    }

    /// The dates of a DA or DT value.
    pub(crate) fn add_dates(&mut self, value: &[u8]) {
        for one in value.split(|byte| matches!(byte, b'\\' | b'-' | b'+')) {
            let digits = one.iter().filter(|byte| **byte != b'.').copied().take(8);
            let digits: Vec<u8> = digits.collect();
            self.dates.extend(date(&digits));
        }
    }

    /// Whether a value that would stay holds anything of what goes.
    pub(crate) fn stand_in(&self, tag: Tag, value: &[u8], reading: Reading, names: &Pseudonymized) -> bool {
        if value.len() < WORD_MINIMUM {
            return false;
        }
        let places = !OF_THE_MAKER.contains(&tag);
        match reading {
            Reading::Numbers => self.number_in(value),
            Reading::Uids => uid_in(value, names) || self.number_in(value),
            Reading::Text => {
                self.word_in(value, WORD_MINIMUM, places) || self.date_in(value) || uid_in(value, names)
            }
            Reading::Binary => {
                self.word_in(value, BINARY_MINIMUM, places) || self.date_in(value) || uid_in(value, names)
            }
        }
    }

    /// Among decimal numbers and the parts of UIDs only a whole one counts.
    fn number_in(&self, value: &[u8]) -> bool {
        value.split(|byte| matches!(byte, b'\\' | b' ' | b'.' | 0)).any(|number| {
            number.len() >= INSIDE_MINIMUM
                && number.iter().all(u8::is_ascii_digit)
                && (self.people.contains(number) || self.date_in(number))
        })
    }

    fn word_in(&self, value: &[u8], minimum: usize, places: bool) -> bool {
        value.windows(WORD_MINIMUM).enumerate().any(|(at, front)| {
            self.begins.may(front)
                && (stands_at(&self.people, value, at, minimum)
                    || places && stands_at(&self.places, value, at, minimum))
        })
    }

    fn date_in(&self, value: &[u8]) -> bool {
        !self.dates.is_empty()
            && value.iter().enumerate().any(|(at, byte)| {
                byte.is_ascii_digit()
                    && spelled(value.get(at..).unwrap_or_default())
                        .iter()
                        .flatten()
                        .any(|day| self.dates.contains(day))
            })
    }
}

/// A set of three-letter beginnings, one bit for each of 1024 sums.
#[derive(Default)]
struct Begins([u64; 16]);

impl Begins {
    fn add(&mut self, word: &[u8]) {
        if let Some((place, bit)) = Self::place(word)
            && let Some(bits) = self.0.get_mut(place)
        {
            *bits |= bit;
        }
    }

    fn may(&self, front: &[u8]) -> bool {
        Self::place(front).is_some_and(|(place, bit)| self.0.get(place).is_some_and(|bits| bits & bit != 0))
    }

    fn place(word: &[u8]) -> Option<(usize, u64)> {
        let [a, b, c] = word.first_chunk()?.map(|byte: u8| usize::from(byte.to_ascii_lowercase()));
        let sum = a * 37 + b * 5 + c * 131;
        Some((sum / 64 % 16, 1 << (sum % 64)))
    }
}

/// Whether one of `words` stands at `at`, by itself where it is short.
fn stands_at(words: &BTreeSet<Folded>, value: &[u8], at: usize, minimum: usize) -> bool {
    let here = value.get(at..).unwrap_or_default();
    let alone = |length: usize| {
        let before = at.checked_sub(1).and_then(|before| value.get(before));
        let after = here.get(length);
        !before.copied().is_some_and(is_word) && !after.copied().is_some_and(is_word)
    };
    let front = folded(here.get(..WORD_MINIMUM).unwrap_or_default());
    words.range(front.clone()..).take_while(|word| word.starts_with(&front)).any(|word| {
        word.len() >= minimum
            && here.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word))
            && (word.len() >= INSIDE_MINIMUM || alone(word.len()))
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

/// Whether a UID that gets a pseudonym is written in a text. Short ones are versions and numbers.
fn uid_in(value: &[u8], names: &Pseudonymized) -> bool {
    value.split(|byte| !byte.is_ascii_digit() && *byte != b'.').any(|run| {
        run.len() >= INSIDE_MINIMUM
            && run.contains(&b'.')
            && std::str::from_utf8(run).is_ok_and(|run| names.uid(run.trim_matches('.')).is_some())
    })
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn folded(bytes: &[u8]) -> Folded {
    bytes.to_ascii_lowercase().into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, reading: Reading) -> bool {
        let mut secrets = Secrets::default();
        secrets.add_name("Müller-Lüdenscheidt^Eva^^Dr.=".as_bytes());
        secrets.add(Tag(0x0010_0020), b" AB-12 ");
        secrets.add(Tag(0x0010_1000), b"4711471\\0815081");
        secrets.add(Tag(0x0008_0080), b"Acme Hospital");
        secrets.add(Tag(0x0020_0010), b"12");
        secrets.add_dates(b"19310317\\2019.07.04-20190706\\19000101");
        secrets.stand_in(Tag(0x0018_1160), text.as_bytes(), reading, &Pseudonymized::default())
    }

    #[test]
    fn words_numbers_and_places_are_found_in_any_case_and_short_ones_only_alone() {
        for text in
            ["for MüLLER", "xLüDENSCHEIDTx", "eva", "STD\\Eva.", "id ab-12", "no4711471x", "at ACME HOSPITAL"]
        {
            assert!(found(text, Reading::Text), "{text}");
        }
        for text in ["", "STD", "evaluation", "AB-123", "12", "Acme", "dr", "hospital"] {
            assert!(!found(text, Reading::Text), "{text}");
        }
    }

    #[test]
    fn dates_are_found_in_six_spellings() {
        for text in [
            "19310317",
            "born 1931-03-17.",
            "1931/03/17",
            "17.03.1931",
            "17/03/1931",
            "03/17/1931",
            "v20190704",
            "20190706101112",
        ] {
            assert!(found(text, Reading::Text) && found(text, Reading::Binary), "{text}");
        }
        for text in ["19310318", "1931-3-17", "1931", "20190705", "1931-03/17", "19000101"] {
            assert!(!found(text, Reading::Text), "{text}");
        }
    }

    #[test]
    fn numbers_are_found_whole_and_bytes_by_longer_words() {
        assert!(found("1\\4711471", Reading::Numbers) && found("19310317", Reading::Numbers));
        assert!(!found("14711471", Reading::Numbers) && !found("0.5\\12", Reading::Numbers));
        assert!(found("\0\u{1}lüdenscheidt\0", Reading::Binary) && !found("\0eva\0", Reading::Binary));
    }
}
