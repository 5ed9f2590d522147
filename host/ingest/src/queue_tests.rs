//! The queue's promises, without a network.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use martello_vocab::ByteCount;

use super::*;

fn limits(objects: u64, bytes: u64) -> QueueLimits {
    QueueLimits { objects, bytes: ByteCount(bytes), expiry: None }
}

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("deep/queue")
    }

    fn open(&self, limits: QueueLimits) -> Arc<Queue> {
        Queue::open(&self.root(), limits).unwrap()
    }

    /// A file elsewhere, which is put into the queue.
    fn put(&self, queue: &Queue, content: &str) -> Result<(), PutError> {
        let file = self.folder.path().join("elsewhere");
        fs::write(&file, content).unwrap();
        let opened = File::open(&file).unwrap();
        let put = queue.put(&opened, Digest::of(content.as_bytes()), content.len() as u64);
        // Whatever becomes of the file: it is taken away, not written to.
        fs::remove_file(&file).unwrap();
        put
    }
}

fn contents(queue: &Queue) -> Vec<String> {
    queue.due(usize::MAX).iter().map(|item| fs::read_to_string(&item.path).unwrap()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != LOCK && name != KEPT).collect();
    names.sort();
    names
}

#[test]
fn objects_wait_in_the_order_in_which_they_came_and_outlast_the_process_and_the_file() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    for content in ["c", "a", "b"] {
        bench.put(&queue, content).unwrap();
    }
    assert_eq!(contents(&queue), ["c", "a", "b"]);
    let mode = fs::metadata(queue.root.clone()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    drop(queue);
    fs::write(bench.root().join(format!("{TEMPORARY}7")), "half").unwrap();
    let queue = bench.open(limits(10, 100));
    bench.put(&queue, "d").unwrap();
    assert_eq!(contents(&queue), ["c", "a", "b", "d"]);
    assert_eq!(queue.state_now(), QueueState { waiting: 4, kept: 0, bytes: 4, delivered: 0 });
    queue.delivered(&queue.due(1)[0]);
    assert_eq!(contents(&queue), ["a", "b", "d"]);
    drop(queue);
    assert_eq!(contents(&bench.open(limits(10, 100))), ["a", "b", "d"]);
}

#[test]
fn an_object_that_waits_already_waits_once_and_one_that_was_delivered_waits_again() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    bench.put(&queue, "same").unwrap();
    bench.put(&queue, "same").unwrap();
    assert_eq!(queue.state_now().waiting, 1);
    queue.delivered(&queue.due(1)[0]);
    bench.put(&queue, "same").unwrap();
    assert_eq!(queue.state_now(), QueueState { waiting: 1, kept: 0, bytes: 4, delivered: 1 });
}

#[test]
fn what_is_to_wait_lets_others_by() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    ["a", "b"].iter().for_each(|content| bench.put(&queue, content).unwrap());
    let first = queue.due(1).remove(0);
    queue.later(&first, Duration::from_secs(3600));
    assert_eq!(contents(&queue), ["b"]);
    queue.delivered(&queue.due(1)[0]);
    assert!(!queue.wait(Duration::from_millis(20)), "nothing may be tried for an hour");
    queue.later(&first, Duration::from_millis(50));
    assert!(queue.wait(Duration::from_secs(20)));
    assert_eq!(queue.due(1)[0].attempts, 2);
}

#[test]
fn whoever_waits_is_woken_by_an_object_and_by_the_end() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| queue.wait(Duration::from_secs(60)));
        bench.put(&queue, "a").unwrap();
        assert!(waits.join().unwrap());
        queue.delivered(&queue.due(1)[0]);
        let begun = Instant::now();
        let waits = scope.spawn(|| queue.wait(Duration::from_secs(60)));
        queue.close();
        assert!(!waits.join().unwrap());
        assert!(begun.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn a_full_queue_refuses_or_lets_wait_until_there_is_room() {
    let bench = Bench::new();
    let queue = bench.open(limits(2, 10));
    bench.put(&queue, "12345").unwrap();
    assert!(matches!(bench.put(&queue, "678901"), Err(PutError::Full)));
    bench.put(&queue, "67890").unwrap();
    assert!(!queue.takes(0));
    let file = bench.folder.path().join("file");
    let put = |content: &str| {
        fs::remove_file(&file).ok();
        fs::write(&file, content).unwrap();
        let handing_over = queue.hand_over();
        let opened = File::open(&file).unwrap();
        handing_over.put_when_there_is_room(&opened, Digest::of(content.as_bytes()), 1)?;
        handing_over.settle()
    };
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| put("x"));
        queue.delivered(&queue.due(1)[0]);
        waits.join().unwrap().unwrap();
        assert_eq!(contents(&queue), ["67890", "x"]);
        let waits = scope.spawn(|| put("y"));
        queue.close();
        assert!(matches!(waits.join().unwrap(), Err(PutError::Closed)));
    });
}

#[test]
fn an_object_larger_than_the_queue_goes_through_alone() {
    let bench = Bench::new();
    let queue = bench.open(limits(2, 4));
    bench.put(&queue, "12345").unwrap();
    assert!(matches!(bench.put(&queue, "6"), Err(PutError::Full)));
}

#[test]
fn what_is_not_delivered_is_kept_under_a_name_that_says_why_and_can_be_tried_again() {
    let bench = Bench::new();
    let queue = bench.open(limits(3, 100));
    for (content, why) in [("a", Kept::Refused(0xC000)), ("b", Kept::NotAccepted), ("c", Kept::Changed)] {
        bench.put(&queue, content).unwrap();
        queue.keep(&queue.due(1)[0], why);
    }
    let kept = names(&bench.root().join(KEPT));
    let endings = [".refused-by-peer.C000.dcm", ".not-accepted.dcm", ".changed.dcm"];
    assert!(kept.iter().zip(endings).all(|(name, ending)| name.ends_with(ending)), "{kept:?}");
    assert_eq!(queue.state_now(), QueueState { waiting: 0, kept: 3, bytes: 3, delivered: 0 });
    // As many again may be kept as may wait; beyond, they go on waiting, and nothing is thrown away.
    bench.put(&queue, "d").unwrap();
    queue.keep(&queue.due(1)[0], Kept::Changed);
    assert_eq!(queue.state_now(), QueueState { waiting: 1, kept: 3, bytes: 4, delivered: 0 });
    drop(queue);
    let queue = bench.open(limits(10, 100));
    assert_eq!(queue.state_now(), QueueState { waiting: 1, kept: 3, bytes: 4, delivered: 0 });
    assert_eq!(queue.take_up_again().unwrap(), 3);
    assert_eq!(contents(&queue), ["d", "a", "b", "c"]);
    assert_eq!(queue.state_now(), QueueState { waiting: 4, kept: 0, bytes: 4, delivered: 0 });
    assert!(names(&bench.root().join(KEPT)).is_empty());
}

#[test]
fn what_has_waited_too_long_is_kept_also_where_it_came_before_the_start() {
    let bench = Bench::new();
    let expiry = Some(Duration::from_secs(3600));
    let queue = bench.open(QueueLimits { expiry, ..limits(10, 100) });
    bench.put(&queue, "old").unwrap();
    bench.put(&queue, "new").unwrap();
    queue.expire();
    assert_eq!(queue.state_now().waiting, 2);
    let old = File::options().write(true).open(&queue.due(1)[0].path).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    drop(queue);
    let queue = bench.open(QueueLimits { expiry, ..limits(10, 100) });
    queue.expire();
    assert_eq!(contents(&queue), ["new"]);
    assert!(names(&bench.root().join(KEPT))[0].ends_with(".expired.dcm"));
}

#[test]
fn an_object_that_somebody_took_away_is_not_waited_for() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    ["a", "b"].iter().for_each(|content| bench.put(&queue, content).unwrap());
    let items = queue.due(2);
    items.iter().for_each(|item| fs::remove_file(&item.path).unwrap());
    queue.keep(&items[0], Kept::NotAccepted);
    queue.unreadable(&items[1]);
    assert_eq!(queue.state_now(), QueueState::default());
}

#[test]
fn a_queue_is_delivered_from_by_one_at_a_time() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    let second = Queue::open(&bench.root(), limits(10, 100));
    assert!(matches!(second, Err(QueueError::Busy { .. })), "{second:?}");
    drop(queue);
    bench.open(limits(10, 100));
}

#[test]
fn what_was_perhaps_lost_is_written_anew_and_not_only_synced_again() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    let inode = || fs::metadata(&queue.due(1)[0].path).unwrap().ino();
    bench.put(&queue, "same").unwrap();
    let first = inode();
    bench.put(&queue, "same").unwrap();
    assert_eq!(inode(), first, "it waits already");
    // Somebody was told that a name could not be made durable; perhaps it was this one.
    let handing_over = queue.hand_over();
    queue.names.fail();
    assert!(matches!(handing_over.settle(), Err(PutError::Disk(_))), "it may have relied on that name");
    bench.put(&queue, "same").unwrap();
    assert_ne!(inode(), first, "it stands there as it did");
    assert_eq!((contents(&queue), queue.state_now().waiting), (vec!["same".to_owned()], 1));
    assert_eq!(names(&bench.root()).len(), 1);
}

#[test]
fn what_is_put_is_the_file_that_was_opened_whatever_stands_under_its_name_since() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    let file = bench.folder.path().join("file");
    fs::write(&file, "object").unwrap();
    let opened = File::open(&file).unwrap();
    let secret = bench.folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::rename(&file, bench.folder.path().join("aside")).unwrap();
    std::os::unix::fs::symlink(&secret, &file).unwrap();
    queue.put(&opened, Digest::of(b"object"), 6).unwrap();
    // One without a name is copied.
    let mut unnamed = tempfile::tempfile_in(bench.folder.path()).unwrap();
    std::io::Write::write_all(&mut unnamed, b"unnamed").unwrap();
    queue.put(&unnamed, Digest::of(b"unnamed"), 7).unwrap();
    assert_eq!(contents(&queue), ["object", "unnamed"]);
}

#[test]
fn numbers_that_end_all_counting_or_are_there_twice_lose_no_object() {
    let bench = Bench::new();
    let queue = bench.open(limits(10, 100));
    bench.put(&queue, "a").unwrap();
    drop(queue);
    let place = |number: u64, content: &str| {
        bench.root().join(super::names::name(number, &Digest::of(content.as_bytes())))
    };
    for (number, content) in [(0, "b"), (u64::MAX, "c"), (u64::MAX - 1, "d")] {
        fs::write(place(number, content), content).unwrap();
    }
    fs::write(bench.root().join(KEPT).join("ffffffffffffffff-0.dcm"), "x").unwrap();
    let kept = format!("{}.changed.dcm", stem(u64::MAX, &Digest::of(b"k")));
    fs::write(bench.root().join(KEPT).join(kept), "k").unwrap();
    let queue = bench.open(limits(10, 100));
    bench.put(&queue, "e").unwrap();
    bench.put(&queue, "f").unwrap();
    let mut all = contents(&queue);
    // Which of two with one number comes first is no matter; the others keep their order.
    let behind = all.split_off(2);
    assert_eq!(behind, ["d", "c", "e", "f"]);
    all.sort();
    assert_eq!(all, ["a", "b"]);
    assert_eq!(queue.take_up_again().unwrap(), 1);
    assert_eq!(queue.state_now(), QueueState { waiting: 7, kept: 0, bytes: 7, delivered: 0 });
    drop(queue);
    assert_eq!(contents(&bench.open(limits(10, 100))).len(), 7);
}

#[test]
fn what_is_tried_again_is_not_too_old_for_the_next_start_either() {
    let bench = Bench::new();
    let limits = QueueLimits { expiry: Some(Duration::from_secs(3600)), ..limits(10, 100) };
    let queue = bench.open(limits);
    bench.put(&queue, "old").unwrap();
    let old = File::options().write(true).open(&queue.due(1)[0].path).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    drop(queue);
    let queue = bench.open(limits);
    queue.expire();
    assert_eq!(queue.take_up_again().unwrap(), 1);
    drop(queue);
    let queue = bench.open(limits);
    queue.expire();
    assert_eq!(contents(&queue), ["old"]);
}

#[test]
fn files_of_others_are_left_alone() {
    let bench = Bench::new();
    drop(bench.open(limits(10, 100)));
    for name in ["notes.txt", "x-1.dcm", "0000000000000001-12.dcm"] {
        fs::write(bench.root().join(name), "1").unwrap();
    }
    assert_eq!(bench.open(limits(10, 100)).state_now(), QueueState::default());
    assert_eq!(names(&bench.root()).len(), 3);
}

#[test]
fn a_link_in_the_place_of_a_queue_is_refused() {
    let bench = Bench::new();
    drop(bench.open(limits(10, 100)));
    let elsewhere = bench.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for place in [bench.root().join(KEPT), bench.root()] {
        fs::remove_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        let refused = Queue::open(&bench.root(), limits(10, 100));
        assert!(matches!(refused, Err(QueueError::Link { .. })), "{refused:?}");
        fs::remove_file(place).unwrap();
    }
}
