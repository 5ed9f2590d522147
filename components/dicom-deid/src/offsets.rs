//! The offset tables of an encapsulated image. Who only shows it need not look at them, so they may hold anything: they
//! stay where they say what is so.

use dicom_stream::{Event, Header, ReadError, Reader, Source};

/// Whether the offset tables say what is so.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    /// (7FE0,0001) and (7FE0,0002) as written.
    begins: Vec<u64>,
    lengths: Vec<u64>,
    basic_wrong: bool,
    extended_wrong: bool,
    checked: bool,
    /// Fragments behind the basic table.
    fragments: u64,
}

impl Offsets {
    /// Takes (7FE0,0001) or (7FE0,0002). One that is too large to be held, or stands behind the pixels, is wrong.
    pub(crate) fn extended<S: Source>(
        &mut self,
        header: Header,
        reader: &mut Reader<S>,
    ) -> Result<(), ReadError> {
        let value = reader.value()?.map(<[u8]>::as_chunks::<8>);
        let Some((numbers, [])) = value.filter(|_| !self.checked) else {
            self.extended_wrong = true;
            return Ok(());
        };
        let numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        if header.tag.element() == 1 {
            self.begins = numbers;
        } else {
            self.lengths = numbers;
        }
        Ok(())
    }

    /// Walks the fragments of the pixel data that was just opened, to their end.
    pub(crate) fn check<S: Source>(&mut self, reader: &mut Reader<S>) -> Result<(), ReadError> {
        self.checked = true;
        let (begins, lengths) = (std::mem::take(&mut self.begins), std::mem::take(&mut self.lengths));
        let mut frames = begins.iter().zip(&lengths);
        let mut basic: Option<std::vec::IntoIter<u32>> = None;
        let mut next = None;
        let mut offset = 0_u64;
        loop {
            let length = match reader.next_event()? {
                Event::Fragment(length) => length,
                Event::FragmentsEnd | Event::End => break,
                _ => continue,
            };
            let Some(entries) = &mut basic else {
                let numbers: Vec<u32> = match reader.value()?.map(<[u8]>::as_chunks::<4>) {
                    Some((numbers, [])) => numbers.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
                    _ => {
                        self.basic_wrong = true;
                        Vec::new()
                    }
                };
                next = basic.insert(numbers.into_iter()).next();
                continue;
            };
            self.fragments += 1;
            if next.map(u64::from) == Some(offset) {
                next = entries.next();
            }
            // Each frame in a fragment of its own; the last byte may be padding.
            if !begins.is_empty() {
                let length = u64::from(length);
                self.extended_wrong |= !frames.next().is_some_and(|(begin, written)| {
                    *begin == offset && (*written == length || written + 1 == length)
                });
            }
            offset += 8 + u64::from(length);
        }
        self.basic_wrong |= next.is_some();
        self.extended_wrong |= begins.len() != lengths.len() || frames.next().is_some();
        Ok(())
    }

    /// How many fragments there are behind the basic table; none where the pixels have no fragments.
    pub(crate) const fn fragments(&self) -> Option<u64> {
        if self.checked { Some(self.fragments) } else { None }
    }

    pub(crate) const fn basic_holds(&self) -> bool {
        !self.basic_wrong
    }

    /// Whether (7FE0,0001) and (7FE0,0002) hold. Without fragments there is nothing that they could say.
    pub(crate) const fn extended_holds(&self) -> bool {
        self.checked && !self.extended_wrong
    }
}
