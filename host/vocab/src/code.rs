//! Reason codes: what an operator sees when something was refused or quarantined.
//!
//! A code is stable: tools match on it, documents list it (`host/CODES.md`). The text beside a code may change.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A stable reason code: words of lower-case letters and digits joined by hyphens, at most 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// A code that the host itself gives.
    pub const fn of(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A code that a guest names in front of its fault text (`code: text`), or `otherwise` where it names none.
    ///
    /// Only a code for which `declared` answers yes is kept, or one of [`OF_THE_SDK`](Self::OF_THE_SDK): the signed manifest
    /// lists the codes that a component may give, so that no value out of a payload gets through as a code.
    pub fn from_fault_text(text: &str, declared: impl Fn(&str) -> bool, otherwise: &'static str) -> Self {
        match text.split_once(':') {
            Some((word, _)) if word.len() <= 64 && (Self::OF_THE_SDK.contains(&word) || declared(word)) => {
                Self(Cow::Owned(word.to_owned()))
            }
            _ => Self::of(otherwise),
        }
    }

    /// Codes that `guest-sdk` itself gives, in any component that is built with it. No manifest has to declare them: they
    /// are a fixed list, and an operator is to see them whoever wrote the component.
    pub const OF_THE_SDK: [&str; 20] = [
        "bad-digest",
        "bad-pseudonyms",
        "bad-setting",
        "bad-shape",
        "bad-tensor",
        "invalid-data",
        "io",
        "long-read",
        "memory",
        "missing-setting",
        "model-failed",
        "model-forbidden",
        "model-missing",
        "model-timeout",
        "model-too-large",
        "output-missing",
        "payload-too-large",
        "short-read",
        "tensor-mismatch",
        "truncated",
    ];

    /// Codes that say nothing of the input: the next run tries it again.
    pub const OF_THE_DEVICE: [&str; 3] = [HOST_FAULT, INPUT_UNREADABLE, OUTPUT_UNWRITABLE];

    /// Codes that the host alone gives. A component that gave one could pass its own fault off as the device's, and be
    /// tried again for ever, or tell an operator of something that was not so. The codes of the fault kinds (`malformed`
    /// and so on) are not among them: they are what a fault without a code of its own has.
    pub const OF_THE_HOST: [&str; 26] = [
        GUEST_TRAP,
        GUEST_STACK,
        GUEST_MEMORY,
        GUEST_TABLE,
        GUEST_COMPUTE,
        GUEST_DEADLINE,
        GUEST_OUTPUT,
        GUEST_HOST_CALLS,
        GUEST_HANDLES,
        GUEST_CONTRACT,
        GUEST_EVIDENCE,
        INPUT_UNREADABLE,
        INPUT_TOO_LARGE,
        OUTPUT_UNWRITABLE,
        INPUT_CRASHES_HOST,
        HOST_FAULT,
        OTHER_BUNDLE,
        OTHER_KEY,
        JOURNAL_MISSING,
        JOURNAL_DAMAGED,
        JOURNAL_FORMAT,
        OUTPUT_LINK,
        DISK_FULL,
        MODEL_LIMIT,
        MODEL_CRASHES_HOST,
        MODEL_UNBOUNDED,
    ];

    /// Whether the device failed, not the input: it may well go through when the device is mended.
    pub fn is_of_the_device(&self) -> bool {
        Self::OF_THE_DEVICE.contains(&self.as_str())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The payload is not what its media type says.
pub const MALFORMED: &str = "malformed";
/// The payload is of a kind that the stage does not handle.
pub const UNSUPPORTED: &str = "unsupported";
/// Working on the payload would go over a limit that the stage keeps itself.
pub const LIMIT: &str = "limit";
/// A rule forbids to go on.
pub const POLICY: &str = "policy";
/// A person has to look.
pub const NEEDS_REVIEW: &str = "needs-review";
/// The stage says that it is at fault itself.
pub const INTERNAL: &str = "internal";
/// The guest trapped: a panic, an out-of-bounds access, an unreachable instruction.
pub const GUEST_TRAP: &str = "guest-trap";
/// The guest used up its stack.
pub const GUEST_STACK: &str = "guest-stack";
/// The guest asked for more memory than its cap.
pub const GUEST_MEMORY: &str = "guest-memory";
/// The guest asked for more table elements than its cap.
pub const GUEST_TABLE: &str = "guest-table";
/// The guest computed for longer than its budget.
pub const GUEST_COMPUTE: &str = "guest-compute";
/// The call took longer than its wall deadline.
pub const GUEST_DEADLINE: &str = "guest-deadline";
/// The guest wrote more than its output budget.
pub const GUEST_OUTPUT: &str = "guest-output";
/// The guest called host functions more often than it may.
pub const GUEST_HOST_CALLS: &str = "guest-host-calls";
/// The guest held more handles (payloads, sinks, tensors, streams) at once than any may.
pub const GUEST_HANDLES: &str = "guest-handles";
/// The guest returned something that its contract forbids (too many findings, an undeclared port, a bad number).
pub const GUEST_CONTRACT: &str = "guest-contract";
/// The guest put a word into its evidence that the manifest does not list (`evidence` of the component).
pub const GUEST_EVIDENCE: &str = "guest-evidence";
/// The device could not read the input.
pub const INPUT_UNREADABLE: &str = "input-unreadable";
/// The input is larger than the device takes.
pub const INPUT_TOO_LARGE: &str = "input-too-large";
/// The device could not write an output.
pub const OUTPUT_UNWRITABLE: &str = "output-unwritable";
/// The host stopped the work because it was itself stopped more than once at this input.
pub const INPUT_CRASHES_HOST: &str = "input-crashes-host";
/// The host itself failed while it served the guest; the local log says where.
pub const HOST_FAULT: &str = "host-fault";
/// A run is refused: its output folder was begun with another bundle.
pub const OTHER_BUNDLE: &str = "other-bundle";
/// A run is refused: its output folder was begun with another pseudonym key.
pub const OTHER_KEY: &str = "other-key";
/// A run is refused: its output folder holds results, and the journal that knows of them is gone.
pub const JOURNAL_MISSING: &str = "journal-missing";
/// A run is refused: the journal of its output folder is damaged, or no journal.
pub const JOURNAL_DAMAGED: &str = "journal-damaged";
/// A run is refused: the journal of its output folder is of a format that this program does not know.
pub const JOURNAL_FORMAT: &str = "journal-format";
/// A run is refused or ended: a symbolic link stands where it makes a folder or a file.
pub const OUTPUT_LINK: &str = "output-link";
/// A run waits or has ended: the disk of its output folder or state folder is full, over its quota, or fails.
pub const DISK_FULL: &str = "disk-full";
/// A model is refused: loading it, or running its golden vectors, takes more than a model may.
pub const MODEL_LIMIT: &str = "model-limit";
/// A model is refused: it ended the process that tried it out.
pub const MODEL_CRASHES_HOST: &str = "model-crashes-host";
/// A model is refused: what a run of it would take depends on values of its tensors, and nothing bounds it.
pub const MODEL_UNBOUNDED: &str = "model-unbounded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_of_the_host_alone_or_of_a_kind_of_fault() {
        let of_faults = [MALFORMED, UNSUPPORTED, LIMIT, POLICY, NEEDS_REVIEW, INTERNAL];
        let source = include_str!("code.rs");
        let mut all: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1))
            .filter(|code| !of_faults.contains(code))
            .collect();
        let mut of_the_host = Code::OF_THE_HOST.to_vec();
        all.sort_unstable();
        of_the_host.sort_unstable();
        assert_eq!(all, of_the_host);
    }

    #[test]
    fn a_code_has_at_most_64_bytes() {
        let anything = |_: &str| true;
        for (length, kept) in [(64, true), (65, false)] {
            let word = "a".repeat(length);
            let code = Code::from_fault_text(&format!("{word}: text"), anything, POLICY);
            assert_eq!(code.as_str() == word, kept, "{length}");
        }
    }

    #[test]
    fn the_device_alone_is_at_fault_by_three_codes() {
        for code in Code::OF_THE_HOST.into_iter().chain(Code::OF_THE_SDK) {
            let expected = matches!(code, "host-fault" | "input-unreadable" | "output-unwritable");
            assert_eq!(Code::of(code).is_of_the_device(), expected, "{code}");
        }
    }

    #[test]
    fn a_guest_gives_only_codes_that_are_declared_or_the_sdks_own() {
        let declared = |code: &str| code == "burned-in-risk";
        assert_eq!(
            Code::from_fault_text("burned-in-risk: seen", declared, MALFORMED).as_str(),
            "burned-in-risk"
        );
        assert_eq!(Code::from_fault_text("short-read: 1 of 2", declared, INTERNAL).as_str(), "short-read");
        for text in ["short-reads: x", "no colon here", "doe-john: x", "19700101: x", ":", ""] {
            assert_eq!(Code::from_fault_text(text, declared, MALFORMED).as_str(), MALFORMED, "{text}");
        }
    }
}
