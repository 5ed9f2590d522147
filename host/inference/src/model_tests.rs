//! What holds of every loaded model, on both backends.

use std::collections::BTreeMap;

use bytes::Bytes;
use martello_bundle::manifest::{Backend, ElementType, Golden, GoldenTensor, Strictness};
use martello_vocab::{ByteCount, Digest};

use crate::backend::{BackendKind, Element};
use crate::error::ModelError;
use crate::golden::GoldenCase;
use crate::testing::{accelerated, builtin, config, entry, file, floats, load};
use crate::{Inference, InferenceConfig, LibraryPolicy, Tensor};

/// Numbers that look random and are the same each time.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f32::from(u16::try_from(state >> 16).unwrap()) / 32768.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn image(element: ElementType, batch: u32) -> Tensor {
    let values = noise(usize::try_from(batch).unwrap() * 3 * 16 * 16);
    let bytes: Vec<u8> = match element {
        ElementType::F16 => values.iter().flat_map(|&it| half::f16::from_f32(it).to_le_bytes()).collect(),
        ElementType::F64 => values.iter().flat_map(|&it| f64::from(it).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|it| it.to_le_bytes()).collect(),
    };
    Tensor::copied(element, vec![batch, 3, 16, 16], &bytes).unwrap()
}

#[test]
fn both_backends_agree_on_networks_of_every_float() {
    let Some(inference) = accelerated() else { return };
    let cases = [
        ("convnet_f32", ElementType::F32, 1, 1e-4),
        ("convnet_f16", ElementType::F16, 1, 1e-2),
        ("convnet_batch", ElementType::F32, 3, 1e-4),
    ];
    for (name, element, batch, tolerance) in cases {
        let run = |backend| {
            let model = load(&inference, name, backend).unwrap_or_else(|error| panic!("{name}: {error}"));
            model.run_native(vec![("image".to_owned(), image(element, batch))]).unwrap()
        };
        let (tract, ort) = (run(Backend::Builtin), run(Backend::Onnxruntime));
        for ((tract_name, tract), (ort_name, ort)) in tract.iter().zip(&ort) {
            assert_eq!(tract_name, ort_name);
            assert_eq!(tract.shape(), ort.shape());
            let far = tract.to_doubles().into_iter().zip(ort.to_doubles()).map(|(a, b)| (a - b).abs());
            let far = far.fold(0.0, f64::max);
            assert!(far <= tolerance, "{name} {tract_name}: {far:e}");
        }
    }
}

#[test]
fn doubles_go_through_the_built_in_backend() {
    let run = |name: &str, element| {
        let model = load(&builtin(), name, Backend::Builtin).unwrap();
        model.run_native(vec![("image".to_owned(), image(element, 1))]).unwrap()
    };
    let (single, double) = (run("convnet_f32", ElementType::F32), run("convnet_f64", ElementType::F64));
    assert_eq!(double[0].1.element_type(), ElementType::F64);
    assert!(double[0].1.to_doubles().iter().all(|value| value.is_finite()));
    assert_eq!(single[0].1.shape(), double[0].1.shape());
}

#[test]
fn integers_go_through_both_backends() {
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        let cases = [
            (
                "plus_one_i32",
                ElementType::I32,
                [1_i32, -2, 3, 40].iter().flat_map(|it| it.to_le_bytes()).collect(),
            ),
            (
                "plus_one_i64",
                ElementType::I64,
                [1_i64, -2, 3, 40].iter().flat_map(|it| it.to_le_bytes()).collect(),
            ),
            ("plus_one_u8", ElementType::U8, vec![1_u8, 254, 3, 40]),
        ];
        for (name, element, bytes) in cases {
            let input = Tensor::copied(element, vec![4], &bytes).unwrap();
            let expected: Vec<f64> = input.to_doubles().iter().map(|it| it + 1.0).collect();
            let model = load(&inference, name, backend).unwrap();
            let outputs = model.run_native(vec![("x".to_owned(), input)]).unwrap();
            assert_eq!(outputs[0].1.to_doubles(), expected, "{name} {backend:?}");
        }
    }
}

#[test]
fn bf16_goes_through_onnx_runtime_and_is_refused_by_name_in_tract() {
    let refused = load(&builtin(), "same_bf16", Backend::Builtin).unwrap_err().to_string();
    assert!(refused.contains("bf16") || refused.to_lowercase().contains("bfloat16"), "{refused}");
    let Some(inference) = accelerated() else { return };
    let model = load(&inference, "same_bf16", Backend::Onnxruntime).unwrap();
    let bytes: Vec<u8> = noise(6).iter().flat_map(|&it| half::bf16::from_f32(it).to_le_bytes()).collect();
    let input = Tensor::copied(ElementType::Bf16, vec![2, 3], &bytes).unwrap();
    let outputs = model.run_native(vec![("x".to_owned(), input)]).unwrap();
    assert_eq!(outputs[0].1.bytes(), &bytes);
}

#[test]
fn an_operator_that_is_not_there_is_named() {
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        let refused = load(&inference, "unsupported", backend).unwrap_err();
        let ModelError::UnsupportedOperator { operators, .. } = &refused else { panic!("{refused:?}") };
        assert!(operators[0].contains("Nonesuch"), "{refused}");
    }
}

#[test]
fn a_model_reaches_no_file_but_itself() {
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        assert!(load(&inference, "external", backend).is_err(), "{backend:?}");
    }
}

#[test]
fn a_type_that_wasi_nn_cannot_name_is_refused_with_the_name_of_the_tensor() {
    let bytes: Bytes = file("same_bool").into();
    let mut described = entry(&file("same_u8"), Backend::Builtin);
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        described.placement.backend = backend;
        let refused = inference.load_bytes(&bytes, Digest::of(&bytes), &described, &[]).unwrap_err();
        let ModelError::ElementType { name, element, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!((name.as_str(), element.as_str()), ("x", "bool"));
    }
}

#[test]
fn a_manifest_that_describes_another_model_is_refused() {
    let inference = builtin();
    let bytes: Bytes = file("affine").into();
    let right = entry(&bytes, Backend::Builtin);
    let refused = |change: &dyn Fn(&mut martello_bundle::manifest::Model)| {
        let mut model = right.clone();
        change(&mut model);
        matches!(inference.load_bytes(&bytes, Digest::of(&bytes), &model, &[]), Err(ModelError::Schema(_)))
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|model| model.inputs[0].name = "z".to_owned()));
    assert!(refused(&|model| model.inputs[0].dtype = ElementType::I32));
    assert!(refused(&|model| model.inputs[0].shape = vec![Some(2), Some(4)]));
    assert!(refused(&|model| model.outputs[0].shape = vec![Some(2)]));
    assert!(refused(&|model| model.outputs.clear()));
}

#[test]
fn a_device_that_is_required_and_not_there_is_an_error_and_a_preferred_one_is_recorded() {
    let mut choices = vec![(builtin(), Backend::Builtin), (builtin(), Backend::Auto)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        let bytes: Bytes = file("affine").into();
        let mut model = entry(&bytes, backend);
        model.placement.device = "gpu:0".to_owned();
        let required = inference.load_bytes(&bytes, Digest::of(&bytes), &model, &[]);
        model.placement.strictness = Strictness::Prefer;
        let preferred = inference.load_bytes(&bytes, Digest::of(&bytes), &model, &[]).unwrap();
        match required {
            Err(ModelError::DeviceMissing { device, reason }) => {
                assert_eq!(device, "gpu:0");
                assert!(!reason.is_empty());
                assert_eq!(preferred.execution().device, "cpu");
                assert!(preferred.execution().instead.as_ref().unwrap().contains("gpu:0"));
            }
            // A machine with a GPU and a library for it: then it is really used.
            Ok(loaded) => assert_eq!(loaded.execution().device, "gpu:0"),
            Err(error) => panic!("{error}"),
        }
        model.placement.device = "quantum".to_owned();
        assert!(inference.load_bytes(&bytes, Digest::of(&bytes), &model, &[]).is_err());
    }
}

#[test]
fn what_runs_is_what_was_asked_for() {
    let Some(inference) = accelerated() else { return };
    let model = load(&inference, "convnet_f32", Backend::Auto).unwrap();
    let execution = model.execution();
    assert_eq!((execution.backend, execution.device.as_str()), (BackendKind::Onnxruntime, "cpu"));
    assert!(execution.providers[0].starts_with("CPUExecutionProvider"), "{execution:?}");
    assert!(execution.version.starts_with("1."), "{execution:?}");
    assert_eq!(execution.instead, None);
}

#[test]
fn a_library_that_was_asked_for_and_is_not_allowed_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, "no library").unwrap();
    let asked = InferenceConfig { library: Some(path), ..config() };
    assert!(Inference::new(&asked).unwrap_err().to_string().contains("is not allowed"));
    let found = InferenceConfig { library_folders: vec![folder.path().to_owned()], ..config() };
    let without = Inference::new(&found).unwrap();
    assert!(without.availability(BackendKind::Onnxruntime).unwrap_err().contains("is not allowed"));
    assert!(load(&without, "affine", Backend::Onnxruntime).is_err());
    assert_eq!(load(&without, "affine", Backend::Auto).unwrap().execution().backend, BackendKind::Tract);
}

fn golden(expected: &[f32]) -> (Golden, BTreeMap<String, Bytes>, BTreeMap<String, Bytes>) {
    let bytes = |values: &[f32]| Bytes::copy_from_slice(bytemuck::cast_slice(values));
    let tensor = |bytes: &Bytes| GoldenTensor {
        digest: Digest::of(bytes),
        size: ByteCount(bytes.len() as u64),
        shape: vec![2, 3],
    };
    let (input, output) = (bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), bytes(expected));
    let golden = Golden {
        inputs: BTreeMap::from([("x".to_owned(), tensor(&input))]),
        outputs: BTreeMap::from([("y".to_owned(), tensor(&output))]),
        absolute_tolerance: 1e-5,
        relative_tolerance: 1e-5,
    };
    (golden, BTreeMap::from([("x".to_owned(), input)]), BTreeMap::from([("y".to_owned(), output)]))
}

#[test]
fn golden_vectors_pass_where_they_hold_and_refuse_the_model_where_not() {
    let mut choices = vec![(builtin(), Backend::Builtin, 1)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime, 2)));
    for (inference, backend, runs) in choices {
        let bytes: Bytes = file("affine").into();
        let model = entry(&bytes, backend);
        let loaded = inference.load_bytes(&bytes, Digest::of(&bytes), &model, &[]).unwrap();
        let check = |expected: &[f32]| {
            let (golden, inputs, outputs) = golden(expected);
            let case = GoldenCase { golden: &golden, inputs, outputs };
            inference.check_golden_bytes(&loaded, &bytes, &model, &[case])
        };
        let evidence = check(&[3.0, 5.0, 7.0, 9.0, 11.0, 13.0]).unwrap();
        assert_eq!((evidence.vectors, evidence.runs.len(), evidence.decided_alone), (1, runs, None));
        let refused = check(&[3.0, 5.0, 7.0, 9.5, 11.0, 13.0]).unwrap_err();
        let ModelError::Disagreement { index: 0, output, absolute, .. } = &refused else {
            panic!("{refused}")
        };
        assert_eq!(output, "y");
        assert!((absolute - 0.5).abs() < 1e-6);
        assert!(check(&[3.0]).is_err());
    }
}

#[test]
fn where_the_built_in_backend_cannot_load_the_model_the_known_outputs_decide_alone() {
    let Some(inference) = accelerated() else { return };
    let bytes: Bytes = file("same_bf16").into();
    let model = entry(&bytes, Backend::Onnxruntime);
    let loaded = inference.load_bytes(&bytes, Digest::of(&bytes), &model, &[]).unwrap();
    let raw = Bytes::from_static(&[0; 12]);
    let tensor = |shape| GoldenTensor { digest: Digest::of(&raw), size: ByteCount(12), shape };
    let golden = Golden {
        inputs: BTreeMap::from([("x".to_owned(), tensor(vec![2, 3]))]),
        outputs: BTreeMap::from([("y".to_owned(), tensor(vec![6]))]),
        absolute_tolerance: 0.0,
        relative_tolerance: 0.0,
    };
    let side = |name: &str| BTreeMap::from([(name.to_owned(), raw.clone())]);
    let case = GoldenCase { golden: &golden, inputs: side("x"), outputs: side("y") };
    let evidence = inference.check_golden_bytes(&loaded, &bytes, &model, &[case]).unwrap();
    assert_eq!(evidence.runs.len(), 1);
    let reason = evidence.decided_alone.unwrap();
    assert!(reason.contains("tract") || reason.contains("built-in"), "{reason}");
}

#[test]
fn tensors_may_come_in_any_order() {
    let model = load(&builtin(), "two_inputs", Backend::Builtin).unwrap();
    let left = ("left".to_owned(), floats(&[2], &[5.0, 7.0]));
    let right = ("right".to_owned(), floats(&[2], &[1.0, 2.0]));
    let outputs = model.run_native(vec![right, left]).unwrap();
    assert_eq!(outputs[0].1.values::<f32>().as_ref(), [4.0, 5.0]);
}

#[test]
fn a_run_that_would_take_more_than_it_may_is_refused_before_it_begins() {
    let inference =
        Inference::new(&InferenceConfig { largest_memory: ByteCount::mebibytes(768), ..config() });
    let model = load(&inference.unwrap(), "enlarges", Backend::Builtin).unwrap();
    let side = |side: u32| {
        let bytes = vec![0; side as usize * side as usize * 4];
        let image = Tensor::new(ElementType::F32, vec![1, 1, side, side], bytes.into()).unwrap();
        model.run_native(vec![("x".to_owned(), image)])
    };
    // 64 times as high and as wide: 16 MiB of floats go, 4 GiB do not, and 2^64 are no less.
    assert!(side(32).is_ok());
    assert_eq!(side(512).unwrap_err(), crate::RunError::TooLarge);
    assert!(side(32).is_ok());
}

#[test]
fn what_stands_between_two_axes_of_an_image_counts() {
    let inference =
        Inference::new(&InferenceConfig { largest_memory: ByteCount::mebibytes(768), ..config() });
    let model = load(&inference.unwrap(), "stretches", Backend::Builtin).unwrap();
    let wide = |width: u32| {
        let bytes = vec![0; 4 * width as usize * 4];
        let image = Tensor::new(ElementType::F32, vec![1, 1, 4, width], bytes.into()).unwrap();
        model.run_native(vec![("x".to_owned(), image)])
    };
    // 100,000 rows come out, of one number each. In between they are as wide as the image.
    assert!(wide(100).is_ok());
    assert_eq!(wide(10_000).unwrap_err(), crate::RunError::TooLarge);
}

#[test]
fn a_model_whose_memory_depends_on_values_or_texts_is_refused_with_the_operator() {
    // Of what `multiplies` finds only the number is used, so that tract does not look for it and its bound is gone.
    for (name, culprit) in [("ranges", "Range"), ("multiplies", "MultiBroadcastTo")] {
        let refused = load(&builtin(), name, Backend::Builtin).unwrap_err();
        let ModelError::Unbounded { backend: BackendKind::Tract, operator } = &refused else {
            panic!("{refused}")
        };
        assert_eq!(operator, culprit);
        assert_eq!(refused.code().unwrap().as_str(), "model-unbounded");
    }
    // As many results as there are elements, at most: that is a bound.
    let finds = load(&builtin(), "finds", Backend::Builtin).unwrap();
    let outputs = finds.run_native(vec![("x".to_owned(), floats(&[2, 3], &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]))]);
    assert_eq!(outputs.unwrap()[0].1.values::<i64>().as_ref(), [0, 1, 1, 2]);
    // So is what is made of them, as long as more of them make it no smaller.
    let small = InferenceConfig { largest_memory: ByteCount::mebibytes(40), ..config() };
    let joins = load(&Inference::new(&small).unwrap(), "joins", Backend::Builtin).unwrap();
    let joined = |side: u32, values: &[f32]| {
        let outputs = joins.run_native(vec![("x".to_owned(), floats(&[side, side], values))])?;
        Ok(outputs[0].1.values::<i64>().into_owned())
    };
    assert_eq!(joined(2, &[0.0, 1.0, 0.0, 0.0]), Ok(vec![0, 1, 0, 1, -1]));
    // 16 MiB of places for each of two tensors, and twice as much for a third, whatever is found.
    assert_eq!(joined(1024, &vec![0.0; 1 << 20]), Err(crate::RunError::TooLarge));
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        let refused = load(&inference, "strings", backend).unwrap_err();
        assert!(matches!(&refused, ModelError::Texts { what } if what == "a weight"), "{refused}");
    }
}

#[test]
fn onnx_runtime_stops_at_the_end_of_its_arena_and_goes_on_with_the_next_run() {
    let Some(_) = accelerated() else { return };
    let mut small = config();
    small.library = std::env::var_os("MARTELLO_ONNXRUNTIME").map(Into::into);
    small.library_policy = LibraryPolicy::DangerouslyAnyLibrary;
    // The library is loaded once in a process, with the most of the first configuration: half of this machine's memory.
    let inference = Inference::new(&small).unwrap();
    let model = load(&inference, "expands", Backend::Onnxruntime).unwrap();
    let expanded = |count: i64| {
        let shape = Tensor::copied(ElementType::I64, vec![1], &count.to_le_bytes()).unwrap();
        model.run_native(vec![("x".to_owned(), floats(&[1], &[1.0])), ("shape".to_owned(), shape)])
    };
    assert_eq!(expanded(4).unwrap()[0].1.values::<f32>().as_ref(), [4.0]);
    assert_eq!(expanded(1 << 40).unwrap_err(), crate::RunError::TooLarge);
    assert_eq!(expanded(5).unwrap()[0].1.values::<f32>().as_ref(), [5.0]);
}

#[test]
fn what_an_operator_of_onnx_runtime_takes_beside_its_arena_is_known_before_it_runs() {
    let Some(inference) = accelerated() else { return };
    let model = load(&inference, "uniques", Backend::Onnxruntime).unwrap();
    let different = |count: u32| {
        let values: Vec<f32> = (0..count).map(|value| value as f32).collect();
        model.run_native(vec![("x".to_owned(), floats(&[count], &values))])
    };
    assert_eq!(different(5).unwrap()[0].1.shape(), [5]);
    // 128 bytes for each of 2^23 are more than the 768 MiB that a model of this size may take.
    assert_eq!(different(1 << 23).unwrap_err(), crate::RunError::TooLarge);
    assert_eq!(different(6).unwrap()[0].1.shape(), [6]);
    let refused = load(&inference, "uniques_found", Backend::Onnxruntime).unwrap_err();
    let ModelError::Unbounded { backend: BackendKind::Onnxruntime, operator } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(operator, "Unique");
}

#[test]
fn a_loop_without_end_is_stopped_at_the_most_that_a_run_may_take() {
    let Some(_) = accelerated() else { return };
    let mut impatient = config();
    impatient.library = std::env::var_os("MARTELLO_ONNXRUNTIME").map(Into::into);
    impatient.library_policy = LibraryPolicy::DangerouslyAnyLibrary;
    impatient.longest_run = std::time::Duration::from_millis(300);
    let model = load(&Inference::new(&impatient).unwrap(), "endless", Backend::Onnxruntime).unwrap();
    let begun = std::time::Instant::now();
    let ran = model.run_native(vec![("x".to_owned(), floats(&[2, 3], &[0.0; 6]))]);
    assert_eq!(ran.unwrap_err(), crate::RunError::Timeout);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn sessions_run_at_once() {
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        let model = load(&inference, "convnet_f32", backend).unwrap();
        let run = || model.run_native(vec![("image".to_owned(), image(ElementType::F32, 1))]).unwrap();
        let expected = run();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(run(), expected));
            }
        });
    }
}

/// Models are signed, but a publisher's tool may have broken one before: the host goes on whatever is in it.
#[test]
fn a_damaged_model_is_refused_or_runs_and_the_host_goes_on() {
    let inference = builtin();
    let mut loaded = 0;
    for name in ["affine", "two_inputs", "plus_one_i64", "same_u8", "mean_2048", "convnet_f32"] {
        let whole = file(name);
        // The first bytes hold the graph and all its numbers; of weights, a few have to do.
        for at in (0..whole.len().min(200)).chain((200..whole.len()).step_by(401)) {
            for (with, cut) in [(0x00, false), (0xff, false), (whole[at] ^ 0x01, false), (whole[at], true)] {
                let mut damaged = whole.clone();
                damaged[at] = with;
                if cut {
                    damaged.truncate(at);
                }
                // As a bundle packed from the damaged file would have it, or from the whole one.
                let entry = if martello_bundle::onnx::ModelTensors::read(&damaged).is_ok() {
                    entry(&damaged, Backend::Builtin)
                } else {
                    entry(&whole, Backend::Builtin)
                };
                let bytes = Bytes::from(damaged);
                let Ok(model) = inference.load_bytes(&bytes, Digest::of(&bytes), &entry, &[]) else {
                    continue;
                };
                loaded += 1;
                let inputs = model.interface().inputs.iter().map(|port| {
                    let shape: Vec<u32> =
                        port.shape.iter().flatten().map(|dimension| dimension.unwrap_or(1).min(64)).collect();
                    let Element::Known(element) = port.element else { panic!("an input that has no name") };
                    let count: usize = shape.iter().map(|&it| it as usize).product();
                    let zeros = vec![0; count * element.size()];
                    (port.name.clone(), Tensor::copied(element, shape, &zeros).unwrap())
                });
                drop(model.run_native(inputs.collect()));
            }
        }
    }
    assert!(loaded > 100, "{loaded}");
    // The same process still computes.
    let model = load(&inference, "two_inputs", Backend::Builtin);
    assert!(model.is_ok());
}

#[test]
fn an_output_of_which_the_file_says_no_shape_has_the_one_that_the_backend_finds() {
    let mut choices = vec![(builtin(), Backend::Builtin)];
    choices.extend(accelerated().map(|inference| (inference, Backend::Onnxruntime)));
    for (inference, backend) in choices {
        let model = load(&inference, "shapeless", backend).unwrap();
        assert_eq!(model.interface().outputs[0].shape, Some(vec![None, Some(2)]), "{backend:?}");
        let input = floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let outputs = model.run_native(vec![("x".to_owned(), input)]).unwrap();
        assert_eq!(outputs[0].1.shape(), [3, 2]);
        assert_eq!(outputs[0].1.values::<f32>().as_ref(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        // A manifest says of each output what it is.
        let bytes = Bytes::from(file("shapeless"));
        let refused = inference.load_bytes(&bytes, Digest::of(&bytes), &entry(&bytes, backend), &[]);
        assert!(matches!(refused, Err(ModelError::Schema(_))), "{backend:?}");
    }
}
