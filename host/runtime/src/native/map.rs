//! The one place where the host takes bytes for machine code.

#![expect(unsafe_code, reason = "native code cannot be checked, only its origin can; see `component`")]

use std::fs::File;
use std::os::fd::AsRawFd;

use wasmtime::Engine;
use wasmtime::component::Component;

/// A file whose MAC has been verified through this very descriptor, or that the compiler has just written into it.
pub(super) struct Vouched<'a>(pub(super) &'a File);

/// Maps native code.
///
/// It goes through `/proc/self/fd`, so that what is mapped is the file that was verified: exchanging the name in
/// between changes nothing. What remains is an attacker who writes into that very file, which is ours alone (mode
/// 0600); such an attacker already is this user.
pub(super) fn component(engine: &Engine, vouched: &Vouched<'_>) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", vouched.0.as_raw_fd());
    // SAFETY: `deserialize_file` asks for a file that wasmtime itself made and that does not change while it is
    // mapped. `Vouched` is made only of such files (see above); the cache replaces files by rename and never
    // writes into one. Version, configuration and CPU features are checked by wasmtime.
    unsafe { Component::deserialize_file(engine, path) }
}
