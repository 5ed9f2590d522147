//! Finding, checking and loading the library of ONNX Runtime.
//!
//! A library is code that runs with all rights of this process, so that its digest must be listed. What is hashed is
//! what is loaded: the file is opened once, hashed through that handle, and loaded through `/proc/self/fd`.

use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use martello_vocab::{ByteCount, Digest, Hasher};
use ort::environment::Environment;
use ort::logging::LogLevel;

use super::arena;
use crate::config::{InferenceConfig, LibraryPolicy};

/// What a library of ONNX Runtime is called, and its providers beside it.
const NAME: &str = "libonnxruntime.so";
const PROVIDER_NAME: &str = "libonnxruntime_providers_";
/// A folder with links to checked libraries; the number of the process stands behind it.
const LINKS: &str = "martello-onnxruntime-";

/// A process holds one environment, and so one library, for good.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// The library in this process.
#[derive(Clone)]
pub(super) struct Library {
    pub(super) environment: Environment,
    pub(super) version: String,
    pub(super) digest: Digest,
    /// Provider libraries that were left out because their digest is not listed.
    pub(super) left_out: Vec<String>,
}

/// The libraries in these folders: of each folder the newest names first.
pub(crate) fn candidates(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut here: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.strip_prefix(NAME).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .collect();
        here.sort();
        found.extend(here.into_iter().rev());
    }
    found
}

impl Library {
    /// Loads the library, or gives the one that is loaded where it is the same.
    pub(super) fn load(path: &Path, config: &InferenceConfig) -> Result<Self, String> {
        let (file, digest) = open(path).map_err(|error| format!("it cannot be read: {error}"))?;
        let is_allowed = |digest: &Digest| {
            config.library_policy == LibraryPolicy::DangerouslyAnyLibrary
                || config.allowed_libraries.contains(digest)
        };
        if !is_allowed(&digest) {
            return Err(format!("its digest {digest} is not allowed; add it to the allowed libraries"));
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.as_ref() {
            return if library.digest == digest {
                Ok(library.clone())
            } else {
                Err(format!("this process already holds another library, {}", library.digest))
            };
        }
        let (providers, left_out) = providers(path, is_allowed)?;
        let place = place(&file, &providers).map_err(|error| format!("making a folder for it: {error}"))?;
        let environment = environment(&place, config.largest_memory)?;
        // ONNX Runtime loads providers later, through the same handles: they stay open for good.
        std::mem::forget((file, providers));
        let library = Self { environment, version: version(path), digest, left_out };
        tracing::info!(path = %path.display(), %digest, version = library.version, "ONNX Runtime is loaded");
        *loaded = Some(library.clone());
        Ok(library)
    }
}

fn open(path: &Path) -> io::Result<(File, Digest)> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((file, hasher.finish())),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// Libraries by name, each open so that what was hashed is what is loaded.
type OpenLibraries = Vec<(String, File)>;

/// The provider libraries beside the library: those that may be loaded, and the names of the others.
fn providers(
    path: &Path,
    is_allowed: impl Fn(&Digest) -> bool,
) -> Result<(OpenLibraries, Vec<String>), String> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let (mut allowed, mut left_out) = (Vec::new(), Vec::new());
    let failed = |error: io::Error| format!("its providers cannot be read: {error}");
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with(PROVIDER_NAME) || !name.ends_with(".so") {
            continue;
        }
        let (file, digest) = open(&entry.path()).map_err(failed)?;
        if is_allowed(&digest) {
            allowed.push((name, file));
        } else {
            // Whoever asks for the provider is told: a refusal names what was left out.
            tracing::debug!(name, %digest, "provider library is not allowed and is left out");
            left_out.push(format!("{name} ({digest})"));
        }
    }
    Ok((allowed, left_out))
}

/// A path by which the checked handle is loaded. Providers are looked for beside the library, so that they need a
/// folder of their own, which nobody else can write to, with links to the checked handles.
fn place(library: &File, providers: &[(String, File)]) -> io::Result<PathBuf> {
    let handle = |file: &File| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if providers.is_empty() {
        return Ok(handle(library));
    }
    let temporary = std::env::temp_dir();
    sweep(&temporary)?;
    let folder = temporary.join(format!("{LINKS}{}", std::process::id()));
    // A folder of this name can only be left over from a process that is gone.
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(&folder)?;
    for (name, file) in providers {
        symlink(handle(file), folder.join(name))?;
    }
    let path = folder.join(NAME);
    symlink(handle(library), &path)?;
    Ok(path)
}

/// Removes folders with links that processes left which are gone: the library stays loaded until the very end, so that
/// nobody can remove its folder at exit.
fn sweep(temporary: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(temporary)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(LINKS)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists())
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            // Another user's, or another process was faster.
            tracing::debug!(path = %entry.path().display(), %error, "left-over links stay");
        }
    }
    Ok(())
}

fn environment(path: &Path, memory: ByteCount) -> Result<Environment, String> {
    let failed = |error: ort::Error| format!("ONNX Runtime does not start: {}", error.message());
    let builder = ort::init_from(path).map_err(|error| format!("it cannot be loaded: {error}"))?;
    let environment = builder
        .with_name("martello")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(tell))
        .build()
        .map_err(failed)?;
    arena::register(&environment, memory).map_err(failed)?;
    Ok(environment)
}

/// Passes on what the library says. Its words may hold values of a tensor (an index that is out of range) or names that
/// a guest gave to parts of its own model, so they come at `debug`; where they come from is fixed text. That a library of a
/// provider is not there is told by the refusal of whoever asked for it, and is nothing to anybody else.
fn tell(level: LogLevel, category: &str, _: &str, place: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error if !is_of_provider(message) => {
            tracing::warn!(category, place, "ONNX Runtime tells of an error; its words are logged at debug");
            tracing::debug!(category, place, message, "words of ONNX Runtime");
        }
        LogLevel::Fatal | LogLevel::Error | LogLevel::Warning => {
            tracing::debug!(category, place, message, "words of ONNX Runtime")
        }
        _ => tracing::trace!(category, place, message, "words of ONNX Runtime"),
    }
}

/// Whether the words are about a library of a provider that cannot be loaded.
fn is_of_provider(words: &str) -> bool {
    words.contains(PROVIDER_NAME) && words.contains("load")
}

/// The version: what the library says of its build, else what its file name says.
fn version(path: &Path) -> String {
    let build = ort::info().split_once("git-branch=rel-").and_then(|(_, rest)| rest.split(',').next());
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(NAME));
    let name = name.map(|rest| rest.trim_start_matches('.')).filter(|rest| !rest.is_empty());
    build.or(name).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_name_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["libonnxruntime.so", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_cuda.so", "x.so"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = candidates(&["/nonexistent".into(), folder.path().to_owned()]);
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["libonnxruntime.so.1.32.0", "libonnxruntime.so"]);
    }

    #[test]
    fn a_library_that_is_not_listed_is_refused_with_its_digest_before_it_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, "no library").unwrap();
        let mut config = InferenceConfig::new(folder.path());
        let refused = Library::load(&path, &config).err().unwrap();
        assert!(refused.contains(&Digest::of(b"no library").to_string()), "{refused}");
        assert!(refused.contains("is not allowed"), "{refused}");
        config.allowed_libraries = vec![Digest::of(b"another")];
        assert!(Library::load(&path, &config).err().unwrap().contains("is not allowed"));
    }

    #[test]
    fn a_library_of_a_provider_that_is_not_there_is_told_apart_from_an_error() {
        let missing =
            "Failed to load library /usr/lib/libonnxruntime_providers_cuda.so with error: no such file";
        assert!(is_of_provider(missing));
        assert!(!is_of_provider("Non-zero status code returned while running Gather node"));
    }

    #[test]
    fn a_provider_that_is_not_listed_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        for name in ["libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let listed = Digest::of(b"libonnxruntime_providers_shared.so");
        let (allowed, left_out) = providers(&path, |digest| *digest == listed).unwrap();
        assert_eq!(allowed.len(), 1);
        assert!(left_out[0].starts_with("libonnxruntime_providers_cuda.so (sha256:"));
    }

    #[test]
    fn links_of_processes_that_are_gone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join(format!("{LINKS}{}", std::process::id()));
        // Process identifiers end at 2^22 (`proc(5)`, `pid_max`).
        let gone = folder.path().join(format!("{LINKS}4194305"));
        let foreign = folder.path().join(format!("{LINKS}notes"));
        for path in [&ours, &gone, &foreign] {
            std::fs::create_dir(path).unwrap();
        }
        sweep(folder.path()).unwrap();
        assert_eq!([ours, gone, foreign].map(|path| path.exists()), [true, false, true]);
    }

    #[test]
    fn the_file_that_was_hashed_is_the_file_that_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, "checked").unwrap();
        let (file, digest) = open(&path).unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        std::fs::write(&path, "exchanged").unwrap();
        let loaded = std::fs::read(place(&file, &[]).unwrap()).unwrap();
        assert_eq!(Digest::of(&loaded), digest);
    }
}
