//! Where bytes come from.

use crate::error::ReadError;

/// Bytes in order, from the first on. A source may be a slice, a payload that the host holds, or an inflater.
pub trait Source {
    /// Fills the front of `buffer` with the next bytes and says how many. Zero only at the end.
    ///
    /// # Errors
    /// [`ReadError::Source`] where the bytes cannot be had.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError>;

    /// Leaves out the next `count` bytes, fewer at the end; says how many.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn skip(&mut self, count: u64) -> Result<u64, ReadError>;

    /// Begins again at the first byte.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn rewind(&mut self) -> Result<(), ReadError>;

    /// How many bytes there are in all, where that is known before reading.
    fn length(&self) -> Option<u64>;
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        (**self).read(buffer)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        (**self).skip(count)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        (**self).rewind()
    }

    fn length(&self) -> Option<u64> {
        (**self).length()
    }
}

/// Bytes in memory.
#[derive(Clone, Debug)]
pub struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SliceSource<'a> {
    /// A source over `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Source for SliceSource<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        let rest = self.bytes.len().saturating_sub(self.at);
        let count = usize::try_from(count).map_or(rest, |count| count.min(rest));
        self.at += count;
        Ok(count as u64)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.at = 0;
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }
}
