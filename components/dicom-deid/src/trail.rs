//! What was done: counts for the record, paths for the local log, values nowhere.

use std::fmt::Write as _;

use dicom_stream::Tag;

use crate::rules::Paths;

/// What happens to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Taken out, with all below it.
    Removed,
    /// Left without a value.
    Emptied,
    /// Given a dummy value or a pseudonym.
    Replaced,
    /// Given other UIDs.
    UidMapped,
    /// Moved back in time.
    DateShifted,
    /// Kept after taking out what could identify.
    Cleaned,
    /// Kept as it is.
    Kept,
}

impl Action {
    /// All, in the order of [`Summary::actions`].
    pub const ALL: [Self; 7] = [
        Self::Removed,
        Self::Emptied,
        Self::Replaced,
        Self::UidMapped,
        Self::DateShifted,
        Self::Cleaned,
        Self::Kept,
    ];

    /// The word for it in evidence and log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Emptied => "emptied",
            Self::Replaced => "replaced",
            Self::UidMapped => "uid-mapped",
            Self::DateShifted => "date-shifted",
            Self::Cleaned => "cleaned",
            Self::Kept => "kept",
        }
    }
}

/// What de-identifying did to a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Edition of the action table.
    pub edition: String,
    /// How often each of [`Action::ALL`] happened.
    pub actions: [u32; 7],
    /// Stable remarks.
    pub notes: Vec<&'static str>,
    /// With [`Paths::Record`], a line for each element that was changed: path and action. About 64 KiB at most.
    pub paths: String,
}

/// Paths beyond this are left out of the log.
const PATHS_MAXIMUM: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Trail {
    paths: Paths,
    pub(crate) summary: Summary,
    /// Open sequences, each with the number of its current item.
    path: Vec<(Tag, u32)>,
}

impl Trail {
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths, summary: Summary::default(), path: Vec::with_capacity(8) }
    }

    pub(crate) fn record(&mut self, tag: Tag, action: Action) {
        if let Some(count) = self.summary.actions.get_mut(action as usize) {
            *count = count.saturating_add(1);
        }
        if self.paths == Paths::Record && action != Action::Kept && self.summary.paths.len() < PATHS_MAXIMUM {
            let line = &mut self.summary.paths;
            for (sequence, item) in &self.path {
                let _ = write!(line, "{sequence}[{item}]");
            }
            let _ = writeln!(line, "{tag} {}", action.word());
        }
    }

    pub(crate) fn note(&mut self, note: &'static str) {
        if !self.summary.notes.contains(&note) {
            self.summary.notes.push(note);
        }
    }

    pub(crate) fn enter(&mut self, tag: Tag) {
        self.path.push((tag, 0));
    }

    pub(crate) fn next_item(&mut self) {
        if let Some((_, item)) = self.path.last_mut() {
            *item += 1;
        }
    }

    pub(crate) fn leave(&mut self) {
        self.path.pop();
    }

    pub(crate) fn is_nested(&self) -> bool {
        !self.path.is_empty()
    }
}
