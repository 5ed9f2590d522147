//! Golden vectors: inputs whose outputs are known, run before a model may work.

use std::collections::BTreeMap;

use bytes::Bytes;
use martello_bundle::manifest::{Backend, Golden, GoldenTensor, Model, Placement, Strictness, TensorSchema};
use martello_trust::{Blob, Trusted};
use serde::{Deserialize, Serialize};

use crate::backend::{BackendKind, Execution};
use crate::error::ModelError;
use crate::inference::Inference;
use crate::model::LoadedModel;
use crate::tensor::Tensor;

/// A golden vector of the manifest with its tensors.
#[derive(Debug, Clone)]
pub struct GoldenCase<'a> {
    /// What the manifest says.
    pub golden: &'a Golden,
    /// The bytes of each input.
    pub inputs: BTreeMap<String, Bytes>,
    /// The bytes of each output.
    pub outputs: BTreeMap<String, Bytes>,
}

/// What the golden vectors showed, for the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenEvidence {
    /// How many vectors ran.
    pub vectors: usize,
    /// The chosen backend, and the built-in one where it is another.
    pub runs: Vec<GoldenRun>,
    /// Why the built-in backend did not run them, so that the manifest's outputs decided alone; none where it did.
    pub decided_alone: Option<String>,
}

/// How far one backend was from the known outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenRun {
    /// On what it ran.
    pub execution: Execution,
    /// The greatest absolute difference of all vectors.
    pub absolute: f64,
    /// The greatest difference relative to the expected value of all vectors.
    pub relative: f64,
}

impl Inference {
    /// Runs the golden vectors through the model as it is loaded and through the built-in backend. Both must give the
    /// known outputs; where the built-in one cannot load the model, the known outputs decide alone.
    ///
    /// # Errors
    /// [`ModelError::Disagreement`] with how far off it was, [`ModelError::Golden`] for a vector that does not fit.
    pub fn check_golden(
        &self,
        loaded: &LoadedModel,
        blob: &Trusted<Blob>,
        model: &Model,
        cases: &[GoldenCase<'_>],
    ) -> Result<GoldenEvidence, ModelError> {
        self.check_golden_bytes(loaded, blob.bytes(), model, cases)
    }

    pub(crate) fn check_golden_bytes(
        &self,
        loaded: &LoadedModel,
        bytes: &Bytes,
        model: &Model,
        cases: &[GoldenCase<'_>],
    ) -> Result<GoldenEvidence, ModelError> {
        let mut evidence = self.golden_of_chosen(loaded, model, cases)?;
        self.golden_of_builtin(loaded, bytes, model, cases, &mut evidence)?;
        Ok(evidence)
    }

    /// Runs the vectors through the model as it is loaded.
    pub(crate) fn golden_of_chosen(
        &self,
        loaded: &LoadedModel,
        model: &Model,
        cases: &[GoldenCase<'_>],
    ) -> Result<GoldenEvidence, ModelError> {
        let mut evidence = GoldenEvidence { vectors: cases.len(), runs: Vec::new(), decided_alone: None };
        if !cases.is_empty() {
            evidence.runs.push(run_all(loaded, model, cases)?);
        }
        Ok(evidence)
    }

    /// Asks the built-in backend for a second opinion, where the model runs on another one.
    pub(crate) fn golden_of_builtin(
        &self,
        loaded: &LoadedModel,
        bytes: &Bytes,
        model: &Model,
        cases: &[GoldenCase<'_>],
        evidence: &mut GoldenEvidence,
    ) -> Result<(), ModelError> {
        if cases.is_empty() || loaded.execution().backend == BackendKind::Tract {
            return Ok(());
        }
        if let Some(reason) = loaded.without_builtin() {
            tracing::warn!(model = %model.name, reason, "the golden outputs decide alone");
            evidence.decided_alone = Some(reason.to_owned());
            return Ok(());
        }
        let placement = Placement {
            backend: Backend::Builtin,
            device: "cpu".to_owned(),
            strictness: Strictness::Require,
        };
        let builtin = Model { placement, ..model.clone() };
        match self.load_bytes(bytes, *loaded.digest(), &builtin, &[]) {
            Ok(second) => evidence.runs.push(run_all(&second, model, cases)?),
            Err(error) => {
                tracing::warn!(model = %model.name, %error, "the golden outputs decide alone");
                evidence.decided_alone = Some(error.to_string());
            }
        }
        Ok(())
    }
}

fn run_all(loaded: &LoadedModel, model: &Model, cases: &[GoldenCase<'_>]) -> Result<GoldenRun, ModelError> {
    let mut run = GoldenRun { execution: loaded.execution().clone(), absolute: 0.0, relative: 0.0 };
    for (index, case) in cases.iter().enumerate() {
        let broken = |detail: String| ModelError::Golden { index, detail };
        let inputs = tensors(&case.golden.inputs, &case.inputs, &model.inputs).map_err(broken)?;
        let expected = tensors(&case.golden.outputs, &case.outputs, &model.outputs).map_err(broken)?;
        if expected.is_empty() {
            return Err(broken("it has no output to compare".to_owned()));
        }
        let found = loaded.run_native(inputs).map_err(|error| broken(error.to_string()))?;
        for (name, expected) in expected {
            let Some((_, found)) = found.iter().find(|(output, _)| *output == name) else {
                return Err(broken(format!("the model gives no `{name}`")));
            };
            if found.shape() != expected.shape() || found.element_type() != expected.element_type() {
                return Err(broken(format!("`{name}` is {found:?}, expected is {expected:?}")));
            }
            let difference = Difference::between(&found.to_doubles(), &expected.to_doubles(), case.golden);
            if !difference.agrees {
                let Difference { absolute, relative, .. } = difference;
                let backend = run.execution.backend;
                return Err(ModelError::Disagreement { index, backend, output: name, absolute, relative });
            }
            run.absolute = run.absolute.max(difference.absolute);
            run.relative = run.relative.max(difference.relative);
        }
    }
    Ok(run)
}

fn tensors(
    golden: &BTreeMap<String, GoldenTensor>,
    bytes: &BTreeMap<String, Bytes>,
    schemas: &[TensorSchema],
) -> Result<Vec<(String, Tensor)>, String> {
    let tensor = |(name, golden): (&String, &GoldenTensor)| {
        let schema = schemas.iter().find(|schema| schema.name == *name);
        let schema = schema.ok_or_else(|| format!("the manifest has no tensor `{name}`"))?;
        let bytes = bytes.get(name).ok_or_else(|| format!("the bytes of `{name}` are missing"))?;
        let tensor = Tensor::new(schema.dtype, golden.shape.clone(), bytes.clone());
        Ok((name.clone(), tensor.map_err(|error| format!("`{name}`: {error}"))?))
    };
    golden.iter().map(tensor).collect()
}

/// How far two lists of numbers are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    pub(crate) absolute: f64,
    pub(crate) relative: f64,
    pub(crate) agrees: bool,
}

impl Difference {
    /// Each number agrees where it differs by at most the absolute tolerance or, measured by the expected value, the
    /// relative one. A number that is not finite agrees with the same one alone.
    pub(crate) fn between(found: &[f64], expected: &[f64], golden: &Golden) -> Self {
        let mut difference = Self { absolute: 0.0, relative: 0.0, agrees: found.len() == expected.len() };
        for (found, expected) in found.iter().zip(expected) {
            if found == expected || (found.is_nan() && expected.is_nan()) {
                continue;
            }
            let absolute = (found - expected).abs();
            let absolute = if absolute.is_nan() { f64::INFINITY } else { absolute };
            let relative = if *expected == 0.0 { f64::INFINITY } else { absolute / expected.abs() };
            let relative = if relative.is_nan() { f64::INFINITY } else { relative };
            let agrees = absolute <= golden.absolute_tolerance || relative <= golden.relative_tolerance;
            difference.agrees &= agrees && absolute.is_finite();
            difference.absolute = difference.absolute.max(absolute);
            if *expected != 0.0 {
                difference.relative = difference.relative.max(relative);
            }
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Golden {
        Golden {
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            absolute_tolerance: 0.01,
            relative_tolerance: 0.1,
        }
    }

    #[test]
    fn a_number_agrees_by_either_tolerance() {
        let agrees = |found: f64, expected: f64| Difference::between(&[found], &[expected], &golden()).agrees;
        assert!(agrees(100.0, 109.0));
        assert!(agrees(0.0, 0.01));
        assert!(agrees(f64::NAN, f64::NAN));
        assert!(agrees(f64::INFINITY, f64::INFINITY));
        assert!(!agrees(100.0, 120.0));
        assert!(!agrees(0.02, 0.0));
        assert!(!agrees(f64::NAN, 0.0));
        assert!(!agrees(0.0, f64::NAN));
        assert!(!agrees(f64::INFINITY, f64::NEG_INFINITY));
        assert!(!agrees(1.0, f64::INFINITY));
    }

    #[test]
    fn lists_of_other_lengths_disagree() {
        assert!(!Difference::between(&[1.0], &[1.0, 2.0], &golden()).agrees);
    }
}
