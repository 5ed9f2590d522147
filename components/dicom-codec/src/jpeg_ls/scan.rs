//! Entropy decoding of lines: context modelling, prediction and runs (ISO/IEC 14495-1 A.3 to A.8, Annex B for several
//! components).
//!
//! A line stands between two edges: place 0 is what lies left of it, its pixels are 1 to `columns`, and the place behind
//! them is what the line below takes for the sample above and to the right.

use super::bits::Bits;
use super::coding::Coding;

/// Orders of run lengths (A.2.1).
const ORDERS: [u8; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// What was learned of a context.
#[derive(Debug, Clone, Copy)]
struct Context {
    /// Sum of the errors' sizes.
    sizes: u32,
    /// Sum of the errors, kept between -`count` and 0.
    bias: i32,
    /// What is added to the prediction.
    correction: i32,
    count: u32,
}

/// What was learned where runs end.
#[derive(Debug, Clone, Copy)]
struct RunContext {
    sizes: u32,
    count: u32,
    negative: u32,
}

/// Decoder of one scan, or of one restart interval.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    coding: &'a Coding,
    /// 365 are used; the power of two makes a masked index safe.
    contexts: [Context; 512],
    /// Where the samples to the left and above differ, and where they are alike.
    run_contexts: [RunContext; 2],
    pub(super) bits: Bits<'a>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(coding: &'a Coding, scan: &'a [u8]) -> Self {
        let sizes = u32::try_from((coding.range + 32) / 64).unwrap_or(0).max(2);
        Self {
            coding,
            contexts: [Context { sizes, bias: 0, correction: 0, count: 1 }; 512],
            run_contexts: [RunContext { sizes, count: 1, negative: 0 }; 2],
            bits: Bits::new(scan),
        }
    }

    /// Decodes a line of single samples. `run` is the component's place in the table of run lengths.
    pub(super) fn line(&mut self, above: &mut [u16], line: &mut [u16], run: &mut usize) -> Option<()> {
        set_edges(above, line)?;
        if self.coding.near == 0 {
            self.samples::<true>(above, line, run)?;
        } else {
            self.samples::<false>(above, line, run)?;
        }
        (!self.bits.overdrawn()).then_some(())
    }

    /// Decodes a line of pixels of several samples each.
    pub(super) fn line_of_pixels<const N: usize>(
        &mut self,
        above: &mut [[u16; N]],
        line: &mut [[u16; N]],
        run: &mut usize,
    ) -> Option<()> {
        set_edges(above, line)?;
        if self.coding.near == 0 {
            self.pixels::<N, true>(above, line, run)?;
        } else {
            self.pixels::<N, false>(above, line, run)?;
        }
        (!self.bits.overdrawn()).then_some(())
    }

    fn samples<const LOSSLESS: bool>(
        &mut self,
        above: &[u16],
        line: &mut [u16],
        run: &mut usize,
    ) -> Option<()> {
        // A copy of its own can stay in registers.
        let mut bits = self.bits;
        let columns = line.len().checked_sub(2)?;
        let mut at = 1;
        let mut left = i32::from(*line.first()?);
        let mut corner = i32::from(*above.first()?);
        let mut up = i32::from(*above.get(1)?);
        let mut up_level = self.coding.level(up - corner);
        while at <= columns {
            let right = i32::from(*above.get(at + 1)?);
            let right_level = self.coding.level(right - up);
            let place = 81 * right_level + 9 * up_level + self.coding.level(corner - left);
            if place != 0 {
                left = self.regular::<LOSSLESS>(&mut bits, place, [left, up, corner])?;
                *line.get_mut(at)? = narrow(left);
                at += 1;
                corner = up;
                up = right;
                up_level = right_level;
                continue;
            }
            let length = run_length(&mut bits, columns + 1 - at, run)?;
            line.get_mut(at..at + length)?.fill(narrow(left));
            at += length;
            if at <= columns {
                up = i32::from(*above.get(at)?);
                left = self.run_end(&mut bits, left, up, *run)?;
                *run = run.saturating_sub(1);
                *line.get_mut(at)? = narrow(left);
                at += 1;
                corner = up;
                up = i32::from(*above.get(at)?);
                up_level = self.coding.level(up - corner);
            }
        }
        self.bits = bits;
        Some(())
    }

    fn pixels<const N: usize, const LOSSLESS: bool>(
        &mut self,
        above: &[[u16; N]],
        line: &mut [[u16; N]],
        run: &mut usize,
    ) -> Option<()> {
        let mut bits = self.bits;
        let columns = line.len().checked_sub(2)?;
        let mut at = 1;
        while at <= columns {
            let &[corner, up, right] = above.get(at - 1..)?.first_chunk::<3>()?;
            let left = *line.get(at - 1)?;
            let mut places = [0; N];
            for ((((place, left), corner), up), right) in
                places.iter_mut().zip(left).zip(corner).zip(up).zip(right)
            {
                let [left, corner, up, right] = [left, corner, up, right].map(i32::from);
                let level = |gradient| self.coding.level(gradient);
                *place = 81 * level(right - up) + 9 * level(up - corner) + level(corner - left);
            }
            if places.iter().any(|place| *place != 0) {
                let pixel = line.get_mut(at)?;
                for ((((sample, place), left), corner), up) in
                    pixel.iter_mut().zip(places).zip(left).zip(corner).zip(up)
                {
                    let around = [left, up, corner].map(i32::from);
                    *sample = narrow(self.regular::<LOSSLESS>(&mut bits, place, around)?);
                }
                at += 1;
                continue;
            }
            let length = run_length(&mut bits, columns + 1 - at, run)?;
            line.get_mut(at..at + length)?.fill(left);
            at += length;
            if at <= columns {
                let up = *above.get(at)?;
                let pixel = line.get_mut(at)?;
                for ((sample, left), up) in pixel.iter_mut().zip(left).zip(up) {
                    let error = self.run_error(&mut bits, 0, *run)?;
                    let (left, up) = (i32::from(left), i32::from(up));
                    *sample = narrow(self.sample(up, if up < left { -error } else { error }));
                }
                *run = run.saturating_sub(1);
                at += 1;
            }
        }
        self.bits = bits;
        Some(())
    }

    /// A sample in regular mode (A.4 to A.6), given those to the left, above, and above to the left.
    #[inline]
    fn regular<const LOSSLESS: bool>(
        &mut self,
        bits: &mut Bits<'_>,
        place: i32,
        [left, up, corner]: [i32; 3],
    ) -> Option<i32> {
        let coding = self.coding;
        let context = self.contexts.get_mut(place.unsigned_abs() as usize & 511)?;
        // All ones where the context stands for its mirror image.
        let mirror = place >> 31;
        let turned = |value: i32| (value ^ mirror) - mirror;
        // The median of three, as A.4.1 has it.
        let predicted = (left + up - corner).clamp(left.min(up), left.max(up));
        let predicted = (predicted + turned(context.correction)).clamp(0, coding.largest);
        let k = order(context.count, context.sizes);
        let mapped = bits.golomb(k, coding.escape, coding.wide);
        let mut error = unmapped(mapped, coding.range)?;
        if LOSSLESS && k == 0 && 2 * context.bias <= -count(context.count) {
            error = !error;
        }
        context.learn(error, if LOSSLESS { 1 } else { 2 * coding.near + 1 }, coding.reset);
        let error = turned(error);
        if !LOSSLESS {
            return Some(self.sample(predicted, error));
        }
        let sample = predicted + error;
        Some(if sample < 0 {
            sample + coding.range
        } else if sample > coding.largest {
            sample - coding.range
        } else {
            sample
        })
    }

    /// The sample that ends a run (A.7.2).
    fn run_end(&mut self, bits: &mut Bits<'_>, left: i32, up: i32, run: usize) -> Option<i32> {
        if (left - up).abs() <= self.coding.near {
            let error = self.run_error(bits, 1, run)?;
            return Some(self.sample(left, error));
        }
        let error = self.run_error(bits, 0, run)?;
        Some(self.sample(up, if up < left { -error } else { error }))
    }

    /// The prediction error where a run ends; `alike` is 1 where the samples around are.
    fn run_error(&mut self, bits: &mut Bits<'_>, alike: u32, run: usize) -> Option<i32> {
        let coding = self.coding;
        let context = self.run_contexts.get_mut(alike as usize)?;
        let sizes = context.sizes + if alike == 1 { context.count / 2 } else { 0 };
        let k = order(context.count, sizes);
        let escape = coding.escape.saturating_sub(u32::from(*ORDERS.get(run)?) + 1);
        let mapped = bits.golomb(k, escape, coding.wide);
        if mapped > coding.range.unsigned_abs() {
            return None;
        }
        let odd = (mapped + alike) & 1;
        let size = i32::try_from((mapped + alike).div_ceil(2)).ok()?;
        let often_negative = k != 0 || 2 * context.negative >= context.count;
        let error = if often_negative == (odd == 1) { -size } else { size };
        context.learn(error, (mapped + 1 - alike) / 2, coding.reset);
        Some(error)
    }

    /// Prediction and error to a sample (A.4.5).
    #[inline]
    fn sample(&self, predicted: i32, error: i32) -> i32 {
        let coding = self.coding;
        let step = 2 * coding.near + 1;
        let mut sample = predicted + error * step;
        if sample < -coding.near {
            sample += coding.range * step;
        } else if sample > coding.largest + coding.near {
            sample -= coding.range * step;
        }
        sample.clamp(0, coding.largest)
    }
}

impl Context {
    /// A.6.
    #[inline]
    fn learn(&mut self, error: i32, step: i32, reset: u32) {
        self.sizes += error.unsigned_abs();
        self.bias += error * step;
        if self.count == reset {
            self.sizes >>= 1;
            self.bias >>= 1;
            self.count >>= 1;
        }
        self.count += 1;
        let count = count(self.count);
        if self.bias <= -count {
            self.bias = (self.bias + count).max(1 - count);
            self.correction = (self.correction - 1).max(-128);
        } else if self.bias > 0 {
            self.bias = (self.bias - count).min(0);
            self.correction = (self.correction + 1).min(127);
        }
    }
}

impl RunContext {
    /// A.7.2.
    fn learn(&mut self, error: i32, size: u32, reset: u32) {
        self.negative += u32::from(error < 0);
        self.sizes += size;
        if self.count == reset {
            self.sizes >>= 1;
            self.count >>= 1;
            self.negative >>= 1;
        }
        self.count += 1;
    }
}

/// A count as a signed number: at most 65,535.
#[inline]
fn count(count: u32) -> i32 {
    count.cast_signed()
}

/// A sample as it is stored: between 0 and the largest one.
#[inline]
fn narrow(sample: i32) -> u16 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 65,535")]
    let narrow = sample as u16;
    narrow
}

/// The least k with `count << k` at least `sizes` (A.5.1), without a loop.
#[inline]
fn order(count: u32, sizes: u32) -> u32 {
    let k = count.leading_zeros().saturating_sub(sizes.leading_zeros());
    if count << k < sizes { k + 1 } else { k }
}

/// A.5.2, undone; None for what no encoder maps an error to.
#[inline]
fn unmapped(mapped: u32, range: i32) -> Option<i32> {
    let mapped = i32::try_from(mapped).ok().filter(|mapped| *mapped <= range)?;
    Some(mapped >> 1 ^ -(mapped & 1))
}

/// The length of a run of at most `left` pixels (A.7.1).
fn run_length(bits: &mut Bits<'_>, left: usize, run: &mut usize) -> Option<usize> {
    let mut length = 0;
    while bits.bit() == 1 {
        let whole = 1 << ORDERS.get(*run)?;
        if length + whole > left {
            // Up to the end of the line.
            return Some(left);
        }
        length += whole;
        *run = (*run + 1).min(ORDERS.len() - 1);
        if length == left {
            return Some(left);
        }
    }
    length += bits.take(u32::from(*ORDERS.get(*run)?)) as usize;
    // A broken run leaves room for the sample that breaks it.
    (length < left).then_some(length)
}

/// What lies left of a line and right of the one above.
fn set_edges<T: Copy>(above: &mut [T], line: &mut [T]) -> Option<()> {
    let columns = line.len().checked_sub(2)?;
    *line.first_mut()? = *above.get(1)?;
    *above.last_mut()? = *above.get(columns)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_the_least_that_hold_the_sum() {
        for count in 1..70_u32 {
            for sizes in 0..3000 {
                let expected = (0..20).find(|k| count << k >= sizes).unwrap();
                assert_eq!(order(count, sizes), expected, "{count} {sizes}");
            }
        }
    }
}
