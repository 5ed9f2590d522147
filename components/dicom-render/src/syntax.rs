//! Transfer syntaxes: which there are, and which we decode.

use crate::error::{RenderError, unsupported};

/// How the pixels of an object are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Uncompressed, one value after the other.
    Native,
    /// Code streams of this kind, one a frame.
    Coded(dicom_codec::Codec),
}

impl Codec {
    /// The codec of a transfer syntax.
    ///
    /// # Errors
    /// `unsupported-syntax` for every syntax whose pixels we would not decode rightly: nothing is shown by guesswork.
    pub(crate) fn of(transfer_syntax: &str) -> Result<Self, RenderError> {
        let refused = |text| Err(unsupported("unsupported-syntax", text));
        let Some(rest) = transfer_syntax.strip_prefix("1.2.840.10008.1.2") else {
            return refused("a transfer syntax that is not known");
        };
        match rest {
            // .1.98 is encapsulated, but uncompressed.
            "" | ".1" | ".1.98" | ".1.99" | ".2" => Ok(Self::Native),
            ".5" => Ok(Self::Coded(dicom_codec::Codec::Rle)),
            ".4.50" | ".4.51" | ".4.57" | ".4.70" => Ok(Self::Coded(dicom_codec::Codec::Jpeg)),
            ".4.80" | ".4.81" => Ok(Self::Coded(dicom_codec::Codec::JpegLs)),
            ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => {
                Ok(Self::Coded(dicom_codec::Codec::Jpeg2000))
            }
            ".4.110" | ".4.111" | ".4.112" => refused("JPEG XL"),
            _ if rest.starts_with(".4.10") => refused("video"),
            _ => refused("a transfer syntax that is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn video_and_unknown_syntaxes_are_refused_by_name() {
        for rest in [".4.92", ".4.102", ".4.110", ".1.3", ".4.52"] {
            let refused = Codec::of(&format!("1.2.840.10008.1.2{rest}")).unwrap_err().to_string();
            assert!(refused.starts_with("unsupported-syntax: "), "{rest}: {refused}");
        }
        assert!(Codec::of("").is_err() && Codec::of("1.2.840.10008.1.20").is_err());
    }
}
