//! The threads on which models run: a bounded queue, deadlines, and a watch that ends runs which miss theirs.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::backend::Stop;
use crate::error::RunError;
use crate::tensor::Tensor;

/// How long the end waits for runs that were asked to stop: an operator cannot be stopped in the middle.
const LAST_RUNS: Duration = Duration::from_secs(10);

/// How often is looked whether they have ended.
const POLL: Duration = Duration::from_millis(1);

/// What a run gives.
pub(crate) type Answer = Result<Vec<Tensor>, RunError>;

type Work = Box<dyn FnOnce(&Stop) -> Answer + Send>;

/// The threads. Dropping the last handle ends them after the runs that they have begun.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Work has come, or the end.
    filled: Condvar,
    /// There is a new deadline to watch, or the end.
    watched: Condvar,
    most_waiting: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Work, Arc<Run>)>,
    /// Runs whose deadline is watched; those that have ended are gone.
    deadlines: Vec<(Instant, Weak<Run>)>,
    /// When the watch looks again by itself; none where it waits for a deadline to watch.
    next_look: Option<Instant>,
    closed: bool,
}

/// A run that somebody waits for.
struct Run {
    stop: Stop,
    deadline: Instant,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl Run {
    fn answer(&self, answer: Answer) {
        if let Some(sender) = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody waits any more where the instance is gone.
            let _ = sender.send(answer);
        }
    }
}

impl Workers {
    pub(crate) fn start(count: NonZero<usize>, most_waiting: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            watched: Condvar::new(),
            most_waiting,
        });
        let mut workers = Self { shared, threads: Vec::new() };
        for index in 0..count.get() {
            let shared = Arc::clone(&workers.shared);
            let name = format!("inference-{index}");
            workers.threads.push(std::thread::Builder::new().name(name).spawn(move || shared.work())?);
        }
        let shared = Arc::clone(&workers.shared);
        let watch = std::thread::Builder::new().name("inference-watch".to_owned());
        workers.threads.push(watch.spawn(move || shared.watch())?);
        Ok(workers)
    }

    /// Hands work in and waits for its answer until the deadline, which answers with [`RunError::Timeout`]. It is done
    /// in the span of whoever waits: what is logged there carries its ids.
    pub(crate) async fn run(
        &self,
        deadline: Instant,
        work: impl FnOnce(&Stop) -> Answer + Send + 'static,
    ) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let run = Arc::new(Run { stop: Stop::default(), deadline, answer: Mutex::new(Some(sender)) });
        {
            let mut state = self.shared.lock();
            if state.waiting.len() >= self.shared.most_waiting {
                return Err(RunError::Busy);
            }
            self.shared.watch_over(&mut state, &run);
            let span = tracing::Span::current();
            let work = move |stop: &Stop| span.in_scope(|| work(stop));
            state.waiting.push_back((Box::new(work), Arc::clone(&run)));
        }
        self.shared.filled.notify_one();
        // When whoever waits goes away, the run has no purpose left.
        let _watched = Watched { run, shared: &self.shared };
        receiver.await.unwrap_or(Err(RunError::Timeout))
    }

    /// Whether no run waits for a thread.
    pub(crate) fn are_idle(&self) -> bool {
        self.shared.lock().waiting.is_empty()
    }

    /// Works on this thread. From the deadline on the work is asked to stop, as it is on the other threads.
    pub(crate) fn run_here(&self, deadline: Instant, work: impl FnOnce(&Stop) -> Answer) -> Answer {
        let run = Arc::new(Run { stop: Stop::default(), deadline, answer: Mutex::new(None) });
        self.shared.watch_over(&mut self.shared.lock(), &run);
        let watched = Watched { run, shared: &self.shared };
        work(&watched.run.stop)
    }
}

/// A run whose deadline is watched until this is dropped. If nobody has answered it by then, it is asked to stop.
struct Watched<'a> {
    run: Arc<Run>,
    shared: &'a Shared,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let unanswered = self.run.answer.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        if unanswered {
            self.run.stop.stop();
        }
        self.shared.lock().deadlines.retain(|(_, run)| !std::ptr::eq(run.as_ptr(), Arc::as_ptr(&self.run)));
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the watch look after the run. It is woken only where it would look too late: that costs more than a cheap run.
    fn watch_over(&self, state: &mut State, run: &Arc<Run>) {
        state.deadlines.push((run.deadline, Arc::downgrade(run)));
        if state.next_look.is_none_or(|next| run.deadline < next) {
            self.watched.notify_one();
        }
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let (work, run) = loop {
                if let Some(next) = state.waiting.pop_front() {
                    break next;
                }
                if state.closed {
                    return;
                }
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if run.stop.is_wanted() || run.deadline <= Instant::now() {
                run.answer(Err(RunError::Timeout));
            } else {
                let answer = work(&run.stop);
                run.answer(answer);
            }
        }
    }

    /// Ends the runs that miss their deadline. Whoever waits is answered at once, even where the backend goes on for
    /// a while.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let mut late = Vec::new();
            state.deadlines.retain(|(deadline, run)| match run.upgrade() {
                Some(run) if *deadline <= now => {
                    late.push(run);
                    false
                }
                Some(_) => true,
                None => false,
            });
            if !late.is_empty() {
                drop(state);
                for run in late {
                    run.answer(Err(RunError::Timeout));
                    run.stop.stop();
                }
                state = self.lock();
                continue;
            }
            state.next_look = state.deadlines.iter().map(|(deadline, _)| *deadline).min();
            state = match state.next_look {
                Some(next) => {
                    let wait = next.saturating_duration_since(now);
                    self.watched.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.watched.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_all();
        self.shared.watched.notify_all();
        let patience = Instant::now().checked_add(LAST_RUNS);
        for thread in self.threads.drain(..) {
            if thread.thread().id() == std::thread::current().id() {
                continue;
            }
            while !thread.is_finished() && patience.is_some_and(|patience| Instant::now() < patience) {
                std::thread::sleep(POLL);
            }
            if thread.is_finished() {
                // A worker catches the panics of what it runs; there is nothing to learn from its end.
                let _ = thread.join();
            } else {
                tracing::warn!("a model run does not end; its thread is left to the end of the process");
            }
        }
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({})", self.threads.len())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Instrument;

    use super::*;

    #[test]
    fn what_is_logged_on_an_inference_thread_carries_the_ids_of_whoever_waits() {
        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Written {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let written = Written::default();
        let writer = written.clone();
        // For the whole process: the inference thread has no other.
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        let workers = Workers::start(NonZero::<usize>::MIN, 1).unwrap();
        let ran = workers.run(Instant::now() + Duration::from_secs(60), |_| {
            tracing::error!("backend panicked");
            Ok(Vec::new())
        });
        let ran = ran.instrument(tracing::info_span!("input", id = "job-7"));
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ran).unwrap();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("backend panicked") && text.contains("job-7"), "{text}");
    }
}
