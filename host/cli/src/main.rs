//! `martello`: packs, signs, verifies and runs bundles on this machine.
//!
//! Each command is a module: arguments, what it does, what it prints. Exit codes stand in [`output::exit`] and in
//! the README; errors end with one line of what happened and one of what to do.

mod bundle;
mod deliver;
mod demo;
mod exec;
mod explain;
mod infer;
mod keys;
mod mistaken;
mod new;
mod output;
mod places;
mod read;
mod receive;
mod refusal;
mod run;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use martello_inference::{CHECK_COMMAND, answer_check};
use martello_telemetry::{LogFilter, LogFormat, TelemetryConfig};

pub(crate) use output::{Format, Output};

/// Runs signed WebAssembly components on this device.
#[derive(Debug, Parser)]
#[command(name = "martello", version, about, max_term_width = 110)]
struct Cli {
    /// The form of the result.
    #[arg(long, global = true, value_enum, default_value = "text", env = "MARTELLO_FORMAT")]
    format: Format,
    /// Leave out progress and remarks.
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Which log lines are written to standard error, for example `info` or `warn,martello_runtime=debug`. Default: `warn`;
    /// for `demo`, which shows things that are warned of, `error`.
    #[arg(long, global = true, value_name = "FILTER", env = "MARTELLO_LOG", value_parser = log_filter)]
    log: Option<LogFilter>,
    /// The form of log lines.
    #[arg(long, global = true, value_enum, default_value = "text", env = "MARTELLO_LOG_FORMAT")]
    log_format: LogForm,
    /// Write spans to this file in the Chrome trace format, to be opened in Perfetto.
    #[arg(long, global = true, value_name = "FILE")]
    trace_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogForm {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a bundle over a folder of files.
    Run(Box<run::RunArgs>),
    /// Show everything once: keys, packing, signing, running, a tampered bundle and a runaway guest.
    Demo(demo::DemoArgs),
    /// Pack, sign, verify and inspect bundles.
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Make and look at signing keys and trust roots.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Try an ONNX model through a sandboxed guest and wasi:nn.
    Infer(infer::InferArgs),
    /// Serve a wasi:http component.
    Serve(serve::ServeArgs),
    /// Run a wasi:cli component.
    Exec(exec::ExecArgs),
    /// Begin a new component.
    New(new::NewArgs),
    /// Say what a reason code means and what to do.
    Explain(explain::ExplainArgs),
}

impl Cli {
    /// What is asked for, else what fits the command: a step of the demo says itself what was refused or stopped in it, and the
    /// same once more as a warning, between two steps, looks like a failure.
    fn log_filter(&self) -> anyhow::Result<LogFilter> {
        match (&self.log, &self.command) {
            (Some(filter), _) => Ok(filter.clone()),
            (None, Command::Demo(_)) => log_filter("error"),
            (None, _) => Ok(LogFilter::default()),
        }
    }
}

/// Read where the command line is, so that a wrong filter ends as every other wrong argument does.
fn log_filter(text: &str) -> anyhow::Result<LogFilter> {
    Ok(text.parse()?)
}

fn main() -> ExitCode {
    // A model is tried out in a child of this program, which is nothing else.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == CHECK_COMMAND) {
        return answer_check();
    }
    let cli = Cli::parse();
    survive_file_limit();
    let output = Output { format: cli.format, quiet: cli.quiet };
    let telemetry = cli.log_filter().and_then(|log_filter| {
        let log_format = match cli.log_format {
            LogForm::Text => LogFormat::Text,
            LogForm::Json => LogFormat::Json,
        };
        let trace_file = cli.trace_file.clone();
        Ok(martello_telemetry::start(&TelemetryConfig { log_format, log_filter, trace_file })?)
    });
    let result = match telemetry {
        Err(error) => Err(error),
        // The guard lives until the command has ended, so that the trace file is whole.
        Ok(_telemetry) => match cli.command {
            Command::Run(args) => run::run(&args, &output),
            Command::Demo(args) => demo::run(&args, &output),
            Command::Bundle(command) => bundle::run(command, &output),
            Command::Keys(command) => keys::run(command, &output),
            Command::Infer(args) => infer::run(args, &output),
            Command::Serve(args) => serve::run(args, &output),
            Command::Exec(args) => exec::run(args, &output),
            Command::New(args) => new::run(args, &output),
            Command::Explain(args) => explain::run(&args, &output),
        },
    };
    result.unwrap_or_else(|error| {
        output.failure(output::exit::FAILURE, &format!("{error:#}"), &output::next_step(&error))
    })
}

/// Lets a write beyond the limit on the size of files (`ulimit -f`) fail with an error that is told, where the signal
/// would end the process in the middle of its work. A handler once registered stays for the life of the process, and
/// children start without it.
fn survive_file_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    let exceeded = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    // Where it cannot be registered, all is as it would be without it.
    let _ = runtime.and_then(|runtime| runtime.block_on(async { signal(exceeded).map(drop) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_warns_of_nothing_unless_it_is_asked_to() {
        let filter = |arguments: &[&str]| {
            let cli = Cli::try_parse_from([&["martello"], arguments].concat()).unwrap();
            format!("{:?}", cli.log_filter().unwrap())
        };
        let of = |text: &str| format!("{:?}", log_filter(text).unwrap());
        assert_eq!(filter(&["demo"]), of("error"));
        assert_eq!(filter(&["demo", "--log", "warn"]), of("warn"));
        assert_eq!(filter(&["explain"]), of(""));
        assert_ne!(of("error"), of(""));
    }
}
