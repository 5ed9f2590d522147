//! NumPy's `.npy` files (`numpy.lib.format`): how a tensor stands on disk so that other tools open it.

use martello_bundle::manifest::ElementType;
use martello_runtime::Payload;

/// How a file begins.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The media type of a tensor between stages: raw little-endian elements, with `dtype` and `shape` as attributes.
pub const TENSOR_MEDIA_TYPE: &str = "application/vnd.martello.tensor";

/// The extension of an export whose tensors are written as such files.
pub(crate) const EXTENSION: &str = "npy";

/// The beginning of a file in version 1, padded so that the elements start at a multiple of 64.
pub fn header(element_type: ElementType, shape: &[u32]) -> Vec<u8> {
    let dimensions: String = shape.iter().map(|dimension| format!("{dimension}, ")).collect();
    let dimensions = if shape.len() == 1 { dimensions.trim_end() } else { dimensions.trim_end_matches(", ") };
    let text =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({dimensions}), }}", descr(element_type));
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    let padding = unpadded.next_multiple_of(64) - unpadded;
    let length = u16::try_from(text.len() + padding + 1).unwrap_or(u16::MAX);
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&length.to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header.resize(header.len() + padding, b' ');
    header.push(b'\n');
    header
}

/// What stands before the elements of a tensor payload; none where the payload is no tensor, or its attributes do not
/// fit its length.
pub(crate) fn header_of(payload: &Payload) -> Option<Vec<u8>> {
    if payload.media_type() != TENSOR_MEDIA_TYPE {
        return None;
    }
    let name = serde_json::Value::from(payload.attribute("dtype")?);
    let element_type: ElementType = serde_json::from_value(name).ok()?;
    let shape: Vec<u32> =
        payload.attribute("shape")?.split(',').map(|size| size.parse().ok()).collect::<Option<_>>()?;
    let elements = shape.iter().try_fold(1_u64, |all, &size| all.checked_mul(size.into()))?;
    let bytes = elements.checked_mul(element_type.size() as u64)?;
    (bytes == payload.len()).then(|| header(element_type, &shape))
}

const fn descr(element_type: ElementType) -> &'static str {
    match element_type {
        ElementType::F16 => "<f2",
        ElementType::F32 => "<f4",
        ElementType::F64 => "<f8",
        ElementType::U8 => "|u1",
        ElementType::I32 => "<i4",
        ElementType::I64 => "<i8",
        ElementType::Bf16 => "<V2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: &str, shape: &str, bytes: usize) -> Payload {
        let attributes = [("dtype", dtype), ("shape", shape)];
        Payload::memory(TENSOR_MEDIA_TYPE, vec![0; bytes])
            .with_attributes(attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn a_tensor_gets_a_header_that_names_its_type_and_shape() {
        let header = header_of(&tensor("f32", "1,1,2,3", 24)).unwrap();
        let text = String::from_utf8_lossy(&header);
        assert!(text.contains("'descr': '<f4'") && text.contains("'shape': (1, 1, 2, 3)"), "{text}");
        assert_eq!(header.len() % 64, 0);
    }

    #[test]
    fn a_payload_that_is_not_the_tensor_it_says_gets_none() {
        let wrong = [
            tensor("f32", "1,1,2,3", 23),
            tensor("f33", "6", 24),
            tensor("f32", "6,-1", 24),
            tensor("f32", "4294967295,4294967295,4294967295", 24),
            tensor("f32", "", 24),
            Payload::memory(TENSOR_MEDIA_TYPE, vec![0; 24]),
            Payload::memory("image/png", vec![0; 24]),
        ];
        for payload in wrong {
            assert!(header_of(&payload).is_none(), "{payload:?}");
        }
    }
}
