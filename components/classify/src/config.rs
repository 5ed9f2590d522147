//! What the signed manifest says of the model, as settings of the stage.

use martello_guest_sdk::{Context, ElementType, Fault, Tensor, shape_text};
use serde::Deserialize;

use crate::scores::Activation;

/// The settings of the stage, checked.
///
/// The device puts the manifest's entry of the one model granted into the setting `model-manifest` and its name into
/// `model`; every other setting overrides what that entry says.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `model`: the model's name in the bundle.
    pub model: String,
    /// `finding`: the kind of the finding, for example `acquisition-quality`.
    pub finding: String,
    /// `labels`: one a line, in the order of the scores.
    pub labels: Vec<String>,
    /// `temperature`: logits are divided by it. Greater than 0; 1 where nothing is said.
    pub temperature: f64,
    /// `threshold`: the least probability at which a label is given. 0 to 1; 0 where nothing is said.
    pub threshold: f64,
    /// `activation`: `softmax` (where nothing is said), `sigmoid` or `none`.
    pub activation: Activation,
    /// `input`: the name of the model's input.
    pub input: String,
    /// `output`: the name of the output with the scores; none where the model has one output.
    pub output: Option<String>,
    expected: Option<TensorEntry>,
}

/// What is read of the manifest's entry; its other fields are not this stage's business.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ModelEntry {
    inputs: Vec<TensorEntry>,
    outputs: Vec<TensorEntry>,
    labels: Vec<String>,
    calibration: Option<CalibrationEntry>,
    threshold: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct TensorEntry {
    name: String,
    dtype: String,
    shape: Vec<Option<u32>>,
}

#[derive(Debug, Deserialize)]
struct CalibrationEntry {
    temperature: f64,
}

impl Config {
    /// Reads and checks the settings.
    ///
    /// # Errors
    /// `missing-setting` and `bad-setting`.
    pub fn read(context: &Context) -> Result<Self, Fault> {
        let entry = match context.setting("model-manifest") {
            Some(text) => serde_json::from_str(&text).map_err(|_| bad("model-manifest", "does not read"))?,
            None => ModelEntry::default(),
        };
        let labels = match context.setting("labels") {
            Some(lines) => {
                lines.lines().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
            }
            None => entry.labels,
        };
        if labels.is_empty() {
            return Err(Fault::internal("missing-setting: `labels`, and the model's manifest names none"));
        }
        let calibrated = entry.calibration.map(|it| it.temperature);
        let temperature = context.parsed_setting("temperature")?.or(calibrated).unwrap_or(1.0);
        if !(temperature > 0.0 && f64::is_finite(temperature)) {
            return Err(bad("temperature", "is not greater than 0"));
        }
        let threshold = context.parsed_setting("threshold")?.or(entry.threshold).unwrap_or(0.0);
        if !(0.0..=1.0).contains(&threshold) {
            return Err(bad("threshold", "is not between 0 and 1"));
        }
        let activation = match context.setting("activation") {
            Some(word) => {
                word.parse().map_err(|()| bad("activation", "is not `softmax`, `sigmoid` or `none`"))?
            }
            None => Activation::default(),
        };
        let expected = match (context.setting("input"), entry.inputs.as_slice()) {
            (Some(name), inputs) => {
                let known = inputs.iter().find(|it| it.name == name).cloned();
                (name, known)
            }
            (None, [only]) => (only.name.clone(), Some(only.clone())),
            (None, _) => {
                return Err(Fault::internal("missing-setting: `input`, the model has not exactly one"));
            }
        };
        let output = match (context.setting("output"), entry.outputs.as_slice()) {
            (Some(name), _) => Some(name),
            (None, [] | [_]) => None,
            (None, _) => return Err(Fault::internal("missing-setting: `output`, the model has several")),
        };
        Ok(Self {
            model: context.required_setting("model")?,
            finding: context.required_setting("finding")?,
            labels,
            temperature,
            threshold,
            activation,
            input: expected.0,
            output,
            expected: expected.1,
        })
    }

    /// Compares a tensor with what the manifest says that the model takes.
    ///
    /// # Errors
    /// `tensor-mismatch` where element type or shape differ.
    pub fn check_input(&self, tensor: &Tensor) -> Result<(), Fault> {
        let Some(expected) = &self.expected else { return Ok(()) };
        let same = |(wanted, found): (&Option<u32>, &u32)| wanted.is_none_or(|wanted| wanted == *found);
        let fits = ElementType::from_word(&expected.dtype) == Some(tensor.element_type())
            && expected.shape.len() == tensor.shape().len()
            && expected.shape.iter().zip(tensor.shape()).all(same);
        if fits {
            return Ok(());
        }
        let (element, shape) = (tensor.element_type().as_str(), shape_text(tensor.shape()));
        Err(Fault::unsupported(format!("tensor-mismatch: {element}[{shape}] is not what the model takes")))
    }
}

fn bad(name: &str, what: &str) -> Fault {
    Fault::internal(format!("bad-setting: `{name}` {what}"))
}
