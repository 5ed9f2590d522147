//! The preview: eight bits, grey or RGB, as a PNG without any text in it.

use martello_guest_sdk::kernels;
use png::{BitDepth, ColorType, Compression, Encoder};

use crate::colour::Rgb;
use crate::error::RenderError;
use crate::grey::Grey;
use crate::header::{Header, Transform};
use crate::statistics;
use crate::voi::{Voi, Window, WindowFunction};

/// A preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Rows of the preview.
    pub rows: usize,
    /// Columns of the preview.
    pub columns: usize,
    /// One sample a pixel, or three.
    pub samples: Vec<u8>,
}

impl Preview {
    /// The preview as a PNG: nothing but the header, the pixels and the end.
    ///
    /// # Errors
    /// Only if the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>, RenderError> {
        let failed = |error: png::EncodingError| RenderError::Internal(format!("png: {error}"));
        let size = |edge: usize| u32::try_from(edge).unwrap_or(0);
        let mut file = Vec::with_capacity(self.samples.len() / 2 + 1024);
        let mut encoder = Encoder::new(&mut file, size(self.columns), size(self.rows));
        let grey = self.samples.len() == self.rows * self.columns;
        encoder.set_color(if grey { ColorType::Grayscale } else { ColorType::Rgb });
        encoder.set_depth(BitDepth::Eight);
        encoder.set_compression(Compression::Fast);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.samples).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(file)
    }
}

/// How the file wants a frame to be seen, with the note that says so: its VOI LUT, its first window, else the
/// percentiles 0.5 to 99.5.
pub(crate) fn voi(header: &Header, frame: u32, grey: &Grey) -> Result<(Voi, &'static str), RenderError> {
    if let Some(parts) = &header.voi_lut {
        // Signed where the values that it maps can be negative.
        let below_zero = || statistics::range(&grey.levels()).is_some_and(|(low, _)| low < 0.0);
        let signed = parts.first_signed.unwrap_or_else(|| header.signed || below_zero());
        return Ok((Voi::Table(parts.table(signed)?), "voi-lut-from-file"));
    }
    let groups = [header.by_frame.get(&frame), Some(&header.shared), Some(&header.top)];
    if let Some(window) = groups.into_iter().flatten().find_map(window) {
        return Ok((Voi::Window(window), "window-from-file"));
    }
    if grey.binary {
        return Ok((Voi::Range(0.0, 1.0), "full-range"));
    }
    let voi = match statistics::percentiles(grey.levels(), [0.5, 99.5]) {
        Some((low, high)) if high > low => Voi::Range(low, high),
        _ => Voi::Empty,
    };
    Ok((voi, "percentiles"))
}

fn window(transform: &Transform) -> Option<Window> {
    let function = match transform.function.as_deref() {
        None | Some("LINEAR") => WindowFunction::Linear,
        Some("LINEAR_EXACT") => WindowFunction::LinearExact,
        Some("SIGMOID") => WindowFunction::Sigmoid,
        Some(_) => return None,
    };
    Window::new(*transform.centers.first()?, *transform.widths.first()?, function)
}

/// Draws a grey frame; padding is black.
pub(crate) fn grey(grey: &Grey, voi: &Voi, longest: usize) -> Result<Preview, RenderError> {
    let shown = |value: f64| {
        let shown = voi.apply(value);
        if grey.inverted && !matches!(voi, Voi::Empty) { 1.0 - shown } else { shown }
    };
    let (rows, columns) = fitted(grey.rows, grey.columns, longest);
    let samples = if rows == grey.rows {
        let mapped = grey.mapped(0, |value| byte(shown(value) * 255.0));
        let mut samples = vec![0; rows * columns];
        let lines = samples.chunks_exact_mut(columns).enumerate();
        lines.for_each(|(row, line)| mapped.row(row, line));
        samples
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "a preview needs no more than f32")]
        let mapped = grey.mapped(0.0, |value| (shown(value) * 255.0) as f32);
        let fill = |row: usize, line: &mut [f32]| mapped.row(row, line);
        smaller(grey.rows, grey.columns, rows, columns, fill)?.collect()
    };
    Ok(Preview { rows, columns, samples })
}

/// Draws a colour frame.
pub(crate) fn colour(rgb: &Rgb, longest: usize) -> Result<Preview, RenderError> {
    let (rows, columns) = fitted(rgb.rows, rgb.columns, longest);
    let bytes = rgb.bytes();
    if rows == rgb.rows {
        return Ok(Preview { rows, columns, samples: bytes });
    }
    let mut samples = vec![0; rows * columns * 3];
    for channel in 0..3 {
        let fill = |row: usize, line: &mut [f32]| {
            let pixels = bytes.get(row * rgb.columns * 3 + channel..).unwrap_or_default().iter().step_by(3);
            line.iter_mut().zip(pixels).for_each(|(to, byte)| *to = f32::from(*byte));
        };
        let smaller = smaller(rgb.rows, rgb.columns, rows, columns, fill)?;
        let into = samples.get_mut(channel..).unwrap_or_default().iter_mut().step_by(3);
        into.zip(smaller).for_each(|(to, byte)| *to = byte);
    }
    Ok(Preview { rows, columns, samples })
}

fn smaller(
    rows: usize,
    columns: usize,
    to_rows: usize,
    to_columns: usize,
    fill: impl FnMut(usize, &mut [f32]),
) -> Result<impl Iterator<Item = u8>, RenderError> {
    let values = kernels::resample_triangle_rows(rows, columns, to_rows, to_columns, fill);
    let values = values.map_err(|fault| RenderError::Internal(fault.text().to_owned()))?;
    Ok(values.into_iter().map(|value| byte(f64::from(value))))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from f64 saturate")]
fn byte(value: f64) -> u8 {
    (value + 0.5).floor() as u8
}

/// The size with the same proportions whose longer side is `longest` at most.
fn fitted(rows: usize, columns: usize, longest: usize) -> (usize, usize) {
    let larger = rows.max(columns);
    if larger <= longest {
        return (rows, columns);
    }
    let fit = |edge: usize| ((edge * longest + larger / 2) / larger).max(1);
    (fit(rows), fit(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_bounded_and_no_side_vanishes() {
        assert_eq!(fitted(512, 512, 1024), (512, 512));
        assert_eq!(fitted(4096, 2048, 1024), (1024, 512));
        assert_eq!(fitted(1, 65_535, 1024), (1, 1024));
    }

    #[test]
    fn a_png_has_no_chunk_but_header_pixels_and_end() {
        let png = Preview { rows: 2, columns: 2, samples: vec![0, 1, 2, 255] }.png().unwrap();
        let mut rest = &png[8..];
        let mut kinds = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            kinds.push(behind[..4].to_vec());
            rest = &behind[4 + u32::from_be_bytes(*length) as usize + 4..];
        }
        assert_eq!(kinds, [b"IHDR", b"IDAT", b"IEND"]);
    }
}
