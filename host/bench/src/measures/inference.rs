//! Inference through a guest and wasi:nn against the same backend natively, and against ONNX Runtime from Python.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use martello_bundle::manifest::{
    Backend, ElementType, Model, ModelFormat, Placement, Strictness, TensorSchema,
};
use martello_bundle::{EphemeralModel, ephemeral};
use martello_inference::{Inference, InferenceConfig, LoadedModel, ModelCheck, NnState, Tensor};
use martello_runtime::{
    Contract, Extension, FindingRule, Guest, ImportGrants, Payload, Runtime, StageCall, StageComponent,
};
use martello_vocab::{ByteCount, Digest, Limits, Name};

use super::python::Python;
use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::onnx::{self, BenchModel};
use crate::sampling::{Pair, wall};

/// Runs of the model in one call of the guest, after one to warm up: an instance is fresh, its first run touches its
/// memory for the first time.
const RUNS_A_CALL: usize = 5;
/// Threads of one run, on both sides.
const THREADS: NonZero<usize> = NonZero::<usize>::MIN;
/// Outputs agree when they differ by no more than this, relative to the largest value.
const TOLERANCE: f32 = 1e-3;

/// The backends that are measured, by the word in the measure's name.
const BACKENDS: [(&str, Backend); 2] = [("tract", Backend::Builtin), ("onnxruntime", Backend::Onnxruntime)];

struct Case {
    name: &'static str,
    make: fn() -> BenchModel,
    target: Target,
    rounds: usize,
}

const CASES: [Case; 4] = [
    Case { name: "mobilenet-v2", make: onnx::mobilenet_v2, target: Target::AtMost(1.02), rounds: 60 },
    Case { name: "resnet-50", make: onnx::resnet_50, target: Target::AtMost(1.01), rounds: 20 },
    Case { name: "densenet-121", make: onnx::densenet_121, target: Target::Shown, rounds: 20 },
    Case { name: "16-mib", make: onnx::mean_of_large_image, target: Target::AtMost(2.2), rounds: 60 },
];

/// Guest against native, for each model and backend.
pub(crate) fn against_native() -> impl Iterator<Item = Measure> {
    CASES.iter().flat_map(|case| {
        BACKENDS.map(|(word, backend)| {
            let line = Line::new(format!("inference-{}-{word}", case.name), "1", case.target);
            Measure::new(vec![line], move |bench| {
                let setup = Setup::new(bench, (case.make)(), backend)?;
                setup.agree()?;
                let pair = Pair::take(bench.rounds(case.rounds), || setup.guest(), || setup.native())?;
                let how = format!(
                    "SDK guest → wasi:nn → {} by the same backend natively, {THREADS} thread: {}",
                    setup.model.execution().version,
                    pair.medians()
                );
                Ok(vec![Taken::Value { value: pair.ratio(), how }])
            })
        })
    })
}

/// Guest on ONNX Runtime against Python's `onnxruntime`.
pub(crate) fn against_python() -> impl Iterator<Item = Measure> {
    CASES.iter().take(3).map(|case| {
        let line = Line::new(format!("inference-{}-against-python", case.name), "1", Target::AtMost(1.02));
        Measure::new(vec![line], move |bench| {
            let setup = Setup::new(bench, (case.make)(), Backend::Onnxruntime)?;
            let interpreter =
                bench.places.python.as_deref().context("no Python (`cargo xtask tools` installs it)")?;
            let python =
                std::cell::RefCell::new(Python::start(interpreter, bench, &setup.bench_model, THREADS)?);
            let pair = Pair::take(
                bench.rounds(case.rounds),
                || setup.guest(),
                || python.borrow_mut().run(RUNS_A_CALL),
            )?;
            let how = format!(
                "SDK guest → wasi:nn → ONNX Runtime {} by Python's onnxruntime {}, {THREADS} thread: {}",
                setup.model.execution().version,
                python.borrow().version,
                pair.medians()
            );
            Ok(vec![Taken::Value { value: pair.ratio(), how }])
        })
    })
}

/// A model, loaded once, and a guest that runs it.
struct Setup<'a> {
    bench: &'a Bench,
    bench_model: BenchModel,
    name: Name,
    model: Arc<LoadedModel>,
    stage: StageComponent<Nn>,
    payload: Payload,
    tensor: Tensor,
    contract: Arc<Contract>,
    limits: Limits,
}

impl<'a> Setup<'a> {
    fn new(bench: &'a Bench, bench_model: BenchModel, backend: Backend) -> anyhow::Result<Self> {
        let name: Name = bench_model.name.parse()?;
        let model =
            EphemeralModel { model: schema(&bench_model, backend)?, bytes: bench_model.bytes.clone().into() };
        let limits = Limits {
            memory_bytes: ByteCount::mebibytes(256),
            tensor_bytes: ByteCount::mebibytes(256),
            compute_ms: 60_000,
            wall_ms: 600_000,
            ..Limits::default()
        };
        let guest: Name = "infer".parse()?;
        let bundle = ephemeral(guest.clone(), bench.component("infer")?.into(), limits.clone(), vec![model])?;
        let manifest = bundle.manifest().model(&name).context("the bundle has no model")?.clone();
        let inference = inference(bench, backend)?;
        let model = inference.load(&bundle.model(&name)?, &manifest, &[])?;
        let runtime = Runtime::start(&bench.runtime_config()?, Nn)?;
        let stage = runtime.load(&bundle.component(&guest)?, &limits, &ImportGrants::default())?;
        let bytes: Bytes = bench_model.input().iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = bench_model.shape.map(|size| size.to_string()).join(",");
        let payload = Payload::memory("application/vnd.martello.tensor", bytes.clone())
            .with_attributes(vec![("dtype".to_owned(), "f32".to_owned()), ("shape".to_owned(), shape)]);
        let tensor = Tensor::copied(ElementType::F32, bench_model.shape.to_vec(), &bytes)?;
        let rule = FindingRule {
            kind: "times".parse()?,
            labels: Vec::new(),
            measurements: (0..=RUNS_A_CALL)
                .map(|run| format!("run-{run}").parse())
                .collect::<Result<_, _>>()?,
        };
        let contract = Arc::new(Contract { findings: vec![rule], ..Contract::default() });
        Ok(Self { bench, bench_model, name, model, stage, payload, tensor, contract, limits })
    }

    /// The times that a guest measured in one call, and what the model gave it.
    fn call(&self) -> anyhow::Result<(Vec<Duration>, Vec<f32>)> {
        let call = StageCall {
            settings: [
                ("name".parse()?, self.name.to_string()),
                ("runs".parse()?, RUNS_A_CALL.saturating_add(1).to_string()),
            ]
            .into(),
            ports: vec!["output".parse()?],
            contract: Arc::clone(&self.contract),
            ..StageCall::new(self.payload.clone(), self.state(), "bench")
        };
        let report = self.bench.wait(self.stage.process(call))?;
        let [finding] = report.findings.as_slice() else { bail!("the guest gave no times") };
        let times = finding.measurements.iter().map(|it| Duration::from_secs_f64(it.value)).collect();
        let [output] = report.outputs.as_slice() else { bail!("the guest gave no output") };
        Ok((times, floats(&output.payload.read_all(1 << 20)?)))
    }

    fn state(&self) -> NnState {
        NnState::new([(self.name.clone(), Arc::clone(&self.model))], &self.limits)
    }

    fn guest(&self) -> anyhow::Result<Vec<Duration>> {
        let (times, _) = self.call()?;
        Ok(times.get(1..).unwrap_or_default().to_vec())
    }

    fn native(&self) -> anyhow::Result<Vec<Duration>> {
        (0..RUNS_A_CALL)
            .map(|_| {
                let inputs = vec![("input".to_owned(), self.tensor.clone())];
                let (outputs, time) = wall(|| self.model.run_native(inputs));
                ensure!(outputs?.len() == 1, "the model gave several outputs");
                Ok(time)
            })
            .collect()
    }

    /// Guest and native give the same, and it is no degenerate output.
    fn agree(&self) -> anyhow::Result<()> {
        let (_, guest) = self.call()?;
        let native = self.model.run_native(vec![("input".to_owned(), self.tensor.clone())])?;
        let native = native.first().map(|(_, tensor)| floats(tensor.bytes())).unwrap_or_default();
        let largest = native.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        ensure!(largest.is_finite() && largest > 0.0, "the model gives {largest}");
        ensure!(guest.len() == native.len(), "{} values against {}", guest.len(), native.len());
        let worst = guest.iter().zip(&native).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
        ensure!(worst <= TOLERANCE * largest, "guest and native differ by {worst} of {largest}");
        Ok(())
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

fn schema(model: &BenchModel, backend: Backend) -> anyhow::Result<Model> {
    let tensor = |name: &str, shape: &[u32]| TensorSchema {
        name: name.to_owned(),
        dtype: ElementType::F32,
        shape: shape.iter().copied().map(Some).collect(),
    };
    Ok(Model {
        name: model.name.parse()?,
        digest: Digest::of(&model.bytes),
        size: ByteCount(model.bytes.len() as u64),
        format: ModelFormat::Onnx,
        inputs: vec![tensor("input", &model.shape)],
        outputs: vec![tensor("output", &[1, model.outputs])],
        placement: Placement { backend, device: "cpu".to_owned(), strictness: Strictness::Require },
        recipe: None,
        labels: Vec::new(),
        calibration: None,
        threshold: None,
        memory_bytes: None,
        licence: None,
        golden: Vec::new(),
    })
}

fn inference(bench: &Bench, backend: Backend) -> anyhow::Result<Inference> {
    let mut config = InferenceConfig::new(&bench.state());
    config.threads = THREADS;
    config.library_folders.clear();
    // This program tries nothing out for itself, and the models are known.
    config.check = ModelCheck::DangerouslyInThisProcess;
    if backend == Backend::Onnxruntime {
        let library =
            bench.places.onnxruntime.as_ref().context("no ONNX Runtime (`cargo xtask tools` installs it)")?;
        config.allowed_libraries.push(Digest::of(&Bench::read(library)?));
        config.library = Some(library.clone());
    }
    Ok(Inference::new(&config)?)
}

/// wasi:nn for the sandbox, as the engine links it.
struct Nn;

impl Extension for Nn {
    type State = NnState;

    fn link(&self, linker: &mut wasmtime::component::Linker<Guest<NnState>>) -> wasmtime::Result<()> {
        martello_inference::add_to_linker(linker, Guest::extension)
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["wasi:nn/"]
    }
}
