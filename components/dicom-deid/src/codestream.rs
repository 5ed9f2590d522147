//! One image of JPEG, JPEG-LS, JPEG 2000 or HTJ2K, as its bytes stream past in parts of any size.
//!
//! Whoever only shows the image looks at few of its marker segments, so the others may hold anything. Segments that ITU-T T.81,
//! T.87, T.800 (Annex A) and T.814 define and that decoding needs stay where they have exactly the length that their own
//! numbers give; comments, application data and every other segment are blanked in place as comments, so that offsets
//! and lengths hold; and where bytes stand that belong to nothing, the file is refused.

use crate::refusal::{Kind, Refusal};
use crate::segments::{Family, Segments};

/// A refusal of bytes that are none of the pixels', or cannot be told from them.
pub(crate) fn odd(why: &'static str) -> Refusal {
    Refusal::new(Kind::NeedsReview, "frame-data", why)
}

/// The image at work.
#[derive(Debug)]
pub(crate) struct Codestream {
    state: State,
    /// The marker whose segment is open.
    marker: u8,
    /// What the open segment holds, where it is one that stays.
    segment: Vec<u8>,
    segments: Segments,
    /// Bytes since the begin of the image.
    at: u64,
    text: Run,
    /// Whether any byte was changed.
    pub(crate) any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Where an image has to begin.
    Start,
    /// Behind the 0xFF of its first marker.
    Mark,
    /// Where a marker has to begin, or (in JPEG) its fill bytes.
    Fill,
    /// Behind the 0xFF of a marker.
    Marker,
    /// In the length of a segment: the bytes seen, the upper one.
    Length(u8, u8),
    /// In a segment that stays: bytes left.
    Keep(u16),
    /// In application data that decoders know: position, bytes left.
    Known(u16, u16),
    /// In a segment that is blanked: bytes left.
    Blank(u16),
    /// In compressed data.
    Data,
    /// Behind an 0xFF in compressed data.
    DataMarker,
    /// In the segment that starts a packet: position.
    Packet(u8),
    /// Behind the end of the image.
    Behind,
}

impl Codestream {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            marker: 0,
            segment: Vec::new(),
            segments: Segments::default(),
            at: 0,
            text: Run::default(),
            any: false,
        }
    }

    /// The next image begins.
    pub(crate) fn begin(&mut self) {
        (self.state, self.at, self.segments, self.text) =
            (State::Start, 0, Segments::default(), Run::default());
    }

    /// Whether the end of the image was met.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Behind
    }

    /// No more bytes come of this image. One that ends in the middle of its data is cut off, which hides nothing.
    pub(crate) fn finish(&self) -> Result<(), Refusal> {
        let ended = match self.state {
            State::Behind | State::Data | State::DataMarker => true,
            State::Fill => self.segments.is_between_tiles(),
            _ => false,
        };
        if ended && self.segments.is_complete() {
            return Ok(());
        }
        Err(odd("a frame ends in its header, or ahead of tile-parts that it announces"))
    }

    /// Goes over the next bytes of the image.
    pub(crate) fn clean(&mut self, mut bytes: &mut [u8]) -> Result<(), Refusal> {
        while !bytes.is_empty() {
            match self.state {
                State::Behind => {
                    self.any |= bytes.iter().any(|byte| *byte != 0);
                    bytes.fill(0);
                    return Ok(());
                }
                // Nearly all bytes of an image: only an 0xFF is looked at.
                State::Data => {
                    let most = match self.segments.tile_end {
                        None => bytes.len(),
                        Some(end) => {
                            let left = end
                                .checked_sub(self.at)
                                .ok_or_else(|| odd("a tile-part is longer than it says"))?;
                            usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
                        }
                    };
                    if most == 0 {
                        self.state = self.tile_ends();
                        continue;
                    }
                    let data = bytes.get(..most).unwrap_or_default();
                    let marker = data.iter().position(|byte| *byte == 0xFF);
                    self.text.feed(data.get(..marker.unwrap_or(most)).unwrap_or_default())?;
                    let count = marker.map_or(most, |at| at + 1);
                    self.at += count as u64;
                    if marker.is_some() {
                        self.text = Run::default();
                        self.state = State::DataMarker;
                        if self.segments.tile_end == Some(self.at) {
                            self.state = self.tile_ends();
                        }
                    }
                    bytes = std::mem::take(&mut bytes).get_mut(count..).unwrap_or_default();
                }
                _ => {
                    let Some((byte, rest)) = std::mem::take(&mut bytes).split_first_mut() else {
                        return Ok(());
                    };
                    let before = *byte;
                    self.at += 1;
                    self.state = self.step(byte)?;
                    self.any |= *byte != before;
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    fn tile_ends(&mut self) -> State {
        self.segments.tile_end = None;
        State::Fill
    }

    fn step(&mut self, byte: &mut u8) -> Result<State, Refusal> {
        let before = *byte;
        Ok(match self.state {
            State::Start if before == 0xFF => State::Mark,
            State::Mark if matches!(before, 0xD8 | 0x4F) => {
                self.segments.family = if before == 0xD8 { Family::Jpeg } else { Family::Jpeg2000 };
                State::Fill
            }
            State::Start | State::Mark => return Err(odd("a frame begins with no marker")),
            State::Fill if before == 0xFF => State::Marker,
            State::Fill => return Err(odd("bytes of a frame stand where a marker has to")),
            State::Marker if self.segments.family == Family::Jpeg2000 => self.marker_of_jpeg2000(byte)?,
            State::Marker => self.marker_of_jpeg(byte)?,
            State::Length(0, _) => State::Length(1, before),
            State::Length(_, upper) => self.opened(u16::from_be_bytes([upper, before]))?,
            State::Keep(left) => {
                self.segment.push(before);
                if left > 1 { State::Keep(left - 1) } else { self.closed()? }
            }
            State::Blank(left) => {
                *byte = 0;
                if left > 1 { State::Blank(left - 1) } else { State::Fill }
            }
            State::Known(at, left) => {
                let known = known(self.marker, at, before);
                *byte = known.unwrap_or(0);
                match (known, left) {
                    (_, ..=1) => State::Fill,
                    (Some(_), _) => State::Known(at + 1, left - 1),
                    (None, _) => State::Blank(left - 1),
                }
            }
            State::DataMarker => self.in_data(byte)?,
            // The length is four; the number of the packet may be anything.
            State::Packet(at @ 0..=1) if before != 4 * at => {
                return Err(odd("the start of a packet has another length than the standard's"));
            }
            State::Packet(3) => State::Data,
            State::Packet(at) => State::Packet(at + 1),
            state @ (State::Data | State::Behind) => state,
        })
    }

    /// What follows an 0xFF and this byte in the header of a JPEG image, or between its scans.
    fn marker_of_jpeg(&mut self, byte: &mut u8) -> Result<State, Refusal> {
        self.marker = *byte;
        Ok(match *byte {
            0xFF => State::Marker,
            // Temporary use, restarts.
            0x01 | 0xD0..=0xD7 => State::Fill,
            0xD9 => State::Behind,
            0x00 | 0xD8 => return Err(odd("a marker stands where none can")),
            0xC0..=0xC7 | 0xC9..=0xCF | 0xDA..=0xDF | 0xE0..=0xEF | 0xF7 | 0xF8 | 0xFE => State::Length(0, 0),
            // Reserved, or of extensions that no syntax of DICOM has: decoders go over them as over comments.
            _ => {
                *byte = 0xFE;
                self.marker = 0xFE;
                State::Length(0, 0)
            }
        })
    }

    /// The same in a header of JPEG 2000.
    fn marker_of_jpeg2000(&mut self, byte: &mut u8) -> Result<State, Refusal> {
        self.marker = *byte;
        let segments = &mut self.segments;
        if segments.is_between_tiles() && !matches!(*byte, 0x90 | 0xD9) {
            return Err(odd("bytes stand between the tile-parts of a frame"));
        }
        Ok(match *byte {
            // Reserved for markers without a segment.
            0x30..=0x3F => State::Fill,
            0x93 if segments.in_tile_header => {
                segments.data_begins()?;
                State::Data
            }
            0xD9 if segments.is_between_tiles() => State::Behind,
            0x90 if segments.in_tile_header => return Err(odd("a tile-part has no data")),
            0x90 | 0x50..=0x53 | 0x55 | 0x5C..=0x5F | 0x60 | 0x61 => State::Length(0, 0),
            // Part 2: arrays that the components are computed by.
            0x70..=0x7F => {
                return Err(odd("a frame has transforms of JPEG 2000 part 2, which may hold anything"));
            }
            ..=0x2F | 0x4F | 0x91..=0x93 | 0xD9 | 0xFF => return Err(odd("a marker stands where none can")),
            // Comments; what helps to find packets or says where components lie and to which profile a stream keeps;
            // what no part of the standard gives a decoder. None is needed.
            _ => {
                *byte = 0x64;
                self.marker = 0x64;
                State::Length(0, 0)
            }
        })
    }

    /// What follows an 0xFF and this byte in compressed data. No coder makes a number from 0x90 on behind an 0xFF: JPEG
    /// stuffs a null byte, JPEG-LS a null bit (T.87 A.1), JPEG 2000 and HTJ2K leave those numbers to markers (T.800 B.10.1).
    fn in_data(&mut self, byte: &mut u8) -> Result<State, Refusal> {
        match (self.segments.family, *byte) {
            (Family::Jpeg2000, ..=0x8F | 0x92) => Ok(State::Data),
            (Family::Jpeg2000, 0x91) => Ok(State::Packet(0)),
            // Of a last tile-part that does not say how long it is.
            (Family::Jpeg2000, 0xD9) if self.segments.tile_end.is_none() => Ok(State::Behind),
            (Family::Jpeg2000, _) => Err(odd("a marker stands in the data of a tile-part")),
            (_, 0x00 | 0xD0..=0xD7) | (Family::JpegLs, ..=0x7F) => Ok(State::Data),
            (_, 0xFF) => Ok(State::DataMarker),
            _ => self.marker_of_jpeg(byte),
        }
    }

    /// A segment whose length, its own two bytes included, is `length`, begins.
    fn opened(&mut self, length: u16) -> Result<State, Refusal> {
        let left = length.checked_sub(2).ok_or_else(|| odd("a marker segment is shorter than its length"))?;
        self.segment.clear();
        let comment = match self.segments.family {
            Family::Jpeg2000 => self.marker == 0x64,
            _ => matches!(self.marker, 0xE0..=0xEF | 0xFE),
        };
        Ok(match self.marker {
            _ if left == 0 && comment => State::Fill,
            _ if left == 0 => self.closed()?,
            0xE0 | 0xE8 | 0xEE if comment => State::Known(0, left),
            _ if comment => State::Blank(left),
            _ => State::Keep(left),
        })
    }

    /// A segment that stays has ended.
    fn closed(&mut self) -> Result<State, Refusal> {
        self.segments.judge(self.marker, &self.segment, self.at)?;
        // The usual Huffman tables hold the alphabet, and quantisation may look like text. All other numbers do not.
        if !matches!(self.marker, 0xC4 | 0xDB) {
            Run::default().feed(&self.segment)?;
        }
        // Packed packet headers are compressed data too, and go on from segment to segment.
        if self.segments.family == Family::Jpeg2000 && matches!(self.marker, 0x60 | 0x61) {
            self.text.feed(&self.segment)?;
        }
        Ok(if self.marker == 0xDA { State::Data } else { State::Fill })
    }
}

/// A run of what people write, in data that a coder has made: there chance makes none of this length.
#[derive(Debug, Default)]
pub(crate) struct Run {
    length: usize,
    /// Which letters, by their lower five bits.
    letters: u32,
}

impl Run {
    /// Characters in a row, and different ones among them. A byte of compressed data is one of these 73 characters with a
    /// chance of 2 in 7, so one in seventy thousand million bytes that chance makes begins such a run.
    const LENGTH: usize = 20;
    const LETTERS: u32 = 7;

    /// Goes over the next bytes: each twentieth is in such a run, and nearly all of those looked at are not.
    pub(crate) fn feed(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let mut at = self.follow(data)?;
        while let Some(window) = data.get(at..at + Self::LENGTH) {
            match window.iter().rposition(|byte| !is_text(*byte)) {
                Some(before) => at += before + 1,
                None => at += self.follow(data.get(at..).unwrap_or_default())?,
            }
        }
        // The last ones may be the begin of a run that goes on in the next part.
        let rest = data.get(at..).unwrap_or_default();
        if let Some(before) = rest.iter().rposition(|byte| !is_text(*byte)) {
            (self.length, self.letters) = (0, 0);
            self.follow(rest.get(before + 1..).unwrap_or_default())?;
        } else {
            self.follow(rest)?;
        }
        Ok(())
    }

    /// Goes on with a run to its end; says how many bytes belong to it.
    fn follow(&mut self, data: &[u8]) -> Result<usize, Refusal> {
        for (at, byte) in data.iter().enumerate() {
            if !is_text(*byte) {
                (self.length, self.letters) = (0, 0);
                return Ok(at);
            }
            self.length += 1;
            self.letters |= 1 << (byte & 31);
            if self.length >= Self::LENGTH && self.letters.count_ones() >= Self::LETTERS {
                return Err(odd("text stands in the compressed data of a frame"));
            }
        }
        Ok(data.len())
    }
}

const fn is_text(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b' ' | b'.' | b',' | b':' | b'^' | b'-' | b'/' | b'=' | b'_' | b'@' | b'+')
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

    /// The image after cleaning, fed in parts of each size: the state must not depend on where a part ends.
    fn cleaned(image: &[u8]) -> Result<Vec<u8>, Refusal> {
        let of_parts = |size: usize| {
            let mut stream = Codestream::new();
            let mut bytes = image.to_vec();
            bytes.chunks_mut(size).try_for_each(|part| stream.clean(part))?;
            stream.finish()?;
            Ok(bytes)
        };
        let whole = of_parts(4096);
        for size in 1..8 {
            assert_eq!(of_parts(size), whole, "{size}");
        }
        whole
    }

    fn refused(image: &[u8]) -> bool {
        cleaned(image)
            .err()
            .is_some_and(|refusal| refusal.code == "frame-data" && refusal.kind == Kind::NeedsReview)
    }

    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xFF, marker], length.as_slice(), content].concat()
    }

    fn holds(bytes: &[u8], what: &[u8]) -> bool {
        bytes.windows(what.len()).any(|window| window == what)
    }

    /// Compressed data with what looks like a marker and is none.
    const PIXELS: &[u8] = b"pixels \xFF\0 ZZPIXEL \xFF\xD0 rest";

    /// An image of one component, with further segments in its header, and what stands behind its data.
    fn jpeg(more: &[Vec<u8>], behind: &[u8]) -> Vec<u8> {
        let frame = segment(0xC0, &[8, 0, 1, 0, 1, 1, 1, 0x11, 0]);
        let scan = segment(0xDA, &[1, 1, 0, 0, 63, 0]);
        [b"\xFF\xD8".as_slice(), &more.concat(), &frame, &scan, PIXELS, behind].concat()
    }

    const END: &[u8] = b"\xFF\xD9";

    /// A tile-part with further segments in its header.
    fn tile_part(more: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(12 + more.concat().len() + 2 + data.len()).unwrap();
        let start = segment(0x90, &[&[0, 0], length.to_be_bytes().as_slice(), &[0, 1]].concat());
        [start.as_slice(), &more.concat(), b"\xFF\x93", data].concat()
    }

    /// An image of one component and one level, with further segments in its main header.
    fn jpeg2000(more: &[Vec<u8>], tile_parts: &[u8]) -> Vec<u8> {
        let mut size = [0; 39];
        size[35] = 1;
        let coding = segment(0x52, &[0, 0, 0, 1, 0, 1, 4, 4, 0, 1]);
        let steps = segment(0x5C, &[0x40, 8, 8, 8, 8]);
        [b"\xFF\x4F".as_slice(), &segment(0x51, &size), &coding, &steps, &more.concat(), tile_parts, END]
            .concat()
    }

    const PACKETS: &[u8] = b"\xFF\x91\0\x04\xFF\x90\xFF\x92pixels \xFF\x7F ZZPIXEL";

    #[test]
    fn comments_and_application_data_are_blanked_in_place_and_what_decodes_stays() {
        let more = [
            segment(0xFE, b"ZZMARK"),
            segment(0xE1, b"Exif\0\0ZZMARK"),
            segment(0xE0, b"JFIF\0\x01\x02\x01ZZMMARKZZMARK"),
            segment(0xE0, b"JFIXZZMARK"),
            segment(0xEE, b"Adobe\0\x64\x80\0\0\0\x01"),
            segment(0xC4, &[&[0, 2], [0; 15].as_slice(), &[1, 2]].concat()),
            segment(0xDB, &[7; 65].map(|it| if it == 7 { 0 } else { it })),
        ];
        let image = jpeg(&more, &[&segment(0xFE, b"ZZMARK"), END].concat());
        let out = cleaned(&image).unwrap();
        assert_eq!(out.len(), image.len());
        assert!(!holds(&out, b"ZZM") && !holds(&out, b"MARK") && !holds(&out, b"Exif"));
        assert!(holds(&out, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0") && holds(&out, b"Adobe\0\x64\0\0\0\0\x01"));
        assert!(holds(&out, PIXELS) && out.ends_with(END));
        let bare = jpeg(&more[5..], END);
        assert_eq!(cleaned(&bare).unwrap(), bare);
    }

    #[test]
    fn every_marker_segment_that_the_standard_does_not_define_becomes_an_empty_comment() {
        for marker in [0x02, 0x4F, 0xBF, 0xC8, 0xF0, 0xF6, 0xF9, 0xFD] {
            let image = jpeg(&[segment(marker, b"ZZMARK")], END);
            assert_eq!(cleaned(&image).unwrap(), jpeg(&[segment(0xFE, &[0; 6])], END), "{marker:02X}");
        }
        for marker in (0x40..=0xFE).filter(
            |marker| !matches!(marker, 0x4F..=0x53 | 0x55 | 0x5C..=0x61 | 0x70..=0x7F | 0x90..=0x93 | 0xD9),
        ) {
            let hidden = [segment(marker, b"ZZMARK")];
            let empty = [segment(0x64, &[0; 6])];
            let image = jpeg2000(&hidden, &tile_part(&hidden, PACKETS));
            assert_eq!(
                cleaned(&image).unwrap(),
                jpeg2000(&empty, &tile_part(&empty, PACKETS)),
                "{marker:02X}"
            );
        }
        for marker in 0x70..=0x7F {
            assert!(
                refused(&jpeg2000(&[segment(marker, b"ZZMARK")], &tile_part(&[], PACKETS))),
                "{marker:02X}"
            );
            assert!(
                refused(&jpeg2000(&[], &tile_part(&[segment(marker, b"ZZMARK")], PACKETS))),
                "{marker:02X}"
            );
        }
    }

    #[test]
    fn a_segment_that_stays_holds_what_its_numbers_say_and_no_more() {
        let precincts = [1, 0, 0, 1, 0, 1, 4, 4, 0, 1, 0x77, 0x88];
        for (marker, content) in [
            (0x50, [&[0, 2, 0, 0], [0, 1].as_slice()].concat()),
            (0x52, precincts.to_vec()),
            (0x53, vec![0, 0, 1, 4, 4, 0, 1]),
            (0x5C, vec![0x42, 1, 2, 3, 4, 5, 6, 7, 8]),
            (0x5C, vec![0x41, 1, 2]),
            (0x5D, vec![0, 0x40, 8, 8, 8, 8]),
            (0x5E, vec![0, 0, 1]),
            (0x5F, vec![0, 0, 0, 1, 1, 1, 0]),
        ] {
            let with = |content: &[u8]| jpeg2000(&[segment(marker, content)], &tile_part(&[], PACKETS));
            assert_eq!(cleaned(&with(&content)).unwrap(), with(&content), "{marker:02X}");
            assert!(refused(&with(&[&content, b"DOE".as_slice()].concat())), "{marker:02X}");
            assert!(refused(&with(content.get(1..).unwrap())) || marker == 0x5C, "{marker:02X}");
        }
        let size = segment(0x51, &[&[0; 35], [1, 7, 1, 1].as_slice(), b"DOE"].concat());
        assert!(refused(&[b"\xFF\x4F", size.as_slice()].concat()));
        for (marker, content) in [
            (0xC4, [&[0, 2], [0; 15].as_slice(), &[1, 2]].concat()),
            (0xDB, vec![0; 65]),
            (0xDD, vec![0, 8]),
            (0xCC, vec![0, 1]),
            (0xF8, vec![1, 0, 255, 0, 3, 0, 7, 0, 21, 0, 64]),
        ] {
            let with = |content: &[u8]| jpeg(&[segment(marker, content)], END);
            assert_eq!(cleaned(&with(&content)).unwrap(), with(&content), "{marker:02X}");
            assert!(refused(&with(&[&content, b"D".as_slice()].concat())), "{marker:02X}");
        }
    }

    #[test]
    fn numbers_of_a_segment_are_no_words() {
        let words = b"Doe John born in Springfield, seen by Doctor Smith ";
        // Progressions, each of seven bytes.
        assert!(refused(&jpeg2000(&[segment(0x5F, &words[..49])], &tile_part(&[], PACKETS))));
        let mapped = |kind: u8| [&[kind, 1, 1], words.as_slice()].concat();
        for (marker, content) in [(0xCC, words[..50].to_vec()), (0xF8, mapped(2)), (0xF8, mapped(3))] {
            assert!(refused(&jpeg(&[segment(marker, &content)], END)), "{marker:02X}");
        }
        for table in [[0x20, 1], [0x04, 1]] {
            assert!(refused(&jpeg(&[segment(0xCC, &table)], END)), "{table:?}");
        }
    }

    #[test]
    fn tile_parts_end_where_they_say_and_where_they_were_announced() {
        let part = tile_part(&[], PACKETS);
        let length = u8::try_from(part.len()).unwrap();
        let announced = |lengths: &[u8]| {
            let entries: Vec<u8> = lengths.iter().flat_map(|length| [0, 0, 0, 0, *length]).collect();
            segment(0x55, &[&[0, 0x50], entries.as_slice()].concat())
        };
        let two = [part.as_slice(), &part].concat();
        for whole in [jpeg2000(&[], &two), jpeg2000(&[announced(&[length, length])], &two)] {
            assert_eq!(cleaned(&whole).unwrap(), whole);
        }
        // The last part may go on to the end.
        let mut open = part.clone();
        open[6..10].fill(0);
        let open = jpeg2000(&[], &open);
        assert_eq!(cleaned(&open).unwrap(), open);
        let mut longer = part.clone();
        longer[9] += 1;
        for (image, why) in [
            (jpeg2000(&[], &[&part, b"DOE".as_slice(), &part].concat()), "bytes between two parts"),
            (jpeg2000(&[], &[&part, segment(0x64, b"DOE").as_slice()].concat()), "a comment behind a part"),
            (jpeg2000(&[], &[&longer, part.as_slice()].concat()), "a part that says that it is longer"),
            (jpeg2000(&[], &tile_part(&[], b"data \xFF\xA0\0\x05DOE")), "a marker in the data"),
            (jpeg2000(&[], &tile_part(&[], b"data \xFF\x91\0\x07DOE..")), "a longer start of a packet"),
            (jpeg2000(&[announced(&[length, 68])], &two), "another length than was announced"),
            (jpeg2000(&[announced(&[length, length, 68])], &two), "fewer parts than were announced"),
            (jpeg2000(&[], b""), "no tile-part"),
            (jpeg2000(&[segment(0x5C, &[0x40, 8, 8, 8, 8, 68, 79, 69])], &part), "steps of no subband"),
        ] {
            assert!(refused(&image), "{why}");
        }
    }

    #[test]
    fn bytes_that_belong_to_nothing_are_refused_in_a_header_and_blanked_behind_the_end() {
        assert!(refused(b"DOE") && refused(b"\xFFDOE") && refused(b"\0\0\0\x0CjP  \r\n\x87\n"));
        assert!(refused(&jpeg(&[segment(0xDB, &[0; 65]), b"DOE".to_vec()], END)));
        assert!(refused(&jpeg(&[], &[segment(0xDD, &[0, 1]).as_slice(), b"DOE", END].concat())));
        for image in [jpeg(&[], END), jpeg2000(&[], &tile_part(&[], PACKETS))] {
            let tailed = [&image, b"ZZMARK \xFF\xD8\xFF\xFE\0\x08ZZMARK".as_slice()].concat();
            let out = cleaned(&tailed).unwrap();
            assert!(out.starts_with(&image) && out.iter().skip(image.len()).all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_line_is_found_wherever_it_begins_and_however_the_data_are_cut() {
        let line = b"seen by Dr. Jane Doe";
        for begin in 0..64 {
            let data = [vec![1; begin], line.to_vec(), vec![2; 30]].concat();
            for cut in 0..data.len() {
                let (one, other) = data.split_at(cut);
                let mut run = Run::default();
                assert!(run.feed(one).and_then(|()| run.feed(other)).is_err(), "{begin} {cut}");
            }
        }
        let mut run = Run::default();
        let (one, other) = line.split_at(10);
        assert!([one, b"\x01", other, b"\x01", one, b"\x01 "].iter().all(|part| run.feed(part).is_ok()));
    }

    #[test]
    fn a_line_of_text_in_compressed_data_is_refused_and_what_coders_repeat_is_not() {
        let text = b"\x01 seen by Dr. Jane Doe in May \x02";
        assert!(refused(&jpeg(&[], &[text.as_slice(), END].concat())));
        assert!(refused(&jpeg2000(&[], &tile_part(&[], text))));
        assert!(refused(&jpeg2000(&[segment(0x60, text)], &tile_part(&[], PACKETS))));
        for noise in
            [b"QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ".as_slice(), b"abcabcabcabcabcabcabcabcabcabc", b"short Text"]
        {
            assert!(cleaned(&jpeg(&[], &[b"\x01", noise, END].concat())).is_ok(), "{noise:?}");
        }
    }
}
