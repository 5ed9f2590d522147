//! Guests at the boundary of `wasi:nn`, by calling the host's functions as they do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use martello_bundle::manifest::Backend;
use martello_vocab::{ByteCount, Limits};
use wasmtime::component::Resource;

use super::NnState;
use super::bindings::wasi::nn::errors::{ErrorCode, HostError};
use super::bindings::wasi::nn::graph::{ExecutionTarget, GraphEncoding, Host as _, HostGraph};
use super::bindings::wasi::nn::inference::HostGraphExecutionContext;
use super::bindings::wasi::nn::tensor::{HostTensor, TensorType};
use super::state::{HeldContext, HeldError, HeldTensor, Refusal};
use crate::error::RunError;
use crate::testing::{builtin, file, load, scripted, scripted_with};
use crate::{LoadedModel, MOST_DIMENSIONS, Tensor};

type Computed = Result<Vec<(String, Resource<HeldTensor>)>, Resource<HeldError>>;

/// A guest that holds one model.
struct Guest {
    state: NnState,
}

impl Guest {
    fn with(model: Arc<LoadedModel>) -> Self {
        Self { state: NnState::new([("model".parse().unwrap(), model)], &Limits::default()) }
    }

    fn of_file(name: &str) -> Self {
        Self::with(load(&builtin(), name, Backend::Builtin).unwrap())
    }

    fn context(&mut self) -> Resource<HeldContext> {
        let graph =
            self.state.load_by_name("model".to_owned()).unwrap().unwrap_or_else(|_| panic!("granted"));
        self.state.init_execution_context(graph).unwrap().unwrap_or_else(|_| panic!("always"))
    }

    fn tensor(&mut self, shape: &[u32], ty: TensorType, bytes: usize) -> Resource<HeldTensor> {
        HostTensor::new(&mut self.state, shape.to_vec(), ty, vec![0; bytes]).unwrap()
    }

    async fn compute(&mut self, inputs: Vec<(&str, Resource<HeldTensor>)>) -> Computed {
        let context = self.context();
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        self.state.compute(context, inputs).await.unwrap()
    }

    fn error(&mut self, computed: Computed) -> (ErrorCode, String) {
        let Err(error) = computed else { panic!("the host refused nothing") };
        let code = self.state.code(Resource::new_borrow(error.rep())).unwrap();
        (code, HostError::data(&mut self.state, error).unwrap())
    }
}

#[tokio::test]
async fn a_model_runs_and_its_run_is_recorded() {
    let mut guest = Guest::of_file("affine");
    let values: Vec<u8> = bytemuck::cast_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).to_vec();
    let tensor = HostTensor::new(&mut guest.state, vec![2, 3], TensorType::Fp32, values).unwrap();
    assert_eq!(guest.state.tensor_bytes(), ByteCount(24));
    let mut outputs = guest.compute(vec![("x", tensor)]).await.unwrap_or_else(|_| panic!("runs"));
    let (name, output) = outputs.pop().unwrap();
    assert_eq!(name, "y");
    assert_eq!(guest.state.dimensions(Resource::new_borrow(output.rep())).unwrap(), [2, 3]);
    let bytes = HostTensor::data(&mut guest.state, Resource::new_borrow(output.rep())).unwrap();
    assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), [3.0, 5.0, 7.0, 9.0, 11.0, 13.0]);
    assert_eq!(guest.state.tensor_bytes(), ByteCount(24));
    HostTensor::drop(&mut guest.state, output).unwrap();
    assert_eq!(guest.state.tensor_bytes(), ByteCount(0));
    let ran = guest.state.record().ran();
    assert_eq!((ran[0].runs, ran[0].failures), (1, 0));
    assert_eq!(ran[0].execution.device, "cpu");
}

#[tokio::test]
async fn tensors_whose_words_do_not_fit_are_refused_when_they_are_used() {
    let mut guest = Guest::of_file("affine");
    let cases: [(&[u32], TensorType, usize); 7] = [
        (&[2, 3], TensorType::Fp32, 23),
        (&[2, 3], TensorType::Fp32, 0),
        (&[2, 3], TensorType::Fp64, 24),
        (&[u32::MAX; 8], TensorType::Fp64, 8),
        (&[1; 4096], TensorType::U8, 1),
        (&[3, 2], TensorType::Fp32, 24),
        (&[], TensorType::Fp32, 4),
    ];
    for (shape, ty, bytes) in cases {
        let tensor = guest.tensor(shape, ty, bytes);
        assert!(guest.state.dimensions(Resource::new_borrow(tensor.rep())).unwrap().len() <= 8);
        let computed = guest.compute(vec![("x", tensor)]).await;
        assert_eq!(guest.error(computed).0, ErrorCode::InvalidArgument, "{shape:?} {ty:?} {bytes}");
        assert_eq!(guest.state.tensor_bytes(), ByteCount(0));
    }
}

#[test]
fn a_refused_tensor_keeps_nothing_of_an_endless_shape() {
    let mut guest = Guest::of_file("affine");
    let mut kept = 0;
    for _ in 0..1000 {
        let tensor = guest.tensor(&[1; 1 << 16], TensorType::U8, 1);
        kept += guest.state.table.get(&tensor).unwrap().shape.capacity();
    }
    assert_eq!(guest.state.tensor_bytes(), ByteCount(0));
    assert!(kept <= 1000 * MOST_DIMENSIONS, "{kept} dimensions are kept of 1000 tensors");
}

#[test]
fn the_text_of_an_error_is_short_whatever_a_guests_model_calls_its_tensors() {
    for text in ["x".repeat(16 << 20), "ü".repeat(16 << 20), format!("x{}", "ü".repeat(1 << 10))] {
        let kept = Refusal::new(ErrorCode::InvalidArgument, text).text;
        assert!((511..=512).contains(&kept.len()), "{}", kept.len());
        assert!(kept.capacity() <= 1024, "{}", kept.capacity());
    }
}

#[tokio::test]
async fn wrong_names_counts_and_types_are_refused_and_the_next_run_works() {
    let mut guest = Guest::of_file("affine");
    let wrong: Vec<Vec<(&str, TensorType)>> = vec![
        vec![],
        vec![("z", TensorType::Fp32)],
        vec![("x", TensorType::I32)],
        vec![("x", TensorType::Fp32), ("x", TensorType::Fp32)],
    ];
    for inputs in wrong {
        let tensors = inputs.iter().map(|&(name, ty)| (name, guest.tensor(&[2, 3], ty, 24))).collect();
        let computed = guest.compute(tensors).await;
        assert_eq!(guest.error(computed).0, ErrorCode::InvalidArgument, "{inputs:?}");
    }
    let tensor = guest.tensor(&[2, 3], TensorType::Fp32, 24);
    assert!(guest.compute(vec![("x", tensor)]).await.is_ok());
}

#[test]
fn only_granted_models_are_found() {
    let mut guest = Guest::of_file("affine");
    for name in ["other", "", "../model", "MODEL", &"m".repeat(1 << 16)] {
        let Err(error) = guest.state.load_by_name(name.to_owned()).unwrap() else { panic!("{name}") };
        assert_eq!(guest.state.code(error).unwrap(), ErrorCode::NotFound);
    }
}

#[test]
fn bytes_of_a_guest_are_refused_without_the_grant() {
    let mut guest = Guest::of_file("affine");
    let loaded = guest.state.load(vec![file("affine")], GraphEncoding::Onnx, ExecutionTarget::Cpu).unwrap();
    let Err(error) = loaded else { panic!("loaded without a grant") };
    assert_eq!(guest.state.code(error).unwrap(), ErrorCode::Security);
}

#[test]
fn bytes_of_a_guest_load_with_the_grant_and_garbage_does_not() {
    let state = NnState::new([], &Limits::default()).dangerously_load_guest_models(builtin());
    let mut guest = Guest { state };
    assert!(
        guest.state.load(vec![file("affine")], GraphEncoding::Onnx, ExecutionTarget::Cpu).unwrap().is_ok()
    );
    let mut torn = file("convnet_f32");
    torn.truncate(500);
    let garbage = vec![
        (vec![b"no model".to_vec()], GraphEncoding::Onnx, ErrorCode::InvalidEncoding),
        (vec![vec![0xFF; 100]], GraphEncoding::Autodetect, ErrorCode::InvalidEncoding),
        (vec![], GraphEncoding::Onnx, ErrorCode::InvalidArgument),
        (vec![torn], GraphEncoding::Onnx, ErrorCode::InvalidEncoding),
        (vec![file("affine")], GraphEncoding::Tensorflow, ErrorCode::InvalidEncoding),
        (vec![file("unsupported")], GraphEncoding::Onnx, ErrorCode::UnsupportedOperation),
        (vec![vec![0; 65 << 20]], GraphEncoding::Onnx, ErrorCode::TooLarge),
    ];
    for (index, (builder, encoding, expected)) in garbage.into_iter().enumerate() {
        let Err(error) = guest.state.load(builder, encoding, ExecutionTarget::Cpu).unwrap() else {
            panic!("{index}")
        };
        assert_eq!(guest.state.code(error).unwrap(), expected, "{index}");
    }
}

#[test]
fn models_of_a_guest_are_charged_as_long_as_it_holds_them() {
    let affine = file("affine");
    let limits = Limits { tensor_bytes: ByteCount(3 * affine.len() as u64), ..Limits::default() };
    let state = NnState::new([], &limits).dangerously_load_guest_models(builtin());
    let mut guest = Guest { state };
    let load = |guest: &mut Guest| {
        guest.state.load(vec![affine.clone()], GraphEncoding::Onnx, ExecutionTarget::Cpu).unwrap()
    };
    let mut graphs: Vec<_> = (0..3).map(|_| load(&mut guest).unwrap_or_else(|_| panic!("fits"))).collect();
    let Err(error) = load(&mut guest) else { panic!("loaded beyond the budget") };
    assert_eq!(guest.state.code(error).unwrap(), ErrorCode::TooLarge);
    HostGraph::drop(&mut guest.state, graphs.pop().unwrap()).unwrap();
    assert!(load(&mut guest).is_ok());
}

#[tokio::test]
async fn tensors_beyond_the_budget_are_refused_and_room_comes_back() {
    let mut guest = Guest::of_file("affine");
    let most = usize::try_from(Limits::default().tensor_bytes.0).unwrap();
    let first = guest.tensor(&[1, u32::try_from(most).unwrap()], TensorType::U8, most);
    let second = guest.tensor(&[2, 3], TensorType::Fp32, 24);
    assert_eq!(guest.state.tensor_bytes(), ByteCount(most as u64));
    let computed = guest.compute(vec![("x", second)]).await;
    assert_eq!(guest.error(computed).0, ErrorCode::TooLarge);
    HostTensor::drop(&mut guest.state, first).unwrap();
    let third = guest.tensor(&[2, 3], TensorType::Fp32, 24);
    assert!(guest.compute(vec![("x", third)]).await.is_ok());
}

#[tokio::test]
async fn outputs_beyond_the_budget_are_refused() {
    let mut guest = Guest::of_file("grows");
    guest.state.tensor_limit = 1 << 20;
    let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
    let computed = guest.compute(vec![("x", tensor)]).await;
    assert_eq!(guest.error(computed).0, ErrorCode::TooLarge);
    assert_eq!(guest.state.tensor_bytes(), ByteCount(0));
}

#[test]
fn handles_are_bounded() {
    let mut guest = Guest::of_file("affine");
    let made = (0..5_000).take_while(|_| guest.state.load_by_name("model".to_owned()).is_ok()).count();
    assert_eq!(made, 1024);
}

#[tokio::test]
async fn handles_of_another_kind_or_of_nothing_end_the_instance_and_nothing_more() {
    let mut guest = Guest::of_file("affine");
    for handle in [guest.context().rep(), 900, u32::MAX] {
        let context = guest.context();
        let inputs = vec![("x".to_owned(), Resource::new_own(handle))];
        assert!(guest.state.compute(context, inputs).await.is_err(), "{handle}");
    }
    let tensor = guest.tensor(&[2, 3], TensorType::Fp32, 24);
    assert!(guest.compute(vec![("x", tensor)]).await.is_ok());
}

#[tokio::test]
async fn a_backend_that_panics_is_caught_and_the_next_run_works() {
    let panics = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = Arc::clone(&panics);
    let inference = builtin();
    let model = scripted(&inference, move |_| {
        assert!(!flag.swap(false, std::sync::atomic::Ordering::SeqCst), "as the test wants it");
        Ok(Vec::new())
    });
    let mut guest = Guest::with(model);
    let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
    let computed = guest.compute(vec![("x", tensor)]).await;
    let (code, text) = guest.error(computed);
    assert_eq!(code, ErrorCode::RuntimeError);
    assert!(!text.contains("as the test wants it"), "a backend's words stay in the local log: {text}");
    let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
    assert!(guest.compute(vec![("x", tensor)]).await.is_ok());
    let ran = guest.state.record().ran();
    assert_eq!((ran[0].runs, ran[0].failures), (1, 1));
}

#[tokio::test]
async fn a_run_that_misses_the_deadline_is_answered_in_time_and_stopped() {
    let stopped = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&stopped);
    let inference = builtin();
    let model = scripted(&inference, move |stop| {
        while !stop.is_wanted() {
            std::thread::yield_now();
        }
        tell.notify_one();
        Err::<Vec<Tensor>, _>(RunError::Timeout)
    });
    let mut guest = Guest::with(model);
    let begun = Instant::now();
    guest.state = std::mem::take(&mut guest.state).with_deadline(begun + Duration::from_millis(30));
    let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
    let computed = guest.compute(vec![("x", tensor)]).await;
    assert_eq!(guest.error(computed).0, ErrorCode::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(5));
    tokio::time::timeout(Duration::from_secs(5), stopped.notified()).await.expect("the run is told to stop");
}

#[tokio::test]
async fn a_model_that_was_cheap_until_now_misses_no_deadline_on_the_guests_own_thread() {
    let here = std::thread::current().id();
    let (is_here, is_slow) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (sees_here, sees_slow) = (Arc::clone(&is_here), Arc::clone(&is_slow));
    let inference = builtin();
    let model = scripted(&inference, move |stop| {
        sees_here.store(std::thread::current().id() == here, Ordering::SeqCst);
        let begun = Instant::now();
        while sees_slow.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(5) {
            if stop.is_wanted() {
                return Err(RunError::Timeout);
            }
            std::thread::yield_now();
        }
        Ok(Vec::new())
    });
    let mut guest = Guest::with(model);
    for _ in 0..10 {
        let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
        assert!(guest.compute(vec![("x", tensor)]).await.is_ok());
    }
    assert!(is_here.load(Ordering::SeqCst), "a cheap model runs on the guest's thread");
    is_slow.store(true, Ordering::SeqCst);
    guest.state = std::mem::take(&mut guest.state).with_deadline(Instant::now() + Duration::from_millis(30));
    let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
    let computed = guest.compute(vec![("x", tensor)]).await;
    assert!(is_here.load(Ordering::SeqCst));
    assert_eq!(guest.error(computed).0, ErrorCode::Timeout);
}

#[tokio::test]
async fn a_model_of_open_shapes_runs_on_no_guests_thread() {
    let here = std::thread::current().id();
    let inference = builtin();
    let model = scripted_with(
        &inference,
        None,
        || (),
        move |_| {
            assert_ne!(std::thread::current().id(), here);
            Ok(Vec::new())
        },
    );
    let mut guest = Guest::with(model);
    for _ in 0..10 {
        let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
        assert!(guest.compute(vec![("x", tensor)]).await.is_ok());
    }
}

#[tokio::test]
async fn a_session_that_panics_while_it_is_made_costs_neither_a_worker_nor_its_room() {
    let (fails, panics) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (in_run, in_making) = (Arc::clone(&fails), Arc::clone(&panics));
    let inference = builtin();
    let model = scripted_with(
        &inference,
        Some(1),
        move || assert!(!in_making.load(Ordering::SeqCst), "as the test wants it"),
        move |_| {
            // A session that failed is thrown away.
            let failed = in_run.swap(false, Ordering::SeqCst);
            if failed { Err(RunError::Backend { detail: String::new() }) } else { Ok(Vec::new()) }
        },
    );
    let mut guest = Guest::with(model);
    let limit = Instant::now() + Duration::from_secs(5);
    guest.state = std::mem::take(&mut guest.state).with_deadline(limit);
    for (is_broken, code) in [(true, Some(ErrorCode::RuntimeError)), (false, None)] {
        // More often than there are workers, and than sessions.
        for _ in 0..5 {
            let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
            let computed = guest.compute(vec![("x", tensor)]).await;
            assert_eq!(computed.is_err().then(|| guest.error(computed).0), code);
            panics.store(is_broken, Ordering::SeqCst);
        }
        panics.store(false, Ordering::SeqCst);
    }
}

/// Writes down what is logged for an operator to see.
struct Loud(Arc<Mutex<String>>);

impl tracing::Subscriber for Loud {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut log = self.0.lock().unwrap();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            log.push_str(&format!("{field}: {value:?}\n"));
        });
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

#[tokio::test]
async fn the_words_of_a_backend_are_not_in_the_log_that_operators_see() {
    let log = Arc::<Mutex<String>>::default();
    tracing::subscriber::set_global_default(Loud(Arc::clone(&log))).unwrap();
    let inference = builtin();
    for is_panic in [true, false] {
        let model = scripted(&inference, move |_| {
            assert!(!is_panic, "pixel 4711 is odd");
            Err(RunError::Backend { detail: "pixel 4711 is odd".to_owned() })
        });
        let mut guest = Guest::with(model);
        let tensor = guest.tensor(&[1], TensorType::Fp32, 4);
        assert!(guest.compute(vec![("x", tensor)]).await.is_err());
    }
    let log = log.lock().unwrap();
    assert!(log.contains("backend panicked") && log.contains("model run failed"), "{log}");
    assert!(!log.contains("4711"), "{log}");
}

/// ONNX Runtime writes a log of its own, in which an index that is out of range stands as the guest gave it.
#[cfg(feature = "onnxruntime")]
#[tokio::test]
async fn a_value_of_a_tensor_is_not_in_the_log_where_onnx_runtime_tells_of_it() {
    let log = Arc::<Mutex<String>>::default();
    tracing::subscriber::set_global_default(Loud(Arc::clone(&log))).unwrap();
    let Some(inference) = crate::testing::accelerated() else { return };
    let mut guest = Guest::with(load(&inference, "picks", Backend::Onnxruntime).unwrap());
    let bytes = 4711_i64.to_le_bytes().to_vec();
    let tensor = HostTensor::new(&mut guest.state, vec![1], TensorType::I64, bytes).unwrap();
    let computed = guest.compute(vec![("x", tensor)]).await;
    assert_eq!(guest.error(computed).0, ErrorCode::RuntimeError);
    let log = log.lock().unwrap();
    assert!(log.contains("ONNX Runtime tells of an error"), "{log}");
    assert!(!log.contains("4711"), "{log}");
}

#[test]
fn what_a_backend_says_of_a_guests_own_model_is_not_in_the_log_that_operators_see() {
    let log = Arc::<Mutex<String>>::default();
    tracing::subscriber::set_global_default(Loud(Arc::clone(&log))).unwrap();
    // Whoever makes a model gives its parts their names.
    let model = String::from_utf8_lossy(&file("unsupported")).into_owned();
    assert!(model.contains("Nonesuch"));
    let mut state = NnState::new([], &Limits::default()).dangerously_load_guest_models(builtin());
    let loaded = state.load(vec![file("unsupported")], GraphEncoding::Onnx, ExecutionTarget::Cpu).unwrap();
    assert!(loaded.is_err());
    let log = log.lock().unwrap();
    assert!(log.contains("model of a guest is refused"), "{log}");
    assert!(!log.contains("Nonesuch"), "{log}");
}

#[tokio::test]
async fn a_real_model_is_stopped_between_two_operators() {
    let mut guest = Guest::of_file("slow");
    guest.state = std::mem::take(&mut guest.state).with_deadline(Instant::now() + Duration::from_millis(50));
    let tensor = guest.tensor(&[512, 512], TensorType::Fp32, 1 << 20);
    let computed = guest.compute(vec![("x", tensor)]).await;
    assert_eq!(guest.error(computed).0, ErrorCode::Timeout);
}
