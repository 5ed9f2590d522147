//! Data classes: the taint that the host tracks.

use serde::{Deserialize, Serialize};

/// What may be known of a person from a payload. The order is by danger: joining two classes takes the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataClass {
    /// Made without any personal data.
    Public,
    /// Came out of the granted de-identifier, or was computed only of what did.
    Deidentified,
    /// May identify a person. Everything is, until the host knows better.
    Identified,
}

impl DataClass {
    /// The class of something computed of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.max(other)
    }

    /// The word used in reports and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Deidentified => "deidentified",
            Self::Identified => "identified",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_never_lowers_a_class() {
        let all = [DataClass::Public, DataClass::Deidentified, DataClass::Identified];
        for a in all {
            for b in all {
                assert!(a.join(b) >= a && a.join(b) >= b);
                assert!(a.join(b) == a || a.join(b) == b);
            }
        }
    }

    #[test]
    fn what_identifies_is_above_what_was_deidentified_and_each_has_its_word() {
        assert!(
            DataClass::Identified > DataClass::Deidentified && DataClass::Deidentified > DataClass::Public
        );
        for class in [DataClass::Public, DataClass::Deidentified, DataClass::Identified] {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
