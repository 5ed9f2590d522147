//! `martello new`: a component crate that builds, tests, packs and runs from its first minute.
//!
//! What a device receives may identify a person, so nothing runs on it alone: the bundle of a new component has the stages of
//! the bundle that ships in front, taken out of its source, so that there is no second description of them to grow old.

mod front;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use martello_vocab::{ByteCount, Name};
use serde_json::json;

use crate::bundle::commands_to_run;
use crate::output::{Advice, shell_word};
use crate::read::read;
use front::Front;

/// The largest manifest of a crate.
const LARGEST_MANIFEST: ByteCount = ByteCount::mebibytes(1);

/// Arguments of `martello new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// The component's name: lower-case words joined by hyphens.
    name: Name,
    /// The folder to be made. Without it, the name.
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// A checkout of Martello, or the folder `guest-sdk` in it. Without it, the checkout around the new folder, or around the
    /// current one.
    #[arg(long, value_name = "FOLDER")]
    sdk: Option<PathBuf>,
}

/// The files of a component: where each goes, and what it is made of.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../templates/component/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("../templates/component/config.toml.in")),
    (".gitignore", include_str!("../templates/component/gitignore.in")),
    ("src/lib.rs", include_str!("../templates/component/lib.rs.in")),
    ("bundle.toml", include_str!("../templates/component/bundle.toml.in")),
    ("README.md", include_str!("../templates/component/README.md.in")),
];

/// Runs `martello new`.
///
/// # Errors
/// Where the name does for no crate, the SDK is not found, or the folder exists already.
pub(crate) fn run(args: NewArgs, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let NewArgs { name, path, sdk } = args;
    let folder = path.unwrap_or_else(|| PathBuf::from(name.as_str()));
    let identifiers = Identifiers::of(&name)?;
    let sdk = sdk_folder(sdk.as_deref(), &folder)?;
    let checkout = sdk.parent().unwrap_or(&sdk);
    let front = Front::of(checkout)?;
    // A new folder only: nothing of anybody's is written over.
    if let Some(parent) = folder.parent().filter(|it| !it.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).with_context(|| format!("making folder `{}`", parent.display()))?;
    }
    std::fs::create_dir(&folder).with_context(|| Advice {
        happened: format!("making folder `{}`", folder.display()),
        next: "give `--path` a folder that does not exist yet".to_owned(),
    })?;
    // JSON's string syntax is TOML's too.
    let sdk = serde_json::to_string(&sdk).context("the SDK's path is not text")?;
    let next = commands(checkout);
    for (file, template) in FILES {
        let text = identifiers
            .fill(template, &sdk)
            .replace("@FRONT_PARTS@", &front.parts)
            .replace("@FRONT_STAGES@", &front.stages)
            .replace("@COMMANDS@", &next.join("\n"));
        let file = folder.join(file);
        let parent = file.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).with_context(|| format!("making folder `{}`", parent.display()))?;
        std::fs::write(&file, text).with_context(|| format!("writing `{}`", file.display()))?;
    }
    let text = || format!("wrote {}\nthen, in that folder:\n  {}", folder.display(), next.join("\n  "));
    out.result(text, &json!({ "component": name, "path": folder, "next": next }))?;
    Ok(ExitCode::SUCCESS)
}

/// From the new folder to a run over the sample files of the checkout, with a key for development.
fn commands(checkout: &Path) -> Vec<String> {
    let manifest = shell_word(&checkout.join("Cargo.toml"));
    let samples = shell_word(&checkout.join("tests/fixtures/dicom"));
    let builds = [
        "cargo test".to_owned(),
        "cargo build --target wasm32-wasip2 --profile component".to_owned(),
        format!("cargo run --manifest-path {manifest} --package xtask -- components"),
    ];
    let runs = commands_to_run(Path::new("bundle.toml"), Path::new("bundle.tar"), &samples);
    builds.into_iter().chain(runs).collect()
}

/// What a name becomes in Cargo and in Rust.
struct Identifiers {
    package: String,
    library: String,
    stage: String,
}

/// Words that Cargo or Rust keep for themselves.
const RESERVED: [&str; 47] = [
    "as", "async", "await", "break", "const", "continue", "core", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "static", "std", "struct", "super", "test", "trait", "true", "try", "type",
    "union", "unsafe", "use", "where", "while", "yield", "alloc", "outcome", "payload",
];

impl Identifiers {
    fn of(name: &Name) -> anyhow::Result<Self> {
        let package = name.as_str();
        if package.contains('.') || RESERVED.contains(&package) || package == "martello-guest-sdk" {
            bail!(Advice {
                happened: format!("`{package}` does for no crate"),
                next: "give another name: lower-case words joined by hyphens, no dots, no word of Rust"
                    .to_owned(),
            });
        }
        let mut stage = String::new();
        for word in package.split(['-', '_']) {
            let mut letters = word.chars();
            stage.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            stage.push_str(letters.as_str());
        }
        // A suffix, so that no name meets one that the file imports.
        stage.push_str("Stage");
        Ok(Self { package: package.to_owned(), library: package.replace('-', "_"), stage })
    }

    fn fill(&self, template: &str, sdk: &str) -> String {
        template
            .replace("@NAME@", &self.package)
            .replace("@CRATE@", &self.library)
            .replace("@TYPE@", &self.stage)
            .replace("@SDK@", sdk)
    }
}

/// The SDK named, or that of the checkout in which the new folder will stand, or in which this runs.
fn sdk_folder(named: Option<&Path>, folder: &Path) -> anyhow::Result<PathBuf> {
    let is_sdk = |it: &Path| {
        let manifest = read(&it.join("Cargo.toml"), LARGEST_MANIFEST);
        manifest.is_ok_and(|text| String::from_utf8_lossy(&text).contains("name = \"martello-guest-sdk\""))
    };
    let here = std::env::current_dir().context("reading the current folder")?;
    let start = here.join(folder);
    let (mut candidates, happened) = match named {
        Some(named) => {
            let happened =
                format!("looking for the SDK: neither `{0}` nor `{0}/guest-sdk` is it", named.display());
            (vec![named.to_owned(), named.join("guest-sdk")], happened)
        }
        None => {
            let around = start.ancestors().chain(here.ancestors()).map(|it| it.join("guest-sdk"));
            let happened =
                "looking for the SDK: no checkout of Martello is around the new folder or the current one";
            (around.collect(), happened.to_owned())
        }
    };
    candidates.retain(|it| is_sdk(it));
    let found = candidates.first().with_context(|| Advice {
        happened,
        next: "give `--sdk` the path of a checkout of Martello, relative to the current folder, as in `--sdk ../martello`"
            .to_owned(),
    })?;
    found.canonicalize().with_context(|| format!("reading `{}`", found.display()))
}

#[cfg(test)]
mod tests;
