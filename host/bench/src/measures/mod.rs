//! Every measure, one module each.

mod binary_size;
mod checks;
mod decode;
mod deidentify;
mod http;
mod idle_memory;
mod imaging_bundle;
mod inference;
mod instance;
mod looking_back;
mod native_code;
mod normalise;
mod pipeline;
mod python;
mod receive;
mod runaway;
mod send;
mod start;

use crate::measure::Measure;

/// All measures, in the order in which they are told.
pub(crate) fn all() -> Vec<Measure> {
    let inference = inference::against_native().chain(inference::against_python());
    let others = [
        instance::measure(),
        native_code::measure(),
        runaway::measure(),
        http::measure(),
        deidentify::measure(),
        checks::measure(),
        receive::measure(),
        send::measure(),
        normalise::measure(),
        decode::measure(),
        pipeline::measure(),
        start::measure(),
        looking_back::measure(),
        idle_memory::measure(),
        binary_size::bare(),
        binary_size::with_tract(),
    ];
    inference.chain(others).collect()
}

/// A number of bytes for division.
#[expect(clippy::cast_precision_loss, reason = "files and memories are far below 2^52 bytes")]
pub(crate) const fn narrow(bytes: u64) -> f64 {
    bytes as f64
}
