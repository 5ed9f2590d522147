//! What a guest has used, what it may use, and which limit it ran into.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use martello_vocab::{ByteCount, Code, Limits, code};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use wasmtime::{CallHook, ResourceLimiter};

/// What one call used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time in which guest code itself ran: between entering and leaving it, host functions and their waits excluded,
    /// and no more than the CPU time of its thread, so that waiting for a turn on a busy machine does not count. Where
    /// the thread is shared with other guests (HTTP), that cannot be told and the waiting counts.
    pub compute: Duration,
    /// Time from the call to its end.
    pub wall: Duration,
    /// The most linear memory it had, all memories together.
    pub memory: ByteCount,
    /// Crossings from the guest to the host: host functions, and growth of memories and tables.
    pub host_calls: u64,
    /// Bytes of log lines kept, with what the host puts around each.
    pub log: ByteCount,
    /// Log lines dropped because the budget was used up.
    pub log_lines_dropped: u64,
    /// Bytes written into sinks, and of the outputs' media types and attributes, discarded ones included.
    pub output: ByteCount,
}

/// The limit that a guest ran into, or the rule that it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    Memory,
    Table,
    Compute,
    Deadline,
    Output,
    HostCalls,
    Contract,
    /// Nobody waits for the result any more.
    Abandoned,
}

impl Breach {
    pub(crate) const fn code(self) -> Code {
        Code::of(match self {
            Self::Memory => code::GUEST_MEMORY,
            Self::Table => code::GUEST_TABLE,
            Self::Compute => code::GUEST_COMPUTE,
            Self::Deadline | Self::Abandoned => code::GUEST_DEADLINE,
            Self::Output => code::GUEST_OUTPUT,
            Self::HostCalls => code::GUEST_HOST_CALLS,
            Self::Contract => code::GUEST_CONTRACT,
        })
    }
}

/// Stops the guest. The text is for the local log.
#[derive(Debug, thiserror::Error)]
#[error("stopped by the host: {0:?}")]
pub(crate) struct Stopped(pub(crate) Breach);

/// Whether the thread that runs the guest runs only this guest while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// A guest thread: its CPU clock is the guest's.
    OwnThread,
    /// A worker of an async runtime, shared with others.
    SharedWorker,
}

/// Tells a running guest that nobody waits for it any more.
#[derive(Default)]
pub(crate) struct Abandonment {
    flag: AtomicBool,
    notify: Notify,
}

/// Declares, when dropped, that nobody waits any more.
pub(crate) struct Waiting(Arc<Abandonment>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.flag.store(true, Ordering::Release);
        self.0.notify.notify_one();
    }
}

impl Abandonment {
    pub(crate) fn while_waited_for(self: &Arc<Self>) -> Waiting {
        Waiting(Arc::clone(self))
    }

    pub(crate) fn is_declared(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    pub(crate) async fn declared(&self) {
        while !self.is_declared() {
            self.notify.notified().await;
        }
    }
}

/// Counts what a guest uses and remembers the first limit it ran into.
pub(crate) struct Meter {
    limits: Limits,
    placement: Placement,
    started: Instant,
    deadline: Instant,
    /// Since when guest code runs; none while the host works for it.
    inside_since: Option<Instant>,
    compute: Duration,
    cpu_at_start: Duration,
    host_calls: u64,
    output: u64,
    memory: u64,
    memory_peak: u64,
    table_elements: u64,
    /// A growth that was refused. It decides the code only if the guest does not get over it.
    refused_growth: Option<Breach>,
    breach: Option<Breach>,
    breach_detail: Option<String>,
    abandonment: Arc<Abandonment>,
}

impl Meter {
    pub(crate) fn start(limits: Limits, placement: Placement, abandonment: Arc<Abandonment>) -> Self {
        let started = Instant::now();
        Self {
            deadline: started.checked_add(limits.wall()).unwrap_or(started),
            limits,
            placement,
            started,
            inside_since: None,
            compute: Duration::ZERO,
            cpu_at_start: thread_cpu(),
            host_calls: 0,
            output: 0,
            memory: 0,
            memory_peak: 0,
            table_elements: 0,
            refused_growth: None,
            breach: None,
            breach_detail: None,
            abandonment,
        }
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The breach that decides the failure's code, if there was one.
    pub(crate) fn breach(&self) -> Option<Breach> {
        self.breach.or(self.refused_growth)
    }

    /// The breach that fails a call even where the guest itself returned in peace.
    pub(crate) const fn hard_breach(&self) -> Option<Breach> {
        self.breach
    }

    pub(crate) fn breach_detail(&mut self) -> Option<String> {
        self.breach_detail.take()
    }

    /// Remembers a breach. The first one stands.
    pub(crate) fn broke(&mut self, breach: Breach, detail: impl FnOnce() -> String) {
        if self.breach.is_none() {
            self.breach = Some(breach);
            self.breach_detail = Some(detail());
        }
    }

    /// Called at every crossing between guest and host.
    pub(crate) fn crossing(&mut self, hook: CallHook) -> Result<(), Stopped> {
        let now = Instant::now();
        match hook {
            CallHook::CallingWasm | CallHook::ReturningFromHost => {
                self.inside_since = Some(now);
                // The host may have worked past the deadline; the guest gets no time to find out.
                if hook.exiting_host() && now >= self.deadline {
                    return Err(self.stop(Breach::Deadline));
                }
            }
            CallHook::ReturningFromWasm | CallHook::CallingHost => {
                self.leave(now);
                if matches!(hook, CallHook::CallingHost) {
                    self.host_calls = self.host_calls.saturating_add(1);
                    if self.host_calls > self.limits.host_calls {
                        return Err(self.stop(Breach::HostCalls));
                    }
                }
            }
        }
        Ok(())
    }

    /// Called when the epoch has moved on while guest code ran. The crossing into the host has been counted.
    pub(crate) fn tick(&mut self) -> Result<(), Stopped> {
        // A look of the host is no call of the guest.
        self.host_calls = self.host_calls.saturating_sub(1);
        if Instant::now() >= self.deadline {
            return Err(self.stop(Breach::Deadline));
        }
        if self.abandonment.is_declared() {
            return Err(self.stop(Breach::Abandoned));
        }
        if self.compute > self.limits.compute() && self.cpu_since_start() > self.limits.compute() {
            return Err(self.stop(Breach::Compute));
        }
        Ok(())
    }

    /// What is left of the output budget.
    pub(crate) const fn output_room(&self) -> u64 {
        self.limits.output_bytes.0.saturating_sub(self.output)
    }

    /// Takes bytes from the output budget.
    pub(crate) fn spend_output(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.output = self.output.saturating_add(bytes as u64);
        if self.output > self.limits.output_bytes.0 {
            return Err(self.stop(Breach::Output));
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self, breach: Breach) -> Stopped {
        let limits = format!("limits are {:?}", self.limits);
        self.broke(breach, || limits);
        Stopped(breach)
    }

    /// What has been used so far. Log figures are not known here.
    pub(crate) fn usage(&mut self) -> Usage {
        let now = Instant::now();
        self.leave(now);
        Usage {
            compute: self.compute.min(self.cpu_since_start()),
            wall: now.duration_since(self.started),
            memory: ByteCount(self.memory_peak),
            host_calls: self.host_calls,
            log: ByteCount(0),
            log_lines_dropped: 0,
            output: ByteCount(self.output),
        }
    }

    fn leave(&mut self, now: Instant) {
        if let Some(since) = self.inside_since.take() {
            self.compute = self.compute.saturating_add(now.duration_since(since));
        }
    }

    /// CPU time of the guest and of the host functions it called. On a busy machine the guest may have been waiting
    /// for its turn, which must not count; where the thread is shared this cannot be told.
    fn cpu_since_start(&self) -> Duration {
        match self.placement {
            Placement::OwnThread => thread_cpu().saturating_sub(self.cpu_at_start),
            Placement::SharedWorker => Duration::MAX,
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        let total = self.memory.saturating_add(growth);
        if total > self.limits.memory_bytes.0 {
            self.refused_growth = Some(Breach::Memory);
            return Ok(false);
        }
        // Beyond its own maximum the memory will not grow, and nothing is charged.
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.memory = total;
            self.memory_peak = self.memory_peak.max(total);
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused_growth = Some(Breach::Memory);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        let total = self.table_elements.saturating_add(growth);
        if total > u64::from(self.limits.table_elements) {
            self.refused_growth = Some(Breach::Table);
            return Ok(false);
        }
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.table_elements = total;
        }
        Ok(true)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused_growth = Some(Breach::Table);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted as computing while guest code is said to run and the thread sleeps for this long, as it does
    /// where others have the processor.
    fn compute_of_a_thread_that_waits(placement: Placement, wait: Duration) -> Usage {
        let mut meter = Meter::start(Limits::default(), placement, Arc::default());
        meter.crossing(CallHook::CallingWasm).unwrap();
        std::thread::sleep(wait);
        meter.usage()
    }

    #[test]
    fn waiting_for_a_turn_is_no_computing_where_that_can_be_told() {
        let wait = Duration::from_millis(200);
        let own = compute_of_a_thread_that_waits(Placement::OwnThread, wait);
        assert!(own.wall >= wait && own.compute < wait / 2, "{own:?}");
        let shared = compute_of_a_thread_that_waits(Placement::SharedWorker, wait);
        assert!(shared.compute >= wait, "{shared:?}");
    }

    #[test]
    fn what_the_host_does_is_no_computing() {
        let mut meter = Meter::start(Limits::default(), Placement::OwnThread, Arc::default());
        meter.crossing(CallHook::CallingWasm).unwrap();
        meter.crossing(CallHook::CallingHost).unwrap();
        let begun = Instant::now();
        let mut spins = 0_u64;
        while begun.elapsed() < Duration::from_millis(100) {
            spins = std::hint::black_box(spins.wrapping_add(1));
        }
        meter.crossing(CallHook::ReturningFromHost).unwrap();
        let usage = meter.usage();
        assert!(usage.compute < Duration::from_millis(50), "{usage:?}");
    }
}
