//! A grey image between its stored values and what is shown.

use martello_guest_sdk::kernels;

use crate::error::RenderError;
use crate::header::{Header, Transform};
use crate::layout::Bits;
use crate::lut::Lut;
use crate::samples::Samples;
use crate::statistics::{self, Level};

/// From stored values to the modality's scale, for example Hounsfield units (PS3.3 C.11.1).
#[derive(Debug, Clone)]
pub(crate) enum Modality {
    Linear { slope: f64, intercept: f64 },
    Table(Lut),
}

impl Modality {
    /// The object's rescale or table, or what the functional groups of an enhanced object give this frame.
    pub(crate) fn of(header: &Header, frame: u32) -> Result<Self, RenderError> {
        if let Some(lut) = &header.modality_lut {
            return Ok(Self::Table(lut.table(header.signed)?));
        }
        let place = |of: fn(&Transform) -> Option<f64>| {
            header
                .by_frame
                .get(&frame)
                .and_then(of)
                .or_else(|| of(&header.shared))
                .or_else(|| of(&header.top))
        };
        Ok(Self::Linear {
            slope: place(|transform| transform.slope).unwrap_or(1.0),
            intercept: place(|transform| transform.intercept).unwrap_or(0.0),
        })
    }

    /// As pydicom's `apply_rescale` and `apply_modality_lut`, bit for bit.
    pub(crate) fn value(&self, stored: i64) -> f64 {
        match self {
            // Stored values of more than 53 bits are rounded, as numpy does.
            Self::Linear { slope, intercept } => stored as f64 * slope + intercept,
            Self::Table(lut) => f64::from(lut.entry(stored)),
        }
    }
}

/// A grey image with all that decides how it is shown.
#[derive(Debug)]
pub(crate) struct Grey {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) samples: Samples,
    pub(crate) modality: Modality,
    /// Stored values from the first to the second are padding: no part of the image.
    pub(crate) padding: Option<(i64, i64)>,
    /// MONOCHROME1: the least value is white.
    pub(crate) inverted: bool,
    /// The stored values are single bits.
    pub(crate) binary: bool,
}

impl Grey {
    /// The range of padding that the header declares, read through the same bits as the pixels are.
    pub(crate) fn padding(header: &Header, bits: Bits) -> Option<(i64, i64)> {
        // Padding stands in its own element, so nothing is below its bits.
        let bits = Bits { shift: 0, ..bits };
        let first = bits.value(u64::from(header.padding?));
        let second = header.padding_limit.map_or(first, |word| bits.value(u64::from(word)));
        Some((first.min(second), first.max(second)))
    }

    /// Every value on the modality's scale that is no padding, with its count.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let level = |stored: i64, count: u64| Level { value: self.modality.value(stored), count };
        match &self.samples {
            Samples::Narrow { words, least } => {
                let histogram = kernels::histogram(words);
                let stored = i64::from(*least)..;
                let counts = stored.zip(histogram.counts()).filter(|(_, count)| **count > 0);
                counts
                    .filter(|(stored, _)| !self.is_padding(*stored))
                    .map(|(stored, count)| level(stored, u64::from(*count)))
                    .collect()
            }
            Samples::Wide(values) => {
                let mut measured: Vec<i64> =
                    values.iter().copied().filter(|stored| !self.is_padding(*stored)).collect();
                measured.sort_unstable();
                let runs = measured.chunk_by(|a, b| a == b);
                runs.filter_map(|run| Some(level(*run.first()?, run.len() as u64))).collect()
            }
        }
    }

    fn is_padding(&self, stored: i64) -> bool {
        self.padding.is_some_and(|(first, last)| (first..=last).contains(&stored))
    }

    /// Prepares to give each pixel its `shown` value; padding gets `padding`. The function is called once for each
    /// value that can occur where those are few, so it may be slow.
    pub(crate) fn mapped<T: Copy + Default>(&self, padding: T, shown: impl Fn(f64) -> T) -> Mapped<'_, T> {
        let value = |stored: i64| {
            if self.is_padding(stored) { padding } else { shown(self.modality.value(stored)) }
        };
        let map = match &self.samples {
            Samples::Narrow { words, least } => {
                let (low, high) = words.iter().fold((u16::MAX, 0), |(low, high), word| {
                    (if *word < low { *word } else { low }, if *word > high { *word } else { high })
                });
                let table = (low..=high).map(|word| value(i64::from(word) + i64::from(*least))).collect();
                Map::Table { words, low, table }
            }
            Samples::Wide(values) => Map::Values(values.iter().map(|stored| value(*stored)).collect()),
        };
        Mapped { columns: self.columns, map }
    }
}

/// Pixels by what they show.
pub(crate) struct Mapped<'a, T> {
    columns: usize,
    map: Map<'a, T>,
}

enum Map<'a, T> {
    Table { words: &'a [u16], low: u16, table: Vec<T> },
    Values(Vec<T>),
}

impl<T: Copy + Default> Mapped<'_, T> {
    /// Writes one row.
    pub(crate) fn row(&self, row: usize, into: &mut [T]) {
        let range = row * self.columns..(row + 1) * self.columns;
        match &self.map {
            Map::Table { words, low, table } => {
                for (to, word) in into.iter_mut().zip(words.get(range).unwrap_or_default()) {
                    *to = table.get(usize::from(word - low)).copied().unwrap_or_default();
                }
            }
            Map::Values(values) => {
                into.iter_mut()
                    .zip(values.get(range).unwrap_or_default())
                    .for_each(|(to, value)| *to = *value);
            }
        }
    }
}

/// MONOCHROME1 turned round on the modality's scale: the range keeps its ends.
pub(crate) fn turned_round(levels: &[Level]) -> impl Fn(f64) -> f64 + Copy + use<> {
    let (low, high) = statistics::range(levels).unwrap_or((0.0, 0.0));
    let sum = low + high;
    move |value| sum - value
}
