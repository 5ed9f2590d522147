//! `wasi:logging`: the standard way into the log of an instance.

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use crate::guest::Guest;
use crate::log::LogLevel;
use bindings::wasi::logging::logging::Level;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasi-logging",
        world: "wasi:logging/imports",
        imports: { default: trappable },
    });
}

/// Lines join those of `martello:pipeline/log` and the standard streams: one budget, one cut, one order.
pub(crate) fn link<S: Send + 'static>(linker: &mut Linker<Guest<S>>) -> Result<()> {
    let mut logging = linker.instance("wasi:logging/logging@0.1.0-draft")?;
    logging.func_wrap(
        "log",
        |store: StoreContextMut<'_, Guest<S>>, (level, context, message): (Level, String, String)| {
            store.data().log.line_within(log_level(level), &context, &message);
            Ok(())
        },
    )
}

const fn log_level(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        // The device's log knows nothing graver: whoever is told to act on errors is told of this.
        Level::Error | Level::Critical => LogLevel::Error,
    }
}
