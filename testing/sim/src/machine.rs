//! A machine: its disks, which outlive the process, and the process, which is controller and broker.

use std::collections::BTreeMap;
use std::rc::Rc;

use config::StaticConfig;
use log::Loss;
use metadata::controller::Probed;
use raft::VoterSet;
use types::{Millis, Offset, Rng};

use crate::broker::Broker;
use crate::bug::Bug;
use crate::clock::{Clock, Now};
use crate::controller::Controller;
use crate::dirs::{DIRS, Dir, id};
use crate::message::{Message, Peer, Sending, Slot, broker_id};
use crate::quorum::Quorum;
use crate::trace::Trace;

pub struct Machine {
    pub dirs: Vec<Dir>,
    pub clock: Clock,
    /// `None` while it is down.
    pub process: Option<Process>,
    /// Counts processes.
    pub life: u32,
    /// A pause of the process: nothing is done until then.
    pub paused_until: Millis,
    /// How much of each log it has on its disk, as it last knew.
    pub durable: BTreeMap<Slot, Offset>,
    /// As much it had when it lost a disk.
    pub lost: BTreeMap<Slot, Offset>,
    /// How often disks of it were replaced.
    pub disks: u8,
    /// Whether it began with an empty disk while the cluster was there, so that it knows no voters.
    pub is_blank: bool,
    /// The epoch of its broker, if the last process ended in good order: a mark on its disks.
    pub clean_epoch: Option<i64>,
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
    pub trace: Trace,
}

impl Machine {
    pub fn new(at: usize, rng: &mut Rng, bug: Option<Bug>) -> Self {
        let mut clock = Clock::new(rng);
        clock.waits_by_wall = bug == Some(Bug::TimersByWallClock);
        Self {
            dirs: (0..DIRS).map(|place| Dir::new(id(at, place, 0), rng)).collect(),
            clock,
            process: None,
            life: 0,
            paused_until: Millis::ZERO,
            durable: BTreeMap::new(),
            lost: BTreeMap::new(),
            disks: 0,
            is_blank: false,
            clean_epoch: None,
        }
    }

    /// Cuts the power, or ends the process alone.
    pub fn crash(&mut self, loss: Loss) {
        self.process = None;
        self.dirs.iter().for_each(|dir| dir.disk.crash(loss));
    }

    /// Whether the power has gone in the middle of a change of a disk.
    pub fn is_dead(&self) -> bool {
        self.dirs.iter().any(|dir| dir.disk.is_dead())
    }

    /// When its process has something to do again, by the time of the world.
    pub fn next(&self) -> Option<Millis> {
        Some(self.clock.world(self.process.as_ref()?.next()).max(self.paused_until))
    }
}

impl Process {
    pub fn start(
        at: usize,
        setup: &Setup,
        machine: &Machine,
        now: Now,
        rng: &mut Rng,
    ) -> anyhow::Result<Self> {
        let mut fork = || Rng::new(rng.next_u64());
        let numbers = (at, setup.machines);
        let (dirs, first) = (&machine.dirs, (!machine.is_blank).then_some(&setup.first));
        let quorum =
            Quorum::start(numbers, &dirs[0], first, now, fork(), (setup.bug, setup.trace.clone()))?;
        Ok(Self {
            quorum,
            controller: Controller::new(at, fork(), Rc::clone(&setup.fixed), setup.bug),
            broker: Broker::start(
                at,
                dirs,
                now.monotonic,
                fork(),
                machine.clean_epoch,
                (setup.bug, setup.trace.clone()),
            )?,
            bug: setup.bug,
            checked: Offset::ZERO,
        })
    }

    /// When it has something to do again, by its monotonic clock.
    pub fn next(&self) -> Millis {
        self.quorum.next().min(self.controller.next()).min(self.broker.next())
    }

    /// Whether it is the active controller.
    pub fn is_controller(&self) -> bool {
        self.controller.is_active()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) -> anyhow::Result<()> {
        self.quorum.tick(now)?;
        self.settle(now)
    }

    fn settle(&mut self, now: Now) -> anyhow::Result<()> {
        self.controller.tick(&mut self.quorum, now)?;
        self.quorum.settle(now)?;
        let (image, end) = match self.bug {
            Some(Bug::MetadataBeforeCommit) => {
                (self.quorum.images.deciding(), self.quorum.images.end())
            }
            _ => self.quorum.committed(),
        };
        self.broker.learn(image, end, now)?;
        if self.quorum.has_caught_up() {
            self.broker.may_register = true;
        }
        self.broker.tick(self.quorum.leader(), now)
    }

    /// Hands the leadership of the quorum over.
    pub fn step_down(&mut self, now: Now) -> anyhow::Result<()> {
        self.quorum.step_down(now)?;
        self.settle(now)
    }

    /// Begins to leave in good order.
    pub fn leave(&mut self, now: Now) -> anyhow::Result<()> {
        self.broker.leave(now.monotonic);
        self.step_down(now)
    }

    /// Ends in good order; gives what [`Machine::clean_epoch`] is to say.
    pub fn close(mut self) -> anyhow::Result<Option<i64>> {
        self.quorum.log.sync()?;
        self.broker.close()
    }

    /// Takes a message.
    pub fn take(&mut self, from: Peer, message: Message, now: Now) -> anyhow::Result<()> {
        let broker = &mut self.broker;
        match message {
            Message::Raft { id, request } => self.quorum.serve(from, id, &request, now)?,
            Message::RaftAnswer { id, response } => self.quorum.responded(id, response, now)?,
            Message::RaftFailed { id } => self.quorum.failed(id, now)?,
            Message::Ask { id, ask } => {
                self.controller.take(&mut self.quorum, (from, id), &ask, now)?;
            }
            Message::Told { id, told } => broker.told(id, told, now.monotonic),
            Message::Fetch { id, broker_epoch, plan } => {
                broker.fetch(from, (id, broker_epoch), &plan, now.monotonic)?;
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
                self.controller.probed((broker_id(from.at), epoch), probed, now.monotonic);
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
