//! Renders a DICOM object: an 8-bit preview for eyes, a normalised tensor for a model.
//!
//! The object is read as a bounded stream by `dicom-stream`; one frame at a time is decoded by codecs written in
//! Rust; a grey frame then goes from stored values over the modality's scale to what is shown, through tables that
//! have an entry for each value that can occur. Shapes are checked before anything is allocated for them, and what
//! would not be decoded rightly is refused with a code.
//!
//! What it deliberately does not know: who is in the picture. No attribute, note or text that it gives holds a value
//! of the header beyond the size of the picture.
//!
//! Start with [`render`]; [`Settings`] and [`Recipe`] say how. The stage itself is a thin skin.

mod codec;
mod colour;
mod error;
mod frames;
mod grey;
mod header;
mod layout;
mod lut;
mod preview;
mod recipe;
mod render;
mod samples;
mod settings;
mod stage;
mod statistics;
mod syntax;
mod tensor;
mod voi;

pub use error::RenderError;
pub use preview::Preview;
pub use recipe::Recipe;
pub use render::{NO_PIXELS, Notes, Rendered, RenderedFrame, modality_values, render, render_each};
pub use settings::{FrameChoice, PreviewChoice, Settings};
pub use stage::Render;
pub use voi::{Window, WindowFunction};

martello_guest_sdk::export!(Render);

/// Renders hostile bytes under small limits, every output of every frame. A panic of a codec is caught, as the
/// sandbox catches it; a fuzzer's panic hook sees it nevertheless.
#[cfg(not(target_family = "wasm"))]
pub fn fuzz_render(data: &[u8]) {
    let recipe = r#"{"schema":1,"window":{"percentiles":[0.5,99.5]},"resample":{"height":8,"width":8,"filter":"triangle",
        "fit":"stretch"},"scale":"unit","invert_monochrome1":true,"layout":"nchw","dtype":"f32"}"#;
    let settings = Settings {
        preview: PreviewChoice::Longest(64),
        recipe: Recipe::read(recipe).ok(),
        frames: FrameChoice::All,
        most_frames: 16,
        most_frame_bytes: 4 << 20,
        most_bytes: 16 << 20,
    };
    drop(std::panic::catch_unwind(|| drop(std::hint::black_box(render(data, &settings)))));
}
