//! One frame of RLE (PS3.5 annex G), as its bytes stream past: sixteen numbers, then segments that each give exactly one
//! byte of every pixel. What stands behind a segment's last pixel belongs to nothing and is zeroed.

use crate::codestream::odd;
use crate::refusal::Refusal;

/// Bytes of the header.
const HEADER: usize = 64;

/// The frame at work.
#[derive(Debug)]
pub(crate) struct RunLength {
    /// Pixels of a frame, segments of one.
    pixels: u64,
    count: u32,
    header: [u8; HEADER],
    /// Where segments begin, of those that have not.
    begins: std::vec::IntoIter<u32>,
    next: Option<u32>,
    /// Bytes since the begin of the frame.
    at: u64,
    /// Pixels that the segment at work still gives.
    left: u64,
    state: State,
    /// Whether any byte was changed.
    pub(crate) any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Where the length of a run stands.
    Length,
    /// In a run of so many bytes that stand there.
    Literal(u8),
    /// Where the byte stands that is repeated.
    Repeat,
}

impl RunLength {
    /// Frames of so many pixels, each of which has so many bytes.
    pub(crate) fn new(pixels: u64, bytes: u64) -> Result<Self, Refusal> {
        let count = u32::try_from(bytes).ok().filter(|count| (1..=15).contains(count));
        let count = count.ok_or_else(|| odd("a run-length frame has no such pixels"))?;
        Ok(Self {
            pixels,
            count,
            header: [0; HEADER],
            begins: Vec::new().into_iter(),
            next: None,
            at: 0,
            left: 0,
            state: State::Length,
            any: false,
        })
    }

    /// The next frame begins.
    pub(crate) fn begin(&mut self) {
        (self.at, self.left, self.next, self.state) = (0, 0, None, State::Length);
    }

    /// No more bytes come of this frame.
    pub(crate) fn finish(&self) -> Result<(), Refusal> {
        let whole = self.at >= HEADER as u64 && self.next.is_none() && self.state == State::Length;
        if whole { Ok(()) } else { Err(odd("a run-length frame is cut off")) }
    }

    /// Goes over the next bytes of the frame.
    pub(crate) fn clean(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            if self.next.map(u64::from) == Some(self.at) {
                if self.state != State::Length {
                    return Err(odd("a run of a run-length frame goes on in the next segment"));
                }
                (self.next, self.left) = (self.begins.next(), self.pixels);
            }
            let count = if let State::Literal(left) = self.state {
                // Pixels as they are, and none of the next segment.
                let room = self.next.map_or(u64::MAX, |next| u64::from(next).saturating_sub(self.at));
                let count =
                    rest.len().min(usize::from(left)).min(usize::try_from(room).unwrap_or(usize::MAX));
                // Below 129.
                let left = left - u8::try_from(count).unwrap_or(left);
                self.state = if left > 0 { State::Literal(left) } else { State::Length };
                count
            } else {
                let Some(byte) = rest.first_mut() else { break };
                let before = *byte;
                if let Some(place) = usize::try_from(self.at).ok().and_then(|at| self.header.get_mut(at)) {
                    *place = before;
                    if self.at >= 4 + 4 * u64::from(self.count) {
                        *byte = 0;
                    }
                    if self.at + 1 == HEADER as u64 {
                        self.open()?;
                    }
                } else {
                    self.step(byte)?;
                }
                self.any |= *byte != before;
                1
            };
            self.at += count as u64;
            at += count;
        }
        Ok(())
    }

    /// The header is there: as many segments as a pixel has bytes, the first behind it, each behind the one before.
    fn open(&mut self) -> Result<(), Refusal> {
        let (numbers, _) = self.header.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
        let count = numbers.next().unwrap_or_default();
        let begins: Vec<u32> = numbers.take(self.count as usize).collect();
        let ascend = begins.first() == Some(&64) && begins.is_sorted_by(|one, next| one < next);
        if count != self.count || !ascend {
            return Err(odd("the header of a run-length frame does not fit its pixels"));
        }
        self.begins = begins.into_iter();
        self.next = self.begins.next();
        Ok(())
    }

    /// A run gives so many of the segment's pixels.
    fn take(&mut self, count: u64) -> Result<(), Refusal> {
        let left = self.left.checked_sub(count);
        self.left = left.ok_or_else(|| odd("a run-length frame has more pixels than it says"))?;
        Ok(())
    }

    fn step(&mut self, byte: &mut u8) -> Result<(), Refusal> {
        self.state = match (self.state, *byte) {
            (State::Length, _) if self.left == 0 => {
                *byte = 0;
                State::Length
            }
            (State::Length, length @ ..=127) => {
                self.take(u64::from(length) + 1)?;
                State::Literal(length + 1)
            }
            (State::Length, 128) => State::Length,
            (State::Length, length) => {
                self.take(257 - u64::from(length))?;
                State::Repeat
            }
            // Those that stand there are gone over together.
            (State::Literal(_) | State::Repeat, _) => State::Length,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of four pixels with two bytes each.
    fn frame() -> Vec<u8> {
        let mut frame: Vec<u8> = [2_u32, 64, 68].iter().flat_map(|number| number.to_le_bytes()).collect();
        frame.resize(64, b'Z');
        frame.extend_from_slice(b"\xFDAZZ\x01ab\x80\x01cdZZ");
        frame
    }

    fn cleaned(frame: &[u8]) -> Result<Vec<u8>, Refusal> {
        let of_parts = |size: usize| {
            let (mut frames, mut bytes) = (RunLength::new(4, 2)?, frame.to_vec());
            // The second of two frames is like the first.
            for _ in 0..2 {
                bytes = frame.to_vec();
                frames.begin();
                bytes.chunks_mut(size).try_for_each(|part| frames.clean(part))?;
                frames.finish()?;
            }
            Ok(bytes)
        };
        let whole = of_parts(4096);
        for size in 1..8 {
            assert_eq!(of_parts(size), whole, "{size}");
        }
        whole
    }

    #[test]
    fn what_stands_beside_the_segments_of_a_frame_is_zeroed_and_pixels_stay() {
        let out = cleaned(&frame()).unwrap();
        assert_eq!(out.get(..12), frame().get(..12));
        assert_eq!(out.get(12..64), Some([0; 52].as_slice()));
        assert_eq!(out.get(64..), Some(b"\xFDA\0\0\x01ab\x80\x01cd\0\0".as_slice()));
    }

    #[test]
    fn a_frame_that_does_not_add_up_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut frame = frame();
            frame[at] = byte;
            frame
        };
        for (frame, why) in [
            (with(0, 1), "fewer segments than a pixel has bytes"),
            (with(0, 3), "more of them"),
            (with(4, 65), "bytes ahead of the first segment"),
            (with(8, 64), "two segments at one place"),
            (with(8, 200), "a segment behind the end"),
            (with(64, 0xFC), "a pixel more"),
            (with(68, 5), "a run of more pixels"),
            (with(8, 65), "a run across the begin of the next segment"),
            (frame()[..60].to_vec(), "a cut header"),
            (frame()[..70].to_vec(), "a cut run"),
        ] {
            assert_eq!(cleaned(&frame).err().map(|refusal| refusal.code), Some("frame-data"), "{why}");
        }
    }
}
