//! Names of things in a bundle: components, models, stages, ports, assets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name of 1 to 64 characters: lower-case letters, digits and single inner `-`, `_` or `.`, starting with a
/// letter. It is safe as a file name, a topic level and a metric label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to 64 lower-case letters, digits and single inner `-`, `_` or `.`, and starts with a letter"
)]
pub struct NameError;

impl Name {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let starts = bytes.first().is_some_and(u8::is_ascii_lowercase);
        let ends = bytes.last().is_some_and(|&byte| is_word(byte));
        let inner = bytes.iter().all(|&byte| is_word(byte) || matches!(byte, b'-' | b'_' | b'.'));
        let single = !bytes.windows(2).any(|pair| pair.iter().all(|&byte| !is_word(byte)));
        if starts && ends && inner && single && bytes.len() <= Self::LONGEST {
            Ok(Self(text.into()))
        } else {
            Err(NameError)
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for text in ["a", "dicom-deid", "model.v2", "x_1", &"a".repeat(64)] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_that_could_leave_a_folder_or_a_topic_are_refused() {
        for text in
            ["", ".", "..", "a/b", "a\\b", "-a", "a-", "a..b", "A", "a b", "é", "a\0", "1a", &"a".repeat(65)]
        {
            assert_eq!(text.parse::<Name>(), Err(NameError), "{text:?}");
        }
    }
}
