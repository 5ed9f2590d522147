//! What an encapsulated image carries beside its pixels: offset tables, comments in its frames, and what stands behind
//! the end of a frame.
//!
//! None is looked at by who only shows the image, so each may hold anything. A table stays where it says what is so;
//! the rest is blanked in place, so that offsets and lengths hold.

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

    pub(crate) const fn basic_holds(&self) -> bool {
        !self.basic_wrong
    }

    /// Whether (7FE0,0001) and (7FE0,0002) hold. Without fragments there is nothing that they could say.
    pub(crate) const fn extended_holds(&self) -> bool {
        self.checked && !self.extended_wrong
    }
}

/// How the frames of a transfer syntax begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    /// With markers: JPEG, JPEG-LS, JPEG 2000, HTJ2K.
    Marked,
    /// With sixteen numbers.
    RunLength,
    /// In a way that is not looked into.
    Opaque,
}

impl Frames {
    pub(crate) fn of(syntax: &str) -> Self {
        match syntax {
            "1.2.840.10008.1.2.5" => Self::RunLength,
            // Deflated frames, JPEG XL.
            "1.2.840.10008.1.2.8.1"
            | "1.2.840.10008.1.2.4.110"
            | "1.2.840.10008.1.2.4.111"
            | "1.2.840.10008.1.2.4.112" => Self::Opaque,
            _ => Self::Marked,
        }
    }
}

/// Blanks comments and application data of frames, and what stands behind the end of an image, as they stream past in
/// parts of any size.
#[derive(Debug)]
pub(crate) struct Comments {
    frames: Frames,
    state: State,
    /// Whether any byte was changed.
    pub(crate) any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Where a frame may begin: whether its first byte has been seen, and what follows where none does.
    Begin(bool, Else),
    /// Where a marker should begin, or its fill bytes.
    Fill,
    /// Behind the 0xFF of a marker.
    Marker,
    /// In the length of the segment of this marker: the bytes seen, the upper one.
    Length(u8, u8, u8),
    /// In a segment that stays and that further markers follow: bytes left.
    Keep(u16),
    /// In a segment that stays and that compressed data follow: bytes left.
    Scan(u16),
    /// In application data that decoders know, of this marker: position, bytes left.
    Known(u8, u16, u16),
    /// In a segment that is blanked: bytes left.
    Blank(u16),
    /// In compressed data.
    Data,
    /// Behind an 0xFF in compressed data.
    DataMarker,
    /// Behind the end of an image: whether the last byte was 0xFF.
    Behind(bool),
    /// In the header of a run-length frame: position, segments.
    Segments(u8, u8),
    /// In what is not looked at.
    Opaque,
}

/// What a fragment that begins no frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Else {
    /// Nothing that is known.
    Opaque,
    /// The frame that the last fragment left open.
    Data,
    /// No part of any image.
    Behind,
}

impl Comments {
    pub(crate) const fn new(frames: Frames) -> Self {
        Self { frames, state: State::Opaque, any: false }
    }

    /// A fragment begins. What the last one left open goes on in it.
    pub(crate) const fn fragment(&mut self) {
        self.state = match (self.frames, self.state) {
            (Frames::Opaque, _) => State::Opaque,
            (Frames::RunLength, State::Opaque) => State::Segments(0, 0),
            (Frames::Marked, State::Opaque) => State::Begin(false, Else::Opaque),
            (Frames::Marked, State::Data) => State::Begin(false, Else::Data),
            (Frames::Marked, State::Behind(_)) => State::Begin(false, Else::Behind),
            (_, State::Begin(_, other)) => State::Begin(false, other),
            (_, open) => open,
        };
    }

    /// Goes over the next bytes of the fragment.
    pub(crate) fn blank(&mut self, mut bytes: &mut [u8]) {
        loop {
            match self.state {
                State::Opaque => return,
                // Nearly all bytes of an image: only an 0xFF is looked at.
                State::Data => {
                    let marker = bytes.iter().position(|byte| *byte == 0xFF);
                    let Some(rest) = marker.and_then(|at| bytes.get_mut(at + 1..)) else { return };
                    (self.state, bytes) = (State::DataMarker, rest);
                }
                _ => {
                    let Some((byte, rest)) = bytes.split_first_mut() else { return };
                    let before = *byte;
                    self.step(byte);
                    if matches!(self.state, State::Keep(0) | State::Blank(0) | State::Known(_, _, 0)) {
                        self.state = State::Fill;
                    } else if self.state == State::Scan(0) {
                        self.state = State::Data;
                    }
                    self.any |= *byte != before;
                    bytes = rest;
                }
            }
        }
    }

    fn step(&mut self, byte: &mut u8) {
        let before = *byte;
        self.state = match self.state {
            State::Begin(false, _) | State::Behind(false) if before == 0xFF => match self.state {
                State::Begin(_, other) => State::Begin(true, other),
                _ => State::Behind(true),
            },
            // Start of image, start of codestream.
            State::Begin(true, _) | State::Behind(true) if matches!(before, 0xD8 | 0x4F) => State::Fill,
            State::Begin(_, Else::Opaque) => State::Opaque,
            State::Begin(false, Else::Data) => State::Data,
            State::Begin(true, Else::Data) | State::DataMarker => in_data(before),
            State::Behind(_) if before == 0xFF => State::Behind(true),
            State::Begin(_, Else::Behind) | State::Behind(_) => {
                *byte = 0;
                State::Behind(false)
            }
            State::Fill if before == 0xFF => State::Marker,
            State::Fill => State::Data,
            State::Marker => match before {
                0xFF => State::Marker,
                // Markers without a segment.
                0x01 | 0x30..=0x3F | 0xD0..=0xD8 => State::Fill,
                0x00 | 0x93 => State::Data,
                0xD9 => State::Behind(false),
                marker => State::Length(marker, 0, 0),
            },
            State::Length(marker, 0, _) => State::Length(marker, 1, before),
            State::Length(marker, _, upper) => segment(marker, u16::from_be_bytes([upper, before])),
            State::Keep(left) => State::Keep(left - 1),
            State::Scan(left) => State::Scan(left - 1),
            State::Blank(left) => {
                *byte = 0;
                State::Blank(left - 1)
            }
            State::Known(marker, at, left) => match known(marker, at, before) {
                Some(now) => {
                    *byte = now;
                    State::Known(marker, at + 1, left - 1)
                }
                None => {
                    *byte = 0;
                    State::Blank(left - 1)
                }
            },
            State::Segments(at, count) => {
                let count = if at == 0 { before } else { count };
                // One to fifteen segments, the first behind the header; anything else is no header.
                let fits = match at {
                    0 => (1..=15).contains(&before),
                    4 => before == 64,
                    1..=7 => before == 0,
                    _ => true,
                };
                if fits && u16::from(at) >= 4 + 4 * u16::from(count) {
                    *byte = 0;
                }
                if at == 63 || !fits { State::Opaque } else { State::Segments(at + 1, count) }
            }
            state @ (State::Data | State::Opaque) => state,
        };
    }
}

/// What follows an 0xFF and this byte in compressed data. No coder makes a number from 0x90 on behind an 0xFF: JPEG
/// stuffs a null byte, JPEG-LS a null bit (T.87 A.1), JPEG 2000 and HTJ2K leave those numbers to markers (T.800 B.10.1).
const fn in_data(byte: u8) -> State {
    match byte {
        0xFF => State::DataMarker,
        // Restart, end of packet header.
        ..=0x8F | 0x92 | 0x93 | 0xD0..=0xD7 => State::Data,
        0xD8 => State::Fill,
        0xD9 => State::Behind(false),
        marker => State::Length(marker, 0, 0),
    }
}

/// What to do with a segment whose length, its own two bytes included, is `length`.
const fn segment(marker: u8, length: u16) -> State {
    let Some(left) = length.checked_sub(2) else { return State::Data };
    match marker {
        // Start of scan, start of packet.
        0xDA | 0x91 if left == 0 => State::Data,
        0xDA | 0x91 => State::Scan(left),
        _ if left == 0 => State::Fill,
        0xE0 | 0xE8 | 0xEE => State::Known(marker, 0, left),
        // Application data and comments of JPEG, comments of JPEG 2000.
        0xE1..=0xEF | 0xFE | 0x64 => State::Blank(left),
        _ => State::Keep(left),
    }
}

/// The byte to write at `at` of application data that decoders choose colours by; none where this is no such data.
/// JFIF, Adobe's and Hewlett-Packard's ("mrfx") say how colours were transformed. Resolutions and versions are set.
fn known(marker: u8, at: u16, byte: u8) -> Option<u8> {
    const JFIF: &[u8] = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0";
    const ADOBE: &[u8] = b"Adobe\0\x64\0\0\0\0";
    let at = usize::from(at);
    let (text, word) = match marker {
        0xE0 => (JFIF, 5),
        0xEE => (ADOBE, 5),
        _ => (b"mrfx".as_slice(), 4),
    };
    match text.get(at) {
        Some(expected) if at < word => (byte == *expected).then_some(byte),
        Some(set) => Some(*set),
        // The transformation.
        None if marker != 0xE0 && at == text.len() && byte < 6 => Some(byte),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame after blanking, fed in parts of each size: the state must not depend on where a part ends.
    fn blanked(frames: Frames, fragments: &[&[u8]]) -> Vec<Vec<u8>> {
        let of_parts = |size: usize| {
            let mut comments = Comments::new(frames);
            let mut all = Vec::new();
            for fragment in fragments {
                comments.fragment();
                let mut bytes = fragment.to_vec();
                bytes.chunks_mut(size).for_each(|part| comments.blank(part));
                all.push(bytes);
            }
            all
        };
        let whole = of_parts(4096);
        for size in 1..8 {
            assert_eq!(of_parts(size), whole, "{size}");
        }
        whole
    }

    fn segment_of(marker: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
        [&[0xFF, marker], length.as_slice(), payload].concat()
    }

    fn holds(bytes: &[u8], what: &[u8]) -> bool {
        bytes.windows(what.len()).any(|window| window == what)
    }

    #[test]
    fn comments_and_application_data_of_a_frame_are_blanked_in_place() {
        let quantisation = segment_of(0xDB, &[7; 65]);
        for begin in [0xD8, 0x4F] {
            let comment = segment_of(if begin == 0xD8 { 0xFE } else { 0x64 }, b"\0\x01ZZMARK");
            let exif = segment_of(0xE1, b"Exif\0\0ZZMARK");
            let jfif = segment_of(0xE0, b"JFIF\0\x01\x02\x01ZZMMARKZZMARK");
            let other = segment_of(0xE0, b"JFIXZZMARK");
            let adobe = segment_of(0xEE, b"Adobe\0\x64\x80\0\0\0\x01");
            let scan = segment_of(if begin == 0xD8 { 0xDA } else { 0x90 }, b"pixels FF FE ZZPIXEL");
            let parts = [&[0xFF, begin], &*comment, &exif, &jfif, &other, &adobe, &quantisation, &scan];
            let frame = parts.concat();
            let out = blanked(Frames::Marked, &[&frame]).remove(0);
            assert_eq!(out.len(), frame.len());
            assert!(!holds(&out, b"ZZM") && !holds(&out, b"MARK") && !holds(&out, b"Exif"));
            assert!(
                out.ends_with(&[quantisation.as_slice(), &scan].concat()),
                "what decodes the pixels stays"
            );
            assert!(
                holds(&out, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0") && holds(&out, b"Adobe\0\x64\0\0\0\0\x01")
            );
        }
    }

    /// Compressed data with what looks like a marker and is none.
    const PIXELS: &[u8] = b"pixels \xFF\0 \xFF\x7F ZZPIXEL \xFF\xD0 rest";

    #[test]
    fn comments_between_scans_and_in_tile_parts_are_blanked_and_what_decodes_stays() {
        let tables = segment_of(0xC4, &[5; 30]);
        let scan = [segment_of(0xDA, b"\x01\0"), PIXELS.to_vec()].concat();
        let jpeg: [&[u8]; 7] =
            [&[0xFF, 0xD8], &scan, &segment_of(0xFE, b"ZZMARK"), &tables, &scan, &[0xFF], &[0xD9]];
        let tile = segment_of(0x90, &[0, 0, 0, 0, 0, 99, 0, 1]);
        let packet = [segment_of(0x91, &[0, 1]), b"\xFF\x92".to_vec(), PIXELS[..18].to_vec()].concat();
        let (start, size, comment) =
            (&[0xFF, 0x4F], segment_of(0x51, &[3; 40]), segment_of(0x64, b"\0\x01ZZMARK"));
        let (data, end) = (&[0xFF, 0x93], &[0xFF, 0xD9]);
        let jpeg2000: [&[u8]; 10] =
            [start, &size, &tile, &comment, data, &packet, &tile, &comment, data, &[&*packet, end].concat()];
        for parts in [jpeg.as_slice(), &jpeg2000] {
            let frame = parts.concat();
            let out = blanked(Frames::Marked, &[&frame]).remove(0);
            let expected: Vec<u8> = parts
                .iter()
                .flat_map(|part| {
                    let comment = matches!(part, [0xFF, 0xFE | 0x64, ..]);
                    part.iter().enumerate().map(move |(at, byte)| if comment && at > 3 { 0 } else { *byte })
                })
                .collect();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_stands_behind_the_end_of_an_image_is_blanked_in_its_fragment_and_in_further_ones() {
        let scan = [segment_of(0xDA, b"\x01\0"), PIXELS.to_vec()].concat();
        let frame = [&[0xFF, 0xD8], scan.as_slice(), &[0xFF, 0xD9]].concat();
        let tail = b"ZZMARK \xFF ZZMARK";
        let out = blanked(Frames::Marked, &[&[&*frame, tail].concat(), tail, &frame, &frame]);
        assert!(out[0].starts_with(&frame) && out[2] == frame && out[3] == frame);
        assert!(!holds(&out[0], b"MARK") && !holds(&out[1], b"MARK"));
        // An image in several fragments, cut anywhere.
        for cut in 2..frame.len() {
            let (one, two) = frame.split_at(cut);
            let out = blanked(Frames::Marked, &[one, &[two, tail].concat()]);
            assert_eq!((out[0].as_slice(), out[1].starts_with(two)), (one, true), "{cut}");
            assert!(!holds(&out[1], b"MARK"), "{cut}");
        }
        // Two images in one fragment are two images.
        let both = [&*frame, &frame].concat();
        assert_eq!(blanked(Frames::Marked, &[&both]), [both]);
    }

    #[test]
    fn a_comment_that_goes_on_in_the_next_fragment_is_blanked_there() {
        let comment = segment_of(0xFE, b"ZZMARKONE and ZZMARKTWO");
        let frame = [&[0xFF, 0xD8], comment.as_slice(), &segment_of(0xDA, b"rest")].concat();
        for cut in 1..frame.len() {
            let (one, two) = frame.split_at(cut);
            // A cut between the two bytes of the begin leaves nothing that a decoder would take for a frame.
            if cut > 1 {
                assert!(
                    !blanked(Frames::Marked, &[one, two]).iter().any(|part| holds(part, b"MARK")),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn numbers_behind_the_segments_of_a_run_length_frame_are_zeroed() {
        let mut frame = vec![2, 0, 0, 0, 64, 0, 0, 0, 80, 0, 0, 0];
        frame.resize(64, b'Z');
        frame.extend_from_slice(b"pixels");
        let out = blanked(Frames::RunLength, &[&frame, &frame]);
        for part in out {
            assert_eq!(part.get(..12), frame.get(..12));
            assert_eq!(part.get(12..64), Some([0; 52].as_slice()));
            assert!(part.ends_with(b"pixels"));
        }
        // A frame that goes on in the next fragment begins with pixels.
        let pixels = [b'Z'; 80];
        assert_eq!(blanked(Frames::RunLength, &[&pixels]), [pixels]);
    }
}
