use serde_json::{Value, json};

use super::*;
use crate::fixtures::{draft, source};
use crate::manifest::{Export, FindingSchema};
use crate::{DraftError, fixtures};

/// Sets the value at a JSON pointer of a good source and packs it.
fn with(pointer: &str, value: Value) -> Result<(), DraftError> {
    let mut source = source();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match source.pointer_mut(parent).unwrap() {
        Value::Object(members) => _ = members.insert(last.to_owned(), value),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer}"),
    }
    draft(source).map(drop)
}

#[test]
fn a_manifest_with_one_of_everything_is_valid_and_reads_back() {
    let valid = draft(source()).unwrap().manifest().clone();
    let json = serde_json::to_vec(&*valid).unwrap();
    assert_eq!(Manifest::read(&json).unwrap(), *valid);
    assert_eq!(valid.components[0].imports, ["martello:test/a@0.1.0"]);
    assert_eq!(valid.models[0].inputs[0].shape, [None, Some(1), Some(2), Some(2)]);
}

/// The golden manifest is what version 1 of the format is: a later version of this crate must read it alike.
#[test]
fn the_signed_manifest_is_written_as_it_always_was() {
    let bytes = fixtures::packed(&[1, 2]).envelope().to_bytes();
    let golden = include_str!("../tests/golden/manifest.envelope.json").trim_end();
    assert_eq!(String::from_utf8(bytes).unwrap(), golden);
    let trusted = martello_trust::verify::<Manifest>(golden.as_bytes(), &fixtures::root(2)).unwrap();
    assert_eq!(*trusted, **draft(source()).unwrap().manifest());
}

#[test]
fn every_broken_rule_is_refused() {
    let stage = |name: &str, from: &str| json!({ "name": name, "component": "classify", "from": from });
    let tensor = |shape: Value| json!([{ "name": "x", "dtype": "f32", "shape": shape }]);
    for (pointer, value) in [
        ("/schema", json!(2)),
        ("/unknown", json!(1)),
        ("/name", json!("Imaging")),
        ("/version", json!("1.2")),
        ("/created", json!("yesterday")),
        ("/security_version", json!(-1)),
        ("/min_rollback_to", json!(5)),
        ("/compat/host_semver", json!("one")),
        ("/health/probes", json!(0)),
        ("/health/max_trap_rate", json!(1.5)),
        ("/health/window_s", json!(0)),
        ("/components", json!([])),
        ("/components/-", json!({ "name": "classify", "file": "a.wasm" })),
        ("/components/0/limits/memory_bytes", json!(0)),
        ("/components/0/limits/wall_ms", json!(u32::MAX)),
        ("/components/0/codes/-", json!("Too Dark")),
        ("/components/0/codes/-", json!("too-dark")),
        ("/components/0/codes/-", json!("a--b")),
        ("/components/0/codes/-", json!("host-fault")),
        ("/components/0/codes/-", json!("guest-trap")),
        ("/components/0/codes/-", json!("input-crashes-host")),
        ("/components/0/findings/0/labels", json!(["good", "good"])),
        ("/components/0/findings/-", json!({ "kind": "quality" })),
        ("/components/0/evidence", json!({ "words": ["removed"] })),
        ("/components/0/evidence", json!({ "profiles": [""] })),
        ("/components/0/evidence", json!({ "profiles": ["Doe^John"] })),
        ("/components/0/evidence", json!({ "editions": ["x".repeat(65)] })),
        ("/components/0/evidence", json!({ "editions": ["2026c", "2026c"] })),
        ("/components/0/evidence", json!({ "actions": ["ps3.15"] })),
        ("/components/0/evidence", json!({ "notes": vec!["a"; 257] })),
        ("/components/0/file", json!("t.txt")),
        ("/components/0/file", json!("missing.wasm")),
        ("/components/0/digest", json!("sha256:00")),
        ("/components/0/size", json!(64)),
        ("/models/0/inputs", json!([])),
        ("/models/0/inputs", tensor(json!([0, 1, 2, 2]))),
        ("/models/0/inputs", tensor(json!([u32::MAX, u32::MAX, 2, 2]))),
        ("/models/0/inputs", tensor(json!([1, 1, 1, 1, 1, 1, 1, 1, 1]))),
        ("/models/0/inputs", tensor(json!(["all", 1, 2, 2]))),
        ("/models/0/labels", json!(["a", "b"])),
        ("/models/0/labels", json!(["a", "b", "b"])),
        ("/models/0/labels", json!(["a", "b", ""])),
        ("/models/0/threshold", json!(1.01)),
        ("/models/0/calibration/temperature", json!(0)),
        ("/models/0/placement", json!({ "device": "tpu" })),
        ("/models/0/placement", json!({ "device": "gpu:+1" })),
        ("/models/0/golden/0/absolute_tolerance", json!(-1e-9)),
        ("/models/0/golden/0/inputs/x/shape", json!([1, 1, 2, 3])),
        ("/models/0/golden/0/inputs/x/file", json!("out.bin")),
        ("/models/0/golden/0/inputs/z", json!({ "file": "in.bin", "shape": [1, 1, 2, 2] })),
        ("/models/0/golden/0/outputs", json!({})),
        ("/assets/0/media_type", json!("text")),
        ("/assets/-", json!({ "name": "table", "file": "in.bin", "media_type": "text/plain" })),
        ("/pipeline/accepts", json!([])),
        ("/pipeline/stages", json!([])),
        ("/pipeline/stages/-", stage("deid", "input")),
        ("/pipeline/stages/-", stage("input", "input")),
        ("/pipeline/stages/-", stage("a.b", "input")),
        ("/pipeline/stages/-", stage("late", "late.image")),
        ("/pipeline/stages/-", stage("late", "deid")),
        ("/pipeline/stages/-", stage("late", "deid.other")),
        ("/pipeline/stages/0/from", json!("score.image")),
        ("/pipeline/stages/0/component", json!("quality")),
        ("/pipeline/stages/0/models", json!(["table"])),
        ("/pipeline/stages/0/assets", json!(["quality"])),
        ("/pipeline/stages/0/grants", json!(["pseudonyms", "pseudonyms"])),
        ("/pipeline/stages/0/grants", json!(["everything"])),
        ("/pipeline/stages/0/ports", json!(["image", "image"])),
        ("/pipeline/stages/0/settings/mode", json!("x".repeat(16385))),
        ("/pipeline/exports/0/from", json!("input")),
        ("/pipeline/exports/0/from", json!("deid.preview")),
        ("/pipeline/exports/0/folder", json!("../images")),
        ("/pipeline/exports/0/folder", json!("findings")),
        ("/pipeline/exports/0/folder", json!("quarantine")),
        ("/pipeline/exports/0/extension", json!("d/cm")),
        ("/capabilities", json!(["dangerously-export-identified", "dangerously-export-identified"])),
        ("/sbom/media_type", json!("a/b/c")),
    ] {
        let shown = value.to_string();
        assert!(with(pointer, value).is_err(), "{pointer} = {}", &shown[..shown.len().min(80)]);
    }
}

#[test]
fn a_component_may_declare_the_code_that_its_kind_of_fault_has_anyway() {
    with("/components/0/codes/-", json!("malformed")).unwrap();
}

#[test]
fn words_of_evidence_stand_in_the_manifest_as_the_source_has_them_and_need_not_be_there() {
    let words =
        json!({ "profiles": ["ps3.15-basic"], "editions": ["2026c", "a/b_c"], "actions": ["uid-mapped"] });
    let mut source = source();
    assert!(draft(source.clone()).unwrap().manifest().components[0].evidence.is_empty());
    source["components"][0]["evidence"] = words.clone();
    let manifest = serde_json::to_value(&**draft(source).unwrap().manifest()).unwrap();
    assert_eq!(manifest["components"][0]["evidence"], words);
}

#[test]
fn a_manifest_names_its_fields_that_nothing_enforces_yet() {
    let mut manifest = Manifest::clone(draft(source()).unwrap().manifest());
    assert_eq!(manifest.not_enforced(), ["security_version", "min_rollback_to", "compat", "health"]);
    (manifest.min_rollback_to, manifest.compat, manifest.health) = (None, None, None);
    assert_eq!(manifest.not_enforced(), ["security_version"]);
}

#[test]
fn every_list_text_and_size_has_a_bound() {
    type Change = fn(&mut Manifest, usize);
    fn name(number: usize) -> Name {
        format!("n{number}").parse().unwrap()
    }
    let changes: &[(usize, Change)] = &[
        (256, |it, count| it.components[0].imports = (0..count).map(|n| format!("a:b/c{n}")).collect()),
        (256, |it, count| it.components[0].codes = (0..count).map(|n| format!("c{n}")).collect()),
        (256, |it, count| it.components[0].evidence.notes = (0..count).map(|n| format!("c{n}")).collect()),
        (64, |it, count| {
            let first = it.components[0].findings[0].clone();
            it.components[0].findings =
                (0..count).map(|n| FindingSchema { kind: name(n), ..first.clone() }).collect();
        }),
        (64, |it, count| {
            let first = it.models[0].clone();
            it.models.extend((1..count).map(|n| Model { name: name(n), ..first.clone() }));
        }),
        (256, |it, count| {
            let first = it.assets[0].clone();
            it.assets.extend((1..count).map(|n| Asset { name: name(n), ..first.clone() }));
        }),
        (64, |it, count| {
            let first = it.pipeline.stages[0].clone();
            it.pipeline.stages.extend((2..count).map(|n| Stage { name: name(n), ..first.clone() }));
        }),
        (256, |it, count| {
            let first = it.pipeline.exports[0].clone();
            it.pipeline.exports = (0..count).map(|n| Export { folder: name(n), ..first.clone() }).collect();
        }),
        (64, |it, count| it.pipeline.accepts = vec!["a/b".to_owned(); count]),
        (32, |it, count| it.pipeline.stages[1].ports = (0..count).map(name).collect()),
        (256, |it, count| {
            it.pipeline.stages[0].settings = (0..count).map(|n| (name(n), String::new())).collect();
        }),
        (32, |it, count| it.models[0].golden = vec![it.models[0].golden[0].clone(); count]),
        (128, |it, length| it.version = format!("1.0.0-{}", "a".repeat(length - 6))),
        (256, |it, length| it.components[0].imports = vec!["a".repeat(length)]),
        (256, |it, length| it.models[0].licence = Some("a".repeat(length))),
        (256 << 20, |it, size| it.components[0].size = ByteCount(size as u64)),
        (1 << 30, |it, size| it.assets[0].size = ByteCount(size as u64)),
        (8 << 30, |it, size| it.models[0].size = ByteCount(size as u64)),
    ];
    for (index, (most, change)) in changes.iter().enumerate() {
        let changed = |count: usize| {
            let mut manifest = Manifest::clone(draft(source()).unwrap().manifest());
            change(&mut manifest, count);
            manifest.validate()
        };
        assert!(changed(*most).is_ok(), "{index}: {:?}", changed(*most));
        let refused = changed(most + 1);
        let is_bound =
            matches!(refused, Err(ManifestError::Bound { found, .. }) if found == *most as u64 + 1);
        assert!(is_bound, "{index}: {refused:?}");
    }
}

#[test]
fn a_graph_can_have_no_cycle_because_only_earlier_stages_feed_later_ones() {
    let error = with("/pipeline/stages/0/from", json!("score.image")).unwrap_err();
    assert!(matches!(error, DraftError::Manifest(ManifestError::Unresolved { .. })), "{error}");
}

#[test]
fn one_digest_with_two_lengths_is_refused() {
    let mut manifest = Manifest::from(draft(source()).unwrap().manifest().clone());
    manifest.assets[0].digest = manifest.models[0].digest;
    assert!(matches!(manifest.validate(), Err(ManifestError::Form { .. })));
}

#[test]
fn text_that_a_signed_document_may_not_hold_is_refused_when_packing() {
    let mut source = source();
    source["pipeline"]["stages"][0]["settings"]["mode"] = json!("two\nlines");
    assert!(matches!(draft(source).unwrap().pack(), Err(DraftError::Trust(_))));
}
