//! The instances that answer requests, shared among peers: how many there are, how many one peer may have, and who is next
//! when one is free.
//!
//! An instance lives as long as its client takes to send a body and to take the answer, so that a client decides how long
//! one is held. No peer has more than its share, and peers that wait take turns, whatever the number of their requests.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All instances of a component.
pub(super) struct Instances {
    sharing: Mutex<Sharing>,
    /// How many requests wait. It is written under the lock, and read without it.
    waiting: AtomicUsize,
}

struct Sharing {
    free: usize,
    most_of_peer: usize,
    of_peer: HashMap<IpAddr, usize>,
    /// The peers that wait, the next one first.
    ///
    /// INVARIANT: each has a request that waits, and none of them could have an instance now
    /// (`peers_take_turns_and_none_has_more_than_its_share`).
    queues: VecDeque<Queue>,
    /// The number of the next request that waits.
    next: u64,
}

struct Queue {
    peer: IpAddr,
    requests: VecDeque<(u64, oneshot::Sender<Instance>)>,
}

/// The right to one instance. Peers are as [`Place::peer`](super::connections::Place::peer) names them. Dropping
/// it gives it to the next request.
pub(crate) struct Instance {
    instances: Arc<Instances>,
    peer: IpAddr,
}

impl Instances {
    pub(super) fn new(all: usize) -> Self {
        let sharing = Sharing {
            free: all,
            most_of_peer: all.div_ceil(2).max(1),
            of_peer: HashMap::new(),
            queues: VecDeque::new(),
            next: 0,
        };
        Self { sharing: Mutex::new(sharing), waiting: AtomicUsize::new(0) }
    }

    /// Sets how many one peer may have; half of them where nothing was set.
    pub(super) fn limit_peer(&self, most: usize) {
        self.lock().most_of_peer = most.max(1);
    }

    /// Whether a request waits for an instance.
    pub(super) fn are_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// An instance for this peer at once, where one is free and it may have it.
    pub(super) fn try_take(self: &Arc<Self>, peer: IpAddr) -> Option<Instance> {
        let granted = self.lock().grant(peer);
        granted.then(|| Instance { instances: Arc::clone(self), peer })
    }

    /// An instance for this peer, when it is its turn. Dropping the future gives the turn up.
    pub(super) async fn take(self: &Arc<Self>, peer: IpAddr) -> Instance {
        loop {
            let (sender, receiver) = oneshot::channel();
            let number = {
                let mut sharing = self.lock();
                if sharing.grant(peer) {
                    return Instance { instances: Arc::clone(self), peer };
                }
                let number = sharing.queue(peer, sender);
                self.waiting.store(sharing.waiting(), Ordering::Relaxed);
                number
            };
            let _turn = Turn { instances: self, peer, number };
            // The sender goes with the queue, and that only when this is dropped.
            if let Ok(instance) = receiver.await {
                return instance;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sharing> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an instance back, and hands it to the next request.
    fn give_back(self: &Arc<Self>, peer: IpAddr) {
        let mut sharing = self.lock();
        sharing.give_back(peer);
        if sharing.queues.is_empty() {
            return;
        }
        let next = sharing.next();
        self.waiting.store(sharing.waiting(), Ordering::Relaxed);
        drop(sharing);
        if let Some((peer, sender)) = next {
            // The lock is free: an instance that nobody takes any more comes back here as it is dropped.
            drop(sender.send(Instance { instances: Arc::clone(self), peer }));
        }
    }
}

impl Sharing {
    /// Takes an instance, where one is free and the peer may have it.
    fn grant(&mut self, peer: IpAddr) -> bool {
        let held = self.of_peer.get(&peer).copied().unwrap_or(0);
        if self.free == 0 || held >= self.most_of_peer {
            return false;
        }
        self.free = self.free.saturating_sub(1);
        self.of_peer.insert(peer, held.saturating_add(1));
        true
    }

    fn give_back(&mut self, peer: IpAddr) {
        self.free = self.free.saturating_add(1);
        if let Some(held) = self.of_peer.get_mut(&peer) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.of_peer.remove(&peer);
            }
        }
    }

    fn queue(&mut self, peer: IpAddr, sender: oneshot::Sender<Instance>) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        match self.queues.iter_mut().find(|queue| queue.peer == peer) {
            Some(queue) => queue.requests.push_back((number, sender)),
            None => self.queues.push_back(Queue { peer, requests: VecDeque::from([(number, sender)]) }),
        }
        number
    }

    /// The next request that may have an instance, which is taken for it. Its peer's next turn comes after all others'.
    fn next(&mut self) -> Option<(IpAddr, oneshot::Sender<Instance>)> {
        for index in 0..self.queues.len() {
            let peer = self.queues.get(index)?.peer;
            if self.grant(peer) {
                let mut queue = self.queues.remove(index)?;
                let (_, sender) = queue.requests.pop_front()?;
                if !queue.requests.is_empty() {
                    self.queues.push_back(queue);
                }
                return Some((peer, sender));
            }
        }
        None
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.requests.len()).fold(0, usize::saturating_add)
    }

    fn leave(&mut self, peer: IpAddr, number: u64) {
        if let Some(queue) = self.queues.iter_mut().find(|queue| queue.peer == peer) {
            queue.requests.retain(|&(waiting, _)| waiting != number);
        }
        self.queues.retain(|queue| !queue.requests.is_empty());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.instances.give_back(self.peer);
    }
}

/// A place in the queue of a peer.
struct Turn<'a> {
    instances: &'a Instances,
    peer: IpAddr,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut sharing = self.instances.lock();
        sharing.leave(self.peer, self.number);
        self.instances.waiting.store(sharing.waiting(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn now(instances: &Arc<Instances>, last: u8) -> Option<Instance> {
        poll(pin!(instances.take(peer(last))))
    }

    #[test]
    fn peers_take_turns_and_none_has_more_than_its_share() {
        let instances = Arc::new(Instances::new(4));
        let mut held: Vec<Instance> = Vec::new();
        for wanted in [1, 1, 2, 2] {
            held.push(now(&instances, wanted).unwrap());
        }
        assert!(now(&instances, 1).is_none() && now(&instances, 3).is_none());
        assert!(!instances.are_wanted(), "whoever goes away waits no more");
        // The first peer has many requests and came first; the third has one.
        let mut greedy: Vec<_> = (0..3).map(|_| Box::pin(instances.take(peer(1)))).collect();
        assert!(greedy.iter_mut().all(|waits| poll(waits.as_mut()).is_none()));
        let mut late = Box::pin(instances.take(peer(3)));
        assert!(poll(late.as_mut()).is_none() && instances.are_wanted());
        // What the second gives back is for the third: the first has its share.
        drop(held.pop());
        assert!(greedy.iter_mut().all(|waits| poll(waits.as_mut()).is_none()));
        let third = poll(late.as_mut()).unwrap();
        // What the first gives back is for its own next request, and in the order of asking.
        drop(held.remove(0));
        let first = poll(greedy[0].as_mut()).unwrap();
        assert!(poll(greedy[1].as_mut()).is_none());
        drop((greedy, held, third, first));
        let sharing = instances.lock();
        assert!(sharing.queues.is_empty() && sharing.of_peer.is_empty());
        assert_eq!(sharing.free, 4);
    }

    #[test]
    fn many_requests_of_one_peer_do_not_come_before_one_of_another() {
        let instances = Arc::new(Instances::new(2));
        instances.limit_peer(2);
        let held = [now(&instances, 9).unwrap(), now(&instances, 9).unwrap()];
        let mut waiting: Vec<_> = [1, 1, 1, 2].map(|last| Box::pin(instances.take(peer(last)))).into();
        assert!(waiting.iter_mut().all(|waits| poll(waits.as_mut()).is_none()));
        drop(held);
        let served: Vec<_> = waiting.iter_mut().map(|waits| poll(waits.as_mut())).collect();
        let order: Vec<bool> = served.iter().map(Option::is_some).collect();
        assert_eq!(order, [true, false, false, true]);
    }

    #[test]
    fn an_instance_that_nobody_takes_any_more_is_not_lost() {
        let instances = Arc::new(Instances::new(1));
        let held = now(&instances, 1).unwrap();
        let mut gone = Box::pin(instances.take(peer(2)));
        assert!(poll(gone.as_mut()).is_none());
        // It is handed over, and dropped before it is looked at.
        drop(held);
        drop(gone);
        assert!(now(&instances, 3).is_some());
        assert_eq!(instances.lock().free, 1);
    }
}
