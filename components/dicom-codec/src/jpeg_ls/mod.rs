//! JPEG-LS, lossless and near-lossless (ITU-T T.87, ISO/IEC 14495-1): 2 to 16 bits, components one by one, by line or by
//! sample.
//!
//! Time grows with the size of the image and with the length of the stream, never with their product: each component
//! stands in one scan, and reading behind a scan's end is seen at the end of the line.

mod bits;
mod coding;
mod scan;

use crate::error::{CodecError, malformed, unsupported};
use crate::segments::{DNL, DRI, Decode, SOS, walk};
use crate::{Pixels, Shape, StreamColour};

use coding::{Coding, Presets};
use scan::Scan;

/// Start of a JPEG-LS frame.
const SOF55: u8 = 0xF7;
/// Preset parameters.
const LSE: u8 = 0xF8;

pub(super) fn decode(stream: &[u8], shape: &Shape) -> Result<Pixels, CodecError> {
    let mut decoder =
        Decoder { shape, presets: Presets::default(), restart_interval: 0, lines_follow: false, frame: None };
    walk(stream, &mut decoder, BAD)?;
    match decoder.frame {
        Some(frame) if frame.is_whole() && !decoder.lines_follow => Ok(Pixels {
            bytes: frame.bytes,
            word: frame.word,
            precision: u32::from(frame.precision),
            colour: StreamColour::Unsaid,
        }),
        _ => Err(BAD),
    }
}

const BAD: CodecError = malformed("jpeg-ls", "the JPEG-LS code stream is damaged or of another shape");

struct Decoder<'a> {
    shape: &'a Shape,
    presets: Presets,
    /// Lines; 0 is none.
    restart_interval: u32,
    /// The number of lines stands behind the first scan.
    lines_follow: bool,
    frame: Option<Frame>,
}

/// The image, as far as it is decoded.
struct Frame {
    precision: u8,
    /// Identifiers, and whether the component has been decoded.
    components: Vec<(u8, bool)>,
    /// Bytes of a sample.
    word: usize,
    /// Little-endian samples, by pixel.
    bytes: Vec<u8>,
}

/// How the components of a scan alternate.
enum Interleave {
    None,
    Line,
    Sample,
}

impl Decode for Decoder<'_> {
    fn is_whole(&self) -> bool {
        self.frame.as_ref().is_some_and(Frame::is_whole)
    }

    /// Takes what a segment says; a start of scan says nothing here.
    fn take(&mut self, marker: u8, body: &[u8]) -> Result<(), CodecError> {
        match marker {
            SOF55 if self.frame.is_none() => self.frame = Some(self.start(body)?),
            LSE => self.preset(body)?,
            DRI if (2..=4).contains(&body.len()) => {
                self.restart_interval = body.iter().fold(0, |lines, byte| lines << 8 | u32::from(*byte));
            }
            DNL if self.lines_follow => {
                if body.first_chunk().map(|lines| usize::from(u16::from_be_bytes(*lines)))
                    != Some(self.shape.rows)
                {
                    return Err(BAD);
                }
                self.lines_follow = false;
            }
            0xE8 if body.starts_with(b"mrfx") && body.get(4) != Some(&0) => {
                return Err(unsupported("JPEG-LS with a colour transform of its own"));
            }
            SOS | 0xE0..=0xEF | 0xFE => {}
            _ => return Err(BAD),
        }
        Ok(())
    }

    /// Decodes a scan (C.2.3) and returns what follows it.
    fn scan<'s>(&mut self, body: &[u8], entropy_coded: &'s [u8]) -> Result<&'s [u8], CodecError> {
        let frame = self.frame.as_mut().ok_or(BAD)?;
        let (&count, rest) = body.split_first().ok_or(BAD)?;
        let (specifications, tail) = rest.split_at_checked(2 * usize::from(count)).ok_or(BAD)?;
        let &[near, interleave, point_transform] = tail else { return Err(BAD) };
        let mut chosen = Vec::with_capacity(usize::from(count));
        for &[id, table] in specifications.as_chunks::<2>().0 {
            if table != 0 {
                return Err(unsupported("JPEG-LS with a mapping table"));
            }
            let place = frame.components.iter().position(|it| *it == (id, false)).ok_or(BAD)?;
            frame.components.get_mut(place).ok_or(BAD)?.1 = true;
            chosen.push(place);
        }
        if point_transform != 0 {
            return Err(unsupported("JPEG-LS with a point transform"));
        }
        let interleave = match (interleave, chosen.len()) {
            (_, 0) => return Err(BAD),
            (0..=2, 1) => Interleave::None,
            (1, _) => Interleave::Line,
            (2, _) => Interleave::Sample,
            _ => return Err(BAD),
        };
        if !matches!(u32::from(self.presets.largest), largest if largest == 0 || largest + 1 == 1 << frame.precision)
        {
            // The standard is clear, but CharLS up to 2.4, which most others use, reads such a stream as if it had all
            // values: nobody knows which encoder it came from.
            return Err(unsupported("JPEG-LS whose largest sample is not that of its bits"));
        }
        let coding = Coding::new(frame.precision, near, self.presets).ok_or(BAD)?;
        let restart = Restart { coding: &coding, rows: self.shape.rows, interval: self.restart_interval };
        let columns = self.shape.columns;
        match (interleave, chosen.as_slice()) {
            (Interleave::Sample, &[a, b]) => frame.by_sample(&restart, entropy_coded, columns, [a, b]),
            (Interleave::Sample, &[a, b, c]) => frame.by_sample(&restart, entropy_coded, columns, [a, b, c]),
            (Interleave::Sample, &[a, b, c, d]) => {
                frame.by_sample(&restart, entropy_coded, columns, [a, b, c, d])
            }
            (Interleave::Sample, _) => return Err(BAD),
            (Interleave::None | Interleave::Line, chosen) => {
                frame.by_line(&restart, entropy_coded, columns, chosen)
            }
        }
        .ok_or(BAD)
    }
}

impl Decoder<'_> {
    /// C.2.2, compared with the object before memory is taken.
    fn start(&mut self, body: &[u8]) -> Result<Frame, CodecError> {
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
            && (2..=16).contains(&precision)
            && u32::from(precision) <= shape.bits_allocated;
        if !fits {
            return Err(BAD);
        }
        if specifications.len() > 1 && specifications.iter().any(|[_, sampling, _]| *sampling != 0x11) {
            return Err(unsupported("subsampled JPEG-LS"));
        }
        let word = if precision > 8 { 2 } else { 1 };
        Ok(Frame {
            precision,
            components: specifications.iter().map(|[id, ..]| (*id, false)).collect(),
            word,
            bytes: vec![0; shape.pixels() * shape.samples * word],
        })
    }

    /// C.2.4.
    fn preset(&mut self, body: &[u8]) -> Result<(), CodecError> {
        match body {
            [1, rest @ ..] if rest.len() == 10 => {
                let mut words = rest.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
                let mut next = || words.next().unwrap_or(0);
                self.presets =
                    Presets { largest: next(), thresholds: [next(), next(), next()], reset: next() };
                Ok(())
            }
            [2 | 3, ..] => Err(unsupported("JPEG-LS with a mapping table")),
            [4, ..] => Err(unsupported("JPEG-LS of more than 65,535 rows or columns")),
            _ => Err(BAD),
        }
    }
}

/// A scan in its restart intervals.
struct Restart<'c> {
    coding: &'c Coding,
    rows: usize,
    interval: u32,
}

impl Restart<'_> {
    /// Calls `lines` for each interval with its decoder and rows; returns what follows the scan. The first line of each
    /// has nothing above it.
    fn each<'s>(
        &self,
        entropy_coded: &'s [u8],
        mut lines: impl FnMut(&mut Scan<'_>, std::ops::Range<usize>) -> Option<()>,
    ) -> Option<&'s [u8]> {
        let interval = match self.interval {
            0 => self.rows,
            lines => usize::try_from(lines).unwrap_or(self.rows),
        };
        let (mut rest, mut start, mut marker) = (entropy_coded, 0_usize, 0);
        loop {
            let end = start.saturating_add(interval).min(self.rows);
            let mut scan = Scan::new(self.coding, rest);
            lines(&mut scan, start..end)?;
            rest = behind(rest, &scan)?;
            if end == self.rows {
                return Some(rest);
            }
            rest = rest.strip_prefix(&[0xFF, 0xD0 + marker])?;
            marker = (marker + 1) % 8;
            start = end;
        }
    }
}

/// What follows a scan, as a part of the stream that it was read from.
fn behind<'s>(stream: &'s [u8], scan: &Scan<'_>) -> Option<&'s [u8]> {
    let rest = scan.bits.behind()?.len();
    stream.get(stream.len() - rest..)
}

impl Frame {
    fn is_whole(&self) -> bool {
        self.components.iter().all(|(_, decoded)| *decoded)
    }

    /// Components one by one, or alternating by line.
    fn by_line<'s>(
        &mut self,
        restart: &Restart<'_>,
        entropy_coded: &'s [u8],
        columns: usize,
        components: &[usize],
    ) -> Option<&'s [u8]> {
        let (word, step) = (self.word, self.components.len() * self.word);
        let bytes = &mut self.bytes;
        restart.each(entropy_coded, |scan, rows| {
            let mut lines = vec![(vec![0_u16; columns + 2], vec![0_u16; columns + 2], 0); components.len()];
            for row in rows {
                let into = bytes.get_mut(row * columns * step..(row + 1) * columns * step)?;
                for ((above, line, run), component) in lines.iter_mut().zip(components) {
                    scan.line(above, line, run)?;
                    crate::store(line.get(1..=columns)?, into.get_mut(component * word..)?, word, step);
                    std::mem::swap(above, line);
                }
            }
            Some(())
        })
    }

    /// Components alternating by sample.
    fn by_sample<'s, const N: usize>(
        &mut self,
        restart: &Restart<'_>,
        entropy_coded: &'s [u8],
        columns: usize,
        components: [usize; N],
    ) -> Option<&'s [u8]> {
        let (word, step) = (self.word, self.components.len() * self.word);
        let bytes = &mut self.bytes;
        restart.each(entropy_coded, |scan, rows| {
            let (mut above, mut line) = (vec![[0_u16; N]; columns + 2], vec![[0_u16; N]; columns + 2]);
            let mut run = 0;
            let mut samples = vec![0_u16; columns];
            for row in rows {
                scan.line_of_pixels(&mut above, &mut line, &mut run)?;
                let into = bytes.get_mut(row * columns * step..(row + 1) * columns * step)?;
                for (place, component) in components.into_iter().enumerate() {
                    for (sample, pixel) in samples.iter_mut().zip(line.get(1..)?) {
                        *sample = *pixel.get(place)?;
                    }
                    crate::store(&samples, into.get_mut(component * word..)?, word, step);
                }
                std::mem::swap(&mut above, &mut line);
            }
            Some(())
        })
    }
}
