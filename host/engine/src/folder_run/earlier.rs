//! What stands in quarantine already under the name of a file that has another content now.
//!
//! An input is a name with a content. A file may be judged while it is being written: its writer paused for longer than
//! is waited for, or closed it and went on. What was judged then is the beginning of what the file holds in the end, and
//! the end takes its place, however much later it comes: line, journal entry and copy of the part go when the outcome of the
//! whole is durable, and the line of the whole names the part and why it was refused, so that no decision is gone
//! without a trace. Any other content that stood under the name is an input of its own and keeps its line, for it may be what somebody has to
//! look into; the later line names it.

use std::io;

use martello_runtime::Payload;
use martello_store::Quarantined;
use martello_vocab::{Code, Digest, Hasher};
use serde::Deserialize;

use crate::report::{Part, ReportLine};

/// Bytes that are hashed at once.
const AT_ONCE: usize = 1 << 20;

/// Inputs in quarantine under the name of another, by their ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    /// Their content is the beginning of what the file holds now. What these themselves stood instead of is among them.
    pub(super) parts: Vec<Part>,
    /// It is something else.
    pub(super) others: Vec<String>,
}

impl Earlier {
    /// Tells parts of a payload from others. What cannot be read counts as another.
    pub(super) fn of(quarantined: Vec<Quarantined>, payload: &Payload) -> Self {
        let mut earlier = Self::default();
        // The latest comes first.
        for Quarantined { id, digest, length, line } in quarantined.into_iter().rev() {
            let begins = length <= payload.len()
                && digest_of_first(length, payload).is_ok_and(|beginning| beginning == digest);
            match (begins, length == payload.len()) {
                (true, false) => {
                    let line = Line::of(&line);
                    earlier.parts.extend(line.instead_of);
                    earlier.parts.push(Part { id, code: line.code });
                }
                // The very same.
                (true, true) => {}
                (false, _) => earlier.others.push(id),
            }
        }
        let too_many = earlier.parts.len().saturating_sub(ReportLine::MOST_PARTS);
        earlier.parts.drain(..too_many);
        earlier
    }

    /// The ids of parts.
    pub(super) fn ids_of_parts(&self) -> Vec<String> {
        self.parts.iter().map(|part| part.id.clone()).collect()
    }
}

/// What the line of a part says.
#[derive(Deserialize)]
struct Line {
    code: Code,
    #[serde(default)]
    instead_of: Vec<Part>,
}

impl Line {
    /// What stands in quarantine has a code; a line that cannot be read is no reason to keep quiet about it.
    fn of(line: &str) -> Self {
        let unknown = Self { code: Code::of("unknown"), instead_of: Vec::new() };
        serde_json::from_str(line).unwrap_or(unknown)
    }
}

fn digest_of_first(length: u64, payload: &Payload) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(AT_ONCE).min(AT_ONCE);
        let bytes = payload.read_at(offset, wanted)?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&bytes);
        offset += bytes.len() as u64;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_file_is_a_part_of_it_and_nothing_else_is() {
        let whole: Vec<u8> = (0..3 * AT_ONCE + 7).map(|place| place.to_le_bytes()[0]).collect();
        let quarantined = |id: &str, bytes: &[u8]| Quarantined {
            id: id.to_owned(),
            digest: Digest::of(bytes),
            length: bytes.len() as u64,
            line: format!(r#"{{"code":"limit","instead_of":[{{"id":"before {id}","code":"depth"}}]}}"#),
        };
        let payload = Payload::memory("application/dicom", whole.clone());
        let longer = [&whole[..], b"more"].concat();
        let earlier = Earlier::of(
            vec![
                quarantined("empty", b""),
                quarantined("half", &whole[..2 * AT_ONCE + 1]),
                quarantined("itself", &whole),
                quarantined("longer", &longer),
                quarantined("other", b"something else"),
            ],
            &payload,
        );
        assert_eq!(earlier.ids_of_parts(), ["before half", "half", "before empty", "empty"]);
        let codes = earlier.parts.iter().map(|part| part.code.as_str());
        assert_eq!(codes.collect::<Vec<_>>(), ["depth", "limit", "depth", "limit"]);
        assert_eq!(earlier.others, ["other", "longer"]);
        // A file that grows for days.
        let many = (0..100).map(|number| quarantined(&number.to_string(), &whole[..number])).collect();
        let parts = Earlier::of(many, &payload).ids_of_parts();
        assert_eq!((parts.len(), parts.last().unwrap().as_str()), (ReportLine::MOST_PARTS, "0"));
        assert_eq!(Line::of("{}").code.as_str(), "unknown");
    }
}
