//! `martello bundle`: packs, signs, verifies and inspects bundles.

mod init;
mod inspect;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use martello_bundle::manifest::Manifest;
use martello_bundle::{
    BundleError, Draft, DraftError, MemorySource, Packed, open_path, source_at, write_archive, write_folder,
};
use martello_trust::{Timestamp, TrustRoot};
use martello_vocab::ByteCount;
use serde_json::{Value, json};

use crate::keys::{KnownPassphrase, file};
use crate::mistaken::{self, Wanted};
use crate::output::{Advice, counted, exit, program, shell_word};
use crate::read::{self, LARGEST_BLOB};

/// Packs, signs, verifies and inspects bundles.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BundleCommand {
    /// Begin a bundle around your own ONNX model, with the shipped components.
    Init(init::InitArgs),
    /// Pack components, models and assets into a bundle, not yet signed.
    Pack {
        /// The source: TOML or JSON (`.json`). A manifest in which `file = "path"` stands for digest and size.
        source: PathBuf,
        /// Where the bundle goes: an archive (`.tar`), or else a folder.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Add signatures to a bundle. Several people can sign one after the other.
    Sign {
        /// The bundle.
        bundle: PathBuf,
        /// A private key. Repeat it for more.
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        passphrase: KnownPassphrase,
    },
    /// Verify signatures, manifest and every file of a bundle.
    Verify {
        /// The bundle.
        bundle: PathBuf,
        /// The trust root that names the release keys.
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
    },
    /// Show what a bundle says of itself. Nothing is verified.
    Inspect {
        /// The bundle.
        bundle: PathBuf,
    },
}

/// Runs `martello bundle`.
///
/// # Errors
/// Where a file cannot be read or written. What does not verify ends with exit code 8 instead.
pub(crate) fn run(cmd: BundleCommand, out: &crate::Output) -> anyhow::Result<ExitCode> {
    match cmd {
        BundleCommand::Init(args) => init::run(&args, out),
        BundleCommand::Pack { source, out: path } => pack(&source, &path, out),
        BundleCommand::Sign { bundle, keys, passphrase } => sign(&bundle, &keys, &passphrase, out),
        BundleCommand::Verify { bundle, trust } => verify(&bundle, &trust, out),
        BundleCommand::Inspect { bundle } => inspect::run(&bundle, out),
    }
}

/// The largest source document.
const LARGEST_SOURCE: ByteCount = ByteCount::mebibytes(1);
/// The largest trust root.
const LARGEST_TRUST_ROOT: ByteCount = ByteCount::mebibytes(1);

fn pack(source: &Path, path: &Path, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let packed = draft(source)?.pack().with_context(|| unpackable(source))?;
    write(&packed, path)?;
    let manifest = packed.manifest();
    let digest = packed.envelope().statement_digest();
    let text = || {
        format!(
            "packed {} {} ({digest}), not signed yet\n  {}",
            manifest.name,
            manifest.version,
            path.display()
        )
    };
    out.result(
        text,
        &json!({ "bundle": path, "digest": digest, "name": manifest.name, "version": manifest.version }),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// From a source to a run over `input`, with a key for development, as a person may paste it into a shell.
pub(crate) fn commands_to_run(source: &Path, bundle: &Path, input: &str) -> Vec<String> {
    let [source, bundle] = [source, bundle].map(shell_word);
    let martello = program();
    vec![
        format!("{martello} bundle pack {source} --out {bundle}"),
        format!("{martello} keys generate --out key.pem"),
        format!(
            "{martello} keys trust --root-key key.pem --release-key key.pem --threshold 1 --out trust.json"
        ),
        format!("{martello} bundle sign {bundle} --key key.pem"),
        format!("{martello} run {bundle} --trust trust.json --input {input} --output out"),
    ]
}

/// Reads a source and the files that it names.
pub(crate) fn draft(source: &Path) -> anyhow::Result<Draft> {
    draft_with(source, |_| Ok(()))
}

/// Reads a source, lets `change` edit it, and reads the files that it then names.
pub(crate) fn draft_with(
    source: &Path,
    change: impl FnOnce(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<Draft> {
    let folder = source.parent().unwrap_or(Path::new("."));
    let mut document = read_source(source)
        .with_context(|| mistaken::advice(source, Wanted::Source).unwrap_or_else(|| unpackable(source)))?;
    change(&mut document)?;
    // The same files give the same bytes: the time is that of the newest file, unless something else is said.
    let newest = Cell::new(modified(source).with_context(|| format!("reading `{}`", source.display()))?);
    let read = |name: &str| {
        let file = folder.join(name);
        newest.set(newest.get().max(modified(&file)?));
        Ok(read::read(&file, LARGEST_BLOB)?.into())
    };
    let epoch = source_date_epoch()?;
    Draft::resolve(document, || epoch.unwrap_or_else(|| newest.get()), read).map_err(|error| {
        let advice = unbuilt(source, &error).unwrap_or_else(|| unpackable(source));
        anyhow::Error::from(error).context(advice)
    })
}

/// Where a file that a build makes is not there: which build that is.
fn unbuilt(source: &Path, error: &DraftError) -> Option<Advice> {
    let DraftError::File { file, source: cause } = error else { return None };
    if cause.kind() != std::io::ErrorKind::NotFound {
        return None;
    }
    let next = if file.contains("/wasm32-wasip2/") || file.starts_with("wasm32-wasip2/") {
        let folder = source.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = shell_word(folder);
        format!("build it: `cargo build --target wasm32-wasip2 --profile component`, in the folder {folder}")
    } else if file.contains("target/components/") {
        "build what ships: `cargo xtask components`, in the checkout of Martello that the path leads to"
            .to_owned()
    } else {
        format!("put the file there, or mend its path, which is relative to `{}`", source.display())
    };
    Some(Advice { happened: format!("packing `{}`", source.display()), next })
}

fn unpackable(source: &Path) -> Advice {
    Advice {
        happened: format!("packing `{}`", source.display()),
        next: "mend the source; `martello bundle init` writes one that packs".to_owned(),
    }
}

fn read_source(path: &Path) -> anyhow::Result<Value> {
    let text = String::from_utf8(read::read(path, LARGEST_SOURCE)?).context("it is no text")?;
    if path.extension().is_some_and(|it| it == "json") {
        Ok(serde_json::from_str(&text)?)
    } else {
        Ok(toml::from_str(&text)?)
    }
}

fn modified(path: &Path) -> std::io::Result<Timestamp> {
    Timestamp::try_from(std::fs::metadata(path)?.modified()?).map_err(std::io::Error::other)
}

/// `SOURCE_DATE_EPOCH` (reproducible-builds.org), where it is set.
fn source_date_epoch() -> anyhow::Result<Option<Timestamp>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).context("reading SOURCE_DATE_EPOCH")?;
    Ok(Some(Timestamp::from_unix(seconds).context("reading SOURCE_DATE_EPOCH")?))
}

fn sign(
    path: &Path,
    keys: &[PathBuf],
    passphrase: &KnownPassphrase,
    out: &crate::Output,
) -> anyhow::Result<ExitCode> {
    let mut packed = match source_at(path).map_err(BundleError::from).and_then(|it| Packed::read(it.as_ref()))
    {
        Ok(packed) => packed,
        Err(error) => return refused(path, error, out),
    };
    for key in keys {
        packed.sign(&file::read_private(key, passphrase.source())?);
    }
    write(&packed, path)?;
    let signers: Vec<_> = packed.envelope().claimed_signers().collect();
    let digest = packed.envelope().statement_digest();
    let text = || {
        let signatures = counted(signers.len() as u64, "signature");
        format!("{} carries {signatures} ({digest})", path.display())
    };
    out.result(text, &json!({ "bundle": path, "digest": digest, "signers": signers }))?;
    Ok(ExitCode::SUCCESS)
}

fn write(packed: &Packed, path: &Path) -> anyhow::Result<()> {
    let layout: MemorySource = packed.layout().context("laying the bundle out")?;
    if path.extension().is_some_and(|it| it == "tar") {
        return file::replace_with(path, |file| write_archive(&layout, std::io::BufWriter::new(file)));
    }
    if path.is_file() {
        bail!("writing `{}`: it is a file; end its name in `.tar`", path.display());
    }
    write_folder(&layout, path).with_context(|| format!("writing `{}`", path.display()))
}

fn verify(path: &Path, trust: &Path, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let bytes = read::read(trust, LARGEST_TRUST_ROOT).with_context(|| Advice {
        happened: format!("reading trust root `{}`", trust.display()),
        next: "give a trust root made by `martello keys trust`".to_owned(),
    })?;
    let now = Timestamp::try_from(SystemTime::now()).context("reading the clock")?;
    let opened = TrustRoot::open(&bytes, Some(now)).map_err(|error| (trust, BundleError::from(error)));
    let verified = opened.and_then(|root| {
        let bundle = open_path(path, &root).map_err(|error| (path, error))?;
        bundle.verify_blobs().map_err(|error| (path, error))?;
        Ok(bundle)
    });
    let bundle = match verified {
        Ok(bundle) => bundle,
        Err((place, error)) => return refused(place, error, out),
    };
    let manifest = bundle.manifest();
    let signers = &manifest.verification().signers;
    let text = || {
        let signers: Vec<String> = signers.iter().map(|id| format!("\n  signed by {id}")).collect();
        let head = format!("{} {} verified ({})", manifest.name, manifest.version, bundle.digest());
        format!("{head}{}\n  {}", signers.concat(), not_enforced(manifest))
    };
    let value = json!({
        "verified": true, "name": manifest.name, "version": manifest.version,
        "security_version": manifest.security_version, "digest": bundle.digest(), "signers": signers,
        "not_enforced": manifest.not_enforced(),
    });
    out.result(text, &value)?;
    Ok(ExitCode::SUCCESS)
}

/// A line that keeps a reader from believing that a device acts on what it does not act on yet.
fn not_enforced(manifest: &Manifest) -> String {
    format!("accepted and not enforced yet: {}", manifest.not_enforced().join(", "))
}

/// Ends a command whose bundle did not hold with exit code 8, and one that could not read it with 1.
pub(crate) fn refused(path: &Path, error: BundleError, out: &crate::Output) -> anyhow::Result<ExitCode> {
    if !error.is_verification() {
        let next = "check the path and that the file can be read".to_owned();
        return Err(anyhow::Error::from(error)
            .context(Advice { happened: format!("reading `{}`", path.display()), next }));
    }
    // A trust root that does not hold comes with its own path, and what is an archive was meant as a bundle.
    let mistaken = mistaken::advice(path, Wanted::Bundle).and_then(|advice| match error {
        BundleError::Trust(_) => mistaken::advice(path, Wanted::TrustRoot),
        _ => Some(advice),
    });
    if let Some(Advice { happened, next }) = mistaken {
        return Ok(out.failure(exit::VERIFICATION_FAILED, &happened, &next));
    }
    let next = match &error {
        BundleError::Trust(martello_trust::TrustError::BelowThreshold { .. }) => {
            "let more of the release keys sign it (`martello bundle sign`), or use the trust root that names its keys"
        }
        BundleError::Trust(martello_trust::TrustError::Expired { .. }) => {
            "make the next trust root (`martello keys trust --root-version`)"
        }
        _ => "fetch the file again from where it was published; do not run it",
    };
    let happened = format!("`{}` is refused: {:#}", path.display(), anyhow::Error::from(error));
    Ok(out.failure(exit::VERIFICATION_FAILED, &happened, next))
}

#[cfg(test)]
#[path = "bundle/tests.rs"]
mod tests;
