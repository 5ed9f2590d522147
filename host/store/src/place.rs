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

/// What makes things last. In tests, one that writes down what it was asked.
trait Disk {
    /// Returns when a file's content, or a folder's names, would outlive a power cut.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Puts a file under another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
}

struct RealDisk;

impl Disk for RealDisk {
    fn sync(&self, path: &Path) -> io::Result<()> {
        // Since Linux 4.17 a descriptor opened later learns of errors that nobody was told of yet.
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

/// Makes a folder and those above it where they are missing, durably: each new name is synced in its parent, so that
/// no file that is durable in the folder loses its way in a power cut.
///
/// # Errors
/// The disk refuses.
pub fn folder(path: &Path, access: Access) -> io::Result<()> {
    folder_on(&RealDisk, path, access)
}

fn folder_on(disk: &dyn Disk, path: &Path, access: Access) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
        let mode = if access == Access::Owner && folder == path { 0o700 } else { 0o777 };
        match DirBuilder::new().mode(mode).create(folder) {
            // Another process made it at the same moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        disk.sync(parent.unwrap_or(Path::new(".")))?;
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
    settle_on(&RealDisk, batch)
}

fn settle_on(disk: &dyn Disk, batch: Vec<Staged>) -> io::Result<()> {
    for staged in &batch {
        if let Some(temporary) = &staged.temporary {
            disk.sync(temporary)?;
        }
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for mut staged in batch {
        if let Some(temporary) = &staged.temporary {
            disk.rename(temporary, &staged.place)?;
            staged.temporary = None;
        }
        if let Some(folder) = staged.place.parent()
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_owned());
        }
    }
    for folder in folders {
        disk.sync(&folder)?;
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

    /// Does as the disk does, and writes down what it was asked.
    #[derive(Default)]
    struct Recording {
        asked: std::cell::RefCell<Vec<String>>,
        fails_at: Option<usize>,
    }

    impl Recording {
        fn ask(&self, what: &str, path: &Path) -> io::Result<()> {
            let name = path.file_name().unwrap().to_string_lossy();
            // Temporary names begin with a number that no test can know.
            let name = name.strip_prefix(TEMPORARY).map_or(name.clone().into_owned(), |rest| {
                format!("temporary {}", rest.split_once('-').unwrap().1)
            });
            let mut asked = self.asked.borrow_mut();
            asked.push(format!("{what} {name}"));
            if self.fails_at == Some(asked.len()) { Err(io::Error::other("worn out")) } else { Ok(()) }
        }
    }

    impl Disk for Recording {
        fn sync(&self, path: &Path) -> io::Result<()> {
            self.ask("sync", path)?;
            RealDisk.sync(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.ask("rename to", to)?;
            RealDisk.rename(from, to)
        }
    }

    #[test]
    fn all_files_are_durable_before_the_first_is_renamed_and_every_folder_after_the_last() {
        let root = tempfile::tempdir().unwrap();
        let batch = || {
            ["images/1.dcm", "findings/1.json", "images/2.dcm"].map(|name| {
                let place = root.path().join(name);
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                stage(&place, 0o600).unwrap().written()
            })
        };
        let disk = Recording::default();
        settle_on(&disk, batch().into()).unwrap();
        let expected = [
            "sync temporary 1.dcm",
            "sync temporary 1.json",
            "sync temporary 2.dcm",
            "rename to 1.dcm",
            "rename to 1.json",
            "rename to 2.dcm",
            "sync images",
            "sync findings",
        ];
        assert_eq!(*disk.asked.borrow(), expected);
        // Wherever the disk fails, the batch is not said to be durable, and nothing is asked afterwards.
        for fails_at in 1..=expected.len() {
            let disk = Recording { fails_at: Some(fails_at), ..Recording::default() };
            settle_on(&disk, batch().into()).unwrap_err();
            assert_eq!(*disk.asked.borrow(), expected[..fails_at]);
        }
    }

    /// Fails where a folder for its owner alone is made to last while others may look into it.
    struct Watching(PathBuf);

    impl Disk for Watching {
        fn sync(&self, _: &Path) -> io::Result<()> {
            assert_eq!(fs::metadata(&self.0)?.permissions().mode() & 0o777, 0o700);
            Ok(())
        }

        fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_owners_folder_is_closed_to_others_from_the_beginning() {
        let root = tempfile::tempdir().unwrap();
        let private = root.path().join("private");
        folder_on(&Watching(private.clone()), &private, Access::Owner).unwrap();
    }

    #[test]
    fn each_folder_that_is_made_is_made_to_last_in_the_one_above_it_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        let disk = Recording::default();
        folder_on(&disk, &root.path().join("a/b/c"), Access::Shared).unwrap();
        assert_eq!(*disk.asked.borrow(), ["sync a", "sync b"]);
        folder_on(&disk, &root.path().join("a/b/c"), Access::Owner).unwrap();
        assert_eq!(disk.asked.borrow().len(), 2);
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
        // Nothing of this program makes a folder of such a name; what it is, nobody knows.
        fs::create_dir(folder.path().join(format!("{TEMPORARY}folder"))).unwrap();
        sweep(folder.path()).unwrap();
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_leftover_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        // Counting begins at none in each process, and other tests of this one have staged a few.
        for count in 0..500 {
            fs::write(folder.path().join(format!("{TEMPORARY}{count}-a.dcm")), "longer").unwrap();
        }
        let mut writing = stage(&folder.path().join("a.dcm"), 0o600).unwrap();
        writing.write_all(b"new").unwrap();
        settle(vec![writing.written()]).unwrap();
        assert_eq!(fs::read(folder.path().join("a.dcm")).unwrap(), b"new");
        assert_eq!(names(folder.path()).len(), 501);
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
        fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
        folder(&deep, Access::Shared).unwrap();
        assert_eq!(mode(&deep), 0o755, "what is there is left as it is");
    }
}
