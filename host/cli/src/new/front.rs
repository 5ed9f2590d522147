//! What stands in front of a new component: the stages of the shipped bundle that refuse hostile files, de-identify, and verify.

use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use martello_vocab::ByteCount;
use toml::{Table, Value};

use crate::output::Advice;
use crate::read::read;

/// The components of those stages, by their names in the shipped source.
const COMPONENTS: [&str; 3] = ["dicom-guard", "dicom-deid", "deid-verify"];
/// The shipped source, in a checkout.
const SOURCE: &str = "components/imaging/bundle.toml";
/// The largest source.
const LARGEST: ByteCount = ByteCount::mebibytes(1);

/// Parts of a bundle's source, as TOML.
pub(super) struct Front {
    /// The components and their assets; each `file` is an absolute path into the checkout.
    pub(super) parts: String,
    /// Their stages.
    pub(super) stages: String,
}

impl Front {
    /// Takes the parts out of the source in a checkout.
    pub(super) fn of(checkout: &Path) -> anyhow::Result<Self> {
        let path = checkout.join(SOURCE);
        let unusable = || Advice {
            happened: format!("reading `{}`, whose stages go in front of the new component", path.display()),
            next: "give `--sdk` a whole checkout of Martello of this version".to_owned(),
        };
        let text = read(&path, LARGEST).with_context(unusable)?;
        let text = String::from_utf8(text).with_context(unusable)?;
        let mut source: Table = toml::from_str(&text).with_context(unusable)?;
        let folder = path.parent().unwrap_or(checkout);
        let named = |entry: &Table, key: &str| {
            entry.get(key).and_then(Value::as_str).is_some_and(|name| COMPONENTS.contains(&name))
        };
        let mut components = tables(source.remove("components"));
        components.retain(|it| named(it, "name"));
        let pipeline = source.get_mut("pipeline").and_then(Value::as_table_mut);
        let mut stages = tables(pipeline.and_then(|it| it.remove("stages")));
        stages.retain(|it| named(it, "component"));
        let granted: Vec<&Value> =
            stages.iter().filter_map(|it| it.get("assets")?.as_array()).flatten().collect();
        let mut assets = tables(source.remove("assets"));
        assets.retain(|it| it.get("name").is_some_and(|name| granted.contains(&name)));
        if components.len() != COMPONENTS.len() || stages.len() != COMPONENTS.len() {
            return Err(unusable()).context("a component or stage is missing there");
        }
        for entry in components.iter_mut().chain(&mut assets) {
            if let Some(Value::String(file)) = entry.get_mut("file") {
                *file =
                    absolute(folder, file).to_str().context("the checkout's path is not text")?.to_owned();
            }
        }
        let [components, assets, stages] =
            [components, assets, stages].map(|it| Value::Array(it.into_iter().map(Value::Table).collect()));
        let parts = Table::from_iter([("components".to_owned(), components), ("assets".to_owned(), assets)]);
        let pipeline = Table::from_iter([("stages".to_owned(), stages)]);
        let stages = Table::from_iter([("pipeline".to_owned(), Value::Table(pipeline))]);
        let written = |table| toml::to_string_pretty(&table).context("writing TOML");
        Ok(Self { parts: written(parts)?, stages: written(stages)? })
    }
}

fn tables(list: Option<Value>) -> Vec<Table> {
    let Some(Value::Array(list)) = list else { return Vec::new() };
    list.into_iter()
        .filter_map(|it| match it {
            Value::Table(table) => Some(table),
            _ => None,
        })
        .collect()
}

/// A path of the source without steps upward. The file need not be there: it may not be built yet.
fn absolute(folder: &Path, file: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in folder.join(file).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}
