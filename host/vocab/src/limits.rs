//! What a guest may use. Unset means a strict default, never "unlimited".

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// So many mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// As an index on this machine; the largest index where the count does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} B"),
        }
    }
}

impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one instance of a guest may use while it works on one payload. In JSON every field may be missing and then
/// takes its default; sizes are bytes, times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of all the instance's memories together. Default 64 MiB, at most 1 GiB.
    pub memory_bytes: ByteCount,
    /// Elements of all tables together. Default 20,000.
    pub table_elements: u32,
    /// Time in which guest code itself runs; waiting for the host does not count. Default 2 s.
    pub compute_ms: u64,
    /// Time from the call to its end, host waits included. Default 10 s.
    pub wall_ms: u64,
    /// Bytes of log lines, each with 192 for what the host puts around it. Default 64 KiB.
    pub log_bytes: ByteCount,
    /// Bytes written into sinks, and of the outputs' media types and attributes. Default 64 MiB.
    pub output_bytes: ByteCount,
    /// Bytes of tensors alive at once through wasi:nn. Default 64 MiB.
    pub tensor_bytes: ByteCount,
    /// Calls of host functions. Default 1,000,000.
    pub host_calls: u64,
    /// Findings that one call may return. Default 64.
    pub findings: u32,
}

/// A limit beyond what any bundle may ask for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit `{name}` is {found}, allowed are 1 to {most}")]
pub struct LimitsError {
    /// The field.
    pub name: &'static str,
    /// What was asked for.
    pub found: u64,
    /// The most that a bundle may ask for.
    pub most: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: ByteCount::mebibytes(64),
            table_elements: 20_000,
            compute_ms: 2_000,
            wall_ms: 10_000,
            log_bytes: ByteCount(64 << 10),
            output_bytes: ByteCount::mebibytes(64),
            tensor_bytes: ByteCount::mebibytes(64),
            host_calls: 1_000_000,
            findings: 64,
        }
    }
}

impl Limits {
    /// Time in which guest code itself may run.
    pub const fn compute(&self) -> Duration {
        Duration::from_millis(self.compute_ms)
    }

    /// Time from the call to its end.
    pub const fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }

    /// Checks each limit against what any bundle may ask for.
    ///
    /// # Errors
    /// The first limit that is zero or beyond its bound.
    pub fn checked(self) -> Result<Self, LimitsError> {
        let bounds = [
            ("memory_bytes", self.memory_bytes.0, 1 << 30),
            ("table_elements", u64::from(self.table_elements), 1_000_000),
            ("compute_ms", self.compute_ms, 600_000),
            ("wall_ms", self.wall_ms, 3_600_000),
            ("log_bytes", self.log_bytes.0, 16 << 20),
            ("output_bytes", self.output_bytes.0, 8 << 30),
            ("tensor_bytes", self.tensor_bytes.0, 4 << 30),
            ("host_calls", self.host_calls, 100_000_000),
            ("findings", u64::from(self.findings), 10_000),
        ];
        match bounds.into_iter().find(|&(_, found, most)| found == 0 || found > most) {
            Some((name, found, most)) => Err(LimitsError { name, found, most }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_bounds() {
        assert!(Limits::default().checked().is_ok());
    }

    #[test]
    fn every_limit_is_taken_up_to_its_bound_and_refused_beyond_it_and_at_zero() {
        let with = |name: &str, value: u64| {
            let mut limits = serde_json::to_value(Limits::default()).unwrap();
            limits[name] = value.into();
            serde_json::from_value::<Limits>(limits).unwrap().checked()
        };
        let bounds = [
            ("memory_bytes", 1_073_741_824),
            ("table_elements", 1_000_000),
            ("compute_ms", 600_000),
            ("wall_ms", 3_600_000),
            ("log_bytes", 16_777_216),
            ("output_bytes", 8_589_934_592),
            ("tensor_bytes", 4_294_967_296),
            ("host_calls", 100_000_000),
            ("findings", 10_000),
        ];
        let fields = serde_json::to_value(Limits::default()).unwrap();
        assert_eq!(fields.as_object().unwrap().len(), bounds.len(), "a limit without a bound");
        for (name, most) in bounds {
            assert!(with(name, most).is_ok() && with(name, 1).is_ok(), "{name}");
            for found in [0, most + 1] {
                assert_eq!(with(name, found), Err(LimitsError { name, found, most }));
            }
        }
    }

    #[test]
    fn a_field_that_is_missing_has_its_default_and_an_unknown_one_is_refused() {
        let read = |text: &str| serde_json::from_str::<Limits>(text);
        assert_eq!(read(r#"{"wall_ms":7}"#).unwrap(), Limits { wall_ms: 7, ..Limits::default() });
        assert!(read(r#"{"wall":7}"#).is_err());
    }

    #[test]
    fn times_are_milliseconds_and_sizes_have_the_largest_unit_that_is_exact() {
        let limits = Limits { compute_ms: 1_500, wall_ms: 2_500, ..Limits::default() };
        assert_eq!(
            (limits.compute(), limits.wall()),
            (Duration::from_millis(1_500), Duration::from_millis(2_500))
        );
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_025, "1025 B"),
            (1_572_864, "1536 KiB"),
            (1_048_576, "1 MiB"),
            (3 << 30, "3072 MiB"),
        ] {
            assert_eq!(ByteCount(bytes).to_string(), text);
            assert_eq!(format!("{:?}", ByteCount(bytes)), text);
        }
        assert_eq!(ByteCount::mebibytes(2), ByteCount(2_097_152));
        assert_eq!(ByteCount::mebibytes(u64::MAX), ByteCount(u64::MAX));
        assert_eq!(ByteCount(7).as_usize(), 7);
    }

    #[test]
    fn zero_and_excess_are_refused_by_name() {
        let none = Limits { wall_ms: 0, ..Limits::default() };
        assert_eq!(none.checked().unwrap_err().name, "wall_ms");
        let excess = Limits { memory_bytes: ByteCount(u64::MAX), ..Limits::default() };
        assert_eq!(excess.checked().unwrap_err().name, "memory_bytes");
    }
}
