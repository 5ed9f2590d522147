//! JPEG (ITU-T T.81, ISO/IEC 10918-1): sequential DCT of 8 and 12 bits and lossless of 2 to 16, both with Huffman codes.
//! That is what DICOM has transfer syntaxes for; progressive and arithmetic coding are refused.
//!
//! Time grows with the size of the image and with the length of the stream: each component stands in one scan.

mod bits;
mod idct;
mod lossless;
mod sequential;

use crate::error::{CodecError, malformed, unsupported};
use crate::segments::{DNL, DRI, Decode, SOS, walk};
use crate::{Pixels, Shape, StreamColour};

use bits::{Bits, Table};

const BAD: CodecError = malformed("jpeg", "the JPEG code stream is damaged or of another shape");

/// Huffman and quantisation tables.
const DHT: u8 = 0xC4;
const DQT: u8 = 0xDB;

pub(super) fn decode(stream: &[u8], shape: &Shape) -> Result<Pixels, CodecError> {
    let mut decoder = Decoder {
        shape,
        tables: Tables::default(),
        restart_interval: 0,
        lines_follow: false,
        said: Said::default(),
        image: None,
    };
    walk(stream, &mut decoder, BAD)?;
    if !decoder.is_whole() || decoder.lines_follow {
        return Err(BAD);
    }
    let colour = decoder.said.colour();
    match decoder.image {
        Some(Image::Sequential(image)) => image.pixels(colour).ok_or(BAD),
        Some(Image::Lossless(image)) => Ok(image.pixels(colour)),
        None => Err(BAD),
    }
}

/// What a start of frame says.
struct Frame {
    precision: u8,
    components: Vec<Specification>,
}

struct Specification {
    id: u8,
    /// Across in the upper half, down in the lower.
    sampling: u8,
    quantisation: u8,
}

/// Tables as last defined.
#[derive(Default)]
struct Tables {
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// In the order of the stream.
    quantisation: [Option<[i32; 64]>; 4],
}

enum Image {
    Sequential(sequential::Image),
    Lossless(lossless::Image),
}

struct Decoder<'a> {
    shape: &'a Shape,
    tables: Tables,
    restart_interval: u32,
    /// The number of lines stands behind the first scan.
    lines_follow: bool,
    said: Said,
    image: Option<Image>,
}

/// What tells the colours of three components.
#[derive(Default)]
struct Said {
    jfif: bool,
    /// The transform byte of Adobe's APP14.
    adobe: Option<u8>,
    components: Vec<u8>,
}

impl Said {
    fn colour(&self) -> StreamColour {
        match *self.components.as_slice() {
            [82, 71, 66] | [114, 103, 98] => StreamColour::Rgb,
            [_, _, _] if self.jfif || self.adobe == Some(1) => StreamColour::Ybr,
            _ => StreamColour::Unsaid,
        }
    }
}

impl Decode for Decoder<'_> {
    fn is_whole(&self) -> bool {
        match &self.image {
            Some(Image::Sequential(image)) => image.is_whole(),
            Some(Image::Lossless(image)) => image.is_whole(),
            None => false,
        }
    }

    /// Takes what a segment says; a start of scan says nothing here.
    fn take(&mut self, marker: u8, body: &[u8]) -> Result<(), CodecError> {
        match marker {
            0xC0 | 0xC1 | 0xC3 if self.image.is_none() => self.image = Some(self.start(marker, body)?),
            0xC0..=0xC3 if self.image.is_some() => return Err(BAD),
            0xC2 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(unsupported("JPEG that is progressive, hierarchical or arithmetically coded"));
            }
            DHT => self.tables.take_huffman(body).ok_or(BAD)?,
            DQT => self.tables.take_quantisation(body).ok_or(BAD)?,
            DRI => {
                let &[high, low] = body else { return Err(BAD) };
                self.restart_interval = u32::from(u16::from_be_bytes([high, low]));
            }
            DNL if self.lines_follow => {
                if body.first_chunk().map(|lines| usize::from(u16::from_be_bytes(*lines)))
                    != Some(self.shape.rows)
                {
                    return Err(BAD);
                }
                self.lines_follow = false;
            }
            0xE0 => self.said.jfif |= body.starts_with(b"JFIF"),
            0xEE if body.starts_with(b"Adobe") => self.said.adobe = body.get(11).copied(),
            SOS | 0xE1..=0xEF | 0xFE => {}
            _ => return Err(BAD),
        }
        Ok(())
    }

    /// Decodes a scan (B.2.3) and returns what follows it.
    fn scan<'s>(&mut self, body: &[u8], entropy_coded: &'s [u8]) -> Result<&'s [u8], CodecError> {
        let (&count, rest) = body.split_first().ok_or(BAD)?;
        let (specifications, tail) = rest.split_at_checked(2 * usize::from(count)).ok_or(BAD)?;
        let &tail: &[u8; 3] = tail.try_into().map_err(|_| BAD)?;
        let chosen: Vec<_> =
            specifications.as_chunks::<2>().0.iter().map(|&[id, selectors]| (id, selectors)).collect();
        match &mut self.image {
            Some(Image::Sequential(image)) => {
                image.scan(&chosen, &self.tables, self.restart_interval, entropy_coded).ok_or(BAD)
            }
            Some(Image::Lossless(image)) => {
                image.scan(&chosen, &self.tables, self.restart_interval, tail, entropy_coded)
            }
            None => Err(BAD),
        }
    }
}

impl Decoder<'_> {
    /// B.2.2, compared with the object before memory is taken.
    fn start(&mut self, marker: u8, body: &[u8]) -> Result<Image, CodecError> {
        let &[precision, r0, r1, c0, c1, count] = body.first_chunk().ok_or(BAD)?;
        let (specifications, more) = body.get(6..).unwrap_or_default().as_chunks::<3>();
        let rows = usize::from(u16::from_be_bytes([r0, r1]));
        let columns = usize::from(u16::from_be_bytes([c0, c1]));
        let shape = self.shape;
        self.lines_follow = rows == 0;
        let fits = (rows == shape.rows || rows == 0)
            && columns == shape.columns
            && usize::from(count) == shape.samples
            && specifications.len() == shape.samples
            && more.is_empty()
            && u32::from(precision) <= shape.bits_allocated;
        let lossless = marker == 0xC3;
        let known = if lossless { (2..=16).contains(&precision) } else { matches!(precision, 8 | 12) };
        if !fits || !known {
            return Err(BAD);
        }
        let specification =
            |&[id, sampling, quantisation]: &[u8; 3]| Specification { id, sampling, quantisation };
        let frame = Frame { precision, components: specifications.iter().map(specification).collect() };
        self.said.components = frame.components.iter().map(|it| it.id).collect();
        Ok(if lossless {
            Image::Lossless(lossless::Image::new(&frame, shape)?)
        } else {
            Image::Sequential(sequential::Image::new(&frame, shape)?)
        })
    }
}

impl Tables {
    /// B.2.4.2.
    fn take_huffman(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let (symbols, rest) = rest.split_at_checked(counts.iter().copied().map(usize::from).sum())?;
            let tables = if place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(place & 15)).filter(|_| place >> 4 <= 1)? =
                Some(Table::new(counts, symbols)?);
            body = rest;
        }
        Some(())
    }

    /// B.2.4.1.
    fn take_quantisation(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = body.split_first() {
            let mut values = [0; 64];
            body = if place >> 4 == 0 {
                let (bytes, rest) = rest.split_first_chunk::<64>()?;
                values.iter_mut().zip(bytes).for_each(|(to, byte)| *to = i32::from(*byte));
                rest
            } else {
                let (bytes, rest) = rest.split_first_chunk::<128>()?;
                let words = bytes.as_chunks::<2>().0;
                values
                    .iter_mut()
                    .zip(words)
                    .for_each(|(to, pair)| *to = i32::from(u16::from_be_bytes(*pair)));
                rest
            };
            *self.quantisation.get_mut(usize::from(place & 15)).filter(|_| place >> 4 <= 1)? = Some(values);
        }
        Some(())
    }
}

/// The bits of a scan in its restart intervals (E.2.4).
struct Restarts<'s> {
    bits: Bits<'s>,
    interval: u32,
    left: u32,
    marker: u8,
}

impl<'s> Restarts<'s> {
    /// An interval of 0 is none.
    fn new(interval: u32, entropy_coded: &'s [u8]) -> Self {
        let left = if interval == 0 { u32::MAX } else { interval };
        Self { bits: Bits::new(entropy_coded), interval, left, marker: 0 }
    }

    /// Counts a unit that comes next; true where it stands behind a restart marker.
    #[inline]
    fn is_due(&mut self) -> bool {
        let due = self.interval != 0 && self.left == 0;
        if self.interval != 0 {
            self.left = if due { self.interval - 1 } else { self.left - 1 };
        }
        due
    }

    /// Goes behind the next restart marker; None where another marker comes, or the interval was overdrawn.
    fn restart(&mut self) -> Option<()> {
        if self.bits.overdrawn() {
            return None;
        }
        self.bits = Bits::new(self.bits.behind().strip_prefix(&[0xFF, 0xD0 + self.marker])?);
        self.marker = (self.marker + 1) % 8;
        Some(())
    }
}
