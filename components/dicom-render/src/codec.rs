//! One frame from its code stream to a [`Decoded`], by `dicom-codec`.

use dicom_codec::{Shape, StreamColour};

use crate::error::RenderError;
use crate::layout::{Bits, Colour, Layout};

/// A decoded frame, still as bytes.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Little endian words unless `big_endian`, in the order of the layout.
    pub(crate) bytes: Vec<u8>,
    pub(crate) big_endian: bool,
    /// The frame's layout as it came out of the codec.
    pub(crate) layout: Layout,
}

/// Decodes the code stream of one frame: colour comes by pixel, whatever Planar Configuration says of it.
pub(crate) fn decode(
    codec: dicom_codec::Codec,
    stream: &[u8],
    layout: &Layout,
) -> Result<Decoded, RenderError> {
    let &Layout { rows, columns, samples, bits_allocated, .. } = layout;
    let pixels = dicom_codec::decode(codec, stream, &Shape { rows, columns, samples, bits_allocated })?;
    let bits = Bits { shift: 0, ..layout.bits };
    let (bits, colour) = match codec {
        // Words as they were before.
        dicom_codec::Codec::Rle => (layout.bits, layout.colour),
        dicom_codec::Codec::Jpeg2000 => {
            let colour = match layout.colour {
                Colour::YbrOfJpeg2000 => Colour::Rgb,
                other => other,
            };
            (Bits { stored: pixels.precision, ..bits }, colour)
        }
        // Values of fewer bits than the header says still mean what the header says of the sign.
        dicom_codec::Codec::Jpeg | dicom_codec::Codec::JpegLs => {
            let stored = pixels.precision.min(layout.bits.stored);
            (Bits { stored, ..bits }, said(pixels.colour, layout.colour))
        }
    };
    let bits_allocated = u32::try_from(pixels.word).unwrap_or(0) * 8;
    let layout = Layout { planar: false, bits_allocated, bits, colour, ..*layout };
    Ok(Decoded { bytes: pixels.bytes, big_endian: false, layout })
}

/// What the components are: the code stream knows better than the header.
fn said(by_stream: StreamColour, by_header: Colour) -> Colour {
    let is_ybr = matches!(by_header, Colour::YbrFull | Colour::YbrFull422);
    match by_stream {
        _ if by_header != Colour::Rgb && !is_ybr => by_header,
        StreamColour::Rgb => Colour::Rgb,
        StreamColour::Ybr => Colour::YbrFull,
        StreamColour::Unsaid if is_ybr => Colour::YbrFull,
        StreamColour::Unsaid => by_header,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_knows_better_than_the_header_what_its_components_are() {
        let grey = Colour::Grey { inverted: true };
        assert_eq!(said(StreamColour::Rgb, Colour::YbrFull422), Colour::Rgb);
        assert_eq!(said(StreamColour::Ybr, Colour::Rgb), Colour::YbrFull);
        assert_eq!(said(StreamColour::Unsaid, Colour::YbrFull422), Colour::YbrFull);
        assert_eq!(said(StreamColour::Unsaid, Colour::Rgb), Colour::Rgb);
        assert_eq!(said(StreamColour::Ybr, grey), grey);
    }
}
