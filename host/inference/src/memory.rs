//! Buffers for tensors: aligned to 64 bytes, and kept for the next one, because fresh pages cost more than copies.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Alignment of a buffer's bytes: a cache line, and the widest vector register.
const ALIGNMENT: usize = 64;

/// Bytes that may lie idle in the pool of this process.
const MOST_IDLE_BYTES: usize = 256 << 20;

/// Buffers below this size are not worth keeping.
const SMALLEST_KEPT: usize = 4 << 10;

/// From this size on a copy takes so much longer than starting a thread (some 30 µs) that two share it.
const COPIED_BY_TWO: usize = 8 << 20;

static IDLE: Mutex<Idle> = Mutex::new(Idle { bytes: 0, by_size: BTreeMap::new() });

/// Idle storage by its size class.
struct Idle {
    bytes: usize,
    by_size: BTreeMap<usize, Vec<Vec<u8>>>,
}

/// Copies `bytes` into a buffer of the pool that is aligned to 64 bytes. The buffer goes back when the last handle is
/// dropped.
///
/// INVARIANT: a buffer's storage holds what its last owner left, and only the range that was just overwritten is ever
/// handed out (`a_buffer_never_shows_what_the_one_before_held`).
pub(crate) fn copied(bytes: &[u8]) -> Bytes {
    if bytes.is_empty() {
        return Bytes::new();
    }
    let mut storage = taken(bytes.len());
    let start = storage.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let end = start.saturating_add(bytes.len());
    if let Some(target) = storage.get_mut(start..end) {
        copy(target, bytes);
    }
    Bytes::from_owner(Pooled { storage, start, end })
}

/// Copies; what is large, by two threads, since one alone does not fill the memory bus.
fn copy(target: &mut [u8], source: &[u8]) {
    if source.len() < COPIED_BY_TWO || target.len() != source.len() {
        target.copy_from_slice(source);
        return;
    }
    let half = source.len() / 2;
    let ((first, second), (low, high)) = (target.split_at_mut(half), source.split_at(half));
    std::thread::scope(|scope| {
        scope.spawn(|| second.copy_from_slice(high));
        first.copy_from_slice(low);
    });
}

/// Storage with room for `length` bytes at any alignment.
fn taken(length: usize) -> Vec<u8> {
    let size = size_class(length);
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(storage) = idle.by_size.get_mut(&size).and_then(Vec::pop) {
        idle.bytes = idle.bytes.saturating_sub(size);
        return storage;
    }
    drop(idle);
    vec![0; size]
}

/// The size of the storage: at most an eighth more than asked for, so that sizes that differ a little share.
fn size_class(length: usize) -> usize {
    let wanted = length.saturating_add(ALIGNMENT).max(SMALLEST_KEPT);
    let step = wanted.next_power_of_two() / 16;
    wanted.div_ceil(step).saturating_mul(step)
}

struct Pooled {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.storage.get(self.start..self.end).unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        let size = storage.len();
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.bytes.saturating_add(size) <= MOST_IDLE_BYTES {
            idle.bytes = idle.bytes.saturating_add(size);
            idle.by_size.entry(size).or_default().push(storage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_comes_back_after_use() {
        let size = 5_000_011;
        let address = copied(&vec![7; size]).as_ptr() as usize;
        assert_eq!(address % ALIGNMENT, 0);
        assert_eq!(copied(&vec![8; size]).as_ptr() as usize, address);
    }

    #[test]
    fn a_buffer_never_shows_what_the_one_before_held() {
        drop(copied(&[0xAA; 6_000_000]));
        let second = copied(&[1; 5_990_000]);
        assert_eq!(second.len(), 5_990_000);
        assert!(second.iter().all(|&byte| byte == 1));
    }

    #[test]
    fn a_large_copy_is_whole() {
        let bytes: Vec<u8> = (0..=250_u8).cycle().take(COPIED_BY_TWO + 3).collect();
        assert!(copied(&bytes) == bytes);
    }

    #[test]
    fn size_classes_cover_what_is_asked_for_and_waste_at_most_an_eighth() {
        for length in (1..3_000_000_usize).step_by(9_973) {
            let size = size_class(length);
            assert!(size >= length + ALIGNMENT);
            assert!(length < SMALLEST_KEPT || size <= (length + ALIGNMENT) * 9 / 8 + 1, "{length}: {size}");
        }
    }
}
