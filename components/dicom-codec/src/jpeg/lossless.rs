//! Lossless JPEG with Huffman codes (ISO/IEC 10918-1, Annex H): 2 to 16 bits, all predictors, a point transform.

use super::bits::{Bits, Table};
use super::{BAD, Frame, Restarts, Tables};
use crate::error::{CodecError, unsupported};
use crate::{Pixels, Shape, StreamColour};

/// An image while its scans are decoded.
pub(super) struct Image {
    columns: usize,
    precision: u8,
    /// Identifiers, and whether the component has been decoded.
    components: Vec<(u8, bool)>,
    word: usize,
    bytes: Vec<u8>,
}

/// What a scan needs of one component.
struct Coded<'t> {
    place: usize,
    table: &'t Table,
    above: Vec<u16>,
    line: Vec<u16>,
}

impl Image {
    pub(super) fn new(frame: &Frame, shape: &Shape) -> Result<Self, CodecError> {
        if frame.components.len() > 1 && frame.components.iter().any(|it| it.sampling != 0x11) {
            return Err(unsupported("subsampled lossless JPEG"));
        }
        let word = if frame.precision > 8 { 2 } else { 1 };
        Ok(Self {
            columns: shape.columns,
            precision: frame.precision,
            components: frame.components.iter().map(|it| (it.id, false)).collect(),
            word,
            bytes: vec![0; shape.pixels() * shape.samples * word],
        })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.components.iter().all(|(_, decoded)| *decoded)
    }

    /// Decodes a scan of these components, each with the selectors of its tables, and returns what follows it.
    pub(super) fn scan<'s>(
        &mut self,
        chosen: &[(u8, u8)],
        tables: &Tables,
        restarts: u32,
        [predictor, _, transform]: [u8; 3],
        entropy_coded: &'s [u8],
    ) -> Result<&'s [u8], CodecError> {
        let mut coded = Vec::with_capacity(chosen.len());
        for &(id, selectors) in chosen {
            let place = self.components.iter().position(|it| *it == (id, false)).ok_or(BAD)?;
            self.components.get_mut(place).ok_or(BAD)?.1 = true;
            let table = tables.dc.get(usize::from(selectors >> 4)).and_then(Option::as_ref).ok_or(BAD)?;
            coded.push(Coded { place, table, above: vec![0; self.columns], line: vec![0; self.columns] });
        }
        let point = u32::from(transform & 15);
        if coded.is_empty() || point >= u32::from(self.precision) {
            return Err(BAD);
        }
        if !(restarts as usize).is_multiple_of(self.columns) {
            return Err(unsupported("lossless JPEG that restarts within a row"));
        }
        match predictor {
            1 => self.lines(&mut coded, point, restarts, entropy_coded, |a, _, _| a),
            2 => self.lines(&mut coded, point, restarts, entropy_coded, |_, b, _| b),
            3 => self.lines(&mut coded, point, restarts, entropy_coded, |_, _, c| c),
            4 => self.lines(&mut coded, point, restarts, entropy_coded, |a, b, c| a + b - c),
            5 => self.lines(&mut coded, point, restarts, entropy_coded, |a, b, c| a + ((b - c) >> 1)),
            6 => self.lines(&mut coded, point, restarts, entropy_coded, |a, b, c| b + ((a - c) >> 1)),
            7 => self.lines(&mut coded, point, restarts, entropy_coded, |a, b, _| (a + b) >> 1),
            _ => None,
        }
        .ok_or(BAD)
    }

    /// Decodes all lines; `predict` takes the samples to the left, above, and above to the left (Table H.1).
    fn lines<'s>(
        &mut self,
        coded: &mut [Coded<'_>],
        point: u32,
        restarts: u32,
        entropy_coded: &'s [u8],
        predict: impl Fn(i32, i32, i32) -> i32 + Copy,
    ) -> Option<&'s [u8]> {
        let (word, step) = (self.word, self.components.len() * self.word);
        let middle = 1_i32 << (u32::from(self.precision) - point - 1);
        let lines_between = restarts / u32::try_from(self.columns).ok()?;
        let mut restarts = Restarts::new(lines_between, entropy_coded);
        let mut first = true;
        for into in self.bytes.chunks_exact_mut(self.columns * step) {
            if restarts.is_due() {
                restarts.restart()?;
                first = true;
            }
            let bits = &mut restarts.bits;
            // The first line has nothing above it (H.1.2.1).
            match (&mut *coded, first) {
                ([one], true) => one.one_dimension(bits, middle)?,
                ([one], false) => one.two_dimensions(bits, predict)?,
                (several, first) => {
                    interleaved(several, bits, first.then_some(middle), self.columns, predict)?;
                }
            }
            first = false;
            if bits.overdrawn() {
                return None;
            }
            for it in coded.iter_mut() {
                if point > 0 {
                    it.above.iter_mut().zip(&it.line).for_each(|(to, sample)| *to = sample << point);
                    crate::store(&it.above, into.get_mut(it.place * word..)?, word, step);
                } else {
                    crate::store(&it.line, into.get_mut(it.place * word..)?, word, step);
                }
                std::mem::swap(&mut it.above, &mut it.line);
            }
        }
        Some(restarts.bits.behind())
    }

    pub(super) fn pixels(self, colour: StreamColour) -> Pixels {
        Pixels { bytes: self.bytes, word: self.word, precision: u32::from(self.precision), colour }
    }
}

impl Coded<'_> {
    fn one_dimension(&mut self, bits: &mut Bits<'_>, middle: i32) -> Option<()> {
        let mut left = middle;
        for sample in &mut self.line {
            *sample = modulo(left + difference(bits, self.table)?);
            left = i32::from(*sample);
        }
        Some(())
    }

    fn two_dimensions(&mut self, bits: &mut Bits<'_>, predict: impl Fn(i32, i32, i32) -> i32) -> Option<()> {
        // A copy of its own can stay in registers.
        let mut own = *bits;
        // The first sample is predicted from the one above.
        let mut corner = i32::from(*self.above.first()?);
        let mut predicted = corner;
        let mut above = self.above.iter().skip(1).map(|sample| i32::from(*sample));
        for sample in &mut self.line {
            *sample = modulo(predicted + difference(&mut own, self.table)?);
            let Some(up) = above.next() else { break };
            predicted = predict(i32::from(*sample), up, corner);
            corner = up;
        }
        *bits = own;
        Some(())
    }
}

/// A line of components that alternate by sample; `middle` where it is the first.
fn interleaved(
    coded: &mut [Coded<'_>],
    bits: &mut Bits<'_>,
    middle: Option<i32>,
    columns: usize,
    predict: impl Fn(i32, i32, i32) -> i32,
) -> Option<()> {
    for at in 0..columns {
        for it in coded.iter_mut() {
            let sample = |line: &[u16], at: Option<usize>| Some(i32::from(*line.get(at?)?));
            let (left, before) = (sample(&it.line, at.checked_sub(1)), at.checked_sub(1));
            let predicted = match (middle, left) {
                (Some(middle), left) => left.unwrap_or(middle),
                (None, None) => sample(&it.above, Some(0))?,
                (None, Some(left)) => predict(left, sample(&it.above, Some(at))?, sample(&it.above, before)?),
            };
            let value = modulo(predicted + difference(bits, it.table)?);
            *it.line.get_mut(at)? = value;
        }
    }
    Some(())
}

/// H.1.2.2.
#[inline]
fn difference(bits: &mut Bits<'_>, table: &Table) -> Option<i32> {
    match bits.symbol(table)? {
        width @ 0..=15 => Some(bits.signed(u32::from(width))),
        16 => Some(32768),
        _ => None,
    }
}

/// Sums are taken modulo 2^16 (H.1.2.1).
#[inline]
fn modulo(sum: i32) -> u16 {
    let [low, high, ..] = sum.to_le_bytes();
    u16::from_le_bytes([low, high])
}
