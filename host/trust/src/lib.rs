//! Who may say what runs: keys, signatures and the one routine that verifies every signed document.
//!
//! A signed document is TUF's envelope, `{"signed":…,"signatures":[{"keyid","sig"}]}`. [`verify`] is the only way
//! from its bytes to a [`Trusted`] value, and [`Trusted::admit`] the only way from there to trusted blobs, so that a
//! loader which takes `Trusted<Blob>` cannot be handed anything unsigned. Who may sign stands in a [`TrustRoot`], a
//! TUF root document.
//!
//! This crate deliberately knows no clock (the time is an argument), no disk, no network, and nothing of what the
//! documents say: kinds of documents implement [`SignedDocument`] elsewhere.
//!
//! Start with [`verify`], then [`Envelope`] for the signing side and [`canonical`] for what exactly is signed.

pub mod canonical;
mod envelope;
mod error;
mod key;
mod root;
mod time;
mod trusted;

pub use envelope::{Envelope, SignedDocument, verify};
pub use error::TrustError;
pub use key::{KeyError, KeyId, PublicKey, SigningKey};
pub use root::{Role, RoleKeys, RootDocument, TrustRoot};
pub use time::{Timestamp, TimestampError};
pub use trusted::{Blob, Pins, Trusted, Verification};

/// Bodies of the fuzz targets: they panic where a rule of this crate does not hold.
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
