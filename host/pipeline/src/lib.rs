//! The stage graph of a bundle, what flows along it, and the taint that the host tracks.
//!
//! [`Plan::of`] turns the pipeline of a manifest into an order of work and decides, before anything runs, which data
//! class reaches each port and what may therefore leave. The driver that carries payloads out stands in `engine`;
//! this crate knows nothing of guests, files or time.
//!
//! Start with [`Plan`]; what a stage returns stands in [`result`].

mod plan;
pub mod result;

pub use plan::{Consumer, ExportPlan, Plan, PlanError, PlannedStage, Source};
pub use result::{ActionCount, Evidence, Fault, FaultKind, Finding, Measurement, Score};
