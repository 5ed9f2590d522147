//! End to end: real processes on this machine, real files, no sleeps.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail wherever something is not as it should be"
)]

mod architecture;
mod codecs;
mod dicom;
mod guests;
mod infer;
mod interfaces;
mod receiving;
mod rendering;
mod run;
mod sameness;
mod sending;
mod upstream;
