//! What the marker segments of a compressed frame may hold.

use crate::finding::Finding;
use crate::judge::tags;

/// Bytes of a frame that are none of its image.
pub(crate) fn odd() -> Finding {
    Finding::review("frame-data", tags::PIXELS)
}

/// A line that somebody wrote: printable characters in a row, most of them letters, many different ones.
#[derive(Default)]
pub(crate) struct Line {
    length: u32,
    letters: u32,
    which: u32,
}

impl Line {
    /// Takes the next byte; says whether the line is one.
    pub(crate) fn goes_on(&mut self, byte: u8) -> bool {
        if !matches!(byte, b' '..=b'~') {
            *self = Self::default();
            return false;
        }
        self.length += 1;
        if byte.is_ascii_alphabetic() {
            self.letters += 1;
            self.which |= 1 << (byte & 0x1F);
        }
        self.length >= 20 && self.letters * 4 >= self.length * 3 && self.which.count_ones() >= 7
    }
}

/// What a JPEG 2000 codestream has said of itself.
#[derive(Default)]
pub(crate) struct Jpeg2000 {
    components: usize,
    levels: usize,
    bands: usize,
    pub(crate) tiles: u32,
    /// Tile-parts that were announced: bytes of the tile's number, the number, the length.
    announced: Vec<(usize, u32, u32)>,
    met: usize,
}

impl Jpeg2000 {
    /// Whether a segment (T.800 annex A, T.814) has the length that its numbers give.
    pub(crate) fn fits(&mut self, kind: u8, content: &[u8]) -> bool {
        let at = |place: usize| content.get(place).copied().map(usize::from);
        let component = if self.components > 256 { 2 } else { 1 };
        let length = content.len();
        match kind {
            0x50 => content
                .first_chunk::<4>()
                .is_some_and(|parts| length == 4 + 2 * u32::from_be_bytes(*parts).count_ones() as usize),
            0x51 => {
                self.components = at(34).unwrap_or(0) << 8 | at(35).unwrap_or(0);
                self.components > 0 && length == 36 + 3 * self.components
            }
            0x52 | 0x53 => {
                let (style, from) = if kind == 0x52 { (0, 5) } else { (component, component + 1) };
                let (Some(style), Some(levels)) = (at(style), at(from)) else { return false };
                self.levels = self.levels.max(levels);
                levels <= 32 && length == from + 5 + if style % 2 == 1 { levels + 1 } else { 0 }
            }
            0x5C | 0x5D => {
                let from = if kind == 0x5C { 0 } else { component };
                let (Some(style), Some(steps)) = (at(from), length.checked_sub(from + 1)) else {
                    return false;
                };
                let bands = match style % 32 {
                    0 => steps,
                    1 => return steps == 2,
                    2 if steps.is_multiple_of(2) => steps / 2,
                    _ => return false,
                };
                self.bands = self.bands.max(bands);
                bands > 0
            }
            0x5E => length == component + 2,
            0x5F => length > 0 && length.is_multiple_of(5 + 2 * component),
            0x55 => self.announces(content),
            0x60 | 0x61 => {
                let mut line = Line::default();
                length > 0 && !content.iter().any(|byte| line.goes_on(*byte))
            }
            _ => kind == 0x64,
        }
    }

    fn announces(&mut self, content: &[u8]) -> bool {
        let Some(&[_, sizes]) = content.first_chunk::<2>() else { return false };
        let (tile, part) = (usize::from(sizes) >> 4 & 3, if sizes & 0x40 == 0 { 2 } else { 4 });
        if tile == 3 || sizes & !0x70 != 0 || !(content.len() - 2).is_multiple_of(tile + part) {
            return false;
        }
        let number = |bytes: Option<&[u8]>| {
            bytes.unwrap_or_default().iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        for entry in content.get(2..).unwrap_or_default().chunks(tile + part) {
            self.announced.push((tile, number(entry.get(..tile)), number(entry.get(tile..))));
        }
        true
    }

    pub(crate) fn tile_part(&mut self, tile: u16, length: u32) -> Result<(), Finding> {
        self.tiles += 1;
        self.bands_fit()?;
        let Some((bytes, index, announced)) = self.announced.get(self.met).copied() else { return Ok(()) };
        self.met += 1;
        let same = length == 0 || announced == length && (bytes == 0 || index == u32::from(tile));
        if same { Ok(()) } else { Err(odd()) }
    }

    pub(crate) fn bands_fit(&self) -> Result<(), Finding> {
        if self.components > 0 && self.bands <= 3 * self.levels + 1 { Ok(()) } else { Err(odd()) }
    }

    pub(crate) fn all_announced(&self) -> Result<(), Finding> {
        if self.met == self.announced.len() { Ok(()) } else { Err(odd()) }
    }
}

/// Whether a segment (T.81, T.87) has the length that its numbers give.
pub(crate) fn fits_jpeg(marker: u8, content: &[u8]) -> bool {
    let at = |place: usize| content.get(place).copied().map(usize::from);
    let length = content.len();
    match marker {
        0xC4 | 0xDB => {
            let mut from = 0;
            while let Some(table) = at(from) {
                let (class, number) = (table >> 4, table & 15);
                let symbols =
                    || (from + 1..from + 17).map(|place| at(place).unwrap_or(length)).sum::<usize>();
                from += 1 + if marker == 0xC4 { 16 + symbols() } else { 64 * (class + 1) };
                if class > 1 || number > 3 || from > length {
                    return false;
                }
            }
            true
        }
        // Class and number of a table, and its value: eight tables there are.
        0xCC => {
            length.is_multiple_of(2)
                && length <= 16
                && content.iter().step_by(2).all(|table| table & 0xEC == 0)
        }
        0xDC | 0xDD => length == 2,
        0xDF => length == 1,
        0xDA => at(0).is_some_and(|components| length == 4 + 2 * components),
        0xF8 => match at(0) {
            Some(1) => length == 11,
            Some(4) => at(1).is_some_and(|width| length == 2 + 2 * width),
            _ => false,
        },
        // Application data and comments are judged by what they say.
        0xE0..=0xEF | 0xFE => true,
        _ => at(5).is_some_and(|components| length == 6 + 3 * components),
    }
}

/// Whether a segment of numbers reads like a line of text. The usual Huffman tables hold the alphabet, and quantisation
/// tables may look like it.
pub(crate) fn reads(marker: u8, content: &[u8]) -> bool {
    let mut line = Line::default();
    !matches!(marker, 0xC4 | 0xDB) && content.iter().any(|byte| line.goes_on(*byte))
}

/// Whether a comment or application data hold more than null bytes and what decoders choose colours by.
pub(crate) fn says_something(kind: u8, content: &[u8]) -> bool {
    let (word, known): (&[u8], usize) = match kind {
        // Version, units, densities, and the size of a thumbnail, which is null.
        0xE0 => (b"JFIF\0", 12),
        // The last of twelve bytes is the transformation; flags are null.
        0xEE => (b"Adobe", 12),
        0xE8 => (b"mrfx", 5),
        // Comments of JPEG and JPEG 2000, all other application data.
        0xE1..=0xEF | 0xFE | 0x64 => (b"", 0),
        _ => return false,
    };
    let rest =
        if !word.is_empty() && content.starts_with(word) { content.get(known..) } else { Some(content) };
    // What stands behind the word are numbers, and no word.
    let numbers = content.get(word.len()..known.min(content.len())).unwrap_or_default();
    let is_word = numbers.windows(2).any(|pair| pair.iter().all(u8::is_ascii_alphabetic));
    is_word || rest.unwrap_or_default().iter().any(|byte| *byte != 0)
}
