//! One deflated frame (1.2.840.10008.1.2.8.1), as its bytes stream past: a stream that gives exactly the bytes of the frame.

use dicom_stream::Inflation;

use crate::codestream::odd;
use crate::refusal::Refusal;

/// The frame at work.
pub(crate) struct Deflated {
    stream: Inflation,
    /// Bytes of a frame.
    length: u64,
    /// Whether any byte was changed.
    pub(crate) any: bool,
}

impl Deflated {
    /// Frames of so many bytes.
    pub(crate) fn new(length: u64) -> Self {
        Self { stream: Inflation::default(), length, any: false }
    }

    /// The next frame begins.
    pub(crate) fn begin(&mut self) {
        self.stream = Inflation::default();
    }

    /// No more bytes come of this frame.
    pub(crate) fn finish(&self) -> Result<(), Refusal> {
        // The last byte may be padding.
        let fits = self.stream.inflated() == self.length
            || self.stream.inflated() == self.length.next_multiple_of(2);
        if self.stream.has_ended() && fits {
            Ok(())
        } else {
            Err(odd("a deflated frame has another length than its pixels"))
        }
    }

    /// Goes over the next bytes of the frame.
    pub(crate) fn clean(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        let consumed = self
            .stream
            .inflate(bytes, self.length + 1)
            .map_err(|_| odd("a deflated frame does not inflate to its pixels"))?;
        let behind = bytes.get_mut(consumed..).unwrap_or_default();
        self.any |= behind.iter().any(|byte| *byte != 0);
        behind.fill(0);
        Ok(())
    }
}
