//! Pixel loops that the compiler does not make fast by itself inside the sandbox.
//!
//! The pitfall they avoid: on wasm32 `f32::max` becomes a function call for every pixel and keeps a loop from being
//! vectorised. Every function here is written to give the same bits natively and in the sandbox: no fused multiply-add,
//! and sums in a fixed order. Natively that is tested against scalar references; no test in the sandbox keeps it yet.

mod histogram;
mod pixel;
mod resample;
mod rescale;

pub use histogram::{Histogram, histogram};
pub use pixel::{IntegerPixel, Pixel};
pub use resample::{resample_triangle, resample_triangle_rows};
pub use rescale::{box_rescale_clip, rescale_clip};
