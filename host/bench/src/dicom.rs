//! DICOM files for measuring: a CT slice of any size with a body in it, noise, and a patient's attributes.

/// A slice of `size`×`size` pixels, 12 bits of 16, uncompressed (Explicit VR Little Endian). `number` makes it another
/// instance of the same series, with other noise.
pub(crate) fn ct_slice(size: u16, number: u32) -> Vec<u8> {
    let instance = format!("2.999.4711.77.{number}");
    let mut meta = File::default();
    meta.text(0x0002_0002, *b"UI", CT_IMAGE_STORAGE);
    meta.text(0x0002_0003, *b"UI", &instance);
    meta.text(0x0002_0010, *b"UI", "1.2.840.10008.1.2.1");
    let mut file = File(vec![0; 128]);
    file.0.extend_from_slice(b"DICM");
    file.bytes(0x0002_0000, *b"UL", &u32::try_from(meta.0.len()).unwrap_or_default().to_le_bytes());
    file.0.extend_from_slice(&meta.0);
    file.texts(&[
        (0x0008_0005, b"CS", "ISO_IR 100"),
        (0x0008_0008, b"CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        (0x0008_0016, b"UI", CT_IMAGE_STORAGE),
        (0x0008_0018, b"UI", &instance),
        (0x0008_0020, b"DA", "20240102"),
        (0x0008_0030, b"TM", "101112"),
        (0x0008_0060, b"CS", "CT"),
        (0x0008_0070, b"LO", "Martello Phantom Works"),
        (0x0008_0090, b"PN", "Referrer^Jane"),
        (0x0010_0010, b"PN", "Phantom^John"),
        (0x0010_0020, b"LO", "BENCH-1"),
        (0x0010_0030, b"DA", "19310317"),
        (0x0018_0015, b"CS", "CHEST"),
        (0x0020_000D, b"UI", "2.999.4711.77"),
        (0x0020_000E, b"UI", "2.999.4711.77.0"),
        (0x0020_0013, b"IS", "1"),
    ]);
    file.number(0x0028_0002, 1);
    file.text(0x0028_0004, *b"CS", "MONOCHROME2");
    file.number(0x0028_0010, size);
    file.number(0x0028_0011, size);
    file.text(0x0028_0030, *b"DS", "0.9\\0.9");
    for (tag, value) in [(0x0028_0100, 16), (0x0028_0101, 12), (0x0028_0102, 11), (0x0028_0103, 0)] {
        file.number(tag, value);
    }
    file.texts(&[
        (0x0028_0301, b"CS", "NO"),
        (0x0028_1050, b"DS", "40"),
        (0x0028_1051, b"DS", "400"),
        (0x0028_1052, b"DS", "-1024"),
        (0x0028_1053, b"DS", "1"),
    ]);
    file.pixels(&pixels(size, number));
    file.0
}

const CT_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.2";

/// Air, an ellipse of tissue with two lungs in it, and noise as a scanner has it.
fn pixels(size: u16, number: u32) -> Vec<u8> {
    let mut noise = 0x9E37_79B9_u32 ^ number.wrapping_mul(0x85EB_CA6B) | 1;
    let place = |at: u16| f32::from(at) / f32::from(size) * 2.0 - 1.0;
    let inside = |x: f32, y: f32, (cx, cy, rx, ry): (f32, f32, f32, f32)| {
        ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) < 1.0
    };
    let mut bytes = Vec::with_capacity(usize::from(size) * usize::from(size) * 2);
    for row in 0..size {
        for column in 0..size {
            let (x, y) = (place(column), place(row));
            let value = if !inside(x, y, (0.0, 0.0, 0.9, 0.7)) {
                24
            } else if inside(x, y, (-0.4, 0.0, 0.3, 0.45)) || inside(x, y, (0.4, 0.0, 0.3, 0.45)) {
                200
            } else {
                1060
            };
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let [low, ..] = noise.to_le_bytes();
            bytes.extend_from_slice(&(value + u16::from(low & 15)).to_le_bytes());
        }
    }
    bytes
}

#[derive(Default)]
struct File(Vec<u8>);

impl File {
    fn texts(&mut self, values: &[(u32, &[u8; 2], &str)]) {
        values.iter().for_each(|&(tag, kind, value)| self.text(tag, *kind, value));
    }

    fn text(&mut self, tag: u32, kind: [u8; 2], value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if kind == *b"UI" { 0 } else { b' ' });
        }
        self.bytes(tag, kind, &bytes);
    }

    fn number(&mut self, tag: u32, value: u16) {
        self.bytes(tag, *b"US", &value.to_le_bytes());
    }

    fn bytes(&mut self, tag: u32, kind: [u8; 2], value: &[u8]) {
        self.tag(tag);
        self.0.extend_from_slice(&kind);
        self.0.extend_from_slice(&u16::try_from(value.len()).unwrap_or_default().to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn pixels(&mut self, value: &[u8]) {
        self.tag(0x7FE0_0010);
        self.0.extend_from_slice(b"OW\0\0");
        self.0.extend_from_slice(&u32::try_from(value.len()).unwrap_or_default().to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn tag(&mut self, tag: u32) {
        let [group_high, group_low, element_high, element_low] = tag.to_be_bytes();
        self.0.extend_from_slice(&[group_low, group_high, element_low, element_high]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_of_one_series_differ_in_identity_and_pixels_and_not_in_length() {
        let (one, other) = (ct_slice(64, 1), ct_slice(64, 2));
        assert_eq!(one.len(), other.len());
        assert_eq!(&one[128..132], b"DICM");
        let pixels = 64 * 64 * 2;
        assert_ne!(one[one.len() - pixels..], other[other.len() - pixels..]);
    }
}
