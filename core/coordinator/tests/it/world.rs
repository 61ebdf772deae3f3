//! A coordinator with a log in memory and a clock that tests move.

use bytes::{BufMut, Bytes, BytesMut};
use protocol::Message;
use protocol::internal::consumer::ConsumerProtocolSubscription;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use thalweg_coordinator::{
    Caller, Coordinator, Logged, Now, Outcome, Record, ReplyToken, Request, Response, Settings,
};
use types::{Millis, Uuid};

/// The wall clock when the monotonic one stands at 0.
pub const WALL_ORIGIN: i64 = 1_000_000;

pub struct World {
    pub settings: Settings,
    pub now: Now,
    pub log: Vec<Record>,
    pub coordinator: Coordinator,
    /// What the node has left for members.
    pub member_bytes_left: usize,
    tokens: u64,
    ids: u8,
}

impl World {
    pub fn new(settings: Settings) -> Self {
        let now = Now { monotonic: Millis(0), wall: Millis(WALL_ORIGIN) };
        let coordinator = Coordinator::new(settings.clone(), Logged::default(), now);
        let member_bytes_left = usize::MAX;
        Self { settings, now, log: vec![], coordinator, member_bytes_left, tokens: 0, ids: 0 }
    }

    /// Sends a request; the outcome is in the log when this returns.
    pub fn send(&mut self, request: Request, api_version: i16, client: &str) -> Sent {
        self.tokens += 1;
        let token = ReplyToken(self.tokens);
        let caller = Caller {
            token,
            api_version,
            client_id: client,
            client_host: "/10.0.0.1",
            member_bytes_left: self.member_bytes_left,
        };
        let outcome = self.coordinator.handle(request, &caller, self.now);
        Sent { token, outcome: self.settle(outcome) }
    }

    /// Sends a request whose reply does not wait.
    pub fn ask(&mut self, request: Request, api_version: i16) -> Response {
        let Sent { token, outcome } = self.send(request, api_version, "test");
        let mut replies = outcome.replies.into_iter();
        replies.find(|(to, _)| *to == token).expect("the reply does not wait").1
    }

    pub fn join(&mut self, request: JoinGroupRequest, api_version: i16, client: &str) -> Sent {
        let fresh_id = self.fresh_id();
        self.send(Request::Join { request, fresh_id }, api_version, client)
    }

    /// Ids end in 1, 2, 3, so that tests can name them.
    fn fresh_id(&mut self) -> Uuid {
        self.ids = self.ids.wrapping_add(1);
        let mut bytes = [0; 16];
        bytes[15] = self.ids;
        Uuid::from_bytes(bytes)
    }

    pub fn settle(&mut self, outcome: Outcome) -> Outcome {
        for record in &outcome.records {
            self.coordinator.replay(record).expect("own records are well-formed");
            self.log.push(record.clone());
        }
        outcome
    }

    /// Lets time pass, stopping at every deadline.
    pub fn wait(&mut self, millis: i64) -> Vec<(Millis, Outcome)> {
        let end = self.now.monotonic + Millis(millis);
        let mut happened = vec![];
        loop {
            while let Some(outcome) = self.coordinator.tick(self.now) {
                happened.push((self.now.monotonic, self.settle(outcome)));
            }
            match self.coordinator.next_deadline() {
                Some(next) if next <= end => self.set_time(next),
                Some(_) | None => break,
            }
        }
        self.set_time(end);
        happened
    }

    fn set_time(&mut self, to: Millis) {
        self.now.wall = self.now.wall + (to - self.now.monotonic);
        self.now.monotonic = to;
    }

    /// Another coordinator loads the log; what the old one had to say last comes back.
    pub fn fail_over(&mut self) -> Vec<(ReplyToken, Response)> {
        let mut logged = Logged::default();
        for record in &self.log {
            logged.replay(record).expect("own records are well-formed");
        }
        let next = Coordinator::new(self.settings.clone(), logged, self.now);
        std::mem::replace(&mut self.coordinator, next).unload()
    }

    /// A group of one consumer that is stable in generation 1; its member id comes back.
    pub fn stable_group(&mut self, group_id: &str, topics: &[&str]) -> String {
        let request = join_request(group_id, "", &[("range", topics)]);
        _ = self.join(request, 3, "c");
        let happened = self.wait(self.settings.initial_rebalance_delay.get());
        let joined = happened.iter().flat_map(|(_, outcome)| &outcome.replies);
        let member_id = joined
            .map(|(_, response)| joined_response(response).member_id.clone())
            .next()
            .expect("the delay ends with a generation");
        let request = sync_request(group_id, &member_id, 1, &[(&member_id, "all")]);
        self.ask(Request::Sync(request), 5);
        member_id
    }
}

/// A request that was sent, and what came of it at once.
pub struct Sent {
    pub token: ReplyToken,
    pub outcome: Outcome,
}

impl Sent {
    /// The reply to the request itself, if it did not have to wait.
    pub fn reply(&self) -> Option<&Response> {
        let (_, response) = self.outcome.replies.iter().find(|(to, _)| *to == self.token)?;
        Some(response)
    }
}

pub fn joined_response(response: &Response) -> &JoinGroupResponse {
    match response {
        Response::Join(response) => response,
        other => panic!("JoinGroup was answered with {other:?}"),
    }
}

pub fn join_request(
    group_id: &str,
    member_id: &str,
    protocols: &[(&str, &[&str])],
) -> JoinGroupRequest {
    let protocol = |(name, topics): &(&str, &[&str])| JoinGroupRequestProtocol {
        name: (*name).to_owned(),
        metadata: subscription(topics),
        ..Default::default()
    };
    JoinGroupRequest {
        group_id: group_id.to_owned(),
        member_id: member_id.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: protocols.iter().map(protocol).collect(),
        ..Default::default()
    }
}

pub fn sync_request(
    group_id: &str,
    member_id: &str,
    generation_id: i32,
    assignments: &[(&str, &str)],
) -> SyncGroupRequest {
    let assign = |(member_id, assignment): &(&str, &str)| SyncGroupRequestAssignment {
        member_id: (*member_id).to_owned(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
        ..Default::default()
    };
    SyncGroupRequest {
        group_id: group_id.to_owned(),
        member_id: member_id.to_owned(),
        generation_id,
        assignments: assignments.iter().map(assign).collect(),
        ..Default::default()
    }
}

/// A consumer's subscription in version 1, with its version before it.
fn subscription(topics: &[&str]) -> Bytes {
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    bytes.put_i16(1);
    subscription.encode(1, &mut bytes).expect("short strings fit");
    bytes.freeze()
}
