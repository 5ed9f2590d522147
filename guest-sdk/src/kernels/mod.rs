//! Pixel loops that the compiler does not make fast by itself inside the sandbox.
//!
//! The pitfall they avoid: on wasm32 `f32::max` becomes a function call for every pixel and keeps a loop from being
//! vectorised (17 times slower than native). Every function here gives the same bits natively and in the sandbox:
//! no fused multiply-add, and sums in a fixed order.

mod histogram;
mod pixel;
mod resample;
mod rescale;

pub use histogram::{Histogram, histogram};
pub use pixel::{IntegerPixel, Pixel};
pub use resample::{resample_triangle, resample_triangle_rows};
pub use rescale::{box_rescale_clip, rescale_clip};
