//! The stage: a payload in, nothing out but a word of what was walked over.

use dicom_stream::{ReadError, Source};
use martello_guest_sdk::{ActionCount, Context, Evidence, Fault, Outcome, Payload, Stage};

use crate::walk::check;

/// The guard.
#[derive(Debug)]
pub struct Guard;

impl Stage for Guard {
    fn process(input: &Payload, _: &Context) -> Result<Outcome, Fault> {
        let summary = check(Ranges { payload: input, at: 0 })?;
        let counts =
            [("element", summary.elements), ("item", summary.items), ("fragment", summary.fragments)];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        Ok(Outcome::empty().with_evidence(Evidence {
            profile: "structure".to_owned(),
            edition: String::new(),
            actions: counts.map(|(what, count)| ActionCount { action: what.to_owned(), count }).collect(),
            notes: Vec::new(),
        }))
    }
}

/// The payload, read in order.
struct Ranges<'a> {
    payload: &'a Payload,
    at: u64,
}

impl Source for Ranges<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let count =
            self.payload.read_at(self.at, buffer).map_err(|fault| ReadError::Source(fault.to_string()))?;
        self.at += count as u64;
        Ok(count)
    }

    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        let bytes =
            self.payload.read_range(self.at, most).map_err(|fault| ReadError::Source(fault.to_string()))?;
        let count = bytes.len();
        self.at += count as u64;
        if buffer.is_empty() {
            *buffer = bytes;
        } else {
            buffer.extend_from_slice(&bytes);
        }
        Ok(count)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        let count = count.min(self.payload.len().saturating_sub(self.at));
        self.at += count;
        Ok(count)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.at = 0;
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.payload.len())
    }
}
