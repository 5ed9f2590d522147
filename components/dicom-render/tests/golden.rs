//! The renderer against pydicom and numpy, by the values that `golden.py write` committed, and against itself: the
//! bytes that it gave before. `MARTELLO_WRITE_GOLDEN=1` writes the latter anew.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail: the helpers of an integration test are no test functions to clippy"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dicom_render::{
    FrameChoice, NO_PIXELS, PreviewChoice, Recipe, Render, RenderError, Rendered, Settings, modality_values,
    render,
};
use martello_guest_sdk::Fault;
use martello_guest_sdk::mock::Host;
use sha2::{Digest, Sha256};

const VALUES: &str = include_str!("golden/values.txt");
const DIGESTS: &str = include_str!("golden/digests.txt");
const RECIPE: &str = include_str!("../../classify/model/recipe.json");

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/dicom");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn full_size() -> Settings {
    let recipe = Some(Recipe::read(RECIPE).unwrap());
    Settings { recipe, preview: PreviewChoice::Longest(8192), ..Settings::default() }
}

fn rendered(name: &str) -> Rendered {
    render(&fixture(name), &full_size()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines of the golden values of one step: file, and the words behind.
fn golden(step: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    let lines = VALUES.lines().filter(|line| !line.starts_with('#'));
    let split = |line: &'static str| {
        let mut words = line.split(' ');
        (words.next().unwrap(), words.next().unwrap(), words.collect::<Vec<_>>())
    };
    let found: Vec<_> = lines.map(split).filter(|(_, kind, _)| *kind == step).collect();
    assert!(found.len() > 50, "{step}: {}", found.len());
    found.into_iter().map(|(name, _, words)| (name, words)).collect()
}

/// Files that we refuse, with the code; pydicom does not render them either.
const REFUSED: [(&str, &str); 3] = [
    ("JPEG2000-embedded-sequence-delimiter.dcm", "jpeg2000"),
    ("made/claims_16_exabytes.dcm", "frame-too-large"),
    ("made/length_beyond_end.dcm", "truncated"),
];

fn is_refused(name: &str) -> bool {
    REFUSED.iter().any(|(refused, _)| *refused == name)
}

#[test]
fn modality_values_are_pydicoms_to_the_bit() {
    for (name, words) in golden("modality").into_iter().filter(|(name, _)| !is_refused(name)) {
        let values = modality_values(&fixture(name), &full_size()).unwrap().unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(hex(&bytes), words[0], "{name}");
    }
}

#[test]
fn previews_are_pydicoms_in_every_sample() {
    for (name, words) in golden("preview").into_iter().filter(|(name, _)| !is_refused(name)) {
        let preview = rendered(name).frames.remove(0).preview.unwrap();
        compare(name, &preview.samples.iter().map(|byte| f64::from(*byte)).collect::<Vec<_>>(), &words, 0.0);
    }
}

#[test]
fn tensors_are_within_a_hundred_thousandth_of_the_reference_recipes() {
    for (name, words) in golden("tensor").into_iter().filter(|(name, _)| !is_refused(name)) {
        let tensor = rendered(name).frames.remove(0).tensor.unwrap();
        // The reference takes luminance of eight bits, also from images of sixteen and more.
        let most = if name.contains("16bit") || name.contains("32bit") { 2e-5 } else { 1e-5 };
        compare(name, &tensor.iter().map(|value| f64::from(*value)).collect::<Vec<_>>(), &words, most);
    }
}

fn compare(name: &str, ours: &[f64], words: &[&str], most: f64) {
    let (size, theirs) = words.split_first().unwrap();
    assert_eq!(ours.len(), size.parse::<usize>().unwrap(), "{name}");
    for (index, theirs) in theirs.iter().enumerate() {
        let (ours, theirs) = (ours[index * ours.len() / 61], theirs.parse::<f64>().unwrap());
        assert!((ours - theirs).abs() <= most, "{name}: sample {index}: {ours} for {theirs}");
    }
}

/// File, SHA-256 of the preview's samples, SHA-256 of the tensor's bytes.
fn digests(name: &str) -> Option<String> {
    let frame = rendered(name).frames.into_iter().next()?;
    let tensor: Vec<u8> = frame.tensor.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    Some(format!("{name} {} {}", hex(&frame.preview?.samples), hex(&tensor)))
}

#[test]
fn every_preview_and_tensor_has_the_bytes_that_it_always_had() {
    let names: BTreeSet<&str> = golden("preview").into_iter().map(|(name, _)| name).collect();
    let ours: Vec<String> = names.into_iter().filter(|name| !is_refused(name)).filter_map(digests).collect();
    if std::env::var_os("MARTELLO_WRITE_GOLDEN").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/digests.txt");
        std::fs::write(path, ours.join("\n") + "\n").unwrap();
    }
    let known: Vec<&str> = DIGESTS.lines().collect();
    assert_eq!(ours.len(), known.len());
    for (ours, known) in ours.iter().zip(known) {
        assert_eq!(ours, known);
    }
}

#[test]
fn what_cannot_be_rendered_rightly_is_refused_by_code() {
    for (name, code) in REFUSED {
        let error = render(&fixture(name), &full_size()).expect_err(name).to_string();
        assert!(error.starts_with(&format!("{code}: ")), "{name}: {error}");
    }
}

#[test]
fn hostile_objects_are_refused_or_hold_no_pixels() {
    for name in [
        "deflate_ratio_1000",
        "many_empty_items",
        "nested_70_deep",
        "length_beyond_end",
        "claims_16_exabytes",
    ] {
        match render(&fixture(&format!("made/{name}.dcm")), &full_size()) {
            Ok(rendered) => assert_eq!(rendered.notes, BTreeSet::from([NO_PIXELS]), "{name}"),
            Err(RenderError::Malformed { .. } | RenderError::Limit { .. }) => {}
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn an_object_without_pixels_has_a_note_and_no_outputs() {
    for name in ["made/sr_identity.dcm", "rtplan.dcm", "rtstruct.dcm", "waveform_ecg.dcm"] {
        let host = Host::new().payload(fixture(name), "application/dicom").port("preview");
        let (outcome, outputs) = host.run::<Render>().unwrap();
        assert!(outputs.is_empty(), "{name}");
        assert_eq!(outcome.evidence.unwrap().notes, [NO_PIXELS], "{name}");
    }
}

#[test]
fn a_frame_is_the_same_alone_and_among_all() {
    for (name, count) in [
        ("examples_ybr_color.dcm", 30),
        ("SC_rgb_rle_2frame.dcm", 2),
        ("made/mr_enhanced_frames.dcm", 0),
        ("rtdose.dcm", 15),
    ] {
        let bytes = fixture(name);
        let all = render(&bytes, &Settings { frames: FrameChoice::All, ..full_size() }).unwrap();
        assert!(count == 0 || all.frames.len() == count, "{name}: {}", all.frames.len());
        let middle = render(&bytes, &Settings { frames: FrameChoice::Middle, ..full_size() }).unwrap();
        assert_eq!(middle.frames[0], all.frames[all.frames.len() / 2], "{name}");
        assert_eq!(rendered(name).frames[0], all.frames[0], "{name}");
    }
}

#[test]
fn frames_over_a_limit_are_refused_before_they_are_decoded() {
    let bytes = fixture("examples_ybr_color.dcm");
    let few = Settings { frames: FrameChoice::All, most_frames: 29, ..full_size() };
    assert!(matches!(render(&bytes, &few), Err(RenderError::Limit { code: "too-many-frames", .. })));
    let small = Settings { frames: FrameChoice::All, most_bytes: 1 << 20, ..full_size() };
    assert!(matches!(render(&bytes, &small), Err(RenderError::Limit { code: "too-many-pixels", .. })));
    let tiny = Settings { most_frame_bytes: 1000, ..full_size() };
    assert!(matches!(render(&bytes, &tiny), Err(RenderError::Limit { code: "frame-too-large", .. })));
}

#[test]
fn the_stage_writes_a_png_and_a_tensor_and_says_how() {
    let host = Host::new()
        .payload(fixture("CT_small.dcm"), "application/dicom")
        .setting("recipe", RECIPE)
        .setting("outputs", "preview, tensor")
        .setting("preview-longest", "100")
        .port("preview")
        .port("tensor");
    let (outcome, outputs) = host.run::<Render>().unwrap();
    let [preview, tensor] = outputs.as_slice() else { panic!("{}", outputs.len()) };
    assert_eq!((preview.port.as_str(), preview.media_type.as_str()), ("preview", "image/png"));
    assert_eq!([preview.attribute("rows"), preview.attribute("columns")], [Some("100"), Some("100")]);
    assert_eq!(preview.attribute("frame"), Some("0"));
    assert!(preview.bytes.starts_with(b"\x89PNG"));
    let hash = Recipe::read(RECIPE).unwrap().hash().to_owned();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let attributes =
        [pair("dtype", "f32"), pair("shape", "1,1,64,64"), pair("recipe", &hash), pair("frame", "0")];
    assert_eq!(
        (tensor.media_type.as_str(), &tensor.attributes[..]),
        ("application/vnd.martello.tensor", &attributes[..])
    );
    let expected = rendered("CT_small.dcm").frames.remove(0).tensor.unwrap();
    assert_eq!(tensor.bytes, expected.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    let evidence = outcome.evidence.unwrap();
    assert_eq!((evidence.profile.as_str(), evidence.edition), ("render", hash));
    assert_eq!(evidence.notes, ["padding-black", "percentiles"]);
    assert_eq!(evidence.actions.iter().map(|action| action.count).sum::<u32>(), 2);
}

#[test]
fn a_fault_of_the_host_leaves_as_it_came() {
    let bytes = fixture("CT_small.dcm");
    let host = Host::new().payload(bytes.clone(), "application/dicom").port("preview").output_limit(100);
    assert!(matches!(host.run::<Render>(), Err(Fault::Limit(_))));
    let host = Host::new().payload(bytes, "application/dicom");
    assert!(matches!(host.run::<Render>(), Err(Fault::Policy(_))));
}

#[test]
fn nothing_of_the_header_leaves_with_an_output() {
    let markers = String::from_utf8(fixture("made/markers.json")).unwrap();
    assert!(markers.contains("ZZMARK"));
    let host = Host::new()
        .payload(fixture("made/ct_head.dcm"), "application/dicom")
        .setting("recipe", RECIPE)
        .port("preview")
        .port("tensor");
    let (outcome, outputs) = host.run::<Render>().unwrap();
    let text =
        format!("{outcome:?}{:?}{:?}", outputs.iter().map(|output| &output.attributes), host.record().log);
    assert!(!text.contains("ZZMARK"), "{text}");
    for output in &outputs {
        assert!(!output.bytes.windows(6).any(|window| window == b"ZZMARK"), "{}", output.port);
    }
}

#[test]
fn damaged_objects_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/dicom");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let small = |path: &PathBuf| std::fs::metadata(path).unwrap().len() < 20_000;
    let settings = Settings { frames: FrameChoice::All, most_frame_bytes: 4 << 20, ..full_size() };
    for path in names.iter().filter(|path| path.is_file() && small(path)) {
        let whole = std::fs::read(path).unwrap();
        // JPEG 2000 is left out: natively its decoder may panic, in the sandbox that is a trap.
        if whole.windows(4).any(|four| four == [0xFF, 0x4F, 0xFF, 0x51]) {
            continue;
        }
        // Where the pixels begin, so that code streams are damaged too.
        let pixels = whole.windows(4).rposition(|four| four == [0xE0, 0x7F, 0x10, 0x00]).unwrap_or(0);
        for round in 0..24 {
            let mut bytes = whole.clone();
            if round % 3 == 0 {
                bytes.truncate(whole.len() - random(whole.len() / 2));
            }
            for _ in 0..1 + random(8) {
                let at = if round % 2 == 0 { random(bytes.len()) } else { pixels + random(160) };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(random(256)).unwrap();
                }
            }
            drop(render(&bytes, &settings));
        }
    }
}
