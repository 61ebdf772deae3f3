//! A broker of the simulation: logs on a disk, and a process with the real leader, follower, fetcher
//! and fetch sessions on top of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_replication::{
    AlterAnswer, AlterPartition, Answered, FetchPartition, FetchPlan, FetchSessions, FetchTarget,
    FetchVerdict, Fetcher, Follower, Leader, LeaderAnswer, PartitionKey, ReplicaFetch, Step, Term,
    TopicIdPartition, TopicKey, Want,
};
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng, Uuid};

use crate::controller::Image;
use crate::support::{Entry, Log};

pub const LAG_MAX: Millis = Millis(700);
/// A request without an answer is given up after so long; messages are never late by more.
pub const REQUEST_TIMEOUT: Millis = Millis(1000);
const BACKOFF: Millis = Millis(100);
const HEARTBEAT_EVERY: Millis = Millis(300);
const RECORDS_MAX: usize = 3;
const TOPIC: Uuid = Uuid::from_bytes([7; 16]);

/// Where the controller is.
pub const CONTROLLER: usize = usize::MAX;

pub enum Message {
    Fetch { request: u64, broker_epoch: i64, plan: FetchPlan },
    FetchAnswer { request: u64, error: ErrorCode, session_id: i32, partitions: Vec<Told> },
    Alter { broker_epoch: i64, partition: usize, alter: AlterPartition },
    Altered { broker_epoch: i64, partition: usize, alter: AlterPartition, answer: AlterAnswer },
    Heartbeat { broker_epoch: i64, version: u64 },
    Metadata(Rc<Image>),
}

/// What a leader says of a partition.
pub struct Told {
    partition: usize,
    answer: LeaderAnswer,
    records: Vec<Entry>,
}

pub enum Role {
    None,
    Leader(Leader),
    Follower(Follower),
}

/// The fetches from one other broker.
#[derive(Default)]
struct Pair {
    fetcher: Fetcher,
    /// The request under way, and when it is given up.
    under_way: Option<(u64, Millis)>,
}

pub struct Process {
    pub broker_epoch: i64,
    pub image: Option<Rc<Image>>,
    pub roles: Vec<Role>,
    pub served: Vec<Offset>,
    /// Appends whose producers wait: their offset and value.
    pub waiting: Vec<Vec<(Offset, u32)>>,
    pairs: BTreeMap<usize, Pair>,
    sessions: FetchSessions,
    altering: Vec<Option<(AlterPartition, Millis)>>,
    next_heartbeat: Millis,
    requests: u64,
}

pub struct Node {
    pub id: usize,
    pub logs: Vec<Log>,
    checkpoints: Vec<Offset>,
    is_sync: bool,
    pub process: Option<Process>,
    pub paused_until: Millis,
    pub outbox: Vec<(usize, Message)>,
}

pub fn broker(at: usize) -> BrokerId {
    BrokerId(i32::try_from(at).expect("few nodes"))
}

fn node_of(id: BrokerId) -> usize {
    usize::try_from(id.0).expect("ids count from 0")
}

fn key(partition: usize) -> TopicIdPartition {
    TopicIdPartition { topic: TOPIC, partition: i32::try_from(partition).expect("few") }
}

fn session_key(key: TopicIdPartition) -> PartitionKey {
    PartitionKey { topic: TopicKey::Id(key.topic), partition: key.partition }
}

fn session_want(want: &Want) -> FetchPartition {
    FetchPartition {
        fetch_offset: want.fetch_offset.get(),
        current_leader_epoch: want.leader_epoch.0,
        last_fetched_epoch: want.last_fetched_epoch.map_or(-1, |epoch| epoch.0),
        partition_max_bytes: 1,
        log_start_offset: want.log_start.get(),
        high_watermark: want.high_watermark.get(),
    }
}

impl Node {
    pub fn new(id: usize, partitions: usize, is_sync: bool) -> Self {
        Self {
            id,
            logs: vec![Log::default(); partitions],
            checkpoints: vec![Offset::ZERO; partitions],
            is_sync,
            process: None,
            paused_until: Millis::ZERO,
            outbox: vec![],
        }
    }

    pub fn start(&mut self, broker_epoch: i64, now: Millis) {
        let count = self.logs.len();
        self.process = Some(Process {
            broker_epoch,
            image: None,
            roles: (0..count).map(|_| Role::None).collect(),
            served: vec![Offset::ZERO; count],
            waiting: vec![vec![]; count],
            pairs: BTreeMap::new(),
            sessions: FetchSessions::new(10, 10_000),
            altering: vec![None; count],
            next_heartbeat: now,
            requests: 0,
        });
    }

    /// Ends the process. What was not synced is lost, or some of it, unless the kernel lives on.
    pub fn crash(&mut self, rng: &mut Rng) {
        self.process = None;
        for log in &mut self.logs {
            if self.is_sync {
                let unsynced = log.entries.len() - log.synced;
                let lost = rng.below(u32::try_from(unsynced).expect("few") + 1) as usize;
                log.entries.truncate(log.entries.len() - lost);
            }
            log.sync();
        }
    }

    pub fn counted_end(&self, partition: usize) -> Offset {
        let log = &self.logs[partition];
        if self.is_sync { log.durable_end() } else { log.end() }
    }

    pub fn high_watermark(&self, partition: usize) -> Option<Offset> {
        match &self.process.as_ref()?.roles[partition] {
            Role::None => None,
            Role::Leader(leader) => Some(leader.high_watermark()),
            Role::Follower(follower) => Some(follower.high_watermark()),
        }
    }

    /// A producer's record, where this node leads and enough are in sync.
    pub fn produce(&mut self, partition: usize, value: u32) {
        let Some(process) = &mut self.process else { return };
        let Role::Leader(leader) = &process.roles[partition] else { return };
        if leader.check_min_isr().is_err() {
            return;
        }
        let log = &mut self.logs[partition];
        process.waiting[partition].push((log.end(), value));
        log.entries.push(Entry { epoch: leader.epoch(), value });
        if !self.is_sync {
            self.count_own(partition);
        }
    }

    /// The disk has written all there is.
    pub fn sync(&mut self, now: Millis) {
        for partition in 0..self.logs.len() {
            let was_behind = self.logs[partition].durable_end() < self.logs[partition].end();
            self.logs[partition].sync();
            if was_behind && self.is_sync {
                self.count_own(partition);
                self.ask_for_more(partition, None, now);
            }
        }
    }

    pub fn checkpoint(&mut self) {
        for partition in 0..self.logs.len() {
            if let Some(high_watermark) = self.high_watermark(partition) {
                self.checkpoints[partition] = high_watermark;
            }
        }
    }

    fn count_own(&mut self, partition: usize) {
        let end = self.counted_end(partition);
        if let Some(Process { roles, .. }) = &mut self.process
            && let Role::Leader(leader) = &mut roles[partition]
        {
            leader.advance(end);
        }
    }

    /// Time passes: requests go out or are given up.
    pub fn tick(&mut self, now: Millis) {
        let Some(process) = &mut self.process else { return };
        let broker_epoch = process.broker_epoch;
        if process.next_heartbeat <= now {
            process.next_heartbeat = now + HEARTBEAT_EVERY;
            let version = process.image.as_ref().map_or(0, |image| image.version);
            self.outbox.push((CONTROLLER, Message::Heartbeat { broker_epoch, version }));
        }
        for (&leader, pair) in &mut process.pairs {
            if pair.under_way.is_some_and(|(_, until)| until <= now) {
                pair.under_way = None;
                pair.fetcher.failed();
            }
            if let Some(plan) = pair.fetcher.next(now) {
                process.requests += 1;
                let request = process.requests;
                pair.under_way = Some((request, now + REQUEST_TIMEOUT));
                self.outbox.push((leader, Message::Fetch { request, broker_epoch, plan }));
            }
        }
        for partition in 0..self.logs.len() {
            self.poll_leader(partition, now);
        }
    }

    fn poll_leader(&mut self, partition: usize, now: Millis) {
        let log_end = self.logs[partition].end();
        let Some(process) = &mut self.process else { return };
        let (Role::Leader(leader), Some(image)) = (&mut process.roles[partition], &process.image)
        else {
            return;
        };
        if let Some((sent, _)) = process.altering[partition].take_if(|(_, until)| *until <= now) {
            leader.altered(&sent, &AlterAnswer::Lost, now);
        }
        let poll = leader.poll(log_end, (now, LAG_MAX), |id| image.active_epoch(id));
        if let Some(alter) = poll.alter {
            let broker_epoch = process.broker_epoch;
            process.altering[partition] = Some((alter.clone(), now + REQUEST_TIMEOUT));
            self.outbox.push((CONTROLLER, Message::Alter { broker_epoch, partition, alter }));
        }
    }

    /// Whether something of the process is done; messages of others' former requests are not.
    pub fn take(&mut self, from: usize, message: Message, now: Millis, rng: &mut Rng) {
        let Some(process) = &mut self.process else { return };
        match message {
            Message::Fetch { request, broker_epoch, plan } => {
                let fresh_id = i32::try_from(rng.below(1 << 30)).expect("30 bits fit") + 1;
                self.answer_fetch((from, request, broker_epoch), plan, (now, fresh_id));
            }
            Message::FetchAnswer { request, error, session_id, partitions } => {
                let Some(pair) = process.pairs.get_mut(&from) else { return };
                if pair.under_way.take_if(|(id, _)| *id == request).is_some() {
                    self.take_answer(from, (error, session_id), partitions, now);
                }
            }
            Message::Altered { broker_epoch, partition, alter, answer } => {
                let awaited = &mut process.altering[partition];
                if process.broker_epoch == broker_epoch
                    && awaited.take_if(|(sent, _)| *sent == alter).is_some()
                    && let Role::Leader(leader) = &mut process.roles[partition]
                {
                    leader.altered(&alter, &answer, now);
                }
            }
            Message::Metadata(image) => self.learn(image, now),
            Message::Alter { .. } | Message::Heartbeat { .. } => panic!("meant for the controller"),
        }
    }

    fn answer_fetch(
        &mut self,
        (from, request, broker_epoch): (usize, u64, i64),
        plan: FetchPlan,
        (now, fresh_id): (Millis, i32),
    ) {
        let process = self.process.as_mut().expect("it has taken the message");
        let wants = plan.wants.iter();
        let wants = wants
            .map(|(key, want)| FetchTarget { key: session_key(*key), want: session_want(want) });
        let forgotten: Vec<_> = plan.forgotten.iter().map(|key| session_key(*key)).collect();
        let session = (plan.session_id, plan.session_epoch);
        let opened = process.sessions.open(session, wants.collect(), &forgotten, now, fresh_id);
        let open = match opened {
            Ok(open) => open,
            Err(refused) => {
                let error = refused.code();
                let answer =
                    Message::FetchAnswer { request, error, session_id: 0, partitions: vec![] };
                self.outbox.push((from, answer));
                return;
            }
        };
        let mut partitions = vec![];
        for target in &open.targets {
            let told = self.answer_partition((from, broker_epoch), target, now);
            let answered = Answered {
                error: told.answer.error,
                high_watermark: told.answer.high_watermark,
                log_start: told.answer.log_start,
                has_data: !told.records.is_empty() || told.answer.diverging.is_some(),
            };
            let process = self.process.as_mut().expect("it has taken the message");
            if process.sessions.answer(&open, &target.key, answered) {
                partitions.push(told);
            }
        }
        let (error, session_id) = (ErrorCode::None, open.session_id);
        self.outbox.push((from, Message::FetchAnswer { request, error, session_id, partitions }));
    }

    fn answer_partition(&mut self, from: (usize, i64), target: &FetchTarget, now: Millis) -> Told {
        let partition = usize::try_from(target.key.partition).expect("few");
        let process = self.process.as_mut().expect("it has taken the message");
        let log = &self.logs[partition];
        let answer = |error, diverging, high_watermark| LeaderAnswer {
            error,
            diverging,
            high_watermark,
            log_start: Some(Offset::ZERO),
        };
        let told = |answer| Told { partition, answer, records: vec![] };
        let (Role::Leader(leader), Some(image)) = (&mut process.roles[partition], &process.image)
        else {
            return told(answer(ErrorCode::NotLeaderOrFollower, None, None));
        };
        let want = &target.want;
        let fetch = ReplicaFetch {
            replica: broker(from.0),
            broker_epoch: Some(from.1),
            leader_epoch: Some(LeaderEpoch(want.current_leader_epoch)),
            fetch_offset: Offset::new(want.fetch_offset),
            last_fetched_epoch: (want.last_fetched_epoch >= 0)
                .then_some(LeaderEpoch(want.last_fetched_epoch)),
            log_start: Offset::from_wire(want.log_start_offset),
            high_watermark: Offset::from_wire(want.high_watermark),
        };
        let epoch = leader.epoch();
        let verdict = leader.follower_fetch(
            &fetch,
            (Offset::ZERO, log.end()),
            |asked| log.end_of_for_leader(asked, epoch),
            (now, LAG_MAX),
            |id| image.active_epoch(id),
        );
        match verdict {
            FetchVerdict::Refused(error) => told(answer(error, None, None)),
            FetchVerdict::Diverging(at) => told(answer(ErrorCode::None, Some(at), None)),
            FetchVerdict::Read { .. } => Told {
                partition,
                answer: answer(ErrorCode::None, None, Some(leader.high_watermark())),
                records: log.read(fetch.fetch_offset, RECORDS_MAX),
            },
        }
    }

    fn take_answer(
        &mut self,
        from: usize,
        (error, session_id): (ErrorCode, i32),
        partitions: Vec<Told>,
        now: Millis,
    ) {
        for told in partitions {
            let own = self.logs[told.partition].own(self.counted_end(told.partition));
            let process = self.process.as_mut().expect("it has taken the message");
            let Role::Follower(follower) = &mut process.roles[told.partition] else { continue };
            let asked =
                process.pairs.get(&from).and_then(|pair| pair.fetcher.asked(key(told.partition)));
            let (Some(asked), true) = (asked, follower.leader() == Some(broker(from))) else {
                continue;
            };
            let log = &mut self.logs[told.partition];
            let mut delay = None;
            match follower.take(&asked, &told.answer, &own, |epoch| log.end_of(epoch)) {
                Step::Ignore | Step::AwaitMetadata => continue,
                Step::Append => {
                    log.entries.extend(&told.records);
                    follower.learned(&told.answer, &log.own(log.durable_end()));
                }
                Step::Truncate(at) => {
                    log.truncate(at);
                    assert!(!follower.truncated(at), "{} cuts what is committed", self.id);
                }
                Step::AskOffsets => panic!("logs here never lose their beginnings"),
                Step::BackOff(_) => delay = Some(now + BACKOFF),
            }
            self.ask_for_more(told.partition, delay, now);
        }
        let process = self.process.as_mut().expect("it has taken the message");
        let pair = process.pairs.get_mut(&from).expect("it was asked");
        pair.fetcher.answered(error, session_id);
    }

    /// The next fetch is to ask for what comes next, once the disk has what came before.
    fn ask_for_more(&mut self, partition: usize, delay: Option<Millis>, now: Millis) {
        let own = self.logs[partition].own(self.counted_end(partition));
        let Some(process) = &mut self.process else { return };
        let Role::Follower(follower) = &process.roles[partition] else { return };
        let Some(leader) = follower.leader() else { return };
        let fetcher = &mut process.pairs.entry(node_of(leader)).or_default().fetcher;
        match (follower.want(&own), delay) {
            (Some(want), Some(until)) if until > now => fetcher.delay(key(partition), want, until),
            (Some(want), _) => fetcher.set(key(partition), want),
            (None, _) => fetcher.hold(key(partition)),
        }
    }

    fn learn(&mut self, image: Rc<Image>, now: Millis) {
        let me = broker(self.id);
        let process = self.process.as_mut().expect("it has taken the message");
        let is_older = process.image.as_ref().is_some_and(|known| known.version >= image.version);
        // Metadata of before the registration speaks of a former process.
        let is_mine = image.brokers.get(&me).is_some_and(|one| one.epoch == process.broker_epoch);
        if is_older || !is_mine {
            return;
        }
        process.image = Some(Rc::clone(&image));
        for (partition, state) in image.partitions.iter().enumerate() {
            let term = Term {
                epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                replicas: &state.replicas,
                isr: &state.isr,
                min_isr: state.min_isr,
            };
            self.take_role(partition, &term, state.leader, now);
        }
    }

    fn take_role(
        &mut self,
        partition: usize,
        term: &Term<'_>,
        leads: Option<BrokerId>,
        now: Millis,
    ) {
        let (me, log_end) = (broker(self.id), self.logs[partition].end());
        let counted_end = self.counted_end(partition);
        let process = self.process.as_mut().expect("it has taken the message");
        let role = &mut process.roles[partition];
        let (epoch, high_watermark) = match role {
            Role::None => (LeaderEpoch(-1), self.checkpoints[partition].min(log_end)),
            Role::Leader(leader) => (leader.epoch(), leader.high_watermark()),
            Role::Follower(follower) => (follower.epoch(), follower.high_watermark()),
        };
        if leads == Some(me) {
            if let Role::Leader(leader) = role {
                leader.learn(term, log_end, now);
            } else {
                let ends = (log_end, counted_end);
                *role = Role::Leader(Leader::new(me, term, ends, high_watermark, now));
            }
        } else if epoch < term.epoch {
            *role = Role::Follower(Follower::new(term.epoch, leads, high_watermark));
            process.waiting[partition].clear();
        } else {
            return;
        }
        process.altering[partition].take_if(|(sent, _)| sent.leader_epoch < term.epoch);
        if epoch < term.epoch {
            for pair in process.pairs.values_mut() {
                pair.fetcher.remove(key(partition));
            }
        }
        self.ask_for_more(partition, None, now);
    }
}
