//! Why a bundle does not run on this device, or the device not at all: which exit code, and what to do.

use std::path::Path;
use std::process::ExitCode;

use martello_bundle::onnx::OnnxError;
use martello_engine::{ActivationError, DeviceError, PlanError, SiteKeyError};
use martello_inference::{InferenceError, ModelError};
use martello_runtime::{LoadError, NativeError, RuntimeError};

use crate::output::{Output, exit};

/// An exit code, and what to do.
type Step = (u8, &'static str);

const NO_STATE: &str = "see free space and permissions of the state folder, or choose another with --state";
const FETCH_AGAIN: &str = "fetch the file again from where it was published; do not run it";
const MEND_BUNDLE: &str = "mend the bundle's source, pack it and sign it again";

/// What to do about a model that a limit refused. `martello infer` says the same.
pub(crate) const RAISE_MODEL_LIMIT: &str = "--model-memory or --model-time with more, if you trust whoever made the model; `martello explain model-limit`";
pub(crate) const REPORT_MODEL: &str = "do not use the model; report it with the file if you trust whoever made it; `martello explain model-crashes-host`";
pub(crate) const BOUND_MODEL: &str = "export it with fixed shapes and without texts, or run it on the other backend (--onnxruntime, or without it); `martello explain model-unbounded`";
pub(crate) const NOT_ONNX: &str =
    "give an ONNX file (*.onnx); models of PyTorch, TensorFlow and scikit-learn are exported to ONNX first";
pub(crate) const TRY_OUT: &str = "see how many processes and how much memory this user may have (`ulimit -u -v -d`), and run with --log debug";

/// What to do about a file whose tensors cannot be read.
pub(crate) const fn onnx(error: &OnnxError) -> &'static str {
    match error {
        OnnxError::NotAModel(_) => NOT_ONNX,
        OnnxError::Unfit(_) => "export the model to ONNX with fixed ranks and tensor inputs",
    }
}

/// Ends a command whose device did not start.
pub(crate) fn not_started(error: DeviceError, out: &Output) -> ExitCode {
    let (code, next) = of_device(&error);
    out.failure(code, &format!("starting the device: {:#}", anyhow::Error::from(error)), next)
}

/// Ends a command whose bundle verified and does not run here.
pub(crate) fn not_activated(bundle: &Path, error: ActivationError, out: &Output) -> ExitCode {
    let (code, next) = of_bundle(&error);
    let limited = match &error {
        ActivationError::Model { source, .. } => source.code(),
        _ => None,
    };
    let code_words = limited.map(|limited| format!("{limited}: ")).unwrap_or_default();
    let happened =
        format!("`{}` does not run here: {code_words}{:#}", bundle.display(), anyhow::Error::from(error));
    out.failure(code, &happened, next)
}

const fn of_device(error: &DeviceError) -> Step {
    match error {
        DeviceError::State { .. } => (exit::FAILURE, NO_STATE),
        DeviceError::Runtime(RuntimeError::Native(native)) => of_native(native),
        DeviceError::Runtime(_) => {
            (exit::FAILURE, "see how much memory and how many threads this process may have (`ulimit -v -u`)")
        }
        DeviceError::SiteKey(SiteKeyError::Exposed { .. }) => {
            (exit::REFUSED, "chmod 600 that file, and ask who could read it: names can be found out with it")
        }
        DeviceError::SiteKey(SiteKeyError::WrongLength { .. } | SiteKeyError::Uniform { .. }) => (
            exit::FAILURE,
            "put the key's file back from a copy: with another key every file gets other names",
        ),
        DeviceError::SiteKey(SiteKeyError::NoRandom) => {
            (exit::FAILURE, "see why the system gives no random bytes (getrandom)")
        }
        DeviceError::SiteKey(SiteKeyError::Unreadable { .. } | SiteKeyError::Unwritable { .. }) => {
            (exit::FAILURE, NO_STATE)
        }
        DeviceError::Inference(InferenceError::Library { .. }) => {
            (exit::REFUSED, "see --onnxruntime; --allow-library with the library's digest, once you trust it")
        }
        DeviceError::Inference(InferenceError::Threads(_)) => {
            (exit::FAILURE, "see how many threads this process may have (`ulimit -u`)")
        }
    }
}

const fn of_bundle(error: &ActivationError) -> Step {
    match error {
        ActivationError::Bundle(error) if error.is_verification() => (exit::VERIFICATION_FAILED, FETCH_AGAIN),
        ActivationError::Bundle(_) => (exit::FAILURE, "check the path and that the file can be read"),
        ActivationError::Plan(PlanError::IdentifiedExport { .. } | PlanError::IdentifiedFindings { .. }) => (
            exit::REFUSED,
            "put a stage with the grant `deidentify` and one with the grant `verify` in front in the bundle's source, and sign it again",
        ),
        ActivationError::Plan(PlanError::NothingToVerify { .. }) => (
            exit::REFUSED,
            "let the verifier take from a port of the de-identifier, which must be another component, and sign the bundle again",
        ),
        ActivationError::Plan(PlanError::UnknownSource { .. })
        | ActivationError::Accepts
        | ActivationError::Unresolved { .. }
        | ActivationError::NoRecipe { .. } => (exit::VERIFICATION_FAILED, MEND_BUNDLE),
        ActivationError::Component { source, .. } => of_component(source),
        ActivationError::Model { source, .. } => of_model(source),
    }
}

const fn of_component(error: &LoadError) -> Step {
    match error {
        LoadError::Limits(_) | LoadError::TooMuchMemory { .. } => {
            (exit::REFUSED, "lower the component's limits in the bundle's source, and sign it again")
        }
        LoadError::Imports { .. } => (
            exit::REFUSED,
            "use a component that needs nothing beyond what its manifest lists and this host has",
        ),
        LoadError::WrongWorld { .. } => (exit::VERIFICATION_FAILED, MEND_BUNDLE),
        LoadError::Link(_) => (
            exit::VERIFICATION_FAILED,
            "build the component against the interfaces of this version, and sign the bundle again",
        ),
        LoadError::Native(native) => of_native(native),
    }
}

const fn of_native(error: &NativeError) -> Step {
    match error {
        NativeError::Cache { .. } => (exit::FAILURE, NO_STATE),
        NativeError::Compile(_) => {
            (exit::FAILURE, "see that martello-compile of this version stands beside martello")
        }
        NativeError::Unfit(_) => (exit::FAILURE, "install martello and martello-compile of one version"),
    }
}

const fn of_model(error: &ModelError) -> Step {
    match error {
        ModelError::TooLarge { .. } => (exit::REFUSED, "use a bundle with smaller models"),
        ModelError::Limit { .. } => (exit::REFUSED, RAISE_MODEL_LIMIT),
        ModelError::Crash { .. } => (exit::REFUSED, REPORT_MODEL),
        ModelError::Unbounded { .. } | ModelError::Texts { .. } => (exit::REFUSED, BOUND_MODEL),
        ModelError::Check { .. } => (exit::FAILURE, TRY_OUT),
        ModelError::Disagreement { .. } => (
            exit::REFUSED,
            "run it on another backend (--onnxruntime), and report it to the bundle's publisher",
        ),
        ModelError::BackendMissing { .. } | ModelError::DeviceMissing { .. } => (
            exit::FAILURE,
            "give what the model requires (--onnxruntime, --allow-library), or run it on a device that has it",
        ),
        ModelError::UnsupportedOperator { .. }
        | ModelError::ElementType { .. }
        | ModelError::Backend { .. } => (
            exit::FAILURE,
            "run it on another backend (--onnxruntime); `martello infer --capabilities` compares them",
        ),
        ModelError::Malformed { .. } | ModelError::Schema(_) | ModelError::Golden { .. } => {
            (exit::VERIFICATION_FAILED, MEND_BUNDLE)
        }
        ModelError::WrongDigest { .. } => (exit::VERIFICATION_FAILED, FETCH_AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use martello_vocab::ByteCount;

    use super::*;

    #[test]
    fn what_a_rule_or_a_limit_refuses_is_told_from_what_failed() {
        let name = || "guest".parse().unwrap();
        let component = |source| ActivationError::Component { component: name(), source };
        let model = |source| ActivationError::Model { model: name(), source };
        let identified = PlanError::IdentifiedExport { from: "a.b".to_owned(), folder: name() };
        for (error, code) in [
            (ActivationError::Plan(identified), exit::REFUSED),
            (component(LoadError::Imports { refused: Vec::new() }), exit::REFUSED),
            (model(ModelError::TooLarge { found: ByteCount(2), most: ByteCount(1) }), exit::REFUSED),
            (ActivationError::Accepts, exit::VERIFICATION_FAILED),
            (component(LoadError::Link(wasmtime::Error::msg("odd"))), exit::VERIFICATION_FAILED),
            (component(LoadError::Native(NativeError::Unfit(wasmtime::Error::msg("odd")))), exit::FAILURE),
        ] {
            assert_eq!(of_bundle(&error).0, code, "{error}");
        }
        let path = || PathBuf::from("pseudonym.key");
        let exposed = DeviceError::SiteKey(SiteKeyError::Exposed { path: path(), mode: 0o644 });
        assert_eq!(of_device(&exposed).0, exit::REFUSED);
        let short = DeviceError::SiteKey(SiteKeyError::WrongLength { path: path() });
        assert_eq!(of_device(&short).0, exit::FAILURE);
    }
}
