//! A watched folder in which things come, change and go.

use std::fs;
use std::io::Write;
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(10);

/// Files that are told of, in the order of their names. Turns in which nothing happened for us are passed over.
fn arrivals(watch: &mut Watch, wanted: usize) -> Vec<String> {
    let mut names = Vec::new();
    let begun = Instant::now();
    while names.len() < wanted {
        assert!(begun.elapsed() < LONG, "nothing came in time, only {names:?}");
        for event in watch.wait(LONG).unwrap() {
            match event {
                Event::Arrived(found) | Event::Unsettled(found) if !names.contains(&found.name) => {
                    names.push(found.name);
                }
                _ => {}
            }
        }
    }
    names.sort();
    names
}

/// Waits until the loss of events is told.
fn lost(watch: &mut Watch) {
    let begun = Instant::now();
    while !watch.wait(Duration::from_millis(50)).unwrap().contains(&Event::Lost) {
        assert!(begun.elapsed() < LONG, "no loss was told");
    }
}

#[test]
fn a_file_arrives_when_its_writer_closes_it_and_not_before() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    let mut file = fs::File::create(root.path().join("a.dcm")).unwrap();
    file.write_all(b"half").unwrap();
    file.flush().unwrap();
    // Creating it is an event of its own for the kernel, and none for us.
    assert_eq!(watch.wait(LONG).unwrap(), []);
    file.write_all(b"half").unwrap();
    drop(file);
    let events = watch.wait(LONG).unwrap();
    assert!(
        matches!(&events[..], [Event::Arrived(found)] if found.name == "a.dcm" && found.length == 8),
        "{events:?}"
    );
}

#[test]
fn renamed_files_and_files_in_new_folders_arrive() {
    let root = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("old")).unwrap();
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    fs::write(root.path().join(".part"), "1").unwrap();
    fs::rename(root.path().join(".part"), root.path().join("old/renamed.dcm")).unwrap();
    fs::create_dir(aside.path().join("study")).unwrap();
    fs::write(aside.path().join("study/inside.dcm"), "1").unwrap();
    fs::rename(aside.path().join("study"), root.path().join("study")).unwrap();
    assert_eq!(arrivals(&mut watch, 2), ["old/renamed.dcm", "study/inside.dcm"]);
    fs::write(root.path().join("study/later.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["study/later.dcm"]);
}

/// Makes folders in one another, each with the longest name there is, where no path reaches any more.
fn nest(root: &Path, count: usize) {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = open(root, flags, Mode::empty()).unwrap();
    let name = "n".repeat(255);
    for _ in 0..count {
        mkdirat(&folder, &name, Mode::RWXU).unwrap();
        folder = openat(&folder, &name, flags, Mode::empty()).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_watched_does_not_end_the_watch() {
    let root = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    for folder in [root.path(), aside.path()] {
        fs::create_dir(folder.join("long")).unwrap();
        // 20 of them are longer than a path may be, and fewer than may nest.
        nest(&folder.join("long"), 20);
    }
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    fs::rename(aside.path().join("long"), root.path().join("long-too")).unwrap();
    fs::write(root.path().join("after.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["after.dcm"]);
}

#[test]
fn only_trouble_of_the_whole_device_ends_a_watch() {
    use rustix::io::Errno;
    for errno in [Errno::NOSPC, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
        assert!(tree::is_of_the_device(&errno.into()), "{errno}");
    }
    for errno in [Errno::ACCESS, Errno::NAMETOOLONG, Errno::NOTDIR, Errno::LOOP, Errno::NOENT, Errno::IO] {
        assert!(!tree::is_of_the_device(&errno.into()), "{errno}");
    }
}

#[test]
fn folders_that_come_one_by_one_nest_no_deeper_than_those_that_were_there() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::open(root.path()).unwrap();
    let mut watch = Watch::begin(&folder).unwrap();
    let mut deepest = root.path().to_owned();
    for depth in 1..=40 {
        deepest.push("d");
        fs::create_dir(&deepest).unwrap();
        fs::write(deepest.join("a.dcm"), "1").unwrap();
        if depth <= 32 {
            arrivals(&mut watch, 1);
        }
    }
    fs::write(root.path().join("end.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["end.dcm"], "nothing from below came before");
    assert_eq!(watch.tree.as_ref().unwrap().folders(), 33);
    assert_eq!(folder.scan().unwrap().len(), 33);
}

#[test]
fn hidden_folders_are_left_alone_when_they_come_too() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    fs::create_dir(root.path().join(".hidden")).unwrap();
    assert_eq!(watch.wait(LONG).unwrap(), []);
    fs::write(root.path().join(".hidden/a.dcm"), "1").unwrap();
    fs::write(root.path().join("end.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["end.dcm"]);
}

#[test]
fn folders_that_came_while_events_were_lost_are_watched_when_the_loss_is_told() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    // Two in turn, for the kernel takes equal events that follow one another as one.
    for _ in 0..=most / 2 {
        for name in ["a.dcm", "b.dcm"] {
            drop(fs::File::create(root.path().join(name)).unwrap());
        }
    }
    fs::create_dir_all(root.path().join("new/inner")).unwrap();
    lost(&mut watch);
    fs::write(root.path().join("new/inner/later.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["new/inner/later.dcm"]);
}

#[test]
fn a_folder_that_could_not_be_watched_when_it_came_is_found_later_with_its_files() {
    let root = tempfile::tempdir().unwrap();
    for name in ["known", "missed"] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("early.dcm"), "1").unwrap();
    }
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    // As if it had not let itself be watched.
    let missed = root.path().join("missed").canonicalize().unwrap();
    watch.tree.as_mut().unwrap().forget(&missed);
    assert_eq!(watch.wait(LONG).unwrap(), [], "the kernel tells that the watch is gone");
    watch.tree.as_mut().unwrap().look_for_folders_at = Instant::now();
    assert_eq!(arrivals(&mut watch, 1), ["missed/early.dcm"]);
    fs::write(root.path().join("missed/later.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["missed/later.dcm"]);
}

#[test]
fn a_file_that_is_linked_into_place_is_told_of_with_and_without_its_first_name_and_whoever_reads_it() {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
    let root = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir_in(root.path().parent().unwrap()).unwrap();
    fs::write(aside.path().join("a"), "1").unwrap();
    let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
    fs::hard_link(aside.path().join("a"), root.path().join("two-names.dcm")).unwrap();
    fs::write(root.path().join(".part"), "1").unwrap();
    fs::hard_link(root.path().join(".part"), root.path().join("renamed.dcm")).unwrap();
    fs::remove_file(root.path().join(".part")).unwrap();
    // Somebody looks into it at once.
    drop(fs::File::open(root.path().join("renamed.dcm")).unwrap());
    let unnamed = open(root.path(), OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR).unwrap();
    let unnamed = fs::File::from(unnamed);
    (&unnamed).write_all(b"1").unwrap();
    let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&unnamed));
    let place = root.path().join("unnamed.dcm");
    linkat(CWD, descriptor, CWD, &place, AtFlags::SYMLINK_FOLLOW).unwrap();
    drop(unnamed);
    let writer = fs::File::create(root.path().join("at-work.dcm")).unwrap();
    let told = arrivals(&mut watch, 3);
    assert_eq!(told, ["renamed.dcm", "two-names.dcm", "unnamed.dcm"]);
    drop(writer);
    assert_eq!(arrivals(&mut watch, 1), ["at-work.dcm"]);
}

#[test]
fn a_folder_that_is_gone_is_waited_for_and_told_of_when_it_is_back() {
    let above = tempfile::tempdir().unwrap();
    let (root, aside) = (above.path().join("a/in"), above.path().join("aside"));
    fs::create_dir_all(&root).unwrap();
    let folder = Folder::open(&root).unwrap();
    let mut watch = Watch::begin(&folder).unwrap();
    let soon = Duration::from_millis(20);
    let ways_to_go: [&dyn Fn(); 4] = [
        &|| fs::remove_dir_all(&root).unwrap(),
        &|| fs::rename(&root, &aside).unwrap(),
        // The kernel tells nothing of this.
        &|| fs::rename(above.path().join("a"), &aside).unwrap(),
        // Nor is what is behind a link the folder that was.
        &|| {
            fs::rename(&root, &aside).unwrap();
            std::os::unix::fs::symlink(&aside, &root).unwrap();
        },
    ];
    for (number, go) in ways_to_go.into_iter().enumerate() {
        go();
        for _ in 0..3 {
            assert_eq!(watch.wait(soon).unwrap(), [], "way {number}");
        }
        if root.is_symlink() {
            fs::remove_file(&root).unwrap();
        }
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("early.dcm"), "1").unwrap();
        lost(&mut watch);
        assert_eq!(folder.scan().unwrap().len(), 1);
        fs::write(root.join("sub/later.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["sub/later.dcm"], "way {number}");
        let _ = fs::remove_dir_all(&aside);
    }
}

#[test]
fn a_folder_that_is_made_anew_at_once_is_another_also_under_the_same_number() {
    let above = tempfile::tempdir().unwrap();
    let root = above.path().join("in");
    fs::create_dir(&root).unwrap();
    let mut watch = Watch::begin(&Folder::open(&root).unwrap()).unwrap();
    for _ in 0..20 {
        // File systems give the number of a folder that is gone to the next one.
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();
        fs::write(root.join("early.dcm"), "1").unwrap();
        lost(&mut watch);
    }
    fs::write(root.join("later.dcm"), "1").unwrap();
    assert_eq!(arrivals(&mut watch, 1), ["later.dcm"]);
}
