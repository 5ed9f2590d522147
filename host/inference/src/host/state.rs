//! What the host keeps for one instance: the models it may open, what it holds, and how much of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use martello_bundle::manifest::ElementType;
use martello_vocab::{ByteCount, Limits, Name};
use wasmtime::component::{Resource, ResourceTable};

use super::bindings::wasi::nn::errors::ErrorCode;
use super::record::Record;
use crate::error::RunError;
use crate::inference::Inference;
use crate::model::LoadedModel;
use crate::tensor::{MOST_DIMENSIONS, Tensor, byte_length};

/// Tensors, graphs, contexts and errors that an instance may hold at once. Beyond it the instance is ended.
const MOST_HANDLES: usize = 1024;

/// Bytes of the text of an error: it is kept and not charged, and a guest's own model names its tensors as it likes.
const LONGEST_TEXT: usize = 512;

/// The state of `wasi:nn` for one instance. The default grants nothing.
pub struct NnState {
    pub(super) table: ResourceTable,
    models: BTreeMap<Name, Arc<LoadedModel>>,
    guest_models: Option<Arc<Inference>>,
    /// Models that the guest brought, with the bytes of each; those that nobody holds any more are gone.
    brought: Vec<(Weak<LoadedModel>, u64)>,
    pub(super) tensor_limit: u64,
    pub(super) tensor_bytes: u64,
    /// Each run ends by then.
    deadline: Deadline,
    record: Record,
}

/// When the runs of an instance must have ended.
enum Deadline {
    At(Instant),
    /// So long after the first call of `wasi:nn`: a state that is made early does not lose time in a queue.
    After(Duration),
}

/// A tensor in the hands of a guest. A constructor has no way to fail in `wasi:nn`, so that a tensor may be one that
/// every use refuses.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct HeldTensor {
    pub(super) shape: Vec<u32>,
    pub(super) element_type: ElementType,
    pub(super) content: Result<Tensor, Refusal>,
    /// What it is charged with.
    pub(super) charged: u64,
}

/// A model in the hands of a guest.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct HeldGraph {
    pub(super) name: Option<Name>,
    pub(super) model: Arc<LoadedModel>,
}

/// A model that a guest runs.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct HeldContext {
    pub(super) name: Option<Name>,
    pub(super) model: Arc<LoadedModel>,
}

/// An error in the hands of a guest.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct HeldError(pub(super) Refusal);

/// A code of `wasi:nn` with a stable sentence that holds nothing of the payload.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(LONGEST_TEXT));
        text.shrink_to_fit();
        Self { code, text }
    }
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        let code = match &error {
            RunError::Argument(_) => ErrorCode::InvalidArgument,
            RunError::Timeout => ErrorCode::Timeout,
            RunError::TooLarge => ErrorCode::TooLarge,
            RunError::Busy | RunError::Backend { .. } | RunError::Panicked { .. } => ErrorCode::RuntimeError,
        };
        Self::new(code, error.to_string())
    }
}

impl NnState {
    /// A state that grants these models under these names, within the instance's limits.
    pub fn new(models: impl IntoIterator<Item = (Name, Arc<LoadedModel>)>, limits: &Limits) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_HANDLES);
        Self {
            table,
            models: models.into_iter().collect(),
            guest_models: None,
            brought: Vec::new(),
            tensor_limit: limits.tensor_bytes.0,
            tensor_bytes: 0,
            deadline: Deadline::After(limits.wall()),
            record: Record::default(),
        }
    }

    /// Lets the instance load models from its own bytes, which nobody signed (the grant
    /// `dangerously-load-guest-models`).
    #[must_use]
    pub fn dangerously_load_guest_models(mut self, inference: Arc<Inference>) -> Self {
        self.guest_models = Some(inference);
        self
    }

    /// The same state with another deadline for all its runs.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Deadline::At(deadline);
        self
    }

    /// What the instance runs is written there, also after the state is gone.
    pub fn record(&self) -> Record {
        self.record.clone()
    }

    /// Bytes of the tensors that the instance holds.
    pub const fn tensor_bytes(&self) -> ByteCount {
        ByteCount(self.tensor_bytes)
    }

    pub(super) fn model(&self, name: &str) -> Option<(Name, Arc<LoadedModel>)> {
        let name = name.parse::<Name>().ok()?;
        let model = Arc::clone(self.models.get(&name)?);
        Some((name, model))
    }

    pub(super) fn guest_models(&self) -> Option<Arc<Inference>> {
        self.guest_models.clone()
    }

    pub(super) fn deadline(&mut self) -> Instant {
        match self.deadline {
            Deadline::At(at) => at,
            Deadline::After(wall) => {
                let now = Instant::now();
                let at = now.checked_add(wall).unwrap_or(now);
                self.deadline = Deadline::At(at);
                at
            }
        }
    }

    /// Whether a tensor of this kind with so many bytes may be made; asked before anything is copied.
    pub(super) fn admit(
        &self,
        element_type: ElementType,
        shape: &[u32],
        found: usize,
    ) -> Result<(), Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::InvalidArgument, text);
        let expected = byte_length(element_type, shape).map_err(|error| invalid(error.to_string()))?;
        if expected != found {
            let error = crate::tensor::TensorError::Length { expected, found };
            return Err(invalid(error.to_string()));
        }
        self.room(found as u64)
    }

    pub(super) fn room(&self, bytes: u64) -> Result<(), Refusal> {
        let models = self.brought.iter().filter(|(model, _)| model.strong_count() > 0);
        let held = models.fold(self.tensor_bytes, |held, (_, bytes)| held.saturating_add(*bytes));
        if held.saturating_add(bytes) > self.tensor_limit {
            return Err(RunError::TooLarge.into());
        }
        Ok(())
    }

    /// Charges the instance with a model that the guest brought, for as long as it holds it.
    pub(super) fn charge_model(&mut self, model: &Arc<LoadedModel>, bytes: u64) {
        self.brought.retain(|(model, _)| model.strong_count() > 0);
        self.brought.push((Arc::downgrade(model), bytes));
    }

    /// Puts a tensor into the guest's hands and charges the instance with it. The shape is not charged.
    ///
    /// INVARIANT: whatever the guest gave, a tensor keeps memory for [`MOST_DIMENSIONS`] dimensions at most
    /// (`a_refused_tensor_keeps_nothing_of_an_endless_shape`).
    pub(super) fn hold(
        &mut self,
        element_type: ElementType,
        shape: &[u32],
        content: Result<Tensor, Refusal>,
    ) -> wasmtime::Result<Resource<HeldTensor>> {
        let shape = shape.iter().copied().take(MOST_DIMENSIONS).collect::<Vec<_>>();
        let charged = content.as_ref().map_or(0, |tensor| tensor.bytes().len() as u64);
        let held = self.table.push(HeldTensor { shape, element_type, content, charged })?;
        self.tensor_bytes = self.tensor_bytes.saturating_add(charged);
        Ok(held)
    }

    /// Takes a tensor out of the guest's hands. The charge goes with it.
    pub(super) fn release(&mut self, tensor: Resource<HeldTensor>) -> wasmtime::Result<HeldTensor> {
        let held = self.table.delete(tensor)?;
        self.tensor_bytes = self.tensor_bytes.saturating_sub(held.charged);
        Ok(held)
    }

    pub(super) fn refuse<T>(&mut self, refusal: Refusal) -> wasmtime::Result<Result<T, Resource<HeldError>>> {
        tracing::debug!(code = ?refusal.code, text = refusal.text, "wasi:nn refuses");
        Ok(Err(self.table.push(HeldError(refusal))?))
    }
}

impl Default for NnState {
    fn default() -> Self {
        Self::new([], &Limits::default())
    }
}

impl std::fmt::Debug for NnState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NnState")
            .field("models", &self.models.keys().collect::<Vec<_>>())
            .field("tensor_bytes", &self.tensor_bytes)
            .finish_non_exhaustive()
    }
}
