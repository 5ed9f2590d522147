//! The shipped pipeline, packed and signed for the bench, and runs of `martello` over it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::bench::{Bench, existing};
use crate::dicom::ct_slice;

/// A signed bundle, its trust root, and the state folder of the device that runs it.
pub(crate) struct ImagingBundle {
    martello: PathBuf,
    bundle: PathBuf,
    trust: PathBuf,
    state: PathBuf,
}

impl ImagingBundle {
    /// Packs and signs it with a key made for this bench.
    pub(crate) fn make(bench: &Bench) -> anyhow::Result<Self> {
        let martello = bench.program("martello")?;
        let source = existing(bench.places.root.join("components/imaging/bundle.toml"))?;
        let folder = bench.folder("imaging")?;
        let [key, trust, bundle] = ["key.pem", "trust.json", "imaging.tar"].map(|name| folder.join(name));
        let run = |words: &[&Path]| -> anyhow::Result<()> {
            let mut command = Command::new(&martello);
            command.arg("--quiet").args(words).stdin(Stdio::null()).stdout(Stdio::null());
            let status = command.status().context("starting martello")?;
            if !status.success() {
                bail!("{command:?} ended with {status}");
            }
            Ok(())
        };
        let word = |text: &'static str| Path::new(text);
        run(&[word("keys"), word("generate"), word("--out"), &key])?;
        let trust_words = ["keys", "trust", "--threshold", "1"].map(word);
        let keys = [word("--root-key"), &key, word("--release-key"), &key, word("--out"), &trust];
        run(&[trust_words.as_slice(), keys.as_slice()].concat())?;
        run(&[word("bundle"), word("pack"), &source, word("--out"), &bundle])?;
        run(&[word("bundle"), word("sign"), &bundle, word("--key"), &key])?;
        Ok(Self { martello, bundle, trust, state: bench.folder("imaging-state")? })
    }

    /// `martello run` over a folder, with the built-in backend alone.
    pub(crate) fn run(&self, input: &Path, output: &Path) -> Command {
        let mut command = Command::new(&self.martello);
        command
            .args(["--quiet", "--format", "json", "run"])
            .arg(&self.bundle)
            .arg("--trust")
            .arg(&self.trust)
            .arg("--input")
            .arg(input)
            .arg("--output")
            .arg(output)
            .arg("--state")
            .arg(&self.state)
            .env_remove("MARTELLO_ONNXRUNTIME")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// The same to its end.
    pub(crate) fn run_to_end(&self, input: &Path, output: &Path, more: &[&str]) -> anyhow::Result<()> {
        let status = self.run(input, output).args(more).status().context("starting martello run")?;
        if !status.success() {
            bail!("martello run ended with {status}");
        }
        Ok(())
    }
}

/// Writes so many CT slices of 512×512 pixels, as a scanner would send them.
pub(crate) fn ct_slices(folder: &Path, count: usize) -> anyhow::Result<()> {
    for number in 0..u32::try_from(count)? {
        let path = folder.join(format!("slice-{number:04}.dcm"));
        std::fs::write(&path, ct_slice(512, number))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
