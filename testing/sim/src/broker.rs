//! A machine's broker: it registers, sends heartbeats, and takes its roles from the metadata.
//!
//! Not here: fetching (`fetching`), clients (`serving`), where replicas lie (`places`), how long they keep
//! what they have (`retention`), the quorum on the same machine (`quorum`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use metadata::image::Partition;
use metadata::{FoundDirectory, Image, features};
use protocol::messages::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData, TopicData,
};
use protocol::messages::broker_heartbeat::BrokerHeartbeatRequest;
use protocol::messages::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use replication::{AlterAnswer, AlterPartition, FetchSessions, Follower, Leader, Term};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng, Uuid};

use crate::bug::Bug;
use crate::clock::Now;
use crate::controller::{CLUSTER_ID, MIN_ISR};
use crate::dirs::{Dir, ROOT};
use crate::message::{Ask, Message, Sending, Slot, Told, broker_id};
use crate::replica::{Altering, Replica, Role, TOPIC};
use crate::trace::Trace;
use fetching::Pair;

mod fetching;
mod places;
mod retention;
mod serving;

/// A request without an answer is given up after so long; messages are never late by more.
pub const REQUEST_TIMEOUT: Millis = Millis(1000);
const HEARTBEAT_EVERY: Millis = Millis(300);
const POLL_EVERY: Millis = Millis(60);
/// `replica.lag.time.max.ms`.
pub const LAG_MAX: Millis = Millis(700);
const FETCH_SESSIONS: usize = 10;
/// How many partitions all of them remember.
const FETCH_SESSION_PARTITIONS: usize = 10_000;

/// A batch whose producer hears that it is committed.
pub struct Ack {
    pub slot: Slot,
    /// The epoch of the leader that says so.
    pub epoch: LeaderEpoch,
    pub base: Offset,
    pub end: Offset,
}

pub struct Broker {
    pub at: usize,
    dirs: Vec<Dir>,
    /// Directories that have failed since the start, by their place.
    failed: BTreeSet<usize>,
    /// The directories of the replicas that have a folder.
    places: BTreeMap<Slot, usize>,
    /// Replicas that could not be read when that mattered.
    unusable: BTreeSet<Slot>,
    bug: Option<Bug>,
    trace: Trace,
    pub rng: Rng,
    incarnation: Uuid,
    /// The epoch of the former process, if that ended in good order.
    previous_epoch: Option<i64>,
    /// What each directory said at the start of former processes.
    of_former: Vec<FoundDirectory>,
    /// The newest state of the cluster that it knows, before it is registered, too.
    known: Image,
    /// Whether that is what the cluster had when this process started.
    pub may_register: bool,
    /// Whether its directories vouch for this process.
    vouches: bool,
    /// Whether it hands over what it leads, as it is to end.
    pub is_leaving: bool,
    /// Whether it may end now.
    pub has_left: bool,
    /// Once it is registered.
    pub epoch: Option<i64>,
    pub image: Image,
    /// The end of the metadata that it knows of.
    pub image_end: Offset,
    pub replicas: BTreeMap<Slot, Replica>,
    /// How much replicas had on their disks that are out of use since the last look.
    pub gone: Vec<(Slot, Offset)>,
    pairs: BTreeMap<usize, Pair>,
    sessions: FetchSessions,
    requests: u64,
    /// The registration or heartbeat under way, and when it is given up.
    asking: Option<(u64, Millis)>,
    next_beat: Millis,
    next_poll: Millis,
    next_retention: Millis,
    pub out: Vec<Sending>,
    pub acks: Vec<Ack>,
}

impl Broker {
    pub fn start(
        at: usize,
        dirs: &[Dir],
        now: Millis,
        mut rng: Rng,
        previous_epoch: Option<i64>,
        (bug, trace): (Option<Bug>, Trace),
    ) -> anyhow::Result<Self> {
        let mut places = BTreeMap::new();
        let mut of_former = vec![];
        for (place, dir) in dirs.iter().enumerate() {
            places.extend(places::found(dir)?.into_iter().map(|slot| (slot, place)));
            let whole_runs = log::read_whole_runs(&dir.disk, Path::new(ROOT))?;
            let clean_epoch = previous_epoch;
            of_former.push(FoundDirectory { id: dir.id, clean_epoch, whole_runs });
        }
        Ok(Self {
            at,
            dirs: dirs.to_vec(),
            failed: BTreeSet::new(),
            places,
            unusable: BTreeSet::new(),
            bug,
            trace,
            incarnation: Uuid::from_random(rng.bytes16()),
            previous_epoch,
            of_former,
            known: Image::default(),
            may_register: false,
            vouches: false,
            is_leaving: false,
            has_left: false,
            rng,
            epoch: None,
            image: Image::default(),
            image_end: Offset::ZERO,
            replicas: BTreeMap::new(),
            gone: vec![],
            pairs: BTreeMap::new(),
            sessions: FetchSessions::new(FETCH_SESSIONS, FETCH_SESSION_PARTITIONS),
            requests: 0,
            asking: None,
            next_beat: now,
            next_poll: now,
            next_retention: now,
            out: vec![],
            acks: vec![],
        })
    }

    pub fn id(&self) -> BrokerId {
        broker_id(self.at)
    }

    fn request_id(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// The epoch of a broker that may be in an ISR.
    fn active_epoch(image: &Image, id: BrokerId) -> Option<i64> {
        image.broker(id).filter(|broker| broker.is_active()).map(|broker| broker.epoch)
    }

    pub fn next(&self) -> Millis {
        let beat = self.asking.map_or(self.next_beat, |(_, until)| until);
        let syncs = self.replicas.values().filter_map(|one| Some(one.syncing.as_ref()?.1));
        // It asks nobody while it is not registered.
        let pairs = self.pairs.values().filter(|_| self.epoch.is_some()).filter_map(Pair::next);
        syncs.chain(pairs).min().unwrap_or(Millis::MAX).min(beat).min(self.next_poll)
    }

    /// Does what is due; `controller` is whom it takes for the active one.
    pub fn tick(&mut self, controller: Option<usize>, both: Now) -> anyhow::Result<()> {
        let now = both.monotonic;
        self.asking.take_if(|(_, until)| *until <= now);
        if self.asking.is_none() && self.next_beat <= now {
            self.next_beat = now + HEARTBEAT_EVERY;
            if self.may_register && !self.vouches {
                self.vouch()?;
            }
            if let Some(controller) = controller.filter(|_| self.vouches) {
                self.beat(controller, now);
                self.tell_places(controller);
            }
        }
        self.sync_due(now)?;
        if self.next_poll <= now {
            self.next_poll = now + POLL_EVERY;
            let slots: Vec<_> = self.replicas.keys().copied().collect();
            for slot in slots {
                self.poll_leader(slot, controller, now);
            }
            self.retain(both)?;
        }
        self.send_fetches(now);
        self.begin_syncs(now)?;
        self.complete_waiting();
        Ok(())
    }

    fn beat(&mut self, controller: usize, now: Millis) {
        let id = self.request_id();
        let ask = match self.epoch {
            None => Ask::Register(self.registration()),
            Some(broker_epoch) => Ask::Heartbeat(BrokerHeartbeatRequest {
                broker_id: self.id().0,
                broker_epoch,
                current_metadata_offset: self.image_end.get() - 1,
                offline_log_dirs: self.dir_ids(false),
                want_shut_down: self.is_leaving,
                ..Default::default()
            }),
        };
        self.asking = Some((id, now + REQUEST_TIMEOUT));
        self.out.push(Sending::request(controller, Message::Ask { id, ask }));
    }

    /// Begins to hand over what it leads.
    pub fn leave(&mut self, now: Millis) {
        self.is_leaving = true;
        self.next_beat = now;
    }

    /// Closes all logs; gives the epoch to be told by the next process, unless something failed or a
    /// log has not even been opened.
    pub fn close(self) -> anyhow::Result<Option<i64>> {
        let is_open = |slot: &Slot| self.replicas.contains_key(slot);
        let is_clean = !self.is_crippled() && self.places.keys().all(is_open);
        for (_, mut replica) in self.replicas {
            if let Some((ticket, _)) = replica.syncing.take() {
                replica.log.synced(ticket.sync())?;
            }
            replica.log.close()?;
        }
        Ok(self.epoch.filter(|_| is_clean))
    }

    fn registration(&self) -> BrokerRegistrationRequest {
        let listener = Listener { name: "B".into(), host: "machine".into(), ..Default::default() };
        let features = features::supported().map(|(name, min, max)| Feature {
            name: name.to_owned(),
            min_supported_version: min,
            max_supported_version: max,
            ..Default::default()
        });
        BrokerRegistrationRequest {
            broker_id: self.id().0,
            cluster_id: CLUSTER_ID.to_owned(),
            incarnation_id: self.incarnation,
            listeners: vec![listener],
            features: features.collect(),
            log_dirs: self.dir_ids(true),
            previous_broker_epoch: self.epoch_of_former().unwrap_or(-1),
            ..Default::default()
        }
    }

    /// Takes an answer of the controller.
    pub fn told(&mut self, id: u64, told: Told, now: Millis) {
        let is_awaited = self.asking.take_if(|(asked, _)| *asked == id).is_some();
        match told {
            Told::Registered(response) if is_awaited && response.error_code == 0 => {
                self.epoch = Some(response.broker_epoch);
                self.next_beat = now;
            }
            // A late registration of a former process has taken the place of this one's.
            Told::Beaten { error: ErrorCode::StaleBrokerEpoch, .. } if is_awaited => {
                self.epoch = None;
                self.next_beat = now;
            }
            Told::Beaten { should_shut_down: true, .. } if is_awaited => self.has_left = true,
            Told::Altered(response) => self.altered(id, &response, now),
            Told::NotController
            | Told::Registered(_)
            | Told::Beaten { .. }
            | Told::Created(_)
            | Told::Done => {}
        }
    }

    fn altered(&mut self, id: u64, response: &AlterPartitionResponse, now: Millis) {
        let is_it = |one: &&mut Replica| one.altering.as_ref().is_some_and(|one| one.id == id);
        let Some(replica) = self.replicas.values_mut().find(is_it) else { return };
        let Some(Altering { sent, .. }) = replica.altering.take() else { return };
        let partition = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let answer = match (ErrorCode::from_wire(response.error_code), partition) {
            (ErrorCode::None, Some(one)) if one.error_code == 0 => AlterAnswer::Altered {
                leader_epoch: LeaderEpoch(one.leader_epoch),
                partition_epoch: one.partition_epoch,
                isr: one.isr.iter().map(|id| BrokerId(*id)).collect(),
            },
            (ErrorCode::None, Some(one)) => {
                AlterAnswer::Refused(ErrorCode::from_wire(one.error_code))
            }
            (code, _) => AlterAnswer::Refused(code),
        };
        if let Role::Leader(leader) = &mut replica.role {
            leader.altered(&sent, &answer, now);
        }
    }

    fn poll_leader(&mut self, slot: Slot, controller: Option<usize>, now: Millis) {
        let Some(broker_epoch) = self.epoch else { return };
        let (image, bug) = (&self.image, self.bug);
        let Some(topic_id) = image.topic(TOPIC).map(|topic| topic.id) else { return };
        let Some(replica) = self.replicas.get_mut(&slot) else { return };
        let log_end = replica.log.end_offset();
        let Role::Leader(leader) = &mut replica.role else { return };
        if let Some(lost) = replica.altering.take_if(|one| one.until <= now) {
            leader.altered(&lost.sent, &AlterAnswer::Lost, now);
        }
        let poll = leader.poll(log_end, (now, LAG_MAX), |id| Self::active_epoch(image, id));
        let Some(alter) = poll.alter else { return };
        if bug == Some(Bug::IsrShrunkUntold) {
            let followers = alter.followers.iter().map(|(id, _)| *id);
            let isr = std::iter::once(broker_id(self.at)).chain(followers).collect();
            let (leader_epoch, partition_epoch) = (alter.leader_epoch, alter.partition_epoch);
            let answer = AlterAnswer::Altered { leader_epoch, partition_epoch, isr };
            leader.altered(&alter, &answer, now);
            return;
        }
        let request = alter_request((self.at, broker_epoch), topic_id, slot, &alter);
        self.requests += 1;
        let id = self.requests;
        replica.altering = Some(Altering { sent: alter, id, until: now + REQUEST_TIMEOUT });
        if let Some(controller) = controller {
            let ask = Ask::Alter(request);
            self.out.push(Sending::request(controller, Message::Ask { id, ask }));
        }
    }

    /// Takes newer metadata, which ends at `end` in the log.
    pub fn learn(&mut self, image: &Image, end: Offset, now: Now) -> anyhow::Result<()> {
        if end <= self.image_end {
            return Ok(());
        }
        self.image_end = end;
        self.known = image.clone();
        // Metadata of before the registration speaks of a former process.
        let registered = image.broker(self.id()).map(|broker| broker.epoch);
        if self.epoch.is_none() || registered != self.epoch {
            return Ok(());
        }
        self.image = image.clone();
        let Some(topic) = self.image.topic(TOPIC).cloned() else { return Ok(()) };
        for (slot, partition) in topic.partitions() {
            if partition.replicas.contains(&self.id()) {
                self.take_role(slot, partition, now)?;
            } else {
                self.forget(slot)?;
            }
        }
        Ok(())
    }

    fn take_role(&mut self, slot: Slot, partition: &Partition, now: Now) -> anyhow::Result<()> {
        let me = self.id();
        if !self.replicas.contains_key(&slot) && !self.open(slot, partition, now)? {
            return Ok(());
        }
        let replica = self.replicas.get_mut(&slot).expect("it was opened");
        let (log_end, own_end) = (replica.log.end_offset(), replica.counted_end());
        let (epoch, high_watermark) = match &replica.role {
            // What was deleted was committed.
            Role::None => (LeaderEpoch(-1), replica.log.start_offset()),
            Role::Leader(leader) => (leader.epoch(), leader.high_watermark()),
            Role::Follower(follower) => (follower.epoch(), follower.high_watermark()),
        };
        let term = Term {
            epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            replicas: &partition.replicas,
            isr: &partition.isr,
            min_isr: MIN_ISR,
        };
        if partition.leader == Some(me) {
            if let Role::Leader(leader) = &mut replica.role {
                leader.learn(&term, log_end, now.monotonic);
            } else {
                let ends = (log_end, own_end);
                replica.role =
                    Role::Leader(Leader::new(me, &term, ends, high_watermark, now.monotonic));
            }
            replica.log.begin_leader_epoch(partition.leader_epoch);
        } else if epoch < term.epoch {
            replica.role =
                Role::Follower(Follower::new(term.epoch, partition.leader, high_watermark));
            replica.waiting.clear();
            if self.bug == Some(Bug::TruncateToHighWatermark) {
                replica.log.truncate_to(high_watermark, now.wall)?;
            }
        } else {
            return Ok(());
        }
        replica.altering.take_if(|one| one.sent.leader_epoch < term.epoch);
        if epoch < term.epoch {
            self.pairs.values_mut().for_each(|pair| pair.fetcher.remove(fetching::key(slot)));
        }
        self.ask_for_more(slot, None, now.monotonic);
        Ok(())
    }

    fn begin_syncs(&mut self, now: Millis) -> anyhow::Result<()> {
        let slots: Vec<_> = self.replicas.keys().copied().collect();
        for slot in slots {
            let Some(replica) = self.replicas.get_mut(&slot) else { continue };
            let is_due = replica.log.durable_end() < replica.log.end_offset();
            if !is_due || replica.syncing.is_some() {
                continue;
            }
            match replica.log.sync_ticket() {
                Ok(Some(ticket)) => {
                    let most = self.dirs[self.places[&slot]].sync_max.get();
                    let takes = Millis(1 + i64::from(self.rng.below(most)));
                    replica.syncing = Some((ticket, now + takes));
                }
                Ok(None) => {}
                Err(fault) => self.note_refused(slot, fault)?,
            }
        }
        Ok(())
    }

    fn sync_due(&mut self, now: Millis) -> anyhow::Result<()> {
        let slots: Vec<_> = self.replicas.keys().copied().collect();
        for slot in slots {
            let Some(replica) = self.replicas.get_mut(&slot) else { continue };
            let due = replica.syncing.take_if(|(_, at)| *at <= now);
            let Some((ticket, _)) = due else { continue };
            match replica.log.synced(ticket.sync()) {
                Ok(()) => {}
                Err(_) if self.bug == Some(Bug::AckAfterFailedSync) => replica.counts_all = true,
                Err(fault) => {
                    self.note_refused(slot, fault)?;
                    continue;
                }
            }
            replica.count_own();
            self.ask_for_more(slot, None, now);
        }
        Ok(())
    }
}

fn alter_request(
    (at, broker_epoch): (usize, i64),
    topic_id: Uuid,
    slot: Slot,
    alter: &AlterPartition,
) -> AlterPartitionRequest {
    let own = (broker_id(at), broker_epoch);
    let all = std::iter::once(own).chain(alter.followers.iter().copied());
    let states = all.map(|(id, epoch)| BrokerState {
        broker_id: id.0,
        broker_epoch: epoch,
        ..Default::default()
    });
    let partition = PartitionData {
        partition_index: slot,
        leader_epoch: alter.leader_epoch.0,
        partition_epoch: alter.partition_epoch,
        new_isr_with_epochs: states.collect(),
        ..Default::default()
    };
    let topic = TopicData { topic_id, partitions: vec![partition], ..Default::default() };
    AlterPartitionRequest {
        broker_id: at.try_into().expect("there are few machines"),
        broker_epoch,
        topics: vec![topic],
        ..Default::default()
    }
}
