//! Where the outputs of a run stand, and how they get there.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use martello_runtime::Payload;
use martello_store::place::{self, Staged};
use martello_vocab::{Code, Digest, Hasher, Name};

use crate::npy;
use crate::pass::{Exported, Pass, Refusal};
use crate::report::{FindingEntry, FindingsFile, ModelLine, OutputFile, QuarantineNote, REPORT_SCHEMA};

/// The folder with findings.
const FINDINGS: &str = "findings";
/// The folder with inputs that were refused; for its owner alone.
const QUARANTINE: &str = "quarantine";
/// The folder in which a run remembers; for its owner alone.
const MEMORY: &str = ".martello";

/// The extension of an export whose tensors are written as NumPy's files.
const NPY: &str = "npy";

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
    /// Makes the folder and those in it that every run needs, and takes away what an earlier run left half written.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn open(root: &Path, exports: impl Iterator<Item = Name>) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        for private in [QUARANTINE, MEMORY] {
            DirBuilder::new().recursive(true).mode(0o700).create(root.join(private))?;
        }
        fs::create_dir_all(root.join(FINDINGS))?;
        let mut folders = vec![root.clone(), root.join(FINDINGS), root.join(QUARANTINE)];
        for export in exports {
            let folder = root.join(export.as_str());
            fs::create_dir_all(&folder)?;
            folders.push(folder);
        }
        folders.iter().try_for_each(|folder| place::sweep(folder))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The folder in which a run remembers.
    pub(crate) fn memory(&self) -> PathBuf {
        self.root.join(MEMORY)
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
            let mut staged = place::stage(&self.root.join(&relative), 0o640)?;
            // Tensors get NumPy's header, so that type and shape are not lost with the attributes.
            let digest = match npy::header_of(&output.payload).filter(|_| plan.extension.as_str() == NPY) {
                None => {
                    output.payload.copy_to(&mut staged)?;
                    output.digest
                }
                Some(header) => {
                    let mut hashed = Hashed { file: &mut staged, hasher: Hasher::new() };
                    hashed.write_all(&header)?;
                    output.payload.copy_to(&mut hashed)?;
                    hashed.hasher.finish()
                }
            };
            written.staged.push(staged);
            written.files.push(OutputFile { path: relative, digest });
        }
        if !pass.findings.is_empty() {
            let findings =
                pass.findings.iter().map(|(stage, finding)| FindingEntry { stage, finding }).collect();
            let file = FindingsFile { schema: REPORT_SCHEMA, id, bundle, models, findings };
            self.write_json(&mut written, &format!("{FINDINGS}/{id}.json"), 0o640, &file)?;
        }
        Ok(written)
    }

    /// Writes a copy of a refused input with its reason.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn write_quarantine(
        &self,
        id: &str,
        bundle: Digest,
        input: &Payload,
        input_digest: Digest,
        refusal: &Refusal,
    ) -> io::Result<Written> {
        let mut written = Written { staged: Vec::new(), files: Vec::new() };
        let relative = format!("{QUARANTINE}/{id}.dcm");
        let mut staged = place::stage(&self.root.join(&relative), 0o600)?;
        input.copy_to(&mut staged)?;
        written.staged.push(staged);
        written.files.push(OutputFile { path: relative, digest: input_digest });
        let code: &Code = &refusal.code;
        let note = QuarantineNote {
            schema: REPORT_SCHEMA,
            id,
            code,
            stage: refusal.stage.as_ref(),
            input_digest,
            bundle,
        };
        self.write_json(&mut written, &format!("{QUARANTINE}/{id}.json"), 0o600, &note)?;
        Ok(written)
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
        let mut staged = place::stage(&self.root.join(relative), mode)?;
        staged.write_all(&bytes)?;
        written.staged.push(staged);
        written.files.push(OutputFile { path: relative.to_owned(), digest: Digest::of(&bytes) });
        Ok(())
    }
}

/// A file whose bytes are hashed on their way.
struct Hashed<'a> {
    file: &'a mut Staged,
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
