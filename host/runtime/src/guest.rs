//! What the host keeps for one instance.

use std::time::Instant;

use martello_vocab::{ByteCount, Limits};
use wasmtime::component::ResourceTable;
use wasmtime::{CallHook, Engine, Store, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::http::NoEgress;
use crate::log::BudgetedLog;
use crate::meter::{Meter, Placement, Usage};
use crate::stage::StageState;

/// Handles (streams, payloads, sinks, pollables) that an instance may hold at once.
const MOST_HANDLES: usize = 4096;

/// The most that a single host call may copy out of the guest beside tensors and sinks, which do not go through it.
const HOSTCALL_BYTES: usize = 16 << 20;

/// Bytes of header fields of one HTTP message.
const HTTP_FIELD_BYTES: usize = 64 << 10;

/// The store data of an instance. `S` is the state of the [`Extension`](crate::Extension).
pub struct Guest<S> {
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    pub(crate) egress: NoEgress,
    pub(crate) meter: Meter,
    pub(crate) log: BudgetedLog,
    pub(crate) stage: StageState,
    /// The settings as `wasi:config` wants them; none until the guest asks.
    config: Option<WasiConfigVariables>,
    extension: S,
}

impl<S: Send + 'static> Guest<S> {
    pub(crate) fn new(
        wasi: WasiCtx,
        meter: Meter,
        log: BudgetedLog,
        stage: StageState,
        extension: S,
    ) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HTTP_FIELD_BYTES);
        Self { table, wasi, http, egress: NoEgress, meter, log, stage, config: None, extension }
    }

    /// The settings of this instance.
    pub(crate) fn config(&mut self) -> &WasiConfigVariables {
        let settings = &self.stage.settings;
        self.config.get_or_insert_with(|| {
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
        })
    }

    /// The extension's state of this instance.
    pub fn extension(&mut self) -> &mut S {
        &mut self.extension
    }

    /// What this instance may use.
    pub const fn limits(&self) -> &Limits {
        self.meter.limits()
    }

    /// When the call ends, come what may.
    pub const fn deadline(&self) -> Instant {
        self.meter.deadline()
    }

    /// Puts it into a store whose every exit is watched.
    pub(crate) fn into_store(self, engine: &Engine, placement: Placement) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|guest| &mut guest.meter);
        store.call_hook(|mut store, hook: CallHook| Ok(store.data_mut().meter.crossing(hook)?));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |mut store| {
            store.data_mut().meter.tick()?;
            Ok(match placement {
                Placement::OwnThread => UpdateDeadline::Continue(1),
                Placement::SharedWorker => UpdateDeadline::Yield(1),
            })
        });
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store
    }

    /// What has been used, the log included. Unfinished log lines are written out.
    pub(crate) fn usage(&mut self) -> Usage {
        let (log, log_lines_dropped): (ByteCount, u64) = self.log.finish();
        Usage { log, log_lines_dropped, ..self.meter.usage() }
    }
}

impl<S: Send + 'static> WasiView for Guest<S> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl<S: Send + 'static> WasiHttpView for Guest<S> {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}
