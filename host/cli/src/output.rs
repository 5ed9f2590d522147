//! How a command speaks: tables and sentences for people on a terminal, JSON for programs.
//!
//! INVARIANT: whatever people read goes through [`printable`]: names of a model's parts and of files come from outside, and
//! a terminal obeys what stands in them (`names_that_steer_a_terminal_are_shown_as_escapes`).

use std::io::Write;
use std::process::ExitCode;

use martello_telemetry::{Layout, printable};
use serde::Serialize;

use crate::read::{Unreadable, next_after};

/// The form of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    Text,
    /// One JSON value on standard output.
    Json,
}

/// Where and how a command writes its result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The form of the result.
    pub format: Format,
    /// Whether progress is left out.
    pub quiet: bool,
}

/// The documented exit codes.
pub(crate) mod exit {
    /// Something failed.
    pub(crate) const FAILURE: u8 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// A limit or a policy forbids it.
    pub(crate) const REFUSED: u8 = 4;
    /// A signal came before all was done, as a shell has it for Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 130;
    /// A signature, digest or manifest did not hold.
    pub(crate) const VERIFICATION_FAILED: u8 = 8;
}

impl Output {
    /// Writes the result: `text` for people, `value` for programs.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn result<T: Serialize>(
        &self,
        text: impl FnOnce() -> String,
        value: &T,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Text => {
                let text = text();
                let text = printable(&text, Layout::Lines);
                out.write_all(text.as_bytes())?;
                if !text.ends_with('\n') && !text.is_empty() {
                    out.write_all(b"\n")?;
                }
            }
            Format::Json => {
                serde_json::to_writer(&mut out, value)?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()?;
        Ok(())
    }

    /// A line about what is going on, for people: on standard error, and not when quiet.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            // Standard error may be closed; there is nobody to tell then.
            let _ = writeln!(std::io::stderr().lock(), "{}", printable(line, Layout::Lines));
        }
    }

    /// Ends a command that failed: one line of what happened, one of what to do.
    pub(crate) fn failure(&self, code: u8, happened: &str, next: &str) -> ExitCode {
        let mut err = std::io::stderr().lock();
        let [happened, next] = [happened, next].map(|text| printable(text, Layout::Line));
        let _ = writeln!(err, "error: {happened}\n  try: {next}");
        ExitCode::from(code)
    }
}

/// What to do about an error: what the command advises, or what fits the cause.
pub(crate) fn next_step(error: &anyhow::Error) -> String {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return advice.next.clone();
    }
    let known = error.chain().find_map(|cause| {
        let unreadable = cause.downcast_ref().and_then(Unreadable::next);
        unreadable.or_else(|| cause.downcast_ref().and_then(next_after))
    });
    known.unwrap_or("run the command with `--log debug` to see more").to_owned()
}

/// What to do about an error, for the last line that a person sees. Attach it with `anyhow::Context`.
#[derive(Debug, Clone)]
pub(crate) struct Advice {
    /// What happened.
    pub happened: String,
    /// What to do.
    pub next: String,
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.happened)
    }
}

impl std::error::Error for Advice {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_next_step_fits_the_cause_and_the_commands_own_advice_comes_first() {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let reading = anyhow::Error::from(gone()).context("reading the input folder");
        assert_eq!(next_step(&reading), "check the path: nothing is there");
        let device = anyhow::Error::from(Unreadable::NotAFile).context("reading trust root");
        assert!(next_step(&device).contains("regular file"));
        let advised = Err::<(), _>(gone())
            .with_context(|| Advice { happened: "reading".to_owned(), next: "ask".to_owned() })
            .context("packing");
        assert_eq!(next_step(&advised.unwrap_err()), "ask");
        assert!(next_step(&anyhow::anyhow!("odd")).contains("--log debug"));
    }
}
