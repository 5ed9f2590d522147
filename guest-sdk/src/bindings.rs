//! The generated bindings: the only code here that we did not write.

wit_bindgen::generate!({
    path: ["../wit/deps/wasi-nn", "../wit/pipeline"],
    world: "martello:pipeline/stage-component",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_stage_component",
    default_bindings_module: "martello_guest_sdk::bindings",
});
