//! Where bytes come from.

use crate::error::ReadError;

/// Bytes in order, from the first on. A source may be a slice, a payload that the host holds, or an inflater.
pub trait Source {
    /// Fills the front of `buffer` with the next bytes and says how many. Zero only at the end.
    ///
    /// # Errors
    /// [`ReadError::Source`] where the bytes cannot be had.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError>;

    /// Appends up to `most` of the next bytes to `buffer` and says how many, as [`Source::read`] does. A source that
    /// has the bytes in a vector of their own may put it in the place of an empty `buffer`, which saves a copy.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        // Zeroed before it is filled, so not for nothing where a source gives little at a time.
        const MOST: usize = 64 * 1024;
        let before = buffer.len();
        buffer.resize(before + most.min(MOST), 0);
        let read = self.read(buffer.get_mut(before..).unwrap_or_default());
        buffer.truncate(before + read.as_ref().map_or(0, |count| *count));
        read
    }

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

    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        (**self).append(buffer, most)
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

/// Bytes of which any range can be had, as a host's payload is: read in order, at most once.
#[derive(Debug)]
pub struct RangeSource<F> {
    length: u64,
    range: F,
    at: u64,
}

impl<F: FnMut(u64, usize) -> Result<Vec<u8>, String>> RangeSource<F> {
    /// A source over `length` bytes. `range` gives up to so many bytes from an offset on, or says why it cannot.
    #[must_use]
    pub const fn new(length: u64, range: F) -> Self {
        Self { length, range, at: 0 }
    }

    fn next(&mut self, most: usize) -> Result<Vec<u8>, ReadError> {
        let left = self.length.saturating_sub(self.at);
        let most = usize::try_from(left).map_or(most, |left| left.min(most));
        if most == 0 {
            return Ok(Vec::new());
        }
        let bytes = (self.range)(self.at, most).map_err(ReadError::Source)?;
        if bytes.len() > most {
            return Err(ReadError::Source("the host returned more than was asked for".to_owned()));
        }
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}

impl<F: FnMut(u64, usize) -> Result<Vec<u8>, String>> Source for RangeSource<F> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let bytes = self.next(buffer.len())?;
        buffer.iter_mut().zip(&bytes).for_each(|(place, byte)| *place = *byte);
        Ok(bytes.len())
    }

    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        let bytes = self.next(most)?;
        let count = bytes.len();
        if buffer.is_empty() {
            *buffer = bytes;
        } else {
            buffer.extend_from_slice(&bytes);
        }
        Ok(count)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        let count = count.min(self.length.saturating_sub(self.at));
        self.at += count;
        Ok(count)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.at = 0;
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.length)
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

    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..most).unwrap_or(rest);
        buffer.extend_from_slice(bytes);
        self.at += bytes.len();
        Ok(bytes.len())
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
