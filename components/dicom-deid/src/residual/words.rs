//! Words that go: how they are spelled, and how a text is searched for them.

use std::collections::BTreeSet;

use super::{BINARY_MINIMUM, INSIDE_MINIMUM, WORD_MINIMUM};

/// Letters in lower case, so that a search does not depend on the case.
pub(super) type Folded = Box<[u8]>;

/// Notes a word as it is and, where it has letters that the search does not fold, in capitals, in small letters, and
/// in those behind a capital: as UTF-8, else as the two families of single-byte sets that have capitals (ISO 8859-1 and
/// its like; Cyrillic), whichever it is.
pub(super) fn add_spellings(word: &[u8], words: &mut BTreeSet<Folded>, begins: &mut Begins) {
    let mut add = |word: &[u8]| {
        begins.add(word);
        words.insert(folded(word));
    };
    add(word);
    if word.is_ascii() {
        return;
    }
    if let Ok(text) = std::str::from_utf8(word) {
        let (small, capital) = (text.to_lowercase(), text.to_uppercase());
        let first = text.chars().next().map(char::len_utf8).unwrap_or_default();
        let (head, tail) = text.split_at_checked(first).unwrap_or_default();
        add(small.as_bytes());
        add(capital.as_bytes());
        add((head.to_uppercase() + &tail.to_lowercase()).as_bytes());
        return;
    }
    let latin = |byte: u8, capital: bool| match byte {
        0xC0..=0xDE if !capital && byte != 0xD7 => byte + 0x20,
        0xE0..=0xFE if capital && byte != 0xF7 => byte - 0x20,
        _ => byte,
    };
    let cyrillic = |byte: u8, capital: bool| match byte {
        0xB0..=0xCF if !capital => byte + 0x20,
        0xD0..=0xEF if capital => byte - 0x20,
        0xA1..=0xAF if !capital => byte + 0x50,
        0xF1..=0xFF if capital => byte - 0x50,
        _ => byte,
    };
    let sets: [&dyn Fn(u8, bool) -> u8; 2] = [&latin, &cyrillic];
    for set in sets {
        let spelled = |capital: fn(usize) -> bool| -> Vec<u8> {
            word.iter().enumerate().map(|(at, byte)| set(*byte, capital(at))).collect()
        };
        add(&spelled(|_| false));
        add(&spelled(|_| true));
        add(&spelled(|at| at == 0));
    }
}

/// The pairs of letters in the first five of each word, one bit for each pair there is. A text that is searched for
/// words of five letters and more need be looked at only at every fourth place.
pub(crate) struct Pairs(Box<[u64; 1024]>);

impl Default for Pairs {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl Pairs {
    pub(super) const STEP: usize = BINARY_MINIMUM - 1;

    pub(super) fn add(&mut self, pair: &[u8]) {
        if let Some(&[first, second]) = pair.first_chunk::<2>() {
            let place = Self::place(first, second);
            if let Some(bits) = self.0.get_mut(place / 64) {
                *bits |= 1 << (place % 64);
            }
        }
    }

    pub(super) fn may(&self, first: u8, second: u8) -> bool {
        let place = Self::place(first, second);
        self.0.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
    }

    fn place(first: u8, second: u8) -> usize {
        usize::from(first.to_ascii_lowercase()) << 8 | usize::from(second.to_ascii_lowercase())
    }
}

/// A set of three-letter beginnings, one bit for each of 1024 sums.
#[derive(Default)]
pub(super) struct Begins([u64; 16]);

impl Begins {
    pub(super) fn add(&mut self, word: &[u8]) {
        if let Some((place, bit)) = Self::place(word)
            && let Some(bits) = self.0.get_mut(place)
        {
            *bits |= bit;
        }
    }

    pub(super) fn may(&self, front: &[u8]) -> bool {
        Self::place(front).is_some_and(|(place, bit)| self.0.get(place).is_some_and(|bits| bits & bit != 0))
    }

    fn place(word: &[u8]) -> Option<(usize, u64)> {
        let [a, b, c] = word.first_chunk()?.map(|byte: u8| usize::from(byte.to_ascii_lowercase()));
        let sum = a * 37 + b * 5 + c * 131;
        Some((sum / 64 % 16, 1 << (sum % 64)))
    }
}

/// Whether one of `words` stands at `at`, by itself where it is short.
pub(super) fn stands_at(words: &BTreeSet<Folded>, value: &[u8], at: usize, minimum: usize) -> bool {
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

pub(super) const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

pub(super) fn folded(bytes: &[u8]) -> Folded {
    bytes.to_ascii_lowercase().into_boxed_slice()
}

/// Words of two letters that stand in many texts, some of which are names as well.
pub(super) const COMMON: [&[u8]; 56] = [
    b"an", b"ap", b"as", b"at", b"ax", b"be", b"by", b"ca", b"cm", b"co", b"ct", b"da", b"de", b"do", b"dr",
    b"el", b"en", b"et", b"go", b"he", b"hi", b"id", b"if", b"ii", b"in", b"is", b"it", b"iv", b"la", b"le",
    b"lo", b"ma", b"md", b"me", b"ml", b"mm", b"mr", b"ms", b"my", b"no", b"of", b"on", b"or", b"pa", b"ph",
    b"pt", b"ra", b"se", b"so", b"st", b"te", b"ti", b"to", b"tr", b"up", b"us",
];
