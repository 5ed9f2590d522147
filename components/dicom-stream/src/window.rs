//! A window on a source: the bytes around the reading position, contiguous, bounded.

use crate::error::ReadError;
use crate::source::Source;

/// A value that somebody has to look at whole may have this many bytes: 1 MiB. Larger ones stream past.
pub const HELD_MAXIMUM: usize = 1 << 20;

/// How much is read at once. A small file is read by one call and stays for a second pass.
const CHUNK: usize = 1 << 20;

/// The window. Its memory is at most two chunks.
#[derive(Debug)]
pub struct Window<S> {
    source: S,
    bytes: Vec<u8>,
    /// Offset of the first byte of `bytes` in the source.
    base: u64,
    at: usize,
    ended: bool,
}

impl<S: Source> Window<S> {
    /// A window at the begin of `source`.
    #[must_use]
    pub const fn new(source: S) -> Self {
        Self { source, bytes: Vec::new(), base: 0, at: 0, ended: false }
    }

    /// Offset of the next byte.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Length of the source, where it is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.source.length()
    }

    /// The same window, with its source wrapped. `wrap` must not read from it.
    #[must_use]
    pub fn map<T>(self, wrap: impl FnOnce(S) -> T) -> Window<T> {
        let Self { source, bytes, base, at, ended } = self;
        Window { source: wrap(source), bytes, base, at, ended }
    }

    /// The next bytes, `count` of them or fewer at the end, without going on.
    ///
    /// # Errors
    /// [`ReadError::Held`] above [`HELD_MAXIMUM`], and those of the source.
    pub fn peek(&mut self, count: usize) -> Result<&[u8], ReadError> {
        if self.bytes.len() - self.at < count {
            self.fill(count)?;
        }
        let end = self.bytes.len().min(self.at + count);
        Ok(self.bytes.get(self.at..end).unwrap_or_default())
    }

    /// Whatever is there of the next `most` bytes, at least one unless the source ends, without going on.
    ///
    /// # Errors
    /// Those of the source.
    pub fn peek_some(&mut self, most: u64) -> Result<&mut [u8], ReadError> {
        if self.at == self.bytes.len() && most > 0 {
            self.fill(1)?;
        }
        let rest = self.bytes.len() - self.at;
        let count = usize::try_from(most).map_or(rest, |most| most.min(rest));
        Ok(self.bytes.get_mut(self.at..self.at + count).unwrap_or_default())
    }

    /// Goes on by `count` bytes; says how many there were.
    ///
    /// # Errors
    /// Those of the source.
    pub fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        let here = (self.bytes.len() - self.at) as u64;
        if count <= here {
            // Fits: `count` is at most the length of a vector.
            self.at += usize::try_from(count).unwrap_or_default();
            return Ok(count);
        }
        let behind = self.source.skip(count - here)?;
        self.base += self.bytes.len() as u64 + behind;
        self.bytes.clear();
        self.at = 0;
        Ok(here + behind)
    }

    pub(crate) const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Whether only null bytes are left. Reads to the first other byte or the end.
    pub(crate) fn only_padding_left(&mut self) -> Result<bool, ReadError> {
        loop {
            let bytes = self.peek_some(CHUNK as u64)?;
            let (count, padding) = (bytes.len() as u64, bytes.iter().all(|byte| *byte == 0));
            if count == 0 || !padding {
                return Ok(padding);
            }
            self.skip(count)?;
        }
    }

    /// Goes back to the first byte; from memory where nothing has left the window.
    ///
    /// # Errors
    /// Those of the source.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        self.at = 0;
        if self.base != 0 {
            self.source.rewind()?;
            (self.base, self.ended) = (0, false);
            self.bytes.clear();
        }
        Ok(())
    }

    fn fill(&mut self, count: usize) -> Result<(), ReadError> {
        if count > HELD_MAXIMUM {
            return Err(ReadError::Held { length: count as u64 });
        }
        let held = self.base + self.bytes.len() as u64;
        self.ended |= self.source.length().is_some_and(|length| length <= held);
        if self.ended {
            return Ok(());
        }
        // As long as there is room the begin stays: a second pass finds all of a small file in memory.
        if self.base > 0 || self.at + count > CHUNK {
            self.bytes.copy_within(self.at.., 0);
            self.bytes.truncate(self.bytes.len() - self.at);
            self.base += self.at as u64;
            self.at = 0;
        }
        let count = self.at + count;
        let whole = self.source.length().map_or(CHUNK as u64, |length| length.saturating_sub(self.base));
        let wanted = usize::try_from(whole).map_or(CHUNK, |whole| whole.min(CHUNK)).max(count);
        while self.bytes.len() < count {
            let missing = wanted - self.bytes.len();
            if self.source.append(&mut self.bytes, missing)? == 0 {
                self.ended = true;
                break;
            }
        }
        Ok(())
    }
}
