//! Pixel loops that the compiler does not make fast by itself inside the sandbox.
//!
//! The pitfall they avoid: on wasm32 `f32::max` becomes a function call for every pixel and keeps a loop from being
//! vectorised. Every function here gives the same bits natively and in the sandbox: no fused multiply-add, and sums in a
//! fixed order.
//!
//! INVARIANT: the bits are those of the scalar definition, but for a NaN, of which only that it is one is determined;
//! natively kept by the tests beside each function, in the sandbox by
//! `kernels_give_in_the_sandbox_the_bits_of_their_scalar_definitions` (`tests/e2e/sameness.rs`).

mod histogram;
mod pixel;
mod resample;
mod rescale;

pub use histogram::{Histogram, histogram};
pub use pixel::{IntegerPixel, Pixel};
pub use resample::{resample_triangle, resample_triangle_rows};
pub use rescale::{box_rescale_clip, rescale_clip};
