//! From a verified bundle to one that can run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use martello_bundle::manifest::{Component, EvidenceWords, Grant, Manifest, Model, Stage};
use martello_bundle::{BundleError, VerifiedBundle};
use martello_inference::{GoldenCase, Inference, InferenceConfig, LoadedModel, ModelError};
use martello_pipeline::{Plan, PlanError};
use martello_runtime::{
    Contract, EvidenceRule, FindingRule, ImportGrants, LoadError, Payload, Pseudonyms, Runtime,
    RuntimeConfig, RuntimeError, StageComponent,
};
use martello_vocab::{DataClass, Digest, Name};
use serde_json::json;

use crate::nn::{ActivatedModel, NnExtension};
use crate::pass::LONGEST_PASS;
use crate::site_key::{SiteKey, SiteKeyError};

/// How a device is set up.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// The folder for keys and compiled code.
    pub state: PathBuf,
    /// The sandbox.
    pub runtime: RuntimeConfig,
    /// The inference backends.
    pub inference: InferenceConfig,
}

impl DeviceConfig {
    /// The defaults, with everything kept under `state`.
    pub fn new(state: PathBuf) -> Self {
        Self { runtime: RuntimeConfig::new(&state), inference: InferenceConfig::new(&state), state }
    }

    /// Whether a device of this kind would take the bundle's models, by the size that the manifest gives them: nothing
    /// is read, and no device has to be started.
    ///
    /// # Errors
    /// The first model that is too large.
    pub fn admit(&self, bundle: &VerifiedBundle) -> Result<(), ActivationError> {
        let most = self.inference.largest_model;
        match bundle.manifest().models.iter().find(|model| model.size > most) {
            Some(model) => Err(ActivationError::Model {
                model: model.name.clone(),
                source: ModelError::TooLarge { found: model.size, most },
            }),
            None => Ok(()),
        }
    }
}

/// A device that can run bundles.
#[derive(Debug)]
pub struct Device {
    runtime: Runtime<NnExtension>,
    inference: Arc<Inference>,
    site_key: Arc<SiteKey>,
}

/// The device does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DeviceError {
    #[error("making the state folder `{path}`")]
    State { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    SiteKey(#[from] SiteKeyError),
    #[error(transparent)]
    Inference(#[from] martello_inference::InferenceError),
}

/// A bundle cannot be activated. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ActivationError {
    #[error("reading the bundle")]
    Bundle(#[from] BundleError),
    #[error("planning the pipeline")]
    Plan(#[from] PlanError),
    #[error("loading component `{component}`")]
    Component { component: Name, source: LoadError },
    #[error("loading model `{model}`")]
    Model { model: Name, source: ModelError },
    #[error(
        "the pipeline accepts neither `application/dicom`, as inputs of folders are taken, nor `application/octet-stream`"
    )]
    Accepts,
    #[error("stage `{stage}` names `{name}`, which the bundle does not hold")]
    Unresolved { stage: Name, name: Name },
    #[error("setting `recipe-of-model` of stage `{stage}` names a model without a recipe")]
    NoRecipe { stage: Name },
}

impl Device {
    /// Starts the sandbox and finds the backends.
    ///
    /// # Errors
    /// The state folder, the sandbox, a backend or the pseudonym key fail.
    pub fn start(config: &DeviceConfig) -> Result<Self, DeviceError> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.state)
            .map_err(|source| DeviceError::State { path: config.state.clone(), source })?;
        Ok(Self {
            site_key: Arc::new(SiteKey::open_or_make(&config.state.join("pseudonym.key"))?),
            runtime: Runtime::start(&config.runtime, NnExtension::Linked)?,
            inference: Arc::new(crate::verdicts::inference(config)?),
        })
    }

    /// Loads everything that a bundle pins and makes it ready to run. This blocks: for seconds where a component is
    /// compiled for the first time.
    ///
    /// # Errors
    /// The first thing about the bundle that does not hold.
    pub fn activate(&self, bundle: &VerifiedBundle) -> Result<Active, ActivationError> {
        let manifest: &Manifest = bundle.manifest();
        let plan = Plan::of(manifest)?;
        if !accepts_folders(&manifest.pipeline.accepts) {
            return Err(ActivationError::Accepts);
        }
        // Before anything is read: a bundle may hold a model larger than this machine's memory.
        for model in &manifest.models {
            let failed = |source| ActivationError::Model { model: model.name.clone(), source };
            self.inference.admit_size(model.size).map_err(failed)?;
        }
        let mut components = BTreeMap::new();
        for component in &manifest.components {
            let blob = bundle.component(&component.name)?;
            let loaded = self
                .runtime
                .load(&blob, &component.limits, &ImportGrants::declared(&component.imports))
                .map_err(|source| ActivationError::Component { component: component.name.clone(), source })?;
            components.insert(component.name.clone(), (component, loaded));
        }
        let mut models = BTreeMap::new();
        for model in &manifest.models {
            models.insert(model.name.clone(), self.model(bundle, model)?);
        }
        let mut assets = BTreeMap::new();
        for asset in &manifest.assets {
            let blob = bundle.asset(&asset.name)?;
            assets.insert(asset.name.clone(), Payload::memory(&asset.media_type, blob.bytes().clone()));
        }
        let parts = Parts { manifest, components, models, assets, site_key: &self.site_key };
        let stages =
            plan.stages.iter().map(|planned| parts.stage(&planned.stage)).collect::<Result<_, _>>()?;
        Ok(Active {
            plan,
            stages,
            bundle_digest: bundle.digest(),
            site_key: Arc::clone(&self.site_key),
            inference: Arc::clone(&self.inference),
            longest_pass: LONGEST_PASS,
        })
    }

    fn model(&self, bundle: &VerifiedBundle, model: &Model) -> Result<ActivatedModel, ActivationError> {
        let failed = |source| ActivationError::Model { model: model.name.clone(), source };
        let blob = bundle.model(&model.name)?;
        let mut cases = Vec::with_capacity(model.golden.len());
        for golden in &model.golden {
            let tensors = bundle.golden(golden)?;
            let plain = |side: BTreeMap<String, martello_trust::Trusted<martello_trust::Blob>>| {
                side.into_iter().map(|(name, blob)| (name, blob.bytes().clone())).collect()
            };
            cases.push(GoldenCase { golden, inputs: plain(tensors.inputs), outputs: plain(tensors.outputs) });
        }
        let loaded: Arc<LoadedModel> = self.inference.load(&blob, model, &cases).map_err(failed)?;
        let evidence = self.inference.check_golden(&loaded, &blob, model, &cases).map_err(failed)?;
        tracing::info!(model = %model.name, vectors = evidence.vectors, alone = evidence.decided_alone.as_deref(), "golden vectors agree");
        Ok(ActivatedModel { name: model.name.clone(), loaded, golden: evidence })
    }
}

/// What stages are made of.
struct Parts<'a> {
    manifest: &'a Manifest,
    components: BTreeMap<Name, (&'a Component, StageComponent<NnExtension>)>,
    models: BTreeMap<Name, ActivatedModel>,
    assets: BTreeMap<Name, Payload>,
    site_key: &'a Arc<SiteKey>,
}

impl Parts<'_> {
    fn stage(&self, stage: &Stage) -> Result<ActiveStage, ActivationError> {
        let unresolved =
            |name: &Name| ActivationError::Unresolved { stage: stage.name.clone(), name: name.clone() };
        let (component, loaded) =
            self.components.get(&stage.component).ok_or_else(|| unresolved(&stage.component))?;
        let models = granted(&stage.models, &self.models).map_err(|name| unresolved(&name))?;
        let assets = granted(&stage.assets, &self.assets).map_err(|name| unresolved(&name))?;
        let pseudonyms: Option<Arc<dyn Pseudonyms>> = stage
            .grants
            .contains(&Grant::Pseudonyms)
            .then(|| Arc::<SiteKey>::clone(self.site_key) as Arc<dyn Pseudonyms>);
        let settings = self.settings(stage)?;
        let contract = self.contract(component, stage, &settings);
        Ok(ActiveStage {
            name: stage.name.clone(),
            settings,
            contract: Arc::new(contract),
            component: loaded.clone(),
            ports: stage.ports.clone(),
            deidentifies: stage.grants.contains(&Grant::Deidentify),
            verifies: stage.grants.contains(&Grant::Verify),
            guest_models: stage.grants.contains(&Grant::DangerouslyLoadGuestModels),
            assets,
            models: models.into_values().collect(),
            pseudonyms,
        })
    }

    /// The manifest's settings, and what the device adds: the recipe and the description of models, so that a
    /// component that works for any model learns of it from the signed manifest.
    fn settings(&self, stage: &Stage) -> Result<BTreeMap<Name, String>, ActivationError> {
        let mut settings = stage.settings.clone();
        let mut set = |name: &str, value: String| {
            if let Ok(name) = name.parse::<Name>() {
                settings.entry(name).or_insert(value);
            }
        };
        if let [only] = stage.models.as_slice()
            && let Some(model) = self.manifest.model(only)
        {
            set("model", only.to_string());
            set(
                "model-manifest",
                json!({ "name": model.name, "inputs": model.inputs, "outputs": model.outputs, "labels": model.labels,
                        "calibration": model.calibration, "threshold": model.threshold })
                .to_string(),
            );
        }
        if let Some(wanted) = stage.settings.iter().find(|(name, _)| name.as_str() == "recipe-of-model") {
            let model = wanted.1.parse::<Name>().ok().and_then(|name| self.manifest.model(&name));
            let recipe = model.and_then(|model| model.recipe.as_ref());
            let recipe = recipe.ok_or_else(|| ActivationError::NoRecipe { stage: stage.name.clone() })?;
            set("recipe", recipe.to_string());
        }
        Ok(settings)
    }

    fn contract(&self, component: &Component, stage: &Stage, settings: &BTreeMap<Name, String>) -> Contract {
        let of_models = || {
            let models = stage.models.iter().filter_map(|name| self.manifest.model(name));
            models.flat_map(|model| model.labels.iter().cloned()).collect()
        };
        let findings = component.findings.iter().map(|schema| FindingRule {
            kind: schema.kind.clone(),
            labels: if schema.labels.is_empty() { of_models() } else { schema.labels.clone() },
            measurements: schema.measurements.clone(),
        });
        let EvidenceWords { profiles, mut editions, actions, mut notes } = component.evidence.clone();
        // What nobody lists when packing, because it is not known then or is written down already.
        let assets = stage.assets.iter().filter_map(|name| Some(self.manifest.asset(name)?.digest));
        let models = stage.models.iter().filter_map(|name| Some(self.manifest.model(name)?.digest));
        let settings = settings.values().filter_map(|text| digest_of_json(text));
        editions.extend(assets.chain(models).chain(settings).map(|digest| digest.to_string()));
        if stage.grants.contains(&Grant::Pseudonyms) {
            notes.push(format!("pseudonym-key-{}", self.site_key.key_id()));
        }
        Contract {
            codes: component.codes.clone(),
            findings: findings.collect(),
            evidence: EvidenceRule { profiles, editions, actions, notes },
        }
    }
}

/// The digest by which a component names a setting that is a JSON object, for example a recipe: that of the object
/// written without blanks, keys sorted. None where the setting is none.
fn digest_of_json(setting: &str) -> Option<Digest> {
    let mut value: serde_json::Value = serde_json::from_str(setting).ok()?;
    value.sort_all_objects();
    value.is_object().then(|| Digest::of(value.to_string().as_bytes()))
}

/// Whether inputs of folders may go into the pipeline: they are taken as DICOM, and any bytes may be DICOM.
fn accepts_folders(accepts: &[String]) -> bool {
    accepts.iter().any(|kind| matches!(kind.as_str(), "application/dicom" | "application/octet-stream"))
}

/// The things of these names, or the first name that has none.
fn granted<T: Clone>(names: &[Name], all: &BTreeMap<Name, T>) -> Result<BTreeMap<Name, T>, Name> {
    names.iter().map(|name| Ok((name.clone(), all.get(name).ok_or_else(|| name.clone())?.clone()))).collect()
}

/// A bundle that runs.
#[derive(Debug)]
pub struct Active {
    pub(crate) plan: Plan,
    pub(crate) stages: Vec<ActiveStage>,
    pub(crate) bundle_digest: Digest,
    pub(crate) site_key: Arc<SiteKey>,
    pub(crate) inference: Arc<Inference>,
    /// How long a pass may go on to call stages.
    pub(crate) longest_pass: Duration,
}

impl Active {
    /// What the bundle is.
    pub const fn bundle_digest(&self) -> &Digest {
        &self.bundle_digest
    }

    /// Whether what it puts out may identify a person, as the bundle's `dangerously-export-identified` lets it.
    pub fn exports_identified(&self) -> bool {
        self.plan.exports.iter().any(|export| export.class == DataClass::Identified)
    }
}

/// A stage with everything that it is granted.
pub(crate) struct ActiveStage {
    pub(crate) name: Name,
    pub(crate) component: StageComponent<NnExtension>,
    pub(crate) settings: BTreeMap<Name, String>,
    pub(crate) assets: BTreeMap<Name, Payload>,
    pub(crate) ports: Vec<Name>,
    pub(crate) pseudonyms: Option<Arc<dyn Pseudonyms>>,
    pub(crate) contract: Arc<Contract>,
    pub(crate) models: Vec<ActivatedModel>,
    pub(crate) guest_models: bool,
    pub(crate) deidentifies: bool,
    pub(crate) verifies: bool,
}

impl std::fmt::Debug for ActiveStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ActiveStage({})", self.name)
    }
}

#[cfg(test)]
#[path = "activation_tests.rs"]
mod tests;
#[cfg(test)]
pub(crate) use tests::bundle as bundle_of_nothing;
