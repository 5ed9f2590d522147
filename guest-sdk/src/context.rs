//! What the host offers to a stage beside its input.

use std::str::FromStr;

use crate::nn::Graph;
use crate::{Fault, Payload, Sink, raw};

/// What the host offers to a stage beside its input: settings, assets, outputs, the log, pseudonyms, models.
///
/// Each is an import of its own. A component that never asks for pseudonyms or models does not import them.
pub struct Context {
    pub(crate) raw: raw::Context,
}

impl Context {
    pub(crate) fn new(raw: raw::Context) -> Self {
        Self { raw }
    }

    /// A setting that the manifest gives this stage, as text. None where the manifest is silent.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.raw.setting(name)
    }

    /// A setting read as a number, a boolean or another type that reads from text. None where the manifest is silent.
    ///
    /// # Errors
    /// `bad-setting` where the text does not read as a `T`.
    pub fn parsed_setting<T: FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        let Some(text) = self.setting(name) else { return Ok(None) };
        let bad = |_| Fault::internal(format!("bad-setting: `{name}` is no {}", std::any::type_name::<T>()));
        text.trim().parse().map(Some).map_err(bad)
    }

    /// A setting that the stage cannot work without.
    ///
    /// # Errors
    /// `missing-setting` where the manifest is silent.
    pub fn required_setting(&self, name: &str) -> Result<String, Fault> {
        self.setting(name).ok_or_else(|| Fault::internal(format!("missing-setting: `{name}`")))
    }

    /// Opens a data file that is signed with the bundle and that the manifest grants to this stage.
    ///
    /// # Errors
    /// [`Fault::Policy`] for any other name.
    pub fn asset(&self, name: &str) -> Result<Payload, Fault> {
        self.raw.asset(name).map(Payload::new)
    }

    /// Opens an output on one of the stage's ports as the manifest names them, for example `image`. A port may be
    /// opened more than once (one output a frame).
    ///
    /// # Errors
    /// [`Fault::Policy`] for a port that the manifest does not declare.
    pub fn open_output(
        &self,
        port: &str,
        media_type: &str,
        attributes: &[(&str, &str)],
    ) -> Result<Sink, Fault> {
        self.raw.open_output(port, media_type, attributes).map(Sink::new)
    }

    /// Writes a line to the local log of the device. Never put values out of a payload into it: whatever
    /// the level, the device shows the words at debug alone, for fear of that. The macros
    /// [`trace!`](crate::trace), [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and
    /// [`error!`](crate::error) format the line.
    pub fn log(&self, level: Level, message: &str) {
        self.raw.log(level, message);
    }

    /// Keyed pseudonyms, where the manifest grants them.
    pub fn pseudonyms(&self) -> Pseudonyms<'_> {
        Pseudonyms { context: self }
    }

    /// Opens a model of the bundle that the manifest grants to this stage.
    ///
    /// # Errors
    /// See [`Graph::by_name`].
    pub fn graph(&self, name: &str) -> Result<Graph, Fault> {
        Graph::by_name(self, name)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

/// How grave a line of the local log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step, for finding an error.
    Trace,
    /// What helps to find an error.
    Debug,
    /// A change worth remembering.
    Info,
    /// The stage coped.
    Warn,
    /// A person must act.
    Error,
}

/// Keyed pseudonyms. The key stays in the host; the same input gives the same output everywhere on a site. Each
/// method fails with [`Fault::Policy`] where the manifest does not grant pseudonyms.
#[derive(Debug, Clone, Copy)]
pub struct Pseudonyms<'a> {
    context: &'a Context,
}

impl Pseudonyms<'_> {
    /// A replacement for a DICOM UID: `2.25.` and a decimal number.
    ///
    /// # Errors
    /// [`Fault::Policy`] without the grant.
    pub fn uid(&self, value: &str) -> Result<String, Fault> {
        self.context.raw.uid(value)
    }

    /// Replacements for several UIDs, in order, in one call.
    ///
    /// # Errors
    /// [`Fault::Policy`] without the grant.
    pub fn uids(&self, values: &[String]) -> Result<Vec<String>, Fault> {
        let replaced = self.context.raw.uids(values)?;
        if replaced.len() != values.len() {
            return Err(Fault::internal("bad-pseudonyms: the host returned another number of them"));
        }
        Ok(replaced)
    }

    /// The pseudonym of a subject: 16 characters of base32.
    ///
    /// # Errors
    /// [`Fault::Policy`] without the grant.
    pub fn subject(&self, value: &str) -> Result<String, Fault> {
        self.context.raw.subject(value)
    }

    /// By how many days the dates of a subject move back: 1 to 3650.
    ///
    /// # Errors
    /// [`Fault::Policy`] without the grant.
    pub fn shift_days(&self, subject: &str) -> Result<u32, Fault> {
        self.context.raw.shift_days(subject)
    }

    /// Which key made these, for the record.
    pub fn key_id(&self) -> String {
        self.context.raw.key_id()
    }
}

/// Logs at a level, with the arguments of `format!`: `log_line!(context, Level::Info, "{} frames", frames)`.
#[macro_export]
macro_rules! log_line {
    ($context:expr, $level:expr, $($message:tt)+) => {
        $crate::Context::log($context, $level, &::std::format!($($message)+))
    };
}

/// Logs every step: `trace!(context, "frame {index}")`.
#[macro_export]
macro_rules! trace {
    ($context:expr, $($message:tt)+) => { $crate::log_line!($context, $crate::Level::Trace, $($message)+) };
}

/// Logs what helps to find an error: `debug!(context, "{} elements", count)`.
#[macro_export]
macro_rules! debug {
    ($context:expr, $($message:tt)+) => { $crate::log_line!($context, $crate::Level::Debug, $($message)+) };
}

/// Logs a change worth remembering: `info!(context, "window from the header")`.
#[macro_export]
macro_rules! info {
    ($context:expr, $($message:tt)+) => { $crate::log_line!($context, $crate::Level::Info, $($message)+) };
}

/// Logs that the stage coped: `warn!(context, "no spacing, square pixels assumed")`.
#[macro_export]
macro_rules! warn {
    ($context:expr, $($message:tt)+) => { $crate::log_line!($context, $crate::Level::Warn, $($message)+) };
}

/// Logs that a person must act: `error!(context, "asset `table` does not read")`.
#[macro_export]
macro_rules! error {
    ($context:expr, $($message:tt)+) => { $crate::log_line!($context, $crate::Level::Error, $($message)+) };
}
