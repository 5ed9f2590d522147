//! The WIT types of `wasi:nn@0.2.0-rc-2024-10-28`, made from the vendored file.

wasmtime::component::bindgen!({
    path: "../../wit/deps/wasi-nn",
    world: "wasi:nn/ml",
    imports: {
        default: trappable,
        "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
    },
    require_store_data_send: true,
    with: {
        "wasi:nn/tensor.tensor": super::state::HeldTensor,
        "wasi:nn/graph.graph": super::state::HeldGraph,
        "wasi:nn/inference.graph-execution-context": super::state::HeldContext,
        "wasi:nn/errors.error": super::state::HeldError,
    },
});
