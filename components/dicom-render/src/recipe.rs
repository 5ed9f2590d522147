//! The normalisation recipe: how pixels become a model's input. It stands in the model's manifest.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::RenderError;
use crate::voi::{self, WindowFunction};

/// Edges of a target image: a 4096 × 4096 tensor has 64 MiB.
const LARGEST_EDGE: usize = 4096;

/// A recipe that was read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    pub(crate) window: RecipeWindow,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Mean and deviation that a value from 0 to 1 is standardised by.
    pub(crate) standardise: Option<(f64, f64)>,
    pub(crate) invert_monochrome1: bool,
    hash: String,
}

/// What is spread over 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RecipeWindow {
    Percentiles([f64; 2]),
    Fixed(voi::Window),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    window: WrittenWindow,
    resample: Resample,
    scale: Scale,
    invert_monochrome1: bool,
    layout: String,
    dtype: String,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum WrittenWindow {
    Percentiles { percentiles: [f64; 2] },
    Fixed { center: f64, width: f64, function: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resample {
    height: usize,
    width: usize,
    filter: String,
    fit: String,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Scale {
    Named(String),
    Standardise { mean: f64, deviation: f64 },
}

impl Recipe {
    /// Reads a recipe of schema 1.
    ///
    /// # Errors
    /// [`RenderError::Setting`] for anything that this version does not know or cannot do: a recipe is followed
    /// wholly or not at all.
    pub fn read(text: &str) -> Result<Self, RenderError> {
        let wrong = |text: String| RenderError::Setting { setting: "recipe", text };
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut canonical = String::new();
        write_canonical(&value, &mut canonical);
        let written: Written = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        let Resample { height, width, filter, fit } = &written.resample;
        let known = written.schema == 1
            && filter == "triangle"
            && fit == "stretch"
            && written.layout == "nchw"
            && written.dtype == "f32";
        if !known {
            return Err(wrong("schema 1, triangle, stretch, nchw and f32 are what is known".to_owned()));
        }
        if !(1..=LARGEST_EDGE).contains(height) || !(1..=LARGEST_EDGE).contains(width) {
            return Err(wrong(format!("height and width are from 1 to {LARGEST_EDGE}")));
        }
        let window = match written.window {
            WrittenWindow::Percentiles { percentiles: [low, high] }
                if 0.0 <= low && low < high && high <= 100.0 =>
            {
                RecipeWindow::Percentiles([low, high])
            }
            WrittenWindow::Percentiles { .. } => {
                return Err(wrong("percentiles ascend between 0 and 100".to_owned()));
            }
            WrittenWindow::Fixed { center, width, function } => {
                let function = match function.as_str() {
                    "linear" => WindowFunction::Linear,
                    "linear-exact" => WindowFunction::LinearExact,
                    "sigmoid" => WindowFunction::Sigmoid,
                    _ => return Err(wrong("window function is linear, linear-exact or sigmoid".to_owned())),
                };
                let window = voi::Window::new(center, width, function);
                RecipeWindow::Fixed(window.ok_or_else(|| wrong("the window is too narrow".to_owned()))?)
            }
        };
        let standardise = match written.scale {
            Scale::Named(name) if name == "unit" => None,
            Scale::Standardise { mean, deviation } if deviation > 0.0 => Some((mean, deviation)),
            _ => return Err(wrong("scale is unit, or a mean and a deviation above 0".to_owned())),
        };
        let digest = Sha256::digest(canonical.as_bytes());
        let hash = digest.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"));
        let (height, width) = (*height, *width);
        Ok(Self { window, height, width, standardise, invert_monochrome1: written.invert_monochrome1, hash })
    }

    /// `sha256:` and the digest of the recipe as JSON without blanks, keys sorted: spacing and order do not matter.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Shape of the tensor: batch, channel, height, width.
    #[must_use]
    pub fn shape(&self) -> [u32; 4] {
        // The edges were checked to be at most 4096.
        [1, 1, self.height, self.width].map(|edge| u32::try_from(edge).unwrap_or(0))
    }
}

/// Sorts by hand: whether `serde_json` keeps the order of a file is a feature that another crate may turn on.
fn write_canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            into.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    into.push(',');
                }
                into.push_str(&Value::String(name.clone()).to_string());
                into.push(':');
                write_canonical(member, into);
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    into.push(',');
                }
                write_canonical(item, into);
            }
            into.push(']');
        }
        plain => into.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = r#"{"schema":1,"window":{"percentiles":[0.5,99.5]},"resample":{"height":64,"width":32,
        "filter":"triangle","fit":"stretch"},"scale":"unit","invert_monochrome1":true,"layout":"nchw","dtype":"f32"}"#;

    #[test]
    fn order_and_spacing_leave_the_hash_alone_and_a_value_does_not() {
        let recipe = Recipe::read(RECIPE).unwrap();
        let moved = RECIPE.replace(r#"{"schema":1,"#, "{ ").replace("\"f32\"}", "\"f32\", \"schema\": 1}");
        assert_eq!(Recipe::read(&moved).unwrap(), recipe);
        let other = Recipe::read(&RECIPE.replace("99.5", "99.6")).unwrap();
        assert_ne!(other.hash(), recipe.hash());
        assert_eq!(recipe.shape(), [1, 1, 64, 32]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (from, to) in [
            ("\"schema\":1", "\"schema\":2"),
            ("triangle", "lanczos"),
            ("stretch", "fit"),
            ("\"unit\"", "{\"mean\":0.5,\"deviation\":0}"),
            ("\"unit\"", "\"z-score\""),
            ("0.5,99.5", "99.5,0.5"),
            ("\"height\":64", "\"height\":5000"),
            ("\"height\":64", "\"height\":0"),
            ("\"dtype\":\"f32\"", "\"dtype\":\"f32\",\"gamma\":2"),
            ("\"percentiles\":[0.5,99.5]", "\"center\":40,\"width\":0.5,\"function\":\"linear\""),
        ] {
            let text = RECIPE.replace(from, to);
            assert_ne!(text, RECIPE, "{from}");
            assert!(matches!(Recipe::read(&text), Err(RenderError::Setting { .. })), "{to}");
        }
    }
}
