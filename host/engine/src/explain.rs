//! Every reason code with its meaning and what to do: one list for the CLI, the documents and the tests.

use martello_vocab::code;
use serde::Serialize;

/// A reason code for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The code.
    pub code: &'static str,
    /// Who gives it: `host`, or the component.
    pub by: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub next: &'static str,
}

/// The explanation of a code.
pub fn of(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|known| known.code == code)
}

const fn host(code: &'static str, meaning: &'static str, next: &'static str) -> Explanation {
    Explanation { code, by: "host", meaning, next }
}

/// All codes.
pub const ALL: &[Explanation] = &[
    host(
        code::MALFORMED,
        "the file is not what it claims to be",
        "send it again from the modality; if it comes the same, look at it with dcmdump",
    ),
    host(
        code::UNSUPPORTED,
        "the file is well formed, but no stage handles its kind",
        "look up the kind in the component's README; convert the file or keep it out of this pipeline",
    ),
    host(
        code::LIMIT,
        "the file is larger or more nested than the stage works on",
        "split the object, or pack the bundle with higher limits",
    ),
    host(
        code::POLICY,
        "a rule of the bundle forbids that this goes on",
        "look at the bundle's grants with `martello bundle inspect`",
    ),
    host(code::NEEDS_REVIEW, "a person has to look before it may leave", "look at the file in quarantine"),
    host(code::INTERNAL, "a stage says that it is at fault itself", "report it with the log at level debug"),
    host(
        code::GUEST_TRAP,
        "the component broke off (a panic or a forbidden access)",
        "the log holds where; report it to the component's publisher",
    ),
    host(
        code::GUEST_STACK,
        "the component used up its stack",
        "the file may nest very deeply; report it to the component's publisher",
    ),
    host(
        code::GUEST_MEMORY,
        "the component asked for more memory than its cap",
        "raise `memory_bytes` in the bundle's limits if such files are expected",
    ),
    host(
        code::GUEST_TABLE,
        "the component asked for more table elements than its cap",
        "raise `table_elements` in the bundle's limits if that is expected",
    ),
    host(
        code::GUEST_COMPUTE,
        "the component computed for longer than its budget",
        "raise `compute_ms` in the bundle's limits if such files are expected",
    ),
    host(
        code::GUEST_DEADLINE,
        "the work took longer than its wall deadline",
        "see whether the device is overloaded, or raise `wall_ms` in the bundle's limits",
    ),
    host(
        code::GUEST_OUTPUT,
        "the component wrote more than its output budget",
        "raise `output_bytes` in the bundle's limits if such files are expected",
    ),
    host(
        code::GUEST_HOST_CALLS,
        "the component called the host more often than it may",
        "raise `host_calls` in the bundle's limits, or report it to the component's publisher",
    ),
    host(
        code::GUEST_HANDLES,
        "the component held more handles (payloads, outputs, tensors) at once than any may",
        "report it to the component's publisher",
    ),
    host(
        code::GUEST_CONTRACT,
        "the component returned something that the manifest does not declare",
        "report it to the component's publisher",
    ),
    host(
        code::GUEST_EVIDENCE,
        "the component put a word into its evidence that the manifest does not list",
        "add it to `components.evidence` in the bundle's source and sign it again; the log at level debug says which word to which list",
    ),
    host(
        code::HOST_FAULT,
        "the host itself failed while it served the component",
        "see the log for what failed, then run again; report it if it comes back",
    ),
    host(
        code::INPUT_UNREADABLE,
        "the device could not read the file",
        "see the permissions of the input folder and the state of the disk, then run again",
    ),
    host(code::INPUT_TOO_LARGE, "the file is larger than 4 GiB", "split the object"),
    host(
        code::OUTPUT_UNWRITABLE,
        "the device could not write the outputs, or its own copy of a large file",
        "see free space and permissions of the output folder, then run again",
    ),
    host(
        code::INPUT_CRASHES_HOST,
        "the host was ended three times while it worked on this file",
        "keep the file for a report, and see the system log for what ended the host",
    ),
    host(
        code::OTHER_BUNDLE,
        "a run was refused: its output folder was begun with another bundle",
        "choose another --output, or run the bundle with which this one was begun",
    ),
    host(
        code::OTHER_KEY,
        "a run was refused: its output folder was begun with another pseudonym key, and every file would be done again under other names",
        "run with the --state that holds that key, put the key's file back, or choose another --output",
    ),
    host(
        code::JOURNAL_MISSING,
        "a run was refused: its output folder holds results, and the journal that knows of them is gone or empty",
        "put the folder .martello of that output folder back, or choose another --output; to begin anew there, move report.jsonl and the folders of outputs away",
    ),
    host(
        code::JOURNAL_DAMAGED,
        "a run was refused: the journal of its output folder is damaged, or is no journal; outputs and report are as they were",
        "check the disk, and put the folder .martello of that output folder back from a copy, or choose another --output; to begin anew there, move .martello, report.jsonl and the folders of outputs away",
    ),
    host(
        code::JOURNAL_FORMAT,
        "a run was refused: the journal of its output folder was written by a later version of martello",
        "run the version of martello that wrote the journal, or choose another --output",
    ),
    host(
        code::OUTPUT_LINK,
        "a run was refused or ended: a symbolic link stands where it makes a folder or a file, and what it writes may identify a person",
        "see who put the link there, and remove it; to keep results elsewhere, give that place as --output (or --state): these themselves may be links",
    ),
    host(
        code::DISK_FULL,
        "a run waits or has ended: the disk under its output folder or its state folder is full, over its quota, or fails; no file was judged for it",
        "free space, or see the disk; a run that watches or receives goes on by itself, another one waits for a minute and is then to be started again",
    ),
    host(
        code::MODEL_LIMIT,
        "a model was refused: loading it, or running its golden vectors, takes more than a model may",
        "raise --model-memory or --model-time if you trust whoever made the model; else use another model or --backend",
    ),
    host(
        code::MODEL_CRASHES_HOST,
        "a model was refused: it ended the process that tries models out",
        "do not use the model; report it with the file if you trust whoever made it",
    ),
    host(
        code::MODEL_UNBOUNDED,
        "a model was refused: how much memory a run takes depends on values of its tensors or on texts, and this backend has no bound for that",
        "export the model with fixed shapes and without texts, or run it on the other backend (--onnxruntime, or without it)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once_and_says_what_to_do() {
        for known in ALL {
            assert_eq!(ALL.iter().filter(|other| other.code == known.code).count(), 1, "{}", known.code);
            assert!(!known.meaning.is_empty() && !known.next.is_empty());
        }
        let listed = include_str!("../../vocab/src/code.rs");
        for line in listed.lines().filter_map(|line| line.strip_prefix("pub const ")) {
            let code = line.split('"').nth(1).unwrap();
            assert!(of(code).is_some(), "{code} has no explanation");
        }
    }
}
