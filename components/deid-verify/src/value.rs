//! Forms of values: what is a replacement, a date, a time, a number.

/// A text without the padding at its end and blanks around it.
pub(crate) fn trimmed(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or_default().trim_ascii_start()
}

/// The values of a text that may have several.
pub(crate) fn each(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b'\\').map(trimmed)
}

/// Whether a value says nothing: empty, a word for nothing, or null bytes.
pub(crate) fn is_dummy(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 10] = [
        b"",
        b"ANONYMIZED",
        b"0",
        b"000Y",
        b"19000101",
        b"19000101000000",
        b"000000",
        b"urn:anonymized",
        b"2.25.0",
        b"UNKNOWN",
    ];
    WORDS.contains(&trimmed(value)) || value.iter().all(|byte| *byte == 0)
}

/// A pseudonym of a subject: 16 characters of base32 (RFC 4648).
pub(crate) fn is_pseudonym(value: &[u8]) -> bool {
    let value = trimmed(value);
    value.len() == 16 && value.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
}

/// Whether a UID is one (PS3.5 section 9.1).
pub(crate) fn is_uid(value: &[u8]) -> bool {
    value.len() <= 64
        && value.split(|byte| *byte == b'.').all(|part| {
            !part.is_empty()
                && part.iter().all(u8::is_ascii_digit)
                && (part == b"0" || !part.starts_with(b"0"))
        })
}

/// Bytes of a row of the standard's UIDs: the UID without their common begin, blanks, a line feed.
const ROW: usize = 32;

/// Every UID that the standard assigns (PS3.6 annex A), ascending; `rules/make.py` says from where.
const STANDARD: &[u8] = include_bytes!("../rules/uids.txt");

/// Whether a UID is the standard's own. That it begins as those do says nothing: anybody can write on.
pub(crate) fn is_standard_uid(value: &[u8]) -> bool {
    let (rows, _) = STANDARD.as_chunks::<ROW>();
    let Some(own) = value.strip_prefix(b"1.2.840.10008.").filter(|own| own.len() < ROW) else { return false };
    let mut wanted = [b' '; ROW - 1];
    wanted.iter_mut().zip(own).for_each(|(place, byte)| *place = *byte);
    // A blank is none of a UID's characters.
    !own.contains(&b' ') && rows.binary_search_by(|[row @ .., _]| row.cmp(&wanted)).is_ok()
}

/// Whether a UID is a pseudonym of the host's: `2.25.` and a UUID of version 8. UIDs that scanners make of UUIDs have
/// another version, so that one which was left alone is seen.
pub(crate) fn is_replaced_uid(value: &[u8]) -> bool {
    let Some(number) = value.strip_prefix(b"2.25.") else { return false };
    if !is_uid(value) {
        return false;
    }
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<u128>().ok());
    number.is_some_and(|uuid| uuid == 0 || uuid >> 76 & 0xF == 8 && uuid >> 62 & 0b11 == 0b10)
}

/// Whether all of a value are dates or date-times: digits, a fraction, zones and ranges, the old form with points.
pub(crate) fn is_date(value: &[u8]) -> bool {
    each(value).all(|one| {
        let digits = one.iter().filter(|byte| byte.is_ascii_digit()).count();
        one.is_empty()
            || (4..=64).contains(&digits)
                && one.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b' '))
    })
}

/// Whether all of a value are times of day.
pub(crate) fn is_time(value: &[u8]) -> bool {
    each(value).all(|one| {
        one.len() <= 28
            && one.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'-' | b' '))
    })
}

/// Whether all of a value are decimal numbers.
pub(crate) fn is_number(value: &[u8]) -> bool {
    each(value).all(|one| {
        one.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'))
    })
}

/// Whether all of a value are ages.
pub(crate) fn is_age(value: &[u8]) -> bool {
    each(value).all(|one| {
        one.is_empty()
            || matches!(one, [a, b, c, b'D' | b'W' | b'M' | b'Y'] if [a, b, c].iter().all(|digit| digit.is_ascii_digit()))
    })
}

/// Whether an age says more than that somebody is ninety.
pub(crate) fn is_over_ninety(value: &[u8]) -> bool {
    each(value).any(|one| match one {
        [digits @ .., b'Y'] => std::str::from_utf8(digits)
            .ok()
            .and_then(|age| age.parse::<u16>().ok())
            .is_some_and(|age| age > 90),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_uids_of_the_standard_are_its_own() {
        let (rows, []) = STANDARD.as_chunks::<ROW>() else { panic!("a row is cut") };
        assert!(rows.len() == 496 && rows.is_sorted_by(|one, next| one < next));
        for [row @ .., end] in rows {
            let uid = [b"1.2.840.10008.", trimmed(row)].concat();
            assert!(*end == b'\n' && is_uid(&uid) && is_standard_uid(&uid), "{uid:?}");
            for more in [b".77341902".as_slice(), b"9999", b" ", b"\0"] {
                assert!(!is_standard_uid(&[&uid, more].concat()), "{uid:?} {more:?}");
            }
        }
        for other in
            ["", "1.2.840.10008", "1.2.840.10008.", "1.2.840.10008. ", "1.2.840.10008.77341902.19430527"]
        {
            assert!(!is_standard_uid(other.as_bytes()), "{other}");
        }
    }
}
