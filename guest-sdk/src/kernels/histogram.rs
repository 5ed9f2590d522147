//! Counting stored values, and percentiles from the counts.

use super::IntegerPixel;

/// How often each stored value occurs.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u32>,
    least: i32,
}

/// Counts every stored value of an image (of fewer than 2^32 pixels).
pub fn histogram<P: IntegerPixel>(src: &[P]) -> Histogram {
    // Neighbours are often equal, and counting into one table then waits for itself: two tables take turns.
    let (mut even, mut odd) = (vec![0_u32; P::VALUES], vec![0_u32; P::VALUES]);
    let count = |table: &mut Vec<u32>, pixel: P| {
        let bin = usize::try_from(pixel.to_i32() - P::LEAST).unwrap_or_default();
        if let Some(count) = table.get_mut(bin) {
            *count = count.wrapping_add(1);
        }
    };
    let (pairs, rest) = src.as_chunks::<2>();
    for &[first, second] in pairs {
        count(&mut even, first);
        count(&mut odd, second);
    }
    for &pixel in rest {
        count(&mut even, pixel);
    }
    for (into, more) in even.iter_mut().zip(odd) {
        *into = into.wrapping_add(more);
    }
    Histogram { counts: even, least: P::LEAST }
}

impl Histogram {
    /// How often each value occurs, from [`Self::least`] on.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// The stored value of the first count.
    pub fn least(&self) -> i32 {
        self.least
    }

    /// How many pixels were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// Forgets the values from `first` to `last`, both included: padding takes no part in statistics.
    pub fn forget(&mut self, first: i32, last: i32) {
        for (value, count) in (self.least..).zip(&mut self.counts) {
            if (first..=last).contains(&value) {
                *count = 0;
            }
        }
    }

    /// The smallest and the largest value that occur.
    pub fn range(&self) -> Option<(i32, i32)> {
        let mut values =
            (self.least..).zip(&self.counts).filter(|(_, count)| **count > 0).map(|(value, _)| value);
        let first = values.next()?;
        Some((first, values.last().unwrap_or(first)))
    }

    /// The percentile `percent` (0 to 100) of the stored values, interpolated linearly between ranks as
    /// `numpy.percentile(.., method="linear")` does. None of an empty histogram.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let last_rank = self.total().checked_sub(1)?;
        // Ranks stay under 2^32, exact in f64.
        let position = last_rank as f64 * (percent.clamp(0.0, 100.0) / 100.0);
        let below = position.floor();
        let (low, high) = (self.at_rank(below)?, self.at_rank((below + 1.0).min(last_rank as f64))?);
        Some(interpolate(f64::from(low), f64::from(high), position - below))
    }

    /// The value at a rank, counted from 0.
    fn at_rank(&self, rank: f64) -> Option<i32> {
        let mut passed = 0_u64;
        (self.least..).zip(&self.counts).find_map(|(value, &count)| {
            passed += u64::from(count);
            (rank < passed as f64).then_some(value)
        })
    }
}

/// numpy's form, which keeps the end points exact and is monotonic.
fn interpolate(low: f64, high: f64, share: f64) -> f64 {
    let difference = high - low;
    if share >= 0.5 { high - difference * (1.0 - share) } else { low + difference * share }
}

/// The number of values only: the counts describe an image.
impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram").field("bins", &self.counts.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_where_it_belongs() {
        let counted = histogram(&[i16::MIN, i16::MAX, 0, 0, 5]);
        assert_eq!((counted.total(), counted.range()), (5, Some((-32768, 32767))));
        assert_eq!(counted.counts()[32768], 2);
        assert_eq!(histogram(&[7_u8; 3]).counts()[7], 3);
    }

    #[test]
    fn percentiles_are_those_of_numpy() {
        // numpy.percentile([1, 2, 4, 8, 16, 1000], q, method="linear")
        let counted = histogram(&[4_u16, 1, 16, 2, 1000, 8]);
        for (percent, expected) in
            [(0.0, 1.0), (0.5, 1.025), (30.0, 3.0), (50.0, 6.0), (99.5, 975.4), (100.0, 1000.0)]
        {
            let found = counted.percentile(percent).expect("not empty");
            assert!((found - expected).abs() < 1e-9, "{percent}: {found}");
        }
    }

    #[test]
    fn forgotten_values_take_no_part_in_statistics() {
        let mut counted = histogram(&[-2000_i16, -2000, -2000, 10, 20]);
        counted.forget(-2000, -2000);
        assert_eq!(counted.range(), Some((10, 20)));
        assert_eq!(counted.percentile(50.0), Some(15.0));
        counted.forget(i32::MIN, i32::MAX);
        assert_eq!((counted.range(), counted.percentile(50.0)), (None, None));
    }
}
