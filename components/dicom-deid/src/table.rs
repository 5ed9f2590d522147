//! Table E.1-1 of PS3.15 as signed data: fixed-width rows, as they are looked up.

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
#[derive(Clone, Debug)]
pub struct Table<'a> {
    edition: &'a str,
    rows: Rows,
}

#[derive(Clone, Debug)]
enum Rows {
    /// Those of the table that ships, prepared by the compiler.
    Shipped(&'static Index),
    /// Another table's.
    Other(Box<Index>),
}

/// Rows as they are looked up.
#[derive(Clone, Debug)]
struct Index {
    /// Exact rows, each at the first free slot from [`slot_of`] its tag on.
    slots: [Option<(u32, Basic)>; SLOTS],
    /// Mask, value under the mask, action.
    patterns: [Option<(u32, u32, Basic)>; PATTERNS_MAXIMUM],
}

/// The table that ships. Each payload has an instance of its own, which would spend more time on these rows than on a
/// small file: where the asset is this text, byte for byte, the compiler's work is taken. The asset still decides.
const SHIPPED: &[u8] = include_bytes!("../table/table.txt");
static SHIPPED_INDEX: Index = shipped();

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

/// Slots for exact rows, and the most rows that they take. The standard has some 650.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 11;
const ROWS_MAXIMUM: usize = SLOTS / 4 * 3;
const PATTERNS_MAXIMUM: usize = 16;

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
        if same(bytes, SHIPPED) {
            return Some(Self { edition, rows: Rows::Shipped(&SHIPPED_INDEX) });
        }
        let count: usize = words.next()?.strip_prefix("rows=")?.parse().ok()?;
        let (rows, []) = rest.as_chunks::<ROW>() else { return None };
        let index = Index::of(rows).filter(|_| rows.len() == count)?;
        Some(Self { edition, rows: Rows::Other(Box::new(index)) })
    }

    /// The edition of the standard that the table follows, for example `2026c`.
    #[must_use]
    pub const fn edition(&self) -> &'a str {
        self.edition
    }

    /// The action on a standard attribute; none where the profile leaves it alone.
    pub(crate) fn action(&self, tag: Tag) -> Option<Basic> {
        let index = match &self.rows {
            Rows::Shipped(index) => index,
            Rows::Other(index) => &**index,
        };
        index.action(tag.0)
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "the compiler runs this too; every index is below a constant length"
)]
impl Index {
    /// None where any row is not one.
    const fn of(rows: &[[u8; ROW]]) -> Option<Self> {
        // A table without rows would keep everything.
        if rows.is_empty()
            || rows.len() > ROWS_MAXIMUM
            || matches!(parsed(&rows[0]), Some((mask, _, _)) if mask != u32::MAX)
        {
            return None;
        }
        let mut index = Self { slots: [None; SLOTS], patterns: [None; PATTERNS_MAXIMUM] };
        let (mut row, mut patterns, mut last) = (0, 0, None);
        while row < rows.len() {
            let Some((mask, tag, action)) = parsed(&rows[row]) else { return None };
            let ascends = match last {
                Some(last) => last < tag,
                None => true,
            };
            if mask != u32::MAX && patterns < PATTERNS_MAXIMUM {
                index.patterns[patterns] = Some((mask, tag, action));
                patterns += 1;
            } else if mask == u32::MAX && patterns == 0 && ascends {
                index.insert(tag, action);
                last = Some(tag);
            } else {
                return None;
            }
            row += 1;
        }
        let mut beyond = 0;
        while beyond < BEYOND.len() {
            if index.action(BEYOND[beyond]).is_none() {
                index.insert(BEYOND[beyond], Basic::Remove);
            }
            beyond += 1;
        }
        Some(index)
    }

    const fn insert(&mut self, tag: u32, action: Basic) {
        let mut slot = slot_of(tag);
        while self.slots[slot].is_some() {
            slot = (slot + 1) % SLOTS;
        }
        self.slots[slot] = Some((tag, action));
    }

    const fn action(&self, tag: u32) -> Option<Basic> {
        let mut slot = slot_of(tag);
        while let Some((here, action)) = self.slots[slot] {
            if here == tag {
                return Some(action);
            }
            slot = (slot + 1) % SLOTS;
        }
        let mut pattern = 0;
        while pattern < PATTERNS_MAXIMUM
            && let Some((mask, value, action)) = self.patterns[pattern]
        {
            if tag & mask == value {
                return Some(action);
            }
            pattern += 1;
        }
        None
    }
}

#[expect(clippy::panic, reason = "evaluated by the compiler: a wrong table is a build error")]
const fn shipped() -> Index {
    let mut bytes = SHIPPED;
    while let [byte, rest @ ..] = bytes {
        bytes = rest;
        if *byte == b'\n' {
            break;
        }
    }
    match bytes.as_chunks::<ROW>() {
        (rows, []) => match Index::of(rows) {
            Some(index) => index,
            None => panic!("the table that ships does not read"),
        },
        _ => panic!("the table that ships does not end with a row"),
    }
}

/// Whether two texts are the same. In a guest, comparing slices goes byte by byte.
fn same(one: &[u8], other: &[u8]) -> bool {
    let ((one, one_rest), (other, other_rest)) = (one.as_chunks::<16>(), other.as_chunks::<16>());
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| u128::from_ne_bytes(*one) == u128::from_ne_bytes(*other))
        && one_rest == other_rest
}

/// Where the search for a tag begins: the upper bits of the product depend on all bits of the tag.
const fn slot_of(tag: u32) -> usize {
    (tag.wrapping_mul(0x9E37_79B1) >> (u32::BITS - SLOT_BITS)) as usize
}

/// Mask, value under the mask and action of a row.
const fn parsed(row: &[u8; ROW]) -> Option<(u32, u32, Basic)> {
    let [digits @ .., b' ', a0, a1, a2, a3, b'\n'] = row else { return None };
    let action = match &[*a0, *a1, *a2, *a3] {
        b"X   " => Basic::Remove,
        b"Z   " | b"X/Z " => Basic::Empty,
        b"D   " | b"Z/D " | b"X/D " | b"XZD " => Basic::Dummy,
        b"U   " | b"XZU " => Basic::Uid,
        _ => return None,
    };
    let (mut mask, mut tag, mut digits) = (0, 0, digits.as_slice());
    while let [digit, rest @ ..] = digits {
        let (nibble, known) = match *digit {
            digit @ b'0'..=b'9' => (digit - b'0', 0xF),
            digit @ b'A'..=b'F' => (digit - b'A' + 10, 0xF),
            b'x' => (0, 0),
            _ => return None,
        };
        tag = tag << 4 | nibble as u32;
        mask = mask << 4 | known;
        digits = rest;
    }
    Some((mask, tag, action))
}
