//! The model's input: the recipe's steps in their order, see `components/classify/model/recipe.py`.

use martello_guest_sdk::kernels;

use crate::error::RenderError;
use crate::grey::{Grey, turned_round};
use crate::recipe::{Recipe, RecipeWindow};
use crate::statistics::{self, Level};
use crate::voi::Voi;

/// Normalises a frame. Row-major, one channel.
pub(crate) fn normalise(grey: &Grey, recipe: &Recipe) -> Result<Vec<f32>, RenderError> {
    let mut levels = grey.levels();
    let turn = (grey.inverted && recipe.invert_monochrome1).then(|| turned_round(&levels));
    let upright = |value: f64| turn.map_or(value, |turn| turn(value));
    levels.iter_mut().for_each(|level: &mut Level| level.value = upright(level.value));
    let lowest = statistics::range(&levels).map(|(low, _)| low);
    let voi = match recipe.window {
        RecipeWindow::Fixed(window) => Voi::Window(window),
        RecipeWindow::Percentiles(percents) => match statistics::percentiles(levels, percents) {
            Some((low, high)) if high > low => Voi::Range(low, high),
            _ => Voi::Empty,
        },
    };
    // An image without contrast, or of nothing but padding, is zeros whatever the scale.
    let (Some(lowest), false) = (lowest, matches!(voi, Voi::Empty)) else {
        return Ok(vec![0.0; recipe.height * recipe.width]);
    };
    #[expect(clippy::cast_possible_truncation, reason = "the tensor is f32")]
    let mapped = grey.mapped(voi.apply(lowest) as f32, |value| voi.apply(upright(value)) as f32);
    let fill = |row: usize, line: &mut [f32]| mapped.row(row, line);
    let mut values =
        kernels::resample_triangle_rows(grey.rows, grey.columns, recipe.height, recipe.width, fill)
            .map_err(|fault| RenderError::Internal(fault.text().to_owned()))?;
    for value in &mut values {
        // Weights sum to one only up to rounding.
        let unit = value.clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "the tensor is f32")]
        let scaled = recipe
            .standardise
            .map_or(unit, |(mean, deviation)| ((f64::from(unit) - mean) / deviation) as f32);
        *value = scaled;
    }
    Ok(values)
}
