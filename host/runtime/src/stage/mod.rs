//! The stage world (`wit/pipeline`): a payload in; payloads, findings and evidence out.

mod bindings;
mod contract;
pub(crate) mod link;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use martello_pipeline::{Evidence, FaultKind, Finding};
use martello_vocab::{Code, Digest, Limits, Name, code};
use wasmtime::component::{Resource, ResourceTableError};
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::WasiCtx;

use crate::Extension;
use crate::guest::Guest;
use crate::log::{BudgetedLog, GuestLog, LogLevel, StageLog, Stream};
use crate::meter::{Abandonment, Breach, Meter, Placement, Usage};
use crate::payload::{Output, Payload};
use crate::runtime::Shared;
pub(crate) use bindings::StageHostPre;
use bindings::exports::martello::pipeline::stage::{Fault as WitFault, Outcome};
pub use contract::{Contract, EvidenceRule, FindingRule};

/// The export that makes a component a stage.
pub(crate) const EXPORT: &str = "martello:pipeline/stage@0.1.0";

/// A stage's component, ready to be instantiated. Cloning it is cheap.
pub struct StageComponent<X: Extension> {
    pub(crate) shared: Arc<Shared<X>>,
    pub(crate) pre: StageHostPre<Guest<X::State>>,
    pub(crate) digest: Digest,
    pub(crate) limits: Limits,
}

/// One call of a stage.
pub struct StageCall<S> {
    /// The payload to work on.
    pub input: Payload,
    /// Settings, as text.
    pub settings: BTreeMap<Name, String>,
    /// Data files that it may open.
    pub assets: BTreeMap<Name, Payload>,
    /// Ports on which it may write.
    pub ports: Vec<Name>,
    /// Pseudonyms, where they are granted.
    pub pseudonyms: Option<Arc<dyn Pseudonyms>>,
    /// What it may say.
    pub contract: Arc<Contract>,
    /// Where its log lines go.
    pub log: Arc<dyn GuestLog>,
    /// The extension's state of the instance.
    pub state: S,
}

impl<S> StageCall<S> {
    /// A call that grants nothing but the input. `trace` stands with every line of the guest's log.
    pub fn new(input: Payload, state: S, trace: &str) -> Self {
        Self {
            input,
            settings: BTreeMap::new(),
            assets: BTreeMap::new(),
            ports: Vec::new(),
            pseudonyms: None,
            contract: Arc::new(Contract::default()),
            log: Arc::new(StageLog::new(trace)),
            state,
        }
    }
}

/// Keyed pseudonyms (`martello:pipeline/pseudonyms`). The key stays with whoever implements this.
pub trait Pseudonyms: Send + Sync + 'static {
    /// A replacement for a DICOM UID.
    ///
    /// # Errors
    /// When the value is none.
    fn uid(&self, value: &str) -> Result<String, PseudonymError>;
    /// The pseudonym of a subject.
    ///
    /// # Errors
    /// When the value is none.
    fn subject(&self, value: &str) -> Result<String, PseudonymError>;
    /// By how many days the dates of a subject move back.
    ///
    /// # Errors
    /// When the value is none.
    fn shift_days(&self, subject: &str) -> Result<u32, PseudonymError>;
    /// Which key made these.
    fn key_id(&self) -> String;
}

/// The value cannot have a pseudonym. The text reaches the guest; it must not carry the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no pseudonym: {0}")]
pub struct PseudonymError(pub &'static str);

/// What a stage made of its payload.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// What it concluded.
    pub findings: Vec<Finding>,
    /// What it did.
    pub evidence: Option<Evidence>,
    /// The outputs that it completed, in that order.
    pub outputs: Vec<Output>,
    /// What it used.
    pub usage: Usage,
}

/// Why there is no report. Nothing that the stage wrote is kept.
#[derive(Clone, thiserror::Error)]
#[error("stage failed with `{code}`")]
pub struct StageFailure {
    /// What an operator sees.
    pub code: Code,
    /// The case of the fault that the stage itself gave; none where the host stopped it.
    pub fault: Option<FaultKind>,
    /// For the local log only: it may hold text of the guest's.
    pub detail: String,
    /// The guest's functions at a trap, innermost first; for the local log only.
    pub backtrace: Option<String>,
    /// What it used until then.
    pub usage: Usage,
}

/// The guest's own words may hold a value of the payload: they are not shown.
impl fmt::Debug for StageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageFailure")
            .field("code", &self.code)
            .field("fault", &self.fault)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

/// The part of an instance's state that only stages have, and the settings, which other worlds read through
/// `wasi:config`.
pub(crate) struct StageState {
    pub(crate) settings: Arc<BTreeMap<Name, String>>,
    pub(crate) assets: BTreeMap<Name, Payload>,
    pub(crate) ports: Vec<Name>,
    pub(crate) pseudonyms: Option<Arc<dyn Pseudonyms>>,
    pub(crate) spool_folder: Arc<Path>,
    pub(crate) outputs: Vec<Output>,
    /// What the device first failed at, while it served the guest.
    pub(crate) device_failed: Option<DeviceFailure>,
}

/// What a device may fail at while it serves a guest. Whatever becomes of the guest then, it says nothing of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceFailure {
    /// It could not read a payload.
    Reading,
    /// It could not write an output.
    Writing,
}

impl DeviceFailure {
    const fn code(self) -> Code {
        match self {
            Self::Reading => Code::of(code::HOST_FAULT),
            Self::Writing => Code::of(code::OUTPUT_UNWRITABLE),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Reading => "a payload could not be read",
            Self::Writing => "an output could not be written",
        }
    }
}

impl StageState {
    pub(crate) fn empty(spool_folder: &Arc<Path>) -> Self {
        Self {
            settings: Arc::default(),
            assets: BTreeMap::new(),
            ports: Vec::new(),
            pseudonyms: None,
            spool_folder: Arc::clone(spool_folder),
            outputs: Vec::new(),
            device_failed: None,
        }
    }
}

enum Ended {
    Returned(wasmtime::Result<Result<Outcome, WitFault>>),
    Late,
    Abandoned,
}

impl<X: Extension> StageComponent<X> {
    /// Digest of the component.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What an instance may use.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Works on one payload in a fresh instance, on a guest thread. Waits for a free one; that wait is no part of the
    /// wall deadline. When the returned future is dropped, the guest is stopped.
    ///
    /// # Errors
    /// Whatever kept the stage from completing, with a code. Boxed because a failure is large and rare.
    pub async fn process(&self, call: StageCall<X::State>) -> Result<StageReport, Box<StageFailure>> {
        let Some(slot) = self.shared.threads.slot().await else {
            return Err(host_fault("the runtime is being stopped"));
        };
        let (reply, result) = tokio::sync::oneshot::channel();
        let abandonment = Arc::new(Abandonment::default());
        let _waiting = abandonment.while_waited_for();
        let component = self.clone();
        self.shared.threads.submit(slot, move |runtime| {
            // Nobody waiting is no error: the caller gave up, perhaps while the job stood in the queue.
            if !abandonment.is_declared() {
                let _ = reply.send(component.run(runtime, call, &abandonment));
            }
        });
        result.await.unwrap_or_else(|_| Err(host_fault("the host panicked while it served the guest")))
    }

    fn run(
        &self,
        runtime: &tokio::runtime::Runtime,
        call: StageCall<X::State>,
        abandonment: &Arc<Abandonment>,
    ) -> Result<StageReport, Box<StageFailure>> {
        let _running = self.shared.ticker.running();
        let contract = call.contract;
        let log = BudgetedLog::new(call.log, self.limits.log_bytes, LogLevel::Debug);
        let stage = StageState {
            settings: Arc::new(call.settings),
            assets: call.assets,
            ports: call.ports,
            pseudonyms: call.pseudonyms,
            ..StageState::empty(&self.shared.spool_folder)
        };
        let meter = Meter::start(self.limits.clone(), Placement::OwnThread, Arc::clone(abandonment));
        let deadline = meter.deadline();
        let mut store = Guest::new(closed_wasi(&log), meter, log, stage, call.state)
            .into_store(&self.shared.engine, Placement::OwnThread);
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                returned = self.call(&mut store, call.input) => Ended::Returned(returned),
                () = tokio::time::sleep_until(deadline.into()) => Ended::Late,
                () = abandonment.declared() => Ended::Abandoned,
            }
        });
        let mut guest = store.into_data();
        match ended {
            Ended::Late => drop(guest.meter.stop(Breach::Deadline)),
            Ended::Abandoned => drop(guest.meter.stop(Breach::Abandoned)),
            Ended::Returned(_) => {}
        }
        let returned = match ended {
            Ended::Returned(returned) => returned,
            Ended::Late | Ended::Abandoned => {
                Err(wasmtime::Error::msg("the call was waiting when it was stopped"))
            }
        };
        conclude(guest, returned, &contract)
    }

    async fn call(
        &self,
        store: &mut wasmtime::Store<Guest<X::State>>,
        input: Payload,
    ) -> wasmtime::Result<Result<Outcome, WitFault>> {
        let input = store.data_mut().table.push(input)?;
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let stage = instance.martello_pipeline_stage();
        stage.call_process(&mut *store, Resource::new_borrow(input.rep())).await
    }
}

impl<X: Extension> Clone for StageComponent<X> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            pre: self.pre.clone(),
            digest: self.digest,
            limits: self.limits.clone(),
        }
    }
}

impl<X: Extension> fmt::Debug for StageComponent<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageComponent").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// WASI that reaches nothing: no environment, no arguments, no folders, no network; standard output goes to the log.
pub(crate) fn closed_wasi(log: &BudgetedLog) -> WasiCtx {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(log.stream(Stream::Output)).stderr(log.stream(Stream::Error)).max_random_size(1 << 20);
    wasi.allow_tcp(false).allow_udp(false);
    wasi.build()
}

fn conclude<S: Send + 'static>(
    mut guest: Guest<S>,
    returned: wasmtime::Result<Result<Outcome, WitFault>>,
    contract: &Contract,
) -> Result<StageReport, Box<StageFailure>> {
    let usage = guest.usage();
    let failure = |code: Code, fault: Option<FaultKind>, detail: String, backtrace: Option<String>| {
        Err(Box::new(StageFailure { code, fault, detail, backtrace, usage: usage.clone() }))
    };
    let detail = guest.meter.breach_detail();
    let explain = |text: String| match &detail {
        Some(detail) => format!("{text}; {detail}"),
        None => text,
    };
    if let Some(failed) = guest.stage.device_failed {
        let detail = match &returned {
            Err(error) => format!("{}; {}", failed.text(), root_causes(error)),
            Ok(_) => failed.text().to_owned(),
        };
        return failure(failed.code(), None, detail, None);
    }
    match returned {
        Err(error) => {
            let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
            failure(trap_code(&error, guest.meter.breach()), None, explain(root_causes(&error)), backtrace)
        }
        Ok(Err(fault)) => {
            let (kind, text) = split(fault);
            let declared = |code: &str| contract.codes.iter().any(|declared| declared == code);
            let code = guest
                .meter
                .hard_breach()
                .map_or_else(|| Code::from_fault_text(&text, declared, kind.code()), Breach::code);
            failure(code, Some(kind), explain(text), None)
        }
        Ok(Ok(outcome)) => {
            if let Some(breach) = guest.meter.hard_breach() {
                return failure(breach.code(), None, explain("the stage returned in peace".to_owned()), None);
            }
            match contract.admit(outcome, guest.limits().findings) {
                Ok((findings, evidence)) => Ok(StageReport {
                    findings,
                    evidence,
                    outputs: std::mem::take(&mut guest.stage.outputs),
                    usage,
                }),
                Err(undeclared) => {
                    let (code, detail) = undeclared.into_parts();
                    failure(code, None, detail, None)
                }
            }
        }
    }
}

/// The code of an error that ended guest code. A limit that the guest ran into comes before what the guest made of it.
pub(crate) fn trap_code(error: &wasmtime::Error, breach: Option<Breach>) -> Code {
    if let Some(breach) = breach {
        return breach.code();
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return Code::of(code::HOST_FAULT);
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Code::of(code::GUEST_HANDLES);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Code::of(code::GUEST_STACK),
        _ => Code::of(code::GUEST_TRAP),
    }
}

/// The error's chain without its backtrace.
pub(crate) fn root_causes(error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let causes = error.chain().map(ToString::to_string);
    let own =
        causes.filter(|cause| backtrace.as_ref().is_none_or(|backtrace| !cause.contains(backtrace.as_str())));
    own.collect::<Vec<_>>().join(": ")
}

fn split(fault: WitFault) -> (FaultKind, String) {
    match fault {
        WitFault::Malformed(text) => (FaultKind::Malformed, text),
        WitFault::Unsupported(text) => (FaultKind::Unsupported, text),
        WitFault::Limit(text) => (FaultKind::Limit, text),
        WitFault::Policy(text) => (FaultKind::Policy, text),
        WitFault::NeedsReview(text) => (FaultKind::NeedsReview, text),
        WitFault::Internal(text) => (FaultKind::Internal, text),
    }
}

fn host_fault(detail: &str) -> Box<StageFailure> {
    Box::new(StageFailure {
        code: Code::of(code::HOST_FAULT),
        fault: None,
        detail: detail.to_owned(),
        backtrace: None,
        usage: Usage { wall: Duration::ZERO, ..Usage::default() },
    })
}
