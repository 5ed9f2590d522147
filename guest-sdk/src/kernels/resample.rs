//! Separable triangle resampling, anti-aliased when it shrinks.
//!
//! Target pixel i is centred at (i + 0.5) * source / target, source pixel j at j + 0.5; the filter reaches
//! max(source / target, 1) source pixels to each side; what falls outside is dropped and the rest normalised.
//! Weights are computed in f64 and applied in f32. Rows come first, because a row is added to the few target rows
//! that it touches while it is in the cache; that differs from columns first by rounding alone.

use crate::Fault;

/// Resamples `src` (`height` × `width`, row-major) to `new_height` × `new_width`.
///
/// # Errors
/// `bad-shape` where `src` does not hold `height * width` pixels or a size is zero.
pub fn resample_triangle(
    src: &[f32],
    height: usize,
    width: usize,
    new_height: usize,
    new_width: usize,
) -> Result<Vec<f32>, Fault> {
    if height.checked_mul(width) != Some(src.len()) {
        return Err(Fault::internal("bad-shape: resampling an image of another size"));
    }
    let mut rows = src.chunks_exact(width.max(1));
    resample_triangle_rows(height, width, new_height, new_width, |_, into| {
        if let Some(row) = rows.next() {
            into.copy_from_slice(row);
        }
    })
}

/// Resamples an image that is made row by row: `fill(y, row)` is called once for each source row, from the top, and
/// writes its `width` pixels. No whole source image is held in memory.
///
/// # Errors
/// `bad-shape` where a size is zero or the target is too large to index.
pub fn resample_triangle_rows(
    height: usize,
    width: usize,
    new_height: usize,
    new_width: usize,
    mut fill: impl FnMut(usize, &mut [f32]),
) -> Result<Vec<f32>, Fault> {
    let sizes = [height, width, new_height, new_width];
    let indexable =
        |a: usize, b: usize| a.checked_mul(b).is_some_and(|count| count <= isize::MAX as usize / 4);
    if sizes.contains(&0) || !indexable(new_height, width) || !indexable(new_height, new_width) {
        return Err(Fault::internal(
            "bad-shape: resampling to or from an image of no or of too large a size",
        ));
    }
    let down = filters(height, new_height);
    let mut shortened = vec![0.0_f32; new_height * width];
    let mut row = vec![0.0_f32; width];
    // The target rows that the current source row touches are neighbours: `first` is the first not yet passed.
    let mut first = 0;
    for y in 0..height {
        fill(y, &mut row);
        while down.get(first).is_some_and(|filter| filter.start + filter.weights.len() <= y) {
            first += 1;
        }
        let targets = down.iter().zip(shortened.chunks_exact_mut(width)).skip(first);
        for (filter, target) in targets.take_while(|(filter, _)| filter.start <= y) {
            if let Some(&weight) = filter.weights.get(y - filter.start) {
                add_scaled(&row, weight, target);
            }
        }
    }
    let across = filters(width, new_width);
    let mut resampled = Vec::with_capacity(new_height * new_width);
    for row in shortened.chunks_exact(width) {
        let value = |filter: &Filter| dot(row.get(filter.start..).unwrap_or_default(), &filter.weights);
        resampled.extend(across.iter().map(value));
    }
    Ok(resampled)
}

/// The weights of one target pixel, from source pixel `start` on.
struct Filter {
    start: usize,
    weights: Vec<f32>,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "positions stay inside the image; weights become f32 on purpose"
)]
fn filters(source: usize, target: usize) -> Vec<Filter> {
    let ratio = source as f64 / target as f64;
    let support = ratio.max(1.0);
    let filter = |index: usize| {
        let centre = (index as f64 + 0.5) * ratio;
        // Casts from f64 saturate: a start before the image becomes 0.
        let start = (centre - support - 0.5).ceil() as usize;
        let end = source.min((centre + support + 0.5).floor() as usize + 1);
        let weight = |at: usize| (1.0 - (at as f64 + 0.5 - centre).abs() / support).max(0.0);
        let sum: f64 = (start..end).map(weight).sum();
        Filter { start, weights: (start..end).map(|at| (weight(at) / sum) as f32).collect() }
    };
    (0..target).map(filter).collect()
}

fn add_scaled(row: &[f32], weight: f32, target: &mut [f32]) {
    for (into, value) in target.iter_mut().zip(row) {
        *into += value * weight;
    }
}

/// Eight partial sums in a fixed order: vectorised, and the same bits everywhere.
fn dot(values: &[f32], weights: &[f32]) -> f32 {
    let length = values.len().min(weights.len());
    let (values, values_rest) = values.get(..length).unwrap_or_default().as_chunks::<8>();
    let (weights, weights_rest) = weights.get(..length).unwrap_or_default().as_chunks::<8>();
    let mut lanes = [0.0_f32; 8];
    for (values, weights) in values.iter().zip(weights) {
        for ((lane, value), weight) in lanes.iter_mut().zip(values).zip(weights) {
            *lane += value * weight;
        }
    }
    let rest = values_rest.iter().zip(weights_rest).fold(0.0, |sum, (value, weight)| sum + value * weight);
    lanes.iter().fold(rest, |sum, lane| sum + lane)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64, columns first.
    fn reference(src: &[f32], height: usize, width: usize, new_height: usize, new_width: usize) -> Vec<f64> {
        let weights = |source: usize, target: usize, i: usize| -> Vec<f64> {
            let ratio = source as f64 / target as f64;
            let support = ratio.max(1.0);
            let centre = (i as f64 + 0.5) * ratio;
            let raw: Vec<f64> =
                (0..source).map(|j| (1.0 - (j as f64 + 0.5 - centre).abs() / support).max(0.0)).collect();
            let sum: f64 = raw.iter().sum();
            raw.iter().map(|weight| weight / sum).collect()
        };
        let narrow = |y: usize, x: usize| -> f64 {
            let row = &src[y * width..(y + 1) * width];
            row.iter()
                .zip(weights(width, new_width, x))
                .map(|(&value, weight)| f64::from(value) * weight)
                .sum()
        };
        let mut out = Vec::new();
        for i in 0..new_height {
            for x in 0..new_width {
                let down = weights(height, new_height, i);
                out.push(down.iter().enumerate().map(|(y, weight)| weight * narrow(y, x)).sum());
            }
        }
        out
    }

    fn noise(count: usize) -> Vec<f32> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn resampling_is_within_1e_5_of_the_definition_when_it_shrinks_grows_or_does_both() {
        for (height, width, new_height, new_width) in
            [(61, 47, 16, 16), (5, 3, 16, 16), (3, 40, 8, 8), (1, 1, 4, 4), (16, 16, 16, 16), (17, 9, 1, 1)]
        {
            let src = noise(height * width);
            let found = resample_triangle(&src, height, width, new_height, new_width).expect("shapes agree");
            let expected = reference(&src, height, width, new_height, new_width);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() <= 1e-5, "{height}x{width}: {found} {expected}");
            }
        }
    }

    #[test]
    fn resampling_to_the_same_size_changes_no_bit() {
        let src = noise(12 * 9);
        assert_eq!(resample_triangle(&src, 12, 9, 12, 9), Ok(src));
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        assert!(resample_triangle(&[1.0; 6], 2, 4, 1, 1).is_err());
        assert!(resample_triangle(&[], 0, 0, 1, 1).is_err());
        assert!(resample_triangle(&[1.0; 6], 2, 3, 0, 1).is_err());
        assert!(resample_triangle(&[1.0; 6], 2, 3, usize::MAX, 2).is_err());
    }
}
