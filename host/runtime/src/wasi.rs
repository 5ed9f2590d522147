//! Links WASI 0.2, no more of it than is granted.

use wasmtime::component::Linker;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random, sockets};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_config::WasiConfig;

use crate::guest::Guest;
use crate::imports::{ImportGrant, ImportGrants};
use crate::logging;

pub(crate) fn link<S: Send + 'static>(
    linker: &mut Linker<Guest<S>>,
    grants: &ImportGrants,
) -> wasmtime::Result<()> {
    link_baseline(linker)?;
    if grants.granted.contains(&ImportGrant::Filesystem) {
        filesystem::types::add_to_linker::<Guest<S>, WasiFilesystem>(linker, Guest::filesystem)?;
        filesystem::preopens::add_to_linker::<Guest<S>, WasiFilesystem>(linker, Guest::filesystem)?;
    }
    if grants.granted.contains(&ImportGrant::Sockets) {
        link_sockets(linker)?;
    }
    if grants.granted.contains(&ImportGrant::Http) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    }
    if grants.granted.contains(&ImportGrant::Config) {
        wasmtime_wasi_config::add_to_linker(linker, |guest| WasiConfig::from(guest.config()))?;
    }
    if grants.granted.contains(&ImportGrant::Logging) {
        logging::link(linker)?;
    }
    Ok(())
}

fn link_baseline<S: Send + 'static>(l: &mut Linker<Guest<S>>) -> wasmtime::Result<()> {
    // Streams, polls, clocks, randomness and the standard streams.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
    random::insecure::add_to_linker::<Guest<S>, WasiRandom>(l, |guest| guest.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<Guest<S>, WasiRandom>(l, |guest| guest.ctx().ctx.random())?;
    cli::exit::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)?;
    cli::environment::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest<S>, WasiCli>(l, Guest::cli)
}

fn link_sockets<S: Send + 'static>(l: &mut Linker<Guest<S>>) -> wasmtime::Result<()> {
    sockets::tcp::add_to_linker::<Guest<S>, WasiSockets>(l, Guest::sockets)?;
    sockets::udp::add_to_linker::<Guest<S>, WasiSockets>(l, Guest::sockets)?;
    sockets::udp_create_socket::add_to_linker::<Guest<S>, WasiSockets>(l, Guest::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Guest<S>, WasiSockets>(l, Guest::sockets)?;
    sockets::instance_network::add_to_linker::<Guest<S>, WasiSockets>(l, Guest::sockets)?;
    sockets::network::add_to_linker::<Guest<S>, WasiSockets>(
        l,
        &sockets::network::LinkOptions::default(),
        Guest::sockets,
    )?;
    sockets::ip_name_lookup::add_to_linker::<Guest<S>, WasiSockets>(l, Guest::sockets)
}
