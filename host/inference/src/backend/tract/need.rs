//! What a run needs, known before it begins: an allocation that fails ends the whole process, so that nothing is left to
//! be found out while it runs.
//!
//! tract knows the shape of each tensor of a graph: as numbers, or as expressions over the open dimensions of the inputs.
//! Added up is what lives at once in the order of the plan. What an operator needs beside its outputs is not counted;
//! it is a fraction of them (packed pieces of matrices, the sums of a reduction).

use std::collections::HashSet;

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
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// The same for each run, and it was admitted.
    Fixed,
    /// It depends on the shapes of the inputs, and may be so much.
    OfShapes(ByteCount),
}

/// A tensor whose size depends on values.
struct Open {
    operator: String,
}

impl Need {
    /// Refuses a model whose runs need more than `most`, or whose need depends on what its tensors hold.
    pub(super) fn of(plan: &TypedRunnableModel, most: ByteCount) -> Result<Self, ModelError> {
        let model = plan.model();
        let mut open = HashSet::new();
        for &input in &model.inputs {
            open.extend(symbols(model, input));
        }
        check(model, &open, DEEPEST)
            .map_err(|Open { operator }| ModelError::Unbounded { backend: BackendKind::Tract, operator })?;
        if !open.is_empty() {
            return Ok(Self::OfShapes(most));
        }
        let need = peak(model, plan.order_without_consts(), &SymbolValues::default());
        if need > most.0 {
            let limit = ModelLimit::Memory(most);
            return Err(ModelError::Limit { backend: BackendKind::Tract, limit });
        }
        Ok(Self::Fixed)
    }

    /// Refuses a run on tensors of these shapes that needs more than it may.
    pub(super) fn admit(self, plan: &TypedRunnableModel, inputs: &[Tensor]) -> Result<(), RunError> {
        let Self::OfShapes(most) = self else { return Ok(()) };
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
        if peak(model, plan.order_without_consts(), &values) > most.0 {
            return Err(RunError::TooLarge);
        }
        Ok(())
    }
}

fn symbols(model: &TypedModel, outlet: OutletId) -> HashSet<Symbol> {
    let fact = model.outlet_fact(outlet);
    fact.map(|fact| fact.shape.iter().flat_map(TDim::symbols).collect()).unwrap_or_default()
}

/// Whether the size of every tensor is an expression over `known`.
fn check(model: &TypedModel, known: &HashSet<Symbol>, depth: usize) -> Result<(), Open> {
    for node in model.nodes() {
        let open = || Open { operator: node.op.name().to_string() };
        for output in &node.outputs {
            let exotic = output.fact.exotic_fact().into_iter().flat_map(|fact| fact.buffer_sizes());
            let mut sizes = output.fact.shape.iter().cloned().chain(exotic);
            if sizes.any(|size| !size.symbols().is_subset(known)) {
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
        most = most.max(live.saturating_add(within.max().unwrap_or(0)));
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

fn bytes(fact: &TypedFact, values: &SymbolValues) -> u64 {
    let number = |size: &TDim| match size.eval_to_i64(values) {
        Ok(size) => u64::try_from(size).unwrap_or(u64::MAX),
        Err(_) => u64::MAX,
    };
    let elements = fact.shape.iter().map(number).fold(1_u64, u64::saturating_mul);
    // An empty tensor is empty, however large its other dimensions are.
    let elements = if fact.shape.iter().any(|it| number(it) == 0) { 0 } else { elements };
    let plain = elements.saturating_mul(fact.datum_type.size_of() as u64);
    let exotic = fact.exotic_fact().into_iter().flat_map(|fact| fact.buffer_sizes());
    exotic.fold(plain, |sum, size| sum.saturating_add(number(&size)))
}
