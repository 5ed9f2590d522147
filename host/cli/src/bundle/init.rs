//! `martello bundle init`: a bundle source around a data scientist's own model, without a line of Rust.
//!
//! The source is that of the shipped bundle with another model in it, so components, tables, grants and limits are
//! those that ship, and there is no second description of them that could grow old.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use martello_bundle::manifest::{ElementType, TensorSchema};
use martello_bundle::onnx::ModelTensors;
use martello_bundle::{BundleError, Packed, source_at};
use serde_json::{Map, Value, json};

use crate::output::Advice;
use crate::read::{LARGEST_BLOB, read};
use crate::refusal;

#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The model (ONNX).
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The folder to be made. Without it, the model's file name without its extension.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The bundle whose pipeline is taken over. Without it, the one that ships with this program.
    #[arg(long, value_name = "BUNDLE")]
    from: Option<PathBuf>,
}

#[cfg(test)]
impl InitArgs {
    pub(super) fn of(model: PathBuf, out: PathBuf, from: Option<PathBuf>) -> Self {
        Self { model, out: Some(out), from }
    }
}

pub(super) fn run(args: &InitArgs, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let model = read(&args.model, LARGEST_BLOB)
        .with_context(|| format!("reading model `{}`", args.model.display()))?;
    let tensors = ModelTensors::read(&model).map_err(|error| {
        let advice = Advice {
            happened: format!("reading model `{}`", args.model.display()),
            next: refusal::onnx(&error).to_owned(),
        };
        anyhow::Error::new(error).context(advice)
    })?;
    if let Some(name) = tensors.shapeless.first() {
        bail!(Advice {
            happened: format!("reading model `{}`: its output `{name}` has no shape", args.model.display()),
            next: "write its shapes into the file, for example with `onnx.shape_inference.infer_shapes`"
                .to_owned(),
        });
    }
    let template = args.from.clone().or_else(shipped).with_context(no_template)?;
    let shipped =
        match source_at(&template).map_err(BundleError::from).and_then(|it| Packed::read(it.as_ref())) {
            Ok(packed) => packed,
            Err(error) => return super::refused(&template, error, out),
        };
    let folder = match (&args.out, args.model.file_stem()) {
        (Some(folder), _) => folder.clone(),
        (None, Some(stem)) => PathBuf::from(stem),
        (None, None) => bail!("the model's file has no name; give `--out`"),
    };
    std::fs::create_dir(&folder).with_context(|| Advice {
        happened: format!("making folder `{}`", folder.display()),
        next: "give `--out` a folder that does not exist yet".to_owned(),
    })?;
    let name = bundle_name(&args.model);
    let source = Source::around(&shipped, &name, &tensors)?;
    for (path, bytes) in source.files.iter().chain([&("model.onnx".to_owned(), model)]) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).with_context(|| format!("making `{}`", parent.display()))?;
        std::fs::write(&path, bytes).with_context(|| format!("writing `{}`", path.display()))?;
    }
    let path = folder.join("bundle.toml");
    let text = format!("{HEADER}{}", toml::to_string_pretty(&source.document).context("writing TOML")?);
    std::fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    let next = super::commands_to_run(&path, Path::new(&format!("{name}.tar")), "DIR");
    let text = || {
        let todo: Vec<String> = source.todo.iter().map(|line| format!("\n  - {line}")).collect();
        format!(
            "wrote {}\nfill in:{}\nthen, with the folder of your files in the place of DIR:\n  {}",
            path.display(),
            todo.concat(),
            next.join("\n  ")
        )
    };
    out.result(
        text,
        &json!({ "source": path, "fill_in": source.todo, "next": next, "tensors": {
        "inputs": tensors.inputs, "outputs": tensors.outputs } }),
    )?;
    Ok(ExitCode::SUCCESS)
}

const HEADER: &str = "\
# The source of a bundle: a manifest in which `file` stands for digest and size. Paths are relative to this file.
# Look through: `labels`, `recipe`, `licence`, `threshold`, and add `golden` cases (inputs with known outputs), which
# run at activation and refuse a model that gives something else.
# Then: martello bundle pack bundle.toml --out BUNDLE.tar, and martello bundle sign BUNDLE.tar --key KEY.pem

";

/// A checkout has no bundle before it is built.
fn no_template() -> Advice {
    Advice {
        happened: "looking for the bundle whose pipeline is taken over: none stands beside this program".to_owned(),
        next: "run `cargo xtask bundle` in the checkout first, which makes target/bundles/imaging.tar; or give `--from BUNDLE`"
            .to_owned(),
    }
}

/// The bundle that ships with this program, where it stands beside it.
fn shipped() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    ["../bundles/imaging.tar", "../share/martello/imaging.tar"]
        .into_iter()
        .map(|path| folder.join(path))
        .find(|path| path.is_file())
}

/// A bundle's name out of a file's: what a name may not have becomes a hyphen.
fn bundle_name(model: &Path) -> String {
    let stem = model.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut name = String::new();
    for character in stem.chars() {
        let word = character.is_ascii_lowercase() || (character.is_ascii_digit() && !name.is_empty());
        if word {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(48);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "my-model".to_owned() } else { name.to_owned() }
}

struct Source {
    document: Value,
    files: Vec<(String, Vec<u8>)>,
    todo: Vec<String>,
}

impl Source {
    /// The manifest of `shipped` with files in place of digests, and with another model.
    fn around(shipped: &Packed, name: &str, tensors: &ModelTensors) -> anyhow::Result<Self> {
        let manifest = shipped.manifest();
        let [model] = manifest.models.as_slice() else {
            bail!("the bundle taken over has {} models, wanted is one", manifest.models.len());
        };
        let mut todo = Vec::new();
        let size = image_size(&tensors.inputs, &mut todo);
        let mut source = Self { document: Value::Null, files: Vec::new(), todo };
        let mut document = serde_json::to_value(manifest)?;
        let top = document.as_object_mut().context("a manifest is an object")?;
        for field in ["schema", "created", "sbom", "provenance", "min_rollback_to"] {
            top.remove(field);
        }
        top.insert("name".to_owned(), json!(name));
        top.insert("version".to_owned(), json!("0.1.0"));
        top.insert("security_version".to_owned(), json!(1));
        for (component, it) in objects(top, "components").zip(&manifest.components) {
            component.remove("imports");
            source.unpin(component, shipped, &it.digest, format!("components/{}.wasm", it.name), size)?;
            for finding in objects(component, "findings") {
                // Labels that the shipped model has; without them, those of the model granted count.
                finding.remove("labels");
            }
        }
        for (asset, it) in objects(top, "assets").zip(&manifest.assets) {
            source.unpin(asset, shipped, &it.digest, format!("assets/{}", it.name), size)?;
        }
        let stages =
            top.get_mut("pipeline").and_then(Value::as_object_mut).context("a manifest has a pipeline")?;
        for stage in objects(stages, "stages") {
            for setting in stage.get_mut("settings").and_then(Value::as_object_mut).into_iter().flatten() {
                if let Some(resized) = setting.1.as_str().and_then(|text| resized(text.as_bytes(), size)) {
                    *setting.1 = json!(String::from_utf8(resized)?);
                }
            }
        }
        let recipe = model.recipe.as_ref().map(|recipe| {
            let bytes = serde_json::to_vec(recipe).unwrap_or_default();
            resized(&bytes, size)
                .and_then(|it| serde_json::from_slice(&it).ok())
                .unwrap_or_else(|| recipe.clone())
        });
        let entry = source.model(&model.name, recipe.as_ref(), tensors);
        top.insert("models".to_owned(), json!([entry]));
        // Its name, the grants of it, the recipe that is asked of it, and the kind of its findings.
        rename(&mut document, model.name.as_str(), name);
        source.document = without_nulls(document);
        Ok(source)
    }

    fn model(
        &mut self,
        name: &martello_vocab::Name,
        recipe: Option<&Value>,
        tensors: &ModelTensors,
    ) -> Value {
        let classes = tensors.outputs.first().and_then(|it| *it.shape.last()?).unwrap_or(0);
        let labels: Vec<String> = match classes {
            1..=4096 => (0..classes).map(|class| format!("class-{class}")).collect(),
            _ => Vec::new(),
        };
        self.todo.push(if labels.is_empty() {
            "models.labels: what the scores stand for (the output's size is not known)".to_owned()
        } else {
            format!("models.labels: what class 0 to {} stand for", labels.len() - 1)
        });
        self.todo.push("models.recipe: the normalisation that the model was trained with".to_owned());
        self.todo.push("models.licence: an SPDX expression".to_owned());
        self.todo.push("models.golden: inputs with known outputs".to_owned());
        json!({
            "name": name, "file": "model.onnx", "format": "onnx", "licence": "LicenseRef-unknown",
            "inputs": schemas(&tensors.inputs), "outputs": schemas(&tensors.outputs),
            "labels": labels, "recipe": recipe,
        })
    }

    /// Puts `file` in place of digest and size, and keeps the bytes to be written.
    fn unpin(
        &mut self,
        entry: &mut Map<String, Value>,
        shipped: &Packed,
        digest: &martello_vocab::Digest,
        path: String,
        size: Option<(u32, u32)>,
    ) -> anyhow::Result<()> {
        let bytes = shipped.blob(digest).context("a blob of the bundle is missing")?;
        entry.remove("digest");
        entry.remove("size");
        entry.insert("file".to_owned(), json!(path));
        let bytes =
            if path.starts_with("assets/") { resized(bytes, size) } else { None }.unwrap_or(bytes.to_vec());
        self.files.push((path, bytes));
        Ok(())
    }
}

/// Puts one word in the place of another, wherever it is all that a text says.
fn rename(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text == from => to.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, from, to)),
        _ => {}
    }
}

fn objects<'a>(
    parent: &'a mut Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = parent.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn schemas(tensors: &[TensorSchema]) -> Value {
    let dimension = |it: &Option<u32>| it.map_or(json!("any"), |it| json!(it));
    let schema = |it: &TensorSchema| json!({ "name": it.name, "dtype": it.dtype, "shape": it.shape.iter().map(dimension).collect::<Vec<_>>() });
    tensors.iter().map(schema).collect()
}

/// Height and width of an input `N×1×H×W` of 32-bit floats; a line to do where the shipped recipe does not fit.
fn image_size(inputs: &[TensorSchema], todo: &mut Vec<String>) -> Option<(u32, u32)> {
    let fits = match inputs {
        [input] if input.dtype == ElementType::F32 => match input.shape.as_slice() {
            [None | Some(1), None | Some(1), Some(height), Some(width)] => Some((*height, *width)),
            _ => None,
        },
        _ => None,
    };
    if fits.is_none() {
        todo.push(
            "the model's input is not one f32 tensor of shape 1,1,height,width: the shipped `dicom-render` does not \
             make it; export the model with such an input or write a component (`martello new`)"
                .to_owned(),
        );
    }
    fits
}

/// A normalisation recipe for another size; none where the bytes are not a recipe.
fn resized(recipe: &[u8], size: Option<(u32, u32)>) -> Option<Vec<u8>> {
    let (height, width) = size?;
    let mut recipe: Value = serde_json::from_slice(recipe).ok()?;
    let resample = recipe.get_mut("resample")?.as_object_mut()?;
    resample.insert("height".to_owned(), json!(height));
    resample.insert("width".to_owned(), json!(width));
    serde_json::to_vec(&recipe).ok()
}

/// TOML has no null; a field that is null is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
