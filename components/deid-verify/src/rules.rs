//! Every standard attribute with its representation and its action, as signed data that is searched as it stands.

use crate::finding::{Finding, Kind};

/// Tag, a space, representation, a space, action in four characters, a line feed.
const ROW: usize = 17;

/// What the profile does to an attribute (PS3.15 table E.1-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `X`
    Remove,
    /// `Z`, `X/Z`
    Empty,
    /// `D`, `Z/D`, `X/D`, `X/Z/D`
    Replace,
    /// `U`, `X/Z/U*`
    Uid,
    /// The table is silent.
    Keep,
}

/// What is known of a standard attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Lower case where the encoder has a choice.
    pub(crate) vr: [u8; 2],
    pub(crate) action: Action,
}

/// The rules.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    edition: &'a str,
    exact: &'a [[u8; ROW]],
    patterns: &'a [[u8; ROW]],
}

impl<'a> Rules<'a> {
    /// Takes the bytes of the asset `verify-rules` (`martello-verify-rules 1 edition=… exact=… patterns=…`). Every row
    /// is checked, and that the exact ones ascend.
    ///
    /// # Errors
    /// `bad-rules` where the bytes are anything else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Finding> {
        Self::read(bytes).ok_or_else(|| Finding::of(Kind::Internal, "bad-rules"))
    }

    /// The edition of the standard that they follow, for example `2026d`.
    #[must_use]
    pub const fn edition(&self) -> &'a str {
        self.edition
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().take(128).position(|byte| *byte == b'\n')?;
        let header = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let mut words = header.strip_prefix("martello-verify-rules 1 ")?.split(' ');
        let edition = words.next()?.strip_prefix("edition=").filter(|edition| !edition.is_empty())?;
        let exact: usize = words.next()?.strip_prefix("exact=")?.parse().ok()?;
        let patterns: usize = words.next()?.strip_prefix("patterns=")?.parse().ok()?;
        let (rows, []) = bytes.get(end + 1..)?.as_chunks::<ROW>() else { return None };
        let (exact, rest) = rows.split_at_checked(exact)?;
        let ascend = exact
            .windows(2)
            .all(|pair| matches!(pair, [one, other] if one.first_chunk::<8>() < other.first_chunk::<8>()));
        let plain = exact.iter().all(|row| row.iter().take(8).all(u8::is_ascii_hexdigit));
        let fit = !exact.is_empty() && rest.len() == patterns && rows.iter().all(|row| rule(row).is_some());
        (ascend && plain && fit).then_some(Self { edition, exact, patterns: rest })
    }

    /// What is known of an attribute of an even group; none where the standard has no such attribute.
    pub(crate) fn of(&self, tag: u32) -> Option<Rule> {
        let digits = digits(tag);
        let front = |row: &[u8; ROW]| row.first_chunk::<8>().copied().unwrap_or_default();
        if let Ok(at) = self.exact.binary_search_by(|row| front(row).cmp(&digits)) {
            return self.exact.get(at).and_then(rule);
        }
        let fits = |row: &&[u8; ROW]| {
            front(row).iter().zip(digits).all(|(one, digit)| *one == b'x' || *one == digit)
        };
        self.patterns.iter().find(fits).and_then(rule)
    }
}

fn digits(tag: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (place, digit) in digits.iter_mut().enumerate() {
        let nibble = (tag >> (28 - 4 * place) & 0xF) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    }
    digits
}

fn rule(row: &[u8; ROW]) -> Option<Rule> {
    let [_, _, _, _, _, _, _, _, b' ', first, second, b' ', action @ .., b'\n'] = row else { return None };
    let action = match action {
        b"X   " => Action::Remove,
        b"Z   " | b"X/Z " => Action::Empty,
        b"D   " | b"Z/D " | b"X/D " | b"XZD " => Action::Replace,
        b"U   " | b"XZU " => Action::Uid,
        b"-   " => Action::Keep,
        _ => return None,
    };
    Some(Rule { vr: [*first, *second], action })
}
