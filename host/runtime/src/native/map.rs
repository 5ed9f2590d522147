//! The one place where the host takes bytes for machine code.

#![expect(unsafe_code, reason = "native code cannot be checked, only its origin can; see `component`")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A file whose MAC has been verified through this very descriptor, or that the compiler has just written into it.
pub(super) struct Vouched<'a>(pub(super) &'a File);

/// Shows `look` the bytes of a file, without a copy on the heap: they are mapped for that long and charged to nobody
/// afterwards.
pub(super) fn with_bytes<T>(file: &File, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(look(&[]));
    }
    let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
    // SAFETY: a fresh mapping at a place of the kernel's choice touches no memory that Rust knows of.
    let start = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, flags, file, 0) }?;
    let mapping = Mapping { start, length };
    // SAFETY: the mapping is `length` readable bytes and lives until `mapping` is dropped. The file is ours alone
    // and is never written into once it is complete (see `component`).
    let bytes = unsafe { std::slice::from_raw_parts(mapping.start.cast::<u8>(), mapping.length) };
    Ok(look(bytes))
}

struct Mapping {
    start: *mut std::ffi::c_void,
    length: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `length` are what `mmap` gave; nothing refers to the bytes any more. The call can fail
        // only for arguments that are no mapping.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

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
