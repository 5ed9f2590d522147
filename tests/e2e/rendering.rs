//! What the rendering component gives in the sandbox, against what other people's decoders make of the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use martello_tests::bundle::{Signed, component, signed, succeeded};
use martello_tests::{program, python, root, samples};
use serde_json::{Value, json};

/// A bundle that renders as it is told and lets everything out: previews in full size, and tensors by the recipe.
pub(crate) fn renderer(folder: &Path, recipe: &Value, frames: &str) -> Signed {
    let (codes, evidence) = (shipped("dicom-render", "codes"), shipped("dicom-render", "evidence"));
    let source = json!({
        "name": "renderer", "version": "0.1.0", "security_version": 1,
        "components": [{ "name": "dicom-render", "file": component("dicom-render").unwrap(), "codes": codes,
                         "evidence": evidence,
                         "limits": { "memory_bytes": 512 << 20, "compute_ms": 60_000, "wall_ms": 120_000,
                                     "output_bytes": 1 << 30 } }],
        "capabilities": ["dangerously-export-identified"],
        "pipeline": {
            "accepts": ["application/dicom"],
            "stages": [{ "name": "render", "component": "dicom-render", "from": "input", "ports": ["preview", "tensor"],
                         "settings": { "recipe": recipe.to_string(), "preview-longest": "8192", "frames": frames } }],
            "exports": [{ "from": "render.preview", "folder": "previews", "extension": "png" },
                        { "from": "render.tensor", "folder": "tensors", "extension": "f32" }],
        },
    });
    signed(folder, &source).unwrap()
}

/// What the bundle that ships says of a component.
pub(crate) fn shipped(component: &str, field: &str) -> Value {
    let source = fs::read_to_string(root().join("components/imaging/bundle.toml")).unwrap();
    let source: Value = toml::from_str(&source).unwrap();
    let components = source["components"].as_array().unwrap();
    components.iter().find(|it| it["name"] == component).unwrap()[field].clone()
}

/// The recipe of the model that ships.
pub(crate) fn recipe() -> Value {
    let text = fs::read_to_string(root().join("components/classify/model/recipe.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Output files of one folder, in the order of the frames.
pub(crate) fn files(line: &Value, output: &Path, folder: &str) -> Vec<PathBuf> {
    let paths = line["outputs"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap());
    paths.filter(|path| path.starts_with(folder)).map(|path| output.join(path)).collect()
}

/// What `tests/oracle/render_check.py` says; one line for each file.
fn check(python: &Path, arguments: &[&Path]) -> Vec<Value> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/oracle/render_check.py")).args(arguments);
    let said = String::from_utf8(succeeded(&mut command).unwrap().stdout).unwrap();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["error"].is_null()), "{lines:?}");
    lines
}

/// Checks each comparison of `step` and returns how many there were.
fn within(lines: &[Value], step: &str, most: impl Fn(&Value) -> f64) -> usize {
    let compared = lines.iter().filter(|line| !line[step].is_null());
    compared.inspect(|line| assert!(line[step].as_f64().unwrap() <= most(line), "{step}: {line}")).count()
}

#[test]
fn previews_agree_with_pydicom_and_dcmtk_and_tensors_with_the_reference_recipe() {
    let (Some(python), Some(_)) = (python().unwrap(), program("dcmj2pnm").unwrap()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    renderer(folder.path(), &recipe(), "first").run(&samples(), &output).unwrap();
    let recipe_file = root().join("components/classify/model/recipe.json");
    let lines = check(&python, &[Path::new("shown"), &samples(), &output, &recipe_file]);
    let file = |line: &Value| line["file"].as_str().unwrap().to_owned();
    let previews = within(&lines, "preview", |_| 0.0);
    // DCMTK reads cells of 32 bits in big endian otherwise than pydicom and we do.
    let dcmtk =
        within(&lines, "dcmtk", |line| if file(line) == "rtdose_expb.dcm" { f64::INFINITY } else { 1.0 });
    let tensors = within(&lines, "tensor", |line| match &file(line) {
        // The reference takes luminance of eight bits from sixteen and more.
        name if name.contains("16bit") || name.contains("32bit") => 2e-5,
        _ => 1e-5,
    });
    // So many there were when this was written: nothing drops out unseen. DCMTK of Debian has no JPEG 2000.
    assert_eq!((previews, tensors, dcmtk), (86, 84, 68));
}

#[test]
fn decoded_values_are_pydicoms_to_the_bit_and_survive_into_a_tensor() {
    let Some(python) = python().unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    for size in sizes(&python, folder.path()) {
        let (rows, columns) = size.split_once('x').unwrap();
        let [rows, columns]: [u32; 2] = [rows.parse().unwrap(), columns.parse().unwrap()];
        // 2^18 values spread over 0 to 1 without resampling: whole numbers stay whole in f32.
        let recipe = json!({ "schema": 1, "scale": "unit", "invert_monochrome1": false, "layout": "nchw",
            "dtype": "f32", "window": { "center": 0, "width": 262_144, "function": "linear-exact" },
            "resample": { "height": rows, "width": columns, "filter": "triangle", "fit": "stretch" } });
        let place = folder.path().join(size);
        renderer(&place, &recipe, "first").run(&place.join("in"), &place.join("out")).unwrap();
    }
    let lines = check(&python, &[Path::new("decoded"), folder.path()]);
    assert_eq!(within(&lines, "modality", |_| 0.0), 61);
}

/// Sorts the grey samples into folders by rows and columns, and returns these sizes.
fn sizes(python: &Path, folder: &Path) -> Vec<String> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/oracle/render_check.py")).arg("sort").arg(samples()).arg(folder);
    let said = String::from_utf8(succeeded(&mut command).unwrap().stdout).unwrap();
    said.lines().map(str::to_owned).collect()
}
