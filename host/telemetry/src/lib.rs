//! Seen from inside: structured logs on standard error, and a trace file in which one input's way through the stages
//! can be looked at.
//!
//! The crates below write events and spans with `tracing` and know nothing of where they go; a program calls
//! [`start`] once. Identity and pixels never enter a field: types that hold them print a placeholder.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use tracing_chrome::{ChromeLayerBuilder, FlushGuard, TraceStyle};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// What holds where the configured filter says nothing else; there, a later directive of the same target wins. tract warns
/// of every operator set that it was not tested with: our golden vectors and the capability list say what holds.
const DEFAULT: &str = "warn,tract_onnx=error,tract_hir=error,tract_core=error";

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where logs and traces go.
#[derive(Debug, Clone, Default)]
pub struct TelemetryConfig {
    /// The form of log lines on standard error.
    pub log_format: LogFormat,
    /// Which lines are written, in the directives of `tracing_subscriber::filter::Targets`, for example `info` or
    /// `warn,martello_runtime=debug`. Empty stands for `warn`.
    pub log_filter: String,
    /// A file for spans in the Chrome trace event format, to be opened in Perfetto or `chrome://tracing`.
    pub trace_file: Option<PathBuf>,
}

/// Telemetry at work. Dropping it completes the trace file.
#[must_use = "the trace file is complete only when this is dropped"]
#[derive(Default)]
pub struct Telemetry {
    _trace: Option<FlushGuard>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

/// Telemetry cannot start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TelemetryError {
    #[error("reading the log filter `{filter}`")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error(
        "reading the log filter `{filter}`: it takes levels and targets (`warn,martello_runtime=debug`), no spans"
    )]
    SpanFilter { filter: String },
    #[error("creating the trace file `{path}`")]
    TraceFile { path: PathBuf, source: io::Error },
    #[error("telemetry was started before")]
    Started,
}

/// Starts logs and traces for this process.
///
/// # Errors
/// The filter cannot be read, the trace file cannot be created, or telemetry was started before.
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter = filter(&config.log_filter)?;
    let lines = match config.log_format {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(io::stderr).boxed(),
    };
    let (trace, guard) = match &config.trace_file {
        None => (None, None),
        Some(path) => {
            let file = File::create(path)
                .map_err(|source| TelemetryError::TraceFile { path: path.clone(), source })?;
            let (layer, guard) = ChromeLayerBuilder::new()
                .writer(io::BufWriter::new(file))
                .include_args(true)
                .include_locations(false)
                .trace_style(TraceStyle::Async)
                .build();
            // Spans down to INFO make the way of an input; what lies below is for the log.
            (Some(layer.with_filter(LevelFilter::INFO)), Some(guard))
        }
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(trace)
        .try_init()
        .map_err(|_already| TelemetryError::Started)?;
    std::panic::set_hook(Box::new(tell_of_panic));
    Ok(Telemetry { _trace: guard })
}

fn filter(configured: &str) -> Result<Targets, TelemetryError> {
    // Spans would be taken for targets of strange names, and silence what was asked for.
    if configured.contains(['[', '{']) {
        return Err(TelemetryError::SpanFilter { filter: configured.to_owned() });
    }
    // An empty directive would stand for `error`.
    let directives: Vec<&str> =
        DEFAULT.split(',').chain(configured.split(',')).map(str::trim).filter(|it| !it.is_empty()).collect();
    directives
        .join(",")
        .parse()
        .map_err(|source| TelemetryError::Filter { filter: configured.to_owned(), source })
}

/// Panics go to the log, with their place and without their message: it may hold values out of a patient's file. The
/// host catches the panics of backends and goes on, so this is no last word.
fn tell_of_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(place, thread = thread.name().unwrap_or("unnamed"), "panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_unless_a_filter_says_otherwise() {
        for (configured, told) in
            [("", "warn"), ("martello_runtime=debug", "warn"), ("error", "error"), (" info , ,", "info")]
        {
            assert_eq!(
                filter(configured).unwrap().default_level().unwrap().to_string(),
                told,
                "{configured}"
            );
        }
        assert!(
            filter("martello_runtime=debug")
                .unwrap()
                .would_enable("martello_runtime", &tracing::Level::DEBUG)
        );
        assert!(!filter("").unwrap().would_enable("tract_core::model", &tracing::Level::WARN));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_and_none_is_half_read() {
        assert!(matches!(filter("warn,[stage]=debug"), Err(TelemetryError::SpanFilter { .. })));
        assert!(matches!(filter("martello_runtime=loud"), Err(TelemetryError::Filter { .. })));
    }
}
