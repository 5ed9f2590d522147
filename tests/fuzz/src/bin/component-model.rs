//! What is read of a component (its interfaces) and of an ONNX model (its tensors) before anything runs.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        fuzz::seed("component.wasm", &martello_bundle::fuzz::component());
        fuzz::cap_mebibytes(64);
    },
    |data: &[u8]| martello_bundle::fuzz::fuzz_component_and_model(data)
);
