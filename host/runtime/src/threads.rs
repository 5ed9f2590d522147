//! The threads on which guests run: theirs alone, so that a guest which spins holds up no async worker.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Guest code runs on fibers; the thread's own stack only carries the async runtime.
const THREAD_STACK_BYTES: usize = 512 << 10;

type Job = Box<dyn FnOnce(&Runtime) + Send>;

pub(crate) struct GuestThreads {
    queue: Arc<Queue>,
    slots: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

/// Jobs that are running or waiting, for each thread. One that waits lets its thread go on without falling asleep: to
/// sleep and be woken costs more than a small guest does.
const JOBS_EACH: usize = 2;

/// Bounded: a slot is taken before a job is handed in.
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The right to hand in one job.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl GuestThreads {
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let count = count.max(1);
        let state = Mutex::new(State {
            jobs: VecDeque::with_capacity(count.saturating_mul(JOBS_EACH)),
            closed: false,
        });
        let queue = Arc::new(Queue { state, filled: Condvar::new() });
        let mut threads = Self {
            queue,
            slots: Arc::new(Semaphore::new(count.saturating_mul(JOBS_EACH))),
            threads: Vec::new(),
        };
        for index in 0..count {
            let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(2).build()?;
            let queue = Arc::clone(&threads.queue);
            let thread = std::thread::Builder::new()
                .name(format!("guest-{index}"))
                .stack_size(THREAD_STACK_BYTES)
                .spawn(move || queue.work(&runtime))?;
            threads.threads.push(thread);
        }
        Ok(threads)
    }

    /// Waits for room in the queue. None once the threads are being stopped.
    pub(crate) async fn slot(&self) -> Option<Slot> {
        Arc::clone(&self.slots).acquire_owned().await.ok().map(|permit| Slot { _permit: permit })
    }

    /// Runs a job on a guest thread, in the span of whoever hands it in: what is logged there carries its ids. Its slot
    /// is free again when it ends, however it ends.
    pub(crate) fn submit(&self, slot: Slot, job: impl FnOnce(&Runtime) + Send + 'static) {
        let span = tracing::Span::current();
        let job = Box::new(move |runtime: &Runtime| {
            let _slot = slot;
            span.in_scope(|| {
                if catch_unwind(AssertUnwindSafe(|| job(runtime))).is_err() {
                    tracing::error!("the host panicked while it served a guest");
                }
            });
        });
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner).jobs.push_back(job);
        self.queue.filled.notify_one();
    }
}

impl Queue {
    fn work(&self, runtime: &Runtime) {
        while let Some(job) = self.next() {
            job(runtime);
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        self.slots.close();
        self.queue.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.queue.filled.notify_all();
        let current = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a job on one of these threads; that one ends by itself.
            if thread.thread().id() != current {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_on_a_guest_thread_carries_the_ids_of_the_job_also_after_a_panic() {
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
        // For the whole process: the guest thread has no other.
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        let threads = GuestThreads::start(1).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        let slot = runtime.block_on(threads.slot()).unwrap();
        tracing::info_span!("input", id = "job-7").in_scope(|| {
            threads.submit(slot, |_| {
                tracing::error!("payload cannot be read");
                panic!("as the test wants it");
            });
        });
        drop(threads);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        for line in ["payload cannot be read", "the host panicked"] {
            let line = text.lines().find(|it| it.contains(line)).unwrap();
            assert!(line.contains("job-7"), "{line}");
        }
    }

    #[test]
    fn a_panicking_job_leaves_its_thread_and_its_slot_usable() {
        let threads = GuestThreads::start(1).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        for round in 0..3 {
            let (done, finished) = std::sync::mpsc::channel();
            let slot = runtime.block_on(threads.slot()).unwrap();
            threads.submit(slot, move |_| {
                done.send(round).unwrap();
                panic!("as the test wants it");
            });
            assert_eq!(finished.recv().unwrap(), round);
        }
    }
}
