//! Window and level: an affine map and a clip, alone or behind a box average.

use super::{IntegerPixel, Pixel};
use crate::Fault;

/// `dst[i] = clip(src[i] * slope + intercept, low, high)`, in f32, over the shorter of both slices. NaN stays NaN.
///
/// To get a window as `[0, 1]`, fold it into the map: slope `s / width`, intercept `(b - lower) / width`, clip 0 to 1.
pub fn rescale_clip<P: Pixel>(src: &[P], slope: f32, intercept: f32, low: f32, high: f32, dst: &mut [f32]) {
    let (eights, rest) = src.as_chunks::<8>();
    let mut into = dst.chunks_mut(8);
    for (pixels, into) in eights.iter().zip(into.by_ref()) {
        match <&mut [f32; 8]>::try_from(&mut *into) {
            Ok(into) => *into = rescale_eight(*pixels, slope, intercept, low, high),
            Err(_) => rescale_slice(pixels, slope, intercept, low, high, into),
        }
    }
    if let Some(into) = into.next() {
        rescale_slice(rest, slope, intercept, low, high, into);
    }
}

/// The same in plain Rust: what is left over, and the reference of the tests.
fn rescale_slice<P: Pixel>(src: &[P], slope: f32, intercept: f32, low: f32, high: f32, dst: &mut [f32]) {
    for (into, pixel) in dst.iter_mut().zip(src) {
        *into = clip(pixel.to_f32() * slope + intercept, low, high);
    }
}

#[cfg(not(target_family = "wasm"))]
#[inline]
fn rescale_eight<P: Pixel>(pixels: [P; 8], slope: f32, intercept: f32, low: f32, high: f32) -> [f32; 8] {
    pixels.map(|pixel| clip(pixel.to_f32() * slope + intercept, low, high))
}

/// Eight pixels with `pmax` and `pmin`, which are one instruction each; `f32::max` would be a call for each lane.
#[cfg(target_family = "wasm")]
#[inline]
fn rescale_eight<P: Pixel>(pixels: [P; 8], slope: f32, intercept: f32, low: f32, high: f32) -> [f32; 8] {
    use core::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_pmax, f32x4_pmin, f32x4_splat};
    let clipped = P::widen(pixels).map(|four| {
        let mapped = f32x4_add(f32x4_mul(four, f32x4_splat(slope)), f32x4_splat(intercept));
        f32x4_pmin(f32x4_pmax(mapped, f32x4_splat(low)), f32x4_splat(high))
    });
    bytemuck::must_cast(clipped)
}

/// As `pmax` and `pmin` define it, so that natively the same bits come out.
#[inline]
fn clip(value: f32, low: f32, high: f32) -> f32 {
    let raised = if value < low { low } else { value };
    if high < raised { high } else { raised }
}

/// The largest box edge: sums of 16-bit pixels then stay inside 32 bits.
const LARGEST_FACTOR: usize = 128;

/// Averages boxes of `factor` × `factor` pixels of an image of `height` × `width`, then maps and clips as
/// [`rescale_clip`] does. Rows and columns that fill no box are left out. Gives `height / factor` × `width / factor`
/// values, row-major.
///
/// # Errors
/// `bad-shape` where `src` does not hold `height * width` pixels, or where the factor is not 1 to 128.
#[expect(clippy::too_many_arguments, reason = "one loop instead of three: the fused form is the point")]
pub fn box_rescale_clip<P: IntegerPixel>(
    src: &[P],
    height: usize,
    width: usize,
    factor: usize,
    slope: f32,
    intercept: f32,
    low: f32,
    high: f32,
) -> Result<Vec<f32>, Fault> {
    if height.checked_mul(width) != Some(src.len()) || !(1..=LARGEST_FACTOR).contains(&factor) {
        return Err(Fault::internal("bad-shape: boxes over an image of another size"));
    }
    let (rows, columns) = (height / factor, width / factor);
    let mut averaged = Vec::with_capacity(rows.saturating_mul(columns));
    let mut sums = vec![0_i32; columns.saturating_mul(factor)];
    // At most 128 * 128 = 2^14, exact in f32.
    let slope = slope / (factor * factor) as f32;
    for band in src.chunks_exact((width * factor).max(1)) {
        sums.fill(0);
        for row in band.chunks_exact(width.max(1)) {
            for (sum, pixel) in sums.iter_mut().zip(row) {
                *sum += pixel.to_i32();
            }
        }
        let boxes = sums.chunks_exact(factor).map(|sums| sums.iter().sum::<i32>() as f32);
        averaged.extend(boxes.map(|sum| clip(sum * slope + intercept, low, high)));
    }
    Ok(averaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn the_vectorised_rescale_gives_the_bits_of_the_scalar_one_for_every_16_bit_value() {
        let unsigned: Vec<u16> = (0..=u16::MAX).chain(0..5).collect();
        let signed: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        for (slope, intercept, low, high) in
            [(1.0, -1024.0, -160.0, 240.0), (0.1, 0.3, -7.0, 6000.0), (-2.5, 1.0, 0.0, 1.0)]
        {
            let (mut fast, mut plain) = (vec![0.0; unsigned.len()], vec![1.0; unsigned.len()]);
            rescale_clip(&unsigned, slope, intercept, low, high, &mut fast);
            rescale_slice(&unsigned, slope, intercept, low, high, &mut plain);
            assert_eq!(bits(&fast), bits(&plain));
            let (mut fast, mut plain) = (vec![0.0; signed.len()], vec![1.0; signed.len()]);
            rescale_clip(&signed, slope, intercept, low, high, &mut fast);
            rescale_slice(&signed, slope, intercept, low, high, &mut plain);
            assert_eq!(bits(&fast), bits(&plain));
        }
    }

    #[test]
    fn floats_clip_at_both_ends_and_nan_stays_nan() {
        let src = [f32::NEG_INFINITY, -1.0, 0.25, 2.0, f32::INFINITY, f32::NAN, -0.0, 1.0, 0.5];
        let mut dst = [9.0; 9];
        rescale_clip(&src, 1.0, 0.0, 0.0, 1.0, &mut dst);
        assert_eq!(&dst[..5], &[0.0, 0.0, 0.25, 1.0, 1.0]);
        assert!(dst[5].is_nan());
        assert_eq!(&dst[7..], &[1.0, 0.5]);
    }

    #[test]
    fn a_destination_of_any_length_is_filled_as_far_as_the_source_reaches() {
        for source in 0..20_u16 {
            for destination in 0..20 {
                let src: Vec<u16> = (1..=source).collect();
                let mut dst = vec![-1.0; destination];
                rescale_clip(&src, 1.0, 0.0, 0.0, 100.0, &mut dst);
                for (index, value) in dst.iter().enumerate() {
                    let expected = src.get(index).map_or(-1.0, |&pixel| f32::from(pixel));
                    assert_eq!(*value, expected, "{source} {destination} {index}");
                }
            }
        }
    }

    #[test]
    fn a_box_average_leaves_out_what_fills_no_box() {
        let src: [u16; 15] = [1, 3, 5, 7, 99, 5, 7, 1, 3, 99, 9, 9, 9, 9, 9];
        let averaged = box_rescale_clip(&src, 3, 5, 2, 10.0, 1.0, 0.0, 1000.0);
        assert_eq!(averaged, Ok(vec![41.0, 41.0]));
        let two_bands = box_rescale_clip(&[1_u16, 3, 5, 7, 2, 2, 2, 2], 4, 2, 2, 1.0, 0.0, 0.0, 9.0);
        assert_eq!(two_bands, Ok(vec![4.0, 2.0]));
        assert!(box_rescale_clip(&src, 3, 4, 2, 1.0, 0.0, 0.0, 1.0).is_err());
        assert!(box_rescale_clip(&src, 3, 5, 0, 1.0, 0.0, 0.0, 1.0).is_err());
    }

    #[test]
    fn the_largest_box_of_the_brightest_pixels_does_not_overflow() {
        let src = vec![u16::MAX; 128 * 128];
        assert_eq!(box_rescale_clip(&src, 128, 128, 128, 1.0, 0.0, 0.0, 1e6), Ok(vec![65535.0]));
    }
}
