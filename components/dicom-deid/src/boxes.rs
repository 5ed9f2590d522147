//! One frame of JPEG XL, as its bytes stream past: a codestream by itself, or in the boxes of ISO/IEC 18181-2, of which
//! others hold Exif, XMP, JUMBF, what was left of a JPEG file, or anything.

use crate::codestream::{Run, odd};
use crate::refusal::Refusal;

/// The box that a container begins with: length, type, content.
const SIGNATURE: &[u8] = b"\0\0\0\x0CJXL \r\n\x87\n";

/// The content of the box behind it: brand, version, compatible brand.
const BRANDS: &[u8] = b"jxl \0\0\0\0jxl ";

/// The frame at work.
#[derive(Debug)]
pub(crate) struct Boxes {
    state: State,
    /// The header of a box, or the content of one that is known whole.
    held: Vec<u8>,
    text: Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the begin of the frame.
    Begin,
    /// In the header of a box.
    Header,
    /// In a box whose content can only be this: bytes left.
    Known(&'static [u8], u64),
    /// In a box that numbers parts or levels: bytes left.
    Number(u64),
    /// In the codestream: bytes left; none where it goes on to the end of the frame.
    Data(Option<u64>),
}

impl Boxes {
    pub(crate) fn new() -> Self {
        Self { state: State::Begin, held: Vec::new(), text: Run::default() }
    }

    /// The next frame begins.
    pub(crate) fn begin(&mut self) {
        (self.state, self.text) = (State::Begin, Run::default());
        self.held.clear();
    }

    /// No more bytes come of this frame. A byte of padding may stand behind its last box.
    pub(crate) fn finish(&self) -> Result<(), Refusal> {
        match self.state {
            State::Data(None) => Ok(()),
            State::Header if matches!(self.held.as_slice(), [] | [0]) => Ok(()),
            _ => Err(odd("a frame ends inside of a box")),
        }
    }

    /// Looks at the next bytes of the frame.
    pub(crate) fn look(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((byte, rest)) = bytes.split_first() {
            if let State::Data(left) = self.state {
                let most = left.map_or(bytes.len(), |left| {
                    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
                });
                let (data, rest) = bytes.split_at_checked(most).unwrap_or_default();
                self.text.feed(data)?;
                self.state = match left.map(|left| left - most as u64) {
                    Some(0) => State::Header,
                    left => State::Data(left),
                };
                bytes = rest;
                continue;
            }
            bytes = rest;
            self.held.push(*byte);
            let before = self.state;
            self.state = self.step()?;
            if before == State::Header && self.state != State::Header
                || matches!(self.state, State::Number(_))
            {
                self.held.clear();
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<State, Refusal> {
        let held = self.held.as_slice();
        match self.state {
            State::Begin if held == b"\xFF\x0A" => Ok(State::Data(None)),
            State::Begin if held == SIGNATURE => {
                self.held.clear();
                Ok(State::Header)
            }
            State::Begin if b"\xFF\x0A".starts_with(held) || SIGNATURE.starts_with(held) => Ok(State::Begin),
            State::Begin => Err(odd("a frame begins with no codestream")),
            State::Header => self.header(),
            State::Known(content, 1) if held == content => {
                self.held.clear();
                Ok(State::Header)
            }
            State::Known(_, 1) => Err(odd("a box of a frame says something else than it has to")),
            State::Known(content, left) => Ok(State::Known(content, left - 1)),
            State::Number(1) => {
                self.held.clear();
                Ok(State::Header)
            }
            State::Number(left) => Ok(State::Number(left - 1)),
            State::Data(left) => Ok(State::Data(left)),
        }
    }

    /// The header of a box: a length of 32 bits, a type, and a length of 64 bits where the first is one.
    fn header(&self) -> Result<State, Refusal> {
        let Some((&[a, b, c, d, kind @ ..], long)) = self.held.split_first_chunk::<8>() else {
            return Ok(State::Header);
        };
        let (length, header) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (None, 8),
            1 => match long.first_chunk::<8>() {
                Some(length) => (Some(u64::from_be_bytes(*length)), 16),
                None => return Ok(State::Header),
            },
            length => (Some(u64::from(length)), 8),
        };
        let left = length.map(|length| {
            length
                .checked_sub(header)
                .filter(|left| *left > 0)
                .ok_or_else(|| odd("a box of a frame holds nothing"))
        });
        let left = left.transpose()?;
        match (&kind, left) {
            (b"ftyp", Some(left)) if left == BRANDS.len() as u64 => Ok(State::Known(BRANDS, left)),
            (b"jxll", Some(1)) => Ok(State::Number(1)),
            (b"jxlc" | b"jxlp", left) => Ok(State::Data(left)),
            _ => Err(odd("a frame has a box that is none of the image")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8], content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len() + 8).unwrap().to_be_bytes(), kind, content].concat()
    }

    fn refused(frame: &[u8]) -> bool {
        let of_parts = |size: usize| {
            let mut boxes = Boxes::new();
            frame.chunks(size).try_for_each(|part| boxes.look(part)).and_then(|()| boxes.finish()).is_err()
        };
        let whole = of_parts(4096);
        assert!((1..8).all(|size| of_parts(size) == whole), "{frame:?}");
        whole
    }

    #[test]
    fn a_codestream_passes_by_itself_and_in_its_boxes_and_no_other_box_does() {
        let data = b"\xFF\x0A\x01\x02\x03";
        let front = [SIGNATURE, &boxed(b"ftyp", BRANDS)].concat();
        let with = |boxes: &[Vec<u8>]| [front.clone(), boxes.concat()].concat();
        for passes in [
            data.to_vec(),
            with(&[boxed(b"jxlc", data)]),
            with(&[boxed(b"jxll", b"\x05"), boxed(b"jxlp", data), boxed(b"jxlp", data), vec![0]]),
            with(&[[b"\0\0\0\x01jxlc\0\0\0\0\0\0\0\x15", &data[..]].concat()]),
            with(&[[b"\0\0\0\0jxlc", &data[..]].concat()]),
        ] {
            assert!(!refused(&passes), "{passes:?}");
        }
        for kind in [b"Exif", b"xml ", b"jumb", b"brob", b"jbrd", b"free"] {
            assert!(refused(&with(&[boxed(kind, b"\0\0\0\0DOE"), boxed(b"jxlc", data)])), "{kind:?}");
            assert!(refused(&with(&[boxed(b"jxlc", data), boxed(kind, b"\0\0\0\0DOE")])), "{kind:?}");
        }
        for odd in [
            b"DOE".to_vec(),
            [SIGNATURE, &boxed(b"ftyp", b"jxl \0\0\0\0DOE ")].concat(),
            with(&[boxed(b"jxll", b"DOE")]),
            with(&[boxed(b"jxlc", data), b"DOE".to_vec()]),
            with(&[[b"\0\0\0\x20jxlc", &data[..]].concat()]),
            [&data[..], b" for Jane Doe, born in May"].concat(),
        ] {
            assert!(refused(&odd), "{odd:?}");
        }
    }
}
