//! `martello exec`: a `wasi:cli` component, once, with nothing but what the command line grants.

pub(crate) mod local;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use martello_inference::NnState;
use martello_runtime::{CommandCall, CommandFailure, FolderAccess, FolderGrant, LoadError};

use crate::Output;
use local::{LimitArgs, REFUSED, SandboxArgs, SettingArgs};

/// Arguments of `martello exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// The component file.
    file: PathBuf,
    /// Arguments for the component, behind `--`.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
    /// A variable of its environment, as NAME=VALUE, or NAME to pass on ours (may be given more than once).
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    environment: Vec<String>,
    /// A folder that it may reach, as HOST::GUEST, with `:ro` to read only (may be given more than once).
    #[arg(long = "dir", value_name = "HOST::GUEST[:ro]", value_parser = folder)]
    folders: Vec<FolderGrant>,
    #[command(flatten)]
    settings: SettingArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

/// Runs the component. Its exit code becomes ours; 4 says that it was refused or stopped at a limit.
///
/// # Errors
/// When it could not be tried.
pub(crate) fn run(args: ExecArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let limits = args.limits.limits()?;
    let component = local::component(&args.file, &limits)?;
    let environment = environment(&args.environment)?;
    let mut config = args.sandbox.config()?;
    config.guest_threads = 1;
    config.shared_instances = 0;
    let sandbox = local::sandbox(&config)?;
    let command = match sandbox.load_command(&component, &limits, local::grants()) {
        Ok(command) => command,
        Err(error @ (LoadError::Imports { .. } | LoadError::TooMuchMemory { .. })) => {
            return Ok(out.failure(REFUSED, &error.to_string(), "use a component that asks for less"));
        }
        Err(error @ LoadError::WrongWorld { .. }) => {
            return Ok(out.failure(
                REFUSED,
                &error.to_string(),
                "`martello serve` runs wasi:http components; a stage runs in a bundle (`martello bundle pack`, `martello run`)",
            ));
        }
        Err(error) => return Err(error).context("loading the component"),
    };
    let name = args.file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let arguments = std::iter::once(name).chain(args.arguments).collect();
    let settings = args.settings.settings();
    let state = NnState::default();
    let call = CommandCall { arguments, environment, settings, folders: args.folders, state };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = command.run(call) => Some(ended),
            // The future is dropped, and that stops the guest.
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match ended {
        None => Ok(ExitCode::from(crate::output::exit::INTERRUPTED)),
        Some(Ok(report)) => Ok(ExitCode::from(report.exit)),
        Some(Err(failure @ CommandFailure::Folder { .. })) => Err(failure.into()),
        Some(Err(CommandFailure::Stopped { code, detail, backtrace, .. })) => {
            if let Some(backtrace) = backtrace {
                out.note(backtrace.trim_end());
            }
            let next = format!("`martello explain {code}`");
            Ok(out.failure(REFUSED, &format!("the component was stopped with `{code}`: {detail}"), &next))
        }
    }
}

fn environment(given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Ok((
                text.clone(),
                std::env::var(text).with_context(|| format!("passing on variable {text}"))?,
            )),
        })
        .collect()
}

fn folder(text: &str) -> Result<FolderGrant, String> {
    let (text, access) = match text.strip_suffix(":ro") {
        Some(text) => (text, FolderAccess::Read),
        None => (text, FolderAccess::ReadWrite),
    };
    match text.split_once("::") {
        Some((host, guest)) if !host.is_empty() && !guest.is_empty() => {
            Ok(FolderGrant { host: host.into(), guest: guest.to_owned(), access })
        }
        _ => Err("a folder is granted as HOST::GUEST or HOST::GUEST:ro".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_grant_says_both_names_and_may_be_for_reading_only() {
        let grant = folder("/srv/in::/data:ro").unwrap();
        assert_eq!((grant.host.to_str(), grant.guest.as_str()), (Some("/srv/in"), "/data"));
        assert_eq!(grant.access, FolderAccess::Read);
        assert_eq!(folder(".::.").unwrap().access, FolderAccess::ReadWrite);
        for text in ["/srv", "::/data", "/srv::", "/srv:/data"] {
            assert!(folder(text).is_err(), "{text}");
        }
    }
}
