//! The built-in backend: tract, in pure Rust. It refuses at load what it cannot do.

mod need;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use martello_bundle::manifest::{ElementType, Strictness, TensorSchema};
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoArcTensor, TValue, TVec, TractResult,
    TypedModel, TypedRunnableModel,
};
use tract_onnx::tract_core::plan::{SimpleState, eval};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use self::need::Need;
use super::{
    Backend, BackendKind, Element, Execution, Graph, Interface, Port, Session, Stop, Wanted, precision,
};
use crate::error::{ModelError, RunError};
use crate::tensor::Tensor;

/// The version that is built in, as the workspace pins it.
const VERSION: &str = "0.23";

/// Bytes of inputs that a session keeps between two runs.
const MOST_KEPT_BYTES: usize = 32 << 20;

pub(crate) struct Tract;

struct TractGraph {
    plan: Arc<TypedRunnableModel>,
    need: Need,
    interface: Interface,
    execution: Execution,
    executor: Executor,
}

struct TractSession {
    plan: Arc<TypedRunnableModel>,
    need: Need,
    executor: Executor,
    /// Elements of the outputs as the interface promises them.
    outputs: Vec<ElementType>,
    /// Tensors for the next run's inputs to be copied into: fresh pages cost several times the copy.
    ///
    /// INVARIANT: between two runs they hold zeros, and no more than [`MOST_KEPT_BYTES`]
    /// (`an_idle_session_keeps_zeros_and_not_too_many`).
    kept: Vec<Option<Arc<Made>>>,
    /// The shapes of the inputs that were admitted last: adding up what a run needs takes some µs for each operator.
    admitted: Vec<Vec<u32>>,
}

/// A tensor of tract's.
type Made = tract_onnx::prelude::Tensor;

impl Backend for Tract {
    fn load(&self, model: &Bytes, wanted: &Wanted<'_>) -> Result<Box<dyn Graph>, ModelError> {
        let instead = match (wanted.device, wanted.strictness) {
            ("cpu", _) => None,
            (device, Strictness::Require) => {
                let reason = "the built-in backend computes on the CPU alone".to_owned();
                return Err(ModelError::DeviceMissing { device: device.to_owned(), reason });
            }
            (device, Strictness::Prefer) => {
                Some(format!("device `{device}`: the built-in backend has the CPU alone"))
            }
        };
        if let Some(input) = wanted.inputs.iter().find(|input| datum(input.dtype).is_none()) {
            return Err(ModelError::ElementType {
                port: "input".into(),
                name: input.name.clone(),
                element: "bf16".to_owned(),
                reason: "the built-in backend does not have it".to_owned(),
            });
        }
        // tract asserts here and there: a model that makes it panic is a model that it does not load.
        let compiled = catch_unwind(AssertUnwindSafe(|| -> Result<_, ModelError> {
            let (plan, interface) = compile(model, wanted.inputs)?;
            let need = Need::of(&plan, wanted.memory)?;
            Ok((plan, interface, need))
        }));
        let (plan, interface, need) =
            compiled.unwrap_or_else(|panic| Err(refused(&crate::model::panic_text(&*panic))))?;
        let threads = wanted.threads.get();
        let executor = if threads > 1 { Executor::multithread(threads) } else { Executor::SingleThread };
        let execution = Execution {
            backend: BackendKind::Tract,
            version: VERSION.to_owned(),
            providers: vec!["tract".to_owned()],
            device: "cpu".to_owned(),
            precision: precision(&interface),
            threads,
            instead,
        };
        Ok(Box::new(TractGraph { plan, need, interface, execution, executor }))
    }
}

/// Reads, types and optimises the model.
fn compile(model: &[u8], hints: &[TensorSchema]) -> Result<(Arc<TypedRunnableModel>, Interface), ModelError> {
    let mut reader = model;
    let mut graph =
        tract_onnx::onnx().model_for_read(&mut reader).map_err(|error| match format!("{error:#}") {
            detail if !is_protobuf(model) => ModelError::Malformed { detail },
            detail => refusal(&detail),
        })?;
    let mut operators: Vec<String> =
        graph.nodes().iter().filter_map(|node| unimplemented(&node.op.name())).collect();
    operators.sort();
    operators.dedup();
    if !operators.is_empty() {
        return Err(ModelError::UnsupportedOperator { backend: BackendKind::Tract, operators });
    }
    let mut inputs = Vec::new();
    for index in 0..graph.inputs.len() {
        let fact = graph.input_fact(index).map_err(|error| refused(&format!("{error:#}")))?.clone();
        let outlet = graph.inputs.get(index).copied().ok_or_else(|| refused("an input has no outlet"))?;
        let name = graph.node(outlet.node).name.clone();
        let element =
            fact.datum_type.concretize().map_or_else(|| Element::Foreign("unknown".to_owned()), element);
        let shape = (!fact.shape.is_open()).then(|| {
            let dimension =
                |dimension: &_| Factoid::concretize(dimension).and_then(|dimension| to_u32(&dimension));
            fact.shape.dims().map(dimension).collect()
        });
        if let Some(hint) = hints.iter().find(|hint| hint.name == name)
            && let Element::Known(known) = element
            && let Some(concrete) =
                hint.shape.iter().map(|it| it.map(|it| it as usize)).collect::<Option<Vec<_>>>()
            && crate::model::shapes_agree(shape.as_deref(), &hint.shape)
            && let Some(datum) = datum(known)
        {
            let fact = InferenceFact::dt_shape(datum, concrete);
            graph.set_input_fact(index, fact).map_err(|error| refused(&format!("{error:#}")))?;
        }
        inputs.push(Port { name, element, shape });
    }
    let names: Vec<String> = graph.outputs.iter().map(|&outlet| label(&graph, outlet)).collect();
    let typed: TypedModel = graph.into_optimized().map_err(|error| refusal(&format!("{error:#}")))?;
    let mut outputs = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let fact = typed.output_fact(index).map_err(|error| refused(&format!("{error:#}")))?;
        let shape = Some(fact.shape.iter().map(to_u32).collect());
        outputs.push(Port { name, element: element(fact.datum_type), shape });
    }
    let plan = TypedRunnableModel::new(typed).map_err(|error| refused(&format!("{error:#}")))?;
    Ok((plan, Interface { inputs, outputs }))
}

/// ONNX's name of an output: the label where there is one, else the name of the node that gives it.
fn label(graph: &tract_onnx::prelude::InferenceModel, outlet: tract_onnx::prelude::OutletId) -> String {
    graph.outlet_label(outlet).map_or_else(|| graph.node(outlet.node).name.clone(), str::to_owned)
}

/// Whether the bytes begin as an ONNX file does: with field 1, the IR version, as a number.
fn is_protobuf(model: &[u8]) -> bool {
    model.first() == Some(&0x08)
}

fn unimplemented(operator: &str) -> Option<String> {
    operator.strip_prefix("Unimplemented(")?.strip_suffix(')').map(str::to_owned)
}

fn to_u32(dimension: &tract_onnx::prelude::TDim) -> Option<u32> {
    dimension.to_usize().ok().and_then(|dimension| u32::try_from(dimension).ok())
}

fn refused(detail: &str) -> ModelError {
    ModelError::Backend { backend: BackendKind::Tract, detail: detail.to_owned() }
}

/// Names the operator where tract's words tell it: building a node says ``Building node NAME (OPERATOR)``.
fn refusal(detail: &str) -> ModelError {
    let built = detail.split_once("Building node ").and_then(|(_, rest)| {
        let (_, operator) = rest.split_once('(')?;
        operator.split_once(')').map(|(operator, _)| operator.to_owned())
    });
    let inside = detail.split_once("Unimplemented(").and_then(|(_, rest)| rest.split_once(')'));
    match built.or_else(|| inside.map(|(operator, _)| operator.to_owned())) {
        Some(operator) => {
            tracing::debug!(detail, "tract refuses an operator");
            ModelError::UnsupportedOperator { backend: BackendKind::Tract, operators: vec![operator] }
        }
        None => refused(detail),
    }
}

fn element(datum: DatumType) -> Element {
    Element::Known(match datum {
        DatumType::F16 => ElementType::F16,
        DatumType::F32 => ElementType::F32,
        DatumType::F64 => ElementType::F64,
        DatumType::U8 => ElementType::U8,
        DatumType::I32 => ElementType::I32,
        // tract's own type of sizes, where ONNX has an i64.
        DatumType::I64 | DatumType::TDim => ElementType::I64,
        other => return Element::Foreign(format!("{other:?}").to_lowercase()),
    })
}

const fn datum(element: ElementType) -> Option<DatumType> {
    Some(match element {
        ElementType::F16 => DatumType::F16,
        ElementType::F32 => DatumType::F32,
        ElementType::F64 => DatumType::F64,
        ElementType::U8 => DatumType::U8,
        ElementType::I32 => DatumType::I32,
        ElementType::I64 => DatumType::I64,
        ElementType::Bf16 => return None,
    })
}

impl Graph for TractGraph {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn execution(&self) -> &Execution {
        &self.execution
    }

    fn session(&self) -> Result<Box<dyn Session>, ModelError> {
        let known = |port: &Port| match port.element {
            Element::Known(element) => Some(element),
            Element::Foreign(_) => None,
        };
        let outputs = self.interface.outputs.iter().map(known).collect::<Option<Vec<_>>>();
        let outputs = outputs.ok_or_else(|| refused("an output has a type that wasi:nn cannot name"))?;
        Ok(Box::new(TractSession {
            plan: Arc::clone(&self.plan),
            need: self.need.clone(),
            executor: self.executor.clone(),
            outputs,
            kept: Vec::new(),
            admitted: Vec::new(),
        }))
    }
}

impl Session for TractSession {
    fn run(&mut self, inputs: &[Tensor], stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        let shapes = || inputs.iter().map(Tensor::shape);
        if self.need.is_of_shapes() && !shapes().eq(&self.admitted) {
            self.need.admit(&self.plan, inputs)?;
            self.admitted = shapes().map(<[u32]>::to_vec).collect();
        }
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        let made = inputs.iter().map(|tensor| to_tract(tensor, kept.next().flatten()));
        let made = made.collect::<TractResult<Vec<_>>>();
        let made = made.map_err(|error| failed(&format!("{error:#}")))?;
        let values = made.iter().map(|value| TValue::from_const(Arc::clone(value))).collect();
        let ran = multithread_tract_scope(self.executor.clone(), || self.evaluate(values, stop));
        let values = match ran {
            Ok(values) => values,
            Err(_) if stop.is_wanted() => return Err(RunError::Timeout),
            Err(error) => return Err(failed(&format!("{error:#}"))),
        };
        let mut room = MOST_KEPT_BYTES;
        self.kept = made.into_iter().map(|input| wiped(input, &mut room)).collect();
        values.into_iter().zip(&self.outputs).map(|(value, &element)| from_tract(value, element)).collect()
    }
}

impl TractSession {
    fn evaluate(&self, values: TVec<TValue>, stop: &Stop) -> TractResult<TVec<TValue>> {
        let mut state: SimpleState<_, _> = self.plan.spawn()?;
        state.run_plan_with_eval(values, |context, operator, node, inputs| {
            if stop.is_wanted() {
                return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            }
            eval(context, operator, node, inputs)
        })
    }
}

fn failed(detail: &str) -> RunError {
    RunError::Backend { detail: detail.to_owned() }
}

/// tract owns its tensors: this is the one copy that this backend makes. It goes into `kept` where that fits and nobody
/// else holds it any more.
fn to_tract(tensor: &Tensor, kept: Option<Arc<Made>>) -> TractResult<Arc<Made>> {
    let shape: Vec<usize> = tensor.shape().iter().map(|&dimension| dimension as usize).collect();
    if let Some(mut kept) = kept
        && Some(kept.datum_type()) == datum(tensor.element_type())
        && kept.shape() == shape
        && let Some(target) = Arc::get_mut(&mut kept)
    {
        target.as_bytes_mut().copy_from_slice(tensor.bytes());
        return Ok(kept);
    }
    let made = match tensor.element_type() {
        ElementType::F16 => Made::from_shape(&shape, &tensor.values::<half::f16>()),
        ElementType::F32 => Made::from_shape(&shape, &tensor.values::<f32>()),
        ElementType::F64 => Made::from_shape(&shape, &tensor.values::<f64>()),
        ElementType::U8 => Made::from_shape(&shape, tensor.bytes()),
        ElementType::I32 => Made::from_shape(&shape, &tensor.values::<i32>()),
        ElementType::I64 => Made::from_shape(&shape, &tensor.values::<i64>()),
        ElementType::Bf16 => tract_onnx::tract_hir::internal::bail!("tract has no bf16"),
    };
    made.map(Arc::new)
}

/// The input of a run that is over, with zeros in place of what it held; none where there is no room for it, or where
/// an output is made of it.
fn wiped(mut input: Arc<Made>, room: &mut usize) -> Option<Arc<Made>> {
    let left = room.checked_sub(input.as_bytes().len())?;
    Arc::get_mut(&mut input)?.as_bytes_mut().fill(0);
    *room = left;
    Some(input)
}

fn from_tract(value: TValue, element: ElementType) -> Result<Tensor, RunError> {
    let wanted = datum(element).ok_or_else(|| failed("tract has no bf16"))?;
    let value = if value.datum_type() == wanted {
        value.into_arc_tensor()
    } else {
        Arc::new(value.cast_to_dt(wanted).map_err(|error| failed(&format!("{error:#}")))?.into_owned())
    };
    let shape =
        value.shape().iter().map(|&dimension| u32::try_from(dimension)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| failed("an output has a dimension beyond 32 bits"))?;
    let bytes = Bytes::from_owner(Held(value));
    Tensor::new(element, shape, bytes).map_err(|error| failed(&error.to_string()))
}

/// An output that stays where tract made it.
struct Held(Arc<tract_onnx::prelude::Tensor>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{file, floats};
    use martello_vocab::ByteCount;

    const PLENTY: ByteCount = ByteCount::mebibytes(768);

    fn session(name: &str, outputs: &[ElementType]) -> TractSession {
        let (plan, _) = compile(&file(name), &[]).unwrap();
        let need = Need::of(&plan, PLENTY).unwrap();
        let outputs = outputs.to_vec();
        let admitted = Vec::new();
        TractSession { plan, need, executor: Executor::SingleThread, outputs, kept: Vec::new(), admitted }
    }

    fn run(session: &mut TractSession, input: Tensor) -> Tensor {
        session.run(&[input], &Stop::default()).unwrap().remove(0)
    }

    fn kept_bytes(session: &TractSession) -> usize {
        session.kept.iter().flatten().map(|kept| kept.as_bytes().len()).sum()
    }

    #[test]
    fn an_idle_session_keeps_zeros_and_not_too_many() {
        let mut affine = session("affine", &[ElementType::F32]);
        for _ in 0..2 {
            let output = run(&mut affine, floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
            assert_eq!(output.values::<f32>().as_ref(), [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]);
            assert_eq!(kept_bytes(&affine), 24);
            assert!(affine.kept.iter().flatten().all(|kept| kept.as_bytes().iter().all(|&byte| byte == 0)));
        }
        for (name, side, kept) in [("mean_2048", 2048, 16 << 20), ("mean_4096", 4096, 0)] {
            let mut mean = session(name, &[ElementType::F32]);
            let bytes = Bytes::from(vec![1; side * side * 4]);
            let side = u32::try_from(side).unwrap();
            run(&mut mean, Tensor::new(ElementType::F32, vec![1, 1, side, side], bytes).unwrap());
            assert_eq!(kept_bytes(&mean), kept, "{name}");
        }
    }

    #[test]
    fn an_output_that_is_the_input_itself_is_not_wiped() {
        let mut same = session("same_u8", &[ElementType::U8]);
        let input = |value| Tensor::copied(ElementType::U8, vec![2, 3], &[value; 6]).unwrap();
        let first = run(&mut same, input(7));
        let second = run(&mut same, input(9));
        assert_eq!((first.bytes().as_ref(), second.bytes().as_ref()), (&[7; 6][..], &[9; 6][..]));
    }
}
