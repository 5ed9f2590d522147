//! Single operators of a model, with what of them decides how much they take.

use super::{DEEPEST, OnnxError, error, message, varint_field};

/// An operator of a model (`NodeProto`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// What ONNX calls it, of whatever domain.
    pub kind: String,
    /// The tensors that it takes, in order; one that is left out has no name.
    pub inputs: Vec<String>,
    /// The tensors that it gives, in order.
    pub outputs: Vec<String>,
    /// Attributes that are whole numbers.
    pub numbers: Vec<(String, i64)>,
    /// Attributes that are texts.
    pub texts: Vec<(String, String)>,
    /// Whether it stands in a graph within the graph, or in a function: its tensors have no names outside.
    pub is_nested: bool,
}

impl Operator {
    /// The attribute of this name that is a whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.numbers.iter().find(|(known, _)| known == name).map(|&(_, number)| number)
    }

    /// The attribute of this name that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// The operators of these kinds, in graphs within graphs and in functions too.
///
/// # Errors
/// Where the bytes are no protobuf message with a graph, or graphs are nested too deeply.
pub fn operators(file: &[u8], kinds: &[&str]) -> Result<Vec<Operator>, OnnxError> {
    let mut found = Vec::new();
    for graph in message(file, 7)? {
        of_nodes(message(graph, 1)?, kinds, false, DEEPEST, &mut found)?;
    }
    for function in message(file, 25)? {
        of_nodes(message(function, 7)?, kinds, true, DEEPEST, &mut found)?;
    }
    Ok(found)
}

fn of_nodes(
    nodes: Vec<&[u8]>,
    kinds: &[&str],
    is_nested: bool,
    depth: usize,
    found: &mut Vec<Operator>,
) -> Result<(), OnnxError> {
    let depth = depth.checked_sub(1).ok_or_else(|| error("its graphs are nested too deeply"))?;
    for node in nodes {
        let kind = String::from_utf8_lossy(message(node, 4)?.pop().unwrap_or_default()).into_owned();
        if kinds.contains(&kind.as_str()) {
            found.push(operator(node, kind, is_nested)?);
        }
        for attribute in message(node, 5)? {
            for graph in message(attribute, 6)?.into_iter().chain(message(attribute, 11)?) {
                of_nodes(message(graph, 1)?, kinds, true, depth, found)?;
            }
        }
    }
    Ok(())
}

fn operator(node: &[u8], kind: String, is_nested: bool) -> Result<Operator, OnnxError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let names = |field| -> Result<Vec<String>, OnnxError> {
        Ok(message(node, field)?.into_iter().map(text).collect())
    };
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for attribute in message(node, 5)? {
        let name = || Ok(text(message(attribute, 1)?.pop().unwrap_or_default()));
        if let Some(number) = varint_field(attribute, 3)? {
            numbers.push((name()?, number.cast_signed()));
        }
        if let Some(value) = message(attribute, 4)?.pop() {
            texts.push((name()?, text(value)));
        }
    }
    Ok(Operator { kind, inputs: names(1)?, outputs: names(2)?, numbers, texts, is_nested })
}

/// The same model, which gives these tensors besides: their shapes are asked of a backend that says them of outputs alone.
/// A message that stands twice in another is one (protobuf, *Last One Wins*), so that the graph's second part is put behind.
pub fn with_outputs<'a>(file: &[u8], names: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut graph = Vec::new();
    for name in names {
        let mut info = Vec::new();
        put(&mut info, 1, name.as_bytes());
        put(&mut graph, 12, &info);
    }
    let mut model = file.to_vec();
    put(&mut model, 7, &graph);
    model
}

/// A field of bytes.
fn put(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    const BYTES: u8 = 2;
    let low = |length: usize| u8::try_from(length & 0x7f).unwrap_or(0);
    message.push(number.wrapping_shl(3) | BYTES);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(low(length) | 0x80);
        length >>= 7;
    }
    message.push(low(length));
    message.extend_from_slice(bytes);
}
