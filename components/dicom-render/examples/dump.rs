//! Writes what each step arrives at, for `tests/golden.py` to judge: `dump OUT RECIPE FILE...`.
//!
//! For FILE `x.dcm`: `x.dcm.modality` (f64), `x.dcm.preview` (u8), `x.dcm.tensor` (f32), little endian, `x.dcm.png`,
//! and one line on standard output: file, milliseconds for rendering and for the PNG (medians of `REPEAT`
//! runs, an environment variable, as is `LONGEST`, the preview's longer side), rows, columns, and the notes or the refusal.
#![expect(clippy::print_stdout, reason = "this is a program that prints")]

use std::path::Path;
use std::time::Instant;

use dicom_render::{PreviewChoice, Recipe, RenderError, Settings, modality_values, render};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(out), Some(recipe)) = (arguments.next(), arguments.next()) else {
        return Err("usage: dump OUT RECIPE FILE...".into());
    };
    let recipe = Recipe::read(&std::fs::read_to_string(recipe)?)?;
    for file in arguments {
        let line = dump(Path::new(&file), Path::new(&out), &recipe);
        println!("{file}\t{}", line.unwrap_or_else(|failure| format!("refused\t{failure}")));
    }
    Ok(())
}

fn dump(file: &Path, out: &Path, recipe: &Recipe) -> Result<String, Failure> {
    let bytes = std::fs::read(file)?;
    let settings = Settings {
        recipe: Some(recipe.clone()),
        preview: PreviewChoice::Longest(from_environment("LONGEST").unwrap_or(8192)),
        ..Settings::default()
    };
    let repeat = from_environment("REPEAT").unwrap_or(1);
    let (rendered, took) = median(repeat, || render(&bytes, &settings))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (mut size, mut took_png) = ((0, 0), 0.0);
    if let Some(frame) = rendered.frames.first() {
        if let Some(preview) = &frame.preview {
            size = (preview.rows, preview.columns);
            let png;
            (png, took_png) = median(repeat, || preview.png())?;
            std::fs::write(out.join(format!("{name}.png")), png)?;
            std::fs::write(out.join(format!("{name}.preview")), &preview.samples)?;
        }
        let tensor = frame.tensor.iter().flatten();
        let tensor: Vec<u8> = tensor.flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(out.join(format!("{name}.tensor")), tensor)?;
    }
    if let Some(values) = modality_values(&bytes, &settings)? {
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(out.join(format!("{name}.modality")), values)?;
    }
    let notes: Vec<&str> = rendered.notes.iter().copied().collect();
    Ok(format!("{took:.2}\t{took_png:.2}\t{}\t{}\t{}", size.0, size.1, notes.join(",")))
}

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// The last result, and the median of the milliseconds that each run took.
fn median<T>(repeat: usize, run: impl Fn() -> Result<T, RenderError>) -> Result<(T, f64), RenderError> {
    let began = Instant::now();
    let mut result = run()?;
    let mut times = vec![began.elapsed()];
    for _ in 1..repeat {
        let began = Instant::now();
        result = run()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok((result, middle.as_secs_f64() * 1e3))
}
