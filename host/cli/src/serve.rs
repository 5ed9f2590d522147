//! `martello serve`: a `wasi:http` component, a fresh instance for each request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use martello_inference::NnState;
use martello_runtime::{HttpConfig, LoadError, serve};
use martello_vocab::ByteCount;

use crate::Output;
use crate::exec::local::{self, LimitArgs, REFUSED, SandboxArgs, SettingArgs};

/// Arguments of `martello serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The component file.
    file: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    /// How many connections are open at once.
    #[arg(long, value_name = "N", default_value_t = 256)]
    connections: usize,
    /// How many of them one peer may have: an IPv4 address, or a /64 network of IPv6. Default: a quarter of them. Behind a
    /// proxy all clients are one peer.
    #[arg(long, value_name = "N")]
    connections_of_peer: Option<usize>,
    /// How many requests are worked on at once.
    #[arg(long, value_name = "N", default_value_t = 128)]
    instances: u32,
    /// How many of them one peer may have. Default: half of them. Where others wait for an instance, a client that sends a
    /// body, or takes an answer, at less than 64 KiB a second, or pauses for a second, gives its own up (408); at any time,
    /// one below 1 KiB a second, or that pauses for 5 seconds, does.
    #[arg(long, value_name = "N")]
    instances_of_peer: Option<usize>,
    /// The largest request body, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    request_body: u64,
    /// How long a client may take for the head of a request, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    header_timeout: u64,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// Serves until it is interrupted or asked to end.
///
/// # Errors
/// When the component cannot be tried or the address cannot be had.
#[expect(clippy::needless_pass_by_value, reason = "a command owns its arguments, as all commands do")]
pub(crate) fn run(args: ServeArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let limits = args.limits.limits()?;
    let component = local::component(&args.file, &limits)?;
    let mut config = args.sandbox.config()?;
    config.guest_threads = 1;
    config.shared_instances = args.instances;
    let sandbox = local::sandbox(&config)?;
    let component = match sandbox.load_http(&component, &limits, local::grants()) {
        Ok(component) => {
            let most = args.instances_of_peer.unwrap_or_else(|| (args.instances as usize).div_ceil(2));
            component.with_settings(args.settings.settings()).with_instances_of_peer(most)
        }
        Err(error @ (LoadError::Imports { .. } | LoadError::TooMuchMemory { .. })) => {
            return Ok(out.failure(REFUSED, &error.to_string(), "use a component that asks for less"));
        }
        Err(error @ LoadError::WrongWorld { .. }) => {
            return Ok(out.failure(REFUSED, &error.to_string(), "`martello exec` runs wasi:cli components"));
        }
        Err(error) => return Err(error).context("loading the component"),
    };
    let config = HttpConfig {
        connections: args.connections,
        connections_of_peer: args.connections_of_peer.unwrap_or(args.connections.div_ceil(4)),
        header_timeout: Duration::from_millis(args.header_timeout),
        request_bytes: ByteCount::mebibytes(args.request_body),
        ..HttpConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.addr)
            .await
            .with_context(|| format!("listening on {}", args.addr))?;
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        out.note(&format!("serving on http://{}", listener.local_addr()?));
        serve(listener, component, config, NnState::default, async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
        Ok(ExitCode::SUCCESS)
    })
}
