//! The inverse cosine transform of 8 × 8 coefficients, by the algorithm of Loeffler, Ligtenberg and Moschytz (ICASSP
//! 1989) in whole numbers: the accurate one of the Independent JPEG Group's library, rounded at the same places, so that
//! samples are equal to it in every bit. Wider numbers than there keep hostile coefficients from overflowing.

/// Bits behind the point of the constants.
const FRACTION: u32 = 13;

const fn fixed(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "the constants are below 4: 15 bits")]
    let fixed = (value * (1 << FRACTION) as f64 + 0.5) as i64;
    fixed
}

const C0_298: i64 = fixed(0.298_631_336);
const C0_390: i64 = fixed(0.390_180_644);
const C0_541: i64 = fixed(0.541_196_100);
const C0_765: i64 = fixed(0.765_366_865);
const C0_899: i64 = fixed(0.899_976_223);
const C1_175: i64 = fixed(1.175_875_602);
const C1_501: i64 = fixed(1.501_321_110);
const C1_847: i64 = fixed(1.847_759_065);
const C1_961: i64 = fixed(1.961_570_560);
const C2_053: i64 = fixed(2.053_119_869);
const C2_562: i64 = fixed(2.562_915_447);
const C3_072: i64 = fixed(3.072_711_026);

/// Samples of a block of dequantised coefficients, both by row; `precision` is 8 or 12.
pub(super) fn samples(coefficients: &[i32; 64], precision: u32) -> [u16; 64] {
    // Bits that the first pass keeps behind the point.
    let kept = if precision == 8 { 2 } else { 1 };
    let mut block = coefficients.map(i64::from);
    for column in 0..8 {
        let at = |row: usize| block.get(8 * row + column).copied().unwrap_or(0);
        let eight = [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)];
        let [dc, ac @ ..] = eight;
        let out = if ac == [0; 7] { [dc << kept; 8] } else { one_dimension(eight, FRACTION - kept) };
        for (row, value) in out.into_iter().enumerate() {
            if let Some(place) = block.get_mut(8 * row + column) {
                *place = value;
            }
        }
    }
    let (center, largest) = (1_i64 << (precision - 1), (1_i64 << precision) - 1);
    let mut samples = [0_u16; 64];
    for (row, into) in block.as_chunks::<8>().0.iter().zip(samples.as_chunks_mut::<8>().0) {
        let values = one_dimension(*row, FRACTION + kept + 3);
        for (sample, value) in into.iter_mut().zip(values) {
            *sample = u16::try_from((value + center).clamp(0, largest)).unwrap_or(0);
        }
    }
    samples
}

/// Eight values, shifted right by `shift` and rounded.
#[inline]
fn one_dimension([i0, i1, i2, i3, i4, i5, i6, i7]: [i64; 8], shift: u32) -> [i64; 8] {
    // Even part.
    let rotated = (i2 + i6) * C0_541;
    let (t2, t3) = (rotated - i6 * C1_847, rotated + i2 * C0_765);
    let (t0, t1) = ((i0 + i4) << FRACTION, (i0 - i4) << FRACTION);
    let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
    // Odd part.
    let (z1, z2, z3, z4) = (i7 + i1, i5 + i3, i7 + i3, i5 + i1);
    let z5 = (z3 + z4) * C1_175;
    let (z1, z2) = (-z1 * C0_899, -z2 * C2_562);
    let (z3, z4) = (z5 - z3 * C1_961, z5 - z4 * C0_390);
    let odd = [i1 * C1_501 + z1 + z4, i3 * C3_072 + z2 + z3, i5 * C2_053 + z2 + z4, i7 * C0_298 + z1 + z3];
    let round = 1 << (shift - 1);
    let [e0, e1, e2, e3] = even;
    let [o0, o1, o2, o3] = odd;
    [e0 + o0, e1 + o1, e2 + o2, e3 + o3, e3 - o3, e2 - o2, e1 - o1, e0 - o0].map(|sum| (sum + round) >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition (A.3.3), in floating-point numbers.
    fn by_definition(coefficients: &[i32; 64], x: usize, y: usize) -> f64 {
        let scale = |k: usize| if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
        let cosine =
            |at: usize, k: usize| (((2 * at + 1) * k) as f64 * std::f64::consts::PI / 16.0).cos() * scale(k);
        let sum: f64 =
            (0..64).map(|at| f64::from(coefficients[at]) * cosine(x, at % 8) * cosine(y, at / 8)).sum();
        sum / 4.0
    }

    #[test]
    fn samples_are_within_one_of_the_definition_in_both_precisions() {
        let mut state = 7_u32;
        let mut random = |most: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8).cast_signed() % (2 * most + 1) - most
        };
        for (precision, most) in [(8, 120), (12, 1900)] {
            for _ in 0..200 {
                let mut weaker = 0;
                let coefficients = [(); 64].map(|()| {
                    weaker += 1;
                    random(most / weaker)
                });
                let found = samples(&coefficients, precision);
                for (at, sample) in found.iter().enumerate() {
                    let exact =
                        by_definition(&coefficients, at % 8, at / 8) + f64::from(1 << (precision - 1));
                    let exact = exact.clamp(0.0, f64::from((1 << precision) - 1));
                    assert!((f64::from(*sample) - exact).abs() < 0.8, "{precision} {at}: {sample} {exact}");
                }
            }
        }
    }

    #[test]
    fn coefficients_of_any_size_are_clamped() {
        for extreme in [i32::MAX, i32::MIN] {
            let expected = if extreme > 0 { 4095 } else { 0 };
            let mut coefficients = [0; 64];
            coefficients[0] = extreme;
            assert_eq!(samples(&coefficients, 12), [expected; 64]);
            assert_eq!(samples(&[extreme; 64], 12)[0], expected);
        }
    }
}
