//! The arrows between crates point downward, and pure crates are pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The layers from the ground up. A crate may use crates of lower layers; within a layer only where `may_use_peers`.
const LAYERS: &[(&str, Peers, &[&str])] = &[
    ("pure", Peers::Allowed, &["martello-vocab", "martello-trust", "martello-bundle", "martello-pipeline"]),
    (
        "adapters",
        Peers::Refused,
        &[
            "martello-store",
            "martello-runtime",
            "martello-inference",
            "martello-ingest",
            "martello-telemetry",
        ],
    ),
    ("device", Peers::Allowed, &["martello-engine"]),
    (
        "programs",
        Peers::Refused,
        &["martello-compile", "martello-cli", "martello-bench", "xtask", "martello-tests"],
    ),
];

/// Crates of the guests' side: they know the SDK and each other, and nothing of the host.
const GUESTS: &[&str] = &[
    "martello-guest-sdk",
    "dicom-stream",
    "dicom-codec",
    "dicom-guard",
    "dicom-deid",
    "deid-verify",
    "dicom-render",
    "classify",
    "tensor-probe",
];

/// What no pure crate may reach, not even through another crate.
const IMPURE: &[&str] = &["tokio", "rusqlite", "wasmtime", "hyper", "inotify", "ort", "tract-onnx"];

/// What no source of a pure crate may name: it takes bytes and the time as arguments.
const OUTSIDE: &[&str] =
    &["std::fs", "std::net", "std::process", "std::env", "SystemTime::now", "Instant::now"];

/// Sources of pure crates that may, and why.
const EXCUSED: &[(&str, &str, &str)] = &[(
    "bundle/src/files.rs",
    "std::fs",
    "bundles lie on disk; the only module of the crate that opens them",
)];

#[derive(Clone, Copy, PartialEq)]
enum Peers {
    Allowed,
    Refused,
}

fn layer(name: &str) -> Option<(usize, Peers)> {
    LAYERS
        .iter()
        .enumerate()
        .find(|(_, (_, _, crates))| crates.contains(&name))
        .map(|(i, (_, peers, _))| (i, *peers))
}

/// Why `from` may not use `to`, where it may not.
fn objection(from: &str, to: &str) -> Option<String> {
    match (layer(from), layer(to)) {
        (Some((low, peers)), Some((high, _))) => {
            let allowed = high < low || (high == low && peers == Peers::Allowed);
            (!allowed).then(|| format!("{from} may not use {to}: the arrow points upward or sideways"))
        }
        // A program may use a component's code natively, for measures and pictures.
        (Some((level, _)), None) if GUESTS.contains(&to) => {
            (level + 1 != LAYERS.len()).then(|| format!("{from} may not use the guest crate {to}"))
        }
        (None, None) if GUESTS.contains(&from) && GUESTS.contains(&to) => None,
        _ => Some(format!(
            "{from} → {to}: a crate stands in no layer; add it to this test and to ARCHITECTURE.md"
        )),
    }
}

/// What this machine builds: crates of other platforms are never fetched, and `cargo metadata` would want to.
pub(crate) fn metadata() -> Value {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(martello_tests::root())
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn platform() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Names by package id, and the ids that each package uses outside of tests.
fn graph(metadata: &Value) -> (BTreeMap<&str, &str>, BTreeMap<&str, Vec<&str>>) {
    let packages = metadata["packages"].as_array().unwrap();
    let names = packages.iter().map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap())).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let uses = nodes.iter().map(|node| {
        let dependencies = node["deps"].as_array().unwrap().iter();
        let normal = dependencies
            .filter(|d| d["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null()));
        (node["id"].as_str().unwrap(), normal.map(|d| d["pkg"].as_str().unwrap()).collect())
    });
    (names, uses.collect())
}

#[test]
fn arrows_between_crates_point_downward() {
    let metadata = metadata();
    let (names, uses) = graph(&metadata);
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let objections: Vec<String> = members
        .iter()
        .flat_map(|from| uses[from].iter().filter(|to| members.contains(*to)).map(move |to| (from, to)))
        .filter_map(|(from, to)| objection(names[from], names[to]))
        .collect();
    assert!(objections.is_empty(), "{objections:#?}");
    for id in &members {
        assert!(
            layer(names[id]).is_some() || GUESTS.contains(&names[id]),
            "{} stands in no layer",
            names[id]
        );
    }
}

#[test]
fn pure_crates_reach_no_disk_network_or_engine() {
    let metadata = metadata();
    let (names, uses) = graph(&metadata);
    for pure in LAYERS[0].2 {
        let start = names.iter().find(|(_, name)| *name == pure).map(|(id, _)| *id).unwrap();
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![start]);
        while let Some(id) = waiting.pop() {
            if seen.insert(id) {
                assert!(!IMPURE.contains(&names[id]), "{pure} reaches {}", names[id]);
                waiting.extend(&uses[id]);
            }
        }
    }
}

/// The Rust sources under a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn sources_of_pure_crates_name_no_disk_network_or_clock() {
    let host = martello_tests::root().join("host");
    let mut named = BTreeSet::new();
    for pure in LAYERS[0].2 {
        let mut files = Vec::new();
        sources(&host.join(pure.strip_prefix("martello-").unwrap()).join("src"), &mut files);
        assert!(!files.is_empty(), "{pure} has no sources");
        for file in files.iter().filter(|file| !file.to_str().unwrap().ends_with("_tests.rs")) {
            let text = fs::read_to_string(file).unwrap();
            // Tests stand last in a file, and documents may speak of anything.
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let code = code.collect::<Vec<_>>().join("\n");
            let place = file.strip_prefix(&host).unwrap().to_str().unwrap().to_owned();
            named.extend(
                OUTSIDE.iter().filter(|name| code.contains(**name)).map(|name| (place.clone(), *name)),
            );
        }
    }
    let excused = EXCUSED.iter().map(|(file, name, _)| ((*file).to_owned(), *name)).collect();
    assert_eq!(named, excused);
}

#[test]
fn the_test_itself_refuses_upward_and_sideways_arrows() {
    assert!(objection("martello-vocab", "martello-runtime").is_some());
    assert!(objection("martello-runtime", "martello-inference").is_some());
    assert!(objection("martello-trust", "dicom-deid").is_some());
    assert!(objection("martello-cli", "a-new-crate").is_some());
    assert!(objection("martello-cli", "martello-engine").is_none());
}
