//! Bits of a JPEG-LS scan: behind a byte 0xFF the next byte holds seven (ISO/IEC 14495-1 A.1).

/// The longest code is read in two steps, so this many bits suffice for one.
const ENOUGH: u32 = 32;

/// Reads bits, the most significant first. Behind the end of the scan it gives zeros and counts them: whoever reads a
/// line asks afterwards whether it was [overdrawn](Self::overdrawn).
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    scan: &'a [u8],
    /// The next byte that is not in the cache.
    at: usize,
    /// Unread bits from the top downward. Below `count` of them there may be more of the scan, or zeros.
    cache: u64,
    count: u32,
    /// Zeros that were added behind the end.
    padded: u32,
    behind_ff: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(scan: &'a [u8]) -> Self {
        Self { scan, at: 0, cache: 0, count: 0, padded: 0, behind_ff: false }
    }

    /// More bits were read than there are.
    pub(super) fn overdrawn(&self) -> bool {
        self.padded > self.count
    }

    /// What follows the scan, from its marker on; None where more is left than a last byte's padding.
    pub(super) fn behind(mut self) -> Option<&'a [u8]> {
        // Padding to a byte, and one more byte behind an 0xFF.
        const MOST_PADDING: u32 = 15;
        self.refill();
        let left = self.count.checked_sub(self.padded)?;
        let rest = self.scan.get(self.at..)?;
        (left <= MOST_PADDING && self.is_end()).then_some(rest)
    }

    /// One bit.
    pub(super) fn bit(&mut self) -> u32 {
        self.take(1)
    }

    /// At most 16 bits.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if self.count < count {
            self.refill();
        }
        self.cached(count)
    }

    /// The next `count` bits of the cache, which must hold them.
    #[inline]
    fn cached(&mut self, count: u32) -> u32 {
        // In two steps: a shift by 64 is none.
        let value = (self.cache >> 1) >> (63 - count);
        self.cache <<= count;
        self.count -= count;
        u32::try_from(value).unwrap_or(u32::MAX)
    }

    /// A Golomb code of limited length (A.5.3): `escape` zeros announce the value in `wide` bits. `u32::MAX`, which is
    /// no code, for longer runs of zeros.
    #[inline]
    pub(super) fn golomb(&mut self, k: u32, escape: u32, wide: u32) -> u32 {
        if self.count < ENOUGH {
            self.refill();
        }
        let zeros = self.cache.leading_zeros();
        if zeros >= escape || zeros + k >= self.count {
            return self.long_golomb(k, escape, wide);
        }
        self.cache <<= zeros + 1;
        self.count -= zeros + 1;
        zeros << k | self.cached(k)
    }

    #[cold]
    fn long_golomb(&mut self, k: u32, escape: u32, wide: u32) -> u32 {
        // At least 57 bits: more than the 48 of the longest prefix.
        self.refill();
        let zeros = self.cache.leading_zeros();
        if zeros > escape {
            return u32::MAX;
        }
        self.cached(zeros + 1);
        if zeros == escape { self.take(wide) + 1 } else { zeros << k | self.take(k) }
    }

    /// Fills the cache up to 57 bits or more.
    #[inline]
    fn refill(&mut self) {
        if self.count > 56 {
            return;
        }
        if let Some(eight) = self.scan.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_be_bytes(*eight);
            if !self.behind_ff && !crate::holds_ff(word) {
                // Bits below the whole bytes are of the next byte, and come again with it.
                self.cache |= word >> self.count;
                let bytes = (64 - self.count) / 8;
                self.at += bytes as usize;
                self.count += bytes * 8;
                return;
            }
        }
        self.refill_by_byte();
    }

    fn refill_by_byte(&mut self) {
        while self.count <= 56 {
            let byte = match self.scan.get(self.at) {
                Some(&byte) if !self.is_end() => byte,
                _ => {
                    self.padded += 64 - self.count;
                    self.count = 64;
                    return;
                }
            };
            let width = if self.behind_ff { 7 } else { 8 };
            self.cache |= u64::from(byte) << (64 - width - self.count);
            self.count += width;
            self.at += 1;
            self.behind_ff = byte == 0xFF;
        }
    }

    /// A marker comes next, or nothing.
    fn is_end(&self) -> bool {
        match self.scan.get(self.at..) {
            Some(&[0xFF, next, ..]) => next >= 0x80,
            Some(&[byte, ..]) => self.behind_ff && byte >= 0x80 || byte == 0xFF,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_behind_ff_holds_seven_bits_and_a_marker_ends_the_scan() {
        let mut bits = Bits::new(&[0xFF, 0x7F, 0x80, 0xFF, 0xD9]);
        assert_eq!([bits.take(8), bits.take(7), bits.take(4)], [0xFF, 0x7F, 8]);
        assert!(!bits.overdrawn());
        assert_eq!(bits.behind(), Some(&[0xFF, 0xD9][..]));
        assert_eq!(bits.take(4), 0);
        assert!(!bits.overdrawn());
        assert_eq!(bits.bit(), 0);
        assert!(bits.overdrawn());
        assert_eq!(bits.behind(), None);
    }

    #[test]
    fn whole_words_and_single_bytes_give_the_same_bits() {
        let mut state = 1_u32;
        let scan: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Many 0xFF, none of which starts a marker.
            if state >> 28 == 0 { 0xFF } else { (state >> 24) as u8 }
        })
        .take(4000)
        .collect();
        let mut scan: Vec<u8> = scan;
        for at in 1..scan.len() {
            if scan[at - 1] == 0xFF {
                scan[at] &= 0x7F;
            }
        }
        scan.push(0);
        let mut expected = String::new();
        for (at, byte) in scan.iter().enumerate() {
            let behind_ff = at > 0 && scan[at - 1] == 0xFF;
            expected += &if behind_ff { format!("{byte:07b}") } else { format!("{byte:08b}") };
        }
        let (mut bits, mut found, mut width) = (Bits::new(&scan), String::new(), 0);
        while found.len() + 16 < expected.len() {
            width = width % 16 + 1;
            found += &format!("{:0width$b}", bits.take(width), width = width as usize);
        }
        assert!(expected.starts_with(&found));
        assert!(!bits.overdrawn());
    }

    #[test]
    fn codes_are_read_across_the_cache_and_long_runs_of_zeros_are_none() {
        // 40 zeros, a one, 16 bits.
        let scan = [0, 0, 0, 0, 0, 0x80 | 0x12, 0x34, 0x56, 0x78, 0x9A];
        let mut bits = Bits::new(&scan);
        assert_eq!(bits.golomb(16, 47, 16), 40 << 16 | 0x2468);
        assert_eq!(Bits::new(&scan).golomb(3, 40, 8), 0x24 + 1);
        assert_eq!(Bits::new(&scan).golomb(3, 39, 8), u32::MAX);
    }
}
