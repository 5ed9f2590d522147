//! The parameters of a scan: what the headers say, and what follows from it (ISO/IEC 14495-1 A.2.1, C.2.4.1).

/// Coding parameters that a stream may preset; zero stands for the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Presets {
    /// The largest sample. Scans with another than that of their bits are refused.
    pub(super) largest: u16,
    pub(super) thresholds: [u16; 3],
    /// Occurrences of a context after which its sums are halved.
    pub(super) reset: u16,
}

/// All that a scan's decoder needs.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    pub(super) largest: i32,
    /// The most that a sample may be off; 0 is lossless.
    pub(super) near: i32,
    /// Number of values that a prediction error has.
    pub(super) range: i32,
    /// Bits of a prediction error, written out.
    pub(super) wide: u32,
    /// Zeros that announce such a one, but for those that a run takes off.
    pub(super) escape: u32,
    pub(super) reset: u32,
    /// Quantised gradients from minus the third threshold up to it.
    gradients: Vec<i8>,
    steepest: i32,
}

impl Coding {
    /// None where the parameters contradict each other.
    pub(super) fn new(precision: u8, near: u8, presets: Presets) -> Option<Self> {
        let largest = (1_i32 << precision) - 1;
        let near = i32::from(near);
        if near > largest / 2 {
            return None;
        }
        let [low, middle, high] = thresholds(largest, near, presets.thresholds);
        let reset = if presets.reset == 0 { 64 } else { u32::from(presets.reset) };
        if !(near < low && low <= middle && middle <= high && high <= largest) || reset < 3 {
            return None;
        }
        let range = (largest + 2 * near) / (2 * near + 1) + 1;
        let bits = |values: i32| i32::BITS - (values - 1).leading_zeros();
        let (wide, full_width) = (bits(range), bits(largest + 1).max(2));
        let limit = 2 * (full_width + full_width.max(8));
        let quantise = |gradient: i32| {
            let size = gradient.abs();
            let steps = [size > near, size >= low, size >= middle, size >= high];
            let level: i8 = steps.into_iter().map(i8::from).sum();
            if gradient < 0 { -level } else { level }
        };
        Some(Self {
            largest,
            near,
            range,
            wide,
            escape: limit.checked_sub(wide + 1)?,
            reset,
            gradients: (-high..=high).map(quantise).collect(),
            steepest: high,
        })
    }

    /// The level of a gradient, from -4 to 4.
    #[inline]
    pub(super) fn level(&self, gradient: i32) -> i32 {
        let place = gradient.clamp(-self.steepest, self.steepest) + self.steepest;
        let place = usize::try_from(place).unwrap_or(0);
        i32::from(self.gradients.get(place).copied().unwrap_or(0))
    }
}

/// Thresholds of gradients: the preset ones, else the defaults of C.2.4.1.1.1.
fn thresholds(largest: i32, near: i32, presets: [u16; 3]) -> [i32; 3] {
    let basic = if largest >= 128 {
        let factor = (largest.min(4095) + 128) / 256;
        [factor + 2 + 3 * near, factor * 4 + 3 + 5 * near, factor * 17 + 4 + 7 * near]
    } else {
        let factor = 256 / (largest + 1);
        [(3 / factor + 3 * near).max(2), (7 / factor + 5 * near).max(3), (21 / factor + 7 * near).max(4)]
    };
    let mut least = near + 1;
    let mut chosen = [0; 3];
    for ((chosen, basic), preset) in chosen.iter_mut().zip(basic).zip(presets) {
        let default = if basic > largest || basic < least { least } else { basic };
        *chosen = if preset == 0 { default } else { i32::from(preset) };
        least = *chosen;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_standard() {
        let none = [0; 3];
        // Table C.3, and what the formulas give beyond it.
        assert_eq!(thresholds(255, 0, none), [3, 7, 21]);
        assert_eq!(thresholds(4095, 0, none), [18, 67, 276]);
        assert_eq!(thresholds(65535, 0, none), [18, 67, 276]);
        assert_eq!(thresholds(255, 3, none), [12, 22, 42]);
        assert_eq!(thresholds(15, 0, none), [2, 3, 4]);
        assert_eq!(thresholds(255, 0, [0, 30, 0]), [3, 30, 30]);
    }

    #[test]
    fn limits_follow_from_the_largest_sample() {
        let coding = Coding::new(8, 0, Presets::default()).unwrap();
        assert_eq!((coding.range, coding.wide, coding.escape, coding.reset), (256, 8, 23, 64));
        let coding = Coding::new(16, 0, Presets::default()).unwrap();
        assert_eq!((coding.range, coding.wide, coding.escape), (65536, 16, 47));
        let coding = Coding::new(8, 3, Presets::default()).unwrap();
        assert_eq!((coding.range, coding.wide), (38, 6));
        assert_eq!(
            [-300, -12, -4, -3, 0, 22, 41, 42].map(|it| coding.level(it)),
            [-4, -2, -1, 0, 0, 3, 3, 4]
        );
    }

    #[test]
    fn parameters_that_contradict_are_none() {
        let with = |presets| Coding::new(8, 3, presets).is_none();
        assert!(with(Presets { thresholds: [3, 0, 0], ..Presets::default() }));
        assert!(with(Presets { thresholds: [9, 8, 0], ..Presets::default() }));
        assert!(with(Presets { thresholds: [9, 10, 300], ..Presets::default() }));
        assert!(with(Presets { reset: 2, ..Presets::default() }));
        assert!(!with(Presets { largest: 255, thresholds: [9, 10, 255], reset: 3 }));
        assert!(Coding::new(8, 128, Presets::default()).is_none());
    }
}
