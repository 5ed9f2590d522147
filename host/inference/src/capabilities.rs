//! Which ONNX operators a backend gets right, measured: tiny models of single operators with known outputs.
//!
//! The cases stand in `capabilities/cases.bin`; `make_cases.py` beside it makes them and describes the format.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{Buf, Bytes};
use martello_bundle::manifest::{ElementType, Golden, Strictness, TensorSchema};
use martello_vocab::ByteCount;
use serde::Serialize;
use tracing::subscriber::NoSubscriber;

use crate::backend::{Backend, BackendKind, Element, Stop, Wanted};
use crate::golden::Difference;
use crate::inference::Inference;
use crate::tensor::Tensor;

static CASES: &[u8] = include_bytes!("../capabilities/cases.bin");

/// What a backend made of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capability {
    /// The operator, as ONNX names it.
    pub operator: String,
    /// The case, as the node tests of ONNX name it.
    pub case: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was wrong or refused, in the backend's words; empty where it was right.
    pub detail: String,
}

/// What came of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The known outputs, within the tolerances of the case.
    Right,
    /// It was refused, at loading or at running.
    Unsupported,
    /// Other outputs, and no error: what golden vectors are for.
    Wrong,
}

impl Inference {
    /// Runs every case on this backend, on the CPU. This blocks for seconds.
    ///
    /// # Errors
    /// Why the backend is not there.
    pub fn capabilities(&self, backend: BackendKind) -> Result<Vec<Capability>, String> {
        let backend = self.backend(backend)?;
        let cases = cases().ok_or("the cases of this build do not read")?;
        Ok(cases.into_iter().map(|case| measure(&*backend, case)).collect())
    }
}

fn measure(backend: &dyn Backend, case: Case) -> Capability {
    // A backend that panics over an operator is a verdict here, and nothing for the log.
    let ran = tracing::subscriber::with_default(NoSubscriber::new(), || {
        catch_unwind(AssertUnwindSafe(|| run(backend, &case)))
    });
    let found =
        ran.unwrap_or_else(|panic| Err(format!("it panicked: {}", crate::model::panic_text(&*panic))));
    let (verdict, detail) = match found {
        Err(refused) => (Verdict::Unsupported, refused),
        Ok(outputs) => match compare(&case, &outputs) {
            Some(wrong) => (Verdict::Wrong, wrong),
            None => (Verdict::Right, String::new()),
        },
    };
    Capability { operator: case.operator, case: case.name, verdict, detail }
}

fn run(backend: &dyn Backend, case: &Case) -> Result<Vec<(String, Tensor)>, String> {
    let schema = |(name, tensor): &(String, Tensor)| TensorSchema {
        name: name.clone(),
        dtype: tensor.element_type(),
        shape: tensor.shape().iter().copied().map(Some).collect(),
    };
    let inputs: Vec<TensorSchema> = case.inputs.iter().map(schema).collect();
    let wanted = Wanted {
        device: "cpu",
        strictness: Strictness::Require,
        threads: NonZero::<usize>::MIN,
        inputs: &inputs,
        memory: ByteCount::mebibytes(768),
    };
    let graph = backend.load(&case.model, &wanted).map_err(|error| error.to_string())?;
    let mut ordered = Vec::new();
    for port in &graph.interface().inputs {
        let (_, tensor) = case
            .inputs
            .iter()
            .find(|(name, _)| *name == port.name)
            .ok_or_else(|| format!("the backend wants another input, `{}`", port.name))?;
        if port.element != Element::Known(tensor.element_type()) {
            return Err(format!("the backend takes `{}` as {}", port.name, port.element));
        }
        ordered.push(tensor.clone());
    }
    let names: Vec<String> = graph.interface().outputs.iter().map(|port| port.name.clone()).collect();
    let mut session = graph.session().map_err(|error| error.to_string())?;
    let outputs = session.run(&ordered, &Stop::default()).map_err(|error| match error {
        crate::RunError::Backend { detail } => detail,
        other => other.to_string(),
    })?;
    Ok(names.into_iter().zip(outputs).collect())
}

fn compare(case: &Case, outputs: &[(String, Tensor)]) -> Option<String> {
    for (name, expected) in &case.outputs {
        let Some((_, found)) = outputs.iter().find(|(output, _)| output == name) else {
            return Some(format!("output `{name}` is missing"));
        };
        if (found.shape(), found.element_type()) != (expected.shape(), expected.element_type()) {
            return Some(format!("`{name}` is {found:?}, expected is {expected:?}"));
        }
        let difference = Difference::between(&found.to_doubles(), &expected.to_doubles(), &case.tolerance);
        if !difference.agrees {
            return Some(format!("`{name}` is off by {:.3e}", difference.absolute));
        }
    }
    None
}

struct Case {
    operator: String,
    name: String,
    tolerance: Golden,
    model: Bytes,
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
}

/// All cases; none where the file is not what `make_cases.py` writes.
fn cases() -> Option<Vec<Case>> {
    let mut file = CASES;
    let mut cases = Vec::new();
    while !file.is_empty() {
        cases.push(Case {
            operator: text(&mut file)?,
            name: text(&mut file)?,
            tolerance: Golden {
                inputs: BTreeMap::new(),
                outputs: BTreeMap::new(),
                absolute_tolerance: file.try_get_f64_le().ok()?,
                relative_tolerance: file.try_get_f64_le().ok()?,
            },
            model: blob(&mut file)?,
            inputs: tensors(&mut file)?,
            outputs: tensors(&mut file)?,
        });
    }
    Some(cases)
}

fn taken(file: &mut &'static [u8], length: usize) -> Option<&'static [u8]> {
    let (taken, rest) = file.split_at_checked(length)?;
    *file = rest;
    Some(taken)
}

fn text(file: &mut &'static [u8]) -> Option<String> {
    let length = usize::from(file.try_get_u16_le().ok()?);
    String::from_utf8(taken(file, length)?.to_vec()).ok()
}

fn blob(file: &mut &'static [u8]) -> Option<Bytes> {
    let length = usize::try_from(file.try_get_u32_le().ok()?).ok()?;
    taken(file, length).map(Bytes::from_static)
}

fn tensors(file: &mut &'static [u8]) -> Option<Vec<(String, Tensor)>> {
    let count = file.try_get_u8().ok()?;
    let mut tensors = Vec::new();
    for _ in 0..count {
        let name = text(file)?;
        let element_type = match file.try_get_u8().ok()? {
            0 => ElementType::F16,
            1 => ElementType::F32,
            2 => ElementType::F64,
            3 => ElementType::Bf16,
            4 => ElementType::U8,
            5 => ElementType::I32,
            6 => ElementType::I64,
            _ => return None,
        };
        let rank = file.try_get_u8().ok()?;
        let shape = (0..rank).map(|_| file.try_get_u32_le().ok()).collect::<Option<Vec<_>>>()?;
        let bytes = blob(file)?;
        tensors.push((name, Tensor::copied(element_type, shape, &bytes).ok()?));
    }
    Some(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{accelerated, builtin};

    fn counts(capabilities: &[Capability]) -> (usize, usize) {
        let count = |verdict| capabilities.iter().filter(|it| it.verdict == verdict).count();
        (count(Verdict::Right), count(Verdict::Wrong))
    }

    #[test]
    fn the_built_in_backend_computes_what_image_models_are_made_of() {
        let measured = builtin().capabilities(BackendKind::Tract).unwrap();
        // Not BatchNormalization: its cases hand statistics over as inputs, which tract takes as constants alone.
        for operator in ["Conv", "MaxPool", "AveragePool", "Relu", "Gemm", "Softmax", "Concat"] {
            let right = measured.iter().any(|it| it.operator == operator && it.verdict == Verdict::Right);
            assert!(right, "{operator}");
        }
        let (right, wrong) = counts(&measured);
        println!("tract: {right} right, {wrong} wrong of {}", measured.len());
        for it in measured.iter().filter(|it| it.verdict == Verdict::Wrong) {
            println!("  wrong: {} {}: {}", it.operator, it.case, it.detail);
        }
        assert!(right * 2 > measured.len());
    }

    #[test]
    fn onnx_runtime_gets_nearly_everything_right() {
        let Some(inference) = accelerated() else { return };
        let measured = inference.capabilities(BackendKind::Onnxruntime).unwrap();
        let (right, wrong) = counts(&measured);
        println!("onnxruntime: {right} right, {wrong} wrong of {}", measured.len());
        for it in measured.iter().filter(|it| it.verdict == Verdict::Wrong) {
            println!("  wrong: {} {}: {}", it.operator, it.case, it.detail);
        }
        assert!(right * 10 > measured.len() * 8);
    }
}
