//! The rules that a manifest must keep, checked once, when it enters.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use martello_trust::canonical::Numbers;
use martello_trust::{Pins, Role, SignedDocument, Timestamp};
use martello_vocab::{ByteCount, Code, Digest, LimitsError, Name};

use crate::manifest::{
    Asset, Component, EvidenceWords, Export, Golden, GoldenTensor, Manifest, Model, PinnedFile, Stage,
    TensorSchema,
};

/// The format version that this crate reads and writes.
pub const SCHEMA: u32 = 1;

/// A manifest that keeps every rule of [`Manifest::validate`].
#[derive(Debug, Clone, PartialEq)]
pub struct ValidManifest(Manifest);

/// A rule that a manifest breaks.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of a manifest.
    #[error("reading a manifest: {0}")]
    Json(String),
    /// Its format is of another version.
    #[error("reading a manifest: its schema is {found}, understood is {SCHEMA}")]
    Schema {
        /// The version found.
        found: u32,
    },
    /// A list, text or size is out of bounds.
    #[error("checking a manifest: {what} is {found}, allowed are {least} to {most}")]
    Bound {
        /// Where, in words.
        what: String,
        /// What was found.
        found: u64,
        /// The least allowed.
        least: u64,
        /// The most allowed.
        most: u64,
    },
    /// Two things of a kind have one name.
    #[error("checking a manifest: {what} `{name}` stands there twice")]
    Twice {
        /// The kind.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name leads to nothing.
    #[error("checking a manifest: {place} names {what} `{name}`, which does not exist")]
    Unresolved {
        /// Where.
        place: String,
        /// The kind of thing named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value is not of the form that it must have.
    #[error("checking a manifest: {place}: {rule}")]
    Form {
        /// Where.
        place: String,
        /// The rule.
        rule: &'static str,
    },
    /// A component asks for more than any may.
    #[error("checking a manifest: component `{component}`")]
    Limits {
        /// The component.
        component: Name,
        /// The limit.
        #[source]
        source: LimitsError,
    },
}

type Checked = Result<(), ManifestError>;

impl Deref for ValidManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.0
    }
}

impl From<ValidManifest> for Manifest {
    fn from(valid: ValidManifest) -> Self {
        valid.0
    }
}

impl Manifest {
    /// Checks every rule: names are unique and resolve, a stage is fed by the input or by an earlier stage (so there
    /// are no cycles), and every count, size, text and shape is within its bound.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn validate(self) -> Result<ValidManifest, ManifestError> {
        self.check_head()?;
        self.check_components()?;
        unique("model", self.models.iter().map(|model| &model.name))?;
        self.models.iter().try_for_each(check_model)?;
        self.check_files()?;
        self.check_pipeline()?;
        self.check_pins()?;
        Ok(ValidManifest(self))
    }

    /// The component of this name.
    pub fn component(&self, name: &Name) -> Option<&Component> {
        self.components.iter().find(|component| component.name == *name)
    }

    /// The model of this name.
    pub fn model(&self, name: &Name) -> Option<&Model> {
        self.models.iter().find(|model| model.name == *name)
    }

    /// The asset of this name.
    pub fn asset(&self, name: &Name) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == *name)
    }

    /// The stage of this name.
    pub fn stage(&self, name: &Name) -> Option<&Stage> {
        self.pipeline.stages.iter().find(|stage| stage.name == *name)
    }

    /// Every blob that the manifest pins, once, with its length.
    pub fn pins(&self) -> BTreeMap<Digest, ByteCount> {
        self.all_pins().collect()
    }

    fn all_pins(&self) -> impl Iterator<Item = (Digest, ByteCount)> {
        let tensors = |golden: &Golden| -> Vec<(Digest, ByteCount)> {
            golden.inputs.values().chain(golden.outputs.values()).map(|t| (t.digest, t.size)).collect()
        };
        let components = self.components.iter().map(|it| (it.digest, it.size));
        let models = self.models.iter().map(|it| (it.digest, it.size));
        let goldens = self.models.iter().flat_map(|it| &it.golden).flat_map(tensors);
        let assets = self.assets.iter().map(|it| (it.digest, it.size));
        let documents = self.sbom.iter().chain(&self.provenance).map(|it| (it.digest, it.size));
        components.chain(models).chain(goldens).chain(assets).chain(documents)
    }

    fn check_head(&self) -> Checked {
        if self.schema != SCHEMA {
            return Err(ManifestError::Schema { found: self.schema });
        }
        semver::Version::parse(&self.version)
            .map_err(|_| form("version", "it is not a version of Semantic Versioning 2.0.0"))?;
        bound("length of version", self.version.len(), 1, 128)?;
        self.created
            .parse::<Timestamp>()
            .map_err(|_| form("created", "it is not written `YYYY-MM-DDThh:mm:ssZ`"))?;
        if self.min_rollback_to.is_some_and(|least| least > self.security_version) {
            return Err(form("min_rollback_to", "it is above security_version"));
        }
        if let Some(compat) = &self.compat {
            if let Some(host) = &compat.host_semver {
                bound("length of compat.host_semver", host.len(), 1, 128)?;
                semver::VersionReq::parse(host)
                    .map_err(|_| form("compat.host_semver", "it is not a version requirement"))?;
            }
            bound("number of compat.arch", compat.arch.len(), 0, 16)?;
            bound("number of compat.accel", compat.accel.len(), 0, 16)?;
        }
        if let Some(health) = &self.health {
            bound("health.probes", health.probes as usize, 1, 1_000_000)?;
            bound_u64("health.window_s", health.window_s, 1, 30 * 86_400)?;
            share("health.max_trap_rate", health.max_trap_rate)?;
            bound_u64("health.p95_ms", health.p95_ms.unwrap_or(1), 1, 3_600_000)?;
        }
        Ok(())
    }

    fn check_components(&self) -> Checked {
        bound("number of components", self.components.len(), 1, 64)?;
        unique("component", self.components.iter().map(|component| &component.name))?;
        for component in &self.components {
            let place = |what| format!("{what} of component `{}`", component.name);
            bound_u64(place("size"), component.size.0, 8, 256 << 20)?;
            bound(place("number of imports"), component.imports.len(), 0, 256)?;
            unique("import", component.imports.iter())?;
            for import in &component.imports {
                text(&place("import"), import, 256)?;
            }
            component.limits.clone().checked().map_err(|source| {
                let component = component.name.clone();
                ManifestError::Limits { component, source }
            })?;
            bound(place("number of codes"), component.codes.len(), 0, 256)?;
            unique("code", component.codes.iter())?;
            for code in &component.codes {
                if !is_code(code) {
                    return Err(form(
                        &place("a code"),
                        "it is not 1 to 64 lower-case words joined by hyphens",
                    ));
                }
                if Code::OF_THE_HOST.contains(&code.as_str()) {
                    return Err(form(&place("a code"), "the host alone gives it"));
                }
            }
            bound(place("number of findings"), component.findings.len(), 0, 64)?;
            unique("finding", component.findings.iter().map(|finding| &finding.kind))?;
            for finding in &component.findings {
                check_labels(&place("labels"), &finding.labels)?;
                bound(place("number of measurements"), finding.measurements.len(), 0, 256)?;
                unique("measurement", finding.measurements.iter())?;
            }
            check_evidence(&component.name, &component.evidence)?;
        }
        Ok(())
    }

    fn check_files(&self) -> Checked {
        bound("number of models", self.models.len(), 0, 64)?;
        bound("number of assets", self.assets.len(), 0, 256)?;
        unique("asset", self.assets.iter().map(|asset| &asset.name))?;
        for asset in &self.assets {
            bound_u64(format!("size of asset `{}`", asset.name), asset.size.0, 0, 1 << 30)?;
            media_type(&format!("media type of asset `{}`", asset.name), &asset.media_type)?;
        }
        for PinnedFile { size, media_type: kind, .. } in self.sbom.iter().chain(&self.provenance) {
            bound_u64("size of sbom or provenance", size.0, 0, 64 << 20)?;
            media_type("media type of sbom or provenance", kind)?;
        }
        Ok(())
    }

    fn check_pipeline(&self) -> Checked {
        let pipeline = &self.pipeline;
        bound("number of accepted media types", pipeline.accepts.len(), 1, 64)?;
        pipeline.accepts.iter().try_for_each(|kind| media_type("pipeline.accepts", kind))?;
        bound("number of stages", pipeline.stages.len(), 1, 64)?;
        unique("stage", pipeline.stages.iter().map(|stage| &stage.name))?;
        let mut sources: BTreeSet<String> = BTreeSet::from(["input".to_owned()]);
        for stage in &pipeline.stages {
            self.check_stage(stage)?;
            // Only what stands above may feed a stage, so the graph has no cycles.
            resolve(&stage.name, "an earlier output", &stage.from, |from| sources.contains(from))?;
            sources.extend(stage.ports.iter().map(|port| format!("{}.{port}", stage.name)));
        }
        sources.remove("input");
        bound("number of exports", pipeline.exports.len(), 0, 256)?;
        for export in &pipeline.exports {
            resolve("pipeline.exports", "an output", &export.from, |from| sources.contains(from))?;
            if [Export::FINDINGS, Export::QUARANTINE].contains(&export.folder.as_str()) {
                return Err(form(
                    "pipeline.exports",
                    "the host itself writes into `findings` and `quarantine`",
                ));
            }
        }
        unique(
            "export",
            pipeline.exports.iter().map(|export| format!("{} into {}", export.from, export.folder)),
        )
    }

    fn check_stage(&self, stage: &Stage) -> Checked {
        let name = &stage.name;
        if name.as_str() == "input" || name.as_str().contains('.') {
            return Err(form(&format!("stage `{name}`"), "it is called `input` or has a dot in its name"));
        }
        if stage.ports.iter().any(|port| port.as_str().contains('.')) {
            return Err(form(&format!("ports of stage `{name}`"), "a port has a dot in its name"));
        }
        resolve(name, "component", &stage.component, |it| {
            self.components.iter().any(|c| c.name.as_str() == it)
        })?;
        for (what, count, most) in [
            ("number of ports", stage.ports.len(), 32),
            ("number of grants", stage.grants.len(), 8),
            ("number of models", stage.models.len(), 64),
            ("number of assets", stage.assets.len(), 256),
            ("number of settings", stage.settings.len(), 256),
        ] {
            bound(format!("{what} of stage `{name}`"), count, 0, most)?;
        }
        unique("port", stage.ports.iter())?;
        unique("grant", stage.grants.iter().map(|grant| format!("{grant:?}")))?;
        unique("granted model", stage.models.iter())?;
        unique("granted asset", stage.assets.iter())?;
        for model in &stage.models {
            resolve(name, "model", model, |it| self.models.iter().any(|m| m.name.as_str() == it))?;
        }
        for asset in &stage.assets {
            resolve(name, "asset", asset, |it| self.assets.iter().any(|a| a.name.as_str() == it))?;
        }
        for value in stage.settings.values() {
            bound(format!("length of a setting of stage `{name}`"), value.len(), 0, 16 << 10)?;
        }
        unique("capability", self.capabilities.iter().map(|capability| format!("{capability:?}")))
    }

    fn check_pins(&self) -> Checked {
        let mut sizes = BTreeMap::new();
        for (digest, size) in self.all_pins() {
            if *sizes.entry(digest).or_insert(size) != size {
                return Err(form(&digest.to_string(), "it is pinned with two lengths"));
            }
        }
        Ok(())
    }
}

fn check_evidence(component: &Name, words: &EvidenceWords) -> Checked {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_/".contains(&byte);
    for (what, words, is_word) in [
        ("evidence.profiles", &words.profiles, None),
        ("evidence.editions", &words.editions, None),
        ("evidence.actions", &words.actions, Some(is_code as fn(&str) -> bool)),
        ("evidence.notes", &words.notes, Some(is_code as _)),
    ] {
        let place = format!("{what} of component `{component}`");
        bound(format!("number of {place}"), words.len(), 0, 256)?;
        unique(what, words.iter())?;
        for word in words {
            match is_word {
                Some(is_word) if !is_word(word) => {
                    return Err(form(&place, "one is not 1 to 64 lower-case words joined by hyphens"));
                }
                None if !(1..=64).contains(&word.len()) || !word.bytes().all(fits) => {
                    return Err(form(&place, "one is not 1 to 64 lower-case letters, digits and `.-_/`"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn check_model(model: &Model) -> Checked {
    let place = |what| format!("{what} of model `{}`", model.name);
    bound_u64(place("size"), model.size.0, 1, 8 << 30)?;
    for (what, tensors) in [("inputs", &model.inputs), ("outputs", &model.outputs)] {
        bound(place(what), tensors.len(), 1, 64)?;
        unique("tensor", tensors.iter().map(|tensor| &tensor.name))?;
        for tensor in tensors {
            text(&place("tensor name"), &tensor.name, 256)?;
            bound(place("rank of a tensor"), tensor.shape.len(), 0, 8)?;
            let dimensions = tensor.shape.iter().map(|dimension| dimension.unwrap_or(1));
            tensor_bytes(&place("a tensor"), dimensions, tensor.dtype.size())?;
        }
    }
    let device = model.placement.device.as_str();
    let is_number = |digits: &str| digits.parse::<u8>().is_ok_and(|number| number.to_string() == digits);
    let number = device.strip_prefix("gpu:").map(is_number);
    if device != "cpu" && device != "gpu" && number != Some(true) {
        return Err(form(&place("placement.device"), "it is not `cpu`, `gpu` or `gpu:N`"));
    }
    check_labels(&place("labels"), &model.labels)?;
    let classes = model.outputs.first().and_then(|output| *output.shape.last()?);
    if let (Some(classes), false) = (classes, model.labels.is_empty()) {
        let classes = classes as usize;
        bound(place("number of labels"), model.labels.len(), classes, classes)?;
    }
    if model.calibration.as_ref().is_some_and(|it| !(it.temperature > 0.0 && it.temperature.is_finite())) {
        return Err(form(&place("calibration.temperature"), "it is not above 0"));
    }
    share(&place("threshold"), model.threshold.unwrap_or(0.0))?;
    if let Some(licence) = &model.licence {
        text(&place("licence"), licence, 256)?;
    }
    bound(place("number of golden cases"), model.golden.len(), 0, 32)?;
    for golden in &model.golden {
        check_golden(&place("golden inputs"), &golden.inputs, &model.inputs)?;
        check_golden(&place("golden outputs"), &golden.outputs, &model.outputs)?;
        for tolerance in [golden.absolute_tolerance, golden.relative_tolerance] {
            if !(tolerance.is_finite() && tolerance >= 0.0) {
                return Err(form(&place("golden tolerances"), "one is negative"));
            }
        }
    }
    Ok(())
}

fn check_golden(place: &str, found: &BTreeMap<String, GoldenTensor>, wanted: &[TensorSchema]) -> Checked {
    if found.len() != wanted.len() {
        return Err(form(place, "they are not those of the model"));
    }
    for schema in wanted {
        let Some(tensor) = found.get(&schema.name) else {
            return Err(form(place, "they are not those of the model"));
        };
        let fits = schema.shape.len() == tensor.shape.len()
            && schema.shape.iter().zip(&tensor.shape).all(|(most, one)| most.is_none_or(|most| most == *one));
        if !fits {
            return Err(form(place, "the shape of one is not that of the model"));
        }
        let bytes = tensor_bytes(place, tensor.shape.iter().copied(), schema.dtype.size())?;
        bound_u64(format!("size of {place}"), tensor.size.0, bytes, bytes)?;
    }
    Ok(())
}

/// The most bytes that a tensor may have.
const LARGEST_TENSOR: u64 = 4 << 30;

fn tensor_bytes(
    place: &str,
    dimensions: impl Iterator<Item = u32>,
    element: usize,
) -> Result<u64, ManifestError> {
    let mut bytes = element as u64;
    for dimension in dimensions {
        bound_u64(format!("a dimension of {place}"), dimension.into(), 1, u32::MAX.into())?;
        bytes = bytes.saturating_mul(dimension.into());
    }
    bound_u64(format!("bytes of {place}"), bytes, 1, LARGEST_TENSOR)?;
    Ok(bytes)
}

fn check_labels(place: &str, labels: &[String]) -> Checked {
    bound(format!("number of {place}"), labels.len(), 0, 4096)?;
    unique("label", labels.iter())?;
    labels.iter().try_for_each(|label| text(place, label, 128))
}

fn form(place: &str, rule: &'static str) -> ManifestError {
    ManifestError::Form { place: place.to_owned(), rule }
}

fn bound(what: impl Into<String>, found: usize, least: usize, most: usize) -> Checked {
    bound_u64(what, found as u64, least as u64, most as u64)
}

fn bound_u64(what: impl Into<String>, found: u64, least: u64, most: u64) -> Checked {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(ManifestError::Bound { what: what.into(), found, least, most })
}

fn share(place: &str, value: f64) -> Checked {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(form(place, "it is not from 0 to 1")) }
}

fn text(place: &str, text: &str, longest: usize) -> Checked {
    bound(format!("length of {place}"), text.len(), 1, longest)
}

fn unique<T: AsRef<str>>(what: &'static str, names: impl Iterator<Item = T>) -> Checked {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.as_ref().to_owned()) {
            return Err(ManifestError::Twice { what, name: name.as_ref().to_owned() });
        }
    }
    Ok(())
}

fn resolve(
    place: impl AsRef<str>,
    what: &'static str,
    name: impl AsRef<str>,
    exists: impl Fn(&str) -> bool,
) -> Checked {
    if exists(name.as_ref()) {
        return Ok(());
    }
    let (place, name) = (place.as_ref().to_owned(), name.as_ref().to_owned());
    Err(ManifestError::Unresolved { place, what, name })
}

/// RFC 6838 section 4.2: `type/subtype`, each a restricted name.
fn media_type(place: &str, kind: &str) -> Checked {
    let is_name = |name: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        (1..=127).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(inner)
    };
    match kind.split_once('/') {
        Some((kind, sub)) if is_name(kind) && is_name(sub) => Ok(()),
        _ => Err(form(place, "it is not a media type")),
    }
}

fn is_code(code: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    code.len() <= 64
        && code.starts_with(|first: char| first.is_ascii_lowercase())
        && code.split('-').all(is_word)
}

impl Pins for Manifest {
    fn pinned_size(&self, digest: &Digest) -> Option<ByteCount> {
        self.all_pins().find_map(|(pinned, size)| (pinned == *digest).then_some(size))
    }
}

impl SignedDocument for Manifest {
    const KIND: &'static str = "bundle";
    const ROLE: Role = Role::RELEASE;
    const LARGEST: ByteCount = ByteCount::mebibytes(1);
    const NUMBERS: Numbers = Numbers::Fractions;

    /// A manifest that came out of verification has been validated too.
    fn read(statement: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(statement).map_err(|error| error.to_string())?;
        manifest.validate().map(Self::from).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
