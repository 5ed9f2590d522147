//! What a device remembers: SQLite for state, and files that appear whole or not at all.
//!
//! [`Journal`] remembers which inputs of a run were started and which were completed, so that a run that was cut off
//! goes on where it was. [`place`] makes outputs durable before the journal says that they exist.
//!
//! This crate knows nothing of bundles, pipelines or guests. Start with [`Journal`].

mod journal;
pub mod place;
mod tables;

pub use journal::{
    Begun, Binding, Completed, Journal, JournalError, Look, Outcome, Quarantined, Remains, Start, Started,
    Tally,
};
