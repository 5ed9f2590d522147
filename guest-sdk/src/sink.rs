//! Writing an output.

use std::io;

use crate::{Fault, raw};

/// Bytes gathered before one call carries them to the host. 64 KiB keeps the calls rare and the copy in the cache.
const GATHERED: usize = 64 << 10;
/// The most bytes in one call, well under what a host takes at once.
const LARGEST_WRITE: usize = 16 << 20;

/// An output that is being written. Small writes are gathered; writes of 64 KiB and more go straight to the host.
///
/// Dropping a sink that was not finished discards the output.
pub struct Sink {
    raw: raw::Sink,
    gathered: Vec<u8>,
    written: u64,
}

impl Sink {
    pub(crate) fn new(raw: raw::Sink) -> Self {
        Self { raw, gathered: Vec::new(), written: 0 }
    }

    /// Appends all of `bytes`. A small write may only be gathered, so that a fault of the host shows with a later
    /// write, or with [`Self::finish`].
    ///
    /// # Errors
    /// When the stage's output budget is used up, or the host cannot write.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.gathered.len().saturating_add(bytes.len()) > GATHERED {
            self.send_gathered()?;
        }
        if bytes.len() >= GATHERED {
            return self.write_through(bytes);
        }
        if self.gathered.capacity() == 0 && !bytes.is_empty() {
            self.gathered.reserve_exact(GATHERED);
        }
        self.gathered.extend_from_slice(bytes);
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Appends all of `bytes` as [`Self::write`] does, without gathering: for who has gathered already.
    ///
    /// # Errors
    /// When the stage's output budget is used up, or the host cannot write.
    pub fn write_through(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.send_gathered()?;
        for part in bytes.chunks(LARGEST_WRITE) {
            self.raw.write(part)?;
        }
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Bytes appended so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Completes the output and returns the SHA-256 of its bytes.
    ///
    /// # Errors
    /// When the stage's output budget is used up, or the host cannot write.
    pub fn finish(mut self) -> Result<[u8; 32], Fault> {
        self.send_gathered()?;
        let digest = self.raw.finish()?;
        digest.try_into().map_err(|_| Fault::internal("bad-digest: the host returned no SHA-256"))
    }

    fn send_gathered(&mut self) -> Result<(), Fault> {
        if !self.gathered.is_empty() {
            self.raw.write(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(())
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.send_gathered()?)
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("written", &self.written).finish()
    }
}
