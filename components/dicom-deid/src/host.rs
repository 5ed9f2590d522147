//! The one seam to the outside: pseudonyms in, bytes out.

use std::collections::BTreeMap;

use crate::refusal::{Kind, Refusal};
use crate::survey::Facts;

/// What de-identifying needs from its surroundings.
pub trait Host {
    /// Replacements for UIDs, in order.
    ///
    /// # Errors
    /// Where there are none to be had.
    fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal>;

    /// The pseudonym of a subject.
    ///
    /// # Errors
    /// Where there are none to be had.
    fn subject(&mut self, value: &str) -> Result<String, Refusal>;

    /// By how many days the dates of the subject with this pseudonym move back.
    ///
    /// # Errors
    /// Where there are none to be had.
    fn shift_days(&mut self, pseudonym: &str) -> Result<u32, Refusal>;

    /// Begins the output with these attributes; called once, before the first [`Host::write`].
    ///
    /// # Errors
    /// Where there is no such output.
    fn open(&mut self, attributes: &[(&str, String)]) -> Result<(), Refusal>;

    /// Appends to the output.
    ///
    /// # Errors
    /// Where the bytes are not taken.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal>;
}

/// The longest value for which a host makes a pseudonym: 4 KiB. A UID has 64 characters, a name some hundreds.
const IDENTIFIER_MAXIMUM: usize = 4096;

/// UIDs asked of the host at once. 4096 are a quarter of a megabyte.
const BATCH: usize = 4096;

/// The replacements for one file.
#[derive(Debug, Default)]
pub struct Pseudonymized {
    /// Values are trimmed; the map is empty where UIDs stay.
    uids: BTreeMap<String, String>,
    subjects: BTreeMap<String, String>,
    subject: String,
    /// Days by which dates move back.
    pub(crate) shift: u32,
}

impl Pseudonymized {
    /// Asks the host for everything that the survey found.
    ///
    /// # Errors
    /// `identifier-length` where the file has one that is none, `pseudonyms` where the host has none or gives something
    /// that is none.
    pub(crate) fn of<H: Host>(facts: &Facts, host: &mut H) -> Result<Self, Refusal> {
        let identifiers =
            facts.uids.iter().chain(&facts.subjects).map(String::as_str).chain(facts.identity());
        if identifiers.map(str::len).any(|length| length > IDENTIFIER_MAXIMUM) {
            return Err(Refusal::new(
                Kind::Malformed,
                "identifier-length",
                format!("an identifier has more than {IDENTIFIER_MAXIMUM} bytes"),
            ));
        }
        let mut uids = BTreeMap::new();
        let values: Vec<String> = facts.uids.iter().cloned().collect();
        for batch in values.chunks(BATCH) {
            let replaced = host.uids(batch)?;
            let fresh = |(uid, replaced): (&String, &String)| {
                is_uid(replaced) && !replaced.split('.').any(has_leading_zero) && uid != replaced
            };
            if replaced.len() != batch.len() || !batch.iter().zip(&replaced).all(fresh) {
                return Err(Refusal::new(Kind::Internal, "pseudonyms", "the host's uids are none"));
            }
            uids.extend(batch.iter().cloned().zip(replaced));
        }
        // A file that names nobody still needs a shift; all such files share one.
        let identity = facts.identity().unwrap_or("unnamed");
        let mut subjects = BTreeMap::new();
        for value in facts.subjects.iter().map(String::as_str).chain([identity]) {
            if !subjects.contains_key(value) {
                let pseudonym = host.subject(value)?;
                if pseudonym.is_empty()
                    || pseudonym == value
                    || pseudonym.len() > 64
                    || !pseudonym.bytes().all(|b| b.is_ascii_alphanumeric())
                {
                    return Err(Refusal::new(Kind::Internal, "pseudonyms", "the host's subject is none"));
                }
                subjects.insert(value.to_owned(), pseudonym);
            }
        }
        let subject = subjects.get(identity).cloned().unwrap_or_default();
        let shift = host.shift_days(&subject)?;
        if shift == 0 {
            return Err(Refusal::new(Kind::Internal, "pseudonyms", "the host's shift moves nothing"));
        }
        Ok(Self { uids, subjects, subject, shift })
    }

    /// The replacement of a trimmed UID.
    pub(crate) fn uid(&self, value: &str) -> Option<&str> {
        self.uids.get(value).map(String::as_str)
    }

    /// The pseudonym of a Patient ID; that of the file's patient for any other value.
    pub(crate) fn subject(&self, value: &str) -> &str {
        self.subjects.get(value).unwrap_or(&self.subject)
    }
}

/// Whether `value` is a UID by PS3.5 section 9.1, leading zeros aside.
pub(crate) fn is_uid(value: &str) -> bool {
    (1..=64).contains(&value.len())
        && value
            .as_bytes()
            .split(|byte| *byte == b'.')
            .all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

fn has_leading_zero(part: &str) -> bool {
    part.len() > 1 && part.starts_with('0')
}

/// A host without keys, for fuzzing and measuring: its pseudonyms are stand-ins and hide nothing.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The output.
    pub(crate) written: Vec<u8>,
}

impl Host for Plain {
    fn uids(&mut self, values: &[String]) -> Result<Vec<String>, Refusal> {
        // UUIDs of version 8, as the host's are.
        let uuid = |value: &String| 0x1234_5678_9ABC_8DEF_8000_0000_0000_0000_u128 + value.len() as u128;
        Ok(values.iter().map(|value| format!("2.25.{}", uuid(value))).collect())
    }

    fn subject(&mut self, _: &str) -> Result<String, Refusal> {
        Ok("AAAAAAAAAAAAAAAA".to_owned())
    }

    fn shift_days(&mut self, _: &str) -> Result<u32, Refusal> {
        Ok(100)
    }

    fn open(&mut self, _: &[(&str, String)]) -> Result<(), Refusal> {
        self.written.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.written.extend_from_slice(bytes);
        Ok(())
    }
}
