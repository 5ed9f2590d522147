//! A bounded structural check of one DICOM file, before anything else looks at it.
//!
//! [`check`] walks the file once, from the first byte to the last, and refuses what no honest sender writes: another
//! file's head in the preamble, elements out of order, lengths beyond their parents, pixels that cannot be, fragments
//! where there are none to be, bytes behind the end. Its memory is one window of the file and a stack 64 levels deep.
//!
//! What it deliberately does not know: who the file is about, what may leave, how pixels are coded. It writes nothing,
//! so it cannot change a payload: the host sends the same bytes on to the next stage where this one refuses nothing.

mod pixels;
mod preamble;
mod refusal;
mod stage;
mod walk;

pub use refusal::{CODES, Kind, Refusal};
pub use stage::Guard;
pub use walk::{Summary, check};

/// Runs any bytes through the guard: the entry of the fuzz target. What passes reads to its end again.
pub fn fuzz_check(data: &[u8]) {
    use dicom_stream::{Event, SliceSource};
    match check(SliceSource::new(data)) {
        Err(refusal) => assert!(CODES.contains(&refusal.code), "{} is not listed", refusal.code),
        Ok(_) => {
            let read =
                dicom_stream::open(SliceSource::new(data), walk::DICTIONARY).and_then(|(_, mut reader)| {
                    while reader.next_event()? != Event::End {}
                    Ok(())
                });
            assert!(read.is_ok(), "what passed does not read again");
        }
    }
}

martello_guest_sdk::export!(Guard);

#[cfg(test)]
mod tests;
