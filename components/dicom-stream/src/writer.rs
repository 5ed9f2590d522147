//! Writes what a reader reads: one buffer, few writes.

use crate::inflate::Deflater;
use crate::reader::UNDEFINED;
use crate::value::{Encoding, Tag, Vr};

/// Where written bytes go.
pub trait Output {
    /// Why writing can fail.
    type Error;

    /// Appends `bytes`.
    ///
    /// # Errors
    /// Where the bytes cannot be taken, for example because a budget is used up.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

impl Output for Vec<u8> {
    type Error = std::convert::Infallible;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// What is written at once: 1 MiB.
const FLUSH: usize = 1 << 20;

/// Writes a file. Sequences and items get an undefined length, so that nothing has to be known ahead.
pub struct Writer<O> {
    output: O,
    buffer: Vec<u8>,
    encoding: Encoding,
    deflater: Option<Deflater>,
    /// Deflated bytes on their way out.
    deflated: Vec<u8>,
}

impl<O: Output> Writer<O> {
    /// A writer that has written nothing, in explicit little endian as the file meta information wants.
    /// `capacity` is a hint.
    #[must_use]
    pub fn new(output: O, capacity: usize) -> Self {
        Self {
            output,
            buffer: Vec::with_capacity(capacity.min(FLUSH + FLUSH / 8)),
            encoding: Encoding::ExplicitLittle,
            deflater: None,
            deflated: Vec::new(),
        }
    }

    /// Writes the preamble, the prefix and group 2 from `elements` (tag, representation, value; ascending), its
    /// group length computed; then turns to the data set's encoding.
    ///
    /// # Errors
    /// Those of the output.
    pub fn begin(
        &mut self,
        elements: &[(Tag, Vr, &[u8])],
        encoding: Encoding,
        deflate: bool,
    ) -> Result<(), O::Error> {
        self.buffer.resize(self.buffer.len() + 128, 0);
        self.buffer.extend_from_slice(b"DICM");
        let size = |(_, vr, value): &(Tag, Vr, &[u8])| {
            (if vr.has_short_length() { 8 } else { 12 }) + value.len() + value.len() % 2
        };
        let length = u32::try_from(elements.iter().map(size).sum::<usize>()).unwrap_or_default();
        self.element(Tag(0x0002_0000), Vr::UL, &length.to_le_bytes())?;
        for (tag, vr, value) in elements {
            self.element(*tag, *vr, value)?;
        }
        self.encoding = encoding;
        if deflate {
            self.flush()?;
            self.deflater = Some(Deflater::default());
        }
        Ok(())
    }

    /// How elements are being written.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Writes an element whole; an odd length is filled up. A value that does not fit the 16-bit length of its
    /// representation is written as `UN`, as PS3.5 section 6.2.2 allows.
    ///
    /// # Errors
    /// Those of the output.
    pub fn element(&mut self, tag: Tag, vr: Vr, value: &[u8]) -> Result<(), O::Error> {
        let length = u32::try_from(value.len()).unwrap_or(UNDEFINED - 1);
        self.header(tag, vr, length.next_multiple_of(2));
        self.raw(value)?;
        if value.len() % 2 == 1 { self.raw(&[vr.padding()]) } else { Ok(()) }
    }

    /// Writes the header of an element whose value follows by [`Writer::raw`].
    pub fn header(&mut self, tag: Tag, vr: Vr, length: u32) {
        let [a, b, c, d] = self.encoding.tag_bytes(tag);
        let [i, j, k, l] = self.encoding.u32_bytes(length);
        if self.encoding == Encoding::ImplicitLittle {
            self.buffer.extend_from_slice(&[a, b, c, d, i, j, k, l]);
            return;
        }
        match u16::try_from(length) {
            Ok(short) if vr.has_short_length() => {
                let (Vr([e, f]), [g, h]) = (vr, self.encoding.u16_bytes(short));
                self.buffer.extend_from_slice(&[a, b, c, d, e, f, g, h]);
            }
            _ => {
                let Vr([e, f]) = if vr.has_short_length() { Vr::UN } else { vr };
                self.buffer.extend_from_slice(&[a, b, c, d, e, f, 0, 0, i, j, k, l]);
            }
        }
    }

    /// Writes bytes of a value.
    ///
    /// # Errors
    /// Those of the output.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), O::Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Begins a sequence.
    pub fn sequence(&mut self, tag: Tag) {
        self.header(tag, Vr::SQ, UNDEFINED);
    }

    /// Begins an item.
    pub fn item(&mut self) {
        self.frame(Tag::ITEM, UNDEFINED);
    }

    /// Begins a fragment of `length` bytes, which follow by [`Writer::raw`].
    pub fn fragment(&mut self, length: u32) {
        self.frame(Tag::ITEM, length);
    }

    /// Ends an item.
    ///
    /// # Errors
    /// Those of the output.
    pub fn item_end(&mut self) -> Result<(), O::Error> {
        self.frame(Tag::ITEM_END, 0);
        self.raw(&[])
    }

    /// Ends a sequence or an encapsulated value.
    ///
    /// # Errors
    /// Those of the output.
    pub fn sequence_end(&mut self) -> Result<(), O::Error> {
        self.frame(Tag::SEQUENCE_END, 0);
        self.raw(&[])
    }

    /// Writes what is left and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> Result<O, O::Error> {
        self.flush()?;
        if let Some(deflater) = &mut self.deflater {
            deflater.write(&[], true, &mut self.deflated);
            // PS3.5 annex A.5: an odd number of bytes gets a null byte.
            if self.deflated.len() % 2 == 1 {
                self.deflated.push(0);
            }
            self.output.write(&self.deflated)?;
        }
        Ok(self.output)
    }

    fn frame(&mut self, tag: Tag, length: u32) {
        let ([a, b, c, d], [e, f, g, h]) = (self.encoding.tag_bytes(tag), self.encoding.u32_bytes(length));
        self.buffer.extend_from_slice(&[a, b, c, d, e, f, g, h]);
    }

    fn flush(&mut self) -> Result<(), O::Error> {
        match &mut self.deflater {
            None => self.output.write(&self.buffer)?,
            Some(deflater) => {
                deflater.write(&self.buffer, false, &mut self.deflated);
                // Whole pairs only: the end tells whether the sum is odd.
                let even = self.deflated.len() & !1;
                self.output.write(self.deflated.get(..even).unwrap_or_default())?;
                self.deflated.drain(..even);
            }
        }
        self.buffer.clear();
        Ok(())
    }
}
