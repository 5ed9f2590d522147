//! Transfer syntaxes: which there are, and which we decode.

use crate::error::{RenderError, unsupported};

/// How the pixels of an object are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Uncompressed, one value after the other.
    Native,
    /// RLE Lossless (PS3.5 Annex G).
    Rle,
    /// JPEG: baseline, extended sequential of 8 bits, lossless.
    Jpeg,
    /// JPEG 2000, also with high throughput.
    Jpeg2000,
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
            ".5" => Ok(Self::Rle),
            ".4.50" | ".4.51" | ".4.57" | ".4.70" => Ok(Self::Jpeg),
            ".4.90" | ".4.91" | ".4.201" | ".4.202" | ".4.203" => Ok(Self::Jpeg2000),
            ".4.80" | ".4.81" => refused("JPEG-LS"),
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
    fn jpeg_ls_and_unknown_syntaxes_are_refused_by_name() {
        for rest in [".4.80", ".4.81", ".4.92", ".4.102", ".4.110", ".1.3", ".4.52"] {
            let refused = Codec::of(&format!("1.2.840.10008.1.2{rest}")).unwrap_err().to_string();
            assert!(refused.starts_with("unsupported-syntax: "), "{rest}: {refused}");
        }
        assert!(Codec::of("").is_err() && Codec::of("1.2.840.10008.1.20").is_err());
    }
}
