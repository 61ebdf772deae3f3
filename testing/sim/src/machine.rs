//! A machine: its disk, which outlives the process, and the process, which is controller and broker.

use std::collections::BTreeMap;
use std::rc::Rc;

use config::StaticConfig;
use log::FaultyDisk;
use metadata::controller::Probed;
use raft::VoterSet;
use types::{Millis, Offset, Rng};

use crate::broker::Broker;
use crate::bug::Bug;
use crate::controller::Controller;
use crate::message::{Message, Peer, Sending, Slot, broker_id};
use crate::quorum::Quorum;

pub struct Machine {
    pub disk: FaultyDisk,
    /// `None` while it is down.
    pub process: Option<Process>,
    /// Counts processes.
    pub life: u32,
    /// A pause of the process: nothing is done until then.
    pub paused_until: Millis,
    /// How much of each log it has on its disk, as it last knew.
    pub durable: BTreeMap<Slot, Offset>,
}

pub struct Process {
    pub quorum: Quorum,
    controller: Controller,
    pub broker: Broker,
    bug: Option<Bug>,
    /// Up to where its metadata log was compared with everybody's.
    pub checked: Offset,
}

/// What all machines of a run have in common.
#[derive(Clone)]
pub struct Setup {
    pub machines: usize,
    pub first: VoterSet,
    pub fixed: Rc<StaticConfig>,
    pub bug: Option<Bug>,
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        Self {
            disk: FaultyDisk::new(seed),
            process: None,
            life: 0,
            paused_until: Millis::ZERO,
            durable: BTreeMap::new(),
        }
    }
}

impl Process {
    pub fn start(
        at: usize,
        setup: &Setup,
        disk: &FaultyDisk,
        now: Millis,
        rng: &mut Rng,
    ) -> anyhow::Result<Self> {
        let mut fork = || Rng::new(rng.next_u64());
        let numbers = (at, setup.machines);
        let quorum = Quorum::start(numbers, disk, &setup.first, now, fork(), setup.bug)?;
        Ok(Self {
            quorum,
            controller: Controller::new(at, fork(), Rc::clone(&setup.fixed), setup.bug),
            broker: Broker::start(at, disk, now, fork(), setup.bug),
            bug: setup.bug,
            checked: Offset::ZERO,
        })
    }

    /// When it has something to do again.
    pub fn next(&self) -> Millis {
        self.quorum.next().min(self.controller.next()).min(self.broker.next())
    }

    /// Whether it is the active controller.
    pub fn is_controller(&self) -> bool {
        self.controller.is_active()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Millis) -> anyhow::Result<()> {
        self.quorum.tick(now)?;
        self.settle(now)
    }

    fn settle(&mut self, now: Millis) -> anyhow::Result<()> {
        self.controller.tick(&mut self.quorum, now)?;
        self.quorum.settle(now)?;
        let (image, end) = match self.bug {
            Some(Bug::MetadataBeforeCommit) => {
                (self.quorum.images.deciding(), self.quorum.images.end())
            }
            _ => self.quorum.committed(),
        };
        self.broker.learn(image, end, now)?;
        self.broker.tick(self.quorum.leader(), now)
    }

    /// Hands the leadership of the quorum over.
    pub fn step_down(&mut self, now: Millis) -> anyhow::Result<()> {
        self.quorum.step_down(now)?;
        self.settle(now)
    }

    /// Takes a message.
    pub fn take(&mut self, from: Peer, message: Message, now: Millis) -> anyhow::Result<()> {
        let broker = &mut self.broker;
        match message {
            Message::Raft { id, request } => self.quorum.serve(from, id, &request, now)?,
            Message::RaftAnswer { id, response } => self.quorum.responded(id, response, now)?,
            Message::RaftFailed { id } => self.quorum.failed(id, now)?,
            Message::Ask { id, ask } => {
                self.controller.take(&mut self.quorum, (from, id), &ask, now)?;
            }
            Message::Told { id, told } => broker.told(id, told, now),
            Message::Fetch { id, broker_epoch, plan } => {
                broker.fetch(from, (id, broker_epoch), &plan, now)?;
            }
            Message::Fetched { id, error, session_id, partitions } => {
                broker.fetched(from.at, id, (error, session_id), partitions, now)?;
            }
            Message::Produce { id, slot, batch } => {
                broker.produce((from, id), slot, &batch, now)?;
            }
            Message::Consume { id, slot, from: offset } => {
                broker.consume((from, id), slot, offset)?;
            }
            Message::Probe { epoch } => {
                let answer = Message::Probed { epoch, probed: Probed::Alive };
                self.quorum.out.push(Sending::answer(from, answer));
            }
            Message::Probed { epoch, probed } => {
                self.controller.probed((broker_id(from.at), epoch), probed, now);
            }
            Message::Produced { .. } | Message::Consumed { .. } => panic!("meant for clients"),
        }
        self.settle(now)
    }

    pub fn describe(&self) -> String {
        let quorum = (self.quorum.raft.election(), self.quorum.committed);
        let broker = &self.broker;
        let known = broker.image.broker(broker.id()).map(|one| (one.epoch, one.fenced));
        let mut text = format!("{quorum:?}, broker epoch {:?} known as {known:?}", broker.epoch);
        for replica in broker.replicas.values() {
            text.push_str(&replica.describe());
        }
        text
    }

    /// Takes what is to be sent.
    pub fn sendings(&mut self) -> Vec<Sending> {
        let mut out = std::mem::take(&mut self.quorum.out);
        out.append(&mut self.broker.out);
        out
    }
}
