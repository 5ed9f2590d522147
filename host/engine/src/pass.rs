//! One payload's way through the pipeline: each stage in a fresh instance, nothing passed through on failure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use martello_pipeline::{Consumer, Evidence, ExportPlan, Finding};
use martello_runtime::{Output, Payload, StageCall, StageFailure, Usage};
use martello_vocab::{Code, DataClass, Digest, Name, code};
use tracing::Instrument;

use crate::activation::{Active, ActiveStage};
use crate::nn::{self, PassModel};
use crate::npy;

/// The most payloads that one input may become inside a pipeline: frames of a long cine loop times a few ports.
const MOST_PAYLOADS: usize = 20_000;

/// Bytes of all payloads together that one input may become inside a pipeline. Small ones are held in memory until the
/// pass ends, large ones in files: a few mebibytes, times many frames, would fill either.
const MOST_BYTES: u64 = 8 << 30;
/// How long a pass may go on to call stages. Each call has its own deadline; this is for the sum of many.
pub(crate) const LONGEST_PASS: Duration = Duration::from_secs(2 * 60 * 60);

/// What became of a payload.
#[derive(Debug, Default)]
pub struct Pass {
    /// The stages that ran, in order, also those before a refusal.
    pub stages: Vec<StageRun>,
    /// What may leave; empty after a refusal.
    pub exports: Vec<Exported>,
    /// What was found; empty after a refusal.
    pub findings: Vec<(Name, Finding)>,
    /// Models that ran.
    pub models: Vec<PassModel>,
    /// Why the payload may not go on, where it may not.
    pub refusal: Option<Refusal>,
    /// From the first stage's call to the last one's end.
    pub elapsed: Duration,
}

/// Why a payload may not go on.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The stage that refused it, where one did.
    pub stage: Option<Name>,
    /// The reason.
    pub code: Code,
}

/// A stage that ran.
#[derive(Debug, Clone)]
pub struct StageRun {
    /// The stage.
    pub stage: Name,
    /// The component's digest.
    pub component: Digest,
    /// What it says it did.
    pub evidence: Option<Evidence>,
    /// What it used.
    pub usage: Usage,
}

/// An output that may leave.
#[derive(Debug)]
pub struct Exported {
    /// Where to.
    pub plan: ExportPlan,
    /// The bytes and their digest.
    pub output: Output,
}

impl Active {
    /// Sends one payload through the pipeline.
    pub async fn pass(&self, input: Payload, trace_id: &str) -> Pass {
        let begun = Instant::now();
        let mut pass = Pass::default();
        if let Err(refusal) = self.run_stages(input, trace_id, &mut pass).await {
            pass.exports.clear();
            pass.findings.clear();
            pass.refusal = Some(refusal);
        }
        pass.elapsed = begun.elapsed();
        pass
    }

    async fn run_stages(&self, input: Payload, trace_id: &str, pass: &mut Pass) -> Result<(), Refusal> {
        let mut waiting: VecDeque<(usize, Payload, DataClass, Option<Digest>)> =
            self.plan.first().map(|stage| (stage, input.clone(), DataClass::Identified, None)).collect();
        drop(input);
        let mut budget = Budget::default();
        let mut receipts = Receipts::default();
        let begun = Instant::now();
        while let Some((index, payload, class, made)) = waiting.pop_front() {
            let stage = self.stages.get(index);
            if begun.elapsed() >= self.longest_pass {
                return Err(Refusal {
                    stage: stage.map(|stage| stage.name.clone()),
                    code: Code::of(code::LIMIT),
                });
            }
            let Some(stage) = stage else { continue };
            let gives = receipts.class(class, made);
            let outputs = self.run_stage(stage, payload, trace_id, pass).await?;
            if stage.verifies {
                receipts.found_nothing(made);
            }
            for output in outputs {
                let made = stage.deidentifies.then_some(output.digest);
                if !budget.take(output.payload.len()) {
                    return Err(refused(stage, code::LIMIT));
                }
                for consumer in self.plan.consumers(index, &output.port) {
                    match consumer {
                        Consumer::Stage(next) => {
                            waiting.push_back((next, output.payload.clone(), gives, made));
                        }
                        // Raw bytes under NumPy's extension would be read as something that they are not.
                        Consumer::Export(plan)
                            if plan.extension.as_str() == npy::EXTENSION
                                && npy::header_of(&output.payload).is_none() =>
                        {
                            return Err(refused(stage, code::GUEST_CONTRACT));
                        }
                        Consumer::Export(plan) if made.is_some() || gives <= plan.class => {
                            if gives > plan.class {
                                receipts.await_one(&stage.name, made);
                            }
                            pass.exports.push(Exported { plan: plan.clone(), output: output.clone() });
                        }
                        // INVARIANT: the plan admitted this export for a class; a payload that is worse than that at
                        // run time does not leave. The plan's tests keep the two in step.
                        Consumer::Export(_) => return Err(refused(stage, code::POLICY)),
                    }
                }
            }
        }
        match receipts.missing() {
            // INVARIANT: what the de-identifier made leaves with a verifier's receipt for its very bytes.
            Some(stage) => Err(Refusal { stage: Some(stage), code: Code::of(code::POLICY) }),
            None => Ok(()),
        }
    }

    async fn run_stage(
        &self,
        stage: &ActiveStage,
        payload: Payload,
        trace_id: &str,
        pass: &mut Pass,
    ) -> Result<Vec<Output>, Refusal> {
        let (state, ran) = stage.nn_state(&self.inference);
        let call = StageCall {
            settings: stage.settings.clone(),
            assets: stage.assets.clone(),
            ports: stage.ports.clone(),
            pseudonyms: stage.pseudonyms.clone(),
            contract: Arc::clone(&stage.contract),
            ..StageCall::new(payload, state, trace_id)
        };
        let span =
            tracing::info_span!("stage", stage = %stage.name, trace = trace_id, code = tracing::field::Empty);
        let result = stage.component.process(call).instrument(span.clone()).await;
        pass.models.extend(nn::known(ran.ran(), &stage.models));
        let component = *stage.component.digest();
        match result {
            Ok(report) => {
                pass.stages.push(StageRun {
                    stage: stage.name.clone(),
                    component,
                    evidence: report.evidence,
                    usage: report.usage,
                });
                pass.findings.extend(report.findings.into_iter().map(|f| (stage.name.clone(), f)));
                Ok(report.outputs)
            }
            Err(failure) => {
                span.record("code", tracing::field::display(&failure.code));
                span.in_scope(|| note(&failure));
                pass.stages.push(StageRun {
                    stage: stage.name.clone(),
                    component,
                    evidence: None,
                    usage: failure.usage,
                });
                Err(Refusal { stage: Some(stage.name.clone()), code: failure.code.clone() })
            }
        }
    }
}

/// Writes what happened to the local log. The guest's own words come at `debug`: they are bounded, but nobody can
/// promise that they hold no value out of a payload.
fn note(failure: &StageFailure) {
    match failure.fault {
        // The stage did its work: this payload is not for it.
        Some(_) => tracing::info!(code = %failure.code, "a stage refused its payload"),
        None => tracing::warn!(code = %failure.code, "a stage was stopped"),
    }
    tracing::debug!(code = %failure.code, detail = %failure.detail, "what the stage said");
    if let Some(backtrace) = &failure.backtrace {
        tracing::warn!(%backtrace, "where the guest trapped");
    }
}

fn refused(stage: &ActiveStage, code: &'static str) -> Refusal {
    Refusal { stage: Some(stage.name.clone()), code: Code::of(code) }
}

/// Which of the de-identifier's outputs a verifier has found nothing in, by the digest of their bytes.
#[derive(Debug, Default)]
struct Receipts {
    found_nothing: BTreeSet<Digest>,
    /// Outputs that are to leave, with the stage that made them.
    awaited: Vec<(Name, Digest)>,
}

impl Receipts {
    /// The class of a payload: that of what it was made of, lower where the de-identifier made it and a verifier found
    /// nothing in it.
    fn class(&self, class: DataClass, made: Option<Digest>) -> DataClass {
        if made.is_some_and(|made| self.found_nothing.contains(&made)) {
            DataClass::Deidentified
        } else {
            class
        }
    }

    /// A verifier refused nothing in what the de-identifier made.
    fn found_nothing(&mut self, made: Option<Digest>) {
        self.found_nothing.extend(made);
    }

    /// An output that the de-identifier made is to leave; the verifier may still have to judge it.
    fn await_one(&mut self, stage: &Name, made: Option<Digest>) {
        self.awaited.extend(made.map(|made| (stage.clone(), made)));
    }

    /// The maker of an output that is to leave without a receipt.
    fn missing(&self) -> Option<Name> {
        let mut awaited = self.awaited.iter();
        awaited.find(|(_, made)| !self.found_nothing.contains(made)).map(|(stage, _)| stage.clone())
    }
}

/// What a pass has used of what it may.
#[derive(Debug, Default)]
struct Budget {
    payloads: usize,
    bytes: u64,
}

impl Budget {
    /// Counts a payload that a stage put out. Whether the pass may go on with it.
    fn take(&mut self, bytes: u64) -> bool {
        self.payloads += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.payloads <= MOST_PAYLOADS && self.bytes <= MOST_BYTES
    }
}

impl Pass {
    /// A payload that no stage saw.
    pub fn refused(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }
}

impl StageRun {
    /// The actions as a map, summed by name.
    pub fn actions(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for action in self.evidence.iter().flat_map(|evidence| &evidence.actions) {
            *sums.entry(action.action.clone()).or_default() += u64::from(action.count);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use martello_pipeline::Plan;

    use super::*;
    use crate::activation::{Device, DeviceConfig, bundle_of_nothing};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pass_calls_no_stage_after_its_time() {
        let state = tempfile::tempdir().unwrap();
        let device = Device::start(&DeviceConfig::new(state.path().to_owned())).unwrap();
        let bundle = bundle_of_nothing();
        let mut active = device.without_stages(Plan::of(bundle.manifest()).unwrap(), &bundle);
        let payload = || Payload::memory("application/dicom", bytes::Bytes::from_static(b"DICM"));
        assert!(active.pass(payload(), "0").await.refusal.is_none());
        active.longest_pass = Duration::ZERO;
        let refusal = active.pass(payload(), "0").await.refusal.unwrap();
        assert_eq!(refusal.code, Code::of(code::LIMIT));
    }

    #[test]
    fn what_the_deidentifier_made_leaves_with_a_verifiers_receipt_for_its_very_bytes() {
        let (made, other) = (Digest::of(b"made"), Digest::of(b"other"));
        let stage: Name = "deidentify".parse().unwrap();
        let mut receipts = Receipts::default();
        receipts.await_one(&stage, Some(made));
        assert_eq!(receipts.class(DataClass::Identified, Some(made)), DataClass::Identified);
        receipts.found_nothing(Some(other));
        // A verifier that was handed an original says nothing of what was made.
        receipts.found_nothing(None);
        assert_eq!(receipts.missing(), Some(stage));
        receipts.found_nothing(Some(made));
        assert_eq!(receipts.missing(), None);
        assert_eq!(receipts.class(DataClass::Identified, Some(made)), DataClass::Deidentified);
        assert_eq!(receipts.class(DataClass::Identified, None), DataClass::Identified);
    }

    #[test]
    fn a_pass_is_bounded_in_payloads_and_in_bytes() {
        let mut many = Budget::default();
        assert!((0..MOST_PAYLOADS).all(|_| many.take(1)));
        assert!(!many.take(1));
        let mut large = Budget::default();
        assert!(large.take(MOST_BYTES));
        assert!(!large.take(1));
    }
}
