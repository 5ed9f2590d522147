//! What the targets share: a cap on the memory that a target may hold, and seeds that are made rather than kept.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The allocator of all targets. libFuzzer's own limit on allocations needs a sanitizer, which stable Rust has not;
/// its limit on the resident set looks once a second. This one counts each byte that the code under test holds, and
/// ends the process at the one that is too many, so that the input is kept like that of any crash.
struct Capped;

static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);
static HELD: AtomicUsize = AtomicUsize::new(0);

fn charge(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if held > MOST.load(Ordering::Relaxed) {
        MOST.store(usize::MAX, Ordering::Relaxed);
        eprintln!("fuzz: {bytes} bytes more make {held}, which the target must not hold");
        std::process::abort();
    }
}

// SAFETY: every request goes on to the system's allocator unchanged; what is counted decides nothing of its answer.
unsafe impl GlobalAlloc for Capped {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        charge(layout.size());
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        charge(layout.size());
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        charge(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Capped = Capped;

/// Caps what the target holds at once from here on.
pub fn cap_mebibytes(most: usize) {
    MOST.store(HELD.load(Ordering::Relaxed).saturating_add(most << 20), Ordering::Relaxed);
}

/// Puts a seed into the folder that `cargo xtask fuzz` names; without one, nothing is written.
pub fn seed(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("MARTELLO_FUZZ_SEEDS")
        && let Err(error) = std::fs::write(Path::new(&folder).join(name), bytes)
    {
        eprintln!("fuzz: writing seed {name}: {error}");
    }
}

/// Seeds from the golden streams of `dicom-codec`, those of one codec.
pub fn seed_code_streams(codec: &str) {
    let lines = include_str!("../../../components/dicom-codec/tests/golden/streams.txt").lines();
    for (number, line) in lines.enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let &[kind, rows, columns, samples, bits_allocated, _, _, stream] = words.as_slice() else { continue };
        let number_of = |text: &str| text.parse().unwrap_or(1);
        let shape = dicom_codec::Shape {
            rows: number_of(rows),
            columns: number_of(columns),
            samples: number_of(samples),
            bits_allocated: bits_allocated.parse().unwrap_or(8),
        };
        let byte = |at: usize| stream.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Vec<u8> = (0..stream.len()).step_by(2).filter_map(byte).collect();
        if kind == codec {
            seed(&format!("golden-{number}"), &dicom_codec::fuzz_input(&shape, &bytes));
        }
    }
}

/// Lets panics of other people's codecs pass: in the sandbox they are a trap, and the input is in quarantine. A panic
/// of our own code, or of the standard library under it, still ends the process.
pub fn let_foreign_panics_pass() {
    let ours = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let foreign = panic.location().is_some_and(|place| place.file().contains("/registry/src/"));
        if !foreign {
            ours(panic);
        }
    }));
}
