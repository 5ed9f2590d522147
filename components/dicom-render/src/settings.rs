//! What the manifest may say about this stage.

use crate::error::RenderError;
use crate::recipe::Recipe;

/// Which frames of an object are rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameChoice {
    /// The first one.
    #[default]
    First,
    /// The one in the middle: of n frames, number n / 2 counted from 0.
    Middle,
    /// All, up to [`Settings::most_frames`].
    All,
}

/// How to render. See the component's README for the settings' names.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Make previews.
    pub preview: PreviewChoice,
    /// Make tensors by this recipe.
    pub recipe: Option<Recipe>,
    /// Which frames.
    pub frames: FrameChoice,
    /// With all frames: how many at most.
    pub most_frames: u32,
    /// Bytes of one decoded frame at most.
    pub most_frame_bytes: u64,
    /// Bytes of all decoded frames together at most.
    pub most_bytes: u64,
}

/// Whether and how large previews are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewChoice {
    /// None.
    Off,
    /// With at most so many pixels along the longer side.
    Longest(usize),
}

impl Default for Settings {
    /// The preview of the first frame.
    fn default() -> Self {
        Self {
            preview: PreviewChoice::Longest(1024),
            recipe: None,
            frames: FrameChoice::First,
            most_frames: 512,
            most_frame_bytes: 64 << 20,
            most_bytes: 256 << 20,
        }
    }
}

impl Settings {
    /// Reads the settings that a manifest gives.
    ///
    /// # Errors
    /// [`RenderError::Setting`] for a value that cannot be used, and where a tensor is asked for without a recipe.
    pub fn read(setting: impl Fn(&str) -> Option<String>) -> Result<Self, RenderError> {
        let mut settings = Self::default();
        let wrong =
            |setting: &'static str, text: &str| RenderError::Setting { setting, text: text.to_owned() };
        if let Some(text) = setting("preview-longest") {
            let longest = text.trim().parse().ok().filter(|longest| (16..=8192).contains(longest));
            let longest = longest.ok_or_else(|| wrong("preview-longest", "not a number from 16 to 8192"))?;
            settings.preview = PreviewChoice::Longest(longest);
        }
        settings.recipe = setting("recipe").as_deref().map(Recipe::read).transpose()?;
        settings.frames = match setting("frames").as_deref().map(str::trim) {
            None | Some("first") => FrameChoice::First,
            Some("middle") => FrameChoice::Middle,
            Some("all") => FrameChoice::All,
            Some(_) => return Err(wrong("frames", "not first, middle or all")),
        };
        let number = |name: &'static str, default: u64| match setting(name) {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| wrong(name, "not a number")),
        };
        settings.most_bytes = number("most-decoded-bytes", settings.most_bytes)?;
        settings.most_frame_bytes = number("most-frame-bytes", settings.most_frame_bytes)?;
        let most_frames = number("most-frames", u64::from(settings.most_frames))?;
        settings.most_frames = u32::try_from(most_frames).map_err(|_| wrong("most-frames", "too large"))?;
        let Some(outputs) = setting("outputs") else { return Ok(settings) };
        let (mut preview, mut tensor) = (false, false);
        for output in outputs.split(',').map(str::trim) {
            match output {
                "preview" => preview = true,
                "tensor" => tensor = true,
                _ => return Err(wrong("outputs", "not preview, tensor or both")),
            }
        }
        if tensor && settings.recipe.is_none() {
            return Err(wrong("recipe", "missing, and a tensor is asked for"));
        }
        if !tensor {
            settings.recipe = None;
        }
        if !preview {
            settings.preview = PreviewChoice::Off;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, RenderError> {
        Settings::read(|name| {
            pairs.iter().find_map(|(key, value)| (*key == name).then(|| (*value).to_owned()))
        })
    }

    #[test]
    fn silence_means_the_preview_of_the_first_frame() {
        assert_eq!(read(&[]), Ok(Settings::default()));
        let settings = read(&[("frames", "middle"), ("preview-longest", "64")]).unwrap();
        assert_eq!((settings.frames, settings.preview), (FrameChoice::Middle, PreviewChoice::Longest(64)));
    }

    #[test]
    fn a_tensor_without_a_recipe_and_words_not_known_are_refused() {
        for pair in [
            ("outputs", "tensor"),
            ("outputs", "preview,thumbnail"),
            ("frames", "last"),
            ("preview-longest", "0"),
            ("most-frames", "-1"),
            ("recipe", "{}"),
        ] {
            assert!(matches!(read(&[pair]), Err(RenderError::Setting { .. })), "{pair:?}");
        }
    }
}
