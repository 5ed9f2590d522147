//! The size of the component's memory at birth.

fn main() {
    // Enough for ordinary objects: each later growth is a system call, and for small files those cost as much as the
    // work itself. Only pages that are touched cost memory.
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg-cdylib=--initial-memory=4194304");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
