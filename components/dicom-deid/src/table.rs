//! Table E.1-1 of PS3.15 as signed data: fixed-width rows, searched where they stand.

use dicom_stream::Tag;

use crate::refusal::{Kind, Refusal};

/// What the Basic Profile does to an attribute, compound codes settled by the strongest action that leaves an object
/// legal whatever type (1, 2 or 3) the attribute has in its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basic {
    /// `X`: remove.
    Remove,
    /// `Z`, `X/Z`: empty.
    Empty,
    /// `D`, `Z/D`, `X/D`, `X/Z/D`: replace by a dummy value.
    Dummy,
    /// `U`, `X/Z/U*`: replace UIDs, in place or in the items.
    Uid,
}

/// The table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    edition: &'a str,
    exact: &'a [[u8; ROW]],
    patterns: &'a [[u8; ROW]],
}

/// Attributes that the standard's table leaves alone although they hold what it removes elsewhere: birth and death dates
/// in another calendar, numbers of orders, comments, free text about an animal, names of issuers. Ascending.
const BEYOND: [u32; 11] = [
    0x0010_0033, // Patient's Birth Date in Alternative Calendar
    0x0010_0034, // Patient's Death Date in Alternative Calendar
    0x0010_0218, // Strain Additional Information
    0x0010_2292, // Patient Breed Description
    0x0040_0031, // Local Namespace Entity ID
    0x0040_0032, // Universal Entity ID
    0x0040_0400, // Comments on the Scheduled Procedure Step
    0x0040_1006, // Placer Order Number / Procedure
    0x0040_1007, // Filler Order Number / Procedure
    0x0040_2006, // Placer Order Number / Imaging Service Request
    0x0040_2007, // Filler Order Number / Imaging Service Request
];

/// Eight digits, a space, the action in four characters, a line feed.
const ROW: usize = 14;

impl<'a> Table<'a> {
    /// Takes the bytes of the asset `deid-table` (`martello-deid-table 1 edition=… rows=…`). Every row is checked:
    /// known action, exact rows ascending, patterns last.
    ///
    /// # Errors
    /// `bad-table` where the bytes are anything else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Self::read(bytes)
            .ok_or_else(|| Refusal::new(Kind::Internal, "bad-table", "the action table does not read"))
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().take(256).position(|byte| *byte == b'\n')?;
        let (header, rest) = (std::str::from_utf8(bytes.get(..end)?).ok()?, bytes.get(end + 1..)?);
        let mut words = header.strip_prefix("martello-deid-table 1 ")?.split(' ');
        let edition = words.next()?.strip_prefix("edition=").filter(|edition| !edition.is_empty())?;
        let count: usize = words.next()?.strip_prefix("rows=")?.parse().ok()?;
        let (rows, []) = rest.as_chunks::<ROW>() else { return None };
        let patterns = rows.iter().rev().take_while(|row| tag_of(row).contains(&b'x')).count();
        let (exact, patterns) = rows.split_at_checked(rows.len().checked_sub(patterns)?)?;
        let ascend = exact.iter().zip(exact.iter().skip(1)).all(|(one, next)| tag_of(one) < tag_of(next));
        let whole = rows.iter().all(|row| {
            row.get(8) == Some(&b' ')
                && row.get(13) == Some(&b'\n')
                && action_of(row).is_some()
                && tag_of(row).iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F' | b'x'))
        });
        // A table without rows would keep everything.
        (rows.len() == count && !exact.is_empty() && ascend && whole).then_some(Self {
            edition,
            exact,
            patterns,
        })
    }

    /// The edition of the standard that the table follows, for example `2026c`.
    #[must_use]
    pub const fn edition(&self) -> &'a str {
        self.edition
    }

    /// The action on a standard attribute; none where the profile leaves it alone.
    pub(crate) fn action(&self, tag: Tag) -> Option<Basic> {
        let digits = digits(tag);
        let key = u64::from_be_bytes(digits);
        if let Ok(row) = self.exact.binary_search_by_key(&key, |row| u64::from_be_bytes(*tag_of(row))) {
            return self.exact.get(row).and_then(action_of);
        }
        let fits = |row: &&[u8; ROW]| tag_of(row).iter().zip(&digits).all(|(p, d)| *p == b'x' || p == d);
        let action = self.patterns.iter().find(fits).and_then(action_of);
        action.or_else(|| BEYOND.binary_search(&tag.0).is_ok().then_some(Basic::Remove))
    }
}

fn tag_of(row: &[u8; ROW]) -> &[u8; 8] {
    row.first_chunk().unwrap_or(&[0; 8])
}

fn action_of(row: &[u8; ROW]) -> Option<Basic> {
    Some(match row.get(9..13)? {
        b"X   " => Basic::Remove,
        b"Z   " | b"X/Z " => Basic::Empty,
        b"D   " | b"Z/D " | b"X/D " | b"XZD " => Basic::Dummy,
        b"U   " | b"XZU " => Basic::Uid,
        _ => return None,
    })
}

/// The tag in upper-case hex digits, which sort as the tags do.
fn digits(tag: Tag) -> [u8; 8] {
    let mut digits = [0; 8];
    for (digit, shift) in digits.iter_mut().zip([28, 24, 20, 16, 12, 8, 4, 0]) {
        let nibble = (tag.0 >> shift & 0xF) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'A' - 10 + nibble };
    }
    digits
}
