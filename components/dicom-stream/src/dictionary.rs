//! A dictionary made at compile time out of fixed-width text, so that a fresh instance has nothing to build.

use crate::value::{Tag, Vr};

/// The rows of a dictionary: `N` exact ones, ascending, and `P` patterns.
#[derive(Debug)]
pub struct Rows<const N: usize, const P: usize> {
    tags: [u32; N],
    vrs: [[u8; 2]; N],
    /// Mask, value under the mask, representation.
    patterns: [(u32, u32, [u8; 2]); P],
    /// Where the exact rows are found: the row's number plus one, or zero.
    slots: [u16; SLOTS],
}

/// Tag to value representation. Lower-case letters are a choice that the standard leaves to the encoder: `ox` is OB
/// or OW, `xs` US or SS, `xw` US, SS or OW, `uw` US or OW.
#[derive(Clone, Copy, Debug)]
pub struct Dictionary {
    tags: &'static [u32],
    vrs: &'static [[u8; 2]],
    patterns: &'static [(u32, u32, [u8; 2])],
    slots: &'static [u16],
}

/// Slots of the table by which exact rows are found, each element of a file twice in each pass: a search by halves
/// was a fifth of all work on a small file.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 13;

/// Where the search for a tag begins.
const fn slot_of(tag: u32) -> usize {
    // Fibonacci hashing: the upper bits of the product depend on all bits of the tag.
    (tag.wrapping_mul(0x9E37_79B1) >> (u32::BITS - SLOT_BITS)) as usize
}

/// Bytes of a row: eight digits, a space, two letters, a line feed.
const ROW: usize = 12;

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a short text is a build error")]
impl<const N: usize, const P: usize> Rows<N, P> {
    /// Parses `martello-dicom-dictionary 1 …` in a constant; a text that does not fit stops the build.
    #[must_use]
    #[expect(clippy::panic, reason = "evaluated by the compiler: a wrong text is a build error")]
    pub const fn parse(text: &[u8]) -> Self {
        let mut at = 0;
        while text[at] != b'\n' {
            at += 1;
        }
        at += 1;
        if text.len() != at + (N + P) * ROW {
            panic!("the dictionary does not have the rows that its header promises");
        }
        if N > SLOTS / 4 * 3 {
            panic!("the dictionary has more rows than its slots hold well");
        }
        let mut rows =
            Self { tags: [0; N], vrs: [[0; 2]; N], patterns: [(0, 0, [0; 2]); P], slots: [0; SLOTS] };
        let (mut row, mut number) = (0, 0);
        while row < N + P {
            let (mut value, mut mask, mut digit) = (0_u32, 0_u32, 0);
            while digit < 8 {
                let (nibble, known) = match text[at + digit] {
                    b'x' => (0, 0),
                    c @ b'0'..=b'9' => (c - b'0', 0xF),
                    c @ b'A'..=b'F' => (c - b'A' + 10, 0xF),
                    _ => panic!("a tag of the dictionary is not eight upper-case hex digits"),
                };
                value = (value << 4) | nibble as u32;
                mask = (mask << 4) | known;
                digit += 1;
            }
            let vr = [text[at + 9], text[at + 10]];
            if row < N {
                if row > 0 && rows.tags[row - 1] >= value || mask != u32::MAX {
                    panic!("the exact rows of the dictionary do not ascend");
                }
                rows.tags[row] = value;
                rows.vrs[row] = vr;
                let mut slot = slot_of(value);
                while rows.slots[slot] != 0 {
                    slot = (slot + 1) % SLOTS;
                }
                number += 1;
                rows.slots[slot] = number;
            } else {
                rows.patterns[row - N] = (mask, value, vr);
            }
            at += ROW;
            row += 1;
        }
        rows
    }

    /// The number after `name` in the header line, for example `rows=`.
    #[must_use]
    #[expect(clippy::panic, reason = "evaluated by the compiler: a wrong text is a build error")]
    pub const fn count(text: &[u8], name: &[u8]) -> usize {
        let mut at = 0;
        while text[at] != b'\n' {
            let mut same = 0;
            while same < name.len() && text[at + same] == name[same] {
                same += 1;
            }
            if same == name.len() {
                let mut number = 0;
                at += same;
                while text[at].is_ascii_digit() {
                    number = number * 10 + (text[at] - b'0') as usize;
                    at += 1;
                }
                return number;
            }
            at += 1;
        }
        panic!("the header of the dictionary lacks a count");
    }

    /// The dictionary over these rows.
    #[must_use]
    pub const fn dictionary(&'static self) -> Dictionary {
        Dictionary { tags: &self.tags, vrs: &self.vrs, patterns: &self.patterns, slots: &self.slots }
    }
}

impl Dictionary {
    /// A dictionary that knows no attribute.
    pub const EMPTY: Self = Self { tags: &[], vrs: &[], patterns: &[], slots: &[] };

    /// The representation of a standard attribute; none for a private, unknown or group length one.
    #[must_use]
    pub fn vr(&self, tag: Tag) -> Option<Vr> {
        if tag.is_private() {
            return None;
        }
        let mut slot = slot_of(tag.0);
        while let Some(row @ 1..) = self.slots.get(slot).copied() {
            let row = usize::from(row) - 1;
            if self.tags.get(row) == Some(&tag.0) {
                return self.vrs.get(row).map(|letters| Vr(*letters));
            }
            slot = (slot + 1) % SLOTS;
        }
        let pattern = self.patterns.iter().find(|(mask, value, _)| tag.0 & mask == *value);
        pattern.map(|(_, _, letters)| Vr(*letters))
    }
}
