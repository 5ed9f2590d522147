//! Where the outputs of a run stand, and how they get there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use martello_bundle::manifest::Export;
use martello_runtime::Payload;
use martello_store::Remains;
use martello_store::place::{self, Access, Staged, Writing};
use martello_vocab::{Code, Digest, Hasher, Name};

use crate::npy;
use crate::pass::{Exported, Pass, Refusal};
use crate::report::{FindingEntry, FindingsFile, ModelLine, OutputFile, QuarantineNote, REPORT_SCHEMA};
use crate::site_key::SiteKey;

/// The folder with findings.
const FINDINGS: &str = Export::FINDINGS;
/// The folder with inputs that were refused; for its owner alone.
const QUARANTINE: &str = Export::QUARANTINE;
/// The extension of a copy in quarantine.
const COPY: &str = "dcm";
/// The extension of the reason beside it.
const NOTE: &str = "json";
/// The folder in which a run remembers; for its owner alone.
const MEMORY: &str = ".martello";

/// The output folder of a run.
#[derive(Debug, Clone)]
pub(crate) struct OutputFolder {
    root: PathBuf,
}

/// Files of one input, written but not yet under their names.
#[derive(Debug)]
pub(crate) struct Written {
    /// The files; settle them before recording them.
    pub staged: Vec<Staged>,
    /// How the report names them.
    pub files: Vec<OutputFile>,
}

impl OutputFolder {
    /// Where the folder stands or will stand. Nothing is made yet.
    ///
    /// # Errors
    /// A folder above it cannot be read.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut missing = Vec::new();
        let mut above = path.as_path();
        let mut root = loop {
            match (above.canonicalize(), above.parent(), above.components().next_back()) {
                (Ok(found), ..) => break found,
                (Err(error), Some(parent), Some(last)) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(last);
                    above = parent;
                }
                (Err(error), ..) => return Err(error),
            }
        };
        for name in missing.into_iter().rev() {
            match name {
                Component::ParentDir => drop(root.pop()),
                name => root.push(name),
            }
        }
        Ok(Self { root })
    }

    /// Makes the folder and the one in it in which a run remembers.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn make(&self) -> io::Result<()> {
        place::folder(&self.root, Access::Shared)?;
        place::folder(&self.memory(), Access::Owner)
    }

    /// Makes the other folders, and takes away what an earlier run left half written. Whoever calls this holds the
    /// journal: half-written files of a run that goes on are not leftovers.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn prepare<'a>(&self, exports: impl Iterator<Item = &'a Name>) -> io::Result<()> {
        place::folder(&self.root.join(QUARANTINE), Access::Owner)?;
        let mut folders = vec![self.root.clone(), self.root.join(QUARANTINE)];
        for shared in exports.map(Name::as_str).chain([FINDINGS]) {
            let folder = self.root.join(shared);
            place::folder(&folder, Access::Shared)?;
            folders.push(folder);
        }
        folders.iter().try_for_each(|folder| place::sweep(folder))
    }

    /// What an earlier run left here. Nothing is changed.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(crate) fn remains<'a>(&self, exports: impl Iterator<Item = &'a Name>) -> io::Result<Remains> {
        match fs::metadata(self.report()) {
            Ok(report) if report.len() > 0 => return Ok(Remains::Report),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in exports.map(Name::as_str).chain([FINDINGS, QUARANTINE]) {
            let entries = match fs::read_dir(self.root.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                if is_of_an_input(&entry?.file_name()) {
                    return Ok(Remains::Outputs);
                }
            }
        }
        Ok(Remains::Nothing)
    }

    /// Whether a path lies in one of the folders that a run makes here, whose files would become inputs of their own.
    pub(crate) fn makes<'a>(&self, path: &Path, mut exports: impl Iterator<Item = &'a Name>) -> bool {
        let Ok(inside) = path.strip_prefix(&self.root) else { return false };
        let Some(first) = inside.components().next() else { return false };
        let first = first.as_os_str();
        [QUARANTINE, MEMORY, FINDINGS].iter().any(|name| first == *name)
            || exports.any(|name| first == name.as_str())
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The folder in which a run remembers.
    pub(crate) fn memory(&self) -> PathBuf {
        self.root.join(MEMORY)
    }

    /// Whether a file was put out by a port of the pipeline: neither findings nor what was refused.
    pub(crate) fn is_export(file: &OutputFile) -> bool {
        let folder = file.path.split('/').next().unwrap_or_default();
        ![QUARANTINE, FINDINGS, MEMORY].contains(&folder)
    }

    /// The report.
    pub(crate) fn report(&self) -> PathBuf {
        self.root.join("report.jsonl")
    }

    /// Writes the outputs of a pass.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn write(
        &self,
        id: &str,
        bundle: Digest,
        pass: &Pass,
        models: &[ModelLine],
    ) -> io::Result<Written> {
        let mut written = Written { staged: Vec::new(), files: Vec::new() };
        let mut counts: BTreeMap<&Name, u32> = BTreeMap::new();
        for Exported { plan, output } in &pass.exports {
            let count = counts.entry(&plan.folder).or_default();
            *count += 1;
            let name = match *count {
                1 => format!("{id}.{}", plan.extension),
                more => format!("{id}-{more}.{}", plan.extension),
            };
            let relative = format!("{}/{name}", plan.folder);
            let mut bytes = output.payload.len();
            let mut file = place::stage(&self.root.join(&relative), 0o640)?;
            // Tensors get NumPy's header, so that type and shape are not lost with the attributes.
            let digest =
                match npy::header_of(&output.payload).filter(|_| plan.extension.as_str() == npy::EXTENSION) {
                    None => {
                        output.payload.copy_to(&mut file)?;
                        output.digest
                    }
                    Some(header) => {
                        let mut hashed = Hashed { file: &mut file, hasher: Hasher::new() };
                        hashed.write_all(&header)?;
                        bytes += header.len() as u64;
                        output.payload.copy_to(&mut hashed)?;
                        hashed.hasher.finish()
                    }
                };
            written.staged.push(file.written());
            written.files.push(OutputFile { path: relative, digest, bytes });
        }
        if !pass.findings.is_empty() {
            let findings =
                pass.findings.iter().map(|(stage, finding)| FindingEntry { stage, finding }).collect();
            let models = models.iter().map(|model| &model.run).collect();
            let file = FindingsFile { schema: REPORT_SCHEMA, id, bundle, models, findings };
            self.write_json(&mut written, &format!("{FINDINGS}/{id}.json"), 0o640, &file)?;
        }
        Ok(written)
    }

    /// Writes the reason why an input was refused and, where it could be read, a copy of it.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn write_quarantine(
        &self,
        id: &str,
        bundle: Digest,
        input: Option<(&Payload, Digest)>,
        refusal: &Refusal,
    ) -> io::Result<Written> {
        let mut written = Written { staged: Vec::new(), files: Vec::new() };
        if let Some((input, digest)) = input {
            let relative = format!("{QUARANTINE}/{id}.{COPY}");
            let mut file = place::stage(&self.root.join(&relative), 0o600)?;
            input.copy_to(&mut file)?;
            written.staged.push(file.written());
            written.files.push(OutputFile { path: relative, digest, bytes: input.len() });
        }
        let input_digest = input.map(|(_, digest)| digest);
        let code: &Code = &refusal.code;
        let note = QuarantineNote {
            schema: REPORT_SCHEMA,
            id,
            code,
            stage: refusal.stage.as_ref(),
            input_digest,
            bundle,
        };
        self.write_json(&mut written, &format!("{QUARANTINE}/{id}.{NOTE}"), 0o600, &note)?;
        Ok(written)
    }

    /// Takes an input out of quarantine, because it is tried again.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn take_out_of_quarantine(&self, id: &str) -> io::Result<()> {
        for extension in [COPY, NOTE] {
            match fs::remove_file(self.root.join(format!("{QUARANTINE}/{id}.{extension}"))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn write_json<T: serde::Serialize>(
        &self,
        written: &mut Written,
        relative: &str,
        mode: u32,
        value: &T,
    ) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value)?;
        bytes.push(b'\n');
        let mut file = place::stage(&self.root.join(relative), mode)?;
        file.write_all(&bytes)?;
        written.staged.push(file.written());
        let (digest, bytes) = (Digest::of(&bytes), bytes.len() as u64);
        written.files.push(OutputFile { path: relative.to_owned(), digest, bytes });
        Ok(())
    }
}

/// Whether a file bears the name of an output: the id of an input, then a number or an extension.
fn is_of_an_input(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let id = name.split(['.', '-']).next().unwrap_or_default();
    id.len() == SiteKey::INPUT_ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A file whose bytes are hashed on their way.
struct Hashed<'a> {
    file: &'a mut Writing,
    hasher: Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
