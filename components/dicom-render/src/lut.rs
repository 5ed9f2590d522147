//! Look-up tables as attributes hold them: a descriptor of three numbers, and entries.

use crate::error::{RenderError, malformed, unsupported};

/// The raw parts of a table, as found in a file.
#[derive(Debug, Clone, Default)]
pub(crate) struct LutParts {
    /// Number of entries, first value mapped, bits of an entry.
    pub(crate) descriptor: Option<[u16; 3]>,
    /// Whether the file says that the first value is signed; none where it leaves that open.
    pub(crate) first_signed: Option<bool>,
    pub(crate) data: Vec<u8>,
    pub(crate) big_endian: bool,
    pub(crate) segmented: bool,
}

/// A table: values from `first` on map to the entries; below and above, to the first and the last.
#[derive(Debug, Clone)]
pub(crate) struct Lut {
    pub(crate) first: i64,
    pub(crate) bits: u16,
    pub(crate) entries: Vec<u16>,
}

impl LutParts {
    /// Reads the table. `signed` decides where the file leaves open whether the first value is signed.
    pub(crate) fn table(&self, signed: bool) -> Result<Lut, RenderError> {
        if self.segmented {
            return Err(unsupported("segmented-palette", "a palette in segments"));
        }
        let bad = malformed("lut", "a look-up table does not fit its descriptor");
        let [count, first, bits] = self.descriptor.ok_or(bad.clone())?;
        let count = if count == 0 { 65_536 } else { usize::from(count) };
        if !(1..=16).contains(&bits) {
            return Err(bad);
        }
        let first = if self.first_signed.unwrap_or(signed) {
            i64::from(first.cast_signed())
        } else {
            i64::from(first)
        };
        let word = |pair: &[u8; 2]| {
            if self.big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }
        };
        let (pairs, _) = self.data.as_chunks::<2>();
        let entries: Vec<u16> = if pairs.len() >= count {
            pairs.iter().take(count).map(word).collect()
        } else if self.data.len() >= count && bits <= 8 {
            // One byte an entry; in big endian words the bytes of a pair are exchanged.
            let bytes = pairs.iter().flat_map(|pair| {
                let [a, b] = word(pair).to_le_bytes();
                [a, b]
            });
            bytes
                .chain(self.data.get(pairs.len() * 2..).unwrap_or_default().iter().copied())
                .take(count)
                .map(u16::from)
                .collect()
        } else {
            return Err(bad);
        };
        Ok(Lut { first, bits, entries })
    }
}

impl Lut {
    /// The entry of a value.
    pub(crate) fn entry(&self, value: i64) -> u16 {
        let last = self.entries.len().saturating_sub(1);
        let place = usize::try_from(value.saturating_sub(self.first)).unwrap_or(0).min(last);
        self.entries.get(place).copied().unwrap_or(0)
    }

    /// The largest value that an entry of so many bits can have.
    pub(crate) fn largest(&self) -> f64 {
        f64::from((1_u32 << self.bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(descriptor: [u16; 3], data: &[u8]) -> LutParts {
        LutParts { descriptor: Some(descriptor), data: data.to_vec(), ..LutParts::default() }
    }

    #[test]
    fn values_outside_the_table_take_its_ends_and_a_signed_first_value_counts_down() {
        let lut = parts([3, 0xFFFE, 16], &[1, 0, 2, 0, 3, 0]).table(true).unwrap();
        assert_eq!([-9, -2, -1, 0, 9].map(|value| lut.entry(value)), [1, 1, 2, 3, 3]);
        assert_eq!(parts([1, 0xFFFE, 16], &[1, 0]).table(false).unwrap().first, 0xFFFE);
    }

    #[test]
    fn a_table_shorter_than_its_descriptor_is_refused() {
        assert!(parts([3, 0, 16], &[1, 0, 2, 0]).table(false).is_err());
        assert!(parts([0, 0, 16], &[1, 0, 2, 0]).table(false).is_err());
        assert_eq!(parts([3, 0, 8], &[7, 8, 9, 0]).table(false).unwrap().entries, [7, 8, 9]);
    }
}
