//! Guests' lines in the local log: bounded in length and in sum, whatever way they come.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use martello_vocab::ByteCount;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line, in bytes (`martello:pipeline/log`).
pub const LONGEST_LINE: usize = 4 << 10;

/// What a line costs beside its own bytes: about what stands around it in the log (time, level, target, the id of the
/// job). Without it a guest that writes lines of one byte would fill the log with some hundred times its budget.
pub const LINE_OVERHEAD: u64 = 192;

/// What a guest may put into a standard stream at once.
const STREAM_PERMIT: usize = 64 << 10;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Where guests' lines go.
pub trait GuestLog: Send + Sync + 'static {
    /// Takes a line of at most [`LONGEST_LINE`] bytes. Control characters are gone.
    fn line(&self, level: LogLevel, line: &str);
}

/// Writes guests' lines to the log of the process, with the id of what the guest works on, at the level that the guest
/// chose: for programs whose lines are for whoever started them. A guest that works on patients' files gets a
/// [`StageLog`].
#[derive(Debug, Clone)]
pub struct TracingLog {
    /// The id of the job, for every line.
    pub trace: String,
}

impl GuestLog for TracingLog {
    fn line(&self, level: LogLevel, line: &str) {
        let trace = self.trace.as_str();
        outside_of_spans(|| match level {
            LogLevel::Trace => tracing::trace!(target: "guest", trace, line, "guest says"),
            LogLevel::Debug => tracing::debug!(target: "guest", trace, line, "guest says"),
            LogLevel::Info => tracing::info!(target: "guest", trace, line, "guest says"),
            LogLevel::Warn => tracing::warn!(target: "guest", trace, line, "guest says"),
            LogLevel::Error => tracing::error!(target: "guest", trace, line, "guest says"),
        });
    }
}

/// Writes the lines of one instance that works on a patient's file to the log of the process.
///
/// The words come at `debug`, whatever level the guest gives them: nobody can promise that they hold no value of the
/// file. At its own level stands that the guest logged, once for each.
#[derive(Debug)]
pub struct StageLog {
    trace: String,
    /// The levels at which it was told already, a bit each.
    told: AtomicU8,
}

impl StageLog {
    /// `trace` is the id of the job, for every line.
    pub fn new(trace: &str) -> Self {
        Self { trace: trace.to_owned(), told: AtomicU8::new(0) }
    }
}

impl GuestLog for StageLog {
    fn line(&self, level: LogLevel, line: &str) {
        let trace = self.trace.as_str();
        let bit = 1_u8 << (level as u8);
        if self.told.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            match level {
                LogLevel::Trace | LogLevel::Debug => {}
                LogLevel::Info => tracing::info!(trace, "a stage logged; its words come at debug"),
                LogLevel::Warn => tracing::warn!(trace, "a stage logged; its words come at debug"),
                LogLevel::Error => tracing::error!(trace, "a stage logged; its words come at debug"),
            }
        }
        outside_of_spans(|| match level {
            LogLevel::Trace => tracing::trace!(target: "guest", trace, line, "guest says"),
            LogLevel::Debug => tracing::debug!(target: "guest", trace, line, "guest says"),
            graver => tracing::debug!(target: "guest", trace, ?graver, line, "guest says"),
        });
    }
}

/// Logs a line as if the thread stood in no span: guests' lines carry their id themselves, and what a span adds to each
/// is not in [`LINE_OVERHEAD`].
fn outside_of_spans(log: impl FnOnce()) {
    let span = tracing::Span::current();
    span.with_subscriber(|(id, subscriber)| subscriber.exit(id));
    log();
    span.with_subscriber(|(id, subscriber)| subscriber.enter(id));
}

/// The log of one instance with its budget.
#[derive(Clone)]
pub(crate) struct BudgetedLog(Arc<Mutex<State>>);

struct State {
    sink: Arc<dyn GuestLog>,
    budget: u64,
    kept: u64,
    dropped: u64,
    standard_error: LogLevel,
    /// Unfinished lines of standard output and standard error.
    partial: [Vec<u8>; 2],
}

impl BudgetedLog {
    /// `standard_error` is the level of what the guest writes there. A panic's text stands among it, which may hold
    /// values of the payload: a guest that works on patients' files has it shown to whoever asks for detail alone.
    pub(crate) fn new(sink: Arc<dyn GuestLog>, budget: ByteCount, standard_error: LogLevel) -> Self {
        Self(Arc::new(Mutex::new(State {
            sink,
            budget: budget.0,
            kept: 0,
            dropped: 0,
            standard_error,
            partial: [Vec::new(), Vec::new()],
        })))
    }

    pub(crate) fn line(&self, level: LogLevel, line: &str) {
        self.state().line(level, line);
    }

    /// A line with the name of what it belongs to before it.
    pub(crate) fn line_within(&self, level: LogLevel, context: &str, message: &str) {
        if context.is_empty() {
            return self.line(level, message);
        }
        // Cut first: a guest must not have megabytes copied for the sake of one line.
        self.line(level, &format!("{}: {}", cut(context), cut(message)));
    }

    /// Writes out unfinished lines. Returns the bytes kept, with what stands around each line, and the number of lines
    /// dropped.
    pub(crate) fn finish(&self) -> (ByteCount, u64) {
        let mut state = self.state();
        for stream in [Stream::Output, Stream::Error] {
            state.end_line(stream);
        }
        (ByteCount(state.kept), state.dropped)
    }

    pub(crate) fn stream(&self, stream: Stream) -> LogStream {
        LogStream { log: self.clone(), stream }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn line(&mut self, level: LogLevel, line: &str) {
        let line = cut(line);
        // An empty line says nothing and costs nothing, so that there would be no end to them.
        if line.is_empty() {
            return;
        }
        let after = self.kept.saturating_add(LINE_OVERHEAD).saturating_add(line.len() as u64);
        if after > self.budget {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.kept = after;
        if line.chars().any(char::is_control) {
            let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.sink.line(level, &clean);
        } else {
            self.sink.line(level, line);
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let [output, error] = &mut self.partial;
        let partial = match stream {
            Stream::Output => std::mem::take(output),
            Stream::Error => std::mem::take(error),
        };
        if !partial.is_empty() {
            let level = match stream {
                Stream::Output => LogLevel::Info,
                Stream::Error => self.standard_error,
            };
            self.line(level, &String::from_utf8_lossy(&partial));
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for (index, part) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if index > 0 {
                self.end_line(stream);
            }
            let [output, error] = &mut self.partial;
            let partial = match stream {
                Stream::Output => output,
                Stream::Error => error,
            };
            let room = LONGEST_LINE.saturating_sub(partial.len());
            partial.extend_from_slice(part.get(..room).unwrap_or(part));
        }
    }
}

/// The longest beginning that is a line's length at most and whole characters.
fn cut(line: &str) -> &str {
    line.get(..line.floor_char_boundary(LONGEST_LINE)).unwrap_or(line)
}

impl fmt::Debug for BudgetedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BudgetedLog").finish_non_exhaustive()
    }
}

/// One of a program's standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// A standard stream that ends in the log.
#[derive(Debug, Clone)]
pub(crate) struct LogStream {
    log: BudgetedLog,
    stream: Stream,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.state().write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(STREAM_PERMIT)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.log.state().write(self.stream, bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<String>>);

    impl GuestLog for Recorded {
        fn line(&self, _: LogLevel, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    fn log(budget: u64) -> (Arc<Recorded>, BudgetedLog) {
        let recorded = Arc::new(Recorded::default());
        (Arc::clone(&recorded), BudgetedLog::new(recorded, ByteCount(budget), LogLevel::Debug))
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let (recorded, log) = log(1 << 20);
        log.line(LogLevel::Info, &format!("x{}", "é".repeat(LONGEST_LINE)));
        let line = recorded.0.lock().unwrap()[0].clone();
        assert_eq!(line.len(), LONGEST_LINE - 1);
    }

    #[test]
    fn lines_beyond_the_budget_are_dropped_and_counted() {
        let (recorded, log) = log(2 * (5 + LINE_OVERHEAD));
        for _ in 0..4 {
            log.line(LogLevel::Info, "12345");
        }
        assert_eq!(recorded.0.lock().unwrap().len(), 2);
        assert_eq!(log.finish(), (ByteCount(2 * (5 + LINE_OVERHEAD)), 2));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a log of this level holds of what is done inside a span.
    fn logged(level: tracing::Level, job: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines =
            tracing_subscriber::fmt().json().with_max_level(level).with_writer(move || writer.clone());
        tracing::subscriber::with_default(lines.finish(), || {
            tracing::info_span!("input", id = 7).in_scope(job);
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Counts what the host's own formats make of the lines.
    #[test]
    fn a_budget_of_lines_of_one_byte_is_hardly_more_in_the_log_than_the_budget() {
        let budget = 64 << 10;
        let trace = "0123456789abcdef0123456789abcdef";
        let sinks: [Arc<dyn GuestLog>; 2] =
            [Arc::new(TracingLog { trace: trace.to_owned() }), Arc::new(StageLog::new(trace))];
        for sink in sinks {
            let text = logged(tracing::Level::TRACE, || {
                let log = BudgetedLog::new(sink, ByteCount(budget), LogLevel::Debug);
                for _ in 0..budget {
                    log.line(LogLevel::Error, "x");
                }
                assert!(log.finish().1 > budget / 2);
            });
            let bytes = text.len() as u64;
            assert!(bytes > budget / 2 && bytes <= budget, "{bytes}");
        }
    }

    #[test]
    fn the_words_of_a_stage_are_for_those_who_ask_for_detail_and_that_it_logged_is_told_once_at_its_level() {
        let say = || {
            let log = StageLog::new("job-7");
            for level in [LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
                log.line(level, "Doe^John");
                log.line(level, "Doe^John");
            }
        };
        let shown = logged(tracing::Level::INFO, say);
        assert!(!shown.contains("Doe"), "{shown}");
        assert_eq!(shown.matches("job-7").count(), 3, "{shown}");
        for level in ["INFO", "WARN", "ERROR"] {
            assert_eq!(shown.matches(&format!("\"level\":\"{level}\"")).count(), 1, "{shown}");
        }
        let all = logged(tracing::Level::DEBUG, say);
        assert_eq!(all.matches("Doe^John").count(), 6, "{all}");
    }

    #[test]
    fn empty_lines_which_cost_nothing_are_left_out() {
        let (recorded, log) = log(10);
        log.line(LogLevel::Info, "");
        log.line_within(LogLevel::Info, "", "");
        assert!(recorded.0.lock().unwrap().is_empty());
        assert_eq!(log.finish(), (ByteCount(0), 0));
    }

    #[test]
    fn a_context_stands_before_its_line_and_counts_and_is_cut_with_it() {
        let (recorded, log) = log(LONGEST_LINE as u64 + 11 + 2 * LINE_OVERHEAD);
        log.line_within(LogLevel::Info, "store", "o\npen");
        log.line_within(LogLevel::Info, &"c".repeat(10 << 20), &"m".repeat(10 << 20));
        let lines = recorded.0.lock().unwrap();
        assert_eq!(lines[0], "store: o pen");
        assert_eq!(lines.len(), 1, "the second is one byte too long for what is left");
        assert_eq!(log.finish(), (ByteCount(12 + LINE_OVERHEAD), 1));
    }

    #[test]
    fn standard_streams_come_line_by_line_and_without_control_characters() {
        let (recorded, log) = log(1 << 20);
        let mut out = log.stream(Stream::Output);
        OutputStream::write(&mut out, Bytes::from_static(b"one\ntw")).unwrap();
        OutputStream::write(&mut out, Bytes::from_static(b"o\x1b[2J\nrest")).unwrap();
        log.finish();
        assert_eq!(*recorded.0.lock().unwrap(), ["one", "two [2J", "rest"]);
    }

    #[test]
    fn a_line_without_an_end_does_not_grow_without_bound() {
        let (_recorded, log) = log(1 << 20);
        let mut out = log.stream(Stream::Error);
        for _ in 0..1000 {
            OutputStream::write(&mut out, Bytes::from(vec![b'x'; 1 << 10])).unwrap();
        }
        assert!(log.state().partial[1].len() <= LONGEST_LINE);
    }
}
