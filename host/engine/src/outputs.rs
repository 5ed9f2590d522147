//! Where the outputs of a run stand, and how they get there.
//!
//! INVARIANT: nothing below the output folder is written or read through a symbolic link; `store::place` keeps it. The
//! folder itself may be one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use martello_bundle::manifest::Export;
use martello_runtime::Payload;
use martello_store::Remains;
use martello_store::place::{Access, Staged, Tree, Writing};
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

/// The report.
pub(crate) const REPORT: &str = "report.jsonl";

/// Where the output folder of a run stands or will stand.
#[derive(Debug, Clone)]
pub(crate) struct Destination(PathBuf);

/// The output folder of a run.
#[derive(Debug, Clone)]
pub(crate) struct OutputFolder {
    tree: Tree,
    memory: Tree,
}

/// Files of one input, written but not yet under their names.
#[derive(Debug)]
pub(crate) struct Written {
    /// The files; settle them before recording them.
    pub staged: Vec<Staged>,
    /// How the report names them.
    pub files: Vec<OutputFile>,
}

impl Destination {
    /// Where this path leads to. Nothing is made yet.
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
        Ok(Self(root))
    }

    /// The path, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a path lies in one of the folders that a run makes here, whose files would become inputs of their own.
    pub(crate) fn makes<'a>(&self, path: &Path, mut exports: impl Iterator<Item = &'a Name>) -> bool {
        let Ok(inside) = path.strip_prefix(&self.0) else { return false };
        let Some(first) = inside.components().next() else { return false };
        let first = first.as_os_str();
        [QUARANTINE, MEMORY, FINDINGS].iter().any(|name| first == *name)
            || exports.any(|name| first == name.as_str())
    }

    /// Makes the folder and the one in it in which a run remembers.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn make(&self) -> io::Result<OutputFolder> {
        let tree = Tree::make(&self.0)?;
        let memory = tree.folder(MEMORY, Access::Owner)?;
        Ok(OutputFolder { tree, memory })
    }
}

impl OutputFolder {
    /// Makes the other folders, and takes away what an earlier run left half written. Whoever calls this holds the
    /// journal: half-written files of a run that goes on are not leftovers.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn prepare<'a>(&self, exports: impl Iterator<Item = &'a Name>) -> io::Result<()> {
        self.tree.sweep()?;
        self.tree.folder(QUARANTINE, Access::Owner)?.sweep()?;
        for shared in exports.map(Name::as_str).chain([FINDINGS]) {
            self.tree.folder(shared, Access::Shared)?.sweep()?;
        }
        Ok(())
    }

    /// What an earlier run left here. Nothing is changed.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(crate) fn remains<'a>(&self, exports: impl Iterator<Item = &'a Name>) -> io::Result<Remains> {
        if self.tree.length(REPORT)?.is_some_and(|length| length > 0) {
            return Ok(Remains::Report);
        }
        for folder in exports.map(Name::as_str).chain([FINDINGS, QUARANTINE]) {
            for name in self.tree.names(folder)? {
                if is_of_an_input(&name?) {
                    return Ok(Remains::Outputs);
                }
            }
        }
        Ok(Remains::Nothing)
    }

    /// The folder with everything in it.
    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The folder in which a run remembers.
    pub(crate) const fn memory(&self) -> &Tree {
        &self.memory
    }

    /// Whether a file was put out by a port of the pipeline: neither findings nor what was refused.
    pub(crate) fn is_export(file: &OutputFile) -> bool {
        let folder = file.path.split('/').next().unwrap_or_default();
        ![QUARANTINE, FINDINGS, MEMORY].contains(&folder)
    }

    /// A file without a name, for the device's own copy of an input: identified data.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn unnamed(&self) -> io::Result<File> {
        self.tree.unnamed(MEMORY)
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
            let mut file = self.tree.stage(&relative, 0o640)?;
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
            let mut file = self.tree.stage(&relative, 0o600)?;
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

    /// Takes an input out of quarantine, because it is tried again or another stands in its place.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn take_out_of_quarantine(&self, id: &str) -> io::Result<()> {
        for extension in [COPY, NOTE] {
            match self.tree.remove(&format!("{QUARANTINE}/{id}.{extension}")) {
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
        let mut file = self.tree.stage(relative, mode)?;
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
