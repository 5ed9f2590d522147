//! What the author of a Martello component uses: one trait, one macro, and the host's offers as ordinary Rust.
//!
//! A *stage* takes one payload and gives payloads, findings and evidence. It owns no bytes: it reads its input in
//! ranges and writes its outputs into sinks, so that a large object passes through little memory. A whole component:
//!
//! ```
//! use martello_guest_sdk::{Context, Fault, Finding, Outcome, Payload, Stage, export, info};
//! use std::io::BufRead;
//!
//! struct CountLines;
//!
//! impl Stage for CountLines {
//!     fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
//!         let mut copy = context.open_output("text", "text/plain", &[])?;
//!         let mut lines = 0_u32;
//!         for line in input.reader().lines() {
//!             copy.write(line?.as_bytes())?;
//!             copy.write(b"\n")?;
//!             lines += 1;
//!         }
//!         copy.finish()?;
//!         info!(context, "{lines} lines");
//!         Ok(Outcome::empty().with_finding(Finding::new("text").with_measurement("lines", lines.into(), "1")))
//!     }
//! }
//!
//! export!(CountLines);
//!
//! // Natively the same code runs on a mock host:
//! use martello_guest_sdk::mock::Host;
//! let host = Host::new().payload(&b"one\ntwo"[..], "text/plain").port("text");
//! let (outcome, outputs) = host.run::<CountLines>()?;
//! assert_eq!(outputs[0].bytes, b"one\ntwo\n");
//! assert_eq!(outcome.findings[0].measurements[0].value, 2.0);
//! # Ok::<(), Fault>(())
//! ```
//!
//! Inside the sandbox (`wasm32-wasip2`) the types wrap the bindings of the world `martello:pipeline/stage-component`;
//! natively they wrap `mock::Host`. The public API is the same, so a component's logic is unit-tested and measured
//! natively. What a component does not use it does not import: the host grants imports one by one.
//!
//! The SDK deliberately knows nothing of media types, DICOM or any model. Start with [`Stage`], then [`Payload`],
//! [`Sink`] and [`Context`]; models are [`Graph`] and [`Tensor`]; fast pixel loops stand in [`kernels`].

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
mod context;
mod fault;
pub mod kernels;
#[cfg(not(target_family = "wasm"))]
pub mod mock;
pub mod nn;
mod outcome;
mod payload;
#[cfg(target_family = "wasm")]
#[path = "guest.rs"]
#[doc(hidden)]
pub mod raw;
#[cfg(not(target_family = "wasm"))]
use mock::raw;
mod sink;
mod tensor;

pub use context::{Context, Level, Pseudonyms};
pub use fault::Fault;
pub use nn::{Graph, Outputs};
pub use outcome::{ActionCount, Evidence, Finding, Measurement, Outcome};
pub use payload::{LARGEST_READ, Payload, Reader};
pub use sink::Sink;
pub use tensor::{Element, ElementType, TENSOR_MEDIA_TYPE, Tensor, TensorView, shape_text};

/// The work of a component.
pub trait Stage {
    /// Works on one payload. The host makes a fresh instance for each call: nothing is left of the one before.
    ///
    /// # Errors
    /// Any [`Fault`]; the payload is then quarantined under the fault's reason code.
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault>;
}

/// Exports a [`Stage`] as the component. Natively this only checks that the type is one.
#[cfg(target_family = "wasm")]
#[macro_export]
macro_rules! export {
    ($stage:ty) => {
        const _: () = {
            struct Exported;
            impl $crate::bindings::exports::martello::pipeline::stage::Guest for Exported {
                fn process(
                    input: &$crate::bindings::martello::pipeline::types::Payload,
                ) -> ::core::result::Result<
                    $crate::bindings::exports::martello::pipeline::stage::Outcome,
                    $crate::bindings::exports::martello::pipeline::stage::Fault,
                > {
                    $crate::raw::process::<$stage>(input)
                }
            }
    $crate::bindings::export_stage_component!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Exports a [`Stage`] as the component. Natively this only checks that the type is one.
#[cfg(not(target_family = "wasm"))]
#[macro_export]
macro_rules! export {
    ($stage:ty) => {
        const _: fn(
            &$crate::Payload,
            &$crate::Context,
        ) -> ::core::result::Result<$crate::Outcome, $crate::Fault> = <$stage as $crate::Stage>::process;
    };
}
