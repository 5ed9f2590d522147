//! The machine that runs bundles: the adapters of a device joined together.
//!
//! [`Device::start`] brings up the sandbox, the inference backends and the site's pseudonym key. [`Device::activate`]
//! turns a verified bundle into an [`Active`] one: components compiled and checked, models loaded and proven against
//! their golden vectors, the pipeline planned. [`Active::pass`] sends one payload through it; [`FolderRun`] does so for
//! every file of a folder, whatever interrupts.
//!
//! Nothing here parses arguments or prints; programs do.

mod activation;
mod delivery;
pub mod explain;
mod folder_run;
mod footprint;
mod nn;
pub mod npy;
mod outputs;
mod pass;
mod report;
mod site_key;
mod verdicts;

pub use activation::{ActivationError, Active, Device, DeviceConfig, DeviceError};
pub use delivery::{Deliveries, Delivering, Exports, Outgoing, Purpose, UNMOVED};
pub use folder_run::{
    DiskPatience, Export, FolderRun, Input, MissingOutputs, NotTaken, Observer, ReportMode, RunError, Stop,
    Summary, WatchMode,
};
pub use martello_ingest::Ignored;
pub use martello_pipeline::PlanError;
pub use martello_store::JournalError;
pub use nn::{NnExtension, PassModel};
pub use pass::{Exported, Pass, Refusal, StageRun};
pub use report::{
    FindingEntry, FindingsFile, ModelLine, ModelRun, OutputFile, Part, QuarantineNote, REPORT_SCHEMA,
    ReportLine, StageLine, Timings,
};
pub use site_key::{SiteKey, SiteKeyError};
pub use verdicts::inference;
