//! From the modality's scale to what is shown, from 0 (black) to 1 (white): PS3.3 C.11.2.1.

use crate::lut::Lut;

/// The shape of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowFunction {
    /// LINEAR, C.11.2.1.2.1.
    Linear,
    /// LINEAR_EXACT, C.11.2.1.3.2.
    LinearExact,
    /// SIGMOID, C.11.2.1.3.1.
    Sigmoid,
}

/// A window on the modality's scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    center: f64,
    width: f64,
    function: WindowFunction,
}

impl Window {
    /// None where the width is below what the function allows: 1 for LINEAR, more than 0 for the others.
    #[must_use]
    pub fn new(center: f64, width: f64, function: WindowFunction) -> Option<Self> {
        let enough = if function == WindowFunction::Linear { width >= 1.0 } else { width > 0.0 };
        (enough && center.is_finite() && width.is_finite()).then_some(Self { center, width, function })
    }

    /// What a value shows as, from 0 to 1.
    #[must_use]
    pub fn apply(&self, value: f64) -> f64 {
        let Self { center, width, function } = *self;
        let (middle, span) = match function {
            WindowFunction::Linear => (center - 0.5, width - 1.0),
            WindowFunction::LinearExact => (center, width),
            WindowFunction::Sigmoid => return 1.0 / (1.0 + exponential(-4.0 * (value - center) / width)),
        };
        if value <= middle - span / 2.0 {
            0.0
        } else if value > middle + span / 2.0 {
            1.0
        } else {
            (value - middle) / span + 0.5
        }
    }
}

/// How values become what is shown.
#[derive(Debug, Clone)]
pub(crate) enum Voi {
    Window(Window),
    Table(Lut),
    /// From the first value to the second, spread evenly.
    Range(f64, f64),
    /// Nothing to show: a constant image, or nothing but padding.
    Empty,
}

impl Voi {
    /// What a value shows as, from 0 to 1.
    pub(crate) fn apply(&self, value: f64) -> f64 {
        match self {
            Self::Window(window) => window.apply(value),
            Self::Table(lut) => {
                #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as the table does")]
                let nearest = value.round_ties_even() as i64;
                f64::from(lut.entry(nearest)) / lut.largest()
            }
            Self::Range(low, high) => (value.clamp(*low, *high) - low) / (high - low),
            Self::Empty => 0.0,
        }
    }
}

/// e to the x within 2 units in the last place. The standard library's differs between C libraries; tensors must be
/// equal natively and in the sandbox to the bit.
fn exponential(x: f64) -> f64 {
    if x > 709.0 {
        return f64::INFINITY;
    }
    if x < -745.0 {
        return 0.0;
    }
    // ln 2 in two parts, so that the remainder is exact: x = k ln 2 + r, |r| <= ln 2 / 2.
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let k = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    // Taylor to the 14th power: the rest is below 1e-19.
    let series = (1..=14_u32).rev().fold(1.0, |sum, n| 1.0 + r * sum / f64::from(n));
    // Two steps, because 2^k alone may leave the range of normal numbers.
    #[expect(clippy::cast_possible_truncation, reason = "k is between -1075 and 1023")]
    let (k, half) = (k as i64, (k / 2.0) as i64);
    let power = |n: i64| f64::from_bits(u64::try_from(n + 1023).unwrap_or(0) << 52);
    series * power(half) * power(k - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_agrees_with_the_standard_library() {
        for step in -7000..7000 {
            let x = f64::from(step) * 0.1 + 0.003;
            let (ours, theirs) = (exponential(x), x.exp());
            assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs, "{x}: {ours} {theirs}");
        }
        assert_eq!((exponential(0.0), exponential(-800.0)), (1.0, 0.0));
    }

    #[test]
    fn windows_end_where_the_standard_says() {
        let linear = Window::new(40.0, 400.0, WindowFunction::Linear).unwrap();
        // C.11.2.1.2.1: x <= c - 0.5 - (w - 1) / 2 is black, x > c - 0.5 + (w - 1) / 2 white.
        assert_eq!([-160.0, 39.5, 239.0, 239.1].map(|x| linear.apply(x)), [0.0, 0.5, 1.0, 1.0]);
        let exact = Window::new(40.0, 400.0, WindowFunction::LinearExact).unwrap();
        assert_eq!([-160.0, 40.0, 240.0].map(|x| exact.apply(x)), [0.0, 0.5, 1.0]);
        let step = Window::new(10.0, 1.0, WindowFunction::Linear).unwrap();
        assert_eq!([9.5, 9.6].map(|x| step.apply(x)), [0.0, 1.0]);
        let sigmoid = Window::new(0.0, 4.0, WindowFunction::Sigmoid).unwrap();
        assert_eq!(sigmoid.apply(0.0), 0.5);
        assert_eq!(Window::new(0.0, 0.5, WindowFunction::Linear), None);
        assert_eq!(Window::new(0.0, 0.0, WindowFunction::Sigmoid), None);
    }
}
