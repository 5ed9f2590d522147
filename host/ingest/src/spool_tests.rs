//! The spool's promises, without a network.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::Folder;

fn limits(objects: u64, bytes: u64) -> SpoolLimits {
    SpoolLimits { objects, bytes: ByteCount(bytes), object_bytes: ByteCount(bytes) }
}

fn put(spool: &Arc<Spool>, bytes: &[u8]) -> Result<(), Refused> {
    let mut incoming = spool.receive()?;
    incoming.write(bytes)?;
    incoming.keep()
}

fn waiting(spool: &Spool) -> Vec<Found> {
    Folder::open(spool.path()).unwrap().scan().unwrap()
}

/// Everything in the folder but the lock.
fn names(spool: &Spool) -> Vec<String> {
    let entries = fs::read_dir(spool.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != LOCK).collect()
}

#[test]
fn what_is_kept_waits_under_its_digest_and_what_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&folder.path().join("deep/spool"), limits(10, 100)).unwrap();
    put(&spool, b"whole").unwrap();
    let mut half = spool.receive().unwrap();
    half.write(b"half").unwrap();
    assert_eq!(names(&spool).len(), 2);
    assert_eq!(spool.ledger().bytes, 9);
    drop(half);
    let digest = martello_vocab::Digest::of(b"whole").hex();
    assert_eq!(names(&spool), [format!("{digest}.dcm")]);
    assert_eq!(*spool.ledger(), Ledger { objects: 1, bytes: 5 });
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(spool.path()), mode(&waiting(&spool)[0].path)), (0o700, 0o600));
}

#[test]
fn whoever_watches_the_spool_is_told_of_each_object_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(10, 100)).unwrap();
    let mut watch = crate::Watch::begin(&Folder::open(spool.path()).unwrap()).unwrap();
    put(&spool, b"whole").unwrap();
    put(&spool, b"other").unwrap();
    let mut told = Vec::new();
    // Nothing comes of the folder's lock and of temporary names but wakings without events.
    while told.len() < 2 {
        told.extend(watch.wait(std::time::Duration::from_secs(10)).unwrap());
    }
    drop(spool);
    told.extend(watch.wait(std::time::Duration::from_millis(100)).unwrap());
    assert!(
        matches!(&told[..], [crate::Event::Arrived(a), crate::Event::Arrived(b)] if a.name != b.name),
        "{told:?}"
    );
}

#[test]
fn an_object_that_is_sent_again_while_it_waits_is_there_once_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(10, 100)).unwrap();
    put(&spool, b"same").unwrap();
    put(&spool, b"same").unwrap();
    assert_eq!(names(&spool).len(), 1);
    assert_eq!(*spool.ledger(), Ledger { objects: 1, bytes: 4 });
}

#[test]
fn an_object_whose_name_was_perhaps_lost_is_written_anew_when_it_is_sent_again() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(10, 100)).unwrap();
    put(&spool, b"same").unwrap();
    let inode = || fs::metadata(&waiting(&spool)[0].path).unwrap().ino();
    let first = inode();
    spool.names.fail();
    put(&spool, b"same").unwrap();
    assert_ne!(inode(), first, "it stands there as it did");
    assert_eq!((names(&spool).len(), *spool.ledger()), (1, Ledger { objects: 1, bytes: 4 }));
}

#[test]
fn a_full_spool_refuses_until_something_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(2, 10)).unwrap();
    put(&spool, b"12345").unwrap();
    // Bytes of what is being received count too.
    let mut incoming = spool.receive().unwrap();
    incoming.write(b"1234").unwrap();
    assert!(matches!(incoming.write(b"56"), Err(Refused::Full)));
    drop(incoming);
    put(&spool, b"67890").unwrap();
    assert!(matches!(spool.receive(), Err(Refused::Full)));
    spool.release(&waiting(&spool)[0]);
    assert_eq!(*spool.ledger(), Ledger { objects: 1, bytes: 5 });
    put(&spool, b"again").unwrap();
    assert_eq!(names(&spool).len(), 2);
}

#[test]
fn an_object_may_be_too_large_for_a_spool_that_has_room() {
    let folder = tempfile::tempdir().unwrap();
    let limits = SpoolLimits { object_bytes: ByteCount(4), ..limits(2, 10) };
    let spool = Spool::open(folder.path(), limits).unwrap();
    assert!(matches!(put(&spool, b"12345"), Err(Refused::TooLarge)));
    assert_eq!((names(&spool).len(), *spool.ledger()), (0, Ledger::default()));
}

#[test]
fn only_objects_of_the_spool_are_released() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(&folder.path().join("spool"), limits(2, 10)).unwrap();
    let elsewhere = folder.path().join("elsewhere.dcm");
    fs::write(&elsewhere, "1").unwrap();
    let found = |path: &Path| Found { path: path.to_owned(), name: String::new(), length: 1, changed: 0 };
    spool.release(&found(&elsewhere));
    spool.release(&found(&spool.path().join(LOCK)));
    // Gone already: nothing to do, and nothing to count.
    spool.release(&found(&spool.path().join("missing.dcm")));
    assert!(elsewhere.exists() && spool.path().join(LOCK).exists());
    assert_eq!(*spool.ledger(), Ledger::default());
}

#[test]
fn leftovers_are_swept_and_what_waits_is_counted_when_a_spool_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(10, 100)).unwrap();
    put(&spool, b"whole").unwrap();
    drop(spool);
    fs::write(folder.path().join(format!("{TEMPORARY}0")), "half").unwrap();
    let spool = Spool::open(folder.path(), limits(10, 100)).unwrap();
    assert_eq!(names(&spool).len(), 1);
    assert_eq!(*spool.ledger(), Ledger { objects: 1, bytes: 5 });
}

#[test]
fn a_spool_is_received_into_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(10, 100)).unwrap();
    let half = spool.receive().unwrap();
    let second = Spool::open(folder.path(), limits(10, 100));
    assert!(matches!(second, Err(SpoolError::Busy { .. })), "{second:?}");
    assert_eq!(names(&spool).len(), 1, "the second one took away what the first receives");
    drop((half, spool));
    Spool::open(folder.path(), limits(10, 100)).unwrap();
}

#[test]
fn names_are_made_durable_for_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), limits(1000, 100_000)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let spool = &spool;
            scope.spawn(move || {
                (0..10).for_each(|number| put(spool, format!("{thread}-{number}").as_bytes()).unwrap());
            });
        }
    });
    assert_eq!(spool.ledger().objects, 80);
    assert_eq!(spool.names.served(), 81, "and one for the opening");
}

fn bypass(folder: &Path, objects: u64) -> Arc<Queue> {
    let limits = crate::QueueLimits { objects, ..crate::QueueLimits::default() };
    Queue::open(&folder.join("bypass"), limits).unwrap()
}

#[test]
fn an_object_is_in_the_bypass_before_it_is_in_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let queue = bypass(folder.path(), 2);
    let spool =
        Spool::open_with_bypass(&folder.path().join("spool"), limits(9, 99), vec![Arc::clone(&queue)])
            .unwrap();
    put(&spool, b"one").unwrap();
    put(&spool, b"two").unwrap();
    assert_eq!((queue.state_now().waiting, names(&spool).len()), (2, 2));
    // The run is done with it: the bypass still has it.
    spool.release(&waiting(&spool)[0]);
    assert_eq!(
        queue.due(9).iter().map(|item| fs::read(&item.path).unwrap()).collect::<Vec<_>>(),
        [b"one", b"two"]
    );
    // What the bypass cannot take is not taken at all.
    assert!(matches!(put(&spool, b"more"), Err(Refused::Full)));
    assert_eq!(names(&spool).len(), 1);
}

#[test]
fn objects_for_which_the_spool_has_no_room_go_to_the_bypass_alone() {
    let folder = tempfile::tempdir().unwrap();
    let queue = bypass(folder.path(), 5);
    let spool =
        Spool::open_with_bypass(&folder.path().join("spool"), limits(2, 10), vec![Arc::clone(&queue)])
            .unwrap();
    put(&spool, b"12345").unwrap();
    // Full in the middle of the object.
    let mut incoming = spool.receive().unwrap();
    incoming.write(b"abc").unwrap();
    incoming.write(b"def").unwrap();
    assert_eq!(spool.ledger().bytes, 5);
    incoming.keep().unwrap();
    put(&spool, b"67890").unwrap();
    // Full from the beginning.
    put(&spool, b"more").unwrap();
    assert_eq!((names(&spool).len(), spool.passed_by()), (2, 2));
    assert_eq!(*spool.ledger(), Ledger { objects: 2, bytes: 10 });
    assert_eq!(queue.state_now().waiting, 4);
    put(&spool, b"last").unwrap();
    assert!(matches!(put(&spool, b"too much"), Err(Refused::Full)));
    assert_eq!((names(&spool).len(), spool.ledger().bytes), (2, 10));
}

#[test]
fn an_object_that_fits_nowhere_is_refused_before_it_has_filled_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let few = crate::QueueLimits { bytes: ByteCount(10), ..crate::QueueLimits::default() };
    let queue = Queue::open(&folder.path().join("bypass"), few).unwrap();
    let spool = Spool::open_with_bypass(&folder.path().join("spool"), limits(1, 99), vec![queue]).unwrap();
    put(&spool, b"12345").unwrap();
    let mut incoming = spool.receive().unwrap();
    incoming.write(b"abc").unwrap();
    assert!(matches!(incoming.write(b"defg"), Err(Refused::Full)));
}

#[test]
fn a_link_in_the_place_of_the_spool_or_of_its_lock_is_refused_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let root = folder.path().join("received");
    std::os::unix::fs::symlink(elsewhere.path(), &root).unwrap();
    let refused = Spool::open(&root, limits(10, 100));
    assert!(matches!(refused, Err(SpoolError::Link { .. })), "{refused:?}");
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("lock"), root.join(LOCK)).unwrap();
    let refused = Spool::open(&root, limits(10, 100));
    assert!(matches!(refused, Err(SpoolError::Unusable { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
