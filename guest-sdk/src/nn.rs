//! Running models of the bundle through wasi:nn.

use std::borrow::Cow;

use crate::{Context, Element, Fault, Tensor, TensorView, raw};

/// A model of the bundle, ready to run.
pub struct Graph {
    raw: raw::Graph,
    name: String,
}

impl Graph {
    /// Opens a model by the name that the manifest gives it.
    ///
    /// # Errors
    /// `model-missing` where the manifest grants no model of this name to the stage, `model-failed` where it does
    /// not start.
    pub fn by_name(context: &Context, name: &str) -> Result<Self, Fault> {
        let raw = context.raw.graph(name).map_err(|error| error.into_fault(name))?;
        Ok(Self { raw, name: name.to_owned() })
    }

    /// Runs the model on tensors by input name. The host checks names, types and shapes against the model.
    ///
    /// # Errors
    /// `tensor-mismatch` where the model does not take these tensors, `model-timeout`, or `model-failed`.
    pub fn run(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<Outputs, Fault> {
        let outputs = self.raw.compute(inputs).map_err(|error| error.into_fault(&self.name))?;
        Ok(Outputs { outputs })
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Graph").field(&self.name).finish()
    }
}

/// What a model gave, by output name. The bytes stay in the host until they are asked for.
pub struct Outputs {
    outputs: Vec<(String, raw::Tensor)>,
}

impl Outputs {
    /// The names, in the model's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|(name, _)| name.as_str())
    }

    /// Fetches an output.
    ///
    /// # Errors
    /// `output-missing` where the model gives none of this name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Fault> {
        let found = self.outputs.iter().find(|(output, _)| output == name);
        let (_, raw) = found.ok_or_else(|| Fault::internal(format!("output-missing: `{name}`")))?;
        fetch(raw)
    }

    /// Fetches the one output of a model that has one.
    ///
    /// # Errors
    /// `output-missing` where the model gives none or several.
    pub fn only(&self) -> Result<Tensor, Fault> {
        match self.outputs.as_slice() {
            [(_, raw)] => fetch(raw),
            several => Err(Fault::internal(format!(
                "output-missing: the model gives {} outputs, not one",
                several.len()
            ))),
        }
    }

    /// Fetches an output and checks type and shape.
    ///
    /// # Errors
    /// `output-missing` where the model gives none of this name, `tensor-mismatch` where it is of another element
    /// type or shape.
    pub fn values<T: Element>(&self, name: &str, shape: &[u32]) -> Result<Vec<T>, Fault> {
        let tensor = self.tensor(name)?;
        if tensor.shape() != shape {
            let (found, wanted) = (crate::shape_text(tensor.shape()), crate::shape_text(shape));
            return Err(Fault::unsupported(format!(
                "tensor-mismatch: `{name}` is [{found}], not [{wanted}]"
            )));
        }
        tensor.values().map(Cow::into_owned)
    }
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn fetch(raw: &raw::Tensor) -> Result<Tensor, Fault> {
    let (element_type, shape, bytes) = raw.fetch();
    Tensor::from_bytes(element_type, shape, bytes)
}

/// Why wasi:nn refused, in its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The tensors are not those that the model takes.
    InvalidArgument,
    /// The model's bytes are not of the encoding named.
    InvalidEncoding,
    /// The model took too long.
    Timeout,
    /// The backend failed.
    RuntimeError,
    /// The backend cannot do this.
    UnsupportedOperation,
    /// Over a limit of size.
    TooLarge,
    /// No model of this name is granted.
    NotFound,
    /// Not permitted.
    Security,
    /// Something else.
    Unknown,
}

/// An error of wasi:nn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NnError {
    /// The kind of error.
    pub code: ErrorCode,
    /// The backend's words.
    pub text: String,
}

impl NnError {
    /// As the fault that a stage returns.
    pub fn into_fault(self, model: &str) -> Fault {
        let text = |code: &str| format!("{code}: model `{model}`: {}", self.text);
        match self.code {
            ErrorCode::InvalidArgument => Fault::Unsupported(text("tensor-mismatch")),
            ErrorCode::Timeout => Fault::Limit(text("model-timeout")),
            ErrorCode::TooLarge => Fault::Limit(text("model-too-large")),
            ErrorCode::NotFound => Fault::Internal(text("model-missing")),
            ErrorCode::Security => Fault::Policy(text("model-forbidden")),
            ErrorCode::InvalidEncoding
            | ErrorCode::RuntimeError
            | ErrorCode::UnsupportedOperation
            | ErrorCode::Unknown => Fault::Internal(text("model-failed")),
        }
    }
}
