//! One object from its bytes to previews and tensors.

use std::collections::BTreeSet;

use dicom_stream::{SliceSource, Source};

use crate::codec::Decoded;
use crate::colour::Rgb;
use crate::error::{RenderError, limit};
use crate::frames;
use crate::grey::{Grey, Modality};
use crate::header::{DICTIONARY, Header};
use crate::layout::{Colour, Layout};
use crate::preview::{self, Preview};
use crate::samples::Samples;
use crate::settings::{FrameChoice, PreviewChoice, Settings};
use crate::syntax::Codec;
use crate::tensor;

/// A frame, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderedFrame {
    /// Number of the frame, from 0 on.
    pub frame: u32,
    /// The preview, where it was asked for.
    pub preview: Option<Preview>,
    /// The tensor of the recipe's shape, where there is a recipe.
    pub tensor: Option<Vec<f32>>,
}

/// Codes that say how an object was rendered, for the evidence.
pub type Notes = BTreeSet<&'static str>;

/// The note of an object without pixels, for example a report or a plan: nothing is rendered, and that is right.
pub const NO_PIXELS: &str = "no-pixels";

/// An object, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The frames that were asked for, ascending.
    pub frames: Vec<RenderedFrame>,
    /// How they were rendered.
    pub notes: Notes,
}

/// Renders an object in memory.
///
/// # Errors
/// Every [`RenderError`]: an object is rendered rightly or not at all.
pub fn render(bytes: &[u8], settings: &Settings) -> Result<Rendered, RenderError> {
    let mut frames = Vec::new();
    let notes = render_each(SliceSource::new(bytes), settings, |frame| {
        frames.push(frame);
        Ok(())
    })?;
    Ok(Rendered { frames, notes })
}

/// Renders an object frame by frame, so that only one is in memory; `done` takes each.
///
/// # Errors
/// Every [`RenderError`], and those of `done`. Frames that were handed over before an error must not be used.
pub fn render_each<S: Source>(
    source: S,
    settings: &Settings,
    mut done: impl FnMut(RenderedFrame) -> Result<(), RenderError>,
) -> Result<Notes, RenderError> {
    let mut notes = Notes::new();
    let found = decode_each(source, settings, |header, frame, decoded| {
        done(render_frame(header, frame, decoded, settings, &mut notes)?)
    })?;
    if !found {
        notes.insert(NO_PIXELS);
    }
    Ok(notes)
}

/// The values of a grey object's first frame on the modality's scale, for example Hounsfield units; none where the
/// object is coloured or has no pixels.
///
/// # Errors
/// As [`render`].
pub fn modality_values(bytes: &[u8], settings: &Settings) -> Result<Option<Vec<f64>>, RenderError> {
    let mut values = None;
    let settings = Settings { frames: FrameChoice::First, ..settings.clone() };
    decode_each(SliceSource::new(bytes), &settings, |header, frame, decoded| {
        if let Colour::Grey { .. } = decoded.layout.colour {
            let grey = Grey { padding: None, ..grey(header, frame, &decoded)? };
            let mapped = grey.mapped(0.0, |value| value);
            let mut all = vec![0.0; grey.rows * grey.columns];
            all.chunks_exact_mut(grey.columns).enumerate().for_each(|(row, line)| mapped.row(row, line));
            values = Some(all);
        }
        Ok(())
    })?;
    Ok(values)
}

/// Says whether there were pixels.
fn decode_each<S: Source>(
    source: S,
    settings: &Settings,
    mut work: impl FnMut(&Header, u32, Decoded) -> Result<(), RenderError>,
) -> Result<bool, RenderError> {
    let (file, mut reader) = dicom_stream::open(source, DICTIONARY)?;
    let header = Header::read(&mut reader)?;
    if header.place.is_none() {
        return Ok(false);
    }
    let codec = Codec::of(&file.transfer_syntax)?;
    let layout = Layout::of(&header, settings.most_frame_bytes)?;
    let wanted = wanted(&layout, settings)?;
    frames::each(&mut reader, &header, codec, &layout, &wanted, |frame, decoded| {
        work(&header, frame, decoded)
    })?;
    Ok(true)
}

fn wanted(layout: &Layout, settings: &Settings) -> Result<Vec<u32>, RenderError> {
    let wanted = match settings.frames {
        FrameChoice::First => 0..1,
        FrameChoice::Middle => layout.frames / 2..layout.frames / 2 + 1,
        FrameChoice::All => 0..layout.frames,
    };
    if wanted.end - wanted.start > settings.most_frames {
        return Err(limit("too-many-frames", "the object has more frames than the limit"));
    }
    let count = u64::from(wanted.end - wanted.start);
    if count.saturating_mul(layout.frame_bits().div_ceil(8)) > settings.most_bytes {
        return Err(limit("too-many-pixels", "the frames together are larger than the limit"));
    }
    Ok(wanted.collect())
}

fn grey(header: &Header, frame: u32, decoded: &Decoded) -> Result<Grey, RenderError> {
    let layout = &decoded.layout;
    Ok(Grey {
        rows: layout.rows,
        columns: layout.columns,
        samples: Samples::of(decoded)?,
        modality: Modality::of(header, frame)?,
        padding: Grey::padding(header, layout.bits),
        inverted: layout.colour == Colour::Grey { inverted: true },
        binary: layout.bits.stored == 1,
    })
}

fn render_frame(
    header: &Header,
    frame: u32,
    decoded: Decoded,
    settings: &Settings,
    notes: &mut Notes,
) -> Result<RenderedFrame, RenderError> {
    let mut rendered = RenderedFrame { frame, preview: None, tensor: None };
    let grey = if let Colour::Grey { .. } = decoded.layout.colour {
        let grey = grey(header, frame, &decoded)?;
        drop(decoded);
        if let PreviewChoice::Longest(longest) = settings.preview {
            let (voi, note) = preview::voi(header, frame, &grey)?;
            notes.insert(note);
            rendered.preview = Some(preview::grey(&grey, &voi, longest)?);
        }
        if grey.inverted {
            notes.insert("monochrome1-inverted");
        }
        if grey.padding.is_some() {
            notes.insert("padding-black");
        }
        grey
    } else {
        let rgb = Rgb::of(&decoded, header)?;
        drop(decoded);
        notes.insert("colour");
        if let PreviewChoice::Longest(longest) = settings.preview {
            rendered.preview = Some(preview::colour(&rgb, longest)?);
        }
        if settings.recipe.is_none() {
            return Ok(rendered);
        }
        notes.insert("luminance-bt601");
        rgb.luminance()
    };
    if let Some(recipe) = &settings.recipe {
        rendered.tensor = Some(tensor::normalise(&grey, recipe)?);
    }
    Ok(rendered)
}
