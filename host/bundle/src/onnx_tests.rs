use proptest::prelude::*;

use super::*;

/// A length-delimited field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        out.push(u8::try_from(length & 127).unwrap() | 128);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend_from_slice(bytes);
    out
}

fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn value_info(name: &str, element: u8, dimensions: &[Vec<u8>]) -> Vec<u8> {
    let shape: Vec<u8> = dimensions.iter().flat_map(|dimension| field(1, dimension)).collect();
    let tensor = [number(1, element), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn model() -> Vec<u8> {
    let batch = field(2, b"batch");
    let input = value_info("image", 1, &[batch.clone(), number(1, 1), number(1, 64), number(1, 64)]);
    let weights = value_info("w", 1, &[number(1, 3)]);
    let output = value_info("scores", 1, &[batch, number(1, 5)]);
    let initializer = [number(2, 1), field(8, b"w"), field(9, &[0; 200])].concat();
    let graph = [field(5, &initializer), field(11, &input), field(11, &weights), field(12, &output)].concat();
    [number(1, 8), field(7, &graph)].concat()
}

#[test]
fn inputs_and_outputs_are_read_and_weights_are_not_inputs() {
    let tensors = ModelTensors::read(&model()).unwrap();
    let schema = |name: &str, shape: &[Option<u32>]| TensorSchema {
        name: name.to_owned(),
        dtype: ElementType::F32,
        shape: shape.to_vec(),
    };
    assert_eq!(tensors.inputs, [schema("image", &[None, Some(1), Some(64), Some(64)])]);
    assert_eq!(tensors.outputs, [schema("scores", &[None, Some(5)])]);
}

#[test]
fn element_types_that_wasi_nn_cannot_name_are_refused_by_name() {
    let graph = [field(11, &value_info("text", 8, &[])), field(12, &value_info("y", 1, &[]))].concat();
    let error = ModelTensors::read(&field(7, &graph)).unwrap_err();
    assert!(error.to_string().contains("`text` has ONNX element type 8"), "{error}");
}

fn with_tensors(inputs: &[Vec<u8>]) -> Result<ModelTensors, OnnxError> {
    let inputs = inputs.iter().flat_map(|input| field(11, input));
    let graph: Vec<u8> = inputs.chain(field(12, &value_info("y", 1, &[]))).collect();
    ModelTensors::read(&field(7, &graph))
}

#[test]
fn element_types_have_the_numbers_of_onnx() {
    for (number, element) in [
        (1, ElementType::F32),
        (2, ElementType::U8),
        (6, ElementType::I32),
        (7, ElementType::I64),
        (10, ElementType::F16),
        (11, ElementType::F64),
        (16, ElementType::Bf16),
    ] {
        assert_eq!(with_tensors(&[value_info("x", number, &[])]).unwrap().inputs[0].dtype, element);
    }
}

#[test]
fn tensors_and_dimensions_are_read_up_to_their_bounds() {
    assert_eq!(
        with_tensors(&vec![value_info("x", 1, &[]); MOST_TENSORS]).unwrap().inputs.len(),
        MOST_TENSORS
    );
    assert!(with_tensors(&vec![value_info("x", 1, &[]); MOST_TENSORS + 1]).is_err());
    assert!(with_tensors(&[]).is_err());
    assert!(with_tensors(&[value_info("x", 1, &vec![number(1, 2); MOST_DIMENSIONS])]).is_ok());
    assert!(with_tensors(&[value_info("x", 1, &vec![number(1, 2); MOST_DIMENSIONS + 1])]).is_err());
}

#[test]
fn a_dimension_that_is_no_size_is_the_callers_to_choose() {
    // 0, 300, 2^32 and 2^64 - 1 (which is -1 to ONNX) as varints.
    let sizes =
        [vec![0], vec![0xac, 2], vec![0x80, 0x80, 0x80, 0x80, 0x10], [vec![0xff; 9], vec![1]].concat()];
    let dimensions = sizes.map(|size| [vec![1 << 3], size].concat());
    let read = with_tensors(&[value_info("x", 1, &dimensions)]).unwrap();
    assert_eq!(read.inputs[0].shape, [None, Some(300), None, None]);
}

#[test]
fn what_is_no_model_is_refused() {
    for bytes in [b"".as_slice(), b"not a model", b"\x80", &[0xff; 16], b"\x3a\x7f\0"] {
        assert!(ModelTensors::read(bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn a_mutated_model_is_read_or_refused(at in 0_usize..300, with in any::<u8>(), cut in 0_usize..300) {
        let mut bytes = model();
        let length = bytes.len();
        bytes[at % length] = with;
        bytes.truncate(length.saturating_sub(cut));
        if let Ok(tensors) = ModelTensors::read(&bytes) {
            prop_assert!(tensors.inputs.len() <= MOST_TENSORS);
        }
    }
}
