//! The compressed frames of an object: whether each byte of their fragments is one that a decoder needs.
//!
//! Nothing is decoded but the run-lengths of RLE and deflated frames, which are short to tell. Of the others the structure is
//! followed from the first marker to the last, and what lies between is searched for text.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use crate::bytes::{Bytes, Window};
use crate::finding::Finding;
use crate::judge::tags;
use crate::residual;
use crate::segments::{Jpeg2000, Line, fits_jpeg, odd, reads, says_something};

/// What is fetched at once.
const FETCH: u64 = 64 << 10;

/// What of it is searched again with what comes next.
const CARRIED: usize = 128;

/// A fragment: where it begins and how long it is.
pub(crate) type Span = (u64, u32);

/// What the object says of its frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    pub(crate) frames: u64,
    pub(crate) pixels: u64,
    pub(crate) samples: u64,
    pub(crate) allocated: u64,
}

fn comment() -> Finding {
    Finding::policy("frame-comment", tags::PIXELS)
}

/// Judges all fragments behind the offset table.
pub(crate) fn judge<B: Bytes + ?Sized>(
    window: &mut Window<'_, B>,
    spans: &[Span],
    syntax: &str,
    image: Image,
) -> Result<(), Finding> {
    let one_each = spans.len() as u64 == image.frames;
    let number = syntax.strip_prefix("1.2.840.10008.1.2.").unwrap_or_default();
    let plain = matches!(number, "5" | "8.1" | "4.110" | "4.111" | "4.112");
    if plain && !one_each || spans.is_empty() || image.frames == 0 {
        return Err(odd());
    }
    if plain || one_each {
        for span in spans {
            let mut frame = Frame::new(window, std::slice::from_ref(span));
            match number {
                "5" => frame.run_lengths(image)?,
                "8.1" => frame.deflated(image)?,
                "4.110" | "4.111" | "4.112" => frame.boxes()?,
                _ => frame.marked()?,
            }
            frame.nothing_behind()?;
        }
        return Ok(());
    }
    // Several fragments for a frame: it ends where its codestream does.
    let mut frame = Frame::new(window, spans);
    for _ in 0..image.frames {
        frame.marked()?;
        frame.nothing_behind()?;
    }
    // An only frame is all fragments together, and null bytes may follow it.
    while image.frames == 1 && frame.fetch()? {
        frame.nothing_behind()?;
    }
    if frame.fetch()? { Err(odd()) } else { Ok(()) }
}

/// A frame as it is read.
struct Frame<'f, 'a, B: Bytes + ?Sized> {
    window: &'f mut Window<'a, B>,
    spans: &'f [Span],
    /// Bytes fetched of the first of them.
    fetched: u64,
    held: Vec<u8>,
    at: usize,
    /// Bytes taken since the begin of the frame.
    taken: u64,
    /// Whether bytes are searched: those that a coder made.
    searched: bool,
}

impl<'f, 'a, B: Bytes + ?Sized> Frame<'f, 'a, B> {
    fn new(window: &'f mut Window<'a, B>, spans: &'f [Span]) -> Self {
        Self { window, spans, fetched: 0, held: Vec::new(), at: 0, taken: 0, searched: false }
    }

    /// Sees to it that a byte is held; says whether there is one. What is held is of one fragment.
    fn fetch(&mut self) -> Result<bool, Finding> {
        while self.at == self.held.len() {
            let Some((begin, length)) = self.spans.first().copied() else { return Ok(false) };
            let left = u64::from(length) - self.fetched;
            if left == 0 {
                (self.spans, self.fetched) = (self.spans.get(1..).unwrap_or_default(), 0);
                continue;
            }
            let count = left.min(FETCH);
            self.held.drain(..self.held.len().saturating_sub(CARRIED));
            self.at = self.held.len();
            let bytes = self.window.at(begin + self.fetched, usize::try_from(count).unwrap_or_default())?;
            self.held.extend_from_slice(bytes);
            self.fetched += count;
            if self.searched
                && let Some(code) = residual::in_frame(&self.held)
            {
                return Err(Finding::review(code, tags::PIXELS));
            }
        }
        Ok(true)
    }

    /// Bytes that are held and not taken.
    fn rest(&self) -> &[u8] {
        self.held.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) {
        self.at += count;
        self.taken += count as u64;
    }

    fn next(&mut self) -> Result<Option<u8>, Finding> {
        if !self.fetch()? {
            return Ok(None);
        }
        let byte = self.rest().first().copied();
        self.take(1);
        Ok(byte)
    }

    /// A byte that has to be there.
    fn byte(&mut self) -> Result<u8, Finding> {
        self.next()?.ok_or_else(odd)
    }

    fn number(&mut self, bytes: u8) -> Result<u64, Finding> {
        let mut number = 0;
        for _ in 0..bytes {
            number = number << 8 | u64::from(self.byte()?);
        }
        Ok(number)
    }

    /// Up to the end of the fragment only null bytes may stand.
    fn nothing_behind(&mut self) -> Result<(), Finding> {
        loop {
            if self.rest().iter().any(|byte| *byte != 0) {
                return Err(Finding::policy("padding-not-empty", tags::PIXELS));
            }
            self.take(self.rest().len());
            let Some((_, length)) = self.spans.first() else { return Ok(()) };
            if u64::from(*length) == self.fetched || !self.fetch()? {
                self.taken = 0;
                return Ok(());
            }
        }
    }

    /// JPEG, JPEG-LS, JPEG 2000, HTJ2K.
    fn marked(&mut self) -> Result<(), Finding> {
        (self.searched, self.taken) = (true, 0);
        match self.number(2)? {
            0xFFD8 => self.jpeg(),
            0xFF4F => self.jpeg2000(),
            _ => Err(odd()),
        }
    }

    /// The content of a marker segment.
    fn segment(&mut self) -> Result<Vec<u8>, Finding> {
        let length = self.number(2)?.checked_sub(2).ok_or_else(odd)?;
        (0..length).map(|_| self.byte()).collect()
    }

    /// Compressed data up to an 0xFF that is followed by a byte that `is_data` does not know, which is returned; none
    /// where the frame is cut off. At most `most` bytes.
    fn data(&mut self, most: u64, is_data: impl Fn(u8) -> bool) -> Result<Option<u8>, Finding> {
        let (mut line, end) = (Line::default(), self.taken.saturating_add(most));
        while self.taken < end && self.fetch()? {
            let left = usize::try_from(end - self.taken).unwrap_or(usize::MAX);
            let bytes = self.rest();
            let bytes = bytes.get(..left).unwrap_or(bytes);
            let mark = bytes.iter().position(|byte| *byte == 0xFF);
            if bytes
                .get(..mark.unwrap_or(bytes.len()))
                .unwrap_or_default()
                .iter()
                .any(|byte| line.goes_on(*byte))
            {
                return Err(odd());
            }
            self.take(mark.map_or(bytes.len(), |mark| mark + 1));
            if mark.is_none() || self.taken == end {
                continue;
            }
            line = Line::default();
            match self.next()? {
                Some(byte) if !is_data(byte) => return Ok(Some(byte)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn jpeg(&mut self) -> Result<(), Finding> {
        let (mut found, mut near_lossless) = (None, false);
        loop {
            let marker = match found.take() {
                Some(marker) => marker,
                None if self.byte()? == 0xFF => self.byte()?,
                None => return Err(odd()),
            };
            match marker {
                0xD9 => return Ok(()),
                // Fill.
                0xFF => found = Some(self.byte()?),
                0x01 | 0xD0..=0xD7 => {}
                0xC0..=0xC7 | 0xC9..=0xCF | 0xDA..=0xEF | 0xF7 | 0xF8 | 0xFE => {
                    let content = self.segment()?;
                    if says_something(marker, &content) {
                        return Err(comment());
                    }
                    if !fits_jpeg(marker, &content) || reads(marker, &content) {
                        return Err(odd());
                    }
                    near_lossless |= marker == 0xF7;
                    if marker == 0xDA {
                        let is_data =
                            |byte: u8| matches!(byte, 0 | 0xD0..=0xD7) || near_lossless && byte < 0x80;
                        found = self.data(u64::MAX, is_data)?;
                        // Cut off.
                        if found.is_none() {
                            return Ok(());
                        }
                    }
                }
                _ => return Err(odd()),
            }
        }
    }

    fn jpeg2000(&mut self) -> Result<(), Finding> {
        let mut header = Jpeg2000::default();
        // The end of the tile-part whose header is open.
        let mut tile = None;
        loop {
            let began = self.taken;
            if header.tiles > 0 && tile.is_none() && !self.fetch()? {
                // Cut off between two tile-parts.
                return header.all_announced();
            }
            let marker = self.number(2)?;
            match (marker, tile) {
                (0xFFD9, None) if header.tiles > 0 => return header.all_announced(),
                (0xFF30..=0xFF3F, _) => {}
                (0xFF90, None) => {
                    let content = self.segment()?;
                    let [tile_0, tile_1, a, b, c, d, _, _] = content[..] else { return Err(odd()) };
                    let length = u32::from_be_bytes([a, b, c, d]);
                    header.tile_part(u16::from_be_bytes([tile_0, tile_1]), length)?;
                    tile = Some(if length == 0 { u64::MAX } else { began + u64::from(length) });
                }
                (0xFF93, Some(end)) => {
                    header.bands_fit()?;
                    let most = end.checked_sub(self.taken).ok_or_else(odd)?;
                    // Starts and ends of packets, whose numbers may be anything, are told from markers by what follows.
                    let from = self.taken;
                    loop {
                        let most = most - (self.taken - from).min(most);
                        match self.data(most, |byte| byte < 0x90 || byte == 0x92)? {
                            Some(0x91) if self.number(2)? == 4 => {
                                self.number(2)?;
                            }
                            Some(0xD9) if end == u64::MAX => return header.all_announced(),
                            Some(_) => return Err(odd()),
                            None => break,
                        }
                    }
                    if self.taken > end {
                        return Err(odd());
                    }
                    tile = None;
                }
                (0xFF50..=0xFF53 | 0xFF55 | 0xFF5C..=0xFF61 | 0xFF64, _)
                    if header.tiles == 0 || tile.is_some() =>
                {
                    let content = self.segment()?;
                    let kind = marker.to_be_bytes()[7];
                    if says_something(kind, &content) {
                        return Err(comment());
                    }
                    if !header.fits(kind, &content) || reads(kind, &content) {
                        return Err(odd());
                    }
                }
                _ => return Err(odd()),
            }
        }
    }

    /// PS3.5 annex G: a header of 64 bytes, a segment for each byte of a pixel.
    fn run_lengths(&mut self, image: Image) -> Result<(), Finding> {
        let count = image.samples * image.allocated.div_ceil(8);
        let mut header = [0_u32; 16];
        for number in &mut header {
            *number = u32::from_le_bytes([self.byte()?, self.byte()?, self.byte()?, self.byte()?]);
        }
        let [said, begins @ ..] = header;
        let used = usize::try_from(count).ok().and_then(|count| begins.split_at_checked(count));
        let Some((begins, unused)) = used.filter(|_| u64::from(said) == count && count > 0) else {
            return Err(odd());
        };
        if unused.iter().any(|number| *number != 0) {
            return Err(odd());
        }
        for (segment, begin) in begins.iter().enumerate() {
            // Null bytes fill the segment before.
            while self.taken < u64::from(*begin) {
                if segment == 0 || self.byte()? != 0 {
                    return Err(odd());
                }
            }
            let end = begins.get(segment + 1).map_or(u64::MAX, |end| u64::from(*end));
            if self.taken != u64::from(*begin) || end <= self.taken {
                return Err(odd());
            }
            let mut left = image.pixels;
            while left > 0 && self.taken < end {
                // A frame that is cut off has fewer pixels, and nothing else.
                let Some(length) = self.next()? else { return Ok(()) };
                let (pixels, bytes) = match length {
                    0..=127 => (u64::from(length) + 1, u64::from(length) + 1),
                    128 => (0, 0),
                    _ => (257 - u64::from(length), 1),
                };
                left = left.checked_sub(pixels).ok_or_else(odd)?;
                if self.taken + bytes > end {
                    return Err(odd());
                }
                let mut skipped = 0;
                while skipped < bytes {
                    if !self.fetch()? {
                        return Err(odd());
                    }
                    let count = self.rest().len().min(usize::try_from(bytes - skipped).unwrap_or(usize::MAX));
                    self.take(count);
                    skipped += count as u64;
                }
            }
        }
        Ok(())
    }

    /// One deflate stream that gives the bytes of the pixels.
    fn deflated(&mut self, image: Image) -> Result<(), Finding> {
        let whole = (image.pixels * image.samples * image.allocated).div_ceil(8);
        let (mut state, mut block, mut inflated) =
            (InflateState::new_boxed(DataFormat::Raw), vec![0; 32 << 10], 0_u64);
        loop {
            let more = self.fetch()?;
            let step = inflate(&mut state, self.rest(), &mut block, MZFlush::None);
            self.take(step.bytes_consumed);
            inflated += step.bytes_written as u64;
            match step.status {
                // Filled to an even number; or two of three samples, where colours are shared by two pixels.
                Ok(MZStatus::StreamEnd)
                    if [whole, whole.next_multiple_of(2), whole / 3 * 2].contains(&inflated) =>
                {
                    return Ok(());
                }
                Ok(MZStatus::Ok) if inflated <= whole + 1 && (more || step.bytes_written > 0) => {}
                _ => return Err(odd()),
            }
        }
    }

    /// JPEG XL: a codestream, or boxes of which no other says anything (ISO/IEC 18181-2).
    fn boxes(&mut self) -> Result<(), Finding> {
        self.searched = true;
        if self.number(2)? == 0xFF0A {
            return self.codestream(u64::MAX);
        }
        // The rest of the signature.
        if [self.number(2)?, self.number(8)?] != [0x000C, 0x4A58_4C20_0D0A_870A] {
            return Err(odd());
        }
        while self.fetch()? {
            let (short, kind) = match self.number(1)? {
                // A byte of padding.
                0 if !self.fetch()? => return Ok(()),
                first => (first << 24 | self.number(3)?, self.number(4)?.to_be_bytes()),
            };
            let content = match short {
                0 => u64::MAX,
                1 => self.number(8)?.checked_sub(16).ok_or_else(odd)?,
                length => length.checked_sub(8).ok_or_else(odd)?,
            };
            match (&kind[4..], content) {
                (b"ftyp", 12) if [self.number(4)?, self.number(8)?] == [0x6A78_6C20, 0x6A78_6C20] => {}
                (b"jxll", 1) => {
                    self.byte()?;
                }
                (b"jxlc" | b"jxlp", 1..) => self.codestream(content)?,
                _ => return Err(odd()),
            }
        }
        Ok(())
    }

    fn codestream(&mut self, length: u64) -> Result<(), Finding> {
        let end = self.taken.saturating_add(length);
        let found = self.data(length, |_| true)?;
        let cut = found.is_some() || length != u64::MAX && self.taken != end;
        if cut { Err(odd()) } else { Ok(()) }
    }
}
