//! The world of a run: machines, clients, the network between them, and time.
//!
//! Time jumps from event to event. Not here: what goes wrong (`faults`), what must hold (`history`, `rest`).

use std::collections::{BTreeMap, BTreeSet};

use log::Loss;
use metadata::controller::Probed;
use protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use raft::VoterSet;
use types::{Millis, Rng};

use crate::bug::Bug;
use crate::client::{Client, Kind};
use crate::clock::Now;
use crate::controller::{MIN_ISR, settings};
use crate::dirs;
use crate::happening::Happening;
use crate::history::History;
use crate::machine::{Machine, Process, Setup};
use crate::message::{Address, Ask, CLIENTS, Message, Peer, Sending, Slot, Told};
use crate::quorum::voter;
use crate::replacement::Losses;
use crate::replica::{TOPIC, parse};
use crate::trace::Trace;

/// Partitions of the topic that is written to.
pub const PARTITIONS: Slot = 2;
/// Replicas of each.
const FACTOR: i16 = 3;
const VOTERS: usize = 3;
const PRODUCERS: u32 = 3;
const CREATE_EVERY: Millis = Millis(400);
/// Who creates topics and moves replicas.
pub const ADMIN: Address = 99;

/// Something on its way.
struct Travelling {
    from: Peer,
    to: Address,
    life: Option<u32>,
    message: Message,
}

pub struct World {
    pub now: Millis,
    pub rng: Rng,
    pub machines: Vec<Machine>,
    pub setup: Setup,
    pub clients: Vec<Client>,
    network: BTreeMap<(Millis, u64), Travelling>,
    sent: u64,
    /// Ends of ways, in one direction, on which nothing gets through.
    pub cut: BTreeSet<(Address, Address)>,
    pub loss_percent: u32,
    pub copy_percent: u32,
    pub delay_max: u32,
    /// So often a machine crashes just after an answer that promises something has left it, and
    /// starts again at once.
    pub crash_percent: u32,
    /// Of so many turns in a thousand one call of a disk is to fail.
    pub failure_permille: u32,
    pub losses: Losses,
    pub history: History,
    pub trace: Trace,
    next_create: Millis,
    /// The topic that is being created, and the number of the next one.
    creating: Option<(u64, String)>,
    created: u64,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let machines = VOTERS + rng.below(3) as usize;
        let first = VoterSet::new((0..VOTERS).map(|at| voter(at, dirs::id(at, 0, 0))));
        let setup = Setup { machines, first, fixed: settings(), bug, trace: trace.clone() };
        let mut clients: Vec<_> = (0..PRODUCERS)
            .map(|number| Client::producer(number, number.cast_signed() % PARTITIONS))
            .collect();
        let consumers = (0..PARTITIONS).zip(PRODUCERS..);
        clients.extend(consumers.map(|(slot, number)| Client::consumer(number, slot)));
        let mut world = Self {
            now: Millis(1),
            machines: (0..machines).map(|at| Machine::new(at, &mut rng, bug)).collect(),
            rng,
            setup,
            clients,
            network: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            loss_percent: 0,
            copy_percent: 0,
            delay_max: 10,
            crash_percent: 0,
            failure_permille: 0,
            losses: Losses::default(),
            history: History::default(),
            trace,
            next_create: Millis(1500),
            creating: None,
            created: 0,
        };
        (0..machines).for_each(|at| world.start(at));
        world
    }

    /// Starts the process of a machine, if its disks let it.
    pub fn start(&mut self, at: usize) {
        let has_order = self.order_failure(at);
        let Self { machines, rng, setup, now, .. } = self;
        let machine = &mut machines[at];
        machine.life += 1;
        machine.clock.restart(rng);
        let started = Process::start(at, setup, machine, machine.clock.now(*now), rng);
        // Whatever comes of it, the mark of a good end is gone.
        machine.clean_epoch = None;
        if has_order {
            machine.dirs.iter().for_each(|dir| dir.disk.repair());
        }
        match started {
            Ok(process) => machine.process = Some(process),
            Err(fault) => self.died(at, &fault),
        }
    }

    /// The power has gone in the middle of a change, or a disk has failed without which a node
    /// cannot go on; anything else is a bug.
    fn died(&mut self, at: usize, fault: &anyhow::Error) {
        let is_dead = self.machines[at].is_dead();
        let is_failed = dirs::refused(fault).is_some();
        assert!(is_dead || is_failed, "machine {at} stops with whole disks: {fault:#}");
        let what = if is_dead { Happening::TornWrite } else { Happening::NodeEnd };
        self.trace.happens(what);
        self.crash(at);
    }

    /// Does the next thing, unless that comes after `until`; whether it did.
    pub fn step(&mut self, until: Millis) -> bool {
        let arrival = self.network.first_key_value().map_or(Millis::MAX, |((due, _), _)| *due);
        let machines = self.machines.iter().filter_map(Machine::next);
        let clients = self.clients.iter().map(Client::next);
        let timers = machines.chain(clients).min().unwrap_or(Millis::MAX).min(self.next_create);
        let next = arrival.min(timers).max(self.now);
        if next > until {
            self.now = until;
            return false;
        }
        self.now = next;
        if arrival <= next {
            let (_, travelling) = self.network.pop_first().expect("it was seen");
            self.deliver(travelling);
            return true;
        }
        for at in 0..self.machines.len() {
            if self.machines[at].next().is_some_and(|next| next <= self.now) {
                self.act(at, |process, now| process.tick(now));
            }
        }
        self.tick_clients();
        true
    }

    fn tick_clients(&mut self) {
        let (now, machines, bug) = (self.now, self.machines.len(), self.setup.bug);
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if let Some(sending) = client.tick(now, machines, &mut self.rng, bug) {
                let from = Peer { at: client.address(), life: 0 };
                self.send(from, sending);
            }
        }
        if self.next_create <= now {
            self.next_create = now + CREATE_EVERY;
            self.create_topic();
        }
    }

    /// The first topic is the one that is written to; others come so that their creators can be
    /// told of them.
    fn create_topic(&mut self) {
        self.created += 1;
        let is_first = self.history.topics.is_empty();
        let name = if is_first { TOPIC.to_owned() } else { format!("x{}", self.created) };
        let (num_partitions, replication_factor) =
            if is_first { (PARTITIONS, FACTOR) } else { (1, 1) };
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions,
            replication_factor,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        self.creating = Some((self.created, name));
        self.ask(self.created, Ask::Create(request));
    }

    fn controller(&self) -> Option<usize> {
        let is_active =
            |machine: &Machine| machine.process.as_ref().is_some_and(Process::is_controller);
        self.machines.iter().position(is_active)
    }

    /// The active controller hands over.
    pub fn step_down(&mut self) {
        let at = self.controller().filter(|at| self.machines[*at].paused_until <= self.now);
        if let Some(at) = at {
            self.act(at, |process, now| process.step_down(now));
        }
    }

    /// Asks whoever is the active controller just now.
    pub fn ask(&mut self, id: u64, ask: Ask) {
        if let Some(to) = self.controller() {
            let from = Peer { at: ADMIN, life: 0 };
            self.send(from, Sending::request(to, Message::Ask { id, ask }));
        }
    }

    /// Has a process do something, and looks at what came of it.
    fn act(&mut self, at: usize, what: impl FnOnce(&mut Process, Now) -> anyhow::Result<()>) {
        let has_order = self.order_failure(at);
        let machine = &mut self.machines[at];
        let now = machine.clock.now(self.now);
        let process = machine.process.as_mut().expect("it is up");
        let done = what(process, now);
        self.history.note_dropped(process);
        if has_order {
            machine.dirs.iter().for_each(|dir| dir.disk.repair());
        }
        let seen = done.and_then(|()| self.history.look((at, machine.life), process));
        if let Err(fault) = seen {
            return self.died(at, &fault);
        }
        for (slot, durable) in process.broker.gone.drain(..) {
            let known = machine.durable.entry(slot).or_insert(durable);
            *known = durable.max(*known);
        }
        for (slot, replica) in &process.broker.replicas {
            let (end, durable) = (replica.log.end_offset(), replica.log.durable_end());
            // A process that has just begun does not know yet what the one before it had synced.
            let known = machine.durable.entry(*slot).or_insert(durable);
            *known = durable.max(*known).min(end);
        }
        let acks = std::mem::take(&mut process.broker.acks);
        let (sendings, life) = (process.sendings(), machine.life);
        let has_left = process.broker.has_left;
        for ack in acks {
            // What was confirmed before its disk was lost need not be confirmed again.
            let durable = |machine: &Machine| {
                machine.durable.get(&ack.slot).max(machine.lost.get(&ack.slot)).copied()
            };
            let durable: Vec<_> = self.machines.iter().map(durable).collect();
            self.history.acknowledges(&ack, &durable, MIN_ISR);
        }
        let weight = sendings.iter().map(|sending| sending.message.promise_weight()).max();
        for sending in sendings {
            self.send(Peer { at, life }, sending);
        }
        if has_left {
            return self.end(at);
        }
        let percent = self.crash_percent * weight.unwrap_or(0) / 10;
        if self.rng.below(100) < percent {
            self.crash(at);
            self.restart(at);
        }
    }

    /// A process ends in good order.
    fn end(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let process = machine.process.take().expect("it is up");
        match process.close() {
            Ok(clean_epoch) => {
                machine.crash(Loss::Process);
                machine.clean_epoch = clean_epoch;
                self.trace.happens(Happening::CleanStop);
                self.trace.note(self.now, format_args!("{at} ends in good order"));
            }
            Err(fault) => self.died(at, &fault),
        }
    }

    /// Has a machine leave in good order.
    pub fn leave(&mut self, at: usize) {
        let machine = &self.machines[at];
        if machine.process.is_some() && machine.paused_until <= self.now {
            self.trace.note(self.now, format_args!("{at} is to leave"));
            self.act(at, |process, now| process.leave(now));
        }
    }

    fn send(&mut self, from: Peer, sending: Sending) {
        let Sending { to, life, message, kept } = sending;
        let is_local = from.at == to;
        let delay = if is_local { 1 } else { 1 + self.rng.below(self.delay_max) };
        let due = self.now + kept + Millis(i64::from(delay));
        let is_lost = !is_local
            && (self.cut.contains(&(from.at, to)) || self.rng.below(100) < self.loss_percent);
        let mut put = |due, from, to, life, message| {
            self.sent += 1;
            self.network.insert((due, self.sent), Travelling { from, to, life, message });
        };
        if !is_lost {
            if !is_local && self.rng.below(100) < self.copy_percent {
                let later = due + Millis(i64::from(self.rng.below(self.delay_max)));
                put(later, from, to, life, message.clone());
            }
            put(due, from, to, life, message);
        } else if let Message::Raft { id, .. } = message
            && self.rng.below(2) == 0
        {
            // Some connections break so that the sender hears of it.
            let back = Peer { at: to, life: 0 };
            put(due, back, from.at, Some(from.life), Message::RaftFailed { id });
        }
    }

    fn deliver(&mut self, travelling: Travelling) {
        let Travelling { from, to, life, message } = travelling;
        let numbers = [message.kind(), from.at as u64, to as u64];
        self.trace.count(self.now, numbers);
        if to >= ADMIN {
            return self.deliver_to_client(to, message);
        }
        let machine = &self.machines[to];
        if let (None, Message::Probe { epoch }) = (&machine.process, &message) {
            // Nobody listens, which the system says.
            let refused = Message::Probed { epoch: *epoch, probed: Probed::Gone };
            return self.send(Peer { at: to, life: 0 }, Sending::answer(from, refused));
        }
        if machine.process.is_none() || life.is_some_and(|life| life != machine.life) {
            return;
        }
        if machine.paused_until > self.now {
            self.sent += 1;
            let at = (machine.paused_until, self.sent);
            self.network.insert(at, Travelling { from, to, life, message });
            return;
        }
        if let Message::Ask { ask: Ask::Voter(key), .. } = &message
            && !self.may_change_voter(key)
        {
            return;
        }
        self.act(to, |process, now| process.take(from, message, now));
    }

    fn deliver_to_client(&mut self, to: Address, message: Message) {
        let (now, machines) = (self.now, self.machines.len());
        match message {
            Message::Told { id, told: Told::Created(response) } => {
                let is_good = response.topics.iter().all(|topic| topic.error_code == 0);
                let awaited = self.creating.take_if(|(asked, _)| *asked == id && is_good);
                self.history.topics.extend(awaited.map(|(_, name)| name));
            }
            Message::Produced { id, result } => {
                let client = &mut self.clients[to - CLIENTS];
                client.produced(id, result, now, machines, &mut self.rng);
            }
            Message::Consumed { id, result } => {
                let client = &mut self.clients[to - CLIENTS];
                let bytes = client.consumed(id, result, now, machines, &mut self.rng);
                let entries =
                    parse(&bytes.unwrap_or_default()).expect("brokers give whole batches");
                self.history.consumed(client.slot, &entries);
                if let (Kind::Consumer { next }, Some(last)) = (&mut client.kind, entries.last()) {
                    *next = last.offset.next();
                }
            }
            _ => {}
        }
    }

    /// No more is produced or created than is under way.
    pub fn finish(&mut self) {
        self.clients.iter_mut().for_each(Client::finish);
        self.next_create = Millis::MAX;
    }
}
