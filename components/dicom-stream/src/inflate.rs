//! Deflated data sets, both ways, bounded in ratio and in size.

use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use crate::error::ReadError;
use crate::source::Source;
use crate::window::Window;

/// A deflated data set may become this large: 1 GiB.
pub const INFLATED_MAXIMUM: u64 = 1 << 30;

/// A deflated data set may grow by this factor. Images reach 20; empty ones 100; deflate's own limit is 1032.
pub const INFLATE_RATIO_MAXIMUM: u64 = 200;

/// Below this size the ratio is not looked at: 1 MiB.
const RATIO_FREE: u64 = 1 << 20;

/// Compressed bytes taken at once.
const STEP: u64 = 64 * 1024;

/// Inflates what follows in a window as it is read.
pub struct Inflater<S> {
    window: Window<S>,
    start: u64,
    state: Box<InflateState>,
    inflated: u64,
    ended: bool,
}

impl<S: Source> Inflater<S> {
    /// Inflates what follows in `window`.
    #[must_use]
    pub fn new(window: Window<S>) -> Self {
        let start = window.position();
        Self { window, start, state: InflateState::new_boxed(DataFormat::Raw), inflated: 0, ended: false }
    }

    /// Whether nothing but padding stands behind the deflate stream: PS3.5 annex A.5 fills it to an even length with a
    /// null byte, and some writers leave gzip's trailer there, a check sum and the length (RFC 1952).
    pub(crate) fn only_padding_left(&mut self) -> Result<bool, ReadError> {
        if let Ok([_, _, _, _, length @ ..]) = <[u8; 8]>::try_from(self.window.peek(9)?)
            && u64::from(u32::from_le_bytes(length)) == self.inflated
        {
            return Ok(true);
        }
        self.window.only_padding_left()
    }
}

impl<S: Source> Source for Inflater<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() && !self.ended {
            let input = self.window.peek_some(STEP)?;
            let flush = if input.is_empty() { MZFlush::Finish } else { MZFlush::None };
            let step = inflate(&mut self.state, input, buffer.get_mut(filled..).unwrap_or_default(), flush);
            self.window.skip(step.bytes_consumed as u64)?;
            filled += step.bytes_written;
            self.inflated += step.bytes_written as u64;
            let deflated = self.window.position() - self.start;
            if self.inflated > INFLATED_MAXIMUM
                || self.inflated > RATIO_FREE && self.inflated / INFLATE_RATIO_MAXIMUM > deflated
            {
                return Err(ReadError::Inflated);
            }
            match step.status {
                Ok(MZStatus::StreamEnd) => self.ended = true,
                Ok(_) if step.bytes_consumed == 0 && step.bytes_written == 0 => {
                    return Err(ReadError::Inflate);
                }
                Ok(_) => {}
                Err(_) => return Err(ReadError::Inflate),
            }
        }
        Ok(filled)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        let mut scratch = vec![0; 16 * 1024];
        let mut skipped = 0;
        while skipped < count {
            let step = usize::try_from(count - skipped).map_or(scratch.len(), |left| left.min(scratch.len()));
            let read = self.read(scratch.get_mut(..step).unwrap_or_default())?;
            if read == 0 {
                break;
            }
            skipped += read as u64;
        }
        Ok(skipped)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.window.rewind()?;
        self.window.skip(self.start)?;
        self.state = InflateState::new_boxed(DataFormat::Raw);
        (self.inflated, self.ended) = (0, false);
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

/// Inflates parts as they come, and keeps none of what comes out.
pub struct Inflation {
    state: Box<InflateState>,
    inflated: u64,
    ended: bool,
}

impl Default for Inflation {
    fn default() -> Self {
        Self { state: InflateState::new_boxed(DataFormat::Raw), inflated: 0, ended: false }
    }
}

impl Inflation {
    /// Takes the next bytes and says how many of them belong to the stream.
    ///
    /// # Errors
    /// [`ReadError::Inflate`] where they are no deflate stream, [`ReadError::Inflated`] where more than `most` bytes come of all.
    pub fn inflate(&mut self, bytes: &[u8], most: u64) -> Result<usize, ReadError> {
        let (mut consumed, mut block) = (0, [0; 16 * 1024]);
        while !self.ended {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let step = inflate(&mut self.state, rest, &mut block, MZFlush::None);
            consumed += step.bytes_consumed;
            self.inflated += step.bytes_written as u64;
            if self.inflated > most {
                return Err(ReadError::Inflated);
            }
            match step.status {
                Ok(MZStatus::StreamEnd) => self.ended = true,
                Ok(_) if step.bytes_written > 0 || step.bytes_consumed > 0 => {}
                // Nothing is left to do before the next part comes.
                _ if rest.is_empty() => break,
                _ => return Err(ReadError::Inflate),
            }
        }
        Ok(consumed)
    }

    /// Bytes that have come out.
    #[must_use]
    pub const fn inflated(&self) -> u64 {
        self.inflated
    }

    /// Whether the stream's end was met.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Deflates what is written, without header or check sum (RFC 1951).
pub struct Deflater {
    state: Box<CompressorOxide>,
}

impl Default for Deflater {
    fn default() -> Self {
        // Level 6 of zlib; negative window bits: no zlib header.
        Self { state: Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(6, -15, 0))) }
    }
}

impl Deflater {
    /// Appends to `out` what comes of `bytes`; with `last`, all that is left.
    pub fn write(&mut self, mut bytes: &[u8], last: bool, out: &mut Vec<u8>) {
        let flush = if last { MZFlush::Finish } else { MZFlush::None };
        let mut block = [0; 16 * 1024];
        loop {
            let step = deflate(&mut self.state, bytes, &mut block, flush);
            bytes = bytes.get(step.bytes_consumed..).unwrap_or_default();
            out.extend_from_slice(block.get(..step.bytes_written).unwrap_or_default());
            let stuck = step.bytes_consumed == 0 && step.bytes_written == 0;
            if stuck || matches!(step.status, Ok(MZStatus::StreamEnd) | Err(_)) || bytes.is_empty() && !last {
                return;
            }
        }
    }
}
