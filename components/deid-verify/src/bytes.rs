//! The bytes of an object, read where they are needed.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use crate::finding::{Finding, Kind};

/// What is fetched at least: 256 KiB.
const FETCH: usize = 256 << 10;

/// A deflated data set is held whole, so it may have this many bytes: 32 MiB. Deflated objects are reports and plans.
const INFLATED_MAXIMUM: usize = 32 << 20;

/// Bytes that can be read from any place.
pub trait Bytes {
    /// How many there are.
    fn length(&self) -> u64;

    /// Up to `length` bytes from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// Why they cannot be had, for the local log.
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, String>;
}

impl Bytes for [u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        Ok(rest.get(..length).unwrap_or(rest).to_vec())
    }
}

/// A window on bytes.
pub(crate) struct Window<'a, B: Bytes + ?Sized> {
    bytes: &'a B,
    length: u64,
    held: Vec<u8>,
    start: u64,
}

impl<'a, B: Bytes + ?Sized> Window<'a, B> {
    pub(crate) fn new(bytes: &'a B) -> Self {
        Self { bytes, length: bytes.length(), held: Vec::new(), start: 0 }
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Exactly `count` bytes from `offset` on.
    pub(crate) fn at(&mut self, offset: u64, count: usize) -> Result<&[u8], Finding> {
        let unreadable = || Finding::of(Kind::Malformed, "unreadable");
        if offset.checked_add(count as u64).is_none_or(|end| end > self.length) {
            return Err(unreadable());
        }
        let inside =
            |start: u64, held: usize| offset >= start && offset + count as u64 <= start + held as u64;
        if !inside(self.start, self.held.len()) {
            self.held =
                self.bytes.read(offset, count.max(FETCH)).map_err(|_| Finding::of(Kind::Internal, "read"))?;
            self.start = offset;
        }
        // Below the length of a vector.
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        self.held.get(from..).and_then(|rest| rest.get(..count)).ok_or_else(unreadable)
    }
}

/// Inflates everything from `offset` on. Behind the stream one null byte may stand (PS3.5 annex A.5).
pub(crate) fn inflated<B: Bytes + ?Sized>(bytes: &B, offset: u64) -> Result<Vec<u8>, Finding> {
    let unreadable = || Finding::of(Kind::Malformed, "unreadable");
    let too_large = || Finding::of(Kind::Limit, "too-large");
    let left = usize::try_from(bytes.length().saturating_sub(offset)).ok();
    let left = left.filter(|left| *left <= INFLATED_MAXIMUM).ok_or_else(too_large)?;
    let mut deflated = Vec::with_capacity(left);
    while deflated.len() < left {
        let here = offset + deflated.len() as u64;
        let part =
            bytes.read(here, left - deflated.len()).map_err(|_| Finding::of(Kind::Internal, "read"))?;
        if part.is_empty() {
            return Err(unreadable());
        }
        deflated.extend(part);
    }
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut rest, mut out, mut block) = (deflated.as_slice(), Vec::new(), vec![0; 64 << 10]);
    loop {
        let step = inflate(&mut state, rest, &mut block, MZFlush::None);
        rest = rest.get(step.bytes_consumed..).unwrap_or_default();
        out.extend_from_slice(block.get(..step.bytes_written).unwrap_or_default());
        if out.len() > INFLATED_MAXIMUM {
            return Err(too_large());
        }
        match step.status {
            Ok(MZStatus::StreamEnd) if matches!(rest, [] | [0]) => return Ok(out),
            Ok(MZStatus::StreamEnd) => return Err(Finding::of(Kind::Policy, "trailing-bytes")),
            Ok(_) if step.bytes_consumed > 0 || step.bytes_written > 0 => {}
            _ => return Err(unreadable()),
        }
    }
}
