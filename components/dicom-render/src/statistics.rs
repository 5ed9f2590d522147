//! Which values occur, and how often: all that windows and percentiles need to know of an image.

/// A value on the modality's scale, with how many pixels have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    pub(crate) value: f64,
    pub(crate) count: u64,
}

/// The smallest and the largest value.
pub(crate) fn range(levels: &[Level]) -> Option<(f64, f64)> {
    let mut values = levels.iter().map(|level| level.value);
    let first = values.next()?;
    Some(values.fold((first, first), |(low, high), value| (low.min(value), high.max(value))))
}

/// Exact percentiles of the pixels, interpolated linearly between ranks bit for bit as
/// `numpy.percentile(.., method="linear")` does.
pub(crate) fn percentiles(mut levels: Vec<Level>, [low, high]: [f64; 2]) -> Option<(f64, f64)> {
    levels.retain(|level| level.count > 0);
    levels.sort_by(|a, b| a.value.total_cmp(&b.value));
    let total: u64 = levels.iter().map(|level| level.count).sum();
    let last_rank = total.checked_sub(1)?;
    let at = |percent: f64| {
        // Counts stay below 2^32, exact in f64.
        let position = last_rank as f64 * (percent / 100.0);
        let below = position.floor();
        let (a, b) = (at_rank(&levels, below)?, at_rank(&levels, (below + 1.0).min(last_rank as f64))?);
        Some(interpolate(a, b, position - below))
    };
    Some((at(low)?, at(high)?))
}

fn at_rank(levels: &[Level], rank: f64) -> Option<f64> {
    let mut passed = 0_u64;
    levels.iter().find_map(|level| {
        passed += level.count;
        (rank < passed as f64).then_some(level.value)
    })
}

/// numpy's form: exact at both ends, and monotonic.
fn interpolate(a: f64, b: f64, t: f64) -> f64 {
    if t >= 0.5 { b - (b - a) * (1.0 - t) } else { a + (b - a) * t }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate_between_ranks_as_numpy_does() {
        let level = |value, count| Level { value, count };
        // numpy.percentile([-1, -1, -1, 2, 2, 7, 9.5], [0.5, 99.5]), [10, 60], [0, 100]
        let levels = vec![level(7.0, 1), level(-1.0, 3), level(9.5, 1), level(3.0, 0), level(2.0, 2)];
        assert_eq!(percentiles(levels.clone(), [0.5, 99.5]), Some((-1.0, 9.424999999999999)));
        assert_eq!(percentiles(levels.clone(), [10.0, 60.0]), Some((-1.0, 2.0)));
        assert_eq!(percentiles(levels.clone(), [0.0, 100.0]), Some((-1.0, 9.5)));
        assert_eq!(percentiles(levels, [45.0, 80.0]), Some((1.1000000000000005, 6.0000000000000036)));
        assert_eq!(percentiles(vec![level(1.0, 0)], [0.0, 1.0]), None);
    }
}
