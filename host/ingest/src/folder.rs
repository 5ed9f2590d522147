//! Listing a folder of inputs.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

/// How deep folders may nest. Deeper ones are reported and left alone.
const DEEPEST: usize = 32;

/// A folder of inputs.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

/// An input file.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Its path under the folder, as text. Different files have different names, for the name is what a file is known
    /// by: a path that is UTF-8 is its own name; in any other, each byte that is not part of a character, and each byte
    /// of a U+FFFD that stands there by itself, is U+FFFD and two hexadecimal digits, and `/` is put at the end, where
    /// no path of a file has it.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// When its content or its attributes were last changed, whichever is later, in nanoseconds since 1970. A writer can
    /// set the first of the two times back; the second is the kernel's, and tells a file put in another's place too.
    pub changed: i64,
}

/// The name may be a patient's.
impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Found");
        shown.field("length", &self.length).field("changed", &self.changed).finish_non_exhaustive()
    }
}

/// What a scan left alone, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignored {
    /// Files and folders whose names begin with a dot.
    pub hidden: u64,
    /// Symbolic links.
    pub links: u64,
    /// Pipes, sockets and devices.
    pub special: u64,
    /// Folders that nest too deep or cannot be read.
    pub folders: u64,
}

impl Ignored {
    /// How many there are of all kinds.
    pub const fn total(&self) -> u64 {
        self.hidden.saturating_add(self.links).saturating_add(self.special).saturating_add(self.folders)
    }

    /// Writes to the log how many there are, where there are any.
    pub fn warn(&self) {
        let Self { hidden, links, special, folders } = self;
        if self.total() > 0 {
            tracing::warn!(hidden, links, special, folders, "a part of the input folder is left alone");
        }
    }
}

/// Inputs that a scan finds, and what it leaves alone.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The inputs, in the order of their names.
    pub found: Vec<Found>,
    /// What is none.
    pub ignored: Ignored,
}

/// What is to be done with a folder that is come upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Take its files, and visit the folders in it.
    Whole,
    /// Visit the folders in it only.
    FoldersOnly,
    /// Leave it alone with everything in it.
    Nothing,
}

/// What can go wrong with inputs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum IngestError {
    #[error("reading the input folder `{path}`")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("watching the input folder `{path}`")]
    Unwatchable { path: PathBuf, source: io::Error },
}

impl Folder {
    /// A folder that exists.
    ///
    /// # Errors
    /// The path is no folder or cannot be read.
    pub fn open(root: &Path) -> Result<Self, IngestError> {
        let unreadable = |source| IngestError::Unreadable { path: root.to_owned(), source };
        let root = root.canonicalize().map_err(unreadable)?;
        fs::read_dir(&root).map_err(unreadable)?;
        Ok(Self { root })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Every input in the folder, in the order of their names.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn scan(&self) -> Result<Vec<Found>, IngestError> {
        Ok(self.survey()?.found)
    }

    /// Every input in the folder, and how much is left alone: links are not followed, and one folder that cannot be read
    /// does not stop its neighbours. Which they are is logged at level debug, for their paths may name patients.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn survey(&self) -> Result<Scanned, IngestError> {
        fs::read_dir(&self.root)
            .map_err(|source| IngestError::Unreadable { path: self.root.clone(), source })?;
        let mut scanned = Scanned::default();
        self.descend(&self.root, &mut scanned, &mut |_| Visit::Whole);
        scanned.found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(scanned)
    }

    /// Collects what is in and under `folder`, which is the root or lies in it, into `scanned`. `visit` is asked about
    /// each folder before it is listed.
    pub(crate) fn descend(
        &self,
        folder: &Path,
        scanned: &mut Scanned,
        visit: &mut dyn FnMut(&Path) -> Visit,
    ) {
        // Counted from the root wherever this begins, so that folders which come one by one go no deeper than a tree
        // that was there at the start.
        let depth = folder.strip_prefix(&self.root).map_or(usize::MAX, |below| below.components().count());
        if depth > DEEPEST {
            scanned.ignored.folders += 1;
            tracing::debug!(path = %folder.display(), depth, "a folder nests too deep and is left alone");
            return;
        }
        let visit_this = visit(folder);
        if visit_this == Visit::Nothing {
            return;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                scanned.ignored.folders += 1;
                tracing::debug!(path = %folder.display(), %error, "a folder cannot be read and is left alone");
                return;
            }
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            let Scanned { found, ignored } = scanned;
            let left_alone = if is_hidden(&path) {
                &mut ignored.hidden
            } else if kind.is_dir() {
                self.descend(&path, scanned, visit);
                continue;
            } else if kind.is_file() {
                if visit_this == Visit::Whole {
                    found.extend(self.look_at(&path));
                }
                continue;
            } else if kind.is_symlink() {
                &mut ignored.links
            } else {
                &mut ignored.special
            };
            *left_alone += 1;
            tracing::debug!(path = %path.display(), "this is left alone");
        }
    }

    /// The input at `path` as it is now, where it is a regular file that is not hidden.
    pub fn look_at(&self, path: &Path) -> Option<Found> {
        if is_hidden(path) {
            return None;
        }
        let metadata = fs::symlink_metadata(path).ok()?;
        if !metadata.is_file() {
            return None;
        }
        let name = name_of(path.strip_prefix(&self.root).ok()?.as_os_str());
        let nanoseconds =
            |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        let changed = nanoseconds(metadata.mtime(), metadata.mtime_nsec())
            .max(nanoseconds(metadata.ctime(), metadata.ctime_nsec()));
        Some(Found { path: path.to_owned(), name, length: metadata.len(), changed })
    }
}

impl Found {
    /// Opens the file for reading; a link put in its place meanwhile is refused, and so is a pipe.
    ///
    /// # Errors
    /// It is gone, unreadable or no regular file any more.
    pub fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(&self.path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Whether nothing was written for `quiet`, as far as the file's time of change tells.
    pub fn is_settled(&self, now: SystemTime, quiet: Duration) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return true };
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let quiet = i64::try_from(quiet.as_nanos()).unwrap_or(i64::MAX);
        // A time of change in the future is a wrong clock, and no reason to wait for ever.
        self.changed > now || now.saturating_sub(self.changed) >= quiet
    }
}

pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_bytes().starts_with(b"."))
}

/// The text of [`Found::name`].
///
/// INVARIANT: different paths have different names; `names_of_different_files_differ` keeps it. Where the text ends in
/// `/`, every U+FFFD in it is followed by the digits of one byte, so the path can be read back.
fn name_of(path: &OsStr) -> String {
    if let Some(text) = path.to_str() {
        return text.to_owned();
    }
    let mut name = String::new();
    let escape = |name: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(name, "\u{fffd}{byte:02x}");
        }
    };
    for chunk in path.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                char::REPLACEMENT_CHARACTER => escape(&mut name, "\u{fffd}".as_bytes()),
                _ => name.push(character),
            }
        }
        escape(&mut name, chunk.invalid());
    }
    name.push('/');
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_finds_files_at_any_depth_and_counts_what_it_leaves_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/c")).unwrap();
        fs::create_dir_all(root.path().join("b/.hidden/of-which-nothing-counts")).unwrap();
        fs::create_dir_all(root.path().join(["deep"; DEEPEST + 1].join("/")).join("too")).unwrap();
        fs::write(root.path().join("b/c/deep.dcm"), "1").unwrap();
        fs::write(root.path().join("a.dcm"), "22").unwrap();
        fs::write(root.path().join(".hidden"), "3").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link.dcm")).unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("folder")).unwrap();
        let pipe = root.path().join("b/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let scanned = Folder::open(root.path()).unwrap().survey().unwrap();
        let names: Vec<_> = scanned.found.iter().map(|f| (f.name.as_str(), f.length)).collect();
        assert_eq!(names, [("a.dcm", 2), ("b/c/deep.dcm", 1)]);
        assert_eq!(scanned.ignored, Ignored { hidden: 2, links: 2, special: 1, folders: 1 });
        assert_eq!(scanned.ignored.total(), 6);
    }

    #[test]
    fn the_name_of_a_file_is_not_shown_for_debugging() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("zzmark")).unwrap();
        fs::write(root.path().join("zzmark/zzmark.dcm"), "1").unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let watch = crate::Watch::begin(&folder).unwrap();
        let shown = format!("{:?} {watch:?}", folder.scan().unwrap());
        assert!(!shown.contains("zzmark") && shown.contains("length: 1"), "{shown}");
    }

    #[test]
    fn a_file_swapped_for_a_link_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.dcm");
        fs::write(&path, "1").unwrap();
        let found = Folder::open(root.path()).unwrap().scan().unwrap().remove(0);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(found.open().is_err());
    }

    #[test]
    fn names_of_different_files_differ() {
        let root = tempfile::tempdir().unwrap();
        let names: [&[u8]; 8] = [
            b"\xff.dcm",
            b"\xfe.dcm",
            "\u{fffd}ff.dcm".as_bytes(),
            "\u{fffd}.dcm".as_bytes(),
            // An escape spelt out, beside a byte that has to be escaped.
            b"\xef\xbf\xbdff\xfe.dcm",
            b"\xff\xfe.dcm",
            "\u{e9}.dcm".as_bytes(),
            b"\xe9.dcm",
        ];
        for name in names {
            fs::write(root.path().join(OsStr::from_bytes(name)), "1").unwrap();
        }
        let found = Folder::open(root.path()).unwrap().scan().unwrap();
        let distinct: std::collections::BTreeSet<_> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(distinct.len(), names.len(), "{distinct:?}");
        for name in ["\u{fffd}ff.dcm/", "\u{fffd}fe.dcm/", "\u{fffd}ff.dcm", "\u{e9}.dcm"] {
            assert!(distinct.contains(name), "{name:?} in {distinct:?}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_another_of_the_same_length_and_time_is_another() {
        let root = tempfile::tempdir().unwrap();
        let (path, aside) = (root.path().join("a.dcm"), root.path().join(".aside"));
        let write = |path: &Path, content: &str| {
            fs::write(path, content).unwrap();
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let folder = Folder::open(root.path()).unwrap();
        write(&path, "one");
        let first = folder.scan().unwrap().remove(0);
        // Times of change are as fine as the kernel's tick.
        std::thread::sleep(Duration::from_millis(20));
        write(&aside, "two");
        fs::rename(&aside, &path).unwrap();
        let second = folder.scan().unwrap().remove(0);
        assert_eq!((&first.name, first.length), (&second.name, second.length));
        assert_ne!(first.changed, second.changed);
    }

    #[test]
    fn a_fresh_file_is_not_settled_and_one_from_the_future_is() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "1").unwrap();
        let found = Folder::open(root.path()).unwrap().scan().unwrap().remove(0);
        let second = Duration::from_secs(1);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(found.changed.unsigned_abs());
        assert!(!found.is_settled(changed + second / 2, second));
        assert!(found.is_settled(changed + second, second));
        assert!(found.is_settled(changed - second, second));
    }
}
