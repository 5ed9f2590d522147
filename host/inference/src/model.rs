//! A loaded model: its sessions, its checks, and the choice of where a run takes place.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use martello_bundle::manifest::{Model, TensorSchema};
use martello_vocab::Digest;

use crate::backend::{Element, Execution, Graph, Interface, Port, Session, Stop};
use crate::error::{ModelError, RunError};
use crate::tensor::Tensor;
use crate::workers::Workers;

/// Runs that are expected to take less than this are made where they are asked for: handing them to another thread, and
/// the answer back, costs 40 µs where both are awake, more where their cores went to sleep in between, and more again
/// where the input lies in the caches of this core. Nobody but the run itself can end it there, when it is asked to, so
/// that only models whose work is hardly another for another input are run like that, and whoever waits learns of its
/// deadline so much late at most.
const CHEAP: Duration = Duration::from_millis(50);

/// A model, ready to run.
pub struct LoadedModel {
    pub(crate) core: Arc<Core>,
    workers: Arc<Workers>,
    longest_run: Duration,
    without_builtin: Option<String>,
}

/// What workers need of a model.
pub(crate) struct Core {
    graph: Box<dyn Graph>,
    digest: Digest,
    sessions: Sessions,
    /// Moving average of the time of a run, in nanoseconds; 0 before the first.
    expected: AtomicU64,
}

struct Sessions {
    idle: Mutex<Idle>,
    returned: Condvar,
}

struct Idle {
    sessions: Vec<Box<dyn Session>>,
    /// How many more may be made.
    room: usize,
}

impl LoadedModel {
    pub(crate) fn new(
        graph: Box<dyn Graph>,
        digest: Digest,
        sessions: usize,
        workers: Arc<Workers>,
        longest_run: Duration,
    ) -> Result<Self, ModelError> {
        let first = catch_unwind(AssertUnwindSafe(|| graph.session())).unwrap_or_else(|panic| {
            let backend = graph.execution().backend;
            Err(ModelError::Backend { backend, detail: panic_text(&*panic) })
        })?;
        let idle = Idle { sessions: vec![first], room: sessions.saturating_sub(1) };
        let sessions = Sessions { idle: Mutex::new(idle), returned: Condvar::new() };
        let core = Core { graph, digest, sessions, expected: AtomicU64::new(0) };
        Ok(Self { core: Arc::new(core), workers, longest_run, without_builtin: None })
    }

    /// The same model, whose golden vectors the built-in backend must not run, for this reason.
    pub(crate) fn with_verdict(self, without_builtin: Option<String>) -> Self {
        Self { without_builtin, ..self }
    }

    /// Why the built-in backend must not run its golden vectors.
    pub(crate) fn without_builtin(&self) -> Option<&str> {
        self.without_builtin.as_deref()
    }

    /// What it takes and gives.
    pub fn interface(&self) -> &Interface {
        self.core.graph.interface()
    }

    /// On what it runs.
    pub fn execution(&self) -> &Execution {
        self.core.graph.execution()
    }

    /// The digest of the model file.
    pub fn digest(&self) -> &Digest {
        &self.core.digest
    }

    /// Runs the model on this thread, with no guest and no queue: what a native program would do. Tensors are named
    /// as ONNX names them and may come in any order. It ends as every run does when it has taken the most that one may.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn run_native(&self, inputs: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, RunError> {
        let inputs = self.ordered(inputs)?;
        let now = Instant::now();
        let deadline = now.checked_add(self.longest_run).unwrap_or(now);
        let outputs = self.workers.run_here(deadline, |stop| self.core.run(&inputs, stop))?;
        Ok(self.labelled(outputs))
    }

    /// Runs the model for a guest, here where it is cheap and on an inference thread otherwise.
    pub(crate) async fn run(
        &self,
        inputs: Vec<(String, Tensor)>,
        deadline: Instant,
    ) -> Result<Vec<(String, Tensor)>, RunError> {
        let inputs = self.ordered(inputs)?;
        let begun = Instant::now();
        if deadline <= begun {
            return Err(RunError::Timeout);
        }
        let expected = self.core.expected.load(Ordering::Relaxed);
        let deadline = deadline.min(begun.checked_add(self.longest_run).unwrap_or(deadline));
        if expected > 0
            && Duration::from_nanos(expected) < CHEAP
            && self.interface().is_static()
            // Whoever came before has his turn first.
            && self.workers.are_idle()
            && let Some(session) = self.core.sessions.try_take(&*self.core.graph)?
        {
            let outputs = self.workers.run_here(deadline, |stop| self.core.run_on(session, &inputs, stop))?;
            return Ok(self.labelled(outputs));
        }
        let core = Arc::clone(&self.core);
        let outputs = self.workers.run(deadline, move |stop| core.run(&inputs, stop)).await?;
        Ok(self.labelled(outputs))
    }

    fn labelled(&self, outputs: Vec<Tensor>) -> Vec<(String, Tensor)> {
        self.interface().outputs.iter().map(|port| port.name.clone()).zip(outputs).collect()
    }

    /// Checks names, types and shapes, and puts the tensors in the model's order.
    fn ordered(&self, inputs: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, RunError> {
        let ports = &self.interface().inputs;
        let argument = |text: String| Err(RunError::Argument(text));
        if inputs.len() != ports.len() {
            return argument(format!("the model takes {} tensors, not {}", ports.len(), inputs.len()));
        }
        let mut places: Vec<Option<Tensor>> = ports.iter().map(|_| None).collect();
        for (name, tensor) in inputs {
            let Some((port, place)) = ports.iter().zip(&mut places).find(|(port, _)| port.name == name)
            else {
                return argument("the model takes no tensor of this name".to_owned());
            };
            if place.is_some() {
                return argument(format!("tensor `{}` is given twice", port.name));
            }
            if port.element != Element::Known(tensor.element_type()) {
                return argument(format!(
                    "tensor `{}` is {:?}, the model takes {}",
                    port.name,
                    tensor.element_type(),
                    port.element
                ));
            }
            let given: Vec<Option<u32>> = tensor.shape().iter().copied().map(Some).collect();
            if !shapes_agree(port.shape.as_deref(), &given) {
                return argument(format!(
                    "tensor `{}` has shape {:?}, the model takes {}",
                    port.name,
                    tensor.shape(),
                    shape_text(port.shape.as_deref())
                ));
            }
            *place = Some(tensor);
        }
        // As many tensors as places, none given twice: each place is filled.
        Ok(places.into_iter().flatten().collect())
    }
}

impl Core {
    /// Waits for a session and runs on it. A run that is stopped while it waits ends without one.
    fn run(&self, inputs: &[Tensor], stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        let session = self.sessions.take(&*self.graph, stop)?;
        self.run_on(session, inputs, stop)
    }

    fn run_on(
        &self,
        mut session: Box<dyn Session>,
        inputs: &[Tensor],
        stop: &Stop,
    ) -> Result<Vec<Tensor>, RunError> {
        let begun = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| session.run(inputs, stop)));
        match ran {
            Ok(Ok(outputs)) => {
                self.took(begun.elapsed());
                self.sessions.give_back(Some(session));
                Ok(outputs)
            }
            Ok(Err(error)) => {
                // A session that failed is not trusted with another patient's image.
                drop(session);
                self.sessions.give_back(None);
                Err(error)
            }
            Err(panic) => {
                tracing::error!(model = %self.digest, "backend panicked");
                // The words of a panic may hold values of the tensors.
                let detail = panic_text(&*panic);
                tracing::debug!(model = %self.digest, detail, "words of the backend's panic");
                // Dropping what panicked may panic again; leaking it is the safer of two evils.
                std::mem::forget(session);
                self.sessions.give_back(None);
                Err(RunError::Panicked { detail })
            }
        }
    }

    fn took(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let before = self.expected.load(Ordering::Relaxed);
        let after =
            if before == 0 { time } else { (before / 4).saturating_mul(3).saturating_add(time / 4).max(1) };
        self.expected.store(after, Ordering::Relaxed);
    }
}

impl Sessions {
    /// A session, where one is idle or may still be made.
    fn try_take(&self, graph: &dyn Graph) -> Result<Option<Box<dyn Session>>, RunError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = idle.sessions.pop() {
            return Ok(Some(session));
        }
        if idle.room == 0 {
            return Ok(None);
        }
        idle.room = idle.room.saturating_sub(1);
        drop(idle);
        let error = match catch_unwind(AssertUnwindSafe(|| graph.session())) {
            Ok(Ok(session)) => return Ok(Some(session)),
            Ok(Err(error)) => RunError::Backend { detail: format!("making a session: {error}") },
            Err(panic) => RunError::Panicked { detail: panic_text(&*panic) },
        };
        self.give_back(None);
        Err(error)
    }

    fn take(&self, graph: &dyn Graph, stop: &Stop) -> Result<Box<dyn Session>, RunError> {
        /// How often a waiting run looks whether it is still wanted.
        const LOOK: Duration = Duration::from_millis(5);
        loop {
            if let Some(session) = self.try_take(graph)? {
                return Ok(session);
            }
            if stop.is_wanted() {
                return Err(RunError::Timeout);
            }
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.sessions.is_empty() && idle.room == 0 {
                drop(self.returned.wait_timeout(idle, LOOK).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Gives a session back, or the room of one that is no more.
    fn give_back(&self, session: Option<Box<dyn Session>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match session {
            Some(session) => idle.sessions.push(session),
            None => idle.room = idle.room.saturating_add(1),
        }
        drop(idle);
        self.returned.notify_one();
    }
}

/// Every tensor must be of a type that wasi:nn can name.
pub(crate) fn check_named(interface: &Interface) -> Result<(), ModelError> {
    let inputs = interface.inputs.iter().map(|port| ("input", port));
    let outputs = interface.outputs.iter().map(|port| ("output", port));
    for (side, Port { name, element, .. }) in inputs.chain(outputs) {
        if let Element::Foreign(element) = element {
            return Err(ModelError::ElementType {
                port: side.into(),
                name: name.clone(),
                element: element.clone(),
                reason: "wasi:nn cannot name it".to_owned(),
            });
        }
    }
    Ok(())
}

/// Compares what the manifest says with what the model has, the shapes of these outputs aside.
pub(crate) fn check_schema(
    model: &Model,
    interface: &Interface,
    shapeless: &[String],
) -> Result<(), ModelError> {
    let sides = [("input", &model.inputs, &interface.inputs), ("output", &model.outputs, &interface.outputs)];
    for (side, wanted, found) in sides {
        if wanted.len() != found.len() {
            let text = format!("it names {} {side}s, the model has {}", wanted.len(), found.len());
            return Err(ModelError::Schema(text));
        }
        for TensorSchema { name, dtype, shape } in wanted {
            let Some(port) = found.iter().find(|port| port.name == *name) else {
                return Err(ModelError::Schema(format!("the model has no {side} `{name}`")));
            };
            if port.element != Element::Known(*dtype) {
                let text = format!("{side} `{name}` is {}, not {dtype:?}", port.element);
                return Err(ModelError::Schema(text));
            }
            let is_open = side == "output" && shapeless.contains(name);
            if !is_open && !shapes_agree(port.shape.as_deref(), shape) {
                let (found, wanted) = (shape_text(port.shape.as_deref()), shape_text(Some(shape)));
                return Err(ModelError::Schema(format!("{side} `{name}` has shape {found}, not {wanted}")));
            }
        }
    }
    Ok(())
}

/// Whether two shapes can be of one tensor: equal wherever both are known.
pub(crate) fn shapes_agree(one: Option<&[Option<u32>]>, other: &[Option<u32>]) -> bool {
    one.is_none_or(|one| {
        let equal =
            |(one, other): (&Option<u32>, &Option<u32>)| one.is_none() || other.is_none() || one == other;
        one.len() == other.len() && one.iter().zip(other).all(equal)
    })
}

fn shape_text(shape: Option<&[Option<u32>]>) -> String {
    let Some(shape) = shape else { return "of any rank".to_owned() };
    let dimensions: Vec<String> =
        shape.iter().map(|dimension| dimension.map_or_else(|| "?".to_owned(), |it| it.to_string())).collect();
    format!("[{}]", dimensions.join(", "))
}

/// The words of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(element) => write!(f, "{element:?}"),
            Self::Foreign(element) => f.write_str(element),
        }
    }
}

impl std::fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedModel")
            .field("digest", self.digest())
            .field("execution", self.execution())
            .finish()
    }
}
