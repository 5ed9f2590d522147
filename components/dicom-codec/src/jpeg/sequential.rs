//! Sequential DCT with Huffman codes, of 8 and of 12 bits (ISO/IEC 10918-1, Annex F).

use super::bits::{Bits, Table};
use super::{BAD, Frame, Restarts, Tables, idct};
use crate::error::{CodecError, unsupported};
use crate::{Pixels, Shape, StreamColour};

/// Places of the coefficients in the order of the stream (Figure A.6).
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// An image while its scans are decoded.
pub(super) struct Image {
    columns: usize,
    rows: usize,
    precision: u32,
    /// The greatest sampling factors, across and down.
    most: (usize, usize),
    components: Vec<Component>,
}

struct Component {
    id: u8,
    sampling: (usize, usize),
    quantisation: usize,
    /// Samples across and down that are part of the image.
    width: usize,
    height: usize,
    /// Samples, padded to whole blocks; empty until they are decoded.
    plane: Vec<u16>,
    /// Samples of a row of `plane`.
    stride: usize,
}

/// What a scan needs of one component.
struct Coded<'t> {
    place: usize,
    dc: &'t Table,
    ac: &'t Table,
    quantisation: [i32; 64],
    last_dc: i32,
}

impl Image {
    pub(super) fn new(frame: &Frame, shape: &Shape) -> Result<Self, CodecError> {
        let factors = |byte: u8| (usize::from(byte >> 4), usize::from(byte & 15));
        let sampling = frame.components.iter().map(|it| factors(it.sampling));
        let most = sampling.clone().fold((1, 1), |(a, b), (across, down)| (across.max(a), down.max(b)));
        if sampling.clone().any(|(across, down)| !(1..=4).contains(&across) || !(1..=4).contains(&down)) {
            return Err(BAD);
        }
        if sampling
            .clone()
            .any(|(across, down)| !most.0.is_multiple_of(across) || !most.1.is_multiple_of(down))
        {
            return Err(unsupported("JPEG with sampling factors that do not divide each other"));
        }
        let component = |(specification, sampling): (&super::Specification, (usize, usize))| Component {
            id: specification.id,
            sampling,
            quantisation: usize::from(specification.quantisation),
            width: (shape.columns * sampling.0).div_ceil(most.0),
            height: (shape.rows * sampling.1).div_ceil(most.1),
            plane: Vec::new(),
            stride: 0,
        };
        Ok(Self {
            columns: shape.columns,
            rows: shape.rows,
            precision: u32::from(frame.precision),
            most,
            components: frame.components.iter().zip(sampling.clone()).map(component).collect(),
        })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.components.iter().all(|component| !component.plane.is_empty())
    }

    /// Decodes a scan of these components, each with the selectors of its tables, and returns what follows it.
    /// Spectral selection is not looked at: a sequential scan has all coefficients, whatever it says.
    pub(super) fn scan<'s>(
        &mut self,
        chosen: &[(u8, u8)],
        tables: &Tables,
        restarts: u32,
        entropy_coded: &'s [u8],
    ) -> Option<&'s [u8]> {
        let mut coded = Vec::with_capacity(chosen.len());
        for &(id, selectors) in chosen {
            let open = |component: &Component| component.id == id && component.plane.is_empty();
            let place = self.components.iter().position(open)?;
            let component = self.components.get_mut(place)?;
            let (dc, ac) = (usize::from(selectors >> 4), usize::from(selectors & 15));
            coded.push(Coded {
                place,
                dc: tables.dc.get(dc)?.as_ref()?,
                ac: tables.ac.get(ac)?.as_ref()?,
                quantisation: (*tables.quantisation.get(component.quantisation)?)?,
                last_dc: 0,
            });
            // Whole units of the interleaved kind, also where this scan has only one component.
            let (across, down) =
                (self.columns.div_ceil(8 * self.most.0), self.rows.div_ceil(8 * self.most.1));
            component.stride = across * component.sampling.0 * 8;
            component.plane = vec![0; component.stride * down * component.sampling.1 * 8];
        }
        let alone = coded.len() == 1;
        let (across, down) = match coded.as_slice() {
            [] => return None,
            // Blocks that hold samples of the image (A.2.2).
            [one] => {
                let component = self.components.get(one.place)?;
                (component.width.div_ceil(8), component.height.div_ceil(8))
            }
            _ => (self.columns.div_ceil(8 * self.most.0), self.rows.div_ceil(8 * self.most.1)),
        };
        let mut restarts = Restarts::new(restarts, entropy_coded);
        for y in 0..down {
            for x in 0..across {
                if restarts.is_due() {
                    restarts.restart()?;
                    coded.iter_mut().for_each(|it| it.last_dc = 0);
                }
                for it in &mut coded {
                    let component = self.components.get_mut(it.place)?;
                    let (blocks, lines) = if alone { (1, 1) } else { component.sampling };
                    for line in 0..lines {
                        for block in 0..blocks {
                            let coefficients = it.block(&mut restarts.bits)?;
                            let samples = idct::samples(&coefficients, self.precision);
                            component.put(x * blocks + block, y * lines + line, &samples)?;
                        }
                    }
                }
            }
            if restarts.bits.overdrawn() {
                return None;
            }
        }
        Some(restarts.bits.behind())
    }

    /// The samples of all components, spread to full size.
    pub(super) fn pixels(self, colour: StreamColour) -> Option<Pixels> {
        let word = if self.precision > 8 { 2 } else { 1 };
        let step = self.components.len() * word;
        let mut bytes = vec![0; self.rows * self.columns * step];
        let mut line = vec![0_u16; self.columns + 2 * self.most.0];
        for (place, component) in self.components.iter().enumerate() {
            let ratio = (self.most.0 / component.sampling.0, self.most.1 / component.sampling.1);
            for (row, into) in bytes.chunks_exact_mut(self.columns * step).enumerate() {
                component.spread(row, ratio, &mut line)?;
                crate::store(line.get(..self.columns)?, into.get_mut(place * word..)?, word, step);
            }
        }
        Some(Pixels { bytes, word, precision: self.precision, colour })
    }
}

impl Coded<'_> {
    /// The dequantised coefficients of the next block (F.2.2).
    #[inline]
    fn block(&mut self, bits: &mut Bits<'_>) -> Option<[i32; 64]> {
        // A difference has 16 bits at most, a sum of an honest image no more.
        const MOST_DC: i32 = 1 << 17;
        let mut coefficients = [0; 64];
        let [first, ..] = &mut coefficients;
        let width = bits.symbol(self.dc).filter(|width| *width <= 16)?;
        self.last_dc += bits.signed(u32::from(width));
        if self.last_dc.abs() > MOST_DC {
            return None;
        }
        let [quantisation, ..] = self.quantisation;
        *first = self.last_dc.saturating_mul(quantisation);
        let mut k = 1;
        while k < 64 {
            let symbol = bits.symbol(self.ac)?;
            let (zeros, width) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if width == 0 {
                if zeros != 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += zeros;
            let place = usize::from(*ZIGZAG.get(k)?);
            let value = bits.signed(width) * self.quantisation.get(k)?;
            *coefficients.get_mut(place)? = value;
            k += 1;
        }
        (k <= 64).then_some(coefficients)
    }
}

impl Component {
    fn put(&mut self, x: usize, y: usize, samples: &[u16; 64]) -> Option<()> {
        let start = y * 8 * self.stride + x * 8;
        let lines = self.plane.get_mut(start..)?.chunks_mut(self.stride);
        for (to, from) in lines.zip(samples.as_chunks::<8>().0) {
            *to.first_chunk_mut::<8>()? = *from;
        }
        Some(())
    }

    /// A row of samples that are part of the image.
    fn line(&self, row: usize) -> Option<&[u16]> {
        let start = row.min(self.height - 1) * self.stride;
        self.plane.get(start..start + self.width)
    }

    /// One row of the image in full size. Where two samples stand for one, neighbours are weighted three to one, as the
    /// Independent JPEG Group's library does.
    fn spread(&self, row: usize, (across, down): (usize, usize), into: &mut [u16]) -> Option<()> {
        let near = self.line(row / down)?;
        let smooth = self.width > 2;
        let far = match (across, down) {
            (2, 2) if smooth => self.neighbour(row)?,
            (1, 2) => self.neighbour(row)?,
            (1, 1) => {
                into.get_mut(..self.width)?.copy_from_slice(near);
                return Some(());
            }
            (2, 1) if smooth => {
                widen(near.iter().map(|sample| u32::from(*sample)), into, 0, [1, 2]);
                return Some(());
            }
            _ => {
                let samples = near.iter().flat_map(|sample| std::iter::repeat_n(*sample, across));
                into.iter_mut().zip(samples).for_each(|(to, sample)| *to = sample);
                return Some(());
            }
        };
        let sums = near.iter().zip(far).map(|(near, far)| 3 * u32::from(*near) + u32::from(*far));
        if across == 1 {
            let round = 1 + u32::from(!row.is_multiple_of(2));
            into.iter_mut().zip(sums).for_each(|(to, sum)| *to = narrow((sum + round) >> 2));
        } else {
            widen(sums, into, 2, [8, 7]);
        }
        Some(())
    }

    /// The row of samples on the other side of a row of the image from its own.
    fn neighbour(&self, row: usize) -> Option<&[u16]> {
        let own = row / 2;
        self.line(if row.is_multiple_of(2) { own.saturating_sub(1) } else { own + 1 })
    }
}

/// Two samples from each, three to one with its neighbours, after which `scale` and two more bits go off; what is added
/// before alternates.
fn widen(samples: impl Iterator<Item = u32> + Clone, into: &mut [u16], scale: u32, round: [u32; 2]) {
    let [before_round, after_round] = round;
    let shift = scale + 2;
    let before = samples.clone().take(1).chain(samples.clone());
    let after = samples.clone().skip(1).map(Some).chain([None]);
    let triples = samples.zip(before).zip(after);
    for (pair, ((sample, before), after)) in into.as_chunks_mut::<2>().0.iter_mut().zip(triples) {
        let sum = |other: u32, round: u32| narrow((3 * sample + other + round) >> shift);
        *pair = [sum(before, before_round), sum(after.unwrap_or(sample), after_round)];
    }
}

/// A mean of samples is a sample.
fn narrow(mean: u32) -> u16 {
    u16::try_from(mean).unwrap_or(u16::MAX)
}
