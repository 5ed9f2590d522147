//! What operators take outside of the arena, known before a run begins.
//!
//! Most operators take nothing there, or as much as their indices (8 bytes for each). A few build maps and lists: those are
//! named here with what they were measured to take (ONNX Runtime 1.32), rounded up. How large the tensors are on which that
//! depends is asked of ONNX Runtime itself, which infers the shapes of outputs: the model is loaded once more with these
//! tensors as outputs. Where it cannot tell, the model is refused, since nothing could end the run in time.

use martello_bundle::onnx::{Operator, operators, with_outputs};
use martello_vocab::ByteCount;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, ValueType};

use super::library::Library;
use super::placement::NO_FOLDER;
use crate::backend::BackendKind;
use crate::error::{ModelError, ModelLimit, RunError};
use crate::tensor::Tensor;

/// The operators that are looked at.
const KINDS: [&str; 5] = ["Unique", "Resize", "Upsample", "RoiAlign", "DFT"];

/// An entry of a map of elements and places, for each element: 128 bytes, along an axis 176.
const UNIQUE: u64 = 192;
/// A weighted value for each place of a row in each row of the input: 44 bytes.
const CUBIC: u64 = 48;
/// The weights of a place of an axis: 180 bytes.
const CUBIC_PLACE: u64 = 192;
/// Where a sample is taken and what it weighs: 48 bytes.
const ROI_SAMPLE: u64 = 64;
/// Two numbers for each one of the output, in a transform whose length is rounded up to a power of two: 40 bytes.
const FOURIER: u64 = 64;

/// What the operators of a model take, each by itself: they run one after another.
#[derive(Debug, Clone, Default)]
pub(super) struct Heap {
    most: ByteCount,
    operators: Vec<Vec<Part>>,
}

/// So many bytes for each element of a shape.
#[derive(Debug, Clone)]
struct Part {
    bytes: u64,
    shape: Vec<Dimension>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Dimension {
    Known(u64),
    /// That of an input of the model.
    OfInput {
        input: usize,
        axis: usize,
    },
}

/// What of a tensor counts.
enum Axes {
    All,
    /// This one, counted from the end.
    FromEnd(usize),
}

impl Heap {
    /// Refuses a model with an operator whose heap has no bound, or one above `most`.
    pub(super) fn of(
        library: &Library,
        model: &[u8],
        session: &Session,
        most: ByteCount,
    ) -> Result<Self, ModelError> {
        let found = operators(model, &KINDS)?;
        let mut wanted = Vec::new();
        for operator in &found {
            let parts = parts(operator)?;
            if !parts.is_empty() {
                wanted.push((operator.kind.as_str(), parts));
            }
        }
        if wanted.is_empty() {
            return Ok(Self::default());
        }
        let tensors = wanted.iter().flat_map(|(_, parts)| parts).flat_map(|part| &part.of);
        let mut names: Vec<&str> = tensors.map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| session.outputs().iter().all(|output| output.name() != *name));
        let probe = if names.is_empty() { None } else { Some(probe(library, &with_outputs(model, names))?) };
        let outputs = probe.as_ref().unwrap_or(session).outputs();
        let shapes = Shapes { inputs: session.inputs(), outputs };
        let mut heap = Self { most, operators: Vec::new() };
        for (kind, parts) in wanted {
            let parts = parts.iter().map(|part| shapes.part(part)).collect::<Option<Vec<_>>>();
            heap.operators.push(parts.ok_or_else(|| unbounded(kind))?);
        }
        let is_known = |part: &Part| part.shape.iter().all(|it| matches!(it, Dimension::Known(_)));
        let mut known = heap.clone();
        known.operators.retain(|parts| parts.iter().all(is_known));
        if known.peak(&[]) > most.0 {
            return Err(ModelError::Limit {
                backend: BackendKind::Onnxruntime,
                limit: ModelLimit::Memory(most),
            });
        }
        Ok(heap)
    }

    /// Refuses a run on tensors of these shapes that takes more than it may.
    pub(super) fn admit(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        if self.operators.is_empty() || self.peak(inputs) <= self.most.0 {
            Ok(())
        } else {
            Err(RunError::TooLarge)
        }
    }

    fn peak(&self, inputs: &[Tensor]) -> u64 {
        let length = |dimension: &Dimension| match *dimension {
            Dimension::Known(length) => length,
            Dimension::OfInput { input, axis } => {
                let length = inputs.get(input).and_then(|tensor| tensor.shape().get(axis));
                length.map_or(u64::MAX, |&length| u64::from(length))
            }
        };
        let bytes = |part: &Part| part.shape.iter().map(length).fold(part.bytes, u64::saturating_mul);
        let operator = |parts: &Vec<Part>| parts.iter().map(bytes).fold(0, u64::saturating_add);
        self.operators.iter().map(operator).max().unwrap_or(0)
    }
}

/// Bytes for each element of what is taken of these tensors.
struct Wanted<'a> {
    bytes: u64,
    of: Vec<(&'a str, Axes)>,
}

/// What an operator takes; nothing where it is harmless.
fn parts(operator: &Operator) -> Result<Vec<Wanted<'_>>, ModelError> {
    let is_cubic = || operator.text("mode").is_some_and(|mode| mode == "cubic");
    let input = || operator.inputs.first().map_or("", String::as_str);
    let output = || operator.outputs.first().map_or("", String::as_str);
    let parts = match operator.kind.as_str() {
        "Unique" => vec![Wanted { bytes: UNIQUE, of: vec![(input(), Axes::All)] }],
        "Resize" | "Upsample" if is_cubic() => vec![
            Wanted { bytes: CUBIC, of: vec![(output(), Axes::FromEnd(1)), (input(), Axes::FromEnd(2))] },
            Wanted { bytes: CUBIC_PLACE, of: vec![(output(), Axes::FromEnd(1))] },
            Wanted { bytes: CUBIC_PLACE, of: vec![(output(), Axes::FromEnd(2))] },
        ],
        "RoiAlign" => {
            let number = |name: &str, usual| operator.number(name).unwrap_or(usual);
            // Zero is as many as a region has pixels, and a region is a value.
            let sampling = u64::try_from(number("sampling_ratio", 0)).ok().filter(|&ratio| ratio > 0);
            let sampling = sampling.ok_or_else(|| unbounded("RoiAlign"))?;
            let places = ["output_height", "output_width"].map(|name| number(name, 1).unsigned_abs());
            let samples = places.into_iter().chain([sampling, sampling]);
            vec![Wanted { bytes: samples.fold(ROI_SAMPLE, u64::saturating_mul), of: Vec::new() }]
        }
        "DFT" => vec![Wanted { bytes: FOURIER, of: vec![(output(), Axes::All)] }],
        _ => Vec::new(),
    };
    // The shapes within a graph within the graph are said by nobody.
    if operator.is_nested && parts.iter().any(|part| !part.of.is_empty()) {
        return Err(unbounded(&operator.kind));
    }
    Ok(parts)
}

fn unbounded(operator: &str) -> ModelError {
    ModelError::Unbounded { backend: BackendKind::Onnxruntime, operator: operator.to_owned() }
}

/// The model as it is written, for the shapes of its outputs.
#[expect(clippy::result_large_err, reason = "the builder gives itself back in its errors")]
fn probe(library: &Library, model: &[u8]) -> Result<Session, ModelError> {
    let refused = |detail: String| ModelError::Backend { backend: BackendKind::Onnxruntime, detail };
    let builder =
        Session::builder(&library.environment).map_err(|error| refused(error.message().to_owned()))?;
    let builder = builder
        .with_optimization_level(GraphOptimizationLevel::Disable)
        .and_then(|builder| builder.with_intra_threads(1))
        .and_then(SessionBuilder::with_env_allocators)
        .and_then(|builder| builder.with_config_entry(NO_FOLDER.0, NO_FOLDER.1));
    let mut builder = builder.map_err(|error| refused(error.message().to_owned()))?;
    builder.commit_from_memory(model).map_err(|error| refused(error.message().to_owned()))
}

/// What ONNX Runtime says of shapes.
struct Shapes<'a> {
    inputs: &'a [Outlet],
    outputs: &'a [Outlet],
}

impl Shapes<'_> {
    fn part(&self, wanted: &Wanted<'_>) -> Option<Part> {
        let mut shape = Vec::new();
        for (name, axes) in &wanted.of {
            let of = self.shape(name)?;
            match *axes {
                Axes::All => shape.extend(of.into_iter().collect::<Option<Vec<_>>>()?),
                Axes::FromEnd(from_end) => {
                    // A tensor of fewer dimensions has one row, and one place.
                    let place = of.len().checked_sub(from_end).and_then(|axis| of.get(axis).cloned());
                    shape.push(place.unwrap_or(Some(Dimension::Known(1)))?);
                }
            }
        }
        Some(Part { bytes: wanted.bytes, shape })
    }

    /// The dimensions of a tensor, none where one is open; none at all where even their number is not known, which is told
    /// apart from a single value by nothing.
    fn shape(&self, name: &str) -> Option<Vec<Option<Dimension>>> {
        let outlet = self.outputs.iter().find(|outlet| outlet.name() == name)?;
        let ValueType::Tensor { shape, dimension_symbols, .. } = outlet.dtype() else { return None };
        if shape.is_empty() {
            return None;
        }
        let dimension = |(axis, &length): (usize, &i64)| match u64::try_from(length) {
            Ok(length) => Some(Dimension::Known(length)),
            Err(_) => {
                let symbol = dimension_symbols.get(axis).filter(|symbol| !symbol.is_empty())?;
                self.of_input(symbol)
            }
        };
        Some(shape.iter().enumerate().map(dimension).collect())
    }

    fn of_input(&self, symbol: &str) -> Option<Dimension> {
        self.inputs.iter().enumerate().find_map(|(input, outlet)| {
            let ValueType::Tensor { dimension_symbols, .. } = outlet.dtype() else { return None };
            let axis = dimension_symbols.iter().position(|known| known == symbol)?;
            Some(Dimension::OfInput { input, axis })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(kind: &str) -> Operator {
        Operator {
            kind: kind.to_owned(),
            inputs: vec!["x".to_owned()],
            outputs: vec!["y".to_owned()],
            numbers: Vec::new(),
            texts: Vec::new(),
            is_nested: false,
        }
    }

    #[test]
    fn what_a_value_or_a_hidden_shape_decides_has_no_bound() {
        let mut align = operator("RoiAlign");
        assert!(matches!(parts(&align), Err(ModelError::Unbounded { .. })));
        align.numbers = vec![("sampling_ratio".to_owned(), 2), ("output_height".to_owned(), 7)];
        align.is_nested = true;
        assert_eq!(parts(&align).unwrap()[0].bytes, ROI_SAMPLE * 2 * 2 * 7);
        assert_eq!(parts(&operator("Unique")).unwrap().len(), 1);
        assert!(parts(&Operator { is_nested: true, ..operator("Unique") }).is_err());
        let resize = |mode: &str| {
            let texts = vec![("mode".to_owned(), mode.to_owned())];
            parts(&Operator { texts, ..operator("Resize") }).unwrap().len()
        };
        assert_eq!((resize("linear"), resize("cubic")), (0, 3));
    }

    #[test]
    fn operators_count_by_themselves_and_never_wrap() {
        let part = |bytes, shape: &[u64]| Part {
            bytes,
            shape: shape.iter().map(|&length| Dimension::Known(length)).collect(),
        };
        let heap = |operators| Heap { most: ByteCount(1000), operators };
        assert_eq!(heap(vec![vec![part(2, &[3, 5]), part(7, &[])], vec![part(1, &[40])]]).peak(&[]), 40);
        assert_eq!(heap(vec![vec![part(2, &[u64::MAX, 2]), part(7, &[])]]).peak(&[]), u64::MAX);
        let open = Part { bytes: 10, shape: vec![Dimension::OfInput { input: 0, axis: 0 }] };
        let heap = heap(vec![vec![open]]);
        assert!(heap.admit(&[crate::testing::floats(&[100], &[0.0; 100])]).is_ok());
        let refused = heap.admit(&[crate::testing::floats(&[101], &[0.0; 101])]);
        assert_eq!(refused, Err(RunError::TooLarge));
    }
}
