//! What stands under a name is whole, what is durable was asked for in the right order, and no link leads out.

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn names(folder: &Path) -> Vec<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// A folder, and the tree in it.
fn tree() -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::open(folder.path()).unwrap();
    (folder, tree)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_stands_under_its_name_only_after_settling() {
    let (folder, tree) = tree();
    let place = folder.path().join("a.dcm");
    let mut writing = tree.stage("a.dcm", 0o600).unwrap();
    writing.write_all(b"whole").unwrap();
    let staged = writing.written();
    assert!(!place.exists());
    settle(vec![staged]).unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"whole");
    assert_eq!(mode(&place), 0o600);
}

/// Does as the disk does, and writes down what it was asked.
#[derive(Default)]
struct Recording {
    asked: RefCell<Vec<String>>,
    fails_at: Option<usize>,
}

impl Recording {
    fn ask(&self, what: &str, name: &str) -> io::Result<()> {
        // Temporary names begin with a number that no test can know.
        let name = name
            .strip_prefix(TEMPORARY)
            .map_or(name.to_owned(), |rest| format!("temporary {}", rest.split_once('-').unwrap().1));
        let mut asked = self.asked.borrow_mut();
        asked.push(format!("{what} {name}"));
        if self.fails_at == Some(asked.len()) { Err(io::Error::other("worn out")) } else { Ok(()) }
    }
}

impl Disk for Recording {
    fn sync(&self, opened: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.ask("sync", name)?;
        RealDisk.sync(opened, name)
    }

    fn rename(&self, folder: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
        self.ask("rename to", to)?;
        RealDisk.rename(folder, from, to)
    }
}

#[test]
fn all_files_are_durable_before_the_first_is_renamed_and_every_folder_after_the_last() {
    let (folder, tree) = tree();
    let batch = || {
        ["images/1.dcm", "findings/1.json", "images/2.dcm"].map(|place| {
            fs::create_dir_all(folder.path().join(place).parent().unwrap()).unwrap();
            tree.stage(place, 0o600).unwrap().written()
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
    fn sync(&self, _: BorrowedFd<'_>, _: &str) -> io::Result<()> {
        assert_eq!(mode(&self.0), 0o700);
        Ok(())
    }

    fn rename(&self, _: BorrowedFd<'_>, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_owners_folder_is_closed_to_others_from_the_beginning() {
    let (folder, tree) = tree();
    tree.folder_on(&Watching(folder.path().join("private")), "private", Access::Owner).unwrap();
}

#[test]
fn each_folder_that_is_made_is_made_to_last_in_the_one_above_it_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("a")).unwrap();
    let disk = Recording::default();
    let tree = Tree::make_on(&disk, &root.path().join("a/b/c")).unwrap();
    assert_eq!(*disk.asked.borrow(), ["sync a", "sync b"]);
    tree.folder_on(&disk, "d", Access::Shared).unwrap();
    tree.folder_on(&disk, "d", Access::Owner).unwrap();
    Tree::make_on(&disk, &root.path().join("a/b/c")).unwrap();
    // The second time too: whoever made it may have been killed before it was made to last.
    assert_eq!(*disk.asked.borrow(), ["sync a", "sync b", "sync c", "sync c"]);
}

#[test]
fn two_files_for_one_place_do_not_disturb_each_other_and_the_last_one_stays() {
    let (folder, tree) = tree();
    let [one, two] = [b"first", b"later"].map(|bytes| {
        let mut writing = tree.stage("a.dcm", 0o600).unwrap();
        writing.write_all(bytes).unwrap();
        writing.written()
    });
    settle(vec![one]).unwrap();
    assert_eq!(fs::read(folder.path().join("a.dcm")).unwrap(), b"first");
    settle(vec![two]).unwrap();
    assert_eq!(fs::read(folder.path().join("a.dcm")).unwrap(), b"later");
    assert_eq!(names(folder.path()), ["a.dcm"]);
}

#[test]
fn a_file_that_is_not_settled_is_gone_and_a_settled_one_stays() {
    let (folder, tree) = tree();
    let half = tree.stage("half.dcm", 0o600).unwrap();
    let unsettled = tree.stage("unsettled.dcm", 0o600).unwrap().written();
    settle(vec![tree.stage("whole.dcm", 0o600).unwrap().written()]).unwrap();
    assert_eq!(names(folder.path()).len(), 3);
    drop((half, unsettled));
    assert_eq!(names(folder.path()), ["whole.dcm"]);
}

#[test]
fn a_staged_file_holds_no_descriptor() {
    let (folder, tree) = tree();
    tree.folder("images", Access::Shared).unwrap();
    let held = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        targets.filter(|target| target.starts_with(folder.path().join("images"))).count()
    };
    let writing = tree.stage("images/a", 0o600).unwrap();
    assert_eq!(held(), 1);
    let staged = writing.written();
    assert_eq!(held(), 0);
    drop(staged);
}

#[test]
fn leftovers_of_an_ended_process_are_swept_and_whole_files_stay() {
    let (folder, tree) = tree();
    settle(vec![tree.stage("whole.dcm", 0o600).unwrap().written()]).unwrap();
    fs::write(folder.path().join(format!("{TEMPORARY}7-cut.dcm")), "half").unwrap();
    tree.sweep().unwrap();
    assert_eq!(names(folder.path()), ["whole.dcm"]);
    // Nothing of this program makes a folder of such a name; what it is, nobody knows.
    fs::create_dir(folder.path().join(format!("{TEMPORARY}folder"))).unwrap();
    tree.sweep().unwrap();
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_leftover_is_not_written_over() {
    let (folder, tree) = tree();
    // Counting begins at none in each process, and other tests of this one have staged a few.
    for count in 0..500 {
        fs::write(folder.path().join(format!("{TEMPORARY}{count}-a.dcm")), "longer").unwrap();
    }
    let mut writing = tree.stage("a.dcm", 0o600).unwrap();
    writing.write_all(b"new").unwrap();
    settle(vec![writing.written()]).unwrap();
    assert_eq!(fs::read(folder.path().join("a.dcm")).unwrap(), b"new");
    assert_eq!(names(folder.path()).len(), 501);
}

#[test]
fn a_folder_is_made_with_those_above_it_and_an_owners_folder_is_closed_to_others() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::make(&root.path().join("a/b")).unwrap();
    let deep = root.path().join("a/b/private");
    tree.folder("private", Access::Owner).unwrap();
    assert_eq!(mode(&deep), 0o700);
    assert_ne!(mode(deep.parent().unwrap()), 0o700);
    // One that stood open before.
    fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
    tree.folder("private", Access::Owner).unwrap();
    assert_eq!(mode(&deep), 0o700);
    fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
    tree.folder("private", Access::Shared).unwrap();
    assert_eq!(mode(&deep), 0o755, "what is there is left as it is");
}

#[test]
fn a_link_in_the_place_of_a_folder_or_a_file_is_refused_and_nothing_lands_behind_it() {
    let (folder, tree) = tree();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("file"), "theirs").unwrap();
    // One staged before its folder is swapped for a link.
    fs::create_dir(folder.path().join("images")).unwrap();
    let staged = ["images/1", "images/2"].map(|place| tree.stage(place, 0o600).unwrap().written());
    fs::rename(folder.path().join("images"), folder.path().join("aside")).unwrap();
    symlink(elsewhere.path(), folder.path().join("images")).unwrap();
    symlink(elsewhere.path().join("file"), folder.path().join("file")).unwrap();
    symlink(elsewhere.path().join("none"), folder.path().join("dangling")).unwrap();
    fn refused<T>(what: &str, done: io::Result<T>) {
        let error = done.err().unwrap_or_else(|| panic!("{what}: a link was followed"));
        assert!(Link::is_cause_of(&error), "{what}: {error:?}");
    }
    refused("settle", settle(staged.into()));
    for access in [Access::Owner, Access::Shared] {
        refused("folder", tree.folder("images", access));
    }
    refused("stage", tree.stage("images/a", 0o600));
    refused("unnamed", tree.unnamed("images"));
    refused("names", tree.names("images").map(Iterator::count));
    refused("remove", tree.remove("images/file"));
    for place in ["images/file", "file", "dangling"] {
        refused(place, tree.length(place));
        refused(place, tree.read(place));
        refused(place, tree.append(place));
        refused(place, tree.lock_file(place));
    }
    assert_eq!(names(elsewhere.path()), ["file"]);
    assert_eq!(fs::read(elsewhere.path().join("file")).unwrap(), b"theirs");
    // A file that is settled takes a link's place.
    let mut writing = tree.stage("file", 0o600).unwrap();
    writing.write_all(b"ours").unwrap();
    settle(vec![writing.written()]).unwrap();
    assert_eq!(fs::read(elsewhere.path().join("file")).unwrap(), b"theirs");
    assert_eq!(tree.length("file").unwrap(), Some(4));
    // Whoever names a tree may mean a link.
    assert!(Tree::open(&folder.path().join("images")).is_ok());
}

#[test]
fn places_lie_in_the_tree_and_what_is_no_file_is_none() {
    let (folder, tree) = tree();
    for place in ["", "..", "a/", "/a", "../a", "a/../b", "a/b/c", "./a"] {
        assert_eq!(tree.length(place).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{place:?}");
    }
    assert_eq!((tree.length("a").unwrap(), tree.length("a/b").unwrap()), (None, None));
    assert_eq!(tree.names("a").unwrap().count(), 0);
    // Nobody writes into the pipe, and it is not waited for.
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    tree.folder("folder", Access::Shared).unwrap();
    for place in ["pipe", "folder"] {
        assert!(tree.length(place).is_err() && tree.read(place).is_err(), "{place}");
    }
}

#[test]
fn an_unnamed_file_holds_what_is_written_and_stands_nowhere() {
    let (folder, tree) = tree();
    tree.folder("private", Access::Owner).unwrap();
    let mut file = tree.unnamed("private").unwrap();
    file.write_all(b"copy").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4);
    assert_eq!(names(&folder.path().join("private")).len(), 0);
    assert_eq!(tree.unnamed("missing").unwrap_err().kind(), io::ErrorKind::NotFound);
}
