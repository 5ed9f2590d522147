//! Finding and decoding single frames. One frame is in memory at a time.

use dicom_stream::{Encoding, Event, Reader, Source};

use crate::codec::{self, Decoded};
use crate::error::{RenderError, limit, malformed, unsupported};
use crate::header::{Header, Place};
use crate::layout::{Bits, Colour, Layout};
use crate::syntax::Codec;

/// Fragments of one object that we keep count of: 16 bytes each.
const MOST_FRAGMENTS: usize = 1 << 20;

/// Decodes the `wanted` frames (ascending) one after the other and hands each to `work`.
pub(crate) fn each<S: Source>(
    reader: &mut Reader<S>,
    header: &Header,
    codec: Codec,
    layout: &Layout,
    wanted: &[u32],
    mut work: impl FnMut(u32, Decoded) -> Result<(), RenderError>,
) -> Result<(), RenderError> {
    match header.place {
        Some(Place::Native { length, words }) if codec == Codec::Native => {
            let native = Native::new(layout, u64::from(length), words, reader.encoding())?;
            native.each(reader, wanted, work)
        }
        Some(Place::Encapsulated) if layout.frames == 1 => {
            let mut stream = Vec::new();
            reader.next_event()?;
            while let Event::Fragment(length) = reader.next_event()? {
                append(reader, u64::from(length), most_compressed(layout), &mut stream)?;
            }
            work(0, decode(codec, stream, layout)?)
        }
        Some(Place::Encapsulated) => {
            let ends = fragment_ends(reader, layout.frames)?;
            reader.rewind()?;
            seek_fragments(reader)?;
            let mut next = 0;
            for &frame in wanted {
                let index = frame as usize;
                let end = ends.get(index).copied().unwrap_or(next);
                let start = index.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
                let mut stream = Vec::new();
                while next < end {
                    let Event::Fragment(length) = reader.next_event()? else {
                        return Err(malformed("fragments", "a fragment is missing"));
                    };
                    if next >= start {
                        append(reader, u64::from(length), most_compressed(layout), &mut stream)?;
                    }
                    next += 1;
                }
                work(frame, decode(codec, stream, layout)?)?;
            }
            Ok(())
        }
        _ => Err(malformed("encapsulation", "the transfer syntax and the form of the pixels contradict")),
    }
}

/// A compressed frame larger than its pixels by more than a half is not honest.
fn most_compressed(layout: &Layout) -> u64 {
    // Of single bits each may take a byte.
    (layout.frame_bits() / 8).max(layout.pixels() as u64) * 3 / 2 + (1 << 16)
}

fn decode(codec: Codec, mut stream: Vec<u8>, layout: &Layout) -> Result<Decoded, RenderError> {
    let Codec::Coded(codec) = codec else {
        let wanted = usize::try_from(layout.frame_bits().div_ceil(8)).unwrap_or(usize::MAX);
        if layout.bits_allocated == 1 || layout.colour == Colour::YbrFull422 || stream.len() < wanted {
            return Err(unsupported("unsupported-syntax", "encapsulated uncompressed pixels of this form"));
        }
        stream.truncate(wanted);
        return Ok(Decoded { bytes: stream, big_endian: false, layout: *layout });
    };
    codec::decode(codec, &stream, layout)
}

/// For each frame the number of the fragment behind its last.
fn fragment_ends<S: Source>(reader: &mut Reader<S>, frames: u32) -> Result<Vec<usize>, RenderError> {
    let frames = frames as usize;
    let mut table: Vec<u64> = Vec::new();
    if let Event::Fragment(_) = reader.next_event()? {
        let bytes = reader.value()?.unwrap_or_default();
        table = bytes.as_chunks::<4>().0.iter().map(|four| u64::from(u32::from_le_bytes(*four))).collect();
    }
    let (mut starts, mut begins_stream, mut at) = (Vec::new(), Vec::new(), 0_u64);
    while let Event::Fragment(length) = reader.next_event()? {
        if starts.len() == MOST_FRAGMENTS {
            return Err(limit("too-many-fragments", "the pixels stand in too many fragments"));
        }
        let head = reader.part()?.bytes()?.first_chunk::<2>().copied();
        starts.push(at);
        // Start of image in JPEG, start of code stream in JPEG 2000.
        begins_stream.push(matches!(head, Some([0xFF, 0xD8 | 0x4F])));
        at += 8 + u64::from(length);
    }
    let firsts: Vec<usize> = if starts.len() == frames {
        (0..frames).collect()
    } else if table.len() == frames {
        let place = |offset: &u64| starts.binary_search(offset).ok();
        table.iter().map(place).collect::<Option<_>>().unwrap_or_default()
    } else {
        begins_stream.iter().enumerate().filter_map(|(at, begins)| begins.then_some(at)).collect()
    };
    let ascending = firsts.first() == Some(&0) && firsts.windows(2).all(|pair| pair.first() < pair.last());
    if firsts.len() != frames || !ascending {
        return Err(malformed("fragments", "the fragments cannot be told apart into frames"));
    }
    Ok(firsts.into_iter().skip(1).chain([starts.len()]).collect())
}

/// Goes to the first fragment behind the offset table.
fn seek_fragments<S: Source>(reader: &mut Reader<S>) -> Result<(), RenderError> {
    loop {
        match reader.next_event()? {
            Event::Fragments(opened) if opened.tag.0 == 0x7FE0_0010 => break,
            Event::Fragments(_) | Event::Sequence(_) => reader.skip_opened()?,
            Event::End => return Err(malformed("fragments", "a fragment is missing")),
            _ => {}
        }
    }
    reader.next_event()?;
    Ok(())
}

/// Uncompressed frames.
struct Native {
    layout: Layout,
    length: u64,
    frame: u64,
    big_endian: bool,
    swapped: bool,
    packed: bool,
    shared: bool,
}

impl Native {
    fn new(layout: &Layout, length: u64, words: bool, encoding: Encoding) -> Result<Self, RenderError> {
        let frames = u64::from(layout.frames);
        let full = layout.frame_bits();
        let big_endian = encoding == Encoding::ExplicitBig;
        let packed = layout.bits_allocated == 1;
        // Files call full chrominance 4:2:2; their length tells.
        let shared = layout.colour == Colour::YbrFull422 && length < frames.saturating_mul(full / 8);
        let frame = if shared { layout.pixels() as u64 * 2 } else { full.div_ceil(8) };
        let all = if packed { frames.saturating_mul(full).div_ceil(8) } else { frames.saturating_mul(frame) };
        if length < all || shared && (!layout.columns.is_multiple_of(2) || layout.planar) {
            return Err(malformed(
                "pixels-short",
                "there are fewer pixels than rows, columns and frames say",
            ));
        }
        if big_endian && !matches!(layout.bits_allocated, 1 | 8 | 16 | 32 | 64) {
            return Err(unsupported("unsupported-bits", "odd bytes in big endian"));
        }
        // Single bits and bytes fill words from the low end on (PS3.5 Annex D).
        let swapped = big_endian && words && layout.bits_allocated <= 8;
        Ok(Self { layout: *layout, length, frame, big_endian, swapped, packed, shared })
    }

    fn each<S: Source>(
        &self,
        reader: &mut Reader<S>,
        wanted: &[u32],
        mut work: impl FnMut(u32, Decoded) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        // Where frames share bytes or words, the value is read whole.
        let mut whole = Vec::new();
        if self.packed || self.swapped {
            append(reader, self.length, MOST_WHOLE, &mut whole)?;
            if self.swapped {
                whole.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
            }
        }
        let mut at = 0;
        for &frame in wanted {
            let start = u64::from(frame) * self.frame;
            let mut bytes = Vec::new();
            if self.packed {
                bytes = self.unpacked(&whole, frame);
            } else if self.swapped {
                let range = usize::try_from(start).unwrap_or(usize::MAX)
                    ..usize::try_from(start + self.frame).unwrap_or(usize::MAX);
                bytes.extend_from_slice(whole.get(range).unwrap_or_default());
            } else {
                skip(reader, start - at)?;
                append(reader, self.frame, self.frame, &mut bytes)?;
                at = start + self.frame;
            }
            work(frame, self.decoded(bytes))?;
        }
        Ok(())
    }

    /// The bits of a frame, a byte each. Frames follow each other without padding.
    fn unpacked(&self, whole: &[u8], frame: u32) -> Vec<u8> {
        let pixels = self.layout.pixels();
        let start = frame as usize * pixels;
        let bit = |at: usize| whole.get(at / 8).map_or(0, |byte| byte >> (at % 8) & 1);
        (start..start + pixels).map(bit).collect()
    }

    fn decoded(&self, bytes: Vec<u8>) -> Decoded {
        let mut layout = self.layout;
        if self.packed {
            layout.bits_allocated = 8;
            layout.bits = Bits { stored: 1, shift: 0, signed: false };
        }
        if layout.colour == Colour::YbrFull422 {
            layout.colour = Colour::YbrFull;
        }
        let bytes = if self.shared { with_own_chrominance(&bytes) } else { bytes };
        Decoded { bytes, big_endian: self.big_endian, layout }
    }
}

/// Values that are read whole: single bits, and bytes in big endian words.
const MOST_WHOLE: u64 = 64 << 20;

/// Y1 Y2 Cb Cr to Y1 Cb Cr Y2 Cb Cr (PS3.3 C.7.6.3.1.2).
fn with_own_chrominance(bytes: &[u8]) -> Vec<u8> {
    let pixels = |&[first, second, blue, red]: &[u8; 4]| [first, blue, red, second, blue, red];
    bytes.as_chunks::<4>().0.iter().flat_map(pixels).collect()
}

fn skip<S: Source>(reader: &mut Reader<S>, mut count: u64) -> Result<(), RenderError> {
    while count > 0 {
        let step = usize::try_from(count).unwrap_or(usize::MAX);
        reader.part()?.take(step)?;
        count -= step as u64;
    }
    Ok(())
}

/// Appends the next `count` bytes of the current value. Memory grows with what was read, not with what was declared.
fn append<S: Source>(
    reader: &mut Reader<S>,
    count: u64,
    most: u64,
    into: &mut Vec<u8>,
) -> Result<(), RenderError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if into.len().saturating_add(count) as u64 > most {
        return Err(limit("frame-too-large", "a frame is larger than the limit"));
    }
    let end = into.len() + count;
    while into.len() < end {
        let mut part = reader.part()?;
        let bytes = part.bytes()?;
        let bytes = bytes.get(..bytes.len().min(end - into.len())).unwrap_or_default();
        if bytes.is_empty() {
            return Err(malformed("truncated", "the object ends inside an element"));
        }
        if into.is_empty() {
            // The length was checked against the object's end when the element was opened.
            into.reserve_exact(count);
        }
        into.extend_from_slice(bytes);
        let taken = bytes.len();
        part.take(taken)?;
    }
    Ok(())
}
