//! Bindings of the stage world for the guests in `stages/`.

wit_bindgen::generate!({
    path: ["../../wit/deps/wasi-nn", "../../wit/pipeline"],
    world: "martello:pipeline/stage-component",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "guests",
});

pub mod nn;

pub use exports::martello::pipeline::stage::{Fault, Guest as Stage, Outcome, Payload};
pub use martello::pipeline::{host, log, types};

/// An outcome without findings.
pub fn nothing() -> Outcome {
    Outcome { findings: Vec::new(), evidence: None }
}
