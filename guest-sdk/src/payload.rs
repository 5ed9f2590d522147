//! Reading a payload: whole, in ranges, or as a stream.

use std::cell::OnceCell;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use crate::{Fault, raw};

/// The most bytes that the host hands over in one call.
pub const LARGEST_READ: usize = 16 << 20;

/// A payload that the host holds: the stage's input, or an asset of the bundle. Reading does not change it.
pub struct Payload {
    raw: raw::Payload,
    /// Asked of the host once, where somebody needs it.
    length: OnceCell<u64>,
}

impl Payload {
    pub(crate) fn new(raw: raw::Payload) -> Self {
        Self { raw, length: OnceCell::new() }
    }

    /// IANA media type, for example `application/dicom`.
    pub fn media_type(&self) -> String {
        self.raw.media_type()
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        *self.length.get_or_init(|| self.raw.length())
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All attributes, in no particular order.
    pub fn attributes(&self) -> Vec<(String, String)> {
        self.raw.attributes()
    }

    /// The attribute of this name. Ask [`Self::attributes`] once where you need several.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.attributes().into_iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Reads up to `length` bytes from `offset` on, without a copy inside the guest: the host writes into the vector
    /// that you get. Fewer bytes come back at the end of the payload, none behind it, and never more than
    /// [`LARGEST_READ`].
    ///
    /// # Errors
    /// When the host cannot read the payload.
    pub fn read_range(&self, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        if length == 0 || self.length.get().is_some_and(|end| offset >= *end) {
            return Ok(Vec::new());
        }
        // At most 16 MiB, so it fits.
        let length = u32::try_from(length.min(LARGEST_READ)).unwrap_or(u32::MAX);
        let bytes = self.raw.read(offset, length)?;
        if bytes.is_empty() && offset < self.len() {
            return Err(Fault::internal("short-read: the host returned nothing inside the payload"));
        }
        Ok(bytes)
    }

    /// Fills `buffer` from `offset` on and returns how many bytes it read: fewer than asked only at the end of the
    /// payload.
    ///
    /// # Errors
    /// When the host cannot read the payload.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        let (mut filled, mut rest) = (0, buffer);
        while !rest.is_empty() {
            let bytes = self.read_range(offset.saturating_add(filled as u64), rest.len())?;
            let Some((now, later)) = rest.split_at_mut_checked(bytes.len()) else {
                return Err(Fault::internal("long-read: the host returned more than was asked for"));
            };
            if now.is_empty() {
                break;
            }
            now.copy_from_slice(&bytes);
            filled += now.len();
            rest = later;
        }
        Ok(filled)
    }

    /// The whole payload, where it has at most `limit` bytes. Up to [`LARGEST_READ`] this copies nothing inside the
    /// guest.
    ///
    /// # Errors
    /// `payload-too-large` over the limit, or when the host cannot read the payload.
    pub fn read_all(&self, limit: u64) -> Result<Vec<u8>, Fault> {
        let length = usize::try_from(self.len()).unwrap_or(usize::MAX);
        if self.len() > limit || length == usize::MAX {
            return Err(Fault::limit(format!("payload-too-large: {} bytes, at most {limit}", self.len())));
        }
        let mut all = self.read_range(0, length)?;
        if all.len() < length {
            all.reserve_exact(length - all.len());
        }
        while all.len() < length {
            let more = self.read_range(all.len() as u64, length - all.len())?;
            all.extend_from_slice(&more);
        }
        Ok(all)
    }

    /// A buffered stream over the payload: `Read`, `BufRead` and `Seek`, with 64 KiB fetched at a time.
    pub fn reader(&self) -> Reader<'_> {
        self.reader_with_buffer(64 << 10)
    }

    /// A buffered stream that fetches `bytes` at a time, from 1 to [`LARGEST_READ`].
    pub fn reader_with_buffer(&self, bytes: usize) -> Reader<'_> {
        Reader {
            payload: self,
            fetch: bytes.clamp(1, LARGEST_READ),
            buffer: Vec::new(),
            buffer_start: 0,
            position: 0,
        }
    }
}

/// Only the media type and the length: attributes may identify a person.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("media_type", &self.media_type())
            .field("length", &self.len())
            .finish()
    }
}

/// A buffered stream over a payload. Reads at least as large as the buffer bypass it; a seek inside the buffer keeps
/// it.
pub struct Reader<'a> {
    payload: &'a Payload,
    fetch: usize,
    buffer: Vec<u8>,
    buffer_start: u64,
    position: u64,
}

impl Reader<'_> {
    /// Where the next byte is read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes from here to the end of the payload.
    pub fn remaining(&self) -> u64 {
        self.payload.len().saturating_sub(self.position)
    }

    fn buffered(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.buffer_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..)).unwrap_or_default()
    }
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffered().is_empty() && self.remaining() > 0 {
            self.buffer = self.payload.read_range(self.position, self.fetch)?;
            self.buffer_start = self.position;
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount.min(self.buffered().len()) as u64);
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() && into.len() >= self.fetch {
            let read = self.payload.read_at(self.position, into)?;
            self.position = self.position.saturating_add(read as u64);
            return Ok(read);
        }
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.payload.len().checked_add_signed(by),
        };
        let before_start =
            || io::Error::new(io::ErrorKind::InvalidInput, "seek to before the start of the payload");
        self.position = target.ok_or_else(before_start)?;
        Ok(self.position)
    }

    fn stream_position(&mut self) -> io::Result<u64> {
        Ok(self.position)
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("position", &self.position).field("payload", self.payload).finish()
    }
}
