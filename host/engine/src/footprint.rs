//! What an idle process gives back.

#![expect(
    unsafe_code,
    reason = "giving pages back is a call on addresses; see `release_range` and `release_heap`"
)]

use std::io;

use rustix::mm::{Advice, madvise};

/// Gives back what an idle process does not need.
pub(crate) fn release() {
    release_code();
    release_heap();
}

/// Gives the pages of this program's code and constants back to the kernel. Loading and proving models runs through
/// megabytes of code that an idle device does not need; what is needed again comes back from the page cache, or from
/// the file where memory was wanted elsewhere.
fn release_code() {
    if let Err(error) = own_code().map(|ranges| ranges.iter().for_each(release_range)) {
        tracing::debug!(%error, "code pages stay");
    }
}

/// Gives the heap's free pages back to the kernel, which glibc keeps for each thread that ever worked. Other C libraries
/// have no such call.
fn release_heap() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            /// `malloc_trim(3)`.
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: the function may be called by any thread at any time (MT-Safe) and touches free memory alone.
        let _nothing_to_give = unsafe { malloc_trim(0) };
    }
}

/// Address and length of a part of the program's file that is mapped and was never written to.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    length: usize,
}

fn release_range(range: &Range) {
    // SAFETY: `range` is a private mapping of this program's file that nobody can write to and, by `parse`, never
    // could: its pages are those of the file, and come back as they were when they are touched.
    let released = unsafe {
        madvise(std::ptr::with_exposed_provenance_mut(range.start), range.length, Advice::LinuxDontNeed)
    };
    if let Err(error) = released {
        tracing::debug!(%error, "code pages stay");
    }
}

fn own_code() -> io::Result<Vec<Range>> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(|line| parse(line, program.to_str()?)).collect())
}

/// A line of `/proc/self/maps` (`proc_pid_maps(5)`): the program's code, or the constants at the beginning of its
/// file. Read-only parts further behind may be relocations, which were written to before they were made read-only.
fn parse(line: &str, program: &str) -> Option<Range> {
    let (fields, path) = line.split_at_checked(line.find('/')?)?;
    let mut fields = fields.split_ascii_whitespace();
    let (addresses, permissions, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_untouched =
        permissions == "r-xp" || (permissions == "r--p" && offset.bytes().all(|digit| digit == b'0'));
    if path != program || !is_untouched {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (address(start)?, address(end)?);
    Some(Range { start, length: end.checked_sub(start)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_first_constants_of_the_program_are_taken_and_nothing_else() {
        let maps = "55d0c0000000-55d0c0400000 r--p 00000000 08:01 42    /usr/bin/martello
55d0c0400000-55d0c1000000 r-xp 003ff000 08:01 42    /usr/bin/martello
55d0c1000000-55d0c1100000 r--p 00ffe000 08:01 42    /usr/bin/martello
55d0c1100000-55d0c1110000 rw-p 010fd000 08:01 42    /usr/bin/martello
55d0c2000000-55d0c2021000 rw-p 00000000 00:00 0     [heap]
7f0000000000-7f0000100000 r-xp 00028000 08:01 43    /usr/lib/libc.so.6
7f0000200000-7f0000300000 r-xp 00000000 08:01 44    /usr/bin/martello-compile";
        let found: Vec<_> = maps.lines().filter_map(|line| parse(line, "/usr/bin/martello")).collect();
        let expected = [(0x55d0_c000_0000, 0x40_0000), (0x55d0_c040_0000, 0xC0_0000)];
        assert_eq!(found, expected.map(|(start, length)| Range { start, length }));
    }

    #[test]
    fn released_code_still_runs_and_constants_read_the_same() {
        static WORDS: [&str; 3] = ["still", "the", "same"];
        let before = WORDS.concat();
        assert!(!own_code().unwrap().is_empty());
        release_code();
        assert_eq!(WORDS.concat(), before);
    }
}
