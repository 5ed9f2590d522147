//! The words that every crate of Martello shares: names, digests, sizes, data classes and reason codes.
//!
//! Each identifier and each unit has its own type, validated once when it enters, so that a function cannot be
//! handed the wrong one. This crate deliberately knows nothing of signatures, files, clocks or guests.
//!
//! Start with [`Digest`] and [`Name`]; the reason codes an operator meets stand in [`code`].

mod class;
pub mod code;
mod digest;
mod limits;
mod name;

pub use class::DataClass;
pub use code::Code;
pub use digest::{Digest, DigestError, Hasher};
pub use limits::{ByteCount, Limits, LimitsError};
pub use name::{Name, NameError};
