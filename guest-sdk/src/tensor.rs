//! Tensors: a shape, an element type and little-endian bytes, seen as slices of numbers without copies.

use std::borrow::Cow;

use crate::{Context, Fault, Payload};

const _: () = assert!(cfg!(target_endian = "little"), "tensors are little-endian, as wasm is");

/// The media type of a tensor payload: raw little-endian elements, with the attributes `dtype` and `shape`.
pub const TENSOR_MEDIA_TYPE: &str = "application/vnd.martello.tensor";

/// Element types that wasi:nn can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
    U8,
    I32,
    I64,
}

impl ElementType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The word in the attribute `dtype` and in manifests, for example `f32`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
        }
    }

    /// Reads the word of a `dtype` attribute.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::F16, Self::Bf16, Self::F32, Self::F64, Self::U8, Self::I32, Self::I64];
        all.into_iter().find(|ty| ty.as_str() == word)
    }
}

/// A Rust number that is an element of a tensor.
pub trait Element: bytemuck::Pod {
    /// Its element type.
    const TYPE: ElementType;
}

impl Element for f32 {
    const TYPE: ElementType = ElementType::F32;
}
impl Element for f64 {
    const TYPE: ElementType = ElementType::F64;
}
impl Element for u8 {
    const TYPE: ElementType = ElementType::U8;
}
impl Element for i32 {
    const TYPE: ElementType = ElementType::I32;
}
impl Element for i64 {
    const TYPE: ElementType = ElementType::I64;
}

/// A tensor that borrows its elements. Making one copies nothing.
#[derive(Clone, Copy, PartialEq)]
pub struct TensorView<'a> {
    shape: &'a [u32],
    element_type: ElementType,
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Sees `values` as a tensor of this shape (row-major).
    ///
    /// # Errors
    /// `tensor-mismatch` where the shape does not hold as many elements.
    pub fn new<T: Element>(shape: &'a [u32], values: &'a [T]) -> Result<Self, Fault> {
        Self::from_bytes(T::TYPE, shape, bytemuck::cast_slice(values))
    }

    /// Sees little-endian bytes as a tensor.
    ///
    /// # Errors
    /// `tensor-mismatch` where shape and element type do not give the number of bytes.
    pub fn from_bytes(element_type: ElementType, shape: &'a [u32], bytes: &'a [u8]) -> Result<Self, Fault> {
        check_length(element_type, shape, bytes.len())?;
        Ok(Self { shape, element_type, bytes })
    }

    /// The dimensions.
    pub fn shape(&self) -> &'a [u32] {
        self.shape
    }

    /// The element type.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// The little-endian bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements. Copies only where the bytes are not aligned for `T`.
    ///
    /// # Errors
    /// `tensor-mismatch` where the elements are not `T`s.
    pub fn values<T: Element>(&self) -> Result<Cow<'a, [T]>, Fault> {
        if self.element_type != T::TYPE {
            let (found, wanted) = (self.element_type.as_str(), T::TYPE.as_str());
            return Err(Fault::unsupported(format!("tensor-mismatch: elements are {found}, not {wanted}")));
        }
        match bytemuck::try_cast_slice(self.bytes) {
            Ok(values) => Ok(Cow::Borrowed(values)),
            // The length was checked when the tensor was made, so this is about alignment alone.
            Err(_) => Ok(Cow::Owned(bytemuck::allocation::pod_collect_to_vec(self.bytes))),
        }
    }

    /// Writes the tensor as a payload on `port`: raw elements, with the attributes `dtype` and `shape` and those
    /// given.
    ///
    /// # Errors
    /// When the port is not declared or the output budget is used up.
    pub fn write_output(
        &self,
        context: &Context,
        port: &str,
        attributes: &[(&str, &str)],
    ) -> Result<[u8; 32], Fault> {
        let shape = shape_text(self.shape);
        let mut all = vec![("dtype", self.element_type.as_str()), ("shape", shape.as_str())];
        all.extend_from_slice(attributes);
        let mut sink = context.open_output(port, TENSOR_MEDIA_TYPE, &all)?;
        sink.write(self.bytes)?;
        sink.finish()
    }
}

/// Shape and element type only: elements may be pixels.
impl std::fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.element_type.as_str(), shape_text(self.shape))
    }
}

/// A tensor that owns its bytes.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<u32>,
    element_type: ElementType,
    bytes: Vec<u8>,
}

impl Tensor {
    /// Copies `values` into a tensor of this shape. Where the values live long enough, [`TensorView::new`] saves the
    /// copy.
    ///
    /// # Errors
    /// `tensor-mismatch` where the shape does not hold as many elements.
    pub fn new<T: Element>(shape: &[u32], values: &[T]) -> Result<Self, Fault> {
        Self::from_bytes(T::TYPE, shape.to_vec(), bytemuck::cast_slice(values).to_vec())
    }

    /// Takes little-endian bytes as a tensor, without a copy.
    ///
    /// # Errors
    /// `tensor-mismatch` where shape and element type do not give the number of bytes.
    pub fn from_bytes(element_type: ElementType, shape: Vec<u32>, bytes: Vec<u8>) -> Result<Self, Fault> {
        check_length(element_type, &shape, bytes.len())?;
        Ok(Self { shape, element_type, bytes })
    }

    /// Reads a tensor payload of at most `limit` bytes: raw elements, with the attributes `dtype` and `shape`.
    ///
    /// # Errors
    /// `bad-tensor` where an attribute is missing or does not read, or where the length is another than they say.
    pub fn read(payload: &Payload, limit: u64) -> Result<Self, Fault> {
        let attributes = payload.attributes();
        let attribute = |name: &str| {
            let found = attributes.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()));
            found.ok_or_else(|| Fault::malformed(format!("bad-tensor: attribute `{name}` is missing")))
        };
        let bad = |what: &str| Fault::malformed(format!("bad-tensor: {what}"));
        let element_type = ElementType::from_word(attribute("dtype")?)
            .ok_or_else(|| bad("`dtype` names no element type"))?;
        let shape =
            parse_shape(attribute("shape")?).ok_or_else(|| bad("`shape` is no list of dimensions"))?;
        if byte_length(element_type, &shape) != usize::try_from(payload.len()).ok() {
            return Err(bad("the length is another than `shape` and `dtype` say"));
        }
        let bytes = payload.read_all(limit)?;
        Self::from_bytes(element_type, shape, bytes)
    }

    /// Borrows the tensor.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: &self.shape, element_type: self.element_type, bytes: &self.bytes }
    }

    /// The dimensions.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// The element type.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// The elements. Copies only where the bytes are not aligned for `T`.
    ///
    /// # Errors
    /// `tensor-mismatch` where the elements are not `T`s.
    pub fn values<T: Element>(&self) -> Result<Cow<'_, [T]>, Fault> {
        self.view().values()
    }

    /// The little-endian bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.view(), f)
    }
}

/// A shape as the attribute `shape` writes it, for example `1,1,64,64`.
pub fn shape_text(shape: &[u32]) -> String {
    let mut text = String::new();
    for (index, dimension) in shape.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&dimension.to_string());
    }
    text
}

/// The most dimensions that a tensor payload may name.
const MOST_DIMENSIONS: usize = 8;

/// Reads what [`shape_text`] writes; nothing at all is the shape of a single number.
fn parse_shape(text: &str) -> Option<Vec<u32>> {
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let dimensions: Option<Vec<u32>> =
        text.split(',').take(MOST_DIMENSIONS + 1).map(|word| word.trim().parse().ok()).collect();
    dimensions.filter(|shape| shape.len() <= MOST_DIMENSIONS)
}

fn byte_length(element_type: ElementType, shape: &[u32]) -> Option<usize> {
    let dimension = |length: usize, &dimension| length.checked_mul(usize::try_from(dimension).ok()?);
    shape.iter().try_fold(element_type.size(), dimension)
}

fn check_length(element_type: ElementType, shape: &[u32], bytes: usize) -> Result<(), Fault> {
    if byte_length(element_type, shape) == Some(bytes) {
        return Ok(());
    }
    let (element, shape) = (element_type.as_str(), shape_text(shape));
    Err(Fault::unsupported(format!("tensor-mismatch: {bytes} bytes are no {element}[{shape}]")))
}
