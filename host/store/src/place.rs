//! Files that appear under their name whole or not at all.
//!
//! A batch is written under temporary names in the folders where it will stand, made durable together, and renamed.
//! A crash leaves either name, never half a file under the final one; leftovers under temporary names are swept at
//! the next start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How temporary names begin. A leading dot keeps them out of ordinary listings.
const TEMPORARY: &str = ".incoming-";

/// A file that is written but does not stand under its name yet.
#[derive(Debug)]
#[must_use = "a staged file stands under its name only after `settle`"]
pub struct Staged {
    file: File,
    temporary: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Where the file will stand.
    pub fn place(&self) -> &Path {
        &self.place
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Begins a file that will stand at `place`, readable by its owner alone (mode 0600) or, with `open_mode`, by others.
///
/// # Errors
/// The folder does not exist or the disk refuses.
pub fn stage(place: &Path, mode: u32) -> io::Result<Staged> {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a place is a file in a folder"));
    };
    let temporary = folder.join(format!("{TEMPORARY}{}", name.to_string_lossy()));
    let file = File::options().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    Ok(Staged { file, temporary, place: place.to_owned() })
}

/// Makes all files durable, then puts each under its name, then makes the names durable.
///
/// # Errors
/// The disk fails. Files already renamed stay; the caller does not record them, and the next try replaces them.
pub fn settle(batch: Vec<Staged>) -> io::Result<()> {
    for staged in &batch {
        staged.file.sync_all()?;
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for staged in batch {
        fs::rename(&staged.temporary, &staged.place)?;
        if let Some(folder) = staged.place.parent()
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_owned());
        }
    }
    for folder in folders {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Takes away what was written under temporary names and never settled.
///
/// # Errors
/// The folder cannot be read or a leftover cannot be removed.
pub fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_stands_under_its_name_only_after_settling() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.dcm");
        let mut staged = stage(&place, 0o600).unwrap();
        staged.write_all(b"whole").unwrap();
        assert!(!place.exists());
        settle(vec![staged]).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn leftovers_are_swept_and_whole_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.dcm");
        settle(vec![stage(&whole, 0o600).unwrap()]).unwrap();
        let cut_off = stage(&folder.path().join("cut.dcm"), 0o600).unwrap();
        drop(cut_off);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        sweep(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["whole.dcm"]);
    }
}
