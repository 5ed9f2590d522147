//! Connections that have no association yet: so many at once, and whoever says nothing gives way to whoever comes.
//!
//! A connection costs a peer nothing. Were it to hold one of the places that associations have, a few peers that say
//! nothing would shut the port to all others. Here the oldest goes when there is no room: that of the address which
//! has the most, so that a peer only ever pushes out itself and others that take as much as it does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections without an association at once. A thread and two descriptors each; a peer that opens as many associations
/// as a device has by default is in its way with none of them.
pub(crate) const NEWCOMERS: usize = 64;

/// The connections that have no association yet.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By their age.
    newcomers: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    peer: IpAddr,
    stream: TcpStream,
    has_given_way: Arc<AtomicBool>,
}

/// A connection that has no association yet. Dropped when it has one, or has ended.
#[derive(Debug)]
pub(crate) struct Newcomer {
    room: Arc<Room>,
    number: u64,
    has_given_way: Arc<AtomicBool>,
}

impl Room {
    /// Takes a connection in. Where there is no room, another is closed.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr, stream: TcpStream) -> Newcomer {
        let peer = whose(peer);
        let has_given_way = Arc::<AtomicBool>::default();
        let mut waiting = self.waiting();
        if waiting.newcomers.len() >= NEWCOMERS {
            waiting.make_room();
        }
        let number = waiting.next;
        waiting.next = number.wrapping_add(1);
        waiting.newcomers.push(Entry { number, peer, stream, has_given_way: Arc::clone(&has_given_way) });
        Newcomer { room: Arc::clone(self), number, has_given_way }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Closes the oldest connection of the address that has the most of them.
    fn make_room(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for entry in &self.newcomers {
            *counts.entry(entry.peer).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        let goes = self.newcomers.iter().position(|entry| counts.get(&entry.peer) == Some(&most));
        if let Some(goes) = goes {
            let entry = self.newcomers.remove(goes);
            entry.has_given_way.store(true, Ordering::Relaxed);
            // One that is closed already needs no closing.
            let _ = entry.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Newcomer {
    /// Whether it was closed to make room.
    pub(crate) fn has_given_way(&self) -> bool {
        self.has_given_way.load(Ordering::Relaxed)
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        // From here on nobody closes it.
        self.room.waiting().newcomers.retain(|entry| entry.number != self.number);
    }
}

/// Whom an address belongs to: of IPv6, everybody has at least a network of 2^64.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    struct Port(TcpListener);

    impl Port {
        /// A connection: the end of the peer, and ours in the room.
        fn enter(&self, room: &Arc<Room>, peer: &str) -> (TcpStream, Newcomer) {
            let theirs = TcpStream::connect(self.0.local_addr().unwrap()).unwrap();
            theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let ours = self.0.accept().unwrap().0;
            (theirs, room.enter(peer.parse().unwrap(), ours))
        }
    }

    fn peers(room: &Room, peer: &str) -> usize {
        let peer = whose(peer.parse().unwrap());
        room.waiting().newcomers.iter().filter(|entry| entry.peer == peer).count()
    }

    #[test]
    fn the_oldest_of_the_peer_with_the_most_gives_way_and_nobody_elses() {
        let port = Port(TcpListener::bind("127.0.0.1:0").unwrap());
        let room = Arc::<Room>::default();
        let first = port.enter(&room, "192.0.2.1");
        let mut many: Vec<_> = (0..2 * NEWCOMERS).map(|_| port.enter(&room, "192.0.2.2")).collect();
        let late = port.enter(&room, "192.0.2.3");
        assert_eq!(["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|peer| peers(&room, peer)), [1, 62, 1]);
        assert!(!first.1.has_given_way() && !late.1.has_given_way());
        let gone = many.iter().take_while(|(_, newcomer)| newcomer.has_given_way()).count();
        assert_eq!(gone, 2 * NEWCOMERS - 62, "the oldest go");
        assert_eq!(many[0].0.read(&mut [0]).unwrap(), 0, "it is closed");
        drop((first, late, many));
        assert!(room.waiting().newcomers.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_and_an_address_of_ipv4_in_either_form_are_one_peer() {
        let port = Port(TcpListener::bind("127.0.0.1:0").unwrap());
        let room = Arc::<Room>::default();
        let _held: Vec<_> = ["2001:db8::1", "2001:db8::2:0:0:1", "::ffff:192.0.2.1", "192.0.2.1"]
            .map(|peer| port.enter(&room, peer))
            .into();
        assert_eq!(["2001:db8::9", "192.0.2.1"].map(|peer| peers(&room, peer)), [2, 2]);
    }
}
