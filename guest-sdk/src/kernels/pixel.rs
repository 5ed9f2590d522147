//! The pixel types that the kernels take.

/// A stored pixel: `u8`, `u16`, `i16` or `f32`.
pub trait Pixel: bytemuck::Pod + sealed::Sealed {
    /// The pixel as a number; exact.
    fn to_f32(self) -> f32;

    /// Eight pixels as two vectors of four floats.
    #[cfg(target_family = "wasm")]
    #[doc(hidden)]
    fn widen(pixels: [Self; 8]) -> [core::arch::wasm32::v128; 2];
}

/// A pixel that is an integer of at most 16 bits.
pub trait IntegerPixel: Pixel + Ord {
    /// The pixel as a number.
    fn to_i32(self) -> i32;
    /// The least value of the type.
    const LEAST: i32;
    /// How many values the type has.
    const VALUES: usize;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for i16 {}
    impl Sealed for f32 {}
}

#[cfg(target_family = "wasm")]
use core::arch::wasm32 as wasm;

impl Pixel for u8 {
    #[inline]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    #[cfg(target_family = "wasm")]
    #[inline]
    fn widen(pixels: [Self; 8]) -> [wasm::v128; 2] {
        u16::widen(pixels.map(u16::from))
    }
}

impl Pixel for u16 {
    #[inline]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    #[cfg(target_family = "wasm")]
    #[inline]
    fn widen(pixels: [Self; 8]) -> [wasm::v128; 2] {
        let pixels: wasm::v128 = bytemuck::must_cast(pixels);
        [
            wasm::f32x4_convert_i32x4(wasm::u32x4_extend_low_u16x8(pixels)),
            wasm::f32x4_convert_i32x4(wasm::u32x4_extend_high_u16x8(pixels)),
        ]
    }
}

impl Pixel for i16 {
    #[inline]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    #[cfg(target_family = "wasm")]
    #[inline]
    fn widen(pixels: [Self; 8]) -> [wasm::v128; 2] {
        let pixels: wasm::v128 = bytemuck::must_cast(pixels);
        [
            wasm::f32x4_convert_i32x4(wasm::i32x4_extend_low_i16x8(pixels)),
            wasm::f32x4_convert_i32x4(wasm::i32x4_extend_high_i16x8(pixels)),
        ]
    }
}

impl Pixel for f32 {
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }

    #[cfg(target_family = "wasm")]
    #[inline]
    fn widen(pixels: [Self; 8]) -> [wasm::v128; 2] {
        bytemuck::must_cast(pixels)
    }
}

impl IntegerPixel for u8 {
    const LEAST: i32 = 0;
    const VALUES: usize = 1 << 8;

    #[inline]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
}

impl IntegerPixel for u16 {
    const LEAST: i32 = 0;
    const VALUES: usize = 1 << 16;

    #[inline]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
}

impl IntegerPixel for i16 {
    const LEAST: i32 = i16::MIN as i32;
    const VALUES: usize = 1 << 16;

    #[inline]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
}
