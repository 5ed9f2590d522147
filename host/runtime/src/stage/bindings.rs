//! The WIT types of a stage, made from `wit/pipeline`. `wasi:nn` is left out: an extension links it.

wasmtime::component::bindgen!({
    inline: "
        package martello:runtime;
        world stage-host {
            import martello:pipeline/types@0.1.0;
            import martello:pipeline/log@0.1.0;
            export martello:pipeline/stage@0.1.0;
        }
    ",
    path: ["../../wit/deps/wasi-nn", "../../wit/pipeline"],
    world: "martello:runtime/stage-host",
    imports: { default: trappable },
    exports: { default: async },
    require_store_data_send: true,
    with: {
        "martello:pipeline/types.payload": crate::payload::Payload,
        "martello:pipeline/types.sink": crate::stage::link::Sink,
    },
});
