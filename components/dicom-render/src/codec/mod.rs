//! Decoders of one frame. Each checks what the code stream says of its own shape before it allocates for it.

mod jpeg;
mod jpeg2000;
mod rle;

use crate::error::RenderError;
use crate::layout::{Bits, Layout};
use crate::syntax::Codec;

/// A decoded frame, still as bytes.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// Little endian words unless `big_endian`, in the order of the layout.
    pub(crate) bytes: Vec<u8>,
    pub(crate) big_endian: bool,
    /// The frame's layout as it came out of the codec.
    pub(crate) layout: Layout,
}

/// Decodes the code stream of one frame.
pub(crate) fn decode(codec: Codec, stream: Vec<u8>, layout: &Layout) -> Result<Decoded, RenderError> {
    match codec {
        Codec::Native => Ok(Decoded { bytes: stream, big_endian: false, layout: *layout }),
        Codec::Rle => rle::decode(&stream, layout),
        Codec::Jpeg => jpeg::decode(&stream, layout),
        Codec::Jpeg2000 => jpeg2000::decode(&stream, layout),
    }
}

/// The layout of what a codec gave: colour by pixel, words just wide enough for `precision` bits.
fn by_pixel(layout: &Layout, precision: u32) -> Layout {
    let bits_allocated = match precision {
        ..=8 => 8,
        9..=16 => 16,
        _ => 32,
    };
    let bits = Bits { stored: precision, shift: 0, signed: layout.bits.signed };
    Layout { planar: false, bits_allocated, bits, ..*layout }
}
