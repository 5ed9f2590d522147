//! A tensor on the host: a shape, an element type and little-endian bytes, row-major.

use bytes::Bytes;
use martello_bundle::manifest::ElementType;

use crate::memory;

/// The most dimensions of a tensor.
pub const MOST_DIMENSIONS: usize = 8;

/// A tensor. Cloning it is cheap; its bytes do not change.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    element_type: ElementType,
    shape: Vec<u32>,
    bytes: Bytes,
}

/// Shape, element type and bytes do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Too many dimensions.
    #[error("tensor has {found} dimensions, at most {MOST_DIMENSIONS} are taken")]
    Rank {
        /// How many.
        found: usize,
    },
    /// More bytes than this machine can count.
    #[error("tensor has more bytes than can be counted")]
    Overflow,
    /// Another number of bytes than the shape asks for.
    #[error("tensor has {found} bytes, its shape and element type make {expected}")]
    Length {
        /// What the shape asks for.
        expected: usize,
        /// What is there.
        found: usize,
    },
}

/// The number of bytes of a tensor, counted without overflow. A tensor without dimensions has one element.
pub(crate) fn byte_length(element_type: ElementType, shape: &[u32]) -> Result<usize, TensorError> {
    if shape.len() > MOST_DIMENSIONS {
        return Err(TensorError::Rank { found: shape.len() });
    }
    // A zero anywhere makes the tensor empty, however large the other dimensions are.
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(element_type.size(), |bytes, &dimension| {
            bytes.checked_mul(usize::try_from(dimension).ok()?)
        })
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .ok_or(TensorError::Overflow)
}

impl Tensor {
    /// A tensor over these bytes, which are not copied.
    ///
    /// # Errors
    /// [`TensorError`].
    pub fn new(element_type: ElementType, shape: Vec<u32>, bytes: Bytes) -> Result<Self, TensorError> {
        let expected = byte_length(element_type, &shape)?;
        if expected != bytes.len() {
            return Err(TensorError::Length { expected, found: bytes.len() });
        }
        Ok(Self { element_type, shape, bytes })
    }

    /// A tensor over a copy of these bytes, in a pooled buffer aligned to 64 bytes.
    ///
    /// # Errors
    /// [`TensorError`]; nothing is allocated then.
    pub fn copied(element_type: ElementType, shape: Vec<u32>, bytes: &[u8]) -> Result<Self, TensorError> {
        let expected = byte_length(element_type, &shape)?;
        if expected != bytes.len() {
            return Err(TensorError::Length { expected, found: bytes.len() });
        }
        Ok(Self { element_type, shape, bytes: memory::copied(bytes) })
    }

    /// The element type.
    pub const fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// The dimensions.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// The elements, little-endian, row-major.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same tensor with its bytes aligned for its elements; through a copy where they are not.
    #[cfg_attr(not(feature = "onnxruntime"), expect(dead_code, reason = "tract copies its inputs"))]
    pub(crate) fn aligned(&self) -> Self {
        if (self.bytes.as_ptr() as usize).is_multiple_of(self.element_type.size()) {
            return self.clone();
        }
        Self {
            element_type: self.element_type,
            shape: self.shape.clone(),
            bytes: memory::copied(&self.bytes),
        }
    }

    /// The elements as numbers; through a copy where the bytes are not aligned for them.
    ///
    /// The caller asks for the type that the tensor has.
    pub(crate) fn values<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
    ) -> std::borrow::Cow<'_, [T]> {
        match bytemuck::try_cast_slice(&self.bytes) {
            Ok(values) => std::borrow::Cow::Borrowed(values),
            Err(_) => std::borrow::Cow::Owned(bytemuck::pod_collect_to_vec(&self.bytes)),
        }
    }

    /// Every element as a double, for comparing. Integers beyond 2^53 are rounded.
    pub(crate) fn to_doubles(&self) -> Vec<f64> {
        match self.element_type {
            ElementType::F16 => self.values::<half::f16>().iter().map(|value| value.to_f64()).collect(),
            ElementType::Bf16 => self.values::<half::bf16>().iter().map(|value| value.to_f64()).collect(),
            ElementType::F32 => self.values::<f32>().iter().map(|&value| f64::from(value)).collect(),
            ElementType::F64 => self.values::<f64>().into_owned(),
            ElementType::U8 => self.bytes.iter().map(|&value| f64::from(value)).collect(),
            ElementType::I32 => self.values::<i32>().iter().map(|&value| f64::from(value)).collect(),
            ElementType::I64 => self.values::<i64>().iter().map(|&value| value as f64).collect(),
        }
    }
}

/// A tensor may hold an image of a person: only its kind is shown.
impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?} {:?})", self.element_type, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_without_overflow() {
        assert_eq!(byte_length(ElementType::F32, &[2, 3]), Ok(24));
        assert_eq!(byte_length(ElementType::F64, &[]), Ok(8));
        assert_eq!(byte_length(ElementType::F64, &[u32::MAX; 8]), Err(TensorError::Overflow));
        assert_eq!(byte_length(ElementType::U8, &[u32::MAX, u32::MAX, 0]), Ok(0));
        assert_eq!(byte_length(ElementType::U8, &[1; 9]), Err(TensorError::Rank { found: 9 }));
    }

    #[test]
    fn a_length_that_is_not_that_of_the_shape_is_refused() {
        for bytes in [0_usize, 23, 25, 48] {
            let made = Tensor::copied(ElementType::F32, vec![2, 3], &vec![0; bytes]);
            assert_eq!(made, Err(TensorError::Length { expected: 24, found: bytes }));
        }
    }

    #[test]
    fn unaligned_bytes_are_read_as_numbers_too() {
        let mut bytes = vec![0_u8];
        bytes.extend_from_slice(bytemuck::cast_slice(&[1.5_f32, -2.0]));
        let unaligned = Bytes::from(bytes).slice(1..);
        let tensor = Tensor::new(ElementType::F32, vec![2], unaligned).unwrap();
        assert_eq!(tensor.values::<f32>().as_ref(), [1.5, -2.0]);
    }
}
