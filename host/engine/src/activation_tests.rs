//! Bundles that must not run, with the sandbox and the backends that a device has.

use std::collections::BTreeMap;
use std::ops::Deref;

use bytes::Bytes;
use martello_bundle::manifest::{
    Asset, Backend, ElementType, Model, ModelFormat, Placement, Strictness, TensorSchema,
};
use martello_bundle::{Draft, EphemeralModel, VerifiedBundle, ephemeral, ephemeral_of};
use martello_inference::ModelCheck;
use martello_vocab::{ByteCount, Digest, Limits};

use super::*;

/// A component without anything in it.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
const AFFINE: &[u8] = include_bytes!("../../inference/tests/models/affine.onnx");

pub(crate) fn bundle() -> VerifiedBundle {
    let tensor = |name: &str| TensorSchema {
        name: name.to_owned(),
        dtype: ElementType::F32,
        shape: vec![Some(2), Some(3)],
    };
    let placement =
        Placement { backend: Backend::Builtin, device: "cpu".to_owned(), strictness: Strictness::Require };
    let model = Model {
        name: "giant".parse().unwrap(),
        digest: Digest::of(AFFINE),
        size: ByteCount(AFFINE.len() as u64),
        format: ModelFormat::Onnx,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        placement,
        recipe: None,
        labels: Vec::new(),
        calibration: None,
        threshold: None,
        memory_bytes: None,
        licence: None,
        golden: Vec::new(),
    };
    let models = vec![EphemeralModel { model, bytes: Bytes::from_static(AFFINE) }];
    ephemeral("guest".parse().unwrap(), Bytes::from_static(EMPTY), Limits::default(), models).unwrap()
}

/// A device that takes models up to this size.
fn device(state: &std::path::Path, largest_model: ByteCount) -> Device {
    let mut config = DeviceConfig::new(state.to_owned());
    config.inference.largest_model = largest_model;
    // This program is no `martello` that tries models out; the model is known.
    config.inference.check = ModelCheck::DangerouslyInThisProcess;
    Device::start(&config).unwrap()
}

impl Device {
    /// A bundle that is active without its stages: every payload goes through and leaves nothing.
    pub(crate) fn without_stages(&self, plan: Plan, bundle: &VerifiedBundle) -> Active {
        Active {
            plan,
            stages: Vec::new(),
            bundle_digest: bundle.digest(),
            site_key: Arc::clone(&self.site_key),
            inference: Arc::clone(&self.inference),
            longest_pass: LONGEST_PASS,
        }
    }
}

#[test]
fn a_giant_model_is_refused_before_anything_of_the_bundle_is_compiled() {
    let state = tempfile::tempdir().unwrap();
    let most = ByteCount(AFFINE.len() as u64 - 1);
    let refused = device(state.path(), most).activate(&bundle()).unwrap_err();
    let ActivationError::Model { source: ModelError::TooLarge { found, .. }, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(found.0, AFFINE.len() as u64);
    // What the operator reads.
    let words = format!("{refused}: {}", std::error::Error::source(&refused).unwrap());
    assert_eq!(
        words,
        format!("loading model `giant`: loading a model: it has {found}, at most {most} are taken")
    );
    // The same bundle on a device that takes such models fails at its component, which is no stage.
    let next = device(state.path(), *found).activate(&bundle()).unwrap_err();
    assert!(matches!(next, ActivationError::Component { .. }), "{next:?}");
}

#[test]
fn the_report_says_of_a_model_where_its_golden_outputs_decided_alone_that_it_may_run() {
    let state = tempfile::tempdir().unwrap();
    let bundle = bundle();
    let model = &bundle.manifest().models[0];
    let mut activated = device(state.path(), model.size).model(&bundle, model).unwrap();
    let ran = |name: Option<&Name>| martello_inference::Ran {
        model: name.cloned(),
        digest: model.digest,
        execution: activated.loaded.execution().clone(),
        runs: 1,
        failures: 0,
        elapsed: Duration::ZERO,
        times: Vec::new(),
    };
    // The second brought its bytes itself: it has no golden outputs.
    let ran = vec![ran(Some(&model.name)), ran(None)];
    let told = |activated: &ActivatedModel| {
        let models = crate::nn::known(ran.clone(), std::slice::from_ref(activated));
        let lines = serde_json::to_value(Active::model_lines(&models)).unwrap();
        [0, 1].map(|line: usize| lines[line].get("golden_decided_alone").cloned())
    };
    assert_eq!(told(&activated), [None, None]);
    activated.golden.decided_alone = Some("the built-in backend lacks an operator".to_owned());
    assert_eq!(told(&activated), [Some(true.into()), None]);
}

#[test]
fn a_pipeline_that_takes_no_dicom_is_not_run_over_folders_of_it() {
    let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
    for taken in
        [&["application/dicom"][..], &["image/png", "application/dicom"], &["application/octet-stream"]]
    {
        assert!(accepts_folders(&kinds(taken)), "{taken:?}");
    }
    for refused in [&[][..], &["image/png"], &["application/dicom+json"]] {
        assert!(!accepts_folders(&kinds(refused)), "{refused:?}");
    }
    // It is the first thing that activation looks at.
    let state = tempfile::tempdir().unwrap();
    let mut manifest: Manifest = bundle().manifest().deref().clone();
    manifest.pipeline.accepts = kinds(&["image/png"]);
    let blobs = BTreeMap::from([EMPTY, AFFINE].map(|bytes| (Digest::of(bytes), Bytes::from_static(bytes))));
    let draft = Draft::new(manifest.validate().unwrap(), blobs).unwrap();
    let refused = device(state.path(), ByteCount(0)).activate(&ephemeral_of(draft).unwrap()).unwrap_err();
    assert!(matches!(refused, ActivationError::Accepts), "{refused:?}");
}

#[test]
fn evidence_may_name_what_the_stage_was_given_and_nothing_else_beside_the_words_of_the_manifest() {
    let state = tempfile::tempdir().unwrap();
    let device = device(state.path(), ByteCount::mebibytes(1));
    let mut manifest = Manifest::clone(bundle().manifest());
    let digest = |byte: &str| format!("sha256:{}", byte.repeat(32)).parse::<Digest>().unwrap();
    for (name, byte) in [("granted", "0a"), ("other", "0b")] {
        let asset = Asset {
            name: name.parse().unwrap(),
            digest: digest(byte),
            size: ByteCount(1),
            media_type: "text/plain".to_owned(),
        };
        manifest.assets.push(asset);
    }
    manifest.components[0].evidence.editions.push("2026c".to_owned());
    let stage = &mut manifest.pipeline.stages[0];
    stage.assets.push("granted".parse().unwrap());
    stage.settings.insert(
        "recipe".parse().unwrap(),
        r#"{ "b": [1.5, 1e-4], "a": { "d": null, "c": 1.0 } }"#.to_owned(),
    );
    stage.settings.insert("plain".parse().unwrap(), "1.5".to_owned());
    let contract = |manifest: &Manifest| {
        let parts = Parts {
            manifest,
            components: BTreeMap::new(),
            models: BTreeMap::new(),
            assets: BTreeMap::new(),
            site_key: &device.site_key,
        };
        let stage = &manifest.pipeline.stages[0];
        parts.contract(&manifest.components[0], stage, &stage.settings).evidence
    };
    let recipe = Digest::of(br#"{"a":{"c":1.0,"d":null},"b":[1.5,0.0001]}"#);
    let given = [digest("0a"), Digest::of(AFFINE), recipe].map(|digest| digest.to_string());
    let found = contract(&manifest);
    assert_eq!(found.editions, ["2026c", &given[0], &given[1], &given[2]]);
    assert!(found.notes.is_empty());
    manifest.pipeline.stages[0].grants.push(Grant::Pseudonyms);
    assert_eq!(contract(&manifest).notes, [format!("pseudonym-key-{}", device.site_key.key_id())]);
}
