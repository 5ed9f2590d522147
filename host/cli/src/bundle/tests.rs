use std::path::{Path, PathBuf};

use martello_bundle::UnverifiedBundle;
use martello_trust::{PublicKey, Role, RootDocument, SigningKey};

use super::*;
use crate::run::{NotOpened, verified};
use crate::{Format, Output};

const QUIET: Output = Output { format: Format::Json, quiet: true };
const NO_PASSPHRASE: KnownPassphrase = KnownPassphrase::NONE;

/// `(component)`: the least component there is.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

const SOURCE: &str = r#"
name = "tiny"
version = "1.0.0"
security_version = 1
[[components]]
name = "only"
file = "only.wasm"
[[models]]
name = "scores"
file = "model.onnx"
format = "onnx"
recipe = { schema = 1, resample = { height = 64, width = 64 } }
inputs = [{ name = "x", dtype = "f32", shape = ["any", 1, 64, 64] }]
outputs = [{ name = "y", dtype = "f32", shape = ["any", 2] }]
labels = ["no", "yes"]
[pipeline]
accepts = ["application/dicom"]
exports = []
[[pipeline.stages]]
name = "only"
component = "only"
from = "input"
models = ["scores"]
"#;

struct Workplace {
    folder: tempfile::TempDir,
    keys: Vec<PathBuf>,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bundle.toml"), SOURCE).unwrap();
        std::fs::write(folder.path().join("only.wasm"), COMPONENT).unwrap();
        std::fs::write(folder.path().join("model.onnx"), b"weights").unwrap();
        let keys: Vec<SigningKey> = (0..2).map(|_| SigningKey::generate().unwrap()).collect();
        let publics: Vec<PublicKey> = keys.iter().map(SigningKey::public).collect();
        let mut root = RootDocument::new(1, Timestamp::LAST)
            .with_role(Role::ROOT, &publics, 1)
            .with_role(Role::RELEASE, &publics, 2)
            .into_envelope()
            .unwrap();
        root.sign(&keys[0]);
        std::fs::write(folder.path().join("trust.json"), root.to_bytes()).unwrap();
        let path = |number: usize| folder.path().join(format!("{number}.pem"));
        keys.iter()
            .enumerate()
            .for_each(|(number, key)| file::write_private(&path(number), key, None).unwrap());
        Self { keys: vec![path(0), path(1)], folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pack(&self, out: &str) -> PathBuf {
        pack(&self.at("bundle.toml"), &self.at(out), &QUIET).unwrap();
        self.at(out)
    }

    fn verify(&self, bundle: &Path) -> String {
        format!("{:?}", verify(bundle, &self.at("trust.json"), &QUIET).unwrap())
    }
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn two_people_sign_one_after_the_other_and_then_the_bundle_verifies() {
    let here = Workplace::new();
    for name in ["tiny.tar", "tiny"] {
        let bundle = here.pack(name);
        assert_eq!(here.verify(&bundle), code(exit::VERIFICATION_FAILED), "unsigned");
        sign(&bundle, &here.keys[..1], &NO_PASSPHRASE, &QUIET).unwrap();
        assert_eq!(here.verify(&bundle), code(exit::VERIFICATION_FAILED), "one of two");
        sign(&bundle, &here.keys[1..], &NO_PASSPHRASE, &QUIET).unwrap();
        assert_eq!(here.verify(&bundle), code(0), "{name}");
    }
}

#[test]
fn what_nothing_enforces_yet_is_named() {
    let here = Workplace::new();
    let health = "health = { probes = 1, window_s = 60, max_trap_rate = 0.0 }";
    std::fs::write(here.at("bundle.toml"), format!("{health}\n{SOURCE}")).unwrap();
    let draft = draft(&here.at("bundle.toml")).unwrap();
    let line = not_enforced(draft.manifest());
    assert_eq!(line, "accepted and not enforced yet: security_version, health");
    let source = source_at(&here.pack("tiny.tar")).unwrap();
    let inspected = inspect::text(&UnverifiedBundle::read(source.as_ref()).unwrap());
    assert!(inspected.contains(&line), "{inspected}");
}

#[test]
fn packing_depends_on_the_files_alone_and_takes_the_time_of_the_newest() {
    let here = Workplace::new();
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    for (name, older) in [("bundle.toml", 5), ("only.wasm", 0), ("model.onnx", 3)] {
        let file = std::fs::File::options().write(true).open(here.at(name)).unwrap();
        file.set_modified(time - std::time::Duration::from_secs(older)).unwrap();
    }
    let first = std::fs::read(here.pack("one.tar")).unwrap();
    assert_eq!(first, std::fs::read(here.pack("two.tar")).unwrap());
    let packed = Packed::read(source_at(&here.at("one.tar")).unwrap().as_ref()).unwrap();
    assert_eq!(packed.manifest().created, "2020-09-13T12:26:40Z");
}

#[test]
fn a_changed_byte_ends_with_exit_code_8() {
    let here = Workplace::new();
    let bundle = here.pack("tiny.tar");
    sign(&bundle, &here.keys, &NO_PASSPHRASE, &QUIET).unwrap();
    let mut bytes = std::fs::read(&bundle).unwrap();
    let position = bytes.windows(7).position(|window| window == b"weights").unwrap();
    bytes[position] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    assert_eq!(here.verify(&bundle), code(exit::VERIFICATION_FAILED));
}

#[test]
fn a_bundle_that_is_not_there_is_no_verification_failure() {
    let here = Workplace::new();
    assert!(verify(&here.at("nowhere.tar"), &here.at("trust.json"), &QUIET).is_err());
}

#[test]
fn a_giant_model_is_refused_before_a_blob_is_read() {
    let here = Workplace::new();
    let bundle = here.pack("tiny.tar");
    sign(&bundle, &here.keys, &NO_PASSPHRASE, &QUIET).unwrap();
    // The model's bytes are not those that were signed: whoever reads them says so.
    let mut bytes = std::fs::read(&bundle).unwrap();
    let position = bytes.windows(7).position(|window| window == b"weights").unwrap();
    bytes[position] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let trust = here.at("trust.json");
    let mut config = martello_engine::DeviceConfig::new(here.at("state"));
    let opened = verified(&bundle, &trust, &config);
    assert!(matches!(&opened, Err(NotOpened::Refused(_, error)) if error.is_verification()), "{opened:?}");
    config.inference.largest_model = martello_vocab::ByteCount(6);
    let Err(NotOpened::TooLarge(_, error)) = verified(&bundle, &trust, &config) else {
        panic!("not refused")
    };
    assert!(format!("{error:#}").contains("loading model `scores`"), "{error:#}");
}

#[test]
fn an_unsigned_bundle_can_be_inspected() {
    let here = Workplace::new();
    let text = Output { format: Format::Text, quiet: true };
    assert_eq!(format!("{:?}", inspect::run(&here.pack("tiny.tar"), &text).unwrap()), code(0));
}

/// A model with input `image` 1×1×32×48 and output `out` 1×3, as protobuf.
fn onnx() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }
    let tensor = |name: &[u8], dimensions: &[u8]| {
        let shape: Vec<u8> = dimensions.iter().flat_map(|&size| field(1, &[8, size])).collect();
        [field(1, name), field(2, &field(1, &[&[8, 1], field(2, &shape).as_slice()].concat()))].concat()
    };
    let graph = [field(11, &tensor(b"image", &[1, 1, 32, 48])), field(12, &tensor(b"out", &[1, 3]))].concat();
    field(7, &graph)
}

#[test]
fn init_makes_a_source_around_ones_own_model_that_packs() {
    let here = Workplace::new();
    let shipped = here.pack("imaging.tar");
    std::fs::write(here.at("My Model_2.onnx"), onnx()).unwrap();
    let args = init::InitArgs::of(here.at("My Model_2.onnx"), here.at("mine"), Some(shipped));
    init::run(&args, &QUIET).unwrap();
    assert!(init::run(&args, &QUIET).is_err(), "a folder that exists is left alone");
    let source = read_source(&here.at("mine/bundle.toml")).unwrap();
    assert_eq!(source["name"], "my-model-2");
    assert_eq!(source["models"][0]["name"], "my-model-2", "and no name of the model that ships");
    assert!(
        source["pipeline"]["stages"]
            .as_array()
            .unwrap()
            .iter()
            .any(|stage| stage["models"] == json!(["my-model-2"]))
    );
    assert_eq!(source["models"][0]["labels"], json!(["class-0", "class-1", "class-2"]));
    assert_eq!(source["models"][0]["recipe"]["resample"], json!({ "height": 32, "width": 48 }));
    pack(&here.at("mine/bundle.toml"), &here.at("mine.tar"), &QUIET).unwrap();
    let packed = Packed::read(source_at(&here.at("mine.tar")).unwrap().as_ref()).unwrap();
    assert_eq!(packed.manifest().models[0].inputs[0].name, "image");
    assert_eq!(packed.manifest().components[0].size.0, COMPONENT.len() as u64);
}

#[test]
fn init_without_a_bundle_to_take_over_says_how_to_build_one_and_makes_nothing() {
    let here = Workplace::new();
    std::fs::write(here.at("mine.onnx"), onnx()).unwrap();
    // No bundle stands beside the program of a test.
    let args = init::InitArgs::of(here.at("mine.onnx"), here.at("mine"), None);
    let refused = init::run(&args, &QUIET).unwrap_err();
    let next = crate::output::next_step(&refused);
    assert!(next.contains("run `cargo xtask bundle`") && next.contains("--from"), "{next}");
    assert!(!here.at("mine").exists());
}
