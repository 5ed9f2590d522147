//! `martello bundle inspect`: what a bundle says of itself.

use std::path::Path;
use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use martello_bundle::manifest::{Manifest, TensorSchema};
use martello_bundle::{BundleError, UnverifiedBundle, source_at};
use serde_json::json;

pub(super) fn run(path: &Path, out: &crate::Output) -> anyhow::Result<ExitCode> {
    let read = source_at(path).map_err(BundleError::from).and_then(|it| UnverifiedBundle::read(it.as_ref()));
    let bundle = match read {
        Ok(bundle) => bundle,
        Err(error) => return super::refused(path, error, out),
    };
    let signers: Vec<_> = bundle.claimed_signers().collect();
    let value = json!({
        "verified": false, "digest": bundle.digest(), "claimed_signers": signers,
        "not_enforced": bundle.manifest().not_enforced(), "manifest": bundle.manifest(),
    });
    out.result(|| text(&bundle), &value)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn text(bundle: &UnverifiedBundle) -> String {
    let mut text =
        format!("{}\nNothing here is verified: `martello bundle verify` does that.\n", head(bundle));
    for signer in bundle.claimed_signers() {
        text.push_str(&format!("claims a signature by {signer}\n"));
    }
    tables(bundle.manifest()).iter().for_each(|table| text.push_str(&format!("\n{table}\n")));
    text
}

fn head(bundle: &UnverifiedBundle) -> String {
    let Manifest { name, version, security_version, created, .. } = bundle.manifest();
    let not_enforced = super::not_enforced(bundle.manifest());
    format!(
        "{name} {version}, security version {security_version}, made {created}\n{}\n{not_enforced}",
        bundle.digest()
    )
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header.iter().copied());
    table
}

fn tables(manifest: &Manifest) -> Vec<Table> {
    let short = |digest: &martello_vocab::Digest| digest.hex().chars().take(12).collect::<String>();
    let join = |words: &[martello_vocab::Name]| {
        words.iter().map(martello_vocab::Name::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut components = table(&["component", "size", "sha256", "memory", "compute", "imports"]);
    for it in &manifest.components {
        components.add_row([
            it.name.to_string(),
            it.size.to_string(),
            short(&it.digest),
            it.limits.memory_bytes.to_string(),
            format!("{} ms", it.limits.compute_ms),
            it.imports.join("\n"),
        ]);
    }
    let mut models = table(&["model", "size", "sha256", "inputs", "outputs", "labels", "golden"]);
    for it in &manifest.models {
        let tensors = |list: &[TensorSchema]| list.iter().map(tensor).collect::<Vec<_>>().join("\n");
        models.add_row([
            it.name.to_string(),
            it.size.to_string(),
            short(&it.digest),
            tensors(&it.inputs),
            tensors(&it.outputs),
            it.labels.join(", "),
            it.golden.len().to_string(),
        ]);
    }
    let mut assets = table(&["asset", "size", "sha256", "media type"]);
    for it in &manifest.assets {
        assets.add_row([it.name.to_string(), it.size.to_string(), short(&it.digest), it.media_type.clone()]);
    }
    let mut stages = table(&["stage", "component", "from", "ports", "grants", "models", "assets"]);
    for it in &manifest.pipeline.stages {
        let grants: Vec<String> = it.grants.iter().filter_map(word).collect();
        stages.add_row([
            it.name.to_string(),
            it.component.to_string(),
            it.from.clone(),
            join(&it.ports),
            grants.join(", "),
            join(&it.models),
            join(&it.assets),
        ]);
    }
    let mut exports = table(&["exported", "into", "as"]);
    for it in &manifest.pipeline.exports {
        exports.add_row([it.from.clone(), format!("{}/", it.folder), format!(".{}", it.extension)]);
    }
    let tables = [components, models, assets, stages, exports];
    tables.into_iter().filter(|table| table.row_count() > 0).collect()
}

/// The word by which the manifest writes a value.
fn word<T: serde::Serialize>(value: &T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

fn tensor(schema: &TensorSchema) -> String {
    let dimensions: Vec<String> =
        schema.shape.iter().map(|it| it.map_or("any".to_owned(), |it| it.to_string())).collect();
    format!("{} {}[{}]", schema.name, word(&schema.dtype).unwrap_or_default(), dimensions.join(","))
}
