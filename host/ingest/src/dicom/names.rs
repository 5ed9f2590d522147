//! UIDs and application entity titles.

use std::fmt;
use std::str::FromStr;

/// The longest UID (PS3.5 9.1).
const LONGEST_UID: usize = 64;
/// The longest application entity title (PS3.5 6.2, AE).
const LONGEST_TITLE: usize = 16;
/// How UIDs begin that the standard gives out: they name classes and encodings, never a person's images.
const STANDARD: &str = "1.2.840.10008.";

/// A UID: digits and dots, at most 64. Leading zeros are let through, for devices write them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Uid(String);

impl Uid {
    /// A UID from the wire, with the padding that stands behind it. None where it is none.
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.trim_end_matches(['\0', ' ']);
        let is_uid = (1..=LONGEST_UID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        is_uid.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Uid {
    /// A UID that a device gave out leads to a study, so it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.starts_with(STANDARD) { &self.0 } else { "Uid(..)" })
    }
}

/// An application entity title: what DICOM peers call each other. 1 to 16 printable ASCII characters without a
/// backslash; spaces around it do not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AeTitle(String);

/// A text is no application entity title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an AE title has 1 to 16 printable ASCII characters and no backslash")]
pub struct AeTitleError;

impl AeTitle {
    /// The title.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A title from the wire, where it is one.
    pub(crate) fn from_wire(field: &[u8]) -> Option<Self> {
        str::from_utf8(field).ok()?.trim_end_matches('\0').parse().ok()
    }
}

impl FromStr for AeTitle {
    type Err = AeTitleError;

    fn from_str(text: &str) -> Result<Self, AeTitleError> {
        let text = text.trim_matches(' ');
        let is_title = (1..=LONGEST_TITLE).contains(&text.len())
            && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\');
        if is_title { Ok(Self(text.to_owned())) } else { Err(AeTitleError) }
    }
}

impl fmt::Display for AeTitle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_lose_the_spaces_around_them_and_refuse_what_a_log_line_should_not_hold() {
        let title = |text: &str| text.parse::<AeTitle>().ok().map(|title| title.to_string());
        assert_eq!(title("  CT 1  ").as_deref(), Some("CT 1"));
        assert_eq!(title("1234567890123456").as_deref(), Some("1234567890123456"));
        for bad in ["", "   ", "12345678901234567", "A\\B", "A\nB", "\u{e9}"] {
            assert_eq!(title(bad), None, "{bad:?}");
        }
        assert_eq!(AeTitle::from_wire(b"MARTELLO\0\0\0\0\0\0\0\0").unwrap().as_str(), "MARTELLO");
    }

    #[test]
    fn a_uid_of_a_device_is_not_shown() {
        let uid = Uid::from_wire(b"1.3.6.1.4.1.5962.1.1\0").unwrap();
        assert_eq!(uid.as_str(), "1.3.6.1.4.1.5962.1.1");
        assert_eq!(format!("{uid:?}"), "Uid(..)");
        assert_eq!(format!("{:?}", Uid::from_wire(b"1.2.840.10008.1.1").unwrap()), "1.2.840.10008.1.1");
        for bad in [&b""[..], b"\0", b"1.2.x", b"1.2 3", &[b'1'; 65], b"\xff"] {
            assert!(Uid::from_wire(bad).is_none(), "{bad:?}");
        }
    }
}
