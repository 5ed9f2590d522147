//! Outputs that were recorded and are not there any more: noticed at the start of a run, made again from their inputs.
//!
//! Pseudonyms are a function of key and input, so an input that is done again gives the same files under the same names.
//! The first result stands: an input that gives others now, or is refused now, is left as it is and told of.

use std::io;

use martello_runtime::Pseudonyms;
use martello_store::place::Tree;
use martello_store::{Journal, JournalError, Look};
use martello_vocab::{Code, Digest, Hasher, code};
use serde::Deserialize;

use super::MissingOutputs;
use crate::report::ReportLine;
use crate::site_key::SiteKey;

/// Marks inputs whose outputs are gone or cut in the journal, or leaves them as they are, marks included.
pub(super) fn review(journal: &Journal, output: &Tree, missing: MissingOutputs) -> Result<(), JournalError> {
    if missing == MissingOutputs::Leave {
        journal.leave_lost();
        return Ok(());
    }
    // A line that cannot be read names nothing that could be missing.
    let lost = journal
        .review(|line, look| Recorded::of(line).is_none_or(|recorded| recorded.is_there(output, look)))?;
    if lost > 0 {
        tracing::warn!(
            inputs = lost,
            "outputs of inputs that were done are gone or cut; they are made again where their inputs are found"
        );
    }
    Ok(())
}

/// The id of the pseudonym key with which an input was worked on, as far as its line tells: a de-identifier that asked
/// for pseudonyms notes it in its evidence; else the journal's name for the file is what this key makes of the name in the
/// report, or it is not.
pub(super) fn key_of(key: &SiteKey, name: &str, line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        input: Option<String>,
        #[serde(default)]
        stages: Vec<Stage>,
    }
    #[derive(Deserialize)]
    struct Stage {
        #[serde(default)]
        notes: Vec<String>,
    }
    let line: Line = serde_json::from_str(line).ok()?;
    let notes = line.stages.iter().flat_map(|stage| &stage.notes);
    if let Some(noted) = notes.filter_map(|note| note.strip_prefix("pseudonym-key-")).next() {
        return Some(noted.to_owned());
    }
    let is_known = key.name_id(&line.input?) == name;
    Some(if is_known { key.key_id() } else { "another".to_owned() })
}

/// What a line of the report says of outputs.
#[derive(Debug, Deserialize)]
pub(super) struct Recorded {
    id: String,
    outputs: Vec<RecordedFile>,
}

#[derive(Debug, Deserialize)]
struct RecordedFile {
    path: String,
    digest: Digest,
    /// Lines of earlier builds do not hold it.
    bytes: Option<u64>,
}

/// How outputs that were made again compare with those that were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// They are the same, byte for byte.
    Same,
    /// They stand in the same places, and are others.
    Changed,
    /// The input is refused now, or its outputs stand in other places.
    Otherwise,
    /// There are none, and that says nothing of the input: the device failed, or was ended at it too often.
    Failed,
}

impl Recorded {
    pub(super) fn of(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    fn is_there(&self, output: &Tree, look: Look) -> bool {
        let there = self.outputs.iter().all(|file| file.is_there(output, look));
        if !there {
            tracing::info!(id = %self.id, "outputs of this input are gone or cut");
        }
        there
    }

    pub(super) fn compare(&self, line: &ReportLine) -> Again {
        let before = self.outputs.iter().map(|file| (file.path.as_str(), file.digest));
        let now = line.outputs.iter().map(|file| (file.path.as_str(), file.digest));
        let places = |(path, _)| path;
        let failed = |code: &Code| code.is_of_the_device() || code.as_str() == code::INPUT_CRASHES_HOST;
        if line.code.as_ref().is_some_and(failed) {
            Again::Failed
        } else if line.code.is_some() || !before.clone().map(places).eq(now.clone().map(places)) {
            Again::Otherwise
        } else if before.eq(now) {
            Again::Same
        } else {
            Again::Changed
        }
    }
}

impl RecordedFile {
    /// A file that cannot be looked at counts as gone: making it again tells why.
    fn is_there(&self, output: &Tree, look: Look) -> bool {
        let Ok(Some(length)) = output.length(&self.path) else { return false };
        self.bytes.is_none_or(|bytes| bytes == length)
            && (look == Look::Glance
                || digest_of(output, &self.path).is_ok_and(|digest| digest == self.digest))
    }
}

fn digest_of(output: &Tree, place: &str) -> io::Result<Digest> {
    struct Hashing(Hasher);
    impl io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = Hashing(Hasher::new());
    io::copy(&mut output.read(place)?, &mut hashing)?;
    Ok(hashing.0.finish())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn recorded(files: &[(&str, &[u8], Option<u64>)]) -> Recorded {
        let file = |(path, content, bytes): &(&str, &[u8], Option<u64>)| RecordedFile {
            path: (*path).to_owned(),
            digest: Digest::of(content),
            bytes: *bytes,
        };
        Recorded { id: "1".to_owned(), outputs: files.iter().map(file).collect() }
    }

    #[test]
    fn outputs_are_there_in_their_sizes_at_a_glance_and_in_every_byte_closely() {
        let folder = tempfile::tempdir().unwrap();
        let output = Tree::open(folder.path()).unwrap();
        let is_there = |file, look| recorded(&[file]).is_there(&output, look);
        fs::write(folder.path().join("a"), "whole").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        for (file, glance, closely) in [
            (("a", &b"whole"[..], Some(5)), true, true),
            (("a", b"other", Some(5)), true, false),
            (("a", b"whole", Some(6)), false, false),
            // As an earlier build wrote it.
            (("a", b"whole", None), true, true),
            (("b", b"whole", None), false, false),
            (("link", b"whole", Some(5)), false, false),
            (("folder", b"", None), false, false),
        ] {
            assert_eq!(is_there(file, Look::Glance), glance, "{file:?}");
            assert_eq!(is_there(file, Look::Closely), closely, "{file:?}");
        }
        let both: [(&str, &[u8], _); 2] = [("a", b"whole", Some(5)), ("b", b"", None)];
        assert!(!recorded(&both).is_there(&output, Look::Glance), "one of two is gone");
    }

    #[test]
    fn outputs_that_are_made_again_are_the_same_or_changed_or_something_else() {
        let line = |files: &[(&str, &[u8])], code: Option<&'static str>| {
            let outputs = files.iter().map(|(path, content)| crate::report::OutputFile {
                path: (*path).to_owned(),
                digest: Digest::of(content),
                bytes: content.len() as u64,
            });
            ReportLine {
                code: code.map(martello_vocab::Code::of),
                outputs: outputs.collect(),
                ..crate::report::tests::line()
            }
        };
        let named = ReportLine { input: Some("zzmark.dcm".to_owned()), ..line(&[], None) };
        assert!(!format!("{named:?}").contains("zzmark"), "{named:?}");
        let before = recorded(&[("a", b"1", Some(1)), ("b", b"2", None)]);
        assert_eq!(before.compare(&line(&[("a", b"1"), ("b", b"2")], None)), Again::Same);
        assert_eq!(before.compare(&line(&[("a", b"1"), ("b", b"3")], None)), Again::Changed);
        for (files, code) in [
            (&[("a", &b"1"[..])][..], None),
            (&[("a", b"1"), ("b", b"2"), ("c", b"3")], None),
            (&[("a", b"1"), ("c", b"2")], None),
            (&[("a", b"1"), ("b", b"2")], Some("malformed")),
        ] {
            assert_eq!(before.compare(&line(files, code)), Again::Otherwise, "{files:?} {code:?}");
        }
        for code in Code::OF_THE_DEVICE.into_iter().chain([code::INPUT_CRASHES_HOST]) {
            assert_eq!(before.compare(&line(&[("a", b"1")], Some(code))), Again::Failed, "{code}");
        }
    }

    #[test]
    fn a_line_tells_with_which_key_it_was_made_by_its_notes_or_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let [key, other] =
            ["key", "other"].map(|name| SiteKey::open_or_make(&folder.path().join(name)).unwrap());
        let named = r#"{"input":"a.dcm","stages":[{"stage":"render"}]}"#;
        let noted = format!(
            r#"{{"input":"a.dcm","stages":[{{"stage":"a"}},{{"notes":["other","pseudonym-key-{}"]}}]}}"#,
            key.key_id()
        );
        let name = key.name_id("a.dcm");
        for line in [named, &noted] {
            assert_eq!(key_of(&key, &name, line), Some(key.key_id()), "{line}");
        }
        assert_eq!(key_of(&other, &name, named).as_deref(), Some("another"));
        assert_eq!(key_of(&other, &name, &noted), Some(key.key_id()));
        for silent in [r#"{"id":"1","stages":[]}"#, "no line"] {
            assert_eq!(key_of(&other, &name, silent), None, "{silent}");
        }
    }

    #[test]
    fn a_line_as_it_stands_in_a_report_is_understood_and_one_of_an_earlier_build_too() {
        let digest = Digest::of(b"");
        let line =
            format!(r#"{{"schema":1,"id":"1","outputs":[{{"path":"a","digest":"{digest}"}}],"findings":0}}"#);
        let recorded = Recorded::of(&line).unwrap();
        assert_eq!((recorded.outputs[0].path.as_str(), recorded.outputs[0].bytes), ("a", None));
        assert!(Recorded::of("{}").is_none());
    }
}
