//! Bits of a JPEG scan, where a null byte follows each 0xFF, and Huffman codes in them (ISO/IEC 10918-1 F.2.2.3, C.2).

/// Reads bits, the most significant first. Behind the end of the scan it gives zeros and counts them: whoever reads a
/// row asks afterwards whether it was [overdrawn](Self::overdrawn).
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    scan: &'a [u8],
    at: usize,
    cache: u64,
    count: u32,
    padded: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(scan: &'a [u8]) -> Self {
        Self { scan, at: 0, cache: 0, count: 0, padded: 0 }
    }

    /// More bits were read than there are.
    pub(super) fn overdrawn(&self) -> bool {
        self.padded > self.count
    }

    /// The stream from the next marker on, or what is behind its end.
    pub(super) fn behind(self) -> &'a [u8] {
        let rest = self.scan.get(self.at..).unwrap_or_default();
        let marker = rest.windows(2).position(|pair| matches!(pair, [0xFF, 1..=0xFE]));
        rest.get(marker.unwrap_or(rest.len())..).unwrap_or_default()
    }

    /// The next symbol; None where the bits are no code.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u8> {
        if self.count < 32 {
            self.refill();
        }
        let head = self.cache >> (64 - QUICK);
        let [symbol, length] = table.quick.get(usize::try_from(head).ok()?)?.to_le_bytes();
        if length == 0 {
            return self.long_symbol(table);
        }
        self.skip(u32::from(length));
        Some(symbol)
    }

    #[cold]
    fn long_symbol(&mut self, table: &Table) -> Option<u8> {
        let head = u32::try_from(self.cache >> 48).ok()?;
        let (length, code) = (QUICK + 1..=16)
            .map(|length| (length, head >> (16 - length)))
            .find(|(length, code)| table.ends.get(*length as usize).is_some_and(|end| code < end))?;
        self.skip(length);
        let place = code.wrapping_add(*table.places.get(length as usize)?);
        table.symbols.get(place as usize).copied()
    }

    /// A number of `width` bits, at most 16, whose first bit is its sign (F.2.2.1).
    #[inline]
    pub(super) fn signed(&mut self, width: u32) -> i32 {
        if self.count < width {
            self.refill();
        }
        // In two steps: a shift by 64 is none.
        let bits = (self.cache >> 1) >> (63 - width);
        let negative = self.cache >> 63 == 0;
        self.skip(width);
        let value = i32::try_from(bits).unwrap_or(0);
        if negative { value - (1 << width) + 1 } else { value }
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.cache <<= count;
        self.count -= count;
    }

    /// Fills the cache up to 57 bits or more.
    #[inline]
    fn refill(&mut self) {
        if let Some(eight) = self.scan.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_be_bytes(*eight);
            if !crate::holds_ff(word) {
                // Bits below the whole bytes are of the next byte, and come again with it.
                self.cache |= word >> self.count;
                let bytes = (64 - self.count) / 8;
                self.at += bytes as usize;
                self.count += bytes * 8;
                return;
            }
        }
        while self.count <= 56 {
            let (byte, width) = match self.scan.get(self.at..) {
                Some(&[0xFF, 0, ..]) => (0xFF, 2),
                Some(&[byte, ..]) if byte != 0xFF => (byte, 1),
                _ => {
                    self.padded += 64 - self.count;
                    self.count = 64;
                    return;
                }
            };
            self.cache |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += width;
        }
    }
}

/// Codes of so many bits are looked up at once.
const QUICK: u32 = 9;

/// A Huffman table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// By the next bits: symbol and, in the upper byte, the length of its code; 0 for longer ones.
    quick: [u16; 1 << QUICK],
    /// By length: one more than its last code.
    ends: [u32; 17],
    /// By length: what makes a code the place of its symbol.
    places: [u32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// A table from the numbers of codes of each length and the symbols; None where there are more codes than there is
    /// room for.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table =
            Self { quick: [0; 1 << QUICK], ends: [0; 17], places: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0_u32, 0_u32);
        for (length, count) in (1_u32..).zip(counts) {
            *table.places.get_mut(length as usize)? = place.wrapping_sub(code);
            let shift = QUICK.checked_sub(length);
            for symbol in symbols.get(place as usize..place as usize + usize::from(*count))? {
                if let Some(shift) = shift {
                    let entry = u16::from_le_bytes([*symbol, u8::try_from(length).ok()?]);
                    table
                        .quick
                        .get_mut((code << shift) as usize..((code + 1) << shift) as usize)?
                        .fill(entry);
                }
                code += 1;
            }
            place += u32::from(*count);
            if code > 1 << length {
                return None;
            }
            *table.ends.get_mut(length as usize)? = code;
            code <<= 1;
        }
        (place as usize == symbols.len()).then_some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(usize, u8)]) -> [u8; 16] {
        let mut counts = [0; 16];
        of.iter().for_each(|(length, count)| counts[length - 1] = *count);
        counts
    }

    #[test]
    fn short_and_long_codes_are_found() {
        // 0, 10, then 1100_0000_0000 and the next.
        let table = Table::new(&counts(&[(1, 1), (2, 1), (12, 2)]), &[7, 8, 9, 10]).unwrap();
        let mut bits = Bits::new(&[0b0101_1000, 0b0000_0001, 0xFF, 0x00, 0b0000_0000]);
        let mut symbols = || bits.symbol(&table);
        assert_eq!([symbols(), symbols(), symbols()], [Some(7), Some(8), Some(9)]);
        // 1111…: no code.
        assert_eq!(Bits::new(&[0xFF, 0, 0xFF, 0]).symbol(&table), None);
    }

    #[test]
    fn tables_with_too_many_codes_are_none() {
        assert!(Table::new(&counts(&[(1, 3)]), &[1, 2, 3]).is_none());
        assert!(Table::new(&counts(&[(1, 2), (2, 1)]), &[1, 2, 3]).is_none());
        assert!(Table::new(&counts(&[(1, 1)]), &[1, 2]).is_none());
        assert!(Table::new(&counts(&[(1, 1), (16, 2)]), &[1, 2]).is_none());
    }

    #[test]
    fn numbers_keep_their_sign_and_a_marker_ends_the_scan() {
        let mut bits = Bits::new(&[0b1010_1000, 0xFF, 0xD9, 1]);
        assert_eq!([bits.signed(3), bits.signed(2), bits.signed(0)], [5, -2, 0]);
        assert!(!bits.overdrawn());
        bits.signed(4);
        assert!(bits.overdrawn());
        assert_eq!(bits.behind(), [0xFF, 0xD9, 1]);
    }
}
