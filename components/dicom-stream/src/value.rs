//! Tags, value representations and the three ways to encode an element.

use std::fmt;

/// An attribute's tag: group in the upper, element in the lower 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

impl Tag {
    /// Begins an item (PS3.5 section 7.5).
    pub const ITEM: Self = Self(0xFFFE_E000);
    /// Ends an item of undefined length.
    pub const ITEM_END: Self = Self(0xFFFE_E00D);
    /// Ends a sequence of undefined length.
    pub const SEQUENCE_END: Self = Self(0xFFFE_E0DD);
    /// Pixel Data.
    pub const PIXEL_DATA: Self = Self(0x7FE0_0010);

    /// The group number.
    #[must_use]
    pub const fn group(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The element number.
    #[must_use]
    pub const fn element(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    /// Whether the group is odd, hence private.
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.0 & 0x0001_0000 != 0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04X},{:04X})", self.group(), self.element())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value representation, as its two letters. Any two letters can be held: a file may write what no edition knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vr(pub [u8; 2]);

macro_rules! vrs {
    ($($name:ident),*) => { $(
        #[doc = concat!("The value representation `", stringify!($name), "` of PS3.5 section 6.2.")]
        pub const $name: Self = {
            let letters = stringify!($name).as_bytes();
            #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: every name has two letters")]
            Self([letters[0], letters[1]])
        };
    )* };
}

impl Vr {
    vrs!(
        AE, AS, AT, CS, DA, DS, DT, FD, FL, IS, LO, LT, OB, OD, OF, OL, OV, OW, PN, SH, SL, SQ, SS, ST, SV,
        TM, UC, UI, UL, UN, UR, US, UT, UV
    );

    /// Whether an explicit element of this representation has a 16-bit length. Representations that no edition
    /// knows have a 32-bit one (PS3.5 section 7.1.2).
    #[must_use]
    pub const fn has_short_length(self) -> bool {
        const SHORT: Vrs = Vrs::of(b"AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS");
        SHORT.holds(self)
    }

    /// Whether values are text: the part before the padding is characters.
    #[must_use]
    pub const fn is_text(self) -> bool {
        const TEXT: Vrs = Vrs::of(b"AEASCSDADSDTISLOLTPNSHSTTMUCUIURUT");
        TEXT.holds(self)
    }

    /// Whether values are numbers or bytes of a fixed width. `UN` and `SQ` are neither text nor binary.
    #[must_use]
    pub const fn is_binary(self) -> bool {
        const BINARY: Vrs = Vrs::of(b"ATFDFLOBODOFOLOVOWSLSSSVULUSUV");
        BINARY.holds(self)
    }

    /// Whether any edition up to 2026c knows these two letters.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.is_text() || self.is_binary() || matches!(&self.0, b"SQ" | b"UN")
    }

    /// The byte that fills a value to an even length.
    #[must_use]
    pub const fn padding(self) -> u8 {
        if self.is_text() && !matches!(&self.0, b"UI") { b' ' } else { 0 }
    }
}

/// A set of representations, a bit for each two letters: each element is asked for several times.
struct Vrs([u64; 11]);

#[expect(clippy::indexing_slicing, reason = "two letters make a number below 676")]
impl Vrs {
    /// The representations of this list, which is letters without anything between.
    const fn of(mut letters: &[u8]) -> Self {
        let mut bits = [0; 11];
        while let [first, second, rest @ ..] = letters {
            let number = Self::number(Vr([*first, *second]));
            bits[number / 64] |= 1 << (number % 64);
            letters = rest;
        }
        Self(bits)
    }

    const fn holds(&self, vr: Vr) -> bool {
        let Vr([first, second]) = vr;
        let number = Self::number(vr);
        first.is_ascii_uppercase()
            && second.is_ascii_uppercase()
            && self.0[number / 64] >> (number % 64) & 1 == 1
    }

    /// Which of 676 these letters are; any other bytes are one of them, too.
    const fn number(Vr([first, second]): Vr) -> usize {
        let (first, second) = (first.wrapping_sub(b'A') % 26, second.wrapping_sub(b'A') % 26);
        first as usize * 26 + second as usize
    }
}

impl fmt::Debug for Vr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

/// How elements are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// No value representation in the file, little endian.
    ImplicitLittle,
    /// With value representation, little endian.
    ExplicitLittle,
    /// With value representation, big endian (retired, still met in archives).
    ExplicitBig,
}

impl Encoding {
    pub(crate) const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::ExplicitBig => u16::from_be_bytes(bytes),
            _ => u16::from_le_bytes(bytes),
        }
    }

    pub(crate) const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::ExplicitBig => u32::from_be_bytes(bytes),
            _ => u32::from_le_bytes(bytes),
        }
    }

    pub(crate) const fn tag(self, [a, b, c, d]: [u8; 4]) -> Tag {
        let (group, element) = (self.u16([a, b]), self.u16([c, d]));
        Tag(((group as u32) << 16) | element as u32)
    }

    /// The bytes of a 16-bit number.
    #[must_use]
    pub const fn u16_bytes(self, value: u16) -> [u8; 2] {
        match self {
            Self::ExplicitBig => value.to_be_bytes(),
            _ => value.to_le_bytes(),
        }
    }

    /// The bytes of a 32-bit number.
    #[must_use]
    pub const fn u32_bytes(self, value: u32) -> [u8; 4] {
        match self {
            Self::ExplicitBig => value.to_be_bytes(),
            _ => value.to_le_bytes(),
        }
    }

    /// The bytes of a tag.
    #[must_use]
    pub const fn tag_bytes(self, tag: Tag) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.u16_bytes(tag.group()), self.u16_bytes(tag.element()));
        [a, b, c, d]
    }
}
