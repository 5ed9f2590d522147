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

#[test]
fn texts_are_found_wherever_a_model_may_make_or_hold_them() {
    let tensor = |kind: &[u8]| [&[2 << 3][..], kind].concat();
    let attribute = |name: &str, rest: &[u8]| field(5, &[&field(1, name.as_bytes())[..], rest].concat());
    let node = |operator: &str, rest: &[u8]| field(1, &[&field(4, operator.as_bytes())[..], rest].concat());
    let graph = |graph: &[u8]| texts(&field(7, graph)).unwrap();
    let clean = [
        node("Conv", &attribute("pads", &number(3, 8))),
        node("Cast", &attribute("to", &number(3, 1))),
        node("Constant", &attribute("value", &field(5, &tensor(&[1])))),
        field(5, &tensor(&[1])),
    ];
    assert_eq!(graph(&clean.concat()), None);
    // Field 22, whose tag takes two bytes.
    let sparse = field(1, &tensor(&[8]));
    let sparse = [vec![0xb2, 0x01, u8::try_from(sparse.len()).unwrap()], sparse].concat();
    // 8 in 32 bits, however many are written: 2³² + 8.
    let wide: &[u8] = &[0x88, 0x80, 0x80, 0x80, 0x10];
    for (texts_in, what) in [
        (field(5, &tensor(&[8])), "a weight"),
        (field(5, &tensor(wide)), "a weight"),
        (field(5, &[tensor(&[1]), tensor(&[8])].concat()), "a weight"),
        (field(15, &field(1, &tensor(&[8]))), "a weight"),
        (node("StringConcat", &[]), "`StringConcat`"),
        (node("Cast", &attribute("to", &number(3, 8))), "`Cast`"),
        (node("Cast", &attribute("to", &[&[3 << 3][..], wide].concat())), "`Cast`"),
        (node("EyeLike", &attribute("dtype", &number(3, 8))), "`EyeLike`"),
        (node("Constant", &attribute("value_string", &field(4, b"x"))), "`Constant`"),
        (node("Constant", &attribute("value", &field(5, &tensor(&[8])))), "`Constant`"),
        (node("X", &attribute("all", &field(10, &tensor(&[8])))), "`X`"),
        (node("X", &attribute("sparse", &sparse)), "`X`"),
        (node("LabelEncoder", &attribute("values_strings", &field(9, b"x"))), "`LabelEncoder`"),
    ] {
        for at in 0..3 {
            // In the graph, in the body of a loop, in one of several branches of a branch.
            let mut inner = [&clean.concat()[..], &texts_in].concat();
            for kind in [6, 11].into_iter().cycle().take(at) {
                inner = node("Loop", &attribute("body", &field(kind, &inner)));
            }
            assert!(graph(&inner).is_some_and(|found| found.contains(what)), "{what} {at}");
        }
    }
    // Functions stand beside the graph; 25 and 2 take two bytes of tag.
    let function = [vec![0xca, 0x01, 4], field(7, &[]), field(7, &[])].concat();
    assert_eq!(texts(&function), Ok(None));
    let body = field(7, &field(4, b"StringSplit"));
    let function = [vec![0xca, 0x01, u8::try_from(body.len()).unwrap()], body].concat();
    assert!(texts(&function).unwrap().is_some_and(|found| found.contains("StringSplit")));
    let mut deep = node("Identity", &[]);
    for _ in 0..20 {
        deep = node("If", &attribute("then", &field(6, &deep)));
    }
    assert!(graph(&deep).is_some_and(|found| found.contains("too deeply")));
}

#[test]
fn an_output_without_a_shape_is_told_and_an_input_without_one_is_refused() {
    let open = |name: &str| [field(1, name.as_bytes()), field(2, &field(1, &number(1, 1)))].concat();
    let whole = value_info("x", 1, &[number(1, 2)]);
    let graph =
        |input: &[u8]| field(7, &[field(11, input), field(12, &open("y")), field(12, &whole)].concat());
    let tensors = ModelTensors::read(&graph(&whole)).unwrap();
    assert_eq!(tensors.shapeless, ["y"]);
    assert_eq!(tensors.outputs.len(), 2);
    let refused = ModelTensors::read(&graph(&open("x"))).unwrap_err();
    assert!(refused.to_string().contains("`x` has no shape"), "{refused}");
}

#[test]
fn what_is_no_model_is_told_from_a_model_that_is_not_taken() {
    for bytes in [&b"no model at all"[..], b"", b"\x93NUMPY\x01\x00", &model()[..40]] {
        let refused = ModelTensors::read(bytes).unwrap_err();
        assert!(matches!(refused, OnnxError::NotAModel(_)), "{refused}");
        assert!(refused.to_string().starts_with("this is not an ONNX model: "), "{refused}");
    }
    assert!(matches!(with_tensors(&[]), Err(OnnxError::Unfit(_))));
}

#[test]
fn operators_are_found_in_graphs_within_graphs_and_outputs_are_added() {
    let ratio = [field(1, b"sampling_ratio"), number(3, 2)].concat();
    let mode = [field(1, b"mode"), field(4, b"avg")].concat();
    let node = [
        field(1, b"x"),
        field(1, b"rois"),
        field(2, b"y"),
        field(4, b"RoiAlign"),
        field(5, &ratio),
        field(5, &mode),
    ]
    .concat();
    let body = field(5, &[field(1, b"body"), field(6, &field(1, &node))].concat());
    let nodes = [field(1, &node), field(1, &[field(4, b"Loop"), body].concat())].concat();
    let file = field(7, &[nodes, field(12, &value_info("y", 1, &[]))].concat());
    let found = operators(&file, &["RoiAlign", "Unique"]).unwrap();
    assert_eq!(found.iter().map(|it| it.is_nested).collect::<Vec<_>>(), [false, true]);
    assert_eq!(
        (&found[0].inputs[..], &found[0].outputs[..]),
        (&["x".to_owned(), "rois".to_owned()][..], &["y".to_owned()][..])
    );
    assert_eq!((found[0].number("sampling_ratio"), found[0].text("mode")), (Some(2), Some("avg")));
    assert_eq!(operators(&file, &["Loop"]).unwrap().len(), 1);
    let more = with_outputs(&file, ["a", &"b".repeat(300)]);
    let outputs: Vec<&[u8]> =
        message(&more, 7).unwrap().into_iter().flat_map(|graph| message(graph, 12).unwrap()).collect();
    assert_eq!(outputs.len(), 3);
    assert_eq!(message(outputs[2], 1).unwrap(), ["b".repeat(300).as_bytes()]);
}

#[test]
fn texts_in_the_attributes_of_a_function_and_in_lists_of_sparse_tensors_are_found() {
    let tensor = field(1, &number(2, 8));
    // Tags of two bytes: fields 25 (functions) and 23 (sparse tensors).
    let function = |attribute: &[u8]| {
        let body = field(11, attribute);
        [vec![0xca, 0x01, u8::try_from(body.len()).unwrap()], body].concat()
    };
    assert_eq!(texts(&function(&field(1, b"alpha"))), Ok(None));
    assert_eq!(texts(&function(&field(1, b"labels_strings"))).unwrap().as_deref(), Some("a function"));
    let sparse = [vec![0xba, 0x01, u8::try_from(tensor.len()).unwrap()], tensor].concat();
    let node = field(1, &[field(4, b"X"), field(5, &[field(1, b"all"), sparse].concat())].concat());
    assert!(texts(&field(7, &node)).unwrap().is_some_and(|found| found.contains("`X`")));
}

#[test]
fn graphs_are_followed_to_the_depth_that_is_allowed() {
    let nested = |levels: usize| {
        let mut graph = field(1, &field(4, b"Identity"));
        for _ in 1..levels {
            graph = field(1, &[field(4, b"If"), field(5, &field(6, &graph))].concat());
        }
        texts(&field(7, &graph)).unwrap()
    };
    assert_eq!(nested(DEEPEST), None);
    assert!(nested(DEEPEST + 1).is_some_and(|found| found.contains("too deeply")));
}

#[test]
fn fields_of_fixed_width_are_skipped_and_groups_are_no_message() {
    let fixed = [vec![2 << 3 | 1], vec![0xff; 8], vec![3 << 3 | 5], vec![0xff; 4]].concat();
    assert_eq!(ModelTensors::read(&[fixed, model()].concat()), ModelTensors::read(&model()));
    for kind in [3, 4, 6, 7] {
        assert!(ModelTensors::read(&[vec![2 << 3 | kind], model()].concat()).is_err(), "{kind}");
    }
}

#[test]
fn what_is_no_tensor_or_has_no_shape_is_refused_by_name() {
    let sequence = [field(1, b"list"), field(2, &field(4, &[]))].concat();
    let shapeless = [field(1, b"open"), field(2, &field(1, &number(1, 1)))].concat();
    for (input, words) in [(sequence, "`list` is not a tensor"), (shapeless, "`open` has no shape")] {
        let refused = with_tensors(&[input]).unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}
