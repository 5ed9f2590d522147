//! Building: the workspace's folders, cargo, and the WebAssembly target.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The target of all guests.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";
/// The components that ship.
pub(crate) const COMPONENTS: [&str; 5] =
    ["dicom-guard", "dicom-deid", "deid-verify", "dicom-render", "classify"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    // The manifest of xtask stands two folders below it.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The folder for everything that is built.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Tells what is going on.
#[expect(clippy::print_stderr, reason = "a developer's tool talks on standard error")]
pub(crate) fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// A cargo command in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).stdin(Stdio::null());
    cargo
}

/// Runs a command and fails when it fails.
pub(crate) fn check(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and returns what it printed.
pub(crate) fn read(command: &mut Command) -> anyhow::Result<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("starting `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading what `{shown}` printed"))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Adds the WebAssembly target where it is missing.
pub(crate) fn guest_target() -> anyhow::Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = read(Command::new(rustc).current_dir(root()).args([
        "--print",
        "target-libdir",
        "--target",
        GUEST_TARGET,
    ]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    say(&format!("adding the Rust target {GUEST_TARGET}"));
    check(Command::new("rustup").current_dir(root()).args(["target", "add", GUEST_TARGET]))
        .with_context(|| format!("the Rust target {GUEST_TARGET} is missing; install it with your toolchain"))
}

/// Builds the components that ship into target/components.
pub(crate) fn components() -> anyhow::Result<()> {
    guest_target()?;
    say("building the components for WebAssembly");
    let mut build = cargo();
    build.args(["build", "--locked", "--target", GUEST_TARGET, "--profile", "component"]);
    for component in COMPONENTS {
        build.args(["--package", component]);
    }
    check(&mut build)?;
    // The bundle's source names them here, wherever cargo builds.
    let folder = root().join("target/components");
    std::fs::create_dir_all(&folder).context("making target/components")?;
    for component in COMPONENTS {
        let built = target().join(GUEST_TARGET).join("component").join(component.replace('-', "_"));
        let built = built.with_extension("wasm");
        let place = folder.join(component).with_extension("wasm");
        place_changed(&built, &place).with_context(|| format!("copying {}", built.display()))?;
    }
    Ok(())
}

/// Copies a file where the copy would hold other bytes. One that holds the same keeps its time, out of which `martello bundle
/// pack` makes the time of the bundle: the same components give the same bundle, digest and all.
fn place_changed(built: &Path, place: &Path) -> std::io::Result<()> {
    let bytes = std::fs::read(built)?;
    if std::fs::read(place).is_ok_and(|placed| placed == bytes) {
        return Ok(());
    }
    std::fs::write(place, bytes)
}

/// Builds the host programs in the development profile and returns the folder that they are in.
pub(crate) fn host() -> anyhow::Result<PathBuf> {
    guest_target()?;
    say("building the host (the first time takes 10 to 25 minutes on two cores)");
    // Everything at once, tests included: cargo unifies features over what it builds together, so that every command
    // shares one build of each dependency.
    check(cargo().args(["build", "--locked", "--workspace", "--all-targets"]))?;
    Ok(target().join("debug"))
}

/// Builds one of the misbehaving guests and returns where it is.
pub(crate) fn guest(name: &str) -> anyhow::Result<PathBuf> {
    guest_target()?;
    say(&format!("building the guest {name}"));
    let folder = target().join("guests-build");
    let mut build = cargo();
    build.args([
        "build",
        "--locked",
        "--release",
        "--target",
        GUEST_TARGET,
        "--manifest-path",
        "tests/guests/Cargo.toml",
    ]);
    check(build.arg("--target-dir").arg(&folder).args(["--example", name]))?;
    Ok(folder.join(GUEST_TARGET).join("release/examples").join(name.replace('-', "_")).with_extension("wasm"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_component_that_was_built_again_to_the_same_bytes_keeps_the_time_of_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let [built, place] = ["built", "place"].map(|name| folder.path().join(name));
        std::fs::write(&built, "one").unwrap();
        place_changed(&built, &place).unwrap();
        let earlier = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        std::fs::File::options().write(true).open(&place).unwrap().set_modified(earlier).unwrap();
        let modified = || std::fs::metadata(&place).unwrap().modified().unwrap();
        std::fs::write(&built, "one").unwrap();
        place_changed(&built, &place).unwrap();
        assert_eq!(modified(), earlier);
        std::fs::write(&built, "two").unwrap();
        place_changed(&built, &place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"two");
        assert_ne!(modified(), earlier);
    }
}
