//! Files that appear under their name whole or not at all, in folders that no link leads out of.
//!
//! A batch is written under temporary names in the folders where it will stand, made durable together, and renamed.
//! A crash leaves either name, never half a file under the final one; leftovers under temporary names are swept at
//! the next start.
//!
//! INVARIANT: nothing in a [`Tree`] is reached through a symbolic link, whoever put it there: what stands in it may
//! identify a person. Each name is opened in the folder above it with `O_NOFOLLOW`, so that a link which is put there
//! later is refused too. Kept by `a_link_in_the_place_of_a_folder_or_a_file_is_refused_and_nothing_lands_behind_it`.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How temporary names begin. A leading dot keeps them out of ordinary listings.
const TEMPORARY: &str = ".incoming-";
/// How a folder is opened. Where a link stands in its place, the kernel refuses.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a file is opened. Where a pipe stands in its place, nobody waits for its other end.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// A folder of this process's own with what it makes in it. A place in it is named as `file` or `folder/file`.
#[derive(Debug, Clone)]
pub struct Tree {
    folder: Arc<OwnedFd>,
    path: PathBuf,
}

/// Who may look into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone (mode 0700), also where the folder was there before with another mode.
    Owner,
    /// Whom the process's umask lets.
    Shared,
}

/// A symbolic link stands where a folder or a file of this process belongs. It comes inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("`{path}` is a link, and nothing is written or read through one")]
pub struct Link {
    /// Where it stands.
    pub path: PathBuf,
}

impl Link {
    /// Whether this is why something could not be done.
    pub fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// Whether a disk is full, over its quota or fails, so that the same may go well when there is room again.
pub fn is_of_the_disk(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// What makes things last. In tests, one that writes down what it was asked.
trait Disk {
    /// Returns when a file's content, or a folder's names, would outlive a power cut.
    fn sync(&self, opened: BorrowedFd<'_>, name: &str) -> io::Result<()>;

    /// Puts a file of a folder under another name.
    fn rename(&self, folder: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()>;
}

struct RealDisk;

impl Disk for RealDisk {
    fn sync(&self, opened: BorrowedFd<'_>, _name: &str) -> io::Result<()> {
        Ok(fs::fsync(opened)?)
    }

    fn rename(&self, folder: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(folder, from, folder, to)?)
    }
}

impl Tree {
    /// Makes a folder and those above it where they are missing, durably: each new name is synced in its parent, so that
    /// no file that is durable in the folder loses its way in a power cut. Links on the way to it are followed: whoever
    /// names it may mean one.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn make(path: &Path) -> io::Result<Self> {
        Self::make_on(&RealDisk, path)
    }

    fn make_on(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
            match DirBuilder::new().mode(0o777).create(folder) {
                // Another process made it at the same moment.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            disk.sync(File::open(parent)?.as_fd(), &name_of(parent))?;
        }
        Self::open(path)
    }

    /// A folder that is there.
    ///
    /// # Errors
    /// It is none, or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let folder = Arc::new(fs::open(&path, FOLDER, Mode::empty())?);
        Ok(Self { folder, path })
    }

    /// Where the folder stood when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in this one where it is missing, durably, and opens it.
    ///
    /// # Errors
    /// The disk refuses, or something else stands there.
    pub fn folder(&self, name: &str, access: Access) -> io::Result<Self> {
        self.folder_on(&RealDisk, name, access)
    }

    fn folder_on(&self, disk: &dyn Disk, name: &str, access: Access) -> io::Result<Self> {
        let mode = match access {
            Access::Owner => Mode::RWXU,
            Access::Shared => Mode::RWXU | Mode::RWXG | Mode::RWXO,
        };
        match fs::mkdirat(&self.folder, plain(name)?, mode) {
            Err(Errno::EXIST) => {}
            made => made?,
        }
        // One that is there may have been made just before a crash, too.
        disk.sync(self.folder.as_fd(), &name_of(&self.path))?;
        let folder = self.enter(name)?;
        let is_open_to_others = fs::fstat(&folder)?.st_mode & 0o777 != 0o700;
        if access == Access::Owner && is_open_to_others {
            fs::fchmod(&folder, Mode::RWXU)?;
        }
        Ok(Self { folder, path: self.path.join(name) })
    }

    /// Begins a file that will stand at `place` with `mode`, under a temporary name that no other file of the folder
    /// has.
    ///
    /// # Errors
    /// The folder does not exist or the disk refuses.
    pub fn stage(&self, place: &str, mode: u32) -> io::Result<Writing> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let (above, name) = split(place)?;
        let folder = self.enter(above)?;
        let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let temporary = format!("{TEMPORARY}{count}-{name}");
            match fs::openat(&folder, &temporary, flags, Mode::from_raw_mode(mode)) {
                // Left over by a process that was ended.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
                Ok(file) => {
                    let (above, name) = (above.to_owned(), name.to_owned());
                    let staged = Staged { tree: self.clone(), above, name, temporary: Some(temporary) };
                    return Ok(Writing { file: File::from(file), staged });
                }
            }
        }
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    /// It is no regular file, or cannot be read.
    pub fn read(&self, place: &str) -> io::Result<File> {
        self.file(place, OFlags::RDONLY)
    }

    /// Opens a file to write at its end.
    ///
    /// # Errors
    /// It is no regular file, or cannot be written.
    pub fn append(&self, place: &str) -> io::Result<File> {
        self.file(place, OFlags::WRONLY | OFlags::APPEND)
    }

    /// Opens a file that holds nothing and is there to be locked.
    pub(crate) fn lock_file(&self, place: &str) -> io::Result<File> {
        self.file(place, OFlags::WRONLY | OFlags::CREATE)
    }

    fn file(&self, place: &str, flags: OFlags) -> io::Result<File> {
        let (above, name) = split(place)?;
        let folder = self.enter(above)?;
        let file = fs::openat(&folder, name, FILE | flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.why_not(&folder, above, name, errno))?;
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// A file in a folder of this one that has no name, and is gone when it is closed.
    ///
    /// # Errors
    /// The folder does not exist or the disk refuses.
    pub fn unnamed(&self, folder: &str) -> io::Result<File> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let folder = self.enter(folder)?;
        let (flags, owner) = (FILE | OFlags::RDWR, Mode::RUSR | Mode::WUSR);
        match fs::openat(&folder, ".", flags | OFlags::TMPFILE, owner) {
            // A file system without such files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            opened => return Ok(File::from(opened?)),
        }
        loop {
            let name = format!("{TEMPORARY}unnamed-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
            match fs::openat(&folder, &name, flags | OFlags::CREATE | OFlags::EXCL, owner) {
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
                Ok(file) => {
                    fs::unlinkat(&folder, &name, AtFlags::empty())?;
                    return Ok(File::from(file));
                }
            }
        }
    }

    /// The length in bytes of the regular file at a place; none where nothing is there.
    ///
    /// # Errors
    /// Something else stands there, or a folder cannot be read.
    pub fn length(&self, place: &str) -> io::Result<Option<u64>> {
        let (above, name) = split(place)?;
        let folder = match self.enter(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            folder => folder?,
        };
        let found = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            found => found?,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Ok(Some(u64::try_from(found.st_size).unwrap_or(0))),
            _ => Err(self.why_not(&folder, above, name, Errno::INVAL)),
        }
    }

    /// The names in a folder of this one, in no order; none where it does not exist.
    ///
    /// # Errors
    /// It is no folder, or cannot be read.
    pub fn names(&self, folder: &str) -> io::Result<impl Iterator<Item = io::Result<OsString>>> {
        let entries = match self.enter(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            folder => Some(fs::Dir::read_from(folder?)?),
        };
        let names = entries.into_iter().flatten().map(|entry| {
            entry.map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec())).map_err(Into::into)
        });
        Ok(names.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")))
    }

    /// Takes a file away.
    ///
    /// # Errors
    /// It is not there, or the disk refuses.
    pub fn remove(&self, place: &str) -> io::Result<()> {
        let (above, name) = split(place)?;
        Ok(fs::unlinkat(&self.enter(above)?, name, AtFlags::empty())?)
    }

    /// Takes away what was written under temporary names in this folder and never settled.
    ///
    /// # Errors
    /// The folder cannot be read or a leftover cannot be removed.
    pub fn sweep(&self) -> io::Result<()> {
        for entry in fs::Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.to_bytes().starts_with(TEMPORARY.as_bytes()) {
                continue;
            }
            let found = fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                fs::unlinkat(&self.folder, name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// A folder in this one; this one itself where the name is empty.
    fn enter(&self, name: &str) -> io::Result<Arc<OwnedFd>> {
        if name.is_empty() {
            return Ok(Arc::clone(&self.folder));
        }
        let opened = fs::openat(&self.folder, plain(name)?, FOLDER, Mode::empty());
        opened.map(Arc::new).map_err(|errno| self.why_not(&self.folder, "", name, errno))
    }

    /// The error for a name that could not be opened: kernels tell of a link in several ways.
    fn why_not(&self, folder: &OwnedFd, above: &str, name: &str, errno: Errno) -> io::Error {
        let found = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink) {
            return io::Error::other(Link { path: self.path.join(above).join(name) });
        }
        errno.into()
    }
}

/// A place as the folder that it lies in, which may be empty, and its name there.
fn split(place: &str) -> io::Result<(&str, &str)> {
    match place.rsplit_once('/') {
        None => Ok(("", plain(place)?)),
        Some((above, name)) => Ok((plain(above)?, plain(name)?)),
    }
}

/// A name that leads nowhere else.
fn plain(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a place is a file in a folder"));
    }
    Ok(name)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file that is being written and does not stand under its name yet. Dropped before it is [`written`](Self::written),
/// it is gone.
#[derive(Debug)]
pub struct Writing {
    file: File,
    staged: Staged,
}

/// A file that is written but does not stand under its name yet. It holds no descriptor of its own: a batch may have
/// more files than a process may open. Dropped before it is settled, it is gone.
#[derive(Debug)]
#[must_use = "a staged file stands under its name only after `settle`"]
pub struct Staged {
    tree: Tree,
    above: String,
    name: String,
    /// None once the file stands at its place.
    temporary: Option<String>,
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
            let _ = self.tree.enter(&self.above).map(|folder| {
                let _ = fs::unlinkat(&folder, temporary, AtFlags::empty());
            });
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

fn settle_on(disk: &dyn Disk, mut batch: Vec<Staged>) -> io::Result<()> {
    let mut folders = Folders::default();
    for staged in &batch {
        if let Some(temporary) = &staged.temporary {
            // Since Linux 4.17 a descriptor opened later learns of errors that nobody was told of yet.
            let file = fs::openat(folders.of(staged)?, temporary, FILE | OFlags::RDONLY, Mode::empty())?;
            disk.sync(file.as_fd(), temporary)?;
        }
    }
    for staged in &mut batch {
        if let Some(temporary) = &staged.temporary {
            disk.rename(folders.of(staged)?.as_fd(), temporary, &staged.name)?;
            staged.temporary = None;
        }
    }
    folders.0.iter().try_for_each(|(_, above, folder)| disk.sync(folder.as_fd(), above))
}

/// The folders of a batch, each opened once.
#[derive(Default)]
struct Folders(Vec<(Arc<OwnedFd>, String, Arc<OwnedFd>)>);

impl Folders {
    fn of(&mut self, staged: &Staged) -> io::Result<Arc<OwnedFd>> {
        let known = self
            .0
            .iter()
            .find(|(tree, above, _)| Arc::ptr_eq(tree, &staged.tree.folder) && *above == staged.above);
        if let Some((_, _, folder)) = known {
            return Ok(Arc::clone(folder));
        }
        let folder = staged.tree.enter(&staged.above)?;
        self.0.push((Arc::clone(&staged.tree.folder), staged.above.clone(), Arc::clone(&folder)));
        Ok(folder)
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
