//! The pull parser: one event after another, every length checked against what is left.

use crate::dictionary::Dictionary;
use crate::error::ReadError;
use crate::header::Input;
use crate::source::{SliceSource, Source};
use crate::value::{Encoding, Tag, Vr};
use crate::window::{HELD_MAXIMUM, Window};

/// Sequences nest this deep at most. Real objects reach ten.
pub const DEPTH_MAXIMUM: usize = 64;

/// Elements and items of one file. An enhanced object of ten thousand frames has a million.
pub const ELEMENTS_MAXIMUM: u32 = 8 << 20;

/// The length that means: until a delimiter.
pub const UNDEFINED: u32 = u32::MAX;

/// The header of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its tag.
    pub tag: Tag,
    /// Its representation: the file's where it names one, else the dictionary's (which may be a lower-case choice),
    /// else `UN`.
    pub vr: Vr,
    /// Declared length of the value, or [`UNDEFINED`].
    pub length: u32,
}

/// A step through a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An element with a value of known length, which may be read, streamed or left.
    Element(Header),
    /// A sequence begins; items follow.
    Sequence(Header),
    /// An item begins; elements follow.
    Item,
    /// The innermost item ends.
    ItemEnd,
    /// The innermost sequence ends.
    SequenceEnd,
    /// An encapsulated value begins; fragments follow.
    Fragments(Header),
    /// A fragment of this length, which may be streamed or left.
    Fragment(u32),
    /// The encapsulated value ends.
    FragmentsEnd,
    /// The data set ends. Whatever stands behind it is not looked at.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sequence,
    Item,
    Fragments,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    /// Where it ends; none: at its delimiter.
    end: Option<u64>,
    /// The encoding around it.
    outer: Encoding,
}

/// Reads a data set. See [`crate::open`].
pub struct Reader<S> {
    window: Window<S>,
    dictionary: Dictionary,
    start: u64,
    outermost: Encoding,
    encoding: Encoding,
    frames: Vec<Frame>,
    /// The nearest defined end among the frames and the source.
    limit: Option<u64>,
    pending: u64,
    elements: u32,
    ended: bool,
}

impl<S: Source> Reader<S> {
    /// A reader of the data set that begins at the window's position.
    #[must_use]
    pub fn new(window: Window<S>, dictionary: Dictionary, encoding: Encoding) -> Self {
        Self {
            start: window.position(),
            limit: window.length(),
            window,
            dictionary,
            outermost: encoding,
            encoding,
            frames: Vec::with_capacity(16),
            pending: 0,
            elements: 0,
            ended: false,
        }
    }

    /// Goes back to the data set's begin.
    ///
    /// # Errors
    /// Those of the source.
    pub fn rewind(&mut self) -> Result<(), ReadError> {
        self.window.rewind()?;
        self.window.skip(self.start)?;
        self.frames.clear();
        self.limit = self.window.length();
        self.encoding = self.outermost;
        (self.pending, self.elements, self.ended) = (0, 0, false);
        Ok(())
    }

    /// How the current element is encoded. Inside of a sequence that was written as `UN` this is implicit.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The dictionary given to this reader.
    #[must_use]
    pub const fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// How many sequences are open.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.frames.iter().filter(|frame| frame.kind == Kind::Sequence).count()
    }

    /// The next step. What is left of the current value is skipped.
    ///
    /// # Errors
    /// Every variant of [`ReadError`] that names a fault of the file.
    pub fn next_event(&mut self) -> Result<Event, ReadError> {
        self.skip_value()?;
        if self.ended {
            return Ok(Event::End);
        }
        self.elements += 1;
        if self.elements > ELEMENTS_MAXIMUM {
            return Err(ReadError::Elements);
        }
        match self.frames.last().copied() {
            Some(frame) if frame.end.is_some_and(|end| end <= self.window.position()) => {
                Ok(self.close(frame))
            }
            Some(frame @ Frame { kind: Kind::Sequence, .. }) => self.next_item(frame),
            Some(frame @ Frame { kind: Kind::Fragments, .. }) => self.next_fragment(frame),
            Some(frame @ Frame { kind: Kind::Item, .. }) => self.next_element(Some(frame)),
            None => self.next_element(None),
        }
    }

    /// Whether `bytes` are the items of a sequence in this encoding, from the first byte to the last.
    #[must_use]
    pub fn is_sequence(bytes: &[u8], dictionary: Dictionary, encoding: Encoding) -> bool {
        if !bytes.starts_with(&encoding.tag_bytes(Tag::ITEM)) {
            return false;
        }
        let mut reader = Self::of_items(bytes, dictionary, encoding);
        loop {
            match reader.next_event() {
                Ok(Event::SequenceEnd) if reader.frames.is_empty() => {
                    return reader.window.position() == bytes.len() as u64;
                }
                Ok(Event::End) | Err(_) => return false,
                Ok(_) => {}
            }
        }
    }

    /// A reader of the items of a sequence that stand alone, from the first byte to the last.
    #[must_use]
    pub fn of_items(bytes: &[u8], dictionary: Dictionary, encoding: Encoding) -> Reader<SliceSource<'_>> {
        let mut reader = Reader::new(Window::new(SliceSource::new(bytes)), dictionary, encoding);
        let end = Some(bytes.len() as u64);
        reader.frames.push(Frame { kind: Kind::Sequence, end, outer: encoding });
        reader
    }

    /// Opens the value of the current element as a sequence: what PS3.5 section 6.2.2 asks of `UN`, and what some
    /// writers make of it in explicit encoding. Says no, and leaves the value, where it is none or too large to
    /// look at first.
    ///
    /// # Errors
    /// [`ReadError::Depth`] and those of the source.
    pub fn enter(&mut self) -> Result<bool, ReadError> {
        let Some(length) = usize::try_from(self.pending).ok().filter(|length| *length <= HELD_MAXIMUM) else {
            return Ok(false);
        };
        let dictionary = self.dictionary;
        let bytes = self.window.peek(length)?;
        let candidates = [Encoding::ImplicitLittle, Encoding::ExplicitLittle];
        let found = candidates.into_iter().find(|encoding| Self::is_sequence(bytes, dictionary, *encoding));
        let Some(encoding) = found else { return Ok(false) };
        let end = self.window.position() + self.pending;
        self.pending = 0;
        self.push(Kind::Sequence, Some(end))?;
        self.encoding = encoding;
        Ok(true)
    }

    /// The whole value of the current element; none where it is larger than [`HELD_MAXIMUM`]. The reader stays
    /// before it.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] and those of the source.
    pub fn value(&mut self) -> Result<Option<&[u8]>, ReadError> {
        let offset = self.window.position();
        let Some(length) = usize::try_from(self.pending).ok().filter(|length| *length <= HELD_MAXIMUM) else {
            return Ok(None);
        };
        let bytes = self.window.peek(length)?;
        if bytes.len() < length { Err(ReadError::Truncated { offset }) } else { Ok(Some(bytes)) }
    }

    /// The bytes of the sequence that was just opened, its items not yet looked at; none where its length is not
    /// known or larger than [`HELD_MAXIMUM`]. The reader stays before them.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] and those of the source.
    pub fn opened_bytes(&mut self) -> Result<Option<&[u8]>, ReadError> {
        let offset = self.window.position();
        let end = self.frames.last().and_then(|frame| frame.end);
        let Some(length) = end
            .and_then(|end| usize::try_from(end.saturating_sub(offset)).ok())
            .filter(|length| *length <= HELD_MAXIMUM)
        else {
            return Ok(None);
        };
        let bytes = self.window.peek(length)?;
        if bytes.len() < length { Err(ReadError::Truncated { offset }) } else { Ok(Some(bytes)) }
    }

    /// The next part of the current value or fragment, empty when all has been taken. The caller may change the
    /// bytes: they are not read again unless the reader is rewound.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] and those of the source.
    pub fn part(&mut self) -> Result<Part<'_, S>, ReadError> {
        let offset = self.window.position();
        if self.pending > 0 && self.window.peek_some(self.pending)?.is_empty() {
            return Err(ReadError::Truncated { offset });
        }
        Ok(Part { reader: self })
    }

    /// How much of the current value or fragment is left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.pending
    }

    /// Leaves the sequence or encapsulated value that was just opened, unread where its length is known.
    ///
    /// # Errors
    /// As [`Reader::next_event`].
    pub fn skip_opened(&mut self) -> Result<(), ReadError> {
        self.skip_value()?;
        let Some(frame) = self.frames.last().copied() else { return Ok(()) };
        if let Some(end) = frame.end {
            self.advance(end.saturating_sub(self.window.position()))?;
            self.close(frame);
            return Ok(());
        }
        let level = self.frames.len();
        while self.frames.len() >= level {
            if let Event::End = self.next_event()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn skip_value(&mut self) -> Result<(), ReadError> {
        let pending = std::mem::take(&mut self.pending);
        if pending == 0 { Ok(()) } else { self.advance(pending) }
    }

    fn advance(&mut self, count: u64) -> Result<(), ReadError> {
        let offset = self.window.position();
        if self.window.skip(count)? == count { Ok(()) } else { Err(ReadError::Truncated { offset }) }
    }

    fn push(&mut self, kind: Kind, end: Option<u64>) -> Result<(), ReadError> {
        if kind != Kind::Item && self.depth() >= DEPTH_MAXIMUM {
            return Err(ReadError::Depth);
        }
        self.frames.push(Frame { kind, end, outer: self.encoding });
        if end.is_some() {
            self.limit = end;
        }
        Ok(())
    }

    fn close(&mut self, frame: Frame) -> Event {
        self.frames.pop();
        self.encoding = frame.outer;
        if frame.end.is_some() {
            let outer = self.frames.iter().rev().find_map(|frame| frame.end);
            self.limit = outer.or_else(|| self.window.length());
        }
        match frame.kind {
            Kind::Sequence => Event::SequenceEnd,
            Kind::Item => Event::ItemEnd,
            Kind::Fragments => Event::FragmentsEnd,
        }
    }

    fn wrong<T>(&self, what: &'static str) -> Result<T, ReadError> {
        Err(ReadError::Structure { offset: self.window.position(), what })
    }

    /// Where a value of `length` from here on ends, if that is inside of everything around it.
    fn end_of(&self, length: u32) -> Result<u64, ReadError> {
        let here = self.window.position();
        let end = here.saturating_add(u64::from(length));
        match self.limit {
            Some(limit) if end > limit && self.window.length() == Some(limit) => {
                Err(ReadError::Truncated { offset: here })
            }
            Some(limit) if end > limit => self.wrong("the value is longer than what holds it"),
            _ => Ok(end),
        }
    }

    fn delimiter(&mut self) -> Result<(Tag, u32), ReadError> {
        let offset = self.window.position();
        let Ok([a, b, c, d, e, f, g, h]) = <[u8; 8]>::try_from(self.window.peek(8)?) else {
            return Err(ReadError::Truncated { offset });
        };
        self.advance(8)?;
        Ok((self.encoding.tag([a, b, c, d]), self.encoding.u32([e, f, g, h])))
    }

    fn next_item(&mut self, frame: Frame) -> Result<Event, ReadError> {
        match self.delimiter()? {
            (Tag::ITEM, UNDEFINED) => self.push(Kind::Item, None)?,
            (Tag::ITEM, length) => {
                let end = self.end_of(length)?;
                self.push(Kind::Item, Some(end))?;
            }
            (Tag::SEQUENCE_END, _) if frame.end.is_none() => return Ok(self.close(frame)),
            _ => return self.wrong("a sequence holds something that is not an item"),
        }
        Ok(Event::Item)
    }

    fn next_fragment(&mut self, frame: Frame) -> Result<Event, ReadError> {
        match self.delimiter()? {
            (Tag::ITEM, UNDEFINED) => self.wrong("a fragment has no length"),
            (Tag::ITEM, length) => {
                self.end_of(length)?;
                self.pending = u64::from(length);
                Ok(Event::Fragment(length))
            }
            (Tag::SEQUENCE_END, _) => Ok(self.close(frame)),
            _ => self.wrong("an encapsulated value holds something that is not a fragment"),
        }
    }

    fn next_element(&mut self, item: Option<Frame>) -> Result<Event, ReadError> {
        let offset = self.window.position();
        let encoding = self.encoding;
        let bytes = self.window.peek(12)?;
        let Some(&[a, b, c, d, e, f, g, h]) = bytes.first_chunk::<8>() else {
            if item.is_some() {
                return Err(ReadError::Truncated { offset });
            }
            // Fewer bytes than a header has, behind the last element of the file, are padding.
            self.ended = true;
            return Ok(Event::End);
        };
        let tag = encoding.tag([a, b, c, d]);
        if tag.group() == 0xFFFE {
            return self.end_item(tag, item);
        }
        if tag.0 == 0 && item.is_none() {
            self.ended = true;
            return Ok(Event::End);
        }
        let written = Vr([e, f]);
        let implicit =
            encoding == Encoding::ImplicitLittle || !(e.is_ascii_uppercase() && f.is_ascii_uppercase());
        let (vr, size, length) = if implicit {
            (self.dictionary.vr(tag).unwrap_or(Vr::UN), 8, encoding.u32([e, f, g, h]))
        } else if written.has_short_length() {
            (written, 8, u32::from(encoding.u16([g, h])))
        } else if let Some(&[.., i, j, k, l]) = bytes.first_chunk::<12>() {
            (written, 12, encoding.u32([i, j, k, l]))
        } else {
            return Err(ReadError::Truncated { offset });
        };
        self.advance(size)?;
        self.opened(Header { tag, vr, length })
    }

    fn opened(&mut self, header: Header) -> Result<Event, ReadError> {
        let Header { tag, vr, length } = header;
        if length != UNDEFINED {
            let end = self.end_of(length)?;
            if vr == Vr::SQ {
                self.push(Kind::Sequence, Some(end))?;
                return Ok(Event::Sequence(header));
            }
            self.pending = u64::from(length);
            return Ok(Event::Element(header));
        }
        match &vr.0 {
            _ if tag == Tag::PIXEL_DATA => {
                self.push(Kind::Fragments, None)?;
                Ok(Event::Fragments(header))
            }
            b"SQ" => {
                self.push(Kind::Sequence, None)?;
                Ok(Event::Sequence(header))
            }
            // PS3.5 section 6.2.2: the content of UN without a length is implicit little endian.
            b"UN" => {
                self.push(Kind::Sequence, None)?;
                self.encoding = Encoding::ImplicitLittle;
                Ok(Event::Sequence(header))
            }
            b"OB" | b"OW" | b"ox" => {
                self.push(Kind::Fragments, None)?;
                Ok(Event::Fragments(header))
            }
            _ => self.wrong("an element that is no sequence has no length"),
        }
    }

    fn end_item(&mut self, tag: Tag, item: Option<Frame>) -> Result<Event, ReadError> {
        match item {
            Some(frame) if tag == Tag::ITEM_END && frame.end.is_none() => {
                self.advance(8)?;
                Ok(self.close(frame))
            }
            _ => self.wrong("a delimiter stands where an element should"),
        }
    }
}

impl<S: Source> Reader<Input<S>> {
    /// Whether nothing but null bytes stands behind the data set, in the inflated bytes and in the file. To be asked
    /// after [`Event::End`]; it reads to the end of the file.
    ///
    /// # Errors
    /// Those of the source.
    pub fn only_padding_left(&mut self) -> Result<bool, ReadError> {
        Ok(self.window.only_padding_left()?
            && match self.window.source_mut() {
                Input::Plain(_) => true,
                Input::Deflated(inflater) => inflater.only_padding_left()?,
            })
    }
}

/// Some bytes of a value, at least one unless the value has been taken whole.
pub struct Part<'a, S: Source> {
    reader: &'a mut Reader<S>,
}

impl<S: Source> Part<'_, S> {
    /// The bytes.
    ///
    /// # Errors
    /// Those of the source.
    pub fn bytes(&mut self) -> Result<&mut [u8], ReadError> {
        self.reader.window.peek_some(self.reader.pending)
    }

    /// Goes on by `count` bytes of the value.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] and those of the source.
    pub fn take(self, count: usize) -> Result<(), ReadError> {
        let count = (count as u64).min(self.reader.pending);
        self.reader.pending -= count;
        self.reader.advance(count)
    }
}
