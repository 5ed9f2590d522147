//! The mock host's side of the boundary: the same functions as the sandbox's, over memory.

use std::cell::RefCell;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::{Held, MockOutput, Record, State, pseudonyms};
use crate::nn::{ErrorCode, NnError};
use crate::{ElementType, Fault, Level, TensorView};

pub(crate) struct Payload {
    held: Rc<Held>,
    host: Rc<State>,
}

impl Payload {
    pub(super) fn new(held: Rc<Held>, host: Rc<State>) -> Self {
        Self { held, host }
    }

    pub(crate) fn media_type(&self) -> String {
        self.held.media_type.clone()
    }

    pub(crate) fn length(&self) -> u64 {
        self.held.bytes.len() as u64
    }

    pub(crate) fn attributes(&self) -> Vec<(String, String)> {
        self.held.attributes.clone()
    }

    pub(crate) fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
        let length = u64::from(length).min(crate::LARGEST_READ as u64);
        let end = offset.saturating_add(length).min(self.length());
        let is_input = self.held.name == "input";
        if is_input {
            self.host.record.borrow_mut().reads.push(offset..end);
        }
        if let Some((at, fault)) = &self.host.read_failure
            && is_input
            && (offset..end).contains(at)
        {
            return Err(fault.clone());
        }
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(start, end)| self.held.bytes.get(start..end));
        Ok(bytes.unwrap_or_default().to_vec())
    }
}

pub(crate) struct Sink {
    host: Rc<State>,
    /// None once finished.
    output: RefCell<Option<MockOutput>>,
}

impl Sink {
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Fault> {
        let mut record = self.host.record.borrow_mut();
        record.writes.push(bytes.len());
        let written: u64 = record.writes.iter().map(|&length| length as u64).sum();
        if self.host.output_limit.is_some_and(|limit| written > limit) {
            return Err(Fault::limit("guest-output: over the output budget"));
        }
        match self.output.borrow_mut().as_mut() {
            Some(output) => output.bytes.extend_from_slice(bytes),
            None => return Err(Fault::internal("finished-sink: the output is complete")),
        }
        Ok(())
    }

    pub(crate) fn finish(&self) -> Result<Vec<u8>, Fault> {
        let finished = self.output.borrow_mut().take();
        let output = finished.ok_or_else(|| Fault::internal("finished-sink: the output is complete"))?;
        let digest = Sha256::digest(&output.bytes).to_vec();
        self.host.record.borrow_mut().outputs.push(output);
        Ok(digest)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(output) = self.output.get_mut().take() {
            self.host.record.borrow_mut().discarded.push(output.port);
        }
    }
}

pub(crate) struct Context(pub(super) Rc<State>);

impl Context {
    fn record(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.0.record.borrow_mut());
    }

    pub(crate) fn setting(&self, name: &str) -> Option<String> {
        self.record(|record| record.settings.push(name.to_owned()));
        self.0.settings.get(name).cloned()
    }

    pub(crate) fn asset(&self, name: &str) -> Result<Payload, Fault> {
        self.record(|record| record.assets.push(name.to_owned()));
        let held =
            self.0.assets.get(name).ok_or_else(|| Fault::policy(format!("asset-not-granted: `{name}`")))?;
        Ok(Payload::new(held.clone(), self.0.clone()))
    }

    pub(crate) fn open_output(
        &self,
        port: &str,
        media_type: &str,
        attributes: &[(&str, &str)],
    ) -> Result<Sink, Fault> {
        if !self.0.ports.contains(port) {
            return Err(Fault::policy(format!("port-not-declared: `{port}`")));
        }
        let output = MockOutput {
            port: port.to_owned(),
            media_type: media_type.to_owned(),
            attributes: attributes.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            bytes: Vec::new(),
        };
        Ok(Sink { host: self.0.clone(), output: RefCell::new(Some(output)) })
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        self.record(|record| record.log.push((level, message.to_owned())));
    }

    fn key(&self, asked: &[&str]) -> Result<&[u8], Fault> {
        self.record(|record| {
            record.pseudonym_calls += 1;
            record.pseudonyms.extend(asked.iter().map(|&value| value.to_owned()));
        });
        self.0.pseudonym_key.as_deref().ok_or_else(|| Fault::policy("pseudonyms-not-granted: no grant"))
    }

    pub(crate) fn uid(&self, value: &str) -> Result<String, Fault> {
        Ok(pseudonyms::uid(self.key(&[value])?, value))
    }

    pub(crate) fn uids(&self, values: &[String]) -> Result<Vec<String>, Fault> {
        let asked: Vec<&str> = values.iter().map(String::as_str).collect();
        let key = self.key(&asked)?;
        Ok(values.iter().map(|value| pseudonyms::uid(key, value)).collect())
    }

    pub(crate) fn subject(&self, value: &str) -> Result<String, Fault> {
        Ok(pseudonyms::subject(self.key(&[value])?, value))
    }

    pub(crate) fn shift_days(&self, subject: &str) -> Result<u32, Fault> {
        Ok(pseudonyms::shift_days(self.key(&[subject])?, subject))
    }

    pub(crate) fn key_id(&self) -> String {
        self.0.pseudonym_key.as_deref().map(pseudonyms::key_id).unwrap_or_default()
    }

    pub(crate) fn graph(&self, name: &str) -> Result<Graph, NnError> {
        if self.0.models.contains_key(name) {
            return Ok(Graph { host: self.0.clone(), name: name.to_owned() });
        }
        Err(NnError { code: ErrorCode::NotFound, text: "the stage is granted no such model".to_owned() })
    }
}

pub(crate) struct Graph {
    host: Rc<State>,
    name: String,
}

impl Graph {
    pub(crate) fn compute(
        &self,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<Vec<(String, Tensor)>, NnError> {
        self.host.record.borrow_mut().model_runs.push(self.name.clone());
        let Some(model) = self.host.models.get(&self.name) else { return Ok(Vec::new()) };
        Ok(model(inputs)?.into_iter().map(|(name, tensor)| (name, Tensor(tensor))).collect())
    }
}

pub(crate) struct Tensor(crate::Tensor);

impl Tensor {
    pub(crate) fn fetch(&self) -> (ElementType, Vec<u32>, Vec<u8>) {
        (self.0.element_type(), self.0.shape().to_vec(), self.0.clone().into_bytes())
    }
}
