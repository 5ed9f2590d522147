//! The `wasi:cli/command` world: a program that runs once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use martello_trust::{Blob, Trusted};
use martello_vocab::{Code, Limits, Name, code};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx};

use crate::guest::Guest;
use crate::imports::{ImportGrant, ImportGrants};
use crate::log::{BudgetedLog, LogLevel, TracingLog};
use crate::meter::{Abandonment, Breach, Meter, Placement, Usage};
use crate::runtime::{Extension, LoadError, Runtime, Shared};
use crate::stage::{StageState, root_causes, trap_code};

/// The export that makes a component a program, of whatever 0.2 version.
const EXPORT: &str = "wasi:cli/run";

/// A program, ready to be instantiated.
pub struct CommandComponent<X: Extension> {
    shared: Arc<Shared<X>>,
    pre: CommandPre<Guest<X::State>>,
    limits: Limits,
}

/// A folder that a program may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderGrant {
    /// The folder on this device.
    pub host: PathBuf,
    /// The name by which the program knows it.
    pub guest: String,
    /// What it may do there.
    pub access: FolderAccess,
}

/// What a program may do in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderAccess {
    /// Read files and list folders.
    Read,
    /// Change them too.
    ReadWrite,
}

/// One run of a program.
#[derive(Debug, Clone, Default)]
pub struct CommandCall<S> {
    /// The arguments, the program's own name first.
    pub arguments: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Its settings (`wasi:config`).
    pub settings: BTreeMap<Name, String>,
    /// The folders it may reach.
    pub folders: Vec<FolderGrant>,
    /// The extension's state.
    pub state: S,
}

/// How a program ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReport {
    /// Its exit code.
    pub exit: u8,
    /// What it used.
    pub usage: Usage,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandFailure {
    /// A granted folder cannot be opened.
    #[error("opening folder {folder} for the program")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: wasmtime::Error,
    },
    /// It trapped or ran into a limit.
    #[error("program stopped with `{code}`")]
    Stopped {
        /// The limit, or the trap.
        code: Code,
        /// Why, for the local log and for whoever started it.
        detail: String,
        /// The guest's functions at a trap, innermost first.
        backtrace: Option<String>,
        /// What it used until then.
        usage: Box<Usage>,
    },
}

impl<X: Extension> Runtime<X> {
    /// Makes a program of a component. As [`Runtime::load`], but for the world `wasi:cli/command`.
    ///
    /// # Errors
    /// Why the component is refused.
    pub fn load_command(
        &self,
        component: &Trusted<Blob>,
        limits: &Limits,
        grants: ImportGrants,
    ) -> Result<CommandComponent<X>, LoadError> {
        // Every program imports the file system to find out that it has none.
        let grants = grants.with(ImportGrant::Filesystem);
        let world = self.shared.extension.interfaces();
        let pre = self.prepare(component, limits, &grants, world, EXPORT, |_| Ok(()))?;
        let pre = CommandPre::new(pre).map_err(LoadError::Link)?;
        Ok(CommandComponent { shared: Arc::clone(&self.shared), pre, limits: limits.clone() })
    }
}

impl<X: Extension> CommandComponent<X> {
    /// Runs the program once, on a guest thread, with the standard streams of this process.
    ///
    /// # Errors
    /// When it does not end by itself.
    pub async fn run(&self, call: CommandCall<X::State>) -> Result<CommandReport, CommandFailure> {
        let wasi = wasi(&call)?;
        let stopped = |detail: &str| CommandFailure::Stopped {
            code: Code::of(code::HOST_FAULT),
            detail: detail.to_owned(),
            backtrace: None,
            usage: Box::default(),
        };
        let Some(slot) = self.shared.threads.slot().await else {
            return Err(stopped("the runtime is being stopped"));
        };
        let (reply, result) = tokio::sync::oneshot::channel();
        let (shared, pre, limits) = (Arc::clone(&self.shared), self.pre.clone(), self.limits.clone());
        let abandonment = Arc::new(Abandonment::default());
        let _waiting = abandonment.while_waited_for();
        self.shared.threads.submit(slot, move |runtime| {
            let _ = reply.send(run_on(&shared, &pre, limits, wasi, call, &abandonment, runtime));
        });
        result.await.unwrap_or_else(|_| Err(stopped("the host panicked while it served the guest")))
    }
}

fn run_on<X: Extension>(
    shared: &Arc<Shared<X>>,
    pre: &CommandPre<Guest<X::State>>,
    limits: Limits,
    wasi: WasiCtx,
    call: CommandCall<X::State>,
    abandonment: &Arc<Abandonment>,
    runtime: &tokio::runtime::Runtime,
) -> Result<CommandReport, CommandFailure> {
    let _running = shared.ticker.running();
    // Its standard streams are those of this process: the log has its `wasi:logging` alone.
    let sink = Arc::new(TracingLog { trace: "command".to_owned() });
    let log = BudgetedLog::new(sink, limits.log_bytes, LogLevel::Warn);
    let meter = Meter::start(limits, Placement::OwnThread, Arc::clone(abandonment));
    let deadline = meter.deadline();
    let settings = Arc::new(call.settings);
    let stage = StageState { settings, ..StageState::empty(&shared.spool_folder) };
    let guest = Guest::new(wasi, meter, log, stage, call.state);
    let mut store = guest.into_store(&shared.engine, Placement::OwnThread);
    let ended = runtime.block_on(async {
        let run = async {
            let instance = pre.instantiate_async(&mut store).await?;
            instance.wasi_cli_run().call_run(&mut store).await
        };
        tokio::select! {
            biased;
            ended = run => Ok(ended),
            () = tokio::time::sleep_until(deadline.into()) => Err(Breach::Deadline),
            () = abandonment.declared() => Err(Breach::Abandoned),
        }
    });
    let mut guest = store.into_data();
    let ended = ended.unwrap_or_else(|breach| Err(guest.meter.stop(breach).into()));
    let usage = guest.usage();
    match ended {
        Ok(Ok(())) => Ok(CommandReport { exit: 0, usage }),
        Ok(Err(())) => Ok(CommandReport { exit: 1, usage }),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            // A parent process sees one byte. A code that does not fit is a plain failure: cut down to its lowest
            // byte, 256 would be a success.
            Some(&I32Exit(exit)) => Ok(CommandReport { exit: u8::try_from(exit).unwrap_or(1), usage }),
            None => Err(CommandFailure::Stopped {
                code: trap_code(&error, guest.meter.breach()),
                detail: root_causes(&error),
                backtrace: error.downcast_ref::<wasmtime::WasmBacktrace>().map(ToString::to_string),
                usage: Box::new(usage),
            }),
        },
    }
}

fn wasi<S>(call: &CommandCall<S>) -> Result<WasiCtx, CommandFailure> {
    let mut wasi = WasiCtx::builder();
    wasi.inherit_stdio().args(&call.arguments).envs(&call.environment).allow_tcp(false).allow_udp(false);
    for grant in &call.folders {
        let access = match grant.access {
            FolderAccess::Read => FsPerms::ReadOnly,
            FolderAccess::ReadWrite => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(&grant.host, &grant.guest, access)
            .map_err(|source| CommandFailure::Folder { folder: grant.host.clone(), source })?;
    }
    Ok(wasi.build())
}
