//! Clients that join, sync, commit, leave and crash at random; a log that commits late, refuses
//! records, and loses what is not committed when the coordinator fails over.
//!
//! What has to hold: a commit that was acknowledged is there; all who are told of a generation's
//! assignment are told of the same one, in which no partition has two owners, and the log knows that
//! generation; a heartbeat succeeds only in the generation that members were told last; the
//! coordinator holds what its log holds; every request is answered once; and when the faults end,
//! all clients end up in one generation.

mod storm;

use std::collections::BTreeMap;

use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::JoinGroupResponse;
use protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::sync_group::SyncGroupResponse;
use thalweg_coordinator::{
    Caller, Coordinator, Logged, Now, Outcome, Record, ReplyToken, Request, Response, Settings,
};
use types::{ErrorCode, Millis, Rng, Uuid};

use crate::world::{join_request, sync_request};

const SEEDS: u64 = 500;
const STEPS: u32 = 150;
const CLIENTS: u32 = 3;
const PARTITIONS: i32 = 40;
/// Enough for every timer to have passed and every client to have come back.
const CALM_STEPS: u32 = 200;

#[test]
fn what_was_told_survives_failover() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, CLIENTS);
        for step in 0..STEPS {
            world.step();
            world.check(&format!("seed {seed} step {step}"));
        }
        world.calm_down(&format!("seed {seed}"));
    }
}

struct World {
    rng: Rng,
    now: Now,
    settings: Settings,
    coordinator: Coordinator,
    log: Vec<Record>,
    committed: usize,
    /// Replies, with the end of the log that has to be committed before they leave.
    gated: Vec<(usize, ReplyToken, Response)>,
    clients: Vec<Client>,
    /// Which client waits for which reply; those it gave up on are there too.
    asked: BTreeMap<ReplyToken, usize>,
    tokens: u64,
    /// The generation that this coordinator has told members to be in, or has loaded.
    generation: i32,
    /// The assignment that members were told, by generation.
    assignments: BTreeMap<i32, String>,
    /// Which client was told to have a partition, by generation.
    owners: BTreeMap<(i32, i32), usize>,
    /// The last offset that was committed by whoever likes to.
    offset: i64,
    /// Which partition and offset each reply will be about.
    commits: BTreeMap<ReplyToken, (i32, i64)>,
    /// The last offset that was committed and acknowledged, by partition.
    acknowledged: BTreeMap<i32, i64>,
    /// How many commits were refused.
    refused: u32,
}

#[derive(Debug)]
struct Client {
    instance_id: Option<&'static str>,
    member_id: String,
    generation: i32,
    phase: Phase,
    /// How far it has come in each of its partitions.
    positions: BTreeMap<i32, i64>,
    paused_until: Millis,
}

#[derive(Debug, PartialEq)]
enum Phase {
    Outside,
    Joining(ReplyToken),
    /// Is in a generation; the leader knows all members.
    Joined(Vec<String>),
    Syncing(ReplyToken),
    Stable,
}

impl World {
    fn new(seed: u64, clients: u32) -> Self {
        let settings = Settings {
            // A group that expires begins with generation 1 again.
            offsets_retention_check_interval: Millis(i64::MAX),
            ..Settings::default()
        };
        let now = Now { monotonic: Millis(0), wall: Millis(1) };
        let client = |number: u32| Client {
            instance_id: (number + 1 == clients).then_some("i"),
            member_id: String::new(),
            generation: -1,
            phase: Phase::Outside,
            positions: BTreeMap::new(),
            paused_until: Millis(0),
        };
        Self {
            rng: Rng::new(seed),
            now,
            coordinator: Coordinator::new(settings.clone(), Logged::default(), now),
            settings,
            log: vec![],
            committed: 0,
            gated: vec![],
            clients: (0..clients).map(client).collect(),
            asked: BTreeMap::new(),
            tokens: 0,
            generation: 0,
            assignments: BTreeMap::new(),
            owners: BTreeMap::new(),
            offset: 0,
            commits: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            refused: 0,
        }
    }

    fn step(&mut self) {
        let client = self.rng.below(CLIENTS) as usize;
        match self.rng.below(100) {
            0..60 => self.act(client),
            60..64 => self.give_up(client),
            64..66 => self.crash(client),
            66..68 => self.leave(client),
            68..74 => self.commit_offset(client),
            74..90 => self.pass(3_000),
            90..97 => self.commit_log(),
            97..99 => self.fail_over(),
            _ => self.pass(30_000),
        }
    }

    /// The client does what its phase asks of it.
    fn act(&mut self, index: usize) {
        let client = &self.clients[index];
        let (member_id, generation) = (client.member_id.clone(), client.generation);
        match &client.phase {
            Phase::Outside => self.join(index),
            Phase::Joined(roster) => {
                // All get a share of the same, which no other generation ever gets.
                let whole = format!("{generation} by {}", self.rng.next_u64());
                let shares: Vec<_> =
                    (0..).take(roster.len()).map(|at| share(&whole, at, roster.len())).collect();
                let shares = shares.iter().map(String::as_str);
                let assignments: Vec<_> = roster.iter().map(String::as_str).zip(shares).collect();
                let request = sync_request("g", &member_id, generation, &assignments);
                self.clients[index].phase = Phase::Syncing(self.next_token());
                self.send(index, Request::Sync(request));
            }
            Phase::Stable => {
                let request = HeartbeatRequest {
                    group_id: "g".to_owned(),
                    member_id,
                    generation_id: generation,
                    ..Default::default()
                };
                self.send(index, Request::Heartbeat(request));
            }
            Phase::Joining(_) | Phase::Syncing(_) => {}
        }
    }

    fn join(&mut self, index: usize) {
        let topics: &[&str] = if self.rng.below(4) == 0 { &["t", "u"] } else { &["t"] };
        self.clients[index].positions.clear();
        let client = &self.clients[index];
        let mut request = join_request("g", &client.member_id, &[("range", topics)]);
        request.group_instance_id = client.instance_id.map(str::to_owned);
        let fresh_id = Uuid::from_bytes(self.rng.bytes16());
        self.clients[index].phase = Phase::Joining(self.next_token());
        self.send(index, Request::Join { request, fresh_id });
    }

    /// The client waits no longer and asks again.
    fn give_up(&mut self, index: usize) {
        match self.clients[index].phase {
            Phase::Joining(_) | Phase::Syncing(_) => self.join(index),
            Phase::Outside | Phase::Joined(_) | Phase::Stable => {}
        }
    }

    fn crash(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.member_id.clear();
        client.positions.clear();
        client.phase = Phase::Outside;
    }

    fn leave(&mut self, index: usize) {
        let member_id = self.clients[index].member_id.clone();
        self.crash(index);
        let members = vec![MemberIdentity { member_id, ..Default::default() }];
        let request = LeaveGroupRequest { group_id: "g".to_owned(), members, ..Default::default() };
        self.send(index, Request::Leave(request));
    }

    /// Whoever it is, with a partition that nobody need have given to it.
    fn commit_offset(&mut self, index: usize) {
        self.offset += 1;
        let request = self.commit_request(index, 0, self.offset);
        self.commit(index, request);
    }

    /// A commit of a client as it is now.
    fn commit_request(&self, index: usize, partition: i32, offset: i64) -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        OffsetCommitRequest {
            group_id: "g".to_owned(),
            member_id: self.clients[index].member_id.clone(),
            generation_id_or_member_epoch: self.clients[index].generation,
            topics: vec![OffsetCommitRequestTopic {
                name: "t".to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn commit(&mut self, index: usize, request: OffsetCommitRequest) {
        let partition = &request.topics[0].partitions[0];
        let what = (partition.partition_index, partition.committed_offset);
        self.commits.insert(self.next_token(), what);
        self.send(index, Request::OffsetCommit(request));
    }

    /// What the coordinator has of a partition.
    fn stored(&self, partition: i32) -> i64 {
        let committed = self.coordinator.logged().offsets().get("g", "t", partition);
        committed.map_or(0, |committed| committed.offset)
    }

    fn next_token(&self) -> ReplyToken {
        ReplyToken(self.tokens + 1)
    }

    fn send(&mut self, index: usize, request: Request) {
        let token = self.next_token();
        self.tokens = token.0;
        self.asked.insert(token, index);
        let caller = Caller {
            token,
            api_version: 9,
            client_id: "client",
            client_host: "/10.0.0.1",
            member_bytes_left: usize::MAX,
        };
        let heartbeat = match &request {
            Request::Heartbeat(request) => Some(request.generation_id),
            _ => None,
        };
        let outcome = self.coordinator.handle(request, &caller, self.now);
        if let (Some(generation), [(_, Response::Heartbeat(reply))]) =
            (heartbeat, &outcome.replies[..])
            && reply.error_code == 0
        {
            assert_eq!(generation, self.generation, "no other generation is alive");
        }
        self.carry_out(outcome);
    }

    /// Appends and replays, or, at times, finds that the log refuses.
    fn carry_out(&mut self, outcome: Outcome) {
        if !outcome.records.is_empty() && self.rng.below(30) == 0 {
            let error = ErrorCode::NotEnoughReplicas;
            let follows = self.coordinator.append_failed(outcome, error, self.now);
            return self.carry_out(follows);
        }
        for record in &outcome.records {
            self.coordinator.replay(record).expect("own records are well-formed");
            self.log.push(record.clone());
        }
        for (token, response) in outcome.replies {
            if let Response::Join(reply) = &response
                && reply.error_code == 0
            {
                assert!(reply.generation_id >= self.generation, "generations only grow");
                self.generation = reply.generation_id;
            }
            self.gated.push((self.log.len(), token, response));
        }
        self.deliver();
    }

    fn commit_log(&mut self) {
        self.committed = self.log.len();
        self.deliver();
    }

    fn deliver(&mut self) {
        let committed = self.committed;
        let (ready, gated) =
            std::mem::take(&mut self.gated).into_iter().partition(|(end, ..)| *end <= committed);
        self.gated = gated;
        let ready: Vec<(usize, ReplyToken, Response)> = ready;
        for (_, token, response) in ready {
            let index = self.asked.remove(&token).expect("a request is answered once");
            self.receive(index, token, response);
        }
    }

    fn receive(&mut self, index: usize, token: ReplyToken, response: Response) {
        match response {
            Response::Join(reply) => self.receive_join(index, token, reply),
            Response::Sync(reply) => self.receive_sync(index, token, &reply),
            Response::Heartbeat(reply) => self.receive_error(index, reply.error_code),
            Response::OffsetCommit(reply) if reply.topics[0].partitions[0].error_code == 0 => {
                let (partition, offset) = self.commits[&token];
                let last = self.acknowledged.entry(partition).or_default();
                *last = offset.max(*last);
            }
            Response::OffsetCommit(_) => self.refused += 1,
            _ => {}
        }
    }

    fn receive_join(&mut self, index: usize, token: ReplyToken, reply: JoinGroupResponse) {
        let client = &mut self.clients[index];
        if client.phase != Phase::Joining(token) {
            return;
        }
        client.phase = Phase::Outside;
        match ErrorCode::from_wire(reply.error_code) {
            ErrorCode::None => {
                client.member_id = reply.member_id;
                client.generation = reply.generation_id;
                let roster = if reply.skip_assignment { vec![] } else { reply.members };
                let roster = roster.into_iter().map(|member| member.member_id).collect();
                client.phase = Phase::Joined(roster);
            }
            ErrorCode::MemberIdRequired => client.member_id = reply.member_id,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => client.member_id.clear(),
            _ => {}
        }
    }

    fn receive_sync(&mut self, index: usize, token: ReplyToken, reply: &SyncGroupResponse) {
        let client = &mut self.clients[index];
        if client.phase != Phase::Syncing(token) {
            return;
        }
        if reply.error_code != 0 {
            return self.receive_error(index, reply.error_code);
        }
        client.phase = Phase::Stable;
        let generation = client.generation;
        let text = String::from_utf8(reply.assignment.to_vec()).expect("we assign text");
        let (whole, own) = text.split_once(": ").expect("it is a share of something");
        let first = self.assignments.entry(generation).or_insert_with(|| whole.to_owned());
        assert_eq!(*first, whole, "generation {generation} has one assignment");
        let own = own.split_whitespace().map(|number| number.parse().expect("we assign numbers"));
        let own: Vec<i32> = own.collect();
        for &partition in &own {
            let owner = *self.owners.entry((generation, partition)).or_insert(index);
            assert_eq!(owner, index, "{partition} has two owners in generation {generation}");
        }
        // Nobody of a former generation may commit any more.
        let positions = own.into_iter().map(|partition| (partition, self.stored(partition)));
        self.clients[index].positions = positions.collect();
    }

    fn receive_error(&mut self, index: usize, error_code: i16) {
        let client = &mut self.clients[index];
        match ErrorCode::from_wire(error_code) {
            ErrorCode::None => return,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => client.member_id.clear(),
            _ => {}
        }
        client.phase = Phase::Outside;
    }

    /// Time passes, from deadline to deadline.
    fn pass(&mut self, millis: i64) {
        let end = self.now.monotonic + Millis(millis);
        loop {
            while let Some(outcome) = self.coordinator.tick(self.now) {
                self.carry_out(outcome);
            }
            match self.coordinator.next_deadline() {
                Some(next) if next <= end => self.now.monotonic = next.max(self.now.monotonic),
                Some(_) | None => break,
            }
        }
        self.now.monotonic = end;
        self.now.wall = end;
    }

    /// The next coordinator has the committed log and nothing else; connections are lost.
    fn fail_over(&mut self) {
        self.log.truncate(self.committed);
        self.gated.clear();
        self.asked.clear();
        for client in &mut self.clients {
            if matches!(client.phase, Phase::Joining(_) | Phase::Syncing(_)) {
                client.phase = Phase::Outside;
            }
        }
        let logged = replayed(&self.log);
        self.generation = logged.generation("g").map_or(0, |generation| generation.number);
        self.coordinator = Coordinator::new(self.settings.clone(), logged, self.now);
    }

    fn check(&self, at: &str) {
        for (&partition, &acknowledged) in &self.acknowledged {
            assert!(self.stored(partition) >= acknowledged, "{at}: a commit is lost");
        }
        let logged = self.coordinator.logged();
        let told = self.assignments.last_key_value().map_or(0, |(generation, _)| *generation);
        let number = logged.generation("g").map_or(0, |generation| generation.number);
        assert!(number >= told, "{at}: generation {told} is lost");
    }

    /// Without faults every request is answered, and all clients meet in one generation.
    fn calm_down(&mut self, at: &str) {
        assert_eq!(*self.coordinator.logged(), replayed(&self.log), "{at}: state and log differ");
        for _ in 0..CALM_STEPS {
            for index in 0..self.clients.len() {
                self.act(index);
                self.commit_log();
            }
            self.pass(1_000);
            self.commit_log();
        }
        let generation = self.clients[0].generation;
        for client in &self.clients {
            assert_eq!(client.phase, Phase::Stable, "{at}: {:?}", self.clients);
            assert_eq!(client.generation, generation, "{at}: {:?}", self.clients);
        }
        assert!(self.asked.is_empty(), "{at}: not answered: {:?}", self.asked);
    }
}

/// What one of so many members is told: of which assignment it is a part, and its partitions.
fn share(whole: &str, place: i32, members: usize) -> String {
    let own = (place..PARTITIONS).step_by(members).map(|partition| partition.to_string());
    format!("{whole}: {}", own.collect::<Vec<_>>().join(" "))
}

fn replayed(log: &[Record]) -> Logged {
    let mut logged = Logged::default();
    for record in log {
        logged.replay(record).expect("own records are well-formed");
    }
    logged
}
