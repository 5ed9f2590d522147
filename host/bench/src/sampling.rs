//! Taking times: two sides in turn in one loop, medians, CPU clocks.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Times of two sides that were taken in turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    /// The side that is measured.
    pub(crate) ours: Vec<Duration>,
    /// What it is held against.
    pub(crate) theirs: Vec<Duration>,
}

impl Pair {
    /// Runs both sides in turn, A B A B, so that whatever else the machine does falls on both. Each side returns the
    /// times that it took itself. The first `warm_up` rounds are thrown away.
    pub(crate) fn take(
        rounds: Rounds,
        mut ours: impl FnMut() -> anyhow::Result<Vec<Duration>>,
        mut theirs: impl FnMut() -> anyhow::Result<Vec<Duration>>,
    ) -> anyhow::Result<Self> {
        let mut pair = Self::default();
        for round in 0..rounds.warm_up.saturating_add(rounds.counted) {
            let (a, b) = (ours()?, theirs()?);
            if round >= rounds.warm_up {
                pair.ours.extend(a);
                pair.theirs.extend(b);
            }
        }
        Ok(pair)
    }

    /// Median of ours by median of theirs.
    pub(crate) fn ratio(&self) -> f64 {
        median(&self.ours).as_secs_f64() / median(&self.theirs).as_secs_f64()
    }

    /// Both medians, for a line's `how`.
    pub(crate) fn medians(&self) -> String {
        let (ours, theirs) = (median(&self.ours), median(&self.theirs));
        format!(
            "{} / {}, medians of {} and {}",
            shown(ours),
            shown(theirs),
            self.ours.len(),
            self.theirs.len()
        )
    }
}

/// How often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) warm_up: usize,
    pub(crate) counted: usize,
}

/// The middle value; zero of none.
pub(crate) fn median(times: &[Duration]) -> Duration {
    percentile(times, 50)
}

/// The value that so many percent do not go over; zero of none.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// Time by the clock on the wall.
pub(crate) fn wall<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = work();
    (value, begun.elapsed())
}

/// CPU time of all threads of this process.
pub(crate) fn cpu<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = process_cpu();
    let value = work();
    (value, process_cpu().saturating_sub(begun))
}

fn process_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// A time as a person reads it.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{:.1} µs", seconds * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(milliseconds: &[u64]) -> Vec<Duration> {
        milliseconds.iter().map(|&ms| Duration::from_millis(ms)).collect()
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&times(&hundred), 99), Duration::from_millis(99));
        assert_eq!(median(&times(&[9, 1, 5])), Duration::from_millis(5));
        assert_eq!(median(&[]), Duration::ZERO);
    }

    #[test]
    fn sides_run_in_turn_and_the_warm_up_is_thrown_away() {
        let order = std::cell::RefCell::new(String::new());
        let side = |name, ms| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(times(&[ms]))
            }
        };
        let pair = Pair::take(Rounds { warm_up: 1, counted: 2 }, side('a', 6), side('b', 3)).unwrap();
        assert_eq!(*order.borrow(), "ababab");
        assert_eq!((pair.ours.len(), pair.ratio()), (2, 2.0));
    }

    #[test]
    fn cpu_time_does_not_count_sleep() {
        let ((), used) = cpu(|| std::thread::sleep(Duration::from_millis(50)));
        assert!(used < Duration::from_millis(50), "{used:?}");
    }
}
