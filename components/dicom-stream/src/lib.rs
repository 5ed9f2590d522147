//! Reads and writes DICOM data sets as a stream, in memory whose size does not depend on the file's.
//!
//! A [`Reader`] turns bytes into [`Event`]s: an element, the begin and end of sequences, items and fragments. It
//! holds one window of the file, checks every declared length against what is left, counts elements, and nests on a
//! stack of its own, so that no file makes it allocate by a number that the file declares, recurse, or panic.
//! A [`Writer`] takes the same steps in the other direction.
//!
//! What it deliberately does not know: what an attribute means, whether it may be kept, how pixels are coded. It
//! carries no dictionary; the caller hands one over, built at compile time by [`Dictionary`].
//!
//! Start with [`open`], which finds the data set in a file and says how it is encoded; then [`Reader::next_event`].

mod dictionary;
mod error;
mod header;
mod inflate;
mod reader;
mod source;
mod value;
mod window;
mod writer;

pub use dictionary::{Dictionary, Rows};
pub use error::{Class, ReadError};
pub use header::{FileHeader, open};
pub use inflate::{Deflater, INFLATE_RATIO_MAXIMUM, INFLATED_MAXIMUM, Inflater, Inflation};
pub use reader::{DEPTH_MAXIMUM, ELEMENTS_MAXIMUM, Event, Header, Reader, UNDEFINED};
pub use source::{RangeSource, SliceSource, Source};
pub use value::{Encoding, Tag, Vr};
pub use window::{HELD_MAXIMUM, Window};
pub use writer::{Output, Writer};

/// The body of the fuzz target: it panics where what was read and written does not read the same.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;

#[cfg(test)]
mod tests;
