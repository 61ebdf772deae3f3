//! The active controller: what it is asked it decides on the newest state, and answers once that is
//! committed.
//!
//! Not here: the log and who leads (`quorum`).

use std::collections::VecDeque;
use std::rc::Rc;

use config::{Sources, StaticConfig};
use metadata::controller::{
    BrokerSessions, Context, Decision, ELECTIONS_PER_CHECK, Probed, RegistrationFacts,
    alter_partition, alter_partition_reassignments, assign_replicas_to_dirs, bootstrap_records,
    create_topics, elect_preferred_leaders, fence_broker, heartbeat, register_broker,
};
use metadata::{Image, MetadataRecord, batches};
use protocol::internal::metadata::AbortTransactionRecord;
use types::{BrokerId, ErrorCode, LeaderEpoch, Millis, Offset, Rng};

use crate::bug::Bug;
use crate::clock::Now;
use crate::message::{Ask, Message, Peer, Sending, Told, address, broker_id};
use crate::quorum::Quorum;

pub const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";
/// `min.insync.replicas` of the cluster.
pub const MIN_ISR: usize = 2;
const SESSION: Millis = Millis(4000);
const HEARTBEAT: Millis = Millis(300);
/// A turn that is later than this tells that the process stood still.
const LATE_MAX: Millis = Millis(250);
const PREFERRED_EVERY: Millis = Millis(3000);
/// AlterPartition names the broker epochs of the replicas.
const ALTER_VERSION: i16 = 3;

pub struct Controller {
    node: BrokerId,
    rng: Rng,
    fixed: Rc<StaticConfig>,
    bug: Option<Bug>,
    /// The epoch in which this machine decides, and who was heard of in it.
    active: Option<(LeaderEpoch, BrokerSessions)>,
    waiting: VecDeque<(Offset, Peer, Message)>,
    next_preferred: Millis,
    /// When it wanted its next turn.
    planned: Millis,
}

pub fn settings() -> Rc<StaticConfig> {
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let overrides = [("min.insync.replicas", "2"), ("node.id", "0")].map(own).to_vec();
    let overrides = overrides.into_iter().collect();
    let built = StaticConfig::new(&Sources { overrides, ..Default::default() });
    Rc::new(built.expect("these settings are right").0)
}

impl Controller {
    pub fn new(at: usize, rng: Rng, fixed: Rc<StaticConfig>, bug: Option<Bug>) -> Self {
        Self {
            node: broker_id(at),
            rng,
            fixed,
            bug,
            active: None,
            waiting: VecDeque::new(),
            next_preferred: Millis::ZERO,
            planned: Millis::MAX,
        }
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    pub fn next(&self) -> Millis {
        let Some((_, sessions)) = &self.active else { return Millis::MAX };
        let check = sessions.next_check().map_or(Millis::MAX, |at| at + Millis(1));
        check.min(self.next_preferred)
    }

    /// Takes or leaves office as the quorum has it, fences who is silent, and lets answers go.
    pub fn tick(&mut self, quorum: &mut Quorum, now: Now) -> anyhow::Result<()> {
        let epoch = quorum.leading();
        if self.active.as_ref().map(|(epoch, _)| *epoch) != epoch {
            self.waiting.clear();
            self.active = None;
            if let Some(epoch) = epoch {
                self.activate(epoch, quorum, now)?;
            }
        }
        self.look_at_sessions(quorum, now.monotonic);
        while let Some(id) = self.expired(now.monotonic) {
            self.decide(quorum, now, |image, context| Decision {
                records: fence_broker(image, id, context),
                response: (),
            })?;
        }
        if self.active.is_some() && self.next_preferred <= now.monotonic {
            self.next_preferred = now.monotonic + PREFERRED_EVERY;
            self.decide(quorum, now, |image, context| Decision {
                records: elect_preferred_leaders(image, ELECTIONS_PER_CHECK, context),
                response: (),
            })?;
        }
        let end = quorum.committed().1;
        while let Some((_, peer, message)) =
            self.waiting.pop_front_if(|(needed, _, _)| *needed <= end)
        {
            quorum.out.push(Sending::answer(peer, message));
        }
        self.planned = self.next();
        Ok(())
    }

    /// Probes who is silent, unless it is this machine itself that stood still.
    fn look_at_sessions(&mut self, quorum: &mut Quorum, now: Millis) {
        let late = now - self.planned;
        let Some((_, sessions)) = &mut self.active else { return };
        if late > LATE_MAX {
            sessions.postpone(late);
        }
        for (id, epoch) in sessions.take_probes(now) {
            quorum.out.push(Sending::request(address(id), Message::Probe { epoch }));
        }
    }

    /// A probe of a run of a broker has come to its end.
    pub fn probed(&mut self, run: (BrokerId, i64), probed: Probed, now: Millis) {
        if let Some((_, sessions)) = &mut self.active {
            sessions.probed(run, probed, now);
        }
    }

    fn expired(&self, now: Millis) -> Option<BrokerId> {
        self.active.as_ref().and_then(|(_, sessions)| sessions.expired(now))
    }

    fn activate(
        &mut self,
        epoch: LeaderEpoch,
        quorum: &mut Quorum,
        now: Now,
    ) -> anyhow::Result<()> {
        self.active = Some((epoch, BrokerSessions::new(SESSION, HEARTBEAT)));
        self.next_preferred = now.monotonic + PREFERRED_EVERY;
        if quorum.images.in_transaction() {
            self.append(quorum, vec![AbortTransactionRecord::default().into()], now)?;
        }
        if quorum.images.deciding().metadata_version() == 0 {
            let records = bootstrap_records(&self.context());
            self.append(quorum, records, now)?;
        }
        self.follow(quorum, now.monotonic);
        Ok(())
    }

    fn context(&mut self) -> Context<'_> {
        Context { rng: &mut self.rng, fixed: &self.fixed, node: self.node }
    }

    fn follow(&mut self, quorum: &Quorum, now: Millis) {
        if let Some((_, sessions)) = &mut self.active {
            sessions.follow(quorum.images.deciding(), quorum.images.end().get() - 1, now);
        }
    }

    fn append(
        &mut self,
        quorum: &mut Quorum,
        records: Vec<MetadataRecord>,
        now: Now,
    ) -> anyhow::Result<()> {
        let Some((epoch, _)) = self.active else { return Ok(()) };
        // The first records say themselves what they are written at.
        let level = match quorum.images.deciding().metadata_version() {
            0 => 30,
            level => level,
        };
        for batch in batches(records, level)? {
            quorum.log.append(&batch, level, epoch, now.wall)?;
            quorum.images.append(&batch, quorum.log.log.end_offset())?;
            quorum.appended(now.monotonic);
        }
        Ok(())
    }

    fn decide<R>(
        &mut self,
        quorum: &mut Quorum,
        now: Now,
        decide: impl FnOnce(&Image, &mut Context<'_>) -> Decision<R>,
    ) -> anyhow::Result<R> {
        let image = quorum.images.deciding().clone();
        let Decision { records, response } = decide(&image, &mut self.context());
        self.append(quorum, records, now)?;
        self.follow(quorum, now.monotonic);
        Ok(response)
    }

    /// Decides what is asked; who asked hears once that is committed.
    pub fn take(
        &mut self,
        quorum: &mut Quorum,
        (from, id): (Peer, u64),
        ask: &Ask,
        now: Now,
    ) -> anyhow::Result<()> {
        if self.active.is_none() {
            let told = Told::NotController;
            quorum.out.push(Sending::answer(from, Message::Told { id, told }));
            return Ok(());
        }
        let told = self.answer(quorum, ask, now)?;
        let message = Message::Told { id, told };
        if self.bug == Some(Bug::AnswerBeforeCommit) {
            quorum.out.push(Sending::answer(from, message));
        } else {
            self.waiting.push_back((quorum.images.end(), from, message));
        }
        Ok(())
    }

    fn answer(&mut self, quorum: &mut Quorum, ask: &Ask, now: Now) -> anyhow::Result<Told> {
        Ok(match ask {
            Ask::Register(request) => {
                let id = BrokerId(request.broker_id);
                let alive =
                    |(_, sessions): &(_, BrokerSessions)| sessions.is_alive(id, now.monotonic);
                let facts = RegistrationFacts {
                    cluster_id: CLUSTER_ID,
                    next_offset: quorum.log.log.end_offset().get(),
                    session_is_alive: self.active.as_ref().is_some_and(alive),
                };
                let response = self.decide(quorum, now, |image, context| {
                    register_broker(image, request, facts, context)
                })?;
                Told::Registered(response)
            }
            Ask::Heartbeat(request) => {
                let Some((_, sessions)) = &mut self.active else { return Ok(Told::NotController) };
                sessions.heard(request, now.monotonic);
                let facts = sessions.heartbeat_facts(BrokerId(request.broker_id));
                let response = self.decide(quorum, now, |image, context| {
                    heartbeat(image, request, facts, context)
                })?;
                let error = ErrorCode::from_wire(response.error_code);
                Told::Beaten { error, should_shut_down: response.should_shut_down }
            }
            Ask::Alter(request) => Told::Altered(self.decide(quorum, now, |image, context| {
                alter_partition(image, request, ALTER_VERSION, context)
            })?),
            Ask::Create(request) => Told::Created(
                self.decide(quorum, now, |image, context| create_topics(image, request, context))?,
            ),
            Ask::Move(request) => {
                self.decide(quorum, now, |image, context| {
                    alter_partition_reassignments(image, request, context)
                })?;
                Told::Done
            }
            Ask::Assign(request) => {
                self.decide(quorum, now, |image, context| {
                    assign_replicas_to_dirs(image, request, context)
                })?;
                Told::Done
            }
            Ask::Voter(key) => {
                quorum.change_voter(*key, now)?;
                Told::Done
            }
        })
    }
}
