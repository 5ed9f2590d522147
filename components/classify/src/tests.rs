//! Tests of the stage on the mock host.

use martello_guest_sdk::mock::Host;
use martello_guest_sdk::nn::{ErrorCode, NnError};
use martello_guest_sdk::{Element, Fault, Finding, Tensor};

use crate::Classify;

const MANIFEST: &str = r#"{
    "name": "quality",
    "inputs": [{"name": "image", "dtype": "f32", "shape": [1, 1, null, 2]}],
    "outputs": [{"name": "scores", "dtype": "f32", "shape": [1, 3]}],
    "labels": ["good", "blank", "rotated"],
    "calibration": {"temperature": 2.0},
    "threshold": 0.5,
    "a-field-of-a-later-version": 1
}"#;

fn gives<T: Element>(shape: &[u32], scores: &[T]) -> Host {
    let scores = Tensor::new(shape, scores).expect("shape and scores agree");
    let image = Tensor::new(&[1, 1, 2, 2], &[0.0_f32, 0.25, 0.5, 1.0]).expect("fits");
    Host::new()
        .tensor_payload(&image)
        .setting("model", "quality")
        .setting("model-manifest", MANIFEST)
        .setting("finding", "acquisition-quality")
        .model("quality", move |inputs| {
            assert_eq!(inputs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["image"]);
            Ok(vec![("scores".to_owned(), scores.clone())])
        })
}

fn finding(host: &Host) -> Finding {
    let (outcome, outputs) = host.run::<Classify>().expect("classifies");
    assert!(outputs.is_empty() && outcome.evidence.is_none());
    <[Finding; 1]>::try_from(outcome.findings).expect("one finding")[0].clone()
}

fn code(host: &Host) -> String {
    let fault = host.run::<Classify>().expect_err("is refused");
    fault.code().expect("has a code").to_owned()
}

#[test]
fn the_likeliest_label_is_given_with_its_calibrated_probability() {
    let host = gives(&[1, 3], &[4.0_f32, 0.0, 2.0]);
    let found = finding(&host);
    // softmax([2, 0, 1])
    let expected = [0.665_240_9, 0.090_030_57, 0.244_728_47];
    assert_eq!((found.kind.as_str(), found.label.as_deref()), ("acquisition-quality", Some("good")));
    for ((label, score), (expected_label, expected)) in
        found.scores.iter().zip(["good", "blank", "rotated"].into_iter().zip(expected))
    {
        assert!(label == expected_label && (score - expected).abs() < 1e-6, "{label} {score}");
    }
    assert_eq!(found.confidence, Some(found.scores[0].1));
    assert_eq!((found.measurements[0].name.as_str(), found.measurements[0].unit.as_str()), ("margin", "1"));
    assert!((found.measurements[0].value - (0.665_240_955 - 0.244_728_471)).abs() < 1e-8);
    assert_eq!(host.record().model_runs, ["quality"]);
}

#[test]
fn below_the_threshold_the_stage_abstains_and_still_gives_every_score() {
    let found = finding(&gives(&[1, 3], &[1.0_f32, 0.9, 0.8]));
    assert_eq!((found.label, found.confidence, found.scores.len()), (None, None, 3));
}

#[test]
fn a_probability_exactly_at_the_threshold_gives_its_label() {
    let host = gives(&[3], &[0.5_f32, 0.25, 0.25]).setting("activation", "none");
    assert_eq!(finding(&host).label.as_deref(), Some("good"));
}

#[test]
fn settings_override_what_the_manifest_says() {
    let host = gives(&[1, 3], &[0.0_f32, 2.0, 0.0])
        .setting("labels", "a\n b \n\nc\n")
        .setting("temperature", "1")
        .setting("threshold", "0.8");
    let found = finding(&host);
    assert_eq!((found.label, found.scores[1].0.as_str()), (None, "b"));
    assert!((found.scores[1].1 - 0.786_986).abs() < 1e-5);
}

#[test]
fn independent_labels_go_through_the_sigmoid() {
    let found = finding(&gives(&[1, 3], &[8.0_f32, 8.0, -8.0]).setting("activation", "sigmoid"));
    assert_eq!(found.label.as_deref(), Some("good"));
    assert!(found.scores.iter().take(2).all(|(_, score)| (score - 0.982_013_8).abs() < 1e-6));
    assert_eq!(found.measurements[0].value, 0.0);
}

#[test]
fn huge_logits_do_not_overflow() {
    let found = finding(&gives(&[1, 3], &[1e308_f64, -1e308, 0.0]));
    assert_eq!((found.label.as_deref(), found.confidence), (Some("good"), Some(1.0)));
}

#[test]
fn scores_that_are_not_numbers_or_no_probabilities_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(code(&gives(&[1, 3], &[0.0, bad, 1.0])), "bad-scores");
    }
    for bad in [-0.01_f32, 1.01] {
        assert_eq!(code(&gives(&[1, 3], &[0.0, bad, 1.0]).setting("activation", "none")), "bad-scores");
    }
}

#[test]
fn scores_of_another_number_shape_or_type_are_refused() {
    assert_eq!(code(&gives(&[1, 2], &[0.0_f32, 1.0])), "tensor-mismatch");
    assert_eq!(code(&gives(&[1, 3], &[0_i64, 1, 2])), "tensor-mismatch");
    let host = gives(&[2, 2], &[0.0_f32, 1.0, 2.0, 3.0]).setting("labels", "a\nb\nc\nd");
    assert_eq!(code(&host), "tensor-mismatch");
}

#[test]
fn an_input_that_the_model_does_not_take_is_refused_before_it_runs() {
    for image in [
        Tensor::new(&[1, 1, 2, 3], &[0.0_f32; 6]),
        Tensor::new(&[1, 2, 2], &[0.0_f32; 4]),
        Tensor::new(&[1, 1, 2, 2], &[0.0_f64; 4]),
    ] {
        let host = gives(&[1, 3], &[0.0_f32; 3]).tensor_payload(&image.expect("fits"));
        assert_eq!(code(&host), "tensor-mismatch");
        assert!(host.record().model_runs.is_empty());
    }
}

#[test]
fn a_payload_that_is_no_tensor_is_malformed() {
    let host = gives(&[1, 3], &[0.0_f32; 3]).payload(b"text".to_vec(), "text/plain");
    assert!(matches!(host.run::<Classify>(), Err(Fault::Malformed(_))));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    for (name, value) in [
        ("temperature", "0"),
        ("temperature", "-1"),
        ("temperature", "NaN"),
        ("temperature", "warm"),
        ("threshold", "1.5"),
        ("threshold", "NaN"),
        ("activation", "tanh"),
        ("model-manifest", "{"),
    ] {
        let host = gives(&[1, 3], &[0.0_f32; 3]).setting(name, value);
        let fault = host.run::<Classify>().expect_err(value);
        assert!(fault.code() == Some("bad-setting") && fault.text().contains(name), "{fault}");
    }
}

#[test]
fn without_labels_a_finding_or_a_model_there_is_nothing_to_do() {
    let bare = || Host::new().payload(Vec::new(), "a/b").setting("input", "x");
    let host = bare().setting("model", "m").setting("finding", "f");
    assert_eq!(code(&host), "missing-setting");
    assert_eq!(code(&bare().setting("labels", "a").setting("model", "m")), "missing-setting");
    assert_eq!(code(&bare().setting("labels", "a").setting("finding", "f")), "missing-setting");
}

#[test]
fn of_several_outputs_the_setting_names_the_one_with_the_scores() {
    let manifest = MANIFEST
        .replace(r#""outputs": ["#, r#""outputs": [{"name": "features", "dtype": "f32", "shape": [1, 9]}, "#);
    let host = gives(&[1, 3], &[9.0_f32, 0.0, 0.0]).setting("model-manifest", &manifest);
    assert_eq!(code(&host), "missing-setting");
    assert_eq!(finding(&host.clone().setting("output", "scores")).label.as_deref(), Some("good"));
    assert_eq!(code(&host.setting("output", "features")), "output-missing");
}

#[test]
fn what_the_backend_refuses_comes_out_under_a_code() {
    let failing = |code| {
        gives(&[1, 3], &[0.0_f32; 3])
            .model("quality", move |_| Err(NnError { code, text: "words of the backend".to_owned() }))
    };
    assert_eq!(code(&failing(ErrorCode::Timeout)), "model-timeout");
    assert_eq!(code(&failing(ErrorCode::RuntimeError)), "model-failed");
    assert_eq!(code(&gives(&[1, 3], &[0.0_f32; 3]).setting("model", "other")), "model-missing");
}
