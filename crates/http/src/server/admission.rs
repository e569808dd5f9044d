//! Who may come in: connections whose handshake has not begun, and limits for each address.

use crate::metrics::ConnectionFault;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// A client is not called silent before: its hello may be on its way.
const HELLO_GRACE: Duration = Duration::from_millis(50);

/// An address that opens many connections at once is not called to order before: most of their handshakes are over by then.
const ADDRESS_GRACE: Duration = Duration::from_secs(1);

/// How many connections there may be; 0 is no limit for an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections whose handshake has not begun, of all addresses; at least 1.
    pub(super) not_begun: usize,
    /// Connections of one address whose handshake is not over.
    pub(super) handshakes_per_address: usize,
    /// Connections of one address.
    pub(super) connections_per_address: usize,
}

/// The client's side of a connection, for the limits: whoever has one address of an IPv6 /64 has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Source {
    V4(u32),
    V6Network(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            // The shift leaves no more than 64 bits.
            IpAddr::V6(address) => Self::V6Network(u64::try_from(address.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

/// Lets connections in. A client that says nothing never keeps out one that does: where room is short, one of an address
/// over its limit is closed, else the one that has been silent for longest.
#[derive(Debug)]
pub(super) struct Door {
    limits: Limits,
    state: Mutex<State>,
    /// A connection that had not begun has begun or gone.
    room: Notify,
}

/// No larger than the connections that there are.
#[derive(Debug, Default)]
struct State {
    next_id: u64,
    /// Connections whose handshake is not over, by age.
    handshakes: BTreeMap<u64, Handshake>,
    /// Those of them whose client has not spoken.
    silent: BTreeSet<u64>,
    /// How many of them have not begun: silent ones, and those that wait for their turn.
    not_begun: usize,
    sources: HashMap<Source, Counts>,
    /// Those that have more handshakes than they may.
    over: BTreeSet<Source>,
}

#[derive(Debug)]
struct Handshake {
    source: Source,
    since: Instant,
    begun: bool,
    displace: oneshot::Sender<ConnectionFault>,
}

/// The connections of one source.
#[derive(Debug, Default)]
struct Counts {
    /// Those whose handshake is not over, by age.
    handshakes: BTreeSet<u64>,
    open: usize,
}

impl Door {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default(), room: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more connection can come in: there is room, or a connection that can make room.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.room.notified();
            let silent_at = {
                let state = self.lock();
                if state.not_begun < self.limits.not_begun.max(1) || state.oldest_of_those_over().is_some() {
                    return;
                }
                state.oldest_silent().map(|(_, since)| since + HELLO_GRACE)
            };
            match silent_at {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => return,
                },
            }
        }
    }

    /// A connection over which a handshake is to come, and the news that it has to make room for another.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<(Visitor, Displaced), ConnectionFault> {
        let source = Source::from(address);
        let mut state = self.lock();
        self.check_connections(&state, source)?;
        if state.not_begun >= self.limits.not_begun.max(1) {
            if let Some(id) = state.oldest_of_those_over() {
                self.displace(&mut state, id, ConnectionFault::AddressLimit);
            } else if let Some((id, _)) = state.oldest_silent() {
                self.displace(&mut state, id, ConnectionFault::Silent);
            }
        }
        let id = state.next_id;
        state.next_id += 1;
        let displaced = self.insert(&mut state, source, id, Stage::Silent);
        let now = Instant::now();
        while let Some(id) = state.oldest_of(source).filter(|_| state.over.contains(&source)) {
            if state.handshakes.get(&id).is_none_or(|oldest| now.duration_since(oldest.since) < ADDRESS_GRACE) {
                break;
            }
            self.displace(&mut state, id, ConnectionFault::AddressLimit);
        }
        drop(state);
        Ok((Visitor { door: Arc::clone(self), source, id, stage: Stage::Silent }, displaced))
    }

    /// A connection without a handshake.
    pub(super) fn admit_plain(self: &Arc<Self>, address: IpAddr) -> Result<Visitor, ConnectionFault> {
        let source = Source::from(address);
        let mut state = self.lock();
        self.check_connections(&state, source)?;
        state.sources.entry(source).or_default().open += 1;
        drop(state);
        Ok(Visitor { door: Arc::clone(self), source, id: 0, stage: Stage::Open })
    }

    fn check_connections(&self, state: &State, source: Source) -> Result<(), ConnectionFault> {
        let limit = self.limits.connections_per_address;
        let count = state.sources.get(&source).map_or(0, |counts| counts.handshakes.len() + counts.open);
        if limit > 0 && count >= limit { Err(ConnectionFault::AddressLimit) } else { Ok(()) }
    }

    /// There is no means left to accept another connection: an eighth of the silent ones goes, the oldest first. Says how many.
    pub(super) fn shed(&self) -> usize {
        let mut state = self.lock();
        let count = state.silent.len().div_ceil(8);
        let oldest: Vec<u64> = state.silent.iter().copied().take(count).collect();
        oldest.into_iter().for_each(|id| self.displace(&mut state, id, ConnectionFault::Silent));
        count
    }

    fn insert(&self, state: &mut State, source: Source, id: u64, stage: Stage) -> Displaced {
        let (displace, displaced) = oneshot::channel();
        state.handshakes.insert(id, Handshake { source, since: Instant::now(), begun: false, displace });
        if stage == Stage::Silent {
            state.silent.insert(id);
        }
        state.not_begun += 1;
        state.sources.entry(source).or_default().handshakes.insert(id);
        self.judge(state, source);
        Displaced(displaced)
    }

    /// Takes a connection out of those whose handshake is not over, if it still is there.
    fn remove(&self, state: &mut State, id: u64) -> Option<Handshake> {
        let handshake = state.handshakes.remove(&id)?;
        state.silent.remove(&id);
        if !handshake.begun {
            state.not_begun -= 1;
        }
        if let Some(counts) = state.sources.get_mut(&handshake.source) {
            counts.handshakes.remove(&id);
        }
        self.judge(state, handshake.source);
        Some(handshake)
    }

    /// Closes a connection, unless its client has spoken just now; from here on it takes no room.
    fn displace(&self, state: &mut State, id: u64, fault: ConnectionFault) {
        if let Some(handshake) = self.remove(state, id) {
            // One that is just leaving by itself does not hear it.
            let _ = handshake.displace.send(fault);
        }
    }

    /// Notes whether a source is over its limit, and forgets it with its last connection.
    fn judge(&self, state: &mut State, source: Source) {
        let limit = self.limits.handshakes_per_address;
        let counts = state.sources.get(&source);
        if limit > 0 && counts.is_some_and(|counts| counts.handshakes.len() > limit) {
            state.over.insert(source);
        } else {
            state.over.remove(&source);
        }
        if counts.is_some_and(|counts| counts.handshakes.is_empty() && counts.open == 0) {
            state.sources.remove(&source);
        }
    }
}

impl State {
    fn oldest_silent(&self) -> Option<(u64, Instant)> {
        let id = *self.silent.first()?;
        self.handshakes.get(&id).map(|handshake| (id, handshake.since))
    }

    fn oldest_of(&self, source: Source) -> Option<u64> {
        self.sources.get(&source)?.handshakes.first().copied()
    }

    /// The oldest connection that has not begun of an address over its limit.
    fn oldest_of_those_over(&self) -> Option<u64> {
        let not_begun = |id: &u64| self.handshakes.get(id).is_some_and(|handshake| !handshake.begun);
        let of_source = |source: &Source| self.sources.get(source)?.handshakes.iter().copied().find(not_begun);
        self.over.iter().find_map(of_source)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Silent,
    Waiting,
    Begun,
    Open,
}

/// The news that a connection has to make room.
#[derive(Debug)]
pub(super) struct Displaced(oneshot::Receiver<ConnectionFault>);

impl Displaced {
    /// Resolves with the reason for which it has to.
    pub(super) async fn fault(self) -> ConnectionFault {
        match self.0.await {
            Ok(fault) => fault,
            // Nobody can displace it any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// One connection's place in the counts, given back when dropped.
#[derive(Debug)]
pub(super) struct Visitor {
    door: Arc<Door>,
    source: Source,
    id: u64,
    stage: Stage,
}

impl Visitor {
    /// The client has spoken; its connection waits for its turn, also if it was about to be closed for its silence.
    pub(super) fn spoke(&mut self) -> Displaced {
        let mut state = self.door.lock();
        self.door.remove(&mut state, self.id);
        self.stage = Stage::Waiting;
        self.door.insert(&mut state, self.source, self.id, self.stage)
    }

    /// Its turn has come: the handshake begins.
    pub(super) fn begins(&mut self) {
        let mut state = self.door.lock();
        if let Some(handshake) = state.handshakes.get_mut(&self.id).filter(|handshake| !handshake.begun) {
            handshake.begun = true;
            state.not_begun -= 1;
        }
        drop(state);
        self.stage = Stage::Begun;
        self.door.room.notify_one();
    }

    /// The handshake has succeeded.
    pub(super) fn opened(&mut self) {
        if self.stage != Stage::Open {
            let mut state = self.door.lock();
            // First, so that the source is not forgotten between.
            state.sources.entry(self.source).or_default().open += 1;
            self.door.remove(&mut state, self.id);
            self.stage = Stage::Open;
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut state = self.door.lock();
        match self.stage {
            // One that was displaced takes no room already.
            Stage::Silent | Stage::Waiting | Stage::Begun => drop(self.door.remove(&mut state, self.id)),
            Stage::Open => {
                if let Some(counts) = state.sources.get_mut(&self.source) {
                    counts.open -= 1;
                }
                self.door.judge(&mut state, self.source);
            }
        }
        drop(state);
        self.door.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectionFault::{AddressLimit, Silent};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn door(not_begun: usize, handshakes_per_address: usize, connections_per_address: usize) -> Arc<Door> {
        Door::new(Limits { not_begun, handshakes_per_address, connections_per_address })
    }

    /// For what these connections, in order, were displaced.
    fn fates<const N: usize>(of: [&mut Displaced; N]) -> [Option<ConnectionFault>; N] {
        of.map(|displaced| displaced.0.try_recv().ok())
    }

    /// Whether the door waits before it takes another.
    async fn is_shut(door: &Door) -> bool {
        tokio::time::timeout(Duration::ZERO, door.room()).await.is_err()
    }

    fn assert_empty(door: &Door) {
        let state = door.lock();
        assert_eq!((state.handshakes.len(), state.silent.len(), state.not_begun), (0, 0, 0));
        assert_eq!((state.sources.len(), state.over.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_was_silent_for_longest_makes_room() {
        let door = door(2, 0, 0);
        let (first, mut end1) = door.admit(HERE).unwrap();
        let (mut second, mut end2) = door.admit(THERE).unwrap();
        let (third, mut end3) = door.admit(THERE).unwrap();
        assert_eq!(fates([&mut end1, &mut end2, &mut end3]), [Some(Silent), None, None]);
        // A place that was given away is given back once only.
        drop(first);
        let mut end2 = second.spoke();
        let (fourth, mut end4) = door.admit(HERE).unwrap();
        assert_eq!(fates([&mut end2, &mut end3, &mut end4]), [None, Some(Silent), None]);
        drop((second, third, fourth));
        assert_empty(&door);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_called_silent_before_its_hello_can_be_here() {
        let door = door(1, 0, 0);
        let _one = door.admit(HERE).unwrap();
        assert!(is_shut(&door).await);
        tokio::time::advance(Duration::from_millis(49)).await;
        assert!(is_shut(&door).await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!is_shut(&door).await);
    }

    /// Its task had not looked yet when it was displaced, but its hello was there.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_spoken_is_not_closed_for_its_silence() {
        let door = door(1, 0, 0);
        let (mut first, mut end1) = door.admit(HERE).unwrap();
        let (second, _) = door.admit(HERE).unwrap();
        assert_eq!(fates([&mut end1]), [Some(Silent)]);
        let mut end1 = first.spoke();
        assert_eq!((fates([&mut end1]), door.lock().not_begun), ([None], 2));
        first.begins();
        first.begins();
        assert_eq!(door.lock().not_begun, 1);
        first.opened();
        first.opened();
        drop((first, second));
        assert_empty(&door);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_have_spoken_nobody_comes_in_until_one_begins_or_goes() {
        let door = door(2, 0, 0);
        let mut both = [door.admit(HERE).unwrap().0, door.admit(HERE).unwrap().0];
        let ends = both.each_mut().map(Visitor::spoke);
        tokio::time::advance(HELLO_GRACE * 2).await;
        assert!(is_shut(&door).await);
        both[0].begins();
        assert!(!is_shut(&door).await);
        let (mut third, _) = door.admit(HERE).unwrap();
        let _end = third.spoke();
        assert!(is_shut(&door).await);
        drop(third);
        assert!(!is_shut(&door).await);
        drop((both, ends));
        assert_empty(&door);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_room_is_woken() {
        let door = door(1, 0, 0);
        let (mut only, _) = door.admit(HERE).unwrap();
        let _end = only.spoke();
        let waiting = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        only.begins();
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_over_its_limit_makes_room_for_itself_and_after_a_moment_only() {
        let door = door(9, 2, 0);
        let (other, mut end_of_other) = door.admit(THERE).unwrap();
        let (mut begun, _) = door.admit(HERE).unwrap();
        let mut end1 = begun.spoke();
        begun.begins();
        let (silent, mut end2) = door.admit(HERE).unwrap();
        let (third, mut end3) = door.admit(HERE).unwrap();
        assert_eq!(fates([&mut end1, &mut end2, &mut end3]), [None; 3]);
        tokio::time::advance(ADDRESS_GRACE).await;
        // Three and this one: two must go, whatever they do.
        let (fourth, mut end4) = door.admit(HERE).unwrap();
        assert_eq!(fates([&mut end1, &mut end2]), [Some(AddressLimit); 2]);
        assert_eq!(fates([&mut end3, &mut end4, &mut end_of_other]), [None; 3]);
        drop((other, begun, silent, third, fourth));
        assert_empty(&door);
    }

    /// A flood from one address costs no other its place, and does not shut the door.
    #[tokio::test(start_paused = true)]
    async fn where_room_is_short_an_address_over_its_limit_makes_it() {
        let door = door(4, 2, 0);
        let (other, mut end_of_other) = door.admit(THERE).unwrap();
        let (mut one, _) = door.admit(HERE).unwrap();
        let mut end1 = one.spoke();
        let (two, mut end2) = door.admit(HERE).unwrap();
        let (three, mut end3) = door.admit(HERE).unwrap();
        assert!(!is_shut(&door).await);
        let (four, mut end4) = door.admit(HERE).unwrap();
        assert_eq!(fates([&mut end1, &mut end2, &mut end3, &mut end4]), [Some(AddressLimit), None, None, None]);
        assert_eq!(fates([&mut end_of_other]), [None]);
        // One that has begun takes no room of this kind, so it is not the one to go.
        let mut two = two;
        let mut end2 = {
            drop(end2);
            two.spoke()
        };
        two.begins();
        let (five, _) = door.admit(THERE).unwrap();
        let (six, _) = door.admit(THERE).unwrap();
        assert_eq!(fates([&mut end2, &mut end3]), [None, Some(AddressLimit)]);
        drop((other, one, two, three, four, five, six));
        assert_empty(&door);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_of_connections_counts_open_ones_with_and_without_handshake() {
        let door = door(9, 0, 2);
        let plain = door.admit_plain(HERE).unwrap();
        let (mut tls, _) = door.admit(HERE).unwrap();
        assert_eq!(door.admit_plain(HERE).err(), Some(AddressLimit));
        let _end = tls.spoke();
        tls.begins();
        tls.opened();
        assert_eq!(door.admit(HERE).err(), Some(AddressLimit));
        assert!(door.admit_plain(THERE).is_ok());
        drop(plain);
        assert!(door.admit(HERE).is_ok());
        drop(tls);
        assert_empty(&door);
    }

    #[tokio::test(start_paused = true)]
    async fn an_eighth_of_the_silent_goes_when_means_run_out() {
        let door = door(99, 0, 0);
        assert_eq!(door.shed(), 0);
        let mut visitors: Vec<_> = (0..17).map(|_| door.admit(HERE).unwrap()).collect();
        assert_eq!(door.shed(), 3);
        let gone: Vec<usize> = (0..17).filter(|place| fates([&mut visitors[*place].1]) == [Some(Silent)]).collect();
        assert_eq!(gone, [0, 1, 2]);
        assert_eq!((0..6).map(|_| door.shed()).collect::<Vec<_>>(), [2, 2, 2, 1, 1, 1]);
    }

    #[test]
    fn an_address_of_ipv6_is_its_network_and_a_mapped_one_is_of_ipv4() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), Source::from(HERE));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
