//! Runs the pixel loops of the guest SDK on its payload. The first line says which and with what: `KERNEL PIXEL
//! NUMBER...`; the pixels stand behind it, little-endian. The result goes to the port `copy`, little-endian too.

use martello_guest_sdk::kernels::{self, IntegerPixel, Pixel};
use martello_guest_sdk::{Context, Fault, Outcome, Payload, Stage, export};

struct Kernels;

impl Stage for Kernels {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let bytes = input.read_all(1 << 24)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut words = head.split(' ');
        let (kernel, pixel) = (words.next().unwrap(), words.next().unwrap());
        // Bits, so that no reading of decimals comes between.
        let numbers: Vec<u32> = words.map(|word| u32::from_str_radix(word, 16).unwrap()).collect();
        let pixels = &bytes[end + 1..];
        let result = match pixel {
            "u8" => integers(kernel, &numbers, pixels.to_vec()),
            "u16" => integers(kernel, &numbers, chunks(pixels, u16::from_le_bytes)),
            "i16" => integers(kernel, &numbers, chunks(pixels, i16::from_le_bytes)),
            _ => floats(kernel, &numbers, &chunks(pixels, f32::from_le_bytes)),
        };
        let mut sink = context.open_output("copy", "application/octet-stream", &[])?;
        sink.write(&result)?;
        sink.finish()?;
        Ok(Outcome::empty())
    }
}

fn chunks<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn rescale<P: Pixel>(numbers: &[u32], pixels: &[P]) -> Vec<u8> {
    let [slope, intercept, low, high] = [0, 1, 2, 3].map(|index| f32::from_bits(numbers[index]));
    let mut values = vec![0.0; pixels.len()];
    kernels::rescale_clip(pixels, slope, intercept, low, high, &mut values);
    bytes(&values)
}

fn integers<P: IntegerPixel>(kernel: &str, numbers: &[u32], pixels: Vec<P>) -> Vec<u8> {
    match kernel {
        "rescale" => rescale(numbers, &pixels),
        "box" => {
            let [height, width, factor] = [4, 5, 6].map(|index| numbers[index] as usize);
            let [slope, intercept, low, high] = [0, 1, 2, 3].map(|index| f32::from_bits(numbers[index]));
            let values =
                kernels::box_rescale_clip(&pixels, height, width, factor, slope, intercept, low, high);
            bytes(&values.unwrap())
        }
        _ => kernels::histogram(&pixels).counts().iter().flat_map(|count| count.to_le_bytes()).collect(),
    }
}

fn floats(kernel: &str, numbers: &[u32], pixels: &[f32]) -> Vec<u8> {
    if kernel == "rescale" {
        return rescale(numbers, pixels);
    }
    let [height, width, new_height, new_width] = [0, 1, 2, 3].map(|index| numbers[index] as usize);
    bytes(&kernels::resample_triangle(pixels, height, width, new_height, new_width).unwrap())
}

export!(Kernels);
