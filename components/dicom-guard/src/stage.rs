//! The stage: a payload in, nothing out but a word of what was walked over.

use dicom_stream::RangeSource;
use martello_guest_sdk::{ActionCount, Context, Evidence, Fault, Outcome, Payload, Stage};

use crate::walk::check;

/// The guard.
#[derive(Debug)]
pub struct Guard;

impl Stage for Guard {
    fn process(input: &Payload, _: &Context) -> Result<Outcome, Fault> {
        let range = |at, most| input.read_range(at, most).map_err(|fault| fault.to_string());
        let summary = check(RangeSource::new(input.len(), range))?;
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
