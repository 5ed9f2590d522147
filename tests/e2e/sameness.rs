//! The sandbox gives what the same code gives natively, to the bit.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dicom_render::{FrameChoice, NO_PIXELS, PreviewChoice, Recipe, Settings, render};
use martello_guest_sdk::kernels;
use martello_tests::bundle::{guest, signed};
use martello_tests::samples;
use serde_json::{Value, json};

use crate::rendering::{files, recipe, renderer};

#[test]
fn previews_and_tensors_of_the_sandbox_are_the_native_ones_in_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let lines = renderer(folder.path(), &recipe(), "all").run(&samples(), &output).unwrap();
    let settings = Settings {
        recipe: Some(Recipe::read(&recipe().to_string()).unwrap()),
        preview: PreviewChoice::Longest(8192),
        frames: FrameChoice::All,
        ..Settings::default()
    };
    let (mut rendered, mut frames, mut refused) = (0, 0, 0);
    for line in &lines {
        let name = line["input"].as_str().unwrap();
        match render(&fs::read(samples().join(name)).unwrap(), &settings) {
            Err(error) => {
                let text = error.to_string();
                let code = text.split(':').next().unwrap();
                assert_eq!(line["code"], code, "{name}: {text}");
                refused += 1;
            }
            Ok(native) => {
                assert_eq!(line["outcome"], "done", "{name}: {line}");
                let [previews, tensors] =
                    ["previews/", "tensors/"].map(|folder| files(line, &output, folder));
                assert_eq!([previews.len(), tensors.len()], [native.frames.len(); 2], "{name}");
                for ((frame, preview), tensor) in native.frames.iter().zip(previews).zip(tensors) {
                    let png = frame.preview.as_ref().unwrap().png().unwrap();
                    assert!(fs::read(preview).unwrap() == png, "{name}: preview of frame {}", frame.frame);
                    let values = bytes(frame.tensor.as_ref().unwrap());
                    assert!(fs::read(tensor).unwrap() == values, "{name}: tensor of frame {}", frame.frame);
                    frames += 1;
                }
                rendered += usize::from(native.notes != BTreeSet::from([NO_PIXELS]));
            }
        }
    }
    // So many there were when this was written: nothing drops out unseen.
    assert_eq!((rendered, frames, refused), (86, 162, 14));
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// One call of a kernel in the guest `kernels`: its first line, its pixels, and what must come out.
struct Case {
    head: String,
    pixels: Vec<u8>,
    expected: Vec<u8>,
}

/// An affine map and a clip.
struct Map {
    slope: f32,
    intercept: f32,
    low: f32,
    high: f32,
}

impl Map {
    /// The definition, one pixel at a time.
    fn of(&self, pixel: f32) -> f32 {
        let mapped = pixel * self.slope + self.intercept;
        if mapped < self.low {
            self.low
        } else if mapped > self.high {
            self.high
        } else {
            mapped
        }
    }

    fn words(&self) -> String {
        let numbers = [self.slope, self.intercept, self.low, self.high];
        numbers.map(|number| format!("{:x}", number.to_bits())).join(" ")
    }
}

const MAPS: [Map; 4] = [
    Map { slope: 1.0, intercept: -1024.0, low: -160.0, high: 240.0 },
    Map { slope: 0.1, intercept: 0.3, low: -7.0, high: 6000.0 },
    Map { slope: -2.5, intercept: 1.0, low: 0.0, high: 1.0 },
    Map { slope: 1.0 / 3.0, intercept: 1e-7, low: -1e30, high: 1e30 },
];

/// Bits that look like noise, the same each time.
fn noise(count: u32) -> impl Iterator<Item = u32> {
    let mut state = 1_u32;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    })
}

fn rescaled(pixel: &str, pixels: &[u8], values: &[f32]) -> Vec<Case> {
    let case = |map: &Map| Case {
        head: format!("rescale {pixel} {}", map.words()),
        pixels: pixels.to_vec(),
        expected: bytes(&values.iter().map(|value| map.of(*value)).collect::<Vec<_>>()),
    };
    MAPS.iter().map(case).collect()
}

/// Each box summed as an integer, then mapped.
fn boxed(pixel: &str, pixels: &[u8], values: &[i64], height: usize, width: usize, factor: usize) -> Case {
    let map = &MAPS[1];
    let divided = Map { slope: map.slope / (factor * factor) as f32, ..*map };
    let sum = |row: usize, column: usize| -> f32 {
        let cells = (0..factor * factor).map(|n| (row * factor + n / factor, column * factor + n % factor));
        cells.map(|(y, x)| values[y * width + x]).sum::<i64>() as f32
    };
    let (rows, columns) = (height / factor, width / factor);
    let boxes = (0..rows * columns).map(|place| divided.of(sum(place / columns, place % columns)));
    Case {
        head: format!("box {pixel} {} {height:x} {width:x} {factor:x}", map.words()),
        pixels: pixels.to_vec(),
        expected: bytes(&boxes.collect::<Vec<_>>()),
    }
}

fn counted(pixel: &str, pixels: &[u8], bins: impl Iterator<Item = usize>, count: usize) -> Case {
    let mut counts = vec![0_u32; count];
    bins.for_each(|bin| counts[bin] += 1);
    let expected = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
    Case { head: format!("histogram {pixel}"), pixels: pixels.to_vec(), expected }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let some = || noise(5_003).map(u32::to_le_bytes);
    let small: Vec<u8> = (0..=u8::MAX).chain(some().map(|[_, byte, ..]| byte)).collect();
    let unsigned: Vec<u16> =
        (0..=u16::MAX).chain(some().map(|[_, low, high, _]| u16::from_le_bytes([low, high]))).collect();
    let signed: Vec<i16> = unsigned.iter().map(|value| value.cast_signed()).collect();
    let bytes_of_unsigned: Vec<u8> = unsigned.iter().flat_map(|value| value.to_le_bytes()).collect();
    let to_f32 = |values: &[i64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    let widened: [Vec<i64>; 3] = [
        small.iter().map(|value| i64::from(*value)).collect(),
        unsigned.iter().map(|value| i64::from(*value)).collect(),
        signed.iter().map(|value| i64::from(*value)).collect(),
    ];
    let kinds = [
        ("u8", &small, 0, 1 << 8),
        ("u16", &bytes_of_unsigned, 0, 1 << 16),
        ("i16", &bytes_of_unsigned, -32_768, 1 << 16),
    ];
    for ((pixel, pixels, least, count), values) in kinds.into_iter().zip(&widened) {
        cases.extend(rescaled(pixel, pixels, &to_f32(values)));
        let bins = values.iter().map(|value| usize::try_from(value - least).unwrap());
        cases.push(counted(pixel, pixels, bins, count));
        let size = pixels.len() / values.len();
        for (height, width, factor) in [(61, 83, 8), (64, 64, 1), (50, 99, 7)] {
            let area = height * width;
            cases.push(boxed(pixel, &pixels[..area * size], &values[..area], height, width, factor));
        }
    }
    // Every kind of float, also those that are no numbers.
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-45, f32::MAX];
    let floats: Vec<f32> = special.into_iter().chain(noise(20_001).map(f32::from_bits)).collect();
    cases.extend(rescaled("f32", &bytes(&floats), &floats));
    // Resampling is its own definition as far as the order of its sums goes; `guest-sdk` compares it with f64.
    let unit: Vec<f32> = noise(256 * 200).map(|bits| (bits >> 8) as f32 / (1 << 24) as f32).collect();
    for [height, width, new_height, new_width] in
        [[256, 200, 64, 64], [61, 47, 16, 16], [5, 3, 160, 160], [200, 256, 200, 256], [17, 9, 1, 1]]
    {
        let pixels = &unit[..height * width];
        let expected = kernels::resample_triangle(pixels, height, width, new_height, new_width).unwrap();
        cases.push(Case {
            head: format!("resample f32 {height:x} {width:x} {new_height:x} {new_width:x}"),
            pixels: bytes(pixels),
            expected: bytes(&expected),
        });
    }
    cases
}

/// Equal in every bit; of a NaN only that it is one (`wasm`'s own rule: which NaN comes out is not determined).
fn same(found: &[u8], expected: &[u8]) -> bool {
    let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    let pairs = found.as_chunks::<4>().0.iter().zip(expected.as_chunks::<4>().0);
    found.len() == expected.len()
        && pairs.into_iter().all(|(a, b)| a == b || (number(a).is_nan() && number(b).is_nan()))
}

#[test]
fn kernels_give_in_the_sandbox_the_bits_of_their_scalar_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&input).unwrap();
    let cases = cases();
    for (number, case) in cases.iter().enumerate() {
        let file = [case.head.as_bytes(), b"\n", &case.pixels].concat();
        fs::write(input.join(number.to_string()), file).unwrap();
    }
    let lines = kernel_bundle(folder.path()).run(&input, &output).unwrap();
    assert_eq!((lines.len(), cases.len()), (33, 33));
    for line in &lines {
        let case = &cases[line["input"].as_str().unwrap().parse::<usize>().unwrap()];
        assert_eq!(line["outcome"], "done", "{}: {line}", case.head);
        let [file] = &files(line, &output, "copies/")[..] else { panic!("{line}") };
        let found = fs::read(file).unwrap();
        // A histogram holds counts, which are no floats.
        let equal = if case.head.starts_with("histogram") {
            found == case.expected
        } else {
            same(&found, &case.expected)
        };
        assert!(equal, "{}", case.head);
    }
}

fn kernel_bundle(folder: &Path) -> martello_tests::bundle::Signed {
    let source: Value = json!({
        "name": "kernels", "version": "0.1.0", "security_version": 1,
        "components": [{ "name": "kernels", "file": guest("kernels").unwrap() }],
        "capabilities": ["dangerously-export-identified"],
        "pipeline": { "accepts": ["application/octet-stream"],
                      "stages": [{ "name": "run", "component": "kernels", "from": "input", "ports": ["copy"] }],
                      "exports": [{ "from": "run.copy", "folder": "copies", "extension": "f32" }] },
    });
    signed(folder, &source).unwrap()
}
