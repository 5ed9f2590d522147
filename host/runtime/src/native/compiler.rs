//! Runs `martello-compile`: a short-lived process with limits of its own, the only one that holds a compiler.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use martello_vocab::ByteCount;
use rustix::fs::{MemfdFlags, SealFlags};

/// Name of the program beside our own.
const PROGRAM: &str = "martello-compile";

/// How much of the compiler's complaint is kept.
const COMPLAINT_BYTES: u64 = 8 << 10;

/// How often is looked whether the compiler has ended.
const POLL: Duration = Duration::from_millis(2);

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// There is no compiler where it was looked for.
    #[error(
        "no compiler at {looked_at}: install `martello-compile` beside this program, or configure its path"
    )]
    Missing {
        /// Where it was looked for.
        looked_at: PathBuf,
    },
    /// The process could not be run.
    #[error("running compiler {path}")]
    Run {
        /// The program.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It took too long and was stopped.
    #[error("compiler stopped after {0:?}")]
    Late(Duration),
    /// It refused the component, or ran into its limits.
    #[error("compiler refused the component ({status}): {complaint}")]
    Refused {
        /// How it ended.
        status: String,
        /// What it wrote.
        complaint: String,
    },
}

#[derive(Debug)]
pub(super) struct Compiler {
    pub(super) path: Option<PathBuf>,
    pub(super) deadline: Duration,
    pub(super) memory: ByteCount,
}

impl Compiler {
    /// Compiles `wasm` into `native`, an empty file.
    pub(super) fn compile(&self, wasm: &[u8], native: &File) -> Result<(), CompileError> {
        let path = self.locate()?;
        let run = |source| CompileError::Run { path: path.clone(), source };
        let input = sealed(wasm).map_err(run)?;
        let complaint: File = rustix::fs::memfd_create("complaint", MemfdFlags::CLOEXEC)
            .map_err(io::Error::from)
            .map_err(run)?
            .into();
        let mut child = Command::new(&path)
            .arg(self.memory.0.to_string())
            .arg(self.deadline.as_secs().max(1).to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(input))
            .stdout(native.try_clone().map_err(run)?)
            .stderr(complaint.try_clone().map_err(run)?)
            .spawn()
            .map_err(run)?;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(run)? {
                break status;
            }
            if start.elapsed() > self.deadline {
                child.kill().and_then(|()| child.wait()).map_err(run)?;
                return Err(CompileError::Late(self.deadline));
            }
            std::thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        let complaint =
            read_start(complaint).unwrap_or_else(|error| format!("its complaint cannot be read: {error}"));
        Err(CompileError::Refused { status: status.to_string(), complaint })
    }

    fn locate(&self) -> Result<PathBuf, CompileError> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .ok()
                .as_deref()
                .and_then(Path::parent)
                .map_or_else(|| PathBuf::from(PROGRAM), |folder| folder.join(PROGRAM)),
        };
        if path.is_file() { Ok(path) } else { Err(CompileError::Missing { looked_at: path }) }
    }
}

/// The bytes in a file without a name that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file: File = rustix::fs::memfd_create("component", flags)?.into();
    file.write_all(bytes)?;
    file.rewind()?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file)
}

fn read_start(mut file: File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(COMPLAINT_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}
