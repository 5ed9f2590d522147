//! Decodes the code streams that DICOM wraps: one frame from its bytes to samples.
//!
//! RLE, JPEG and JPEG-LS are decoded here, in safe Rust without a dependency; JPEG 2000 by a library. What a stream says
//! of its own shape is compared with what the object says before memory is taken for it, and what would not be decoded
//! rightly is refused with a code.
//!
//! What it deliberately does not know: DICOM. Who calls has found the frame and its attributes, and has bounded them.
//!
//! Start with [`decode`].

mod error;
mod jpeg;
mod jpeg2000;
mod jpeg_ls;
mod rle;
mod segments;

pub use error::CodecError;

/// The kinds of code streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// RLE Lossless (PS3.5 Annex G).
    Rle,
    /// JPEG: sequential DCT of 8 and 12 bits, and lossless.
    Jpeg,
    /// JPEG-LS, lossless and near-lossless.
    JpegLs,
    /// JPEG 2000, also with high throughput.
    Jpeg2000,
}

/// What the object says of a frame. Who makes one has bounded it: a decoder takes memory for all its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows, 1 to 65,535.
    pub rows: usize,
    /// Columns, 1 to 65,535.
    pub columns: usize,
    /// Samples a pixel, 1 to 4.
    pub samples: usize,
    /// Bits allocated to a sample: no stream of more is decoded.
    pub bits_allocated: u32,
}

impl Shape {
    /// Pixels of the frame: below 2^32.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.rows * self.columns
    }
}

/// A decoded frame: samples by pixel, little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Rows × columns × samples × `word` bytes.
    pub bytes: Vec<u8>,
    /// Bytes of a sample.
    pub word: usize,
    /// Bits of a sample that the stream says are used.
    pub precision: u32,
    /// What the stream says its three components are.
    pub colour: StreamColour,
}

/// What a code stream of three components says that they are: it knows better than the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamColour {
    /// Nothing.
    Unsaid,
    /// Red, green, blue.
    Rgb,
    /// Luminance and two of chrominance.
    Ybr,
}

/// Decodes the code stream of one frame.
///
/// # Errors
/// [`CodecError::Malformed`] where the stream is damaged or of another shape, [`CodecError::Unsupported`] where it is of
/// a kind that is not decoded rightly.
pub fn decode(codec: Codec, stream: &[u8], shape: &Shape) -> Result<Pixels, CodecError> {
    match codec {
        Codec::Rle => rle::decode(stream, shape),
        Codec::Jpeg => jpeg::decode(stream, shape),
        Codec::JpegLs => jpeg_ls::decode(stream, shape),
        Codec::Jpeg2000 => jpeg2000::decode(stream, shape),
    }
}

/// Decodes hostile bytes: the first five are the shape, the others the stream.
#[cfg(not(target_family = "wasm"))]
pub fn fuzz_decode(codec: Codec, data: &[u8]) {
    let Some((&[rows, columns, samples, bits_allocated, wide], stream)) = data.split_first_chunk() else {
        return;
    };
    let shape = Shape {
        rows: usize::from(rows % 64) + 1,
        columns: usize::from(columns) + 256 * usize::from(wide % 2) + 1,
        samples: usize::from(samples % 4) + 1,
        bits_allocated: u32::from(bits_allocated % 64) + 1,
    };
    if let Ok(pixels) = decode(codec, stream, &shape) {
        assert_eq!(pixels.bytes.len(), shape.pixels() * shape.samples * pixels.word, "{shape:?}");
        assert!(pixels.precision <= shape.bits_allocated, "{shape:?}");
    }
}

/// The bytes from which [`fuzz_decode`] makes this shape and stream.
#[cfg(not(target_family = "wasm"))]
#[must_use]
pub fn fuzz_input(shape: &Shape, stream: &[u8]) -> Vec<u8> {
    let less_one = |number: usize| number.wrapping_sub(1).to_le_bytes();
    let [rows, ..] = less_one(shape.rows);
    let [columns, wide, ..] = less_one(shape.columns);
    let [samples, ..] = less_one(shape.samples);
    let [bits_allocated, ..] = less_one(shape.bits_allocated as usize);
    [&[rows, columns, samples, bits_allocated, wide], stream].concat()
}

/// Writes a component's samples of one line, little endian, `step` bytes apart.
fn store(samples: &[u16], into: &mut [u8], word: usize, step: usize) {
    match (word, step) {
        (1, 1) => into.iter_mut().zip(samples).for_each(|(to, sample)| [*to, _] = sample.to_le_bytes()),
        (2, 2) => {
            let pairs = into.as_chunks_mut::<2>().0;
            pairs.iter_mut().zip(samples).for_each(|(to, sample)| *to = sample.to_le_bytes());
        }
        _ => {
            for (to, sample) in into.chunks_mut(step).zip(samples) {
                to.iter_mut().take(word).zip(sample.to_le_bytes()).for_each(|(to, byte)| *to = byte);
            }
        }
    }
}

/// Whether a byte of the word is 0xFF.
const fn holds_ff(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let inverse = !word;
    inverse.wrapping_sub(ONES) & !inverse & (ONES << 7) != 0
}
