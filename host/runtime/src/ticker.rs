//! The clock that guests cannot escape: a thread that moves the engine's epoch on while guests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// Ticks after the last guest has left until the thread rests. A stream of short calls then never wakes it anew.
const LINGER: u32 = 64;

/// How long the first ticks may take before the start fails.
const PROOF_DEADLINE: Duration = Duration::from_secs(5);

/// Ticks that the proof waits for.
const PROOF_TICKS: u64 = 3;

/// The ticker. It is an operating system thread of its own: no guest and no async worker can hold it up.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    handle: Thread,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    running: AtomicUsize,
    resting: AtomicBool,
    stop: AtomicBool,
    ticks: AtomicU64,
}

/// While this lives, the epoch moves on.
pub(crate) struct Running(Arc<Shared>);

impl Ticker {
    /// Starts the thread and waits until it has been seen ticking.
    ///
    /// # Errors
    /// When the thread does not start or does not tick: guests could then run away, so none may run.
    pub(crate) fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ticks: AtomicU64::new(0),
        });
        let thread =
            std::thread::Builder::new().name("guest-ticker".to_owned()).stack_size(64 << 10).spawn({
                let (shared, engine) = (Arc::clone(&shared), engine.weak());
                move || shared.tick_until_stopped(&engine, tick)
            })?;
        let ticker = Self { shared, handle: thread.thread().clone(), thread: Some(thread) };
        ticker.prove()?;
        Ok(ticker)
    }

    /// Says that a guest is running.
    pub(crate) fn running(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.handle.unpark();
        }
        Running(Arc::clone(&self.shared))
    }

    /// How many ticks there have been.
    #[cfg(test)]
    fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::SeqCst)
    }

    fn prove(&self) -> std::io::Result<()> {
        let _running = self.running();
        let start = Instant::now();
        while self.shared.ticks.load(Ordering::SeqCst) < PROOF_TICKS {
            if start.elapsed() > PROOF_DEADLINE {
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the epoch does not tick"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

impl Shared {
    fn tick_until_stopped(&self, engine: &wasmtime::EngineWeak, tick: Duration) {
        let mut idle = 0_u32;
        while !self.stop.load(Ordering::SeqCst) {
            if self.running.load(Ordering::SeqCst) > 0 {
                idle = 0;
            } else {
                idle = idle.saturating_add(1);
                if idle > LINGER {
                    self.rest();
                    continue;
                }
            }
            // An unpark that comes late makes one tick early, which harms nobody.
            std::thread::park_timeout(tick);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            self.ticks.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn rest(&self) {
        // Whoever counts itself in afterwards sees this and unparks; whoever did before is seen by the loop.
        self.resting.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.resting.store(false, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.handle.unpark();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticker() -> (Engine, Ticker) {
        let engine = Engine::new(&crate::engine_config()).unwrap();
        let ticker = Ticker::start(&engine, Duration::from_millis(1)).unwrap();
        (engine, ticker)
    }

    fn wait_until(mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(10), "the condition never came true");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn an_idle_ticker_rests_and_a_guest_wakes_it() {
        let (_engine, ticker) = ticker();
        for _ in 0..3 {
            wait_until(|| ticker.shared.resting.load(Ordering::SeqCst));
            let rested = ticker.ticks();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(ticker.ticks(), rested);
            let running = ticker.running();
            wait_until(|| ticker.ticks() > rested);
            drop(running);
        }
    }

    #[test]
    fn a_start_without_ticks_fails() {
        let engine = Engine::new(&crate::engine_config()).unwrap();
        let never = Ticker::start(&engine, Duration::from_secs(3600));
        assert!(never.is_err());
    }
}
