//! The world of the simulation: brokers, the controller, the network between them, producers, and
//! faults.

use std::collections::BTreeMap;
use std::rc::Rc;

use types::{Millis, Rng};

use crate::controller::Controller;
use crate::history::{History, check_matching};
use crate::node::{CONTROLLER, Message, Node, REQUEST_TIMEOUT, Role, broker};
use crate::support::index;

const PARTITIONS: usize = 2;
const REPLICAS: usize = 3;

pub struct World {
    now: Millis,
    rng: Rng,
    nodes: Vec<Node>,
    controller: Controller,
    histories: Vec<History>,
    network: BTreeMap<(Millis, u64), (usize, usize, Message)>,
    sent: u64,
    /// Pairs of nodes, in one direction, between which nothing gets through.
    cut: Vec<(usize, usize)>,
    loss_percent: u32,
    delay_max: u32,
    /// A disk syncs about once in so many milliseconds.
    sync_every: u32,
    min_isr: usize,
    values: u32,
}

impl World {
    /// Three brokers with two partitions, synced before counted or not.
    pub fn new(seed: u64, min_isr: usize, is_sync: bool) -> Self {
        let ids: Vec<_> = (0..REPLICAS).map(broker).collect();
        let mut world = Self {
            now: Millis(1),
            rng: Rng::new(seed),
            nodes: (0..REPLICAS).map(|id| Node::new(id, PARTITIONS, is_sync)).collect(),
            controller: Controller::new(PARTITIONS, &ids, min_isr),
            histories: (0..PARTITIONS).map(|_| History::default()).collect(),
            network: BTreeMap::new(),
            sent: 0,
            cut: vec![],
            loss_percent: 0,
            delay_max: 10,
            sync_every: 4,
            min_isr,
            values: 0,
        };
        for at in 0..REPLICAS {
            world.start(at);
        }
        world
    }

    fn start(&mut self, at: usize) {
        let epoch = self.controller.register(broker(at), self.now);
        self.nodes[at].start(epoch, self.now);
    }

    pub fn run(&mut self, millis: i64) {
        let end = self.now + Millis(millis);
        while self.now < end {
            self.step();
            if self.rng.below(20) == 0 {
                self.produce();
            }
        }
    }

    /// Runs on a slow or fast network and disk, with seldom or frequent faults.
    pub fn run_with_faults(&mut self, millis: i64) {
        self.delay_max = 1 << (1 + self.rng.below(8));
        self.sync_every = 1 << self.rng.below(8);
        let fault_every = 100 << self.rng.below(4);
        let end = self.now + Millis(millis);
        while self.now < end {
            self.step();
            if self.rng.below(20) == 0 {
                self.produce();
            }
            if self.rng.below(fault_every) == 0 {
                self.disturb();
            }
        }
    }

    fn step(&mut self) {
        self.now = self.now + Millis(1);
        while let Some((&(due, number), _)) = self.network.first_key_value() {
            if due > self.now {
                break;
            }
            let (from, to, message) = self.network.remove(&(due, number)).expect("it was seen");
            self.deliver(from, to, message);
        }
        self.controller.tick(self.now);
        for at in 0..self.nodes.len() {
            if self.is_up(at) {
                self.nodes[at].tick(self.now);
                // A disk takes its time.
                if self.rng.below(self.sync_every) == 0 {
                    self.nodes[at].sync(self.now);
                }
                if self.rng.below(500) == 0 {
                    self.nodes[at].checkpoint();
                }
                self.look_at(at);
            }
            self.tell_metadata(at);
        }
        if self.now.get() % 1000 == 0 {
            for partition in 0..PARTITIONS {
                let logs: Vec<_> = self.nodes.iter().map(|node| &node.logs[partition]).collect();
                check_matching(&logs);
            }
        }
    }

    fn is_up(&self, at: usize) -> bool {
        self.nodes[at].process.is_some() && self.nodes[at].paused_until <= self.now
    }

    fn tell_metadata(&mut self, at: usize) {
        let knows = self.nodes[at].process.as_ref().and_then(|process| process.image.as_ref());
        let is_old = knows.is_none_or(|image| image.version < self.controller.image.version);
        if is_old && self.rng.below(10) == 0 {
            let image = Rc::new(self.controller.image.clone());
            self.send(CONTROLLER, at, Message::Metadata(image));
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.cut.contains(&(from, to)) || self.rng.below(100) < self.loss_percent {
            return;
        }
        let due = self.now + Millis(i64::from(1 + self.rng.below(self.delay_max)));
        self.sent += 1;
        self.network.insert((due, self.sent), (from, to, message));
    }

    fn deliver(&mut self, from: usize, to: usize, message: Message) {
        if to != CONTROLLER {
            if self.is_up(to) {
                self.nodes[to].take(from, message, self.now, &mut self.rng);
                self.look_at(to);
            }
            return;
        }
        match message {
            Message::Heartbeat { broker_epoch, version } => {
                self.controller.heartbeat(broker(from), broker_epoch, version, self.now);
            }
            Message::Alter { broker_epoch, partition, alter } => {
                let answer = self.controller.alter((broker(from), broker_epoch), partition, &alter);
                let answer = Message::Altered { broker_epoch, partition, alter, answer };
                self.send(CONTROLLER, from, answer);
            }
            _ => panic!("not meant for the controller"),
        }
    }

    /// Sends what a node has to say, and checks and acknowledges what it has committed.
    fn look_at(&mut self, at: usize) {
        for (to, message) in std::mem::take(&mut self.nodes[at].outbox) {
            self.send(at, to, message);
        }
        for partition in 0..PARTITIONS {
            let history = &mut self.histories[partition];
            let node = &self.nodes[at];
            let Some(high_watermark) = node.high_watermark(partition) else { continue };
            let Some(process) = &node.process else { continue };
            let log = &node.logs[partition];
            if let Role::Leader(leader) = &process.roles[partition] {
                history.leads(leader.epoch(), (at, process.broker_epoch), log);
            }
            history.serves(at, log, (process.served[partition], high_watermark));
            let done =
                process.waiting[partition].iter().take_while(|(end, _)| *end < high_watermark);
            let done: Vec<_> = done.copied().collect();
            if !done.is_empty() {
                let counted = |node: &Node| index(node.counted_end(partition));
                let logs: Vec<_> =
                    self.nodes.iter().map(|n| (&n.logs[partition], counted(n))).collect();
                for &(end, value) in &done {
                    history.acknowledges(end, value, &logs, self.min_isr);
                }
            }
            let process = self.nodes[at].process.as_mut().expect("it was there");
            process.served[partition] = high_watermark;
            process.waiting[partition].drain(..done.len());
        }
    }

    fn produce(&mut self) {
        let at = self.rng.below(3) as usize;
        let partition = self.rng.below(2) as usize;
        if self.is_up(at) {
            self.values += 1;
            self.nodes[at].produce(partition, self.values);
            self.look_at(at);
        }
    }

    fn disturb(&mut self) {
        let (at, other) = (self.rng.below(3) as usize, self.rng.below(3) as usize);
        match self.rng.below(12) {
            0 | 1 if self.nodes[at].process.is_some() => {
                let Self { nodes, rng, .. } = self;
                nodes[at].crash(rng);
            }
            0..=3 => {
                if self.nodes[at].process.is_none() {
                    self.start(at);
                }
            }
            4 => self.nodes[at].paused_until = self.now + Millis(i64::from(self.rng.below(5000))),
            5 if at != other => self.cut.push((at, other)),
            6 => self.cut.push([(at, CONTROLLER), (CONTROLLER, at)][other % 2]),
            7 => self.cut.clear(),
            8 => self.loss_percent = [0, 0, 5, 30][self.rng.below(4) as usize],
            9 => self.sync_every = 1 << self.rng.below(8),
            // There, and back again sometimes before anybody has heard of it.
            _ => {
                for _ in 0..=self.rng.below(2) {
                    let Self { controller, rng, .. } = self;
                    controller.move_leader(other % PARTITIONS, rng);
                }
            }
        }
    }

    pub fn heal(&mut self) {
        (self.loss_percent, self.delay_max, self.sync_every) = (0, 10, 4);
        self.cut.clear();
        for at in 0..self.nodes.len() {
            self.nodes[at].paused_until = Millis::ZERO;
            if self.nodes[at].process.is_none() {
                self.start(at);
            }
        }
    }

    /// Nothing is produced any more: all replicas end up in sync, with the same log, all of it
    /// committed.
    pub fn check_settled(&mut self) {
        for _ in 0..5 * REQUEST_TIMEOUT.get() {
            self.step();
        }
        for partition in 0..PARTITIONS {
            let logs: Vec<_> = self.nodes.iter().map(|node| &node.logs[partition]).collect();
            self.histories[partition].check_settled(&logs);
            let state = &self.controller.image.partitions[partition];
            assert_eq!(state.isr.len(), REPLICAS, "not all are in sync again");
            for node in &self.nodes {
                assert_eq!(node.high_watermark(partition), Some(node.logs[partition].end()));
            }
        }
    }

    /// How many records were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.histories.iter().map(|history| history.acknowledged.len()).sum()
    }
}
