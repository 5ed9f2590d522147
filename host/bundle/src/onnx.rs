//! What an ONNX file says of its tensors: a small, bounded reader of the few protobuf fields that say it.
//!
//! Only names, element types and shapes of the graph's inputs and outputs are read (`onnx.proto`, IR version 3 and
//! later), so that a data scientist's model can be packed without typing them. Weights are skipped over. Whether the
//! model runs is the inference backend's to find out.

use std::collections::BTreeSet;

use crate::manifest::{ElementType, TensorSchema};

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
}

/// A file whose tensors cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading an ONNX file: {0}")]
pub struct OnnxError(String);

impl ModelTensors {
    /// Reads an ONNX file (a serialised `ModelProto`).
    ///
    /// # Errors
    /// Where the bytes are no protobuf message with a graph, or a tensor is of a kind that wasi:nn cannot name.
    pub fn read(file: &[u8]) -> Result<Self, OnnxError> {
        let graph = message(file, 7)?.pop().ok_or_else(|| error("it has no graph"))?;
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
            infos.into_iter().map(tensor).collect()
        };
        Ok(Self { inputs: tensors(inputs, "inputs")?, outputs: tensors(message(graph, 12)?, "outputs")? })
    }
}

/// `ValueInfoProto`.
fn tensor(info: &[u8]) -> Result<TensorSchema, OnnxError> {
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
    let shape = message(kind, 2)?.pop().ok_or_else(|| error(&format!("`{name}` has no shape")))?;
    let dimensions = message(shape, 1)?;
    if dimensions.len() > MOST_DIMENSIONS {
        return Err(error(&format!("`{name}` has more than {MOST_DIMENSIONS} dimensions")));
    }
    let dimension = |dimension: &[u8]| {
        // A named dimension, or none at all: the caller chooses.
        let value = varint_field(dimension, 1)?;
        Ok(value.and_then(|value| u32::try_from(value).ok()).filter(|&value| value > 0))
    };
    let shape = dimensions.into_iter().map(dimension).collect::<Result<_, _>>()?;
    Ok(TensorSchema { name: name.to_owned(), dtype, shape })
}

fn error(text: &str) -> OnnxError {
    OnnxError(text.to_owned())
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
            _ => return Err(error("it is not a protobuf message")),
        };
        each(tag >> 3, value);
    }
    Ok(())
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], OnnxError> {
    let length = usize::try_from(length).map_err(|_| error("it ends within a field"))?;
    let (head, tail) = bytes.split_at_checked(length).ok_or_else(|| error("it ends within a field"))?;
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = bytes.split_first().ok_or_else(|| error("it ends within a number"))?;
        *bytes = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(error("a number has more than ten bytes"))
}

#[cfg(test)]
#[path = "onnx_tests.rs"]
mod tests;
