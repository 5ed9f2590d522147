//! Native code: made on the device out of verified components, kept under a MAC.
//!
//! An entry is two files in `<state>/native`: `<name>.cwasm` and `<name>.mac`. The name is the SHA-256 of what the
//! code depends on (component, engine, CPU). An entry whose MAC does not hold is never mapped: it is reported and made
//! anew. An entry of another engine is refused by wasmtime and made anew. Entries that nobody uses any more are removed
//! in time (`sweep`).

mod compiler;
mod cpu;
mod key;
mod map;
mod sweep;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use martello_trust::{Blob, Trusted};
use martello_vocab::{Digest, Hasher};
use rustix::fs::{FlockOperation, flock};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config::RuntimeConfig;
use crate::engine::ENGINE_GENERATION;
pub use compiler::CompileError;
use compiler::Compiler;
pub use key::DeviceKey;
use key::MAC_BYTES;
use map::Vouched;
use sweep::Sweep;

/// Why native code of a component is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// A file of the cache could not be read or written.
    #[error("keeping native code in {path}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The compiler failed.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What the compiler made does not fit this program: they are of different versions.
    #[error("compiler and host do not fit each other: install both of one version")]
    Unfit(#[source] wasmtime::Error),
}

/// Where native code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NativeOrigin {
    /// It was kept from before, and its MAC held.
    Kept,
    /// It was compiled just now.
    Compiled,
}

pub(crate) struct NativeCode {
    folder: PathBuf,
    key: DeviceKey,
    compiler: Compiler,
    /// One compilation at a time: a device has few cores, and two loads of one component share the work.
    compiling: Mutex<()>,
    /// Entries that this process has mapped, each under a shared lock: no process removes them while it lives.
    in_use: Mutex<BTreeMap<String, File>>,
}

/// What stands in the cache under a name.
enum Entry {
    Holds(Component),
    Missing,
    /// Its MAC does not hold. Without the lock that may be a process just replacing it.
    Changed,
    /// wasmtime refuses it.
    OfAnotherEngine(wasmtime::Error),
}

impl NativeCode {
    pub(crate) fn open(config: &RuntimeConfig) -> Result<Self, NativeError> {
        let folder = config.state.join("native");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| NativeError::Cache { path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
        remove_unfinished(&folder).map_err(at(&folder))?;
        let key_path = config.state.join("native.key");
        Ok(Self {
            key: DeviceKey::open(&key_path).map_err(at(&key_path))?,
            compiler: Compiler {
                path: config.compiler.clone(),
                deadline: config.compile_deadline,
                memory: config.compile_memory,
            },
            folder,
            compiling: Mutex::new(()),
            in_use: Mutex::default(),
        })
    }

    /// The native code of a component: kept, or else compiled and kept.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        wasm: &Trusted<Blob>,
    ) -> Result<(Component, NativeOrigin), NativeError> {
        let name = entry_name(wasm.digest());
        if let Entry::Holds(component) = self.look(engine, &name)? {
            return Ok((component, NativeOrigin::Kept));
        }
        let _one_at_a_time = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        // Processes that share a state folder compile one after the other, and whoever waited looks again: what it
        // wants may be there by now. What does not hold under the lock was not made by any of them.
        let _lock = lock(&self.folder, FlockOperation::LockExclusive)
            .map_err(|source| NativeError::Cache { path: self.folder.clone(), source })?;
        let path = self.path(&name, "cwasm");
        match self.look(engine, &name)? {
            Entry::Holds(component) => return Ok((component, NativeOrigin::Kept)),
            Entry::Missing => {}
            Entry::Changed => {
                tracing::warn!(path = %path.display(), "native code was changed on disk; it is compiled anew");
            }
            Entry::OfAnotherEngine(error) => {
                tracing::info!(%error, path = %path.display(), "native code is of another engine; it is compiled anew");
            }
        }
        let component = self.compile(engine, &name, wasm)?;
        Sweep::default().run(&self.folder, SystemTime::now());
        Ok((component, NativeOrigin::Compiled))
    }

    fn look(&self, engine: &Engine, name: &str) -> Result<Entry, NativeError> {
        let path = self.path(name, "cwasm");
        let at = |source| NativeError::Cache { path: path.clone(), source };
        let Some(native) = found(File::open(&path)).map_err(at)? else { return Ok(Entry::Missing) };
        let Some(mac) = found(read_mac(&self.path(name, "mac"))).map_err(at)? else {
            return Ok(Entry::Missing);
        };
        let holds = map::with_bytes(&native, |bytes| self.key.holds(name, bytes, &mac));
        if !holds.and_then(|holds| holds).map_err(at)? {
            return Ok(Entry::Changed);
        }
        match map::component(engine, &Vouched(&native)) {
            Ok(component) => {
                self.hold(name, native);
                Ok(Entry::Holds(component))
            }
            Err(error) => Ok(Entry::OfAnotherEngine(error)),
        }
    }

    /// Marks an entry as used now, and for as long as this process lives. Failing to costs a compilation later on.
    fn hold(&self, name: &str, native: File) {
        let marked = native
            .set_modified(SystemTime::now())
            .and_then(|()| Ok(flock(&native, FlockOperation::NonBlockingLockShared)?));
        if let Err(error) = marked {
            tracing::debug!(%error, "native code cannot be marked as used");
        }
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), native);
    }

    /// Compiles and keeps a component. The caller holds the lock of the folder.
    fn compile(&self, engine: &Engine, name: &str, wasm: &Trusted<Blob>) -> Result<Component, NativeError> {
        let (temporary, path) = (self.path(name, "tmp"), self.path(name, "cwasm"));
        let at = |source| NativeError::Cache { path: temporary.clone(), source };
        let _ = std::fs::remove_file(&temporary);
        let native = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(at)?;
        let remove = RemoveOnDrop(&temporary);
        self.compiler.compile(wasm.bytes(), &native)?;
        native.sync_all().map_err(at)?;
        let component = map::component(engine, &Vouched(&native)).map_err(NativeError::Unfit)?;
        let mac =
            map::with_bytes(&native, |bytes| self.key.mac(name, bytes)).and_then(|mac| mac).map_err(at)?;
        // The MAC goes first: with a new MAC beside old code, or the other way round, the entry does not hold and is
        // made anew.
        write_whole(&self.path(name, "mac"), mac.as_bytes()).map_err(at)?;
        std::fs::rename(&temporary, &path).map_err(at)?;
        std::mem::forget(remove);
        sync_folder_of(&path).map_err(at)?;
        // Opened again, to read: what is kept open for good must not be a way to write into mapped code.
        self.hold(name, File::open(&path).map_err(at)?);
        Ok(component)
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.join(name).with_extension(extension)
    }
}

/// The name of an entry: what the code depends on. The engine's version is not among it, because wasmtime itself
/// refuses code of another version.
fn entry_name(component: &Digest) -> String {
    let mut hasher = Hasher::new();
    hasher.update(b"martello native entry\0");
    hasher.update(&ENGINE_GENERATION.to_le_bytes());
    hasher.update(component.as_bytes());
    hasher.update(cpu::description().as_bytes());
    hasher.finish().hex()
}

fn read_mac(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut mac = Vec::new();
    File::open(path)?.take(MAC_BYTES as u64 + 1).read_to_end(&mut mac)?;
    Ok(mac)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("mac-tmp");
    let _ = std::fs::remove_file(&temporary);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Locks the folder of native code, by way of a file beside it.
fn lock(folder: &Path, how: FlockOperation) -> io::Result<File> {
    let path = folder.with_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    flock(&file, how)?;
    Ok(file)
}

/// Files that a power cut left behind. Where another process is compiling, they may be its own and are left alone.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let _lock = match lock(folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp" || extension == "mac-tmp") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}
