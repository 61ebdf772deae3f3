//! Sessions of brokers: who was heard of when, and how far each has read the metadata log.
//!
//! Only the active controller needs this, and none of it is in the log: heartbeats would fill it.
//! A controller that takes over therefore gives every broker a whole session before it fences one.
//! Time is monotonic and comes from the caller.
//!
//! Not here: what a heartbeat changes (`heartbeat`), what is suspected of a broker before its session
//! ends (`suspicion`), when the driver looks at the clock.

use std::collections::BTreeMap;

use protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use types::{BrokerId, Millis};

use super::HeartbeatFacts;
use super::suspicion::{Suspicion, silence_before_probes};
use crate::image::{Broker, Image};

/// The sessions of all registered brokers.
#[derive(Clone, Debug)]
pub struct BrokerSessions {
    timeout: Millis,
    /// How long a broker may be silent before it is asked.
    silence: Millis,
    brokers: BTreeMap<BrokerId, Session>,
}

/// What a probe has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probed {
    /// An answer came.
    Alive,
    /// Nobody listens where the broker was.
    Gone,
}

/// One run of one broker.
#[derive(Clone, Debug)]
struct Session {
    epoch: i64,
    /// When it runs out; `None` before the first heartbeat and once the broker has left.
    ends: Option<Millis>,
    /// As the image had it when it was last followed.
    fenced: bool,
    /// Offset up to which the broker must have read to know its own registration.
    registered_offset: i64,
    /// Up to which offset the broker has said to have read.
    read_offset: i64,
    /// Offset of the broker's controlled shutdown, while it is in one.
    leaving_offset: Option<i64>,
    suspicion: Suspicion,
}

impl BrokerSessions {
    /// No sessions yet; they last `broker.session.timeout.ms`, and heartbeats are expected every
    /// `broker.heartbeat.interval.ms`. Let it [follow](Self::follow) the image before the first.
    pub fn new(timeout: Millis, heartbeat_interval: Millis) -> Self {
        let silence = silence_before_probes(timeout, heartbeat_interval);
        Self { timeout, silence, brokers: BTreeMap::new() }
    }

    /// Takes in which brokers there are and how they stand; to be called on activation and after
    /// each decision that changes a broker, with the offset of the log's last record.
    pub fn follow(&mut self, image: &Image, last_offset: i64, now: Millis) {
        self.brokers.retain(|&id, session| {
            image.broker(id).is_some_and(|broker| broker.epoch == session.epoch)
        });
        for broker in image.brokers() {
            let session = self.brokers.entry(broker.id).or_insert_with(|| Session {
                epoch: broker.epoch,
                ends: None,
                fenced: true,
                registered_offset: last_offset,
                read_offset: -1,
                leaving_offset: None,
                suspicion: Suspicion::new(self.silence),
            });
            session.follow(broker, last_offset, now, self.timeout);
        }
    }

    /// A broker has sent a heartbeat; to be called as it arrives, so that a busy controller fences
    /// nobody for its own slowness. Another run than the registered one extends nothing.
    pub fn heard(&mut self, request: &BrokerHeartbeatRequest, now: Millis) {
        let session = self.brokers.get_mut(&BrokerId(request.broker_id));
        if let Some(session) = session.filter(|one| one.epoch == request.broker_epoch) {
            session.ends = Some(now + self.timeout);
            session.read_offset = request.current_metadata_offset;
            session.suspicion.clear(now);
        }
    }

    /// Something, such as a closed connection, says that a broker may be gone: its session runs
    /// out at `ends` unless it is heard of before, or answers a probe. Never makes a session longer.
    pub fn suspect(&mut self, id: BrokerId, ends: Millis, now: Millis) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.suspicion.suspect(ends, now);
        }
    }

    /// The brokers to be probed now, by their epochs. What comes of it is to be told to
    /// [`BrokerSessions::probed`].
    pub fn take_probes(&mut self, now: Millis) -> Vec<(BrokerId, i64)> {
        let sessions = self.brokers.iter_mut().filter(|(_, session)| session.is_active());
        let due = sessions.filter_map(|(&id, session)| {
            session.suspicion.take_probe(now).then_some((id, session.epoch))
        });
        due.collect()
    }

    /// What a probe of a run of a broker has shown, if anything.
    pub fn probed(&mut self, (id, epoch): (BrokerId, i64), probed: Probed, now: Millis) {
        let session = self.brokers.get_mut(&id);
        let session = session.filter(|session| session.epoch == epoch && session.is_active());
        match (session, probed) {
            (Some(session), Probed::Alive) => session.suspicion.answered(now),
            (Some(session), Probed::Gone) => session.suspicion.refused(now),
            (None, Probed::Alive | Probed::Gone) => {}
        }
    }

    /// The controller itself stood still for so long: nobody is blamed for not having been heard of.
    pub fn postpone(&mut self, by: Millis) {
        for session in self.brokers.values_mut() {
            session.ends = session.ends.map(|ends| ends + by);
            session.suspicion.postpone(by);
        }
    }

    /// Whether the registered run of a broker was heard of within its session.
    pub fn is_alive(&self, id: BrokerId, now: Millis) -> bool {
        let session = self.brokers.get(&id);
        session.and_then(Session::end).is_some_and(|end| now <= end)
    }

    /// Whether this controller had a heartbeat of the registered run of a broker.
    pub fn is_heard_of(&self, id: BrokerId) -> bool {
        self.brokers.get(&id).is_some_and(|session| session.read_offset >= 0)
    }

    /// A broker whose session has run out and that is not fenced yet. One at a time: the next is
    /// to be fenced by what the image is then.
    pub fn expired(&self, now: Millis) -> Option<BrokerId> {
        let mut active = self.active();
        let expired = active.find(|(_, session)| session.end().is_some_and(|end| end < now));
        expired.map(|(id, _)| id)
    }

    /// After which instant to look for expired sessions and probes again.
    pub fn next_check(&self) -> Option<Millis> {
        let checks = self.active().filter_map(|(_, session)| {
            session.ends.map(|ends| ends.min(session.suspicion.next_check()))
        });
        checks.min()
    }

    /// What the decision on a broker's heartbeat needs to know.
    pub fn heartbeat_facts(&self, id: BrokerId) -> HeartbeatFacts {
        let Some(session) = self.brokers.get(&id) else {
            // An unknown broker is refused before these count.
            return HeartbeatFacts { registered_offset: i64::MAX, shutdown_is_known: false };
        };
        let others = self.brokers.values();
        let active = others.filter(|other| !other.fenced && other.leaving_offset.is_none());
        let lowest = active.map(|other| other.read_offset).min().unwrap_or(i64::MAX);
        HeartbeatFacts {
            registered_offset: session.registered_offset,
            shutdown_is_known: session.leaving_offset.is_some_and(|offset| offset <= lowest),
        }
    }

    /// Brokers that are not fenced.
    fn active(&self) -> impl Iterator<Item = (BrokerId, &Session)> {
        let active = self.brokers.iter().filter(|(_, session)| session.is_active());
        active.map(|(&id, session)| (id, session))
    }
}

impl Session {
    fn is_active(&self) -> bool {
        !self.fenced && self.ends.is_some()
    }

    /// After which instant the broker is given up.
    fn end(&self) -> Option<Millis> {
        let until = self.suspicion.until();
        self.ends.map(|ends| until.map_or(ends, |until| until.min(ends)))
    }

    fn follow(&mut self, broker: &Broker, last_offset: i64, now: Millis, timeout: Millis) {
        let ends = now + timeout;
        match (self.fenced, broker.fenced) {
            // Let in, or found so by a new controller.
            (true, false) => {
                self.ends = Some(self.ends.map_or(ends, |planned| planned.max(ends)));
                self.suspicion.let_in(now);
            }
            // It left or was silent: another run may come at once.
            (false, true) => {
                self.ends = None;
                self.suspicion.fenced(now);
            }
            (true, true) | (false, false) => {}
        }
        self.fenced = broker.fenced;
        if broker.fenced || !broker.in_controlled_shutdown {
            self.leaving_offset = None;
        } else {
            self.leaving_offset.get_or_insert(last_offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::internal::metadata::{RegisterBrokerRecord, UnregisterBrokerRecord};

    use super::*;
    use crate::record::MetadataRecord;

    const TIMEOUT: Millis = Millis(9000);
    const HEARTBEAT: Millis = Millis(2000);

    fn register(
        image: &mut Image,
        id: i32,
        broker_epoch: i64,
        change: fn(&mut RegisterBrokerRecord),
    ) {
        let mut record = RegisterBrokerRecord {
            broker_id: id,
            broker_epoch,
            fenced: false,
            ..Default::default()
        };
        change(&mut record);
        image.apply(&record.into()).unwrap();
    }

    /// Brokers 1 to 3 with epochs 11 to 13, not fenced.
    fn cluster() -> (Image, BrokerSessions) {
        let mut image = Image::default();
        (1..=3).for_each(|id| register(&mut image, id, i64::from(10 + id), |_| {}));
        let mut sessions = BrokerSessions::new(TIMEOUT, HEARTBEAT);
        sessions.follow(&image, 20, Millis(1000));
        // Whether they answer is tried at once, and then not for long.
        assert_eq!(sessions.take_probes(Millis(1000)).len(), 3);
        (image, sessions)
    }

    fn beat(sessions: &mut BrokerSessions, id: i32, epoch: i64, offset: i64, now: i64) {
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: epoch,
            current_metadata_offset: offset,
            ..Default::default()
        };
        sessions.heard(&request, Millis(now));
    }

    fn beat_all(sessions: &mut BrokerSessions, offsets: [i64; 3], now: i64) {
        for (id, offset) in (1..).zip(offsets) {
            beat(sessions, id, i64::from(10 + id), offset, now);
        }
    }

    #[test]
    fn new_controller_gives_everybody_a_whole_session() {
        let (_, sessions) = cluster();
        assert_eq!(sessions.next_check(), Some(Millis(10_000)));
        assert_eq!(sessions.expired(Millis(10_000)), None);
        assert_eq!(sessions.expired(Millis(10_001)), Some(BrokerId(1)));
    }

    #[test]
    fn silent_broker_expires_and_others_do_not() {
        let (mut image, mut sessions) = cluster();
        beat(&mut sessions, 1, 11, 20, 5000);
        beat(&mut sessions, 3, 13, 20, 5000);
        assert_eq!(sessions.expired(Millis(11_000)), Some(BrokerId(2)));
        register(&mut image, 2, 12, |record| record.fenced = true);
        sessions.follow(&image, 21, Millis(11_000));
        assert_eq!(sessions.expired(Millis(11_000)), None);
        assert!(!sessions.is_alive(BrokerId(2), Millis(11_000)));
        assert_eq!(sessions.next_check(), Some(Millis(14_000)));
    }

    #[test]
    fn heartbeat_of_another_run_extends_nothing() {
        let (_, mut sessions) = cluster();
        beat_all(&mut sessions, [20; 3], 5000);
        for (id, epoch) in [(1, 11), (2, 99), (3, 13), (7, 17)] {
            beat(&mut sessions, id, epoch, 20, 8000);
        }
        assert_eq!(sessions.next_check(), Some(Millis(14_000)));
    }

    #[test]
    fn new_controller_has_heard_of_nobody() {
        let (_, mut sessions) = cluster();
        assert!(!sessions.is_heard_of(BrokerId(1)));
        beat(&mut sessions, 1, 99, 20, 2000);
        assert!(!sessions.is_heard_of(BrokerId(1)), "that was another run");
        beat(&mut sessions, 1, 11, 20, 2000);
        assert!(sessions.is_heard_of(BrokerId(1)));
        assert!(!sessions.is_heard_of(BrokerId(2)));
        assert!(!sessions.is_heard_of(BrokerId(4)));
    }

    #[test]
    fn suspicion_shortens_until_the_next_heartbeat() {
        let (_, mut sessions) = cluster();
        sessions.suspect(BrokerId(3), Millis(2000), Millis(1500));
        sessions.suspect(BrokerId(2), Millis(99_000), Millis(1500));
        assert_eq!(sessions.expired(Millis(2001)), Some(BrokerId(3)));
        beat(&mut sessions, 3, 13, 20, 1900);
        assert_eq!(sessions.expired(Millis(10_000)), None);
    }

    #[test]
    fn silent_broker_that_used_to_answer_probes_expires_long_before_its_session() {
        let (_, mut sessions) = cluster();
        let first = (BrokerId(1), 11);
        sessions.probed(first, Probed::Alive, Millis(1001));
        sessions.probed((BrokerId(2), 99), Probed::Alive, Millis(1001));
        for now in [3501, 4001, 4501] {
            assert_eq!(sessions.take_probes(Millis(now - 1)), []);
            assert_eq!(sessions.take_probes(Millis(now)), [first]);
        }
        assert_eq!(sessions.next_check(), Some(Millis(5001)));
        assert_eq!(sessions.expired(Millis(5001)), None);
        assert_eq!(sessions.expired(Millis(5002)), Some(BrokerId(1)));
        assert!(!sessions.is_alive(BrokerId(1), Millis(5002)));
        beat(&mut sessions, 1, 11, 20, 5002);
        assert_eq!(sessions.expired(Millis(7000)), None);
    }

    #[test]
    fn answers_to_probes_make_no_session_longer() {
        let (_, mut sessions) = cluster();
        sessions.probed((BrokerId(1), 11), Probed::Alive, Millis(9999));
        assert_eq!(sessions.expired(Millis(10_001)), Some(BrokerId(1)));
    }

    #[test]
    fn controller_that_stood_still_blames_nobody() {
        let (_, mut sessions) = cluster();
        sessions.suspect(BrokerId(1), Millis(2000), Millis(1500));
        sessions.postpone(Millis(60_000));
        assert_eq!(sessions.expired(Millis(62_000)), None);
        assert_eq!(sessions.expired(Millis(62_001)), Some(BrokerId(1)));
    }

    #[test]
    fn fenced_broker_lives_from_its_first_heartbeat_on() {
        let (mut image, mut sessions) = cluster();
        register(&mut image, 4, 21, |record| record.fenced = true);
        sessions.follow(&image, 21, Millis(2000));
        assert!(!sessions.is_alive(BrokerId(4), Millis(2000)));
        beat(&mut sessions, 4, 21, 5, 3000);
        assert!(sessions.is_alive(BrokerId(4), Millis(12_000)));
        assert!(!sessions.is_alive(BrokerId(4), Millis(12_001)));
        // Fenced already: nothing is left to do when it falls silent.
        beat_all(&mut sessions, [20; 3], 12_000);
        assert_eq!(sessions.expired(Millis(13_000)), None);
        assert_eq!(sessions.heartbeat_facts(BrokerId(4)).registered_offset, 21);
    }

    #[test]
    fn new_run_starts_anew_and_unregistered_broker_is_forgotten() {
        let (mut image, mut sessions) = cluster();
        register(&mut image, 1, 30, |record| record.fenced = true);
        let gone = UnregisterBrokerRecord { broker_id: 2, broker_epoch: 12, ..Default::default() };
        image.apply(&MetadataRecord::from(gone)).unwrap();
        sessions.follow(&image, 31, Millis(2000));
        assert!(!sessions.is_alive(BrokerId(1), Millis(2000)));
        assert_eq!(sessions.heartbeat_facts(BrokerId(1)).registered_offset, 31);
        assert!(!sessions.is_alive(BrokerId(2), Millis(2000)));
        assert_eq!(sessions.heartbeat_facts(BrokerId(2)).registered_offset, i64::MAX);
    }

    #[test]
    fn shutdown_is_known_when_all_active_brokers_have_read_it() {
        let (mut image, mut sessions) = cluster();
        beat_all(&mut sessions, [20, 20, 20], 2000);
        register(&mut image, 1, 11, |record| record.in_controlled_shutdown = true);
        sessions.follow(&image, 25, Millis(2000));
        // Later records do not move the mark.
        sessions.follow(&image, 40, Millis(2100));
        let mut is_known = |offsets| {
            beat_all(&mut sessions, offsets, 3000);
            sessions.heartbeat_facts(BrokerId(1)).shutdown_is_known
        };
        assert!(!is_known([20, 20, 25]));
        assert!(is_known([20, 25, 25]));
        assert!(!sessions.heartbeat_facts(BrokerId(2)).shutdown_is_known);
    }
}
