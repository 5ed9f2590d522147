//! How a command speaks: tables and sentences for people on a terminal, JSON for programs.
//!
//! INVARIANT: whatever people read goes through [`printable`]: names of a model's parts and of files come from outside, and
//! a terminal obeys what stands in them (`names_that_steer_a_terminal_are_shown_as_escapes`).

use std::io::Write;
use std::path::{Path, PathBuf};
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
    /// Writes the result: `text` for people, `value` for programs. A reader that has seen enough (`| head`) and is gone is
    /// nobody to tell, and changes nothing about how the command ends.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn result<T: Serialize>(
        &self,
        text: impl FnOnce() -> String,
        value: &T,
    ) -> anyhow::Result<()> {
        let mut bytes = match self.format {
            Format::Text => printable(&text(), Layout::Lines).into_owned().into_bytes(),
            Format::Json => serde_json::to_vec(value)?,
        };
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written?),
        }
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
    known_step(error).unwrap_or_else(|| "run the command with `--log debug` to see more".to_owned())
}

/// As [`next_step`], where there is more to do than to look closer.
pub(crate) fn known_step(error: &anyhow::Error) -> Option<String> {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return Some(advice.next.clone());
    }
    let known = error.chain().find_map(|cause| {
        let unreadable = cause.downcast_ref().and_then(Unreadable::next);
        unreadable.or_else(|| cause.downcast_ref().and_then(next_after))
    });
    known.map(ToOwned::to_owned)
}

/// A count with its noun: `1 object`, `2 objects`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// This program as it can be called from any folder: by its name where it was called by its name, else by its path.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() < 2 {
        return "martello".to_owned();
    }
    std::env::current_exe().map_or_else(|_| shell_word(&called), |path| shell_word(&path))
}

/// A path as a word of a command that a person can paste into a shell.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '/' | '.' | '-' | '_' | '+' | '=' | ':');
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
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
    fn a_noun_agrees_with_its_count() {
        let counts = [0, 1, 2].map(|count| counted(count, "object"));
        assert_eq!(counts, ["0 objects", "1 object", "2 objects"]);
    }

    #[test]
    fn a_path_with_blanks_and_quotes_is_one_word_of_a_shell() {
        for path in ["/plain/path-1.tar", "/with blank/it's", "", "/a;b$c", "/ü/ä"] {
            let script = format!("printf %s {}", shell_word(Path::new(path)));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
        }
    }

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
