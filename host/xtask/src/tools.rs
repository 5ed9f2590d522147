//! What the interoperability tests compare with, installed beside the build.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::build::{GUEST_TARGET, cargo, check, guest_target, root, say, target};

/// Debian packages with DICOM tools and an archive that somebody else wrote.
const DEBIAN: [&str; 3] = ["dcmtk", "dicom3tools", "orthanc"];
/// A program of each.
const PROGRAMS: [&str; 3] = ["dcmdump", "dciodvfy", "Orthanc"];

/// Programs of crates.io as WebAssembly components: package, version, and the example that is meant where it is no
/// program of the package. They run in the sandbox as they were published.
const UPSTREAM: [(&str, &str, Option<&str>); 2] =
    [("uu_cksum", "0.12.0", None), ("wstd", "0.6.8", Some("http_server"))];

/// The Python environment of the tests.
pub(crate) fn environment() -> PathBuf {
    target().join("tools/venv")
}

/// Its interpreter, where it is installed.
pub(crate) fn python() -> Option<PathBuf> {
    Some(environment().join("bin/python")).filter(|python| python.exists())
}

/// ONNX Runtime's library of that environment, where it is installed.
pub(crate) fn onnxruntime() -> Option<PathBuf> {
    let libraries = std::fs::read_dir(environment().join("lib")).ok()?.flatten();
    libraries
        .flat_map(|python| std::fs::read_dir(python.path().join("site-packages/onnxruntime/capi")))
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("libonnxruntime.so")
        })
}

/// Installs everything. Debian's packages want root.
pub(crate) fn install() -> anyhow::Result<()> {
    if PROGRAMS.iter().any(|tool| which(tool).is_none()) {
        say("installing dcmtk, dicom3tools and Orthanc from Debian");
        let apt = || {
            let mut apt = Command::new("apt-get");
            apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Dpkg::Use-Pty=0"]);
            apt
        };
        check(apt().arg("update"))?;
        check(apt().args(["install", "--yes", "--no-install-recommends"]).args(DEBIAN))?;
    }
    upstream()?;
    let requirements = root().join("tests/oracle/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).context("reading tests/oracle/requirements.txt")?;
    let installed = environment().join("installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    say("installing pydicom, pynetdicom, numpy and ONNX Runtime from PyPI");
    check(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment()))?;
    check(
        Command::new(environment().join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&requirements),
    )?;
    std::fs::write(&installed, wanted).context("noting what was installed")
}

/// Builds other people's components into `tools/upstream/bin`. Cargo itself knows which of them are there.
fn upstream() -> anyhow::Result<()> {
    guest_target()?;
    let folder = target().join("tools/upstream");
    for (package, version, example) in UPSTREAM {
        say(&format!("building {package} {version} for WebAssembly"));
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--target", GUEST_TARGET, "--version", version]);
        install.arg("--root").arg(&folder).arg("--target-dir").arg(folder.join("build"));
        if let Some(example) = example {
            install.args(["--example", example]);
        }
        check(install.arg(package))?;
    }
    Ok(())
}

/// Where a program is on the path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}
