//! Why a file cannot be read.

/// Why reading stopped. None of the messages holds a byte of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Neither a file header nor a first element that any transfer syntax would begin with.
    #[error("reading file header: not a dicom file")]
    NotDicom,
    /// The file ends inside an element.
    #[error("reading element at byte {offset}: the file ends before it does")]
    Truncated {
        /// Where the element begins, in the (inflated) data set or file.
        offset: u64,
    },
    /// A structure contradicts itself: an item outside of a sequence, a child longer than its parent.
    #[error("reading element at byte {offset}: {what}")]
    Structure {
        /// Where, in the (inflated) data set or file.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Sequences nest deeper than [`crate::DEPTH_MAXIMUM`].
    #[error("reading sequence: nested deeper than {} levels", crate::DEPTH_MAXIMUM)]
    Depth,
    /// More elements and items than [`crate::ELEMENTS_MAXIMUM`].
    #[error("reading element: more than {} elements", crate::ELEMENTS_MAXIMUM)]
    Elements,
    /// A value that has to be held whole is larger than [`crate::HELD_MAXIMUM`].
    #[error("holding value of {length} bytes: larger than {} bytes", crate::HELD_MAXIMUM)]
    Held {
        /// The declared length.
        length: u64,
    },
    /// The deflated data set grows beyond [`crate::INFLATED_MAXIMUM`] or [`crate::INFLATE_RATIO_MAXIMUM`].
    #[error("inflating data set: grows beyond the limit")]
    Inflated,
    /// The deflated data set is not a deflate stream.
    #[error("inflating data set: not a deflate stream")]
    Inflate,
    /// The bytes below could not be read.
    #[error("reading source: {0}")]
    Source(String),
}

/// What kind of trouble a [`ReadError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The bytes are not what they should be.
    Malformed,
    /// There is more than is worked on.
    Limit,
    /// The bytes could not be had.
    Source,
}

impl ReadError {
    /// Its class, and the code by which a stage refuses a file for it.
    #[must_use]
    pub const fn refusal(&self) -> (Class, &'static str) {
        match self {
            Self::NotDicom => (Class::Malformed, "not-dicom"),
            Self::Truncated { .. } => (Class::Malformed, "truncated"),
            Self::Structure { .. } | Self::Inflate => (Class::Malformed, "structure"),
            Self::Depth => (Class::Limit, "depth"),
            Self::Elements | Self::Held { .. } => (Class::Limit, "element-count"),
            Self::Inflated => (Class::Limit, "deflate-bomb"),
            Self::Source(_) => (Class::Source, "read"),
        }
    }
}
