//! From the manifest's stage graph to an order of work, with the data class of every port.

use std::collections::{BTreeMap, BTreeSet};

use martello_bundle::manifest::{Capability, Grant, Manifest, Stage};
use martello_vocab::{DataClass, Name};

/// The order of work of a bundle's pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The stages: each stands behind the one it takes payloads from.
    pub stages: Vec<PlannedStage>,
    /// What leaves.
    pub exports: Vec<ExportPlan>,
    /// Ports of de-identifiers that a verifier takes from.
    verified: BTreeSet<(usize, Name)>,
}

/// A stage with the class of what it takes and gives.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    /// As the manifest has it.
    pub stage: Stage,
    /// Where its payloads come from.
    pub source: Source,
    /// The class of what it takes in.
    pub takes: DataClass,
    /// The class of what it gives: what it takes. What the granted de-identifier gives has a lower one on the ports
    /// that a verifier takes from, for whoever stands behind that verifier.
    pub gives: DataClass,
}

/// Where payloads come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The pipeline's input.
    Input,
    /// A port of an earlier stage, by its index in [`Plan::stages`].
    Port {
        /// The earlier stage.
        stage: usize,
        /// Its port.
        port: Name,
    },
}

/// An output that leaves the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPlan {
    /// The stage, by its index in [`Plan::stages`].
    pub stage: usize,
    /// Its port.
    pub port: Name,
    /// The folder that it goes to.
    pub folder: Name,
    /// The file extension.
    pub extension: Name,
    /// Its class.
    pub class: DataClass,
}

/// What takes the payloads of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer<'plan> {
    /// A later stage.
    Stage(usize),
    /// An export.
    Export(&'plan ExportPlan),
}

/// The pipeline cannot be run as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A place names no stage before it, or no port that the stage has.
    #[error("`{at}` takes from `{from}`, which is neither `input` nor a port of an earlier stage")]
    UnknownSource {
        /// The stage or export folder.
        at: Name,
        /// What it names.
        from: String,
    },
    /// An export would let identified payloads out.
    #[error(
        "`{from}` is exported to `{folder}` but no de-identifying stage with a verifier lies on the way to it, and the \
         bundle does not hold the capability dangerously-export-identified"
    )]
    IdentifiedExport {
        /// `stage.port`.
        from: String,
        /// The folder.
        folder: Name,
    },
    /// A stage is granted to verify, and there is nothing of another component's that it could judge.
    #[error(
        "stage `{stage}` is granted verify but takes from no port of a de-identifier of another component"
    )]
    NothingToVerify {
        /// The stage.
        stage: Name,
    },
    /// A stage would conclude from identified payloads and its findings leave.
    #[error("stage `{stage}` returns findings but works on identified payloads")]
    IdentifiedFindings {
        /// The stage.
        stage: Name,
    },
}

impl Plan {
    /// Plans the pipeline of `manifest` for inputs that may identify a person.
    ///
    /// # Errors
    /// A source that does not exist, or an output that taint forbids to leave.
    pub fn of(manifest: &Manifest) -> Result<Self, PlanError> {
        let may_export_identified = manifest.capabilities.contains(&Capability::DangerouslyExportIdentified);
        let returns_findings: BTreeMap<&Name, bool> = manifest
            .components
            .iter()
            .map(|component| (&component.name, !component.findings.is_empty()))
            .collect();
        let mut stages: Vec<PlannedStage> = Vec::with_capacity(manifest.pipeline.stages.len());
        let mut verified = BTreeSet::new();
        for stage in &manifest.pipeline.stages {
            let source = resolve(&stages, &stage.name, &stage.from)?;
            let takes = class_of(&stages, &verified, &source);
            // INVARIANT: what the de-identifier says it made is believed for those alone that stand behind a verifier
            // of another component (`what_no_verifier_judges_stays_identified`).
            if stage.grants.contains(&Grant::Verify) {
                match judged(manifest, &stages, stage, &source) {
                    Some(port) => drop(verified.insert(port)),
                    None => return Err(PlanError::NothingToVerify { stage: stage.name.clone() }),
                }
            }
            let gives = takes;
            let concludes = returns_findings.get(&stage.component).copied().unwrap_or(false);
            if concludes && takes == DataClass::Identified && !may_export_identified {
                return Err(PlanError::IdentifiedFindings { stage: stage.name.clone() });
            }
            stages.push(PlannedStage { stage: stage.clone(), source, takes, gives });
        }
        let mut exports = Vec::with_capacity(manifest.pipeline.exports.len());
        for export in &manifest.pipeline.exports {
            let unknown =
                || PlanError::UnknownSource { at: export.folder.clone(), from: export.from.clone() };
            let source = resolve(&stages, &export.folder, &export.from)?;
            let class = class_of(&stages, &verified, &source);
            let Source::Port { stage, port } = source else {
                return Err(unknown());
            };
            if class == DataClass::Identified && !may_export_identified {
                return Err(PlanError::IdentifiedExport {
                    from: export.from.clone(),
                    folder: export.folder.clone(),
                });
            }
            exports.push(ExportPlan {
                stage,
                port,
                folder: export.folder.clone(),
                extension: export.extension.clone(),
                class,
            });
        }
        Ok(Self { stages, exports, verified })
    }

    /// Stages that take the pipeline's input.
    pub fn first(&self) -> impl Iterator<Item = usize> + '_ {
        self.stages.iter().enumerate().filter(|(_, planned)| planned.source == Source::Input).map(|(i, _)| i)
    }

    /// Whether a verifier takes the payloads that the de-identifier `stage` writes on `port`.
    pub fn is_verified(&self, stage: usize, port: &Name) -> bool {
        self.verified.contains(&(stage, port.clone()))
    }

    /// What takes the payloads that `stage` writes on `port`, in the order of work.
    pub fn consumers<'plan>(&'plan self, stage: usize, port: &Name) -> Vec<Consumer<'plan>> {
        let wanted = Source::Port { stage, port: port.clone() };
        let later = self.stages.iter().enumerate();
        let later = later.filter(|(_, planned)| planned.source == wanted).map(|(i, _)| Consumer::Stage(i));
        let out = self.exports.iter().filter(|export| export.stage == stage && export.port == *port);
        later.chain(out.map(Consumer::Export)).collect()
    }
}

fn resolve(earlier: &[PlannedStage], at: &Name, from: &str) -> Result<Source, PlanError> {
    if from == "input" {
        return Ok(Source::Input);
    }
    let unknown = || PlanError::UnknownSource { at: at.clone(), from: from.to_owned() };
    // Names may hold dots themselves, so the port is what stands behind a known stage's name and a dot.
    earlier
        .iter()
        .enumerate()
        .find_map(|(index, planned)| {
            let port = from.strip_prefix(planned.stage.name.as_str())?.strip_prefix('.')?;
            let port = planned.stage.ports.iter().find(|known| known.as_str() == port)?;
            Some(Source::Port { stage: index, port: port.clone() })
        })
        .ok_or_else(unknown)
}

/// The class of what comes from `source`, as far as the verifiers before it have judged.
fn class_of(earlier: &[PlannedStage], verified: &BTreeSet<(usize, Name)>, source: &Source) -> DataClass {
    match source {
        Source::Input => DataClass::Identified,
        Source::Port { stage, port } if verified.contains(&(*stage, port.clone())) => DataClass::Deidentified,
        Source::Port { stage, .. } => {
            earlier.get(*stage).map_or(DataClass::Identified, |planned| planned.gives)
        }
    }
}

/// The port that `verifier` judges: one of a de-identifier, by other bytes than the de-identifier's own.
fn judged(
    manifest: &Manifest,
    earlier: &[PlannedStage],
    verifier: &Stage,
    source: &Source,
) -> Option<(usize, Name)> {
    let Source::Port { stage, port } = source else { return None };
    let deidentifier = &earlier.get(*stage)?.stage;
    let digest = |name: &Name| {
        manifest.components.iter().find(|component| component.name == *name).map(|component| component.digest)
    };
    let other = digest(&deidentifier.component)? != digest(&verifier.component)?;
    let deidentifies = deidentifier.grants.contains(&Grant::Deidentify);
    let judges = !verifier.grants.contains(&Grant::Deidentify);
    (other && deidentifies && judges).then(|| (*stage, port.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "a test reads better with `json!(..)` in its place")]
    fn manifest(stages: serde_json::Value, exports: serde_json::Value) -> Manifest {
        let component = |name: &str, digit: &str, findings: serde_json::Value| {
            json!({ "name": name, "digest": format!("sha256:{}", digit.repeat(64)), "size": 1, "imports": [],
                    "findings": findings })
        };
        serde_json::from_value(json!({
            "schema": 1, "name": "t", "version": "0.1.0", "security_version": 1, "created": "2026-01-01T00:00:00Z",
            "components": [component("deid", "0", json!([])), component("verify", "1", json!([])),
                           component("same", "0", json!([])), component("render", "2", json!([])),
                           component("classify", "3", json!([{ "kind": "quality" }]))],
            "pipeline": { "accepts": ["application/dicom"], "stages": stages, "exports": exports },
        }))
        .unwrap()
    }

    fn stage(name: &str, from: &str, grants: &[&str]) -> serde_json::Value {
        json!({ "name": name, "component": name, "from": from, "ports": ["image"], "grants": grants })
    }

    fn export(from: &str) -> serde_json::Value {
        json!([{ "from": from, "folder": "images", "extension": "dcm" }])
    }

    #[test]
    fn what_lies_behind_the_deidentifier_and_its_verifier_may_leave() {
        let stages = json!([
            stage("deid", "input", &["deidentify"]),
            stage("verify", "deid.image", &["verify"]),
            stage("render", "deid.image", &[]),
            stage("classify", "render.image", &[]),
        ]);
        let plan = Plan::of(&manifest(stages.clone(), export("render.image"))).unwrap();
        assert_eq!(plan.first().collect::<Vec<_>>(), [0]);
        assert_eq!(plan.stages[0].takes, DataClass::Identified);
        assert_eq!(plan.stages[1].takes, DataClass::Identified);
        assert_eq!(plan.stages[3].takes, DataClass::Deidentified);
        let image = "image".parse().unwrap();
        assert_eq!(plan.consumers(0, &image), [Consumer::Stage(1), Consumer::Stage(2)]);
        assert_eq!(plan.consumers(2, &image), [Consumer::Stage(3), Consumer::Export(&plan.exports[0])]);
        assert!(plan.is_verified(0, &image) && !plan.is_verified(2, &image));
        let exported = Plan::of(&manifest(stages, export("deid.image"))).unwrap();
        assert_eq!(exported.exports[0].class, DataClass::Deidentified);
    }

    #[test]
    fn what_no_verifier_judges_stays_identified() {
        let without = json!([stage("deid", "input", &["deidentify"])]);
        let ungranted = json!([stage("deid", "input", &["deidentify"]), stage("verify", "deid.image", &[])]);
        // Its own outputs are nobody's receipt: what leaves is what was judged.
        let rewritten =
            json!([stage("deid", "input", &["deidentify"]), stage("verify", "deid.image", &["verify"])]);
        for (stages, from) in
            [(without, "deid.image"), (ungranted, "deid.image"), (rewritten, "verify.image")]
        {
            let refused = Plan::of(&manifest(stages, export(from)));
            assert!(matches!(refused, Err(PlanError::IdentifiedExport { .. })), "{refused:?}");
        }
        // Who takes before the verifier has judged takes identified payloads.
        let early = json!([
            stage("deid", "input", &["deidentify"]),
            stage("classify", "deid.image", &[]),
            stage("verify", "deid.image", &["verify"]),
        ]);
        let refused = Plan::of(&manifest(early, json!([])));
        assert_eq!(refused, Err(PlanError::IdentifiedFindings { stage: "classify".parse().unwrap() }));
    }

    #[test]
    fn a_verifier_judges_a_deidentifier_that_is_another_component() {
        let refused = |stages| {
            let plan = Plan::of(&manifest(stages, json!([])));
            assert!(matches!(plan, Err(PlanError::NothingToVerify { .. })), "{plan:?}");
        };
        let deid = || stage("deid", "input", &["deidentify"]);
        refused(json!([stage("verify", "input", &["verify"])]));
        refused(json!([
            deid(),
            stage("render", "deid.image", &[]),
            stage("verify", "render.image", &["verify"])
        ]));
        // The same bytes under another name judge themselves.
        refused(json!([deid(), stage("same", "deid.image", &["verify"])]));
        refused(json!([deid(), stage("verify", "deid.image", &["verify", "deidentify"])]));
    }

    #[test]
    fn an_export_that_no_deidentifier_guards_is_refused() {
        let around = json!([stage("deid", "input", &["deidentify"]), stage("render", "input", &[])]);
        let refused = Plan::of(&manifest(around.clone(), export("render.image")));
        assert!(matches!(refused, Err(PlanError::IdentifiedExport { .. })), "{refused:?}");
        let mut granted = manifest(around, export("render.image"));
        granted.capabilities.push(Capability::DangerouslyExportIdentified);
        let plan = Plan::of(&granted).unwrap();
        assert_eq!(plan.exports[0].class, DataClass::Identified);
        assert_eq!(plan.first().collect::<Vec<_>>(), [0, 1], "each stage that takes the input");
    }

    #[test]
    fn findings_from_identified_payloads_are_refused() {
        let stages = json!([stage("classify", "input", &[])]);
        let refused = Plan::of(&manifest(stages, json!([])));
        assert_eq!(refused, Err(PlanError::IdentifiedFindings { stage: "classify".parse().unwrap() }));
    }

    #[test]
    fn a_source_that_comes_later_or_does_not_exist_is_refused() {
        for from in ["render.image", "deid.tensor", "deid", "", "input.image"] {
            let stages = json!([stage("deid", from, &["deidentify"]), stage("render", "input", &[])]);
            assert!(
                matches!(Plan::of(&manifest(stages, json!([]))), Err(PlanError::UnknownSource { .. })),
                "{from}"
            );
        }
    }
}
