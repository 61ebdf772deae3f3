//! Whether a broker that is not heard of is gone: it is asked, and given up where it does not answer.
//!
//! A broker that was stopped or cut off closes no connection, so nothing but silence tells of it, and
//! a broker that has much to do is silent, too. The two are told apart by probes: requests that any
//! process answers which serves clients at all. An answer never makes a session longer, and no answer
//! means nothing from a broker that has never answered: the way to it may be barred.
//!
//! Not here: the session itself (`sessions`), what a probe is (the driver's).

use types::Millis;

/// Probes of one silence. Packets get lost, and each probe goes over a connection of its own.
const PROBES: u32 = 3;
/// Between two probes, and from the last to the end. The first has three times as long for its answer:
/// time enough for a connection and a request over a link of 200 ms each way.
const PROBE_GAP: Millis = Millis(500);
/// How often to try whether a broker can be probed at all that has not answered yet.
const REACH_EVERY: Millis = Millis(30_000);
/// For so long a false alarm makes the controller more patient with a broker.
const ALARM_KEPT: Millis = Millis(10 * 60 * 1000);
/// Beyond so many the patience is longer than any session.
const ALARMS_MAX: u32 = 8;

/// How long a broker may be silent before it is asked: a heartbeat and a quarter. Whoever has made
/// sessions longer wants more patience.
pub(super) fn silence_before_probes(session: Millis, heartbeat_interval: Millis) -> Millis {
    let interval = heartbeat_interval.get();
    Millis(interval.saturating_add(interval / 4).max(session.get() / 4))
}

/// What the controller suspects of one run of one broker.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    /// How long it may be silent before it is asked.
    silence: Millis,
    /// Whether it has ever answered a probe.
    answers: bool,
    /// Probes since it was heard of.
    probes: u32,
    next_probe: Millis,
    /// After this instant it is given up.
    until: Option<Millis>,
    /// How often it was given up and turned out to live, and when for the last time.
    alarms: u32,
    last_alarm: Millis,
}

impl Suspicion {
    /// Nothing is known of it yet, and it is not asked before it is [let in](Self::let_in).
    pub(super) fn new(silence: Millis) -> Self {
        Self {
            silence,
            answers: false,
            probes: 0,
            next_probe: Millis::MAX,
            until: None,
            alarms: 0,
            last_alarm: Millis::ZERO,
        }
    }

    /// From now on it is an active broker. Whether it answers is tried at once.
    pub(super) fn let_in(&mut self, now: Millis) {
        self.next_probe = now;
        self.clear(now);
    }

    /// It was fenced. If that was for a suspicion, and it comes back, it was a false alarm.
    pub(super) fn fenced(&mut self, now: Millis) {
        if self.until.take().is_some() {
            self.alarms = (self.alarms_of_late(now) + 1).min(ALARMS_MAX);
            self.last_alarm = now;
        }
        self.next_probe = Millis::MAX;
    }

    /// It has sent a heartbeat, or answered.
    pub(super) fn clear(&mut self, now: Millis) {
        if self.answers {
            let silence = self.silence.get().saturating_mul(1 << self.alarms_of_late(now));
            self.next_probe = now + Millis(silence);
        } else if self.probes > 0 {
            self.next_probe = now;
        }
        (self.probes, self.until) = (0, None);
    }

    /// Something says that it may be gone: it is given up after `until`, and asked at once.
    pub(super) fn suspect(&mut self, until: Millis, now: Millis) {
        self.until = Some(self.until.map_or(until, |planned| planned.min(until)));
        (self.probes, self.next_probe) = (0, now);
    }

    /// Whether to send a probe now.
    pub(super) fn take_probe(&mut self, now: Millis) -> bool {
        if now < self.next_probe {
            return false;
        }
        if !self.answers && self.until.is_none() {
            self.next_probe = now + REACH_EVERY;
            return true;
        }
        self.probes += 1;
        self.next_probe = now + PROBE_GAP;
        if self.probes == PROBES {
            if self.answers {
                let until = self.next_probe;
                self.until = Some(self.until.map_or(until, |planned| planned.min(until)));
            }
            self.next_probe = Millis::MAX;
        }
        true
    }

    /// It has answered a probe: it lives, but whether it can do its work only heartbeats tell.
    pub(super) fn answered(&mut self, now: Millis) {
        self.answers = true;
        self.clear(now);
    }

    /// Nobody listens where it was. That says enough of a broker that has answered there before, or
    /// that is suspected for another reason.
    pub(super) fn refused(&mut self, now: Millis) {
        if self.answers || self.until.is_some() {
            self.until = Some(now);
        }
    }

    /// After which instant it is given up, if it is suspected.
    pub(super) fn until(&self) -> Option<Millis> {
        self.until
    }

    /// When to look at it again.
    pub(super) fn next_check(&self) -> Millis {
        self.until.map_or(self.next_probe, |until| until.min(self.next_probe))
    }

    /// All that was planned is later by so much.
    pub(super) fn postpone(&mut self, by: Millis) {
        self.next_probe = self.next_probe + by;
        self.until = self.until.map(|until| until + by);
    }

    fn alarms_of_late(&self, now: Millis) -> u32 {
        if now - self.last_alarm < ALARM_KEPT { self.alarms } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Millis = Millis(2500);

    /// A broker that was let in at 0 and answered, and was heard of at 1000.
    fn known() -> Suspicion {
        let mut broker = Suspicion::new(SILENCE);
        broker.let_in(Millis(0));
        assert!(broker.take_probe(Millis(0)));
        broker.answered(Millis(10));
        broker.clear(Millis(1000));
        broker
    }

    /// Looks at a broker whenever it says so; gives when probes went out and when it was given up.
    fn watch(broker: &mut Suspicion, until: i64) -> (Vec<i64>, Option<i64>) {
        let (mut probes, mut now) = (vec![], broker.next_check());
        while now.get() <= until {
            if broker.until().is_some_and(|end| end <= now) {
                return (probes, Some(now.get()));
            }
            assert!(broker.take_probe(now), "nothing to do at {now}");
            probes.push(now.get());
            now = broker.next_check();
        }
        (probes, None)
    }

    #[test]
    fn silence_is_judged_by_heartbeats_and_longer_sessions() {
        for (session, heartbeat, expected) in [
            (9000, 2000, 2500),
            (3000, 1000, 1250),
            (60_000, 2000, 15_000),
            (i64::MAX, 1, i64::MAX / 4),
        ] {
            let silence = silence_before_probes(Millis(session), Millis(heartbeat));
            assert_eq!(silence, Millis(expected), "{session} {heartbeat}");
        }
    }

    #[test]
    fn silent_broker_that_used_to_answer_is_given_up_after_three_probes() {
        assert_eq!(watch(&mut known(), 99_000), (vec![3500, 4000, 4500], Some(5000)));
    }

    #[test]
    fn busy_broker_answers_and_is_asked_again_as_long_as_it_is_silent() {
        let mut broker = known();
        assert_eq!(watch(&mut broker, 4400), (vec![3500, 4000], None));
        broker.answered(Millis(4400));
        assert_eq!(watch(&mut broker, 99_000), (vec![6900, 7400, 7900], Some(8400)));
    }

    #[test]
    fn broker_that_never_answered_is_not_given_up_for_its_silence() {
        let mut broker = Suspicion::new(SILENCE);
        broker.let_in(Millis(0));
        assert_eq!(watch(&mut broker, 70_000), (vec![0, 30_000, 60_000], None));
        broker.refused(Millis(70_000));
        assert_eq!(broker.until(), None);
    }

    #[test]
    fn refused_connection_says_enough_of_whoever_has_answered_or_is_suspected() {
        let mut broker = known();
        broker.refused(Millis(4000));
        assert_eq!(broker.until(), Some(Millis(4000)));

        let mut suspected = Suspicion::new(SILENCE);
        suspected.let_in(Millis(0));
        suspected.suspect(Millis(1000), Millis(20));
        assert!(suspected.take_probe(Millis(20)), "it is asked at once");
        suspected.refused(Millis(21));
        assert_eq!(suspected.until(), Some(Millis(21)));
    }

    #[test]
    fn suspected_broker_gets_its_grace_and_no_more() {
        let mut broker = known();
        broker.suspect(Millis(1600), Millis(1100));
        assert_eq!(watch(&mut broker, 99_000), (vec![1100], Some(1600)));
        let mut unknown = Suspicion::new(SILENCE);
        unknown.let_in(Millis(0));
        unknown.suspect(Millis(9000), Millis(1));
        assert_eq!(watch(&mut unknown, 99_000), (vec![1, 501, 1001], Some(9000)));
        unknown.clear(Millis(8000));
        assert_eq!(watch(&mut unknown, 8000), (vec![8000], None), "may it be asked by now?");
    }

    #[test]
    fn whoever_comes_back_after_an_alarm_is_given_more_time_for_a_while() {
        let mut broker = known();
        for (let_in, silence) in [(10_000, 5000), (20_000, 10_000), (40_000, 20_000)] {
            broker.suspect(Millis(let_in), Millis(let_in));
            broker.fenced(Millis(let_in));
            assert_eq!(broker.next_check(), Millis::MAX, "nobody asks a fenced broker");
            broker.let_in(Millis(let_in));
            assert_eq!(broker.next_check(), Millis(let_in + silence));
        }
        broker.clear(Millis(640_000));
        assert_eq!(broker.next_check(), Millis(642_500), "forgotten");
        // Fenced at its own wish, or by its session: no false alarm.
        broker.fenced(Millis(640_000));
        broker.let_in(Millis(650_000));
        assert_eq!(broker.next_check(), Millis(652_500));
    }

    #[test]
    fn all_that_is_planned_can_be_put_off() {
        let mut broker = known();
        broker.suspect(Millis(1600), Millis(1100));
        broker.postpone(Millis(5000));
        assert_eq!(watch(&mut broker, 99_000), (vec![6100], Some(6600)));
    }
}
