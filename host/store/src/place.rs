//! Files that appear under their name whole or not at all.
//!
//! A batch is written under temporary names in the folders where it will stand, made durable together, and renamed.
//! A crash leaves either name, never half a file under the final one; leftovers under temporary names are swept at
//! the next start.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How temporary names begin. A leading dot keeps them out of ordinary listings.
const TEMPORARY: &str = ".incoming-";

/// Who may look into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone (mode 0700), also where the folder was there before with another mode.
    Owner,
    /// Whom the process's umask lets.
    Shared,
}

/// Makes a folder and those above it where they are missing, durably: each new name is synced in its parent, so that
/// no file that is durable in the folder loses its way in a power cut.
///
/// # Errors
/// The disk refuses.
pub fn folder(path: &Path, access: Access) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
        let mode = if access == Access::Owner && folder == path { 0o700 } else { 0o777 };
        match DirBuilder::new().mode(mode).create(folder) {
            // Another process made it at the same moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    if access == Access::Owner && fs::metadata(path)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// A file that is being written and does not stand under its name yet. Dropped before it is [`written`](Self::written),
/// it is gone.
#[derive(Debug)]
pub struct Writing {
    file: File,
    staged: Staged,
}

/// A file that is written but does not stand under its name yet. It holds no descriptor: a batch may have more files
/// than a process may open. Dropped before it is settled, it is gone.
#[derive(Debug)]
#[must_use = "a staged file stands under its name only after `settle`"]
pub struct Staged {
    /// None once the file stands at its place.
    temporary: Option<PathBuf>,
    place: PathBuf,
}

impl Writing {
    /// Closes the file.
    pub fn written(self) -> Staged {
        self.staged
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // What cannot be removed now is swept at the next start.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Begins a file that will stand at `place` with `mode`, under a temporary name that no other file of the folder has.
///
/// # Errors
/// The folder does not exist or the disk refuses.
pub fn stage(place: &Path, mode: u32) -> io::Result<Writing> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a place is a file in a folder"));
    };
    loop {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{TEMPORARY}{count}-{}", name.to_string_lossy()));
        match File::options().write(true).create_new(true).mode(mode).open(&temporary) {
            // Left over by a process that was ended.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                let staged = Staged { temporary: Some(temporary), place: place.to_owned() };
                return Ok(Writing { file, staged });
            }
        }
    }
}

/// Makes all files durable, then puts each under its name, then makes the names durable.
///
/// # Errors
/// The disk fails. Files already renamed stay; the caller does not record them, and the next try replaces them.
pub fn settle(batch: Vec<Staged>) -> io::Result<()> {
    for staged in &batch {
        if let Some(temporary) = &staged.temporary {
            // Since Linux 4.17 a descriptor opened later learns of errors that nobody was told of yet.
            File::open(temporary)?.sync_all()?;
        }
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for mut staged in batch {
        if let Some(temporary) = &staged.temporary {
            fs::rename(temporary, &staged.place)?;
            staged.temporary = None;
        }
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

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_stands_under_its_name_only_after_settling() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.dcm");
        let mut writing = stage(&place, 0o600).unwrap();
        writing.write_all(b"whole").unwrap();
        let staged = writing.written();
        assert!(!place.exists());
        settle(vec![staged]).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"whole");
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn two_files_for_one_place_do_not_disturb_each_other_and_the_last_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.dcm");
        let [one, two] = [b"first", b"later"].map(|bytes| {
            let mut writing = stage(&place, 0o600).unwrap();
            writing.write_all(bytes).unwrap();
            writing.written()
        });
        settle(vec![one]).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"first");
        settle(vec![two]).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"later");
        assert_eq!(names(folder.path()), ["a.dcm"]);
    }

    #[test]
    fn a_file_that_is_not_settled_is_gone_and_a_settled_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let half = stage(&folder.path().join("half.dcm"), 0o600).unwrap();
        let unsettled = stage(&folder.path().join("unsettled.dcm"), 0o600).unwrap().written();
        settle(vec![stage(&folder.path().join("whole.dcm"), 0o600).unwrap().written()]).unwrap();
        assert_eq!(names(folder.path()).len(), 3);
        drop((half, unsettled));
        assert_eq!(names(folder.path()), ["whole.dcm"]);
    }

    #[test]
    fn a_staged_file_holds_no_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let held = || {
            let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
            let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
            targets.filter(|target| target.starts_with(folder.path())).count()
        };
        let writing = stage(&folder.path().join("a"), 0o600).unwrap();
        assert_eq!(held(), 1);
        let staged = writing.written();
        assert_eq!(held(), 0);
        drop(staged);
    }

    #[test]
    fn leftovers_of_an_ended_process_are_swept_and_whole_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        settle(vec![stage(&folder.path().join("whole.dcm"), 0o600).unwrap().written()]).unwrap();
        fs::write(folder.path().join(format!("{TEMPORARY}7-cut.dcm")), "half").unwrap();
        sweep(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["whole.dcm"]);
    }

    #[test]
    fn a_folder_is_made_with_those_above_it_and_an_owners_folder_is_closed_to_others() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let deep = root.path().join("a/b/private");
        folder(&deep, Access::Owner).unwrap();
        assert_eq!(mode(&deep), 0o700);
        assert_ne!(mode(deep.parent().unwrap()), 0o700);
        // One that stood open before.
        fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
        folder(&deep, Access::Owner).unwrap();
        assert_eq!(mode(&deep), 0o700);
        folder(&deep, Access::Shared).unwrap();
        assert_eq!(mode(&deep), 0o700, "what is there is left as it is");
    }
}
