//! What an ONNX file says of its tensors: a small, bounded reader of the few protobuf fields that say it.
//!
//! Only names, element types and shapes of the graph's inputs and outputs are read (`onnx.proto`, IR version 3 and
//! later), so that a data scientist's model can be packed without typing them. Weights are skipped over. Whether the
//! model runs is the inference backend's to find out.

mod operators;

use std::collections::BTreeSet;

use crate::manifest::{ElementType, TensorSchema};

pub use operators::{Operator, operators, with_outputs};

/// The most inputs or outputs that are read.
const MOST_TENSORS: usize = 64;
/// The most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// The tensors of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelTensors {
    /// Tensors it takes.
    pub inputs: Vec<TensorSchema>,
    /// Tensors it gives.
    pub outputs: Vec<TensorSchema>,
    /// Outputs of which the file says no shape, which some tools leave to whoever loads the model: here it is empty.
    pub shapeless: Vec<String>,
}

/// A file whose tensors cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// It is something else, or cut off.
    #[error("this is not an ONNX model: {0}")]
    NotAModel(String),
    /// It is a model with something that is not taken.
    #[error("reading an ONNX model: {0}")]
    Unfit(String),
}

impl ModelTensors {
    /// Reads an ONNX file (a serialised `ModelProto`).
    ///
    /// # Errors
    /// Where the bytes are no protobuf message with a graph, or a tensor is of a kind that wasi:nn cannot name.
    pub fn read(file: &[u8]) -> Result<Self, OnnxError> {
        let graph = message(file, 7)?.pop().ok_or_else(|| not_a_model("it has no graph"))?;
        // Up to IR version 3, weights were listed among the inputs too.
        let mut weights = BTreeSet::new();
        for tensor in message(graph, 5)? {
            weights.extend(message(tensor, 8)?);
        }
        let mut inputs = message(graph, 11)?;
        inputs.retain(|info| {
            !message(info, 1).is_ok_and(|name| name.first().is_some_and(|it| weights.contains(it)))
        });
        let tensors = |infos: Vec<&[u8]>, what: &str| {
            if infos.is_empty() || infos.len() > MOST_TENSORS {
                return Err(error(&format!("it has {} {what}, read are 1 to {MOST_TENSORS}", infos.len())));
            }
            infos.into_iter().map(tensor).collect::<Result<Vec<_>, _>>()
        };
        let mut schemas = Vec::new();
        for Known { schema, has_shape } in tensors(inputs, "inputs")? {
            if !has_shape {
                return Err(error(&format!("`{}` has no shape", schema.name)));
            }
            schemas.push(schema);
        }
        let outputs = tensors(message(graph, 12)?, "outputs")?;
        let without = outputs.iter().filter(|output| !output.has_shape);
        let shapeless = without.map(|output| output.schema.name.clone()).collect();
        let outputs = outputs.into_iter().map(|output| output.schema).collect();
        Ok(Self { inputs: schemas, outputs, shapeless })
    }
}

/// What of a model makes or holds texts, for example ``operator `StringConcat` ``; none where nothing does. Memory for
/// texts is counted by no backend, so that nothing bounds what a model makes of them; and wasi:nn cannot name them.
///
/// Looked through are weights, attributes and operators, in graphs within graphs and in functions too: where none of them
/// is a text, none can come to be.
///
/// # Errors
/// Where the bytes are no protobuf message with a graph.
pub fn texts(file: &[u8]) -> Result<Option<String>, OnnxError> {
    for graph in message(file, 7)? {
        if let Some(found) = texts_of_graph(graph, DEEPEST)? {
            return Ok(Some(found));
        }
    }
    for function in message(file, 25)? {
        for node in message(function, 7)? {
            if let Some(found) = texts_of_node(node, DEEPEST)? {
                return Ok(Some(found));
            }
        }
        for attribute in message(function, 11)? {
            if texts_of_attribute(attribute)? {
                return Ok(Some("a function".to_owned()));
            }
        }
    }
    Ok(None)
}

/// Graphs within graphs that are followed. Deeper ones count as holding texts.
const DEEPEST: usize = 16;

/// Whether a number is `TensorProto.DataType.STRING`, as the readers of 32 bits that backends have take it.
fn is_text_type(number: Option<u64>) -> bool {
    const TEXT: u64 = 8;
    number.is_some_and(|number| number & 0xffff_ffff == TEXT)
}

/// `GraphProto`.
fn texts_of_graph(graph: &[u8], depth: usize) -> Result<Option<String>, OnnxError> {
    let Some(depth) = depth.checked_sub(1) else { return Ok(Some("a graph nested too deeply".to_owned())) };
    for weight in message(graph, 5)? {
        if is_text(weight)? {
            return Ok(Some("a weight".to_owned()));
        }
    }
    for sparse in message(graph, 15)? {
        for weight in message(sparse, 1)? {
            if is_text(weight)? {
                return Ok(Some("a weight".to_owned()));
            }
        }
    }
    for node in message(graph, 1)? {
        if let Some(found) = texts_of_node(node, depth)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// `NodeProto`.
fn texts_of_node(node: &[u8], depth: usize) -> Result<Option<String>, OnnxError> {
    let operator = message(node, 4)?.pop().unwrap_or_default();
    let named = || Some(format!("operator `{}`", String::from_utf8_lossy(operator)));
    if operator.starts_with(b"String") {
        return Ok(named());
    }
    for attribute in message(node, 5)? {
        for graph in message(attribute, 6)?.into_iter().chain(message(attribute, 11)?) {
            if let Some(found) = texts_of_graph(graph, depth)? {
                return Ok(Some(found));
            }
        }
        if texts_of_attribute(attribute)? {
            return Ok(named());
        }
    }
    Ok(None)
}

/// `AttributeProto`, its graphs aside.
fn texts_of_attribute(attribute: &[u8]) -> Result<bool, OnnxError> {
    let name = message(attribute, 1)?.pop().unwrap_or_default();
    // The texts of `Constant`, and labels of `ai.onnx.ml`: `value_string`, `values_strings`, `classlabels_strings`.
    let names_texts = name.windows(6).any(|part| part == b"string");
    // The element type that `Cast`, `EyeLike` and others are to give.
    let makes_texts = matches!(name, b"to" | b"dtype") && is_text_type(varint_field(attribute, 3)?);
    let tensors = message(attribute, 5)?.into_iter().chain(message(attribute, 10)?);
    let sparse = message(attribute, 22)?.into_iter().chain(message(attribute, 23)?);
    let mut holds = names_texts || makes_texts;
    for tensor in tensors {
        holds |= is_text(tensor)?;
    }
    for sparse in sparse {
        for tensor in message(sparse, 1)? {
            holds |= is_text(tensor)?;
        }
    }
    Ok(holds)
}

/// `TensorProto`.
fn is_text(tensor: &[u8]) -> Result<bool, OnnxError> {
    Ok(is_text_type(varint_field(tensor, 2)?))
}

/// A tensor, whose shape is empty where the file has none.
struct Known {
    schema: TensorSchema,
    has_shape: bool,
}

/// `ValueInfoProto`.
fn tensor(info: &[u8]) -> Result<Known, OnnxError> {
    let name = message(info, 1)?.pop().unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| error("a tensor's name is not text"))?;
    let kind = message(info, 2)?.pop().unwrap_or_default();
    let kind = message(kind, 1)?.pop().ok_or_else(|| error(&format!("`{name}` is not a tensor")))?;
    let dtype = match varint_field(kind, 1)? {
        Some(1) => ElementType::F32,
        Some(2) => ElementType::U8,
        Some(6) => ElementType::I32,
        Some(7) => ElementType::I64,
        Some(10) => ElementType::F16,
        Some(11) => ElementType::F64,
        Some(16) => ElementType::Bf16,
        other => {
            let other = other.unwrap_or(0);
            return Err(error(&format!("`{name}` has ONNX element type {other}, which wasi:nn cannot name")));
        }
    };
    let shape = message(kind, 2)?.pop();
    let dimensions = message(shape.unwrap_or_default(), 1)?;
    if dimensions.len() > MOST_DIMENSIONS {
        return Err(error(&format!("`{name}` has more than {MOST_DIMENSIONS} dimensions")));
    }
    let dimension = |dimension: &[u8]| {
        // A named dimension, or none at all: the caller chooses.
        let value = varint_field(dimension, 1)?;
        Ok(value.and_then(|value| u32::try_from(value).ok()).filter(|&value| value > 0))
    };
    let has_shape = shape.is_some();
    let shape = dimensions.into_iter().map(dimension).collect::<Result<_, _>>()?;
    Ok(Known { schema: TensorSchema { name: name.to_owned(), dtype, shape }, has_shape })
}

fn error(text: &str) -> OnnxError {
    OnnxError::Unfit(text.to_owned())
}

fn not_a_model(text: &str) -> OnnxError {
    OnnxError::NotAModel(text.to_owned())
}

/// A field of a message: its value, as far as we look at it.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Skipped,
}

/// The values of the length-delimited field `number`.
fn message(bytes: &[u8], number: u64) -> Result<Vec<&[u8]>, OnnxError> {
    let mut found = Vec::new();
    fields(bytes, |field, value| {
        if let (true, Field::Bytes(value)) = (field == number, value) {
            found.push(value);
        }
    })?;
    Ok(found)
}

/// The last value of the varint field `number`.
fn varint_field(bytes: &[u8], number: u64) -> Result<Option<u64>, OnnxError> {
    let mut found = None;
    fields(bytes, |field, value| {
        if let (true, Field::Varint(value)) = (field == number, value) {
            found = Some(value);
        }
    })?;
    Ok(found)
}

fn fields<'a>(mut bytes: &'a [u8], mut each: impl FnMut(u64, Field<'a>)) -> Result<(), OnnxError> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Field::Skipped)?,
            2 => {
                let length = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => take(&mut bytes, 4).map(|_| Field::Skipped)?,
            _ => return Err(not_a_model("it is not a protobuf message")),
        };
        each(tag >> 3, value);
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], OnnxError> {
    let length = usize::try_from(length).map_err(|_| not_a_model("it ends within a field"))?;
    let (head, tail) = bytes.split_at_checked(length).ok_or_else(|| not_a_model("it ends within a field"))?;
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = bytes.split_first().ok_or_else(|| not_a_model("it ends within a number"))?;
        *bytes = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(not_a_model("a number has more than ten bytes"))
}

#[cfg(test)]
#[path = "onnx_tests.rs"]
mod tests;
