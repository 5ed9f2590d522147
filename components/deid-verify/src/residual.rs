//! What looks like an identity in a value that stays: patterns, since the names of this patient are not known here.
//!
//! Each pattern is narrow: what ought to be kept (numbers of versions, of protocols, units) must not look like one.

/// Code of what stands in a text; none where nothing does.
pub(crate) fn in_text(value: &[u8]) -> Option<&'static str> {
    let plain = found(value, 3).or_else(|| is_spaced_out(value).then_some("name-in-value"));
    // Full-width forms; characters of two bytes behind an escape (PS3.5 annexes H to K).
    plain
        .or_else(|| value.contains(&0xEF).then(|| found(&narrow(value), 3)).flatten())
        .or_else(|| value.contains(&0x1B).then(|| found(&unescaped(value), 3)).flatten())
}

/// A text in UTF-8 with ASCII in the place of its full-width forms (U+FF01 to U+FF5E).
fn narrow(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let wide = match text {
            [0xEF, 0xBC, low @ 0x81..=0xBF, ..] => Some(low - 0x60),
            [0xEF, 0xBD, low @ 0x80..=0x9E, ..] => Some(low - 0x20),
            _ => None,
        };
        out.push(wide.unwrap_or(*first));
        text = if wide.is_some() { text.get(3..).unwrap_or_default() } else { rest };
    }
    out
}

/// A text without its escape sequences (ISO 2022), and with letters of no script where a set of two bytes a character is
/// called into the lower half.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let (mut out, mut wide) = (Vec::with_capacity(text.len()), false);
    while let Some((first, rest)) = text.split_first() {
        text = rest;
        if *first != 0x1B {
            let hidden = wide && matches!(first, 0x21..=0x7E);
            out.push(if hidden { 0xFF } else { *first });
            continue;
        }
        let length = rest.iter().take_while(|byte| matches!(byte, 0x20..=0x2F)).count();
        // `$` alone, or with `(`: the lower half; with `)`: the upper half, whose bytes are no ASCII.
        match rest.get(..length).unwrap_or_default() {
            b"$" | b"$(" => wide = true,
            b"(" => wide = false,
            _ => {}
        }
        text = rest.get(length + 1..).unwrap_or_default();
    }
    out
}

/// `J O H N`: four capitals and more, each by itself. Letters of directions are not taken for a name.
fn is_spaced_out(text: &[u8]) -> bool {
    text.split(|byte| !matches!(byte, b' ' | b'A'..=b'Z')).any(|part| {
        let mut letters = 0;
        let mut named = false;
        part.split(|byte| *byte == b' ').any(|word| {
            let [letter] = word else {
                (letters, named) = (0, false);
                return false;
            };
            letters += 1;
            named |= !b"AFHILPRS".contains(letter);
            letters >= 4 && named
        })
    })
}

/// The same for bytes: every run of printable characters, and longer words, since chance makes short ones.
pub(crate) fn in_binary(value: &[u8]) -> Option<&'static str> {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    value.split(|byte| !printable(byte)).filter(|run| run.len() >= 8).find_map(|run| found(run, 5))
}

/// The same for the bytes of a compressed frame, of which there are many more: of longer runs.
pub(crate) fn in_frame(value: &[u8]) -> Option<&'static str> {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    value.split(|byte| !printable(byte)).filter(|run| run.len() >= 12).find_map(|run| found(run, 5))
}

fn found(text: &[u8], word: usize) -> Option<&'static str> {
    text.iter().enumerate().find_map(|(at, byte)| {
        let (before, from) = text.split_at_checked(at)?;
        match byte {
            b'@' if is_address(before, from) => Some("address-in-value"),
            b'^' if is_name(before, from, word) => Some("name-in-value"),
            b'+' if is_international(from) => Some("telephone-in-value"),
            b'0'..=b'9' if !before.last().is_some_and(u8::is_ascii_digit) => number(before, from),
            _ if byte.is_ascii_alphabetic() && !before.last().is_some_and(u8::is_ascii_alphanumeric) => {
                if is_label(from) {
                    Some("identifier-in-value")
                } else {
                    is_day_behind_month(from).then_some("date-in-value")
                }
            }
            _ => None,
        }
    })
}

/// `somebody@place.tld`
fn is_address(before: &[u8], from: &[u8]) -> bool {
    let local = before.last().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let domain = from.get(1..).unwrap_or_default();
    let end = domain.iter().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')));
    let domain = domain.get(..end.unwrap_or(domain.len())).unwrap_or_default();
    let mut parts = domain.split(|byte| *byte == b'.').filter(|part| !part.is_empty());
    let (first, last) = (parts.next(), parts.next_back());
    local
        && first.is_some_and(|part| part.len() >= 2)
        && last.is_some_and(|part| part.len() >= 2 && part.iter().all(u8::is_ascii_alphabetic))
}

/// `Family^Given`: words of letters on both sides.
fn is_name(before: &[u8], from: &[u8], word: usize) -> bool {
    let letter = |byte: &&u8| byte.is_ascii_alphabetic() || **byte >= 0x80;
    let family = before.iter().rev().take_while(letter).count();
    let given = from.iter().skip(1).take_while(letter).count();
    // `Ng^Wu`: two letters are a name where each begins with a capital; units do not.
    let starts = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_uppercase() || *byte >= 0x80);
    family >= word && given >= word
        || word == 3
            && family >= 2
            && given >= 2
            && starts(before.get(before.len() - family..).and_then(<[u8]>::first))
            && starts(from.get(1))
}

/// `+49 89 1234567`
fn is_international(from: &[u8]) -> bool {
    let rest = from.get(1..).unwrap_or_default();
    let run = rest
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'(' | b')' | b'/'));
    let digits = run.filter(|byte| byte.is_ascii_digit()).count();
    rest.first().is_some_and(u8::is_ascii_digit) && (8..=15).contains(&digits)
}

/// A label that a number of a person follows: `MRN 12345`, `SSN: 123…`, `DOB=…`.
fn is_label(from: &[u8]) -> bool {
    const LABELS: [&[u8]; 6] = [b"MRN", b"SSN", b"DOB", b"PATID", b"NHS", b"PATIENTID"];
    LABELS.iter().any(|label| {
        let here = from.get(..label.len()).is_some_and(|here| here.eq_ignore_ascii_case(label));
        let rest = from.get(label.len()..).unwrap_or_default();
        let gap = rest
            .iter()
            .take(4)
            .take_while(|byte| matches!(byte, b' ' | b':' | b'=' | b'#' | b'-' | b'.'))
            .count();
        here && rest.iter().skip(gap).take_while(|byte| byte.is_ascii_digit()).count() >= 4
    })
}

/// `13DEC1951`, `13-Dec-1951`, `13. December 1951`
fn is_day_ahead_of_month(from: &[u8]) -> bool {
    is_day(from).is_some_and(|rest| is_month(gap(rest)).is_some_and(|rest| is_year(gap(rest))))
}

/// `Dec 13, 1951`
fn is_day_behind_month(from: &[u8]) -> bool {
    is_month(from).is_some_and(|rest| is_day(gap(rest)).is_some_and(|rest| is_year(gap(rest))))
}

/// What stands behind one or two digits.
fn is_day(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    text.get(digits..).filter(|_| (1..=2).contains(&digits))
}

/// What stands behind the name of a month, English or German, whole or by its first three letters.
fn is_month(text: &[u8]) -> Option<&[u8]> {
    const NAMES: [&[u8]; 17] = [
        b"JANUARY",
        b"JANUAR",
        b"FEBRUARY",
        b"FEBRUAR",
        b"MARCH",
        b"APRIL",
        b"MAY",
        b"MAI",
        b"JUNE",
        b"JULY",
        b"AUGUST",
        b"SEPTEMBER",
        b"OCTOBER",
        b"OKTOBER",
        b"NOVEMBER",
        b"DECEMBER",
        b"DEZEMBER",
    ];
    let letters = text.iter().take(10).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let (word, rest) = text.split_at_checked(letters)?;
    let is_one = NAMES.iter().any(|name| {
        word.eq_ignore_ascii_case(name)
            || letters == 3 && name.get(..3).is_some_and(|short| word.eq_ignore_ascii_case(short))
    });
    is_one.then_some(rest)
}

/// Whether a text begins with a year of two centuries.
fn is_year(text: &[u8]) -> bool {
    matches!(text, [b'1', b'9', third, fourth, rest @ ..] | [b'2', b'0', third, fourth, rest @ ..]
        if third.is_ascii_digit() && fourth.is_ascii_digit() && !rest.first().is_some_and(u8::is_ascii_alphanumeric))
}

/// What stands behind up to two characters that part a date.
fn gap(text: &[u8]) -> &[u8] {
    let length =
        text.iter().take(2).take_while(|byte| matches!(byte, b' ' | b'-' | b'.' | b'/' | b',')).count();
    text.get(length..).unwrap_or_default()
}

/// What begins with digits: dates in their spellings, telephone and social security numbers.
fn number(before: &[u8], from: &[u8]) -> Option<&'static str> {
    // Inside of a word, a UID or a decimal it is a part of that.
    if before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'/')) {
        return None;
    }
    let shaped = |shape: &[u8]| {
        let fits = shape.iter().zip(from).all(|(kind, byte)| match kind {
            b'd' => byte.is_ascii_digit(),
            b's' => matches!(byte, b'-' | b'.' | b' '),
            b'/' => matches!(byte, b'-' | b'.' | b'/'),
            kind => byte == kind,
        });
        let behind = from.get(shape.len());
        fits && from.len() >= shape.len() && !behind.is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    let value = |places: &[usize]| {
        places.iter().fold(0_u32, |sum, place| {
            sum * 10 + from.get(*place).map_or(0, |digit| u32::from(digit.wrapping_sub(b'0')))
        })
    };
    let is_day = |year: u32, month: u32, day: u32| {
        (1900..=2099).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && (year, month, day) != (1900, 1, 1)
    };
    let date = shaped(b"dddddddd") && is_day(value(&[0, 1, 2, 3]), value(&[4, 5]), value(&[6, 7]))
        || shaped(b"dddd/dd/dd") && is_day(value(&[0, 1, 2, 3]), value(&[5, 6]), value(&[8, 9]))
        || shaped(b"dd/dd/dddd")
            && (is_day(value(&[6, 7, 8, 9]), value(&[3, 4]), value(&[0, 1]))
                || is_day(value(&[6, 7, 8, 9]), value(&[0, 1]), value(&[3, 4])))
        || is_day_ahead_of_month(from);
    if date {
        Some("date-in-value")
    } else if shaped(b"dddsdddsdddd") || shaped(b"ddd) dddsdddd") {
        Some("telephone-in-value")
    } else if shaped(b"ddd-dd-dddd") {
        Some("identifier-in-value")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_identity_is_found_in_text_and_in_bytes() {
        for (text, code) in [
            ("mail jane.doe@clinic.org", "address-in-value"),
            ("for DOE^JANE", "name-in-value"),
            ("call +49 89 1234567", "telephone-in-value"),
            ("555-123-4567", "telephone-in-value"),
            ("(555) 123-4567", "telephone-in-value"),
            ("MRN: 0815081", "identifier-in-value"),
            ("ssn 123-45-6789", "identifier-in-value"),
            ("123-45-6789", "identifier-in-value"),
            ("seen 19620314 again", "date-in-value"),
            ("seen 1962-03-14", "date-in-value"),
            ("14.03.1962", "date-in-value"),
            ("03/14/1962", "date-in-value"),
            ("14MAR1962", "date-in-value"),
            ("born 3-Mar-1962", "date-in-value"),
            ("14. Oktober 1962", "date-in-value"),
            ("Mar 14, 1962", "date-in-value"),
            ("ON MARCH 14 1962.", "date-in-value"),
            ("for NG^WU", "name-in-value"),
            ("Ng^Weiming", "name-in-value"),
            ("for J O H N  D O E", "name-in-value"),
            ("Ｄｏｅ＾Ｊａｎｅ", "name-in-value"),
            ("born １９６２-０３-１４", "date-in-value"),
            ("Mu\u{308}ller^Jo\u{308}rg", "name-in-value"),
            ("山田^太郎", "name-in-value"),
            ("\u{1b}$B;3ED\u{1b}(B^\u{1b}$BB@O:\u{1b}(B", "name-in-value"),
            ("\u{1b}$(D0!\u{1b}(B^\u{1b}$(D0\"\u{1b}(B", "name-in-value"),
        ] {
            assert_eq!(in_text(text.as_bytes()), Some(code), "{text}");
        }
        assert_eq!(in_binary(b"\0\x01\x02jane@clinic.org\0"), Some("address-in-value"));
        assert_eq!(in_binary(b"\0SMITH^JANET\0"), Some("name-in-value"));
        // KS X 1001 in the upper half, and GB2312.
        assert_eq!(in_text(b"\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7"), Some("name-in-value"));
        assert_eq!(in_text(b"\x1B$)A\xCD\xF5^\x1B$)A\xD0\xA1"), Some("name-in-value"));
    }

    #[test]
    fn what_ought_to_be_kept_looks_like_nothing() {
        for text in [
            "",
            "syngo MR 2004A 4VA25A",
            "10^3/uL",
            "HELICAL_CT",
            "1.2.840.10008.5",
            "v12.34.5678",
            "512\\512",
            "19000101",
            "T1 mprage 1.0x1.0x1.0",
            "20041399",
            "99999999",
            "mL/(100.g)",
            "a@b",
            "2.5.1.1.4.1",
            "rev-2004-01-01b",
            "3 Mar 19620",
            "123MAR1962",
            "3 MARK 1962",
            "MAR 1962",
            "Mars 14 1962",
            "14 mm 1962",
            "kg^m",
            "mg^ml",
            "A B C",
            "R L A P H F",
            "T1 W I 3 D",
            "\u{1b}$B;3ED\u{1b}(B",
        ] {
            assert_eq!(in_text(text.as_bytes()), None, "{text}");
        }
        assert_eq!(in_binary(b"\0ab^cd\x01\x02\x03"), None);
    }
}
