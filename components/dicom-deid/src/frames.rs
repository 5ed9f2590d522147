//! The frames of an encapsulated image as they are copied: each fragment belongs to one of as many frames as the object
//! says, and each byte of a fragment to the image in it. The rest is blanked in place where that changes no pixel, and
//! refused where it cannot be told apart.
//!
//! What cannot be told apart without a decoder are bytes behind the last pixel, but ahead of the next marker, of JPEG,
//! JPEG-LS and JPEG 2000, and behind the codestream of JPEG XL. All bytes are searched for what goes, and compressed data for
//! text of any kind.

use crate::boxes::Boxes;
use crate::codestream::{Codestream, odd};
use crate::deflated::Deflated;
use crate::host::Pseudonymized;
use crate::pixels::{frame_length, frames_of};
use crate::refusal::Refusal;
use crate::residual::Pairs;
use crate::runlength::RunLength;
use crate::survey::Facts;

/// What a name, a number or a date has at most, in bytes: so much of a part is searched with the next one.
const EDGE: usize = 64;

enum Coding {
    /// JPEG, JPEG-LS, JPEG 2000, HTJ2K.
    Marked(Box<Codestream>),
    RunLength(Box<RunLength>),
    /// JPEG XL.
    Boxed(Box<Boxes>),
    Deflated(Box<Deflated>),
}

/// The frames at work.
pub(crate) struct Frames<'a> {
    coding: Coding,
    facts: &'a Facts,
    names: &'a Pseudonymized,
    /// Frames and fragments that there are.
    frames: u64,
    fragments: u64,
    /// Frames that have begun.
    begun: u64,
    pairs: Pairs,
    /// The end of what was searched.
    edge: Vec<u8>,
}

impl<'a> Frames<'a> {
    /// The frames of an object in this transfer syntax.
    pub(crate) fn of(syntax: &str, facts: &'a Facts, names: &'a Pseudonymized) -> Result<Self, Refusal> {
        let unsized_ = || odd("the attributes of the image do not say how large its frames are");
        let coding = match syntax {
            "1.2.840.10008.1.2.5" => {
                let number = |tag| facts.number(tag).map(u64::from);
                let pixels =
                    number(0x0028_0010).zip(number(0x0028_0011)).map(|(rows, columns)| rows * columns);
                let pixels = pixels.filter(|pixels| *pixels > 0).ok_or_else(unsized_)?;
                let allocated = number(0x0028_0100).ok_or_else(unsized_)?;
                let bytes = number(0x0028_0002).unwrap_or(1) * allocated.div_ceil(8);
                Coding::RunLength(Box::new(RunLength::new(pixels, bytes)?))
            }
            "1.2.840.10008.1.2.8.1" => {
                Coding::Deflated(Box::new(Deflated::new(frame_length(facts).ok_or_else(unsized_)?)))
            }
            "1.2.840.10008.1.2.4.110" | "1.2.840.10008.1.2.4.111" | "1.2.840.10008.1.2.4.112" => {
                Coding::Boxed(Box::new(Boxes::new()))
            }
            _ => Coding::Marked(Box::new(Codestream::new())),
        };
        let (frames, fragments) =
            (frames_of(facts).unwrap_or_default(), facts.offsets.fragments().unwrap_or_default());
        if !matches!(coding, Coding::Marked(_)) && frames != fragments {
            return Err(odd("the object has another number of fragments than of frames"));
        }
        Ok(Self {
            coding,
            facts,
            names,
            frames,
            fragments,
            begun: 0,
            pairs: facts.secrets.pairs(),
            edge: Vec::with_capacity(2 * EDGE),
        })
    }

    /// A fragment begins.
    pub(crate) fn fragment(&mut self) -> Result<(), Refusal> {
        // As many fragments as frames: each is one. Else a frame ends where its codestream does.
        let begins = match &self.coding {
            Coding::Marked(stream) if self.frames != self.fragments => {
                let next = stream.has_ended() && self.begun < self.frames;
                if self.frames > 1 && stream.has_ended() && !next {
                    return Err(odd("a fragment stands behind the last frame"));
                }
                self.begun == 0 || next
            }
            _ => true,
        };
        if begins {
            self.finish()?;
            self.begun += 1;
            match &mut self.coding {
                Coding::Marked(frame) => frame.begin(),
                Coding::RunLength(frame) => frame.begin(),
                Coding::Boxed(frame) => frame.begin(),
                Coding::Deflated(frame) => frame.begin(),
            }
        }
        Ok(())
    }

    /// Goes over the next bytes of the fragment.
    pub(crate) fn clean(&mut self, bytes: &mut [u8]) -> Result<(), Refusal> {
        match &mut self.coding {
            Coding::Marked(frame) => frame.clean(bytes)?,
            Coding::RunLength(frame) => frame.clean(bytes)?,
            Coding::Boxed(frame) => frame.look(bytes)?,
            Coding::Deflated(frame) => frame.clean(bytes)?,
        }
        self.search(bytes)
    }

    /// No more fragments come.
    pub(crate) fn end(&mut self) -> Result<(), Refusal> {
        self.finish()?;
        if self.begun == self.frames { Ok(()) } else { Err(odd("the object has fewer frames than it says")) }
    }

    /// Whether any byte was changed.
    pub(crate) fn any_blanked(&self) -> bool {
        match &self.coding {
            Coding::Marked(frame) => frame.any,
            Coding::RunLength(frame) => frame.any,
            Coding::Boxed(_) => false,
            Coding::Deflated(frame) => frame.any,
        }
    }

    fn finish(&self) -> Result<(), Refusal> {
        match &self.coding {
            _ if self.begun == 0 => Ok(()),
            Coding::Marked(frame) => frame.finish(),
            Coding::RunLength(frame) => frame.finish(),
            Coding::Boxed(frame) => frame.finish(),
            Coding::Deflated(frame) => frame.finish(),
        }
    }

    fn search(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let kept = self.edge.len();
        self.edge.extend_from_slice(bytes.get(..EDGE).unwrap_or(bytes));
        let found = |bytes: &[u8]| self.facts.secrets.stand_in_frame(bytes, &self.pairs, self.names);
        if kept > 0 && found(&self.edge) || found(bytes) {
            return Err(odd("a frame holds what the object names in an attribute that goes"));
        }
        if let Some(end) = bytes.len().checked_sub(EDGE).and_then(|from| bytes.get(from..)) {
            self.edge.clear();
            self.edge.extend_from_slice(end);
        } else {
            self.edge.drain(..self.edge.len().saturating_sub(EDGE));
        }
        Ok(())
    }
}
