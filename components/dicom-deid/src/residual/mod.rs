//! What was taken away, looked for in what stays: a name typed into a filter's description must not stay there.
//!
//! The survey collects names, numbers, places and dates as it meets them in attributes that will be replaced or
//! removed; the rewrite asks about each value that it would keep. This is a net under the table, not a proof: a name
//! that no attribute of the file gives is not found. UIDs are not collected here, their pseudonyms know them.

mod dates;
mod words;

use std::collections::BTreeSet;

use dicom_stream::{HELD_MAXIMUM, Tag};

use crate::charset::{Charset, is_plain};
use crate::host::Pseudonymized;
use crate::rules::tags;
use dates::Dates;
pub(crate) use words::Pairs;
use words::{Begins, COMMON, Folded, add_spellings, is_word, stands_at};

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

/// What was taken away.
#[derive(Default)]
pub(crate) struct Secrets {
    /// Words of names, and numbers.
    people: BTreeSet<Folded>,
    places: BTreeSet<Folded>,
    /// Words of two letters in names: by themselves they are as often something else.
    short: BTreeSet<[u8; 2]>,
    /// How the object's texts are read.
    pub(crate) charset: Charset,
    /// Which three letters any of them begins with: nearly all of a text is passed over by one look.
    begins: Begins,
    dates: Dates,
}

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Characters.
    Text,
    /// Words that the standard or a maker defines, addresses.
    Codes,
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
        self.add_words(value);
        if !is_plain(value) {
            for skeleton in self.charset.skeletons(value) {
                self.add_words(skeleton.as_bytes());
            }
        }
        // Family, given and middle name; titles and degrees have two letters too.
        for spelling in value.split(|byte| matches!(byte, b'=' | b'\\')) {
            let parts = spelling.split(|byte| *byte == b'^').take(3);
            for word in parts.flat_map(|part| part.split(|byte| !is_word(*byte))) {
                if let [one, other] = *word
                    && word.iter().all(u8::is_ascii_alphabetic)
                {
                    self.short.insert([one, other].map(|letter| letter.to_ascii_lowercase()));
                }
            }
        }
    }

    fn add_words(&mut self, value: &[u8]) {
        // Behind an escape a letter is two bytes, any of which may look like a delimiter: fragments of words.
        let escape = value.iter().position(|byte| *byte == 0x1B).unwrap_or(value.len());
        let (plain, escaped) = value.split_at_checked(escape).unwrap_or_default();
        for (part, minimum) in [(plain, WORD_MINIMUM), (escaped, WORD_MINIMUM + 2)] {
            for word in part.split(|byte| !is_word(*byte)).filter(|word| word.len() >= minimum) {
                add_spellings(word, &mut self.people, &mut self.begins);
            }
        }
        // Names in ideographs and syllables are written without anything between family and given name.
        for spelling in plain.split(|byte| matches!(byte, b'=' | b'\\')) {
            let mut parts = spelling.split(|byte| *byte == b'^').map(<[u8]>::trim_ascii);
            let joined = [parts.next(), parts.next()].map(Option::unwrap_or_default).concat();
            if joined.len() >= WORD_MINIMUM && joined.iter().all(|byte| *byte >= 0x80) {
                add_spellings(&joined, &mut self.people, &mut self.begins);
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
                add_spellings(one, words, &mut self.begins);
            }
            // `MRN0012345` is written `0012345` and `12345` too.
            if NUMBERS.contains(&tag.0)
                && let Some(digits) = digits_of(one)
            {
                let bare =
                    digits.iter().position(|digit| *digit != b'0').and_then(|first| digits.get(first..));
                for number in [Some(digits), bare].into_iter().flatten() {
                    if number.len() >= WORD_MINIMUM + 2 && number != one {
                        add_spellings(number, words, &mut self.begins);
                    }
                }
            }
        }
    }

    /// The dates of a DA or DT value.
    pub(crate) fn add_dates(&mut self, tag: Tag, value: &[u8]) {
        if tag == tags::BIRTH_DATE {
            self.dates.add_birth(value);
        } else {
            self.dates.add(value);
        }
    }

    /// Whether a value that would stay holds anything of what goes.
    pub(crate) fn stand_in(&self, tag: Tag, value: &[u8], reading: Reading, names: &Pseudonymized) -> bool {
        if value.len() < 2 {
            return false;
        }
        let places = !OF_THE_MAKER.contains(&tag);
        match reading {
            Reading::Numbers => self.number_in(value),
            Reading::Uids => uid_in(value, names) || self.number_in(value),
            Reading::Text | Reading::Codes => {
                self.text_in(value, places)
                    || uid_in(value, names)
                    || reading == Reading::Text && self.short_in(value)
                    || !is_plain(value)
                        && self
                            .charset
                            .skeletons(value)
                            .iter()
                            .any(|text| self.text_in(text.as_bytes(), places))
            }
            Reading::Binary => {
                self.word_in(value, BINARY_MINIMUM, places)
                    || self.dates.in_bytes(value)
                    || uid_in(value, names)
            }
        }
    }

    fn text_in(&self, value: &[u8], places: bool) -> bool {
        self.word_in(value, WORD_MINIMUM, places) || self.dates.in_text(value) || self.spaced_in(value)
    }

    /// Whether a text has a word of two letters that is a name: with a capital, as names are written; where it is a common
    /// word as well, only beside another one, or alone.
    fn short_in(&self, value: &[u8]) -> bool {
        if self.short.is_empty() {
            return false;
        }
        value.split(|byte| *byte == b'\\').any(|one| {
            let mut words = one.split(|byte| !is_word(*byte)).filter(|word| !word.is_empty()).peekable();
            let is_short = |word: &[u8]| {
                matches!(*word, [first, second] if first.is_ascii_uppercase()
                    && self.short.contains(&[first.to_ascii_lowercase(), second.to_ascii_lowercase()]))
            };
            let (mut first, mut before) = (true, false);
            while let Some(word) = words.next() {
                let found = is_short(word);
                let alone = first && words.peek().is_none();
                if found
                    && (before || alone || !COMMON.iter().any(|common| common.eq_ignore_ascii_case(word)))
                {
                    return true;
                }
                (first, before) = (false, found);
            }
            false
        })
    }

    /// Whether letters that stand each by itself make a word that goes: `J O H N`, `D.O.E.`.
    fn spaced_in(&self, value: &[u8]) -> bool {
        let is_gap = |byte: &u8| matches!(byte, b' ' | b'.' | b'-' | b'_');
        let mut at = 0;
        // Most texts have no such place.
        while let Some(found) = value.get(at..).and_then(|rest| {
            rest.windows(5).position(|five| {
                matches!(five, [a, b, c, d, e] if a.is_ascii_alphabetic() && is_gap(b) && c.is_ascii_alphabetic() && is_gap(d) && e.is_ascii_alphabetic())
            })
        }) {
            let begin = at + found;
            let letters: Vec<u8> = value
                .get(begin..)
                .unwrap_or_default()
                .chunks(2)
                .take_while(|pair| {
                    matches!(pair, [letter, gap] if letter.is_ascii_alphabetic() && is_gap(gap))
                        || matches!(pair, [letter] if letter.is_ascii_alphabetic())
                })
                .filter_map(|pair| pair.first().map(u8::to_ascii_lowercase))
                .collect();
            // The last letter may be followed by anything but a letter.
            let end = begin + 2 * letters.len();
            let last = value.get(end).filter(|_| !value.get(end + 1).copied().is_some_and(is_word));
            let last = last.filter(|letter| letter.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
            let letters = [letters.as_slice(), last.as_slice()].concat();
            let holds = |word: &Folded| letters.windows(word.len()).any(|window| *window == **word);
            if self.people.iter().any(holds) {
                return true;
            }
            at = end.max(begin + 1);
        }
        false
    }

    /// Prepares a search of compressed frames: of all bytes, a few times as fast as [`Secrets::stand_in`].
    pub(crate) fn pairs(&self) -> Pairs {
        let mut pairs = Pairs::default();
        for word in self.people.iter().chain(&self.places).filter(|word| word.len() >= BINARY_MINIMUM) {
            word.windows(2).take(Pairs::STEP).for_each(|pair| pairs.add(pair));
        }
        pairs
    }

    /// Whether a part of a frame holds anything of what goes, as binary values are searched.
    pub(crate) fn stand_in_frame(&self, bytes: &[u8], pairs: &Pairs, names: &Pseudonymized) -> bool {
        // Whatever has five letters begins at one of four places ahead of a pair that is looked at.
        let places = |at: usize| at.saturating_sub(Pairs::STEP - 1)..=at;
        let word = |at: usize| {
            stands_at(&self.people, bytes, at, BINARY_MINIMUM)
                || stands_at(&self.places, bytes, at, BINARY_MINIMUM)
        };
        let day = |at: usize| self.dates.begins(bytes.get(at..).unwrap_or_default());
        let uid = |at: usize| {
            let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
            let (before, behind) = bytes.split_at_checked(at).unwrap_or_default();
            let from = before.iter().rposition(|byte| !is_part(byte)).map_or(0, |before| before + 1);
            let to = at + behind.iter().position(|byte| !is_part(byte)).unwrap_or(behind.len());
            // A UID has 64 characters.
            to - from <= 128 && uid_in(bytes.get(from..to).unwrap_or_default(), names)
        };
        bytes.chunks(Pairs::STEP).enumerate().any(|(number, chunk)| {
            let Some(&[first, second]) = chunk.first_chunk::<2>() else { return false };
            let at = number * Pairs::STEP;
            pairs.may(first, second) && places(at).any(word)
                || is_numeric(first) && is_numeric(second) && (places(at).any(day) || uid(at))
        })
    }

    /// Among decimal numbers and the parts of UIDs only a whole one counts.
    fn number_in(&self, value: &[u8]) -> bool {
        value.split(|byte| matches!(byte, b'\\' | b' ' | b'.' | 0)).any(|number| {
            number.len() >= INSIDE_MINIMUM
                && number.iter().all(u8::is_ascii_digit)
                && (self.people.contains(number) || self.dates.in_bytes(number))
        })
    }

    fn word_in(&self, value: &[u8], minimum: usize, places: bool) -> bool {
        value.windows(WORD_MINIMUM).enumerate().any(|(at, front)| {
            self.begins.may(front)
                && (stands_at(&self.people, value, at, minimum)
                    || places && stands_at(&self.places, value, at, minimum))
        })
    }
}

/// The digits of a number that is written behind letters or zeros: all digits, where nothing but no digits stands ahead of them.
fn digits_of(number: &[u8]) -> Option<&[u8]> {
    let first = number.iter().position(u8::is_ascii_digit)?;
    number.get(first..).filter(|digits| digits.iter().all(u8::is_ascii_digit))
}

/// What dates and UIDs are made of.
const fn is_numeric(byte: u8) -> bool {
    matches!(byte, b'-'..=b'9')
}

/// Whether a UID that gets a pseudonym is written in a text. Short ones are versions and numbers.
fn uid_in(value: &[u8], names: &Pseudonymized) -> bool {
    value.split(|byte| !byte.is_ascii_digit() && *byte != b'.').any(|run| {
        run.len() >= INSIDE_MINIMUM
            && run.contains(&b'.')
            && std::str::from_utf8(run).is_ok_and(|run| names.uid(run.trim_matches('.')).is_some())
    })
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
        secrets.add_dates(tags::BIRTH_DATE, b"19310317");
        secrets.add_dates(tags::METHOD, b"2019.07.04-20190706\\19000101");
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
    fn names_are_found_in_capitals_and_small_letters_of_other_alphabets() {
        let found = |name: &[u8], text: &[u8]| {
            let mut secrets = Secrets::default();
            secrets.add_name(name);
            secrets.stand_in(Tag(0x0018_1160), text, Reading::Text, &Pseudonymized::default())
        };
        for (name, text) in [
            ("ИВАНОВСКИЙ^ПЁТР", "для Ивановский"),
            ("Ивановский^Пётр", "ПЁТР"),
            ("ивановский^пётр", "Пётр"),
            ("Äölmüller^Ünal", "ÄÖLMÜLLER"),
            ("Strauß^Jürgen", "jÜrgen"),
            ("王^伟", "王伟"),
            ("Hong^Gildong=洪^吉洞=홍^길동", "환자 홍길동"),
            ("Yamada^Tarou=山田^太郎", "山田太郎"),
            ("Müller^Eva", "for Mu\u{308}ller"),
            ("Mu\u{308}ller^Eva", "for MÜLLER"),
            ("Müller^Eva", "for Muller"),
            ("Ｄｏｅ^Ｊａｎｅ", "for Doe"),
            ("Doe^Jane", "for ＤＯＥ"),
            ("Hong=\u{1112}\u{1169}\u{11bc}^\u{1100}\u{1175}\u{11af}\u{1103}\u{1169}\u{11bc}", "환자 홍길동"),
            ("Doe^John", "J O H N"),
            ("Doe^John", "seen: D.O.E., Jane"),
            ("Doe^John", "x J-O-H-N D_O_E"),
            ("Ng^Wu", "for NG WU"),
            ("Ng^Wu", "Ng"),
            ("Ng^Wu", "seen by Ng."),
            ("An^Do", "AN"),
            ("An^Do", "for An Do"),
            ("Ng^Siew Li", "STD\\for Li"),
        ] {
            assert!(found(name.as_bytes(), text.as_bytes()), "{name} {text}");
        }
        // ISO 8859-1, ISO 8859-5, GB18030.
        let (one, other) = (b"\xC4\xD6LM\xDCLLER^X".as_slice(), b"\xB8\xB2\xB0\xBD\xBE\xB2^X".as_slice());
        assert!(found(one, b"\xC4\xF6lm\xFCller") && found(one, b"for \xE4\xF6lm\xFCller"));
        assert!(found(other, b"\xB8\xD2\xD0\xDD\xDE\xD2") && found(other, b"\xD8\xD2\xD0\xDD\xDE\xD2"));
        assert!(found(b"Wang^Wei=\xCD\xF5^\xCE\xB0", b"\xCD\xF5\xCE\xB0"));
        for (name, text) in [
            ("王^伟", "王者"),
            ("Müller^Eva", "Mühle"),
            ("Ng^Li", "NgLi"),
            ("Ng^Li", "5 ng of it"),
            ("Ng^Li", "SING LIED"),
            ("An^Do", "AN AXIAL SCAN"),
            ("Doe^John^^Dr^MD", "MD Dr"),
            ("Doe^John", "J O N"),
            ("Doe^John", "A P L R"),
            ("홍^길동", "홍수"),
        ] {
            assert!(!found(name.as_bytes(), text.as_bytes()), "{name} {text}");
        }
    }

    #[test]
    fn names_in_sets_of_two_bytes_a_character_are_found_in_any_spelling() {
        for (set, name) in [
            (b"\\ISO 2022 IR 87".as_slice(), b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B".as_slice()),
            (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7"),
            (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1B$)A\xD5\xC5^\x1B$)A\xD0\xA1\xB6\xAB"),
        ] {
            let mut secrets = Secrets { charset: Charset::of(set), ..Secrets::default() };
            secrets.add_name(name);
            let found = |text: &[u8]| {
                secrets.stand_in(Tag(0x0018_1160), text, Reading::Text, &Pseudonymized::default())
            };
            for text in [
                b"\x1B$B;3EDB@O:\x1B(B".as_slice(),
                b"for \x1B$B;3ED\x1B(B.",
                b"\x1B$)C\xFB\xF3\xD1\xCE\xD4\xD7",
                b"x \x1B$)C\xD1\xCE\xD4\xD7 x",
                b"\x1B$)A\xD5\xC5\xD0\xA1\xB6\xAB",
                "山田太郎".as_bytes(),
                "吉洞".as_bytes(),
                "小东".as_bytes(),
            ] {
                let ours = Charset::of(set).skeletons(text).iter().any(|text| {
                    let whole = match set {
                        b"\\ISO 2022 IR 87" => ["山田", "太郎"],
                        b"\\ISO 2022 IR 149" => ["吉洞", "洪吉洞"],
                        _ => ["小东", "张小东"],
                    };
                    whole.iter().any(|name| text.contains(name))
                });
                assert_eq!(found(text), ours, "{set:?} {text:?}");
            }
            assert!(!found(b"\x1B$B=@$i$+$$\x1B(B") && !found(b"\x1B$)C\xBA\xCE\xB5\xE5"));
        }
    }

    #[test]
    fn numbers_are_found_without_what_stands_ahead_of_them() {
        let found = |number: &[u8], text: &[u8]| {
            let mut secrets = Secrets::default();
            secrets.add(Tag(0x0010_0020), number);
            secrets.stand_in(Tag(0x0018_1160), text, Reading::Text, &Pseudonymized::default())
        };
        for (number, text) in [
            ("MRN0012345", "MRN0012345"),
            ("MRN0012345", "no. 12345"),
            ("MRN0012345", "0012345"),
            ("0012345", "12345"),
            ("PAT-456789", "x456789y"),
        ] {
            assert!(found(number.as_bytes(), text.as_bytes()), "{number} {text}");
        }
        for (number, text) in [
            ("MRN0001234", "1234"),
            ("MRN0012345", "112345"),
            ("1.2.840.113619.4.27", "113619"),
            ("12-34567", "34567"),
        ] {
            assert!(!found(number.as_bytes(), text.as_bytes()), "{number} {text}");
        }
    }

    #[test]
    fn dates_are_found_by_what_the_value_is_read_as() {
        for text in ["born 1931-03-17.", "v20190704"] {
            assert!(found(text, Reading::Text) && found(text, Reading::Binary), "{text}");
        }
        assert!(found("17MAR31", Reading::Text) && found("2019-7-4", Reading::Text));
        assert!(!found("17MAR31", Reading::Binary) && !found("310317", Reading::Numbers));
    }

    #[test]
    fn numbers_are_found_whole_and_bytes_by_longer_words() {
        assert!(found("1\\4711471", Reading::Numbers) && found("19310317", Reading::Numbers));
        assert!(!found("14711471", Reading::Numbers) && !found("0.5\\12", Reading::Numbers));
        assert!(found("\0\u{1}lüdenscheidt\0", Reading::Binary) && !found("\0eva\0", Reading::Binary));
    }
}
