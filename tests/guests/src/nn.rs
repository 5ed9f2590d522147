//! `wasi:nn` for guests: refusals become the faults that the guest SDK makes of them.

pub use crate::wasi::nn::errors::{Error, ErrorCode};
pub use crate::wasi::nn::graph::{ExecutionTarget, Graph, GraphEncoding, load, load_by_name};
pub use crate::wasi::nn::inference::GraphExecutionContext;
pub use crate::wasi::nn::tensor::{Tensor, TensorType};

use crate::Fault;

/// Named tensors, as `compute` takes and gives them.
pub type Named = Vec<(String, Tensor)>;

/// What wasi:nn refused, as a stage's fault.
pub fn refused(error: Error) -> Fault {
    let text = |code: &str| format!("{code}: {}", error.data());
    match error.code() {
        ErrorCode::InvalidArgument => Fault::Unsupported(text("tensor-mismatch")),
        ErrorCode::Timeout => Fault::Limit(text("model-timeout")),
        ErrorCode::TooLarge => Fault::Limit(text("model-too-large")),
        ErrorCode::NotFound => Fault::Internal(text("model-missing")),
        ErrorCode::Security => Fault::Policy(text("model-forbidden")),
        _ => Fault::Internal(text("model-failed")),
    }
}

/// Runs a model on tensors.
pub fn run(graph: &Graph, inputs: Named) -> Result<Named, Fault> {
    graph.init_execution_context().map_err(refused)?.compute(inputs).map_err(refused)
}
