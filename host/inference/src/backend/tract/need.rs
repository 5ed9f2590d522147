//! What a run needs, known before it begins: an allocation that fails ends the whole process, so that nothing is left to
//! be found out while it runs.
//!
//! tract knows the shape of each tensor of a graph: as numbers, or as expressions over the open dimensions of the inputs.
//! Added up is what lives at once in the order of the plan. What an operator needs beside its outputs is counted for
//! `Resize` alone, which makes a tensor for each axis; in the others it is a fraction of them (packed pieces of matrices,
//! the sums of a reduction).

use std::collections::HashSet;
use std::sync::Arc;

use martello_vocab::ByteCount;
use tract_onnx::prelude::{OutletId, Symbol, SymbolValues, TDim, TypedFact, TypedModel, TypedRunnableModel};
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::scan::{OptScan, Scan};

use crate::backend::BackendKind;
use crate::error::{ModelError, ModelLimit, RunError};
use crate::tensor::Tensor;

/// Graphs within graphs that are followed.
const DEEPEST: usize = 16;

/// What the runs of a model need.
#[derive(Debug, Clone)]
pub(super) struct Need {
    most: ByteCount,
    /// Whether it depends on the shapes of the inputs, so that each run is admitted by itself.
    of_shapes: bool,
    counts: Arc<Vec<Count>>,
}

/// A dimension that is found out in a run, as the number of elements of another tensor at most.
#[derive(Debug, Clone)]
struct Count {
    dimension: Symbol,
    most: Vec<TDim>,
}

/// A tensor whose size depends on values.
struct Open {
    operator: String,
}

/// What the sizes of tensors may be made of.
#[derive(Default)]
struct Known {
    /// Dimensions of the inputs, in any expression.
    inputs: HashSet<Symbol>,
    /// Dimensions that are found out in a run, in expressions that are largest where they are: what is known of them is the
    /// most that they can be.
    counts: HashSet<Symbol>,
}

impl Known {
    fn holds(&self, size: &TDim) -> bool {
        let symbols = size.symbols();
        if symbols.iter().all(|symbol| self.inputs.contains(symbol)) {
            return true;
        }
        let all = |sizes: &[TDim]| sizes.iter().all(|size| self.holds(size));
        match size {
            TDim::Sym(symbol) => self.counts.contains(symbol),
            TDim::Add(sizes) | TDim::Min(sizes) | TDim::Max(sizes) | TDim::Broadcast(sizes) => all(sizes),
            // A factor below zero would turn it round.
            TDim::Mul(sizes) => all(sizes) && sizes.iter().all(|size| self.is_no_less_than_zero(size)),
            TDim::MulInt(factor, size) => *factor >= 0 && self.holds(size),
            TDim::Div(size, _) => self.holds(size),
            TDim::Val(_) => true,
            TDim::Ge(..) | TDim::Eq(..) => false,
        }
    }

    fn is_no_less_than_zero(&self, size: &TDim) -> bool {
        match size {
            TDim::Sym(symbol) => self.inputs.contains(symbol) || self.counts.contains(symbol),
            TDim::Val(value) => *value >= 0,
            TDim::Add(sizes)
            | TDim::Mul(sizes)
            | TDim::Min(sizes)
            | TDim::Max(sizes)
            | TDim::Broadcast(sizes) => sizes.iter().all(|size| self.is_no_less_than_zero(size)),
            TDim::MulInt(factor, size) => *factor >= 0 && self.is_no_less_than_zero(size),
            TDim::Div(size, _) => self.is_no_less_than_zero(size),
            TDim::Ge(..) | TDim::Eq(..) => true,
        }
    }
}

impl Need {
    /// Refuses a model whose runs need more than `most`, or whose need depends on what its tensors hold.
    pub(super) fn of(plan: &TypedRunnableModel, most: ByteCount) -> Result<Self, ModelError> {
        let model = plan.model();
        let mut known = Known::default();
        for &input in &model.inputs {
            known.inputs.extend(symbols(model, input));
        }
        let counts = counts(model, plan.order_without_consts(), &known.inputs);
        known.counts.extend(counts.iter().map(|count| count.dimension.clone()));
        check(model, &known, DEEPEST)
            .map_err(|Open { operator }| ModelError::Unbounded { backend: BackendKind::Tract, operator })?;
        let need = Self { most, of_shapes: !known.inputs.is_empty(), counts: Arc::new(counts) };
        if !need.of_shapes && need.peak(plan, SymbolValues::default()) > most.0 {
            let limit = ModelLimit::Memory(most);
            return Err(ModelError::Limit { backend: BackendKind::Tract, limit });
        }
        Ok(need)
    }

    /// Whether runs are admitted by themselves, each by the shapes of its inputs.
    pub(super) const fn is_of_shapes(&self) -> bool {
        self.of_shapes
    }

    /// Refuses a run on tensors of these shapes that needs more than it may.
    pub(super) fn admit(&self, plan: &TypedRunnableModel, inputs: &[Tensor]) -> Result<(), RunError> {
        let model = plan.model();
        let mut values = SymbolValues::default();
        for (&outlet, tensor) in model.inputs.iter().zip(inputs) {
            let Ok(fact) = model.outlet_fact(outlet) else { continue };
            for (dimension, &found) in fact.shape.iter().zip(tensor.shape()) {
                if let TDim::Sym(symbol) = dimension {
                    values.set(symbol, i64::from(found));
                }
            }
        }
        if self.peak(plan, values) > self.most.0 { Err(RunError::TooLarge) } else { Ok(()) }
    }

    fn peak(&self, plan: &TypedRunnableModel, mut values: SymbolValues) -> u64 {
        for Count { dimension, most } in self.counts.iter() {
            let most = most.iter().map(|size| number(size, &values)).fold(1_u64, u64::saturating_mul);
            values.set(dimension, i64::try_from(most).unwrap_or(i64::MAX));
        }
        peak(plan.model(), plan.order_without_consts(), &values)
    }
}

/// The dimensions that are found out in a run and have a bound: there are no more elements that are not zero than there
/// are elements, and no more boxes left than there are scores.
fn counts(model: &TypedModel, order: &[usize], inputs: &HashSet<Symbol>) -> Vec<Count> {
    let mut found: Vec<Count> = Vec::new();
    for node in order.iter().filter_map(|&id| model.nodes().get(id)) {
        let counted = match &*node.op.name() {
            "NonZero" => node.inputs.first(),
            "NonMaxSuppression" => node.inputs.get(1),
            _ => None,
        };
        let Some(fact) = counted.and_then(|&outlet| model.outlet_fact(outlet).ok()) else { continue };
        for dimension in node.outputs.iter().flat_map(|output| output.fact.shape.iter()) {
            if let TDim::Sym(symbol) = dimension
                && !inputs.contains(symbol)
                && !found.iter().any(|count| count.dimension == *symbol)
            {
                found.push(Count { dimension: symbol.clone(), most: fact.shape.iter().cloned().collect() });
            }
        }
    }
    found
}

fn symbols(model: &TypedModel, outlet: OutletId) -> HashSet<Symbol> {
    let fact = model.outlet_fact(outlet);
    fact.map(|fact| fact.shape.iter().flat_map(TDim::symbols).collect()).unwrap_or_default()
}

/// Whether the size of every tensor is made of what is known.
fn check(model: &TypedModel, known: &Known, depth: usize) -> Result<(), Open> {
    for node in model.nodes() {
        let open = || Open { operator: node.op.name().to_string() };
        for output in &node.outputs {
            let exotic = output.fact.exotic_fact().into_iter().flat_map(|fact| fact.buffer_sizes());
            let mut sizes = output.fact.shape.iter().cloned().chain(exotic);
            if sizes.any(|size| !known.holds(&size)) {
                return Err(open());
            }
        }
        for inner in inner(node) {
            check(inner, known, depth.checked_sub(1).ok_or_else(open)?)?;
        }
    }
    Ok(())
}

/// The graphs that an operator runs.
fn inner(node: &tract_onnx::prelude::TypedNode) -> Vec<&TypedModel> {
    if let Some(scan) = node.op_as::<OptScan>() {
        return vec![scan.plan.model()];
    }
    if let Some(scan) = node.op_as::<Scan>() {
        return vec![&scan.body];
    }
    node.op_as::<IfThenElse>().map_or_else(Vec::new, |it| vec![&it.then_body, &it.else_body])
}

/// The most bytes that live at once when the nodes run in this order; a size that is not known counts as endless.
fn peak(model: &TypedModel, order: &[usize], values: &SymbolValues) -> u64 {
    let mut last_use = vec![0_usize; model.nodes().len()];
    for (step, node) in order.iter().filter_map(|&id| model.nodes().get(id)).enumerate() {
        for input in &node.inputs {
            if let Some(last) = last_use.get_mut(input.node) {
                *last = step;
            }
        }
    }
    for output in &model.outputs {
        if let Some(last) = last_use.get_mut(output.node) {
            *last = usize::MAX;
        }
    }
    let is_const = |id: usize| {
        model.nodes().get(id).is_none_or(|node| node.op_is::<tract_onnx::tract_core::ops::konst::Const>())
    };
    let size = |id: usize| {
        let outputs = model.nodes().get(id).into_iter().flat_map(|node| &node.outputs);
        outputs.fold(0_u64, |sum, output| sum.saturating_add(bytes(&output.fact, values)))
    };
    let (mut live, mut most) = (0_u64, 0_u64);
    for (step, node) in order.iter().filter_map(|&id| model.nodes().get(id)).enumerate() {
        live = live.saturating_add(size(node.id));
        let within = inner(node).into_iter().map(|inner| match inner.eval_order() {
            Ok(order) => peak(inner, &order, values),
            Err(_) => u64::MAX,
        });
        let beside = within.max().unwrap_or(0).saturating_add(resizing(model, node, values));
        most = most.max(live.saturating_add(beside));
        let mut over: Vec<usize> = node.inputs.iter().map(|input| input.node).collect();
        over.sort_unstable();
        over.dedup();
        over.retain(|&id| last_use.get(id) == Some(&step) && !is_const(id));
        for id in over {
            live = live.saturating_sub(size(id));
        }
    }
    most
}

/// Bytes that `Resize` takes beside its input and its output: it resamples one axis after another, from one tensor of `f32`
/// into the next, and what stands between may be larger than both ends. Each place of an axis has weights besides.
fn resizing(model: &TypedModel, node: &tract_onnx::prelude::TypedNode, values: &SymbolValues) -> u64 {
    const OF_A_PLACE: u64 = 64;
    if node.op.name() != "Resize" {
        return 0;
    }
    let input = node.inputs.first().and_then(|&outlet| model.outlet_fact(outlet).ok());
    let (Some(input), Some(output)) = (input, node.outputs.first()) else { return u64::MAX };
    let lengths = |fact: &TypedFact| fact.shape.iter().map(|size| number(size, values)).collect::<Vec<_>>();
    let (mut shape, output) = (lengths(input), lengths(&output.fact));
    let floats = |shape: &[u64]| shape.iter().fold(4_u64, |bytes, &length| bytes.saturating_mul(length));
    let mut most = 0_u64;
    let first = floats(&shape);
    for (axis, &after) in output.iter().enumerate() {
        let from = floats(&shape);
        if let Some(length) = shape.get_mut(axis) {
            *length = after;
        }
        let weights = after.saturating_mul(OF_A_PLACE);
        most = most.max(from.saturating_add(floats(&shape)).saturating_add(weights));
    }
    // The input as `f32`, which lives as long.
    most.saturating_add(first)
}

/// A size as a number; one that is not known, or below zero, counts as endless.
fn number(size: &TDim, values: &SymbolValues) -> u64 {
    size.eval_to_i64(values).ok().and_then(|size| u64::try_from(size).ok()).unwrap_or(u64::MAX)
}

fn bytes(fact: &TypedFact, values: &SymbolValues) -> u64 {
    let number = |size: &TDim| number(size, values);
    let elements = fact.shape.iter().map(number).fold(1_u64, u64::saturating_mul);
    // An empty tensor is empty, however large its other dimensions are.
    let elements = if fact.shape.iter().any(|it| number(it) == 0) { 0 } else { elements };
    let plain = elements.saturating_mul(fact.datum_type.size_of() as u64);
    let exotic = fact.exotic_fact().into_iter().flat_map(|fact| fact.buffer_sizes());
    exotic.fold(plain, |sum, size| sum.saturating_add(number(&size)))
}
