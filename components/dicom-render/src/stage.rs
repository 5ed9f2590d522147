//! The stage: payload in, outputs and evidence out.

use dicom_stream::RangeSource;
use martello_guest_sdk::{
    ActionCount, Context, Evidence, Fault, Outcome, Payload, Stage, TENSOR_MEDIA_TYPE, shape_text,
};

use crate::error::RenderError;
use crate::render::{RenderedFrame, render_each};
use crate::settings::Settings;

/// Renders one object.
#[derive(Debug)]
pub struct Render;

impl Stage for Render {
    fn process(input: &Payload, context: &Context) -> Result<Outcome, Fault> {
        let settings = Settings::read(|name| context.setting(name))?;
        let (mut previews, mut tensors) = (0, 0);
        let mut failed = None;
        let range = |at, most| input.read_range(at, most).map_err(|fault| fault.text().to_owned());
        let notes = render_each(RangeSource::new(input.len(), range), &settings, |frame| {
            previews += u32::from(frame.preview.is_some());
            tensors += u32::from(frame.tensor.is_some());
            write(context, &frame, &settings).map_err(|fault| {
                let text = fault.text().to_owned();
                failed = Some(fault);
                RenderError::Internal(text)
            })
        });
        // A fault of the host leaves as it came.
        let notes = notes.map_err(|error| failed.unwrap_or_else(|| error.into()))?;
        let count = |action: &str, count| ActionCount { action: action.to_owned(), count };
        let mut actions = vec![count("preview", previews), count("tensor", tensors)];
        actions.retain(|action| action.count > 0);
        Ok(Outcome::empty().with_evidence(Evidence {
            profile: "render".to_owned(),
            edition: settings.recipe.map_or_else(|| "preview".to_owned(), |recipe| recipe.hash().to_owned()),
            actions,
            notes: notes.into_iter().map(str::to_owned).collect(),
        }))
    }
}

fn write(context: &Context, rendered: &RenderedFrame, settings: &Settings) -> Result<(), Fault> {
    let frame = rendered.frame.to_string();
    if let Some(preview) = &rendered.preview {
        let (rows, columns) = (preview.rows.to_string(), preview.columns.to_string());
        let attributes = [("rows", rows.as_str()), ("columns", &columns), ("frame", &frame)];
        let mut sink = context.open_output("preview", "image/png", &attributes)?;
        sink.write(&preview.png()?)?;
        sink.finish()?;
    }
    if let (Some(tensor), Some(recipe)) = (&rendered.tensor, &settings.recipe) {
        let shape = shape_text(&recipe.shape());
        let attributes =
            [("dtype", "f32"), ("shape", shape.as_str()), ("recipe", recipe.hash()), ("frame", &frame)];
        let mut sink = context.open_output("tensor", TENSOR_MEDIA_TYPE, &attributes)?;
        let bytes: Vec<u8> = tensor.iter().flat_map(|value| value.to_le_bytes()).collect();
        sink.write(&bytes)?;
        sink.finish()?;
    }
    Ok(())
}

impl From<RenderError> for Fault {
    fn from(error: RenderError) -> Self {
        let text = error.to_string();
        match error {
            RenderError::Malformed { .. } => Self::Malformed(text),
            RenderError::Unsupported { .. } => Self::Unsupported(text),
            RenderError::Limit { .. } => Self::Limit(text),
            RenderError::Setting { .. } | RenderError::Internal(_) => Self::Internal(text),
        }
    }
}
