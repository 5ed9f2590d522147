//! A mock host for native unit tests and native benches.
//!
//! It does what the device's host does, in memory, and records what it was asked. It can be told to fail: a read at
//! an offset, an output budget, a model's error. Data class, grants of imports and time are not mocked.

mod pseudonyms;
pub(crate) mod raw;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use crate::nn::NnError;
use crate::{Evidence, Fault, Level, Outcome, Stage, Tensor, TensorView};

/// Runs a mock model: tensors by input name in, tensors by output name out.
pub type Model = dyn Fn(&[(&str, TensorView<'_>)]) -> Result<Vec<(String, Tensor)>, NnError>;

/// The key of the pseudonyms where a test names none.
const DEFAULT_KEY: &[u8] = b"mock host";

/// A host for one payload. Build it, [`run`](Self::run) a stage, then ask what was recorded.
///
/// By default there is an empty payload, no port is declared, nothing fails, and pseudonyms are granted.
#[derive(Clone)]
pub struct Host(Rc<State>);

#[derive(Clone)]
pub(crate) struct State {
    input: Rc<Held>,
    settings: BTreeMap<String, String>,
    assets: BTreeMap<String, Rc<Held>>,
    ports: BTreeSet<String>,
    pseudonym_key: Option<Vec<u8>>,
    read_failure: Option<(u64, Fault)>,
    output_limit: Option<u64>,
    evidence: Option<BTreeMap<String, BTreeSet<String>>>,
    models: BTreeMap<String, Rc<Model>>,
    record: RefCell<Record>,
}

/// Bytes that the mock host holds.
#[derive(Clone)]
pub(crate) struct Held {
    name: String,
    bytes: Vec<u8>,
    media_type: String,
    attributes: Vec<(String, String)>,
}

/// What the host was asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Ranges read of the input.
    pub reads: Vec<Range<u64>>,
    /// Names of assets asked for, refused ones included.
    pub assets: Vec<String>,
    /// Names of settings asked for.
    pub settings: Vec<String>,
    /// Lines of the log.
    pub log: Vec<(Level, String)>,
    /// Values for which pseudonyms were asked: UIDs and subjects.
    pub pseudonyms: Vec<String>,
    /// Crossings of the boundary to ask for pseudonyms.
    pub pseudonym_calls: usize,
    /// Names of models that ran.
    pub model_runs: Vec<String>,
    /// Lengths of the writes into sinks.
    pub writes: Vec<usize>,
    /// Outputs that were finished, in the order of their ends.
    pub outputs: Vec<MockOutput>,
    /// Outputs that were dropped unfinished, by port.
    pub discarded: Vec<String>,
}

/// An output that was finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MockOutput {
    /// The port.
    pub port: String,
    /// IANA media type.
    pub media_type: String,
    /// Attributes in the order given.
    pub attributes: Vec<(String, String)>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl MockOutput {
    /// The attribute of this name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

impl Host {
    /// A host with an empty payload of type `application/octet-stream`.
    pub fn new() -> Self {
        Self(Rc::new(State {
            input: Rc::new(Held::new("input", Vec::new(), "application/octet-stream")),
            settings: BTreeMap::new(),
            assets: BTreeMap::new(),
            ports: BTreeSet::new(),
            pseudonym_key: Some(DEFAULT_KEY.to_vec()),
            read_failure: None,
            output_limit: None,
            evidence: None,
            models: BTreeMap::new(),
            record: RefCell::default(),
        }))
    }

    /// The payload to work on.
    #[must_use]
    pub fn payload(self, bytes: impl Into<Vec<u8>>, media_type: &str) -> Self {
        self.with(|state| state.input = Rc::new(Held::new("input", bytes.into(), media_type)))
    }

    /// A tensor as the payload to work on, with its attributes `dtype` and `shape`.
    #[must_use]
    pub fn tensor_payload(self, tensor: &Tensor) -> Self {
        let dtype = tensor.element_type().as_str();
        self.payload(tensor.view().bytes(), crate::TENSOR_MEDIA_TYPE)
            .attribute("dtype", dtype)
            .attribute("shape", &crate::shape_text(tensor.shape()))
    }

    /// An attribute of the payload. Call it behind [`Self::payload`].
    #[must_use]
    pub fn attribute(self, name: &str, value: &str) -> Self {
        let pair = (name.to_owned(), value.to_owned());
        self.with(|state| Rc::make_mut(&mut state.input).attributes.push(pair))
    }

    /// A setting.
    #[must_use]
    pub fn setting(self, name: &str, value: &str) -> Self {
        self.with(|state| drop(state.settings.insert(name.to_owned(), value.to_owned())))
    }

    /// An asset that is granted.
    #[must_use]
    pub fn asset(self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let held = Rc::new(Held::new(name, bytes.into(), "application/octet-stream"));
        self.with(|state| drop(state.assets.insert(name.to_owned(), held)))
    }

    /// A port that is declared.
    #[must_use]
    pub fn port(self, name: &str) -> Self {
        self.with(|state| state.ports.extend([name.to_owned()]))
    }

    /// The key of the pseudonyms.
    #[must_use]
    pub fn pseudonym_key(self, key: &[u8]) -> Self {
        self.with(|state| state.pseudonym_key = Some(key.to_vec()))
    }

    /// Grants no pseudonyms: asking for one is a [`Fault::Policy`].
    #[must_use]
    pub fn without_pseudonyms(self) -> Self {
        self.with(|state| state.pseudonym_key = None)
    }

    /// Every read of the input that touches the byte at `offset` fails.
    #[must_use]
    pub fn read_fails_at(self, offset: u64, fault: Fault) -> Self {
        self.with(|state| state.read_failure = Some((offset, fault)))
    }

    /// Writes fail with [`Fault::Limit`] once all outputs together go over so many bytes.
    #[must_use]
    pub fn output_limit(self, bytes: u64) -> Self {
        self.with(|state| state.output_limit = Some(bytes))
    }

    /// Words that the manifest lists for the evidence, under `profiles`, `editions`, `actions` or `notes`. After the
    /// first call, [`run`](Self::run) fails with [`Fault::Internal`] and the code `guest-evidence` at a word that is not
    /// listed, as the device does; before it, every word passes. A digest passes as edition, and the note of the
    /// pseudonyms' key always.
    #[must_use]
    pub fn evidence(self, list: &str, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned());
        self.with(|state| {
            state.evidence.get_or_insert_default().entry(list.to_owned()).or_default().extend(words);
        })
    }

    /// A model that is granted.
    #[must_use]
    pub fn model(
        self,
        name: &str,
        run: impl Fn(&[(&str, TensorView<'_>)]) -> Result<Vec<(String, Tensor)>, NnError> + 'static,
    ) -> Self {
        self.with(|state| drop(state.models.insert(name.to_owned(), Rc::new(run))))
    }

    /// Runs a stage on the payload and gives what it returned and what it wrote.
    ///
    /// # Errors
    /// The stage's fault, or `guest-evidence`, see [`Self::evidence`].
    pub fn run<S: Stage>(&self) -> Result<(Outcome, Vec<MockOutput>), Fault> {
        self.call(|input, context| {
            let outcome = S::process(input, context)?;
            self.0.check_evidence(outcome.evidence.as_ref())?;
            Ok(outcome)
        })
    }

    /// As [`Self::run`], for a function or a closure.
    ///
    /// # Errors
    /// The function's fault.
    pub fn call<T>(
        &self,
        process: impl FnOnce(&crate::Payload, &crate::Context) -> Result<T, Fault>,
    ) -> Result<(T, Vec<MockOutput>), Fault> {
        let first = self.0.record.borrow().outputs.len();
        let payload = crate::Payload::new(raw::Payload::new(self.0.input.clone(), self.0.clone()));
        let context = crate::Context::new(raw::Context(self.0.clone()));
        let value = process(&payload, &context)?;
        let outputs = self.0.record.borrow().outputs.get(first..).unwrap_or_default().to_vec();
        Ok((value, outputs))
    }

    /// What the host was asked so far, over all runs.
    pub fn record(&self) -> Record {
        self.0.record.borrow().clone()
    }

    fn with(mut self, change: impl FnOnce(&mut State)) -> Self {
        change(Rc::make_mut(&mut self.0));
        self
    }
}

impl State {
    fn check_evidence(&self, evidence: Option<&Evidence>) -> Result<(), Fault> {
        let (Some(listed), Some(evidence)) = (&self.evidence, evidence) else { return Ok(()) };
        let key = self.pseudonym_key.as_ref().map(|key| format!("pseudonym-key-{}", pseudonyms::key_id(key)));
        let said = [("profiles", &evidence.profile), ("editions", &evidence.edition)].into_iter();
        let said = said.filter(|(_, word)| !word.is_empty());
        let said = said.chain(evidence.actions.iter().map(|action| ("actions", &action.action)));
        for (list, word) in said.chain(evidence.notes.iter().map(|note| ("notes", note))) {
            let known = match list {
                "editions" => word.starts_with("sha256:"),
                "notes" => Some(word) == key.as_ref(),
                _ => false,
            };
            if !known && !listed.get(list).is_some_and(|words| words.contains(word)) {
                let text =
                    format!("guest-evidence: `{word}` is not listed: see `components.evidence.{list}`");
                return Err(Fault::internal(text));
            }
        }
        Ok(())
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Host").field(&*self.0.record.borrow()).finish()
    }
}

impl Held {
    fn new(name: &str, bytes: Vec<u8>, media_type: &str) -> Self {
        Self { name: name.to_owned(), bytes, media_type: media_type.to_owned(), attributes: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
