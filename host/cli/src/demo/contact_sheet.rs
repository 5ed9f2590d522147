//! A picture of pictures: what a viewer showed before, and what it shows after.

use std::convert::Infallible;
use std::io::Write;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_7X13, FONT_7X13_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::Drawable;
use embedded_graphics::primitives::{Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

/// Side of a tile, in pixels.
const TILE: u32 = 224;
/// Room for text under a tile.
const CAPTION: u32 = 88;
const GAP: u32 = 20;
const HEAD: u32 = 84;
/// Pairs in a row.
const PAIRS: u32 = 3;

const PAPER: Rgb888 = Rgb888::new(0x12, 0x17, 0x1d);
const CARD: Rgb888 = Rgb888::new(0x1c, 0x23, 0x2c);
const INK: Rgb888 = Rgb888::new(0xe6, 0xeb, 0xf0);
const FAINT: Rgb888 = Rgb888::new(0x93, 0xa1, 0xb0);
const WARM: Rgb888 = Rgb888::new(0xff, 0x9f, 0x5a);
const COOL: Rgb888 = Rgb888::new(0x66, 0xd9, 0xa8);

/// An image of 8-bit RGB triples, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
}

/// One half of a pair.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) picture: Option<Picture>,
    /// What stands in the header, one line each.
    pub(crate) lines: Vec<String>,
}

/// The same image before and after.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) title: String,
    pub(crate) before: Side,
    pub(crate) after: Side,
}

/// Draws the sheet and writes it as PNG.
pub(crate) fn write(to: impl Write, title: &str, subtitle: &str, pairs: &[Pair]) -> anyhow::Result<()> {
    let count = u32::try_from(pairs.len())?.max(1);
    let rows = count.div_ceil(PAIRS);
    let card = Size::new(2 * TILE + 3 * 10, TILE + CAPTION + 34);
    let width = PAIRS.min(count) * (card.width + GAP) + GAP;
    let mut sheet = Sheet::new(Size::new(width, HEAD + rows * (card.height + GAP)));
    sheet.text(Point::new(20, 16), title, &FONT_10X20, INK);
    sheet.text(Point::new(20, 46), subtitle, &FONT_7X13, FAINT);
    for (pair, index) in pairs.iter().zip(0_u32..) {
        let x = GAP + (index % PAIRS) * (card.width + GAP);
        let y = HEAD + (index / PAIRS) * (card.height + GAP);
        sheet.pair(Point::new(i32::try_from(x)?, i32::try_from(y)?), card, pair);
    }
    let mut encoder = png::Encoder::new(to, sheet.size.width, sheet.size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&sheet.rgb)?;
    writer.finish()?;
    Ok(())
}

/// Reads a PNG of 8-bit grey or RGB, as `dicom-render` writes it.
pub(crate) fn read(from: impl std::io::BufRead + std::io::Seek) -> anyhow::Result<Picture> {
    let mut reader = png::Decoder::new(from).read_info()?;
    let size = reader.output_buffer_size().ok_or_else(|| anyhow::anyhow!("the picture is too large"))?;
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes)?;
    bytes.truncate(info.buffer_size());
    let rgb = match (info.color_type, info.bit_depth) {
        (png::ColorType::Rgb, png::BitDepth::Eight) => bytes,
        (png::ColorType::Grayscale, png::BitDepth::Eight) => {
            bytes.into_iter().flat_map(|grey| [grey; 3]).collect()
        }
        other => anyhow::bail!("the picture is {other:?}, not 8-bit grey or RGB"),
    };
    Ok(Picture { width: info.width, height: info.height, rgb })
}

struct Sheet {
    size: Size,
    rgb: Vec<u8>,
}

impl Sheet {
    fn new(size: Size) -> Self {
        let pixels = size.width as usize * size.height as usize;
        Self { size, rgb: [PAPER.r(), PAPER.g(), PAPER.b()].repeat(pixels) }
    }

    fn text(&mut self, at: Point, text: &str, font: &MonoFont<'_>, color: Rgb888) {
        let drawn = Text::with_baseline(text, at, MonoTextStyle::new(font, color), Baseline::Top).draw(self);
        drawn.unwrap_or_else(|never| match never {});
    }

    fn block(&mut self, at: Point, size: Size, color: Rgb888) {
        let drawn = Rectangle::new(at, size).into_styled(PrimitiveStyle::with_fill(color)).draw(self);
        drawn.unwrap_or_else(|never| match never {});
    }

    fn pair(&mut self, at: Point, card: Size, pair: &Pair) {
        self.block(at, card, CARD);
        self.text(at + Point::new(10, 9), &fitting(&pair.title, 62), &FONT_7X13_BOLD, INK);
        let step = i32::try_from(TILE + 10).unwrap_or(0);
        for (side, column, word, color) in
            [(&pair.before, 0, "before", WARM), (&pair.after, 1, "after", COOL)]
        {
            let left = at + Point::new(10 + column * step, 30);
            self.block(left, Size::new(TILE, TILE), Rgb888::BLACK);
            match &side.picture {
                Some(picture) => self.picture(left, picture),
                None => self.text(left + Point::new(70, 104), "no picture", &FONT_7X13, FAINT),
            }
            let below = left + Point::new(0, i32::try_from(TILE).unwrap_or(0) + 6);
            self.text(below, word, &FONT_7X13_BOLD, color);
            for (line, row) in side.lines.iter().take(5).zip(1..) {
                self.text(below + Point::new(0, row * 14), &fitting(line, 31), &FONT_7X13, INK);
            }
        }
    }

    /// Draws a picture into a tile, whole and in its own proportions; each pixel of the tile is the mean of the
    /// pixels that it covers.
    fn picture(&mut self, at: Point, picture: &Picture) {
        let longest = picture.width.max(picture.height).max(1);
        let (width, height) =
            ((picture.width * TILE / longest).max(1), (picture.height * TILE / longest).max(1));
        let (dx, dy) = ((TILE - width.min(TILE)) / 2, (TILE - height.min(TILE)) / 2);
        for y in 0..height {
            for x in 0..width {
                let columns = covered(x, width, picture.width);
                let rows = covered(y, height, picture.height);
                let color = picture.mean(columns, rows);
                let offset =
                    Point::new(i32::try_from(dx + x).unwrap_or(0), i32::try_from(dy + y).unwrap_or(0));
                self.put(at + offset, color);
            }
        }
    }

    fn put(&mut self, at: Point, color: Rgb888) {
        let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { return };
        if x >= self.size.width || y >= self.size.height {
            return;
        }
        let start = (y as usize * self.size.width as usize + x as usize) * 3;
        if let Some(pixel) = self.rgb.get_mut(start..start + 3) {
            pixel.copy_from_slice(&[color.r(), color.g(), color.b()]);
        }
    }
}

impl Picture {
    fn mean(&self, columns: std::ops::Range<u32>, rows: std::ops::Range<u32>) -> Rgb888 {
        let (mut sums, mut count) = ([0_u64; 3], 0_u64);
        for row in rows {
            for column in columns.clone() {
                let start = (row as usize * self.width as usize + column as usize) * 3;
                let Some(pixel) = self.rgb.get(start..start + 3) else { continue };
                sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u64::from(value));
                count += 1;
            }
        }
        let [r, g, b] = sums.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX));
        Rgb888::new(r, g, b)
    }
}

/// The pixels of a picture `from` wide that pixel `at` of a tile `to` wide covers: at least one.
fn covered(at: u32, to: u32, from: u32) -> std::ops::Range<u32> {
    let start = at * from / to.max(1);
    let end = (at + 1) * from / to.max(1);
    start..end.max(start + 1)
}

/// The text, cut to so many characters; characters that the font lacks become `?`.
fn fitting(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).collect();
    if text.chars().count() > most {
        shown.pop();
        shown.push('~');
    }
    shown
}

impl OriginDimensions for Sheet {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Sheet {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            self.put(at, color);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_both_sides_of_a_pair() {
        let picture = |value: u8| Some(Picture { width: 2, height: 2, rgb: vec![value; 12] });
        let side = |value| Side { picture: picture(value), lines: vec!["line".to_owned()] };
        let pair = Pair { title: "CT".to_owned(), before: side(200), after: side(90) };
        let mut bytes = Vec::new();
        write(&mut bytes, "title", "subtitle", &[pair]).unwrap();
        let sheet = read(std::io::Cursor::new(bytes)).unwrap();
        let pixel = |x: u32, y: u32| sheet.rgb[((y * sheet.width + x) * 3) as usize];
        let middle = HEAD + 30 + TILE / 2;
        assert_eq!(pixel(GAP + 10 + TILE / 2, middle), 200);
        assert_eq!(pixel(GAP + 10 + TILE + 10 + TILE / 2, middle), 90);
    }
}
