//! What the marker segments of an image may hold, and how long its parts are by what they say.

use std::collections::VecDeque;

use crate::codestream::odd;
use crate::refusal::Refusal;

/// Which standard a codestream follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Family {
    /// ITU-T T.81.
    #[default]
    Jpeg,
    /// ITU-T T.87.
    JpegLs,
    /// ITU-T T.800, T.814.
    Jpeg2000,
}

/// The most decomposition levels that T.800 table A.15 allows.
const LEVELS_MAXIMUM: u8 = 32;

/// What the segments of one image have said so far.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    pub(crate) family: Family,
    /// Where the tile-part at work ends, from the begin of the image; none where it does not say.
    pub(crate) tile_end: Option<u64>,
    /// Whether a tile-part has begun and its data have not.
    pub(crate) in_tile_header: bool,
    any_tile: bool,
    components: u16,
    levels: u8,
    /// The most subbands that a quantisation was given for.
    bands: usize,
    /// Tile-parts as they were announced: the tile, where it is named, and the length.
    announced: VecDeque<(Option<u16>, u32)>,
}

impl Segments {
    /// Whether the next marker has to begin a tile-part or end the image.
    pub(crate) const fn is_between_tiles(&self) -> bool {
        self.any_tile && !self.in_tile_header
    }

    /// The header of a tile-part has ended.
    pub(crate) fn data_begins(&mut self) -> Result<(), Refusal> {
        self.in_tile_header = false;
        self.bands_fit()
    }

    /// Judges a segment that stays, by all of its content; `at` is where it ends.
    pub(crate) fn judge(&mut self, marker: u8, content: &[u8], at: u64) -> Result<(), Refusal> {
        let fits = match self.family {
            Family::Jpeg2000 => self.fits_jpeg2000(marker, content, at)?,
            _ => self.fits_jpeg(marker, content),
        };
        if fits {
            Ok(())
        } else {
            Err(odd("a marker segment of a frame holds more or less than its numbers say"))
        }
    }

    fn fits_jpeg(&mut self, marker: u8, content: &[u8]) -> bool {
        match marker {
            // Huffman tables: a class and a number, how many codes of each length, their symbols.
            0xC4 => {
                let mut rest = content;
                while let Some((head, behind)) = rest.split_first_chunk::<17>() {
                    let [table, counts @ ..] = head;
                    let symbols: usize = counts.iter().copied().map(usize::from).sum();
                    let Some(behind) = behind.get(symbols..).filter(|_| *table >> 4 < 2 && *table & 15 < 4)
                    else {
                        return false;
                    };
                    rest = behind;
                }
                rest.is_empty()
            }
            // Conditioning of arithmetic coding: a class and a number, and a value, at most once each.
            0xCC => {
                let (pairs, rest) = content.as_chunks::<2>();
                let is_table = |[table, _]: &[u8; 2]| table >> 4 < 2 && table & 15 < 4;
                rest.is_empty() && pairs.len() <= 8 && pairs.iter().all(is_table)
            }
            // Quantisation tables of 8 or 16 bits.
            0xDB => {
                let mut rest = content;
                while let Some((table, behind)) = rest.split_first() {
                    let length = if table >> 4 == 0 { 64 } else { 128 };
                    let Some(behind) = behind.get(length..).filter(|_| table >> 4 < 2 && table & 15 < 4)
                    else {
                        return false;
                    };
                    rest = behind;
                }
                true
            }
            0xDC | 0xDD => content.len() == 2,
            0xDF => content.len() == 1,
            0xDA => content.first().is_some_and(|scans| content.len() == 4 + 2 * usize::from(*scans)),
            // Mapping tables (2 and 3) hold whatever one likes, and no decoder here takes them.
            0xF8 => match content {
                [1, rest @ ..] => rest.len() == 10,
                [4, width, rest @ ..] => rest.len() == 2 * usize::from(*width),
                _ => false,
            },
            // Frames, hierarchical progression.
            _ => {
                if marker == 0xF7 {
                    self.family = Family::JpegLs;
                }
                content.get(5).is_some_and(|components| content.len() == 6 + 3 * usize::from(*components))
            }
        }
    }

    fn fits_jpeg2000(&mut self, marker: u8, content: &[u8], at: u64) -> Result<bool, Refusal> {
        let u16_at =
            |at: usize| content.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes));
        let u32_at =
            |at: usize| content.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        // The index of a component has one byte for up to 256 of them.
        let index = if self.components < 257 { 1 } else { 2 };
        Ok(match marker {
            // Capabilities: a bit for each part of the standard, two bytes for each bit.
            0x50 => u32_at(0).is_some_and(|parts| content.len() == 4 + 2 * parts.count_ones() as usize),
            0x51 => {
                self.components = u16_at(34).unwrap_or_default();
                self.components > 0 && content.len() == 36 + 3 * usize::from(self.components)
            }
            0x52 => self.coding(content.first(), content.get(5..).unwrap_or_default()),
            0x53 => self.coding(content.get(index), content.get(index + 1..).unwrap_or_default()),
            0x5C => self.quantisation(content),
            0x5D => self.quantisation(content.get(index..).unwrap_or_default()),
            0x5E => content.len() == index + 2,
            0x5F => !content.is_empty() && content.len().is_multiple_of(5 + 2 * index),
            0x55 => self.announces(content),
            0x60 | 0x61 => !content.is_empty(),
            _ => {
                let (Some(tile), Some(length), 8) = (u16_at(0), u32_at(2), content.len()) else {
                    return Ok(false);
                };
                self.tile_begins(tile, length, at)?;
                true
            }
        })
    }

    /// Coding style from the number of levels on: five bytes, and a size of precincts for each resolution.
    fn coding(&mut self, style: Option<&u8>, content: &[u8]) -> bool {
        let (Some(style), Some(levels)) = (style, content.first().copied()) else { return false };
        self.levels = self.levels.max(levels);
        let precincts = if style & 1 == 1 { usize::from(levels) + 1 } else { 0 };
        levels <= LEVELS_MAXIMUM && content.len() == 5 + precincts
    }

    fn quantisation(&mut self, content: &[u8]) -> bool {
        let Some((style, steps)) = content.split_first() else { return false };
        let bands = match style & 0x1F {
            0 => steps.len(),
            1 => return steps.len() == 2,
            2 if steps.len().is_multiple_of(2) => steps.len() / 2,
            _ => return false,
        };
        self.bands = self.bands.max(bands);
        bands > 0
    }

    /// A step for each subband of the levels there are, and none beside.
    fn bands_fit(&self) -> Result<(), Refusal> {
        if self.bands <= 3 * usize::from(self.levels) + 1 {
            return Ok(());
        }
        Err(odd("a frame gives steps for subbands that it does not have"))
    }

    /// Lengths of tile-parts (T.800 A.7.1).
    fn announces(&mut self, content: &[u8]) -> bool {
        let Some((&[_, sizes], entries)) = content.split_first_chunk::<2>() else { return false };
        let (tile, length) = (usize::from(sizes >> 4 & 3), if sizes >> 6 & 1 == 0 { 2 } else { 4 });
        if sizes & 0x8F != 0 || tile > 2 || !entries.len().is_multiple_of(tile + length) {
            return false;
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        self.announced.extend(entries.chunks_exact(tile + length).map(|entry| {
            let (index, length) = entry.split_at_checked(tile).unwrap_or_default();
            ((tile > 0).then(|| u16::try_from(number(index)).unwrap_or(u16::MAX)), number(length))
        }));
        true
    }

    /// A tile-part of `length` bytes begins, twelve of them ahead of `at`.
    fn tile_begins(&mut self, tile: u16, length: u32, at: u64) -> Result<(), Refusal> {
        if self.components == 0 {
            return Err(odd("a tile-part begins ahead of the size of its image"));
        }
        self.bands_fit()?;
        (self.any_tile, self.in_tile_header) = (true, true);
        self.tile_end = (length > 0).then(|| at.saturating_sub(12) + u64::from(length));
        match self.announced.pop_front() {
            Some((index, announced))
                if length > 0 && (announced != length || index.is_some_and(|index| index != tile)) =>
            {
                Err(odd("a frame announces tile-parts that it does not have"))
            }
            _ => Ok(()),
        }
    }

    /// Whether every tile-part that was announced has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.announced.is_empty()
    }
}
