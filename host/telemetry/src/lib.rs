//! Seen from inside: structured logs on standard error, and a trace file in which one input's way through the stages
//! can be looked at.
//!
//! The crates below write events and spans with `tracing` and know nothing of where they go; a program calls
//! [`start`] once. Identity and pixels never enter a field: types that hold them print a placeholder.

mod printable;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::str::FromStr;

use tracing_chrome::{ChromeLayerBuilder, FlushGuard, TraceStyle};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use printable::Lines;
pub use printable::{Layout, printable};

/// What holds where the configured filter says nothing else; there, a later directive of the same target wins. tract warns
/// of every operator set that it was not tested with: our golden vectors and the capability list say what holds.
const DEFAULT: &str = "warn,tract_onnx=error,tract_hir=error,tract_core=error";

/// The target of what guests say.
const GUESTS: &str = "guest";

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
    /// Which lines are written to standard error.
    pub log_filter: LogFilter,
    /// A file for spans in the Chrome trace event format, to be opened in Perfetto or `chrome://tracing`.
    pub trace_file: Option<PathBuf>,
}

/// Which log lines are written: the directives of `tracing_subscriber::filter::Targets`, for example `info` or
/// `warn,martello_runtime=debug`. Empty stands for `warn`.
#[derive(Debug, Clone)]
pub struct LogFilter(Targets);

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(configured: &str) -> Result<Self, LogFilterError> {
        // Spans would be taken for targets of strange names, and silence what was asked for.
        if configured.contains(['[', '{']) {
            return Err(LogFilterError::Spans);
        }
        // An empty directive would stand for `error`.
        let directives: Vec<&str> = DEFAULT
            .split(',')
            .chain(configured.split(','))
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .collect();
        directives.join(",").parse().map(Self).map_err(LogFilterError::Directive)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        "".parse().unwrap_or(Self(Targets::new().with_default(LevelFilter::WARN)))
    }
}

/// A text is no [`LogFilter`].
#[derive(Debug, thiserror::Error)]
pub enum LogFilterError {
    /// It is none of levels and targets.
    #[error("reading a log filter: it takes levels and targets, as in `warn,martello_runtime=debug`")]
    Directive(#[source] tracing_subscriber::filter::ParseError),
    /// It names spans.
    #[error(
        "reading a log filter: it takes levels and targets, as in `warn,martello_runtime=debug`, and no spans"
    )]
    Spans,
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
    #[error("creating the trace file `{path}`")]
    TraceFile { path: PathBuf, source: io::Error },
    #[error("telemetry was started before")]
    Started,
}

/// Starts logs and traces for this process.
///
/// # Errors
/// The trace file cannot be created, or telemetry was started before.
pub fn start(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = match config.log_format {
        LogFormat::Text => fmt::layer()
            .with_writer(move || Lines { inner: io::stderr(), colours })
            .with_ansi(colours)
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(io::stderr).boxed(),
    };
    let (trace, guard) = match &config.trace_file {
        None => (None, None),
        Some(path) => {
            let file = File::create(path)
                .map_err(|source| TelemetryError::TraceFile { path: path.clone(), source })?;
            let (layer, guard) = traces(io::BufWriter::new(file));
            (Some(layer), Some(guard))
        }
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(config.log_filter.0.clone()))
        .with(trace)
        .try_init()
        .map_err(|_already| TelemetryError::Started)?;
    std::panic::set_hook(Box::new(tell_of_panic));
    Ok(Telemetry { _trace: guard })
}

/// The layer that writes the trace file. Spans and events down to INFO make the way of an input; what lies below is for
/// the log, and so is what guests say, at whatever level: the file is handed around.
fn traces<S>(writer: impl io::Write + Send + 'static) -> (impl Layer<S>, FlushGuard)
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let (layer, guard) = ChromeLayerBuilder::new()
        .writer(writer)
        .include_args(true)
        .include_locations(false)
        .trace_style(TraceStyle::Async)
        .build();
    let filter = Targets::new().with_default(LevelFilter::INFO).with_target(GUESTS, LevelFilter::OFF);
    (layer.with_filter(filter), guard)
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

    fn filter(configured: &str) -> Result<Targets, LogFilterError> {
        configured.parse().map(|LogFilter(targets)| targets)
    }

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
        assert_eq!(LogFilter::default().0, filter("").unwrap());
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_and_none_is_half_read() {
        assert!(matches!(filter("warn,[stage]=debug"), Err(LogFilterError::Spans)));
        assert!(matches!(filter("martello_runtime=loud"), Err(LogFilterError::Directive(_))));
    }

    #[test]
    fn the_trace_file_holds_the_way_of_an_input_and_nothing_that_guests_say() {
        let file = std::env::temp_dir().join(format!("martello-traces-{}", std::process::id()));
        let (layer, guard) = traces(File::create(&file).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info_span!("input", id = "7").in_scope(|| {
                tracing::warn!("a stage was stopped");
                tracing::error!(target: "guest", line = "Doe^John", "guest says");
            });
        });
        drop(guard);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(text.contains("input") && text.contains("a stage was stopped"), "{text}");
        assert!(!text.contains("Doe") && !text.contains("guest says"), "{text}");
    }
}
