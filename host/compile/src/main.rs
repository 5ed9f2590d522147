//! `martello-compile`: native code out of a WebAssembly component, in a process that can do nothing else.
//!
//! Standard input is the component, standard output the native code, and the two arguments are the most address space
//! in bytes and the most CPU time in seconds. Before it reads a byte it gives up what it does not need: privileges
//! to gain, descriptors to open, cores to dump. This is the only program with a compiler in it; hosts start it as a
//! child (`martello-runtime`), and its engine is described there, so that what it makes fits.

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, Signal};

/// Descriptors that may be open: the three standard streams.
const DESCRIPTORS: u64 = 3;

/// The largest output.
const OUTPUT_BYTES: u64 = 1 << 30;

/// How much is left to others: compiling is never urgent.
const NICENESS: i32 = 10;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (memory, seconds) = arguments()?;
    // Counting the cores reads files, so it comes before files are out of reach.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    confine(memory, seconds).context("giving up what is not needed")?;
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).context("reading the component")?;
    let mut config = martello_runtime::engine_config();
    config.parallel_compilation(threads > 1);
    let engine =
        wasmtime::Engine::new(&config).map_err(anyhow::Error::from).context("starting the compiler")?;
    let native =
        engine.precompile_component(&wasm).map_err(anyhow::Error::from).context("compiling the component")?;
    let mut output = std::io::stdout().lock();
    output.write_all(&native).and_then(|()| output.flush()).context("writing native code")
}

fn arguments() -> anyhow::Result<(u64, u64)> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(memory), Some(seconds), None) => Ok((
            memory.parse().context("reading the most address space in bytes")?,
            seconds.parse().context("reading the most CPU time in seconds")?,
        )),
        _ => bail!("usage: martello-compile ADDRESS_SPACE_BYTES CPU_SECONDS <component.wasm >native.cwasm"),
    }
}

fn confine(memory: u64, seconds: u64) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    let limits = [
        (Resource::As, memory),
        (Resource::Cpu, seconds),
        (Resource::Core, 0),
        (Resource::Fsize, OUTPUT_BYTES),
        (Resource::Nofile, DESCRIPTORS),
    ];
    for (resource, most) in limits {
        let inherited = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let most = Some(most.min(inherited));
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    rustix::process::nice(NICENESS)?;
    Ok(())
}
