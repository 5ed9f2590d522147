//! The bundle manifest: everything that runs together, pinned by digest and signed as one document.
//!
//! **Accepted and not enforced yet**: `security_version`, `min_rollback_to`, `compat` and `health` belong to updates,
//! which are not there. Their form is checked so that bundles signed today will do then; until then a device runs an
//! older bundle, one for another device, and one that nobody has tried. [`Manifest::not_enforced`] names them, and
//! `martello bundle verify` and `inspect` show them under that name.

use std::collections::BTreeMap;

use martello_vocab::{ByteCount, Digest, Limits, Name};
use serde::{Deserialize, Serialize};

/// The media type of the manifest inside the OCI image layout.
pub const MANIFEST_MEDIA_TYPE: &str = "application/vnd.martello.bundle.v1+json";

/// The manifest of a bundle, version 1. Unknown fields are refused: what is signed is understood whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1.
    pub schema: u32,
    /// The bundle's name.
    pub name: Name,
    /// The bundle's version (Semantic Versioning 2.0.0).
    pub version: String,
    /// Counts up with each release that mends a weakness: a device is to refuse a bundle below the highest that it has
    /// committed. *Not enforced yet.*
    pub security_version: u32,
    /// When the bundle was made (RFC 3339, UTC).
    pub created: String,
    /// The components.
    pub components: Vec<Component>,
    /// The models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Model>,
    /// Data files that stages may read, for example the de-identification table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<Asset>,
    /// The stage graph.
    pub pipeline: Pipeline,
    /// What the bundle wants of the device beyond running its stages. The device's policy intersects it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// The lowest security version to which a device that runs this bundle may still go back. Unset: its own. *Not
    /// enforced yet.*
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rollback_to: Option<u32>,
    /// On which devices it runs. *Not enforced yet.*
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
    /// What it must show on trial before a device commits to it. *Not enforced yet.*
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The software bill of materials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<PinnedFile>,
    /// How it was made (for example an in-toto statement).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<PinnedFile>,
}

impl Manifest {
    /// The fields of this manifest that nothing enforces yet, by name.
    pub fn not_enforced(&self) -> Vec<&'static str> {
        let fields = [
            ("security_version", true),
            ("min_rollback_to", self.min_rollback_to.is_some()),
            ("compat", self.compat.is_some()),
            ("health", self.health.is_some()),
        ];
        fields.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
    }
}

/// On which devices a bundle is to run. Whatever is unset or empty is not asked for. *Not enforced yet.*
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// Versions of the host (a requirement as Cargo writes it, for example `>=0.1, <0.3`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_semver: Option<String>,
    /// Processor architectures, for example `x86_64`, `aarch64`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arch: Vec<Name>,
    /// Accelerators of which the device must have one, for example `cuda`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accel: Vec<Name>,
    /// The de-identification profile that it follows, for example `ps3.15-2026c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dicom_profile: Option<Name>,
    /// The version of the findings' schema that it writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_schema: Option<u32>,
}

/// What a bundle must show on trial before a device commits to it. *Not enforced yet.*
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Payloads that must have gone through the pipeline. At least 1.
    pub probes: u32,
    /// Time within which they must, in seconds. At least 1.
    pub window_s: u64,
    /// The greatest share of payloads at which a stage may trap. 0 to 1.
    pub max_trap_rate: f64,
    /// The greatest 95th percentile of the time for a payload, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<u64>,
}

/// A document that goes with the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Digest of the file.
    pub digest: Digest,
    /// Length of the file.
    pub size: ByteCount,
    /// IANA media type.
    pub media_type: String,
}

/// A component of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name in this bundle.
    pub name: Name,
    /// Digest of the `.wasm` file.
    pub digest: Digest,
    /// Length of the `.wasm` file.
    pub size: ByteCount,
    /// Interfaces that it imports, as `package/interface@version`; packing reads them from the component, loading
    /// compares them again.
    pub imports: Vec<String>,
    /// What an instance of it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Reason codes that it may give with a fault. Any other becomes the fault's general code. None of
    /// [`Code::OF_THE_HOST`](martello_vocab::Code::OF_THE_HOST).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
    /// Findings that it may return. Any other is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingSchema>,
    /// Words of which its evidence may consist. Any other is refused.
    #[serde(default, skip_serializing_if = "EvidenceWords::is_empty")]
    pub evidence: EvidenceWords,
}

/// The words of which a component's evidence may consist. Evidence stands in the report, so a word that a component
/// made up at run time would be a way out for what it read.
///
/// Two kinds of words need not be listed, because the host knows them: a digest as edition, where it is that of an
/// asset or a model that the stage is granted or of a setting in JSON; and the note `pseudonym-key-…` with the id of
/// the key whose pseudonyms the stage is granted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceWords {
    /// Profiles or recipes followed, for example `ps3.15-basic`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Editions of the data followed, for example `2026c`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub editions: Vec<String>,
    /// What may have been done, for example `removed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Stable remarks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl EvidenceWords {
    /// Whether no word is listed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A kind of finding that a component may return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingSchema {
    /// The kind, for example `acquisition-quality`.
    pub kind: Name,
    /// The labels it may carry. Empty together with `labels_of_model`: the labels of the models granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Names of the measurements it may carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Name>,
}

/// A model of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name by which a guest opens it (`wasi:nn/graph.load-by-name`).
    pub name: Name,
    /// Digest of the model file.
    pub digest: Digest,
    /// Length of the model file.
    pub size: ByteCount,
    /// The file's format.
    pub format: ModelFormat,
    /// Tensors it takes.
    pub inputs: Vec<TensorSchema>,
    /// Tensors it gives.
    pub outputs: Vec<TensorSchema>,
    /// On what it runs.
    #[serde(default)]
    pub placement: Placement,
    /// How an image becomes its input tensor, for components that normalise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<serde_json::Value>,
    /// Names of its classes, in the order of its scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How scores become probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The least calibrated probability at which a label is given; below it the component abstains. 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Memory that it takes, loading and one run, where that is more than its size lets expect. A device gives it no
    /// more than its operator lets models have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<ByteCount>,
    /// Its licence (SPDX expression).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Inputs with known outputs. They run at activation, and a disagreement refuses the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub golden: Vec<Golden>,
}

/// The format of a model file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelFormat {
    /// ONNX (opset 7 and later).
    Onnx,
}

/// Name, element type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSchema {
    /// The name in the model file.
    pub name: String,
    /// The element type.
    pub dtype: ElementType,
    /// The dimensions; `null` is a dimension that the caller chooses.
    pub shape: Vec<Option<u32>>,
}

/// Element types that wasi:nn can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ElementType {
    F16,
    F32,
    F64,
    Bf16,
    U8,
    I32,
    I64,
}

impl ElementType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

/// On what a model runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// The backend.
    pub backend: Backend,
    /// The device: `cpu`, `gpu` or `gpu:N`.
    pub device: String,
    /// Whether another device may take its place. What really ran is recorded either way.
    pub strictness: Strictness,
}

impl Default for Placement {
    fn default() -> Self {
        Self { backend: Backend::Auto, device: "cpu".to_owned(), strictness: Strictness::Prefer }
    }
}

/// An inference backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// ONNX Runtime where the device has it and it is allowed, else the built-in one.
    Auto,
    /// tract, inside the host.
    Builtin,
    /// ONNX Runtime, loaded at run time.
    Onnxruntime,
}

/// Whether another device may take the place of the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strictness {
    /// Absence is an error.
    Require,
    /// Another may be used, and that is recorded.
    Prefer,
}

/// How scores become probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Scores are divided by it before the softmax (Guo et al. 2017). Greater than 0.
    pub temperature: f64,
}

/// Inputs with known outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Raw little-endian tensors by input name.
    pub inputs: BTreeMap<String, GoldenTensor>,
    /// Raw little-endian tensors by output name.
    pub outputs: BTreeMap<String, GoldenTensor>,
    /// Greatest absolute difference that still agrees.
    pub absolute_tolerance: f64,
    /// Greatest difference relative to the expected value that still agrees.
    pub relative_tolerance: f64,
}

/// A tensor kept as a blob: raw little-endian elements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenTensor {
    /// Digest of the raw bytes.
    pub digest: Digest,
    /// Length of the raw bytes.
    pub size: ByteCount,
    /// The dimensions.
    pub shape: Vec<u32>,
}

/// A data file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// The name by which a stage opens it.
    pub name: Name,
    /// Digest of the file.
    pub digest: Digest,
    /// Length of the file.
    pub size: ByteCount,
    /// IANA media type.
    pub media_type: String,
}

/// The stage graph. Payloads flow along edges; the graph has no cycles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Media types that the pipeline takes in. A device hands in files of a folder as `application/dicom`, and refuses
    /// to activate a bundle that names neither that nor `application/octet-stream`, which takes any bytes.
    pub accepts: Vec<String>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// Which outputs leave the pipeline, and into which folder.
    pub exports: Vec<Export>,
}

/// A stage: a component with its grants and settings, fed from one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage's name.
    pub name: Name,
    /// The component that does its work.
    pub component: Name,
    /// Where its payloads come from: `input`, or `stage.port`.
    pub from: String,
    /// Ports on which it may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Name>,
    /// What it is granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Models that it may open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Name>,
    /// Assets that it may open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<Name>,
    /// Settings, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<Name, String>,
}

/// What a stage may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Its outputs are de-identified: the host lowers their data class, once a stage granted `verify` has found nothing.
    Deidentify,
    /// It judges what the de-identifier made, whose class the host lowers where it refuses nothing.
    Verify,
    /// It may ask for pseudonyms.
    Pseudonyms,
    /// It may load models from its own bytes (`wasi:nn/graph.load`), which nobody signed.
    DangerouslyLoadGuestModels,
}

/// An output that leaves the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// `stage.port`.
    pub from: String,
    /// The folder under the output folder, for example `images`; not [`Export::FINDINGS`] or [`Export::QUARANTINE`].
    pub folder: Name,
    /// The file extension without a dot, for example `dcm`.
    pub extension: Name,
}

impl Export {
    /// The folder of findings, which the host fills itself: no export goes there.
    pub const FINDINGS: &str = "findings";
    /// The folder of inputs that were refused, which the host fills itself: no export goes there.
    pub const QUARANTINE: &str = "quarantine";
}

/// What a bundle wants of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Export payloads whose data class is identified, for a pipeline that stays inside the house.
    DangerouslyExportIdentified,
}
