//! The controller of the simulation: one actor that never fails. It fences brokers that are not
//! heard of, elects, and judges changes of the ISR.

use std::collections::BTreeMap;

use thalweg_replication::{AlterAnswer, AlterPartition};
use types::{BrokerId, ErrorCode, Millis, Rng};

use crate::support::PartitionState;

/// A broker that is not heard of for so long is fenced.
const SESSION_TIMEOUT: Millis = Millis(1500);

#[derive(Clone, Debug)]
pub struct Registration {
    pub epoch: i64,
    pub is_fenced: bool,
    last_heard: Millis,
}

/// What the brokers are told, all at once.
#[derive(Clone, Debug)]
pub struct Image {
    pub version: u64,
    pub brokers: BTreeMap<BrokerId, Registration>,
    pub partitions: Vec<PartitionState>,
}

pub struct Controller {
    pub image: Image,
    next_broker_epoch: i64,
}

impl Image {
    /// The epoch of a broker that may be in an ISR.
    pub fn active_epoch(&self, id: BrokerId) -> Option<i64> {
        active_epoch(&self.brokers, id)
    }
}

impl Controller {
    pub fn new(partitions: usize, replicas: &[BrokerId], min_isr: usize) -> Self {
        let partitions = vec![PartitionState::new(replicas, min_isr); partitions];
        let image = Image { version: 0, brokers: BTreeMap::new(), partitions };
        Self { image, next_broker_epoch: 1 }
    }

    /// A process of a broker begins; it is fenced until it is heard of.
    pub fn register(&mut self, id: BrokerId, now: Millis) -> i64 {
        let epoch = self.next_broker_epoch;
        self.next_broker_epoch += 1;
        let broker = Registration { epoch, is_fenced: true, last_heard: now };
        self.image.brokers.insert(id, broker);
        // Whatever the former process led is led no more, even if nobody else can.
        self.leave(id);
        epoch
    }

    /// A broker says that it is alive and has seen the metadata up to `version`.
    pub fn heartbeat(&mut self, id: BrokerId, epoch: i64, version: u64, now: Millis) {
        let current = self.image.version;
        let Some(broker) = self.image.brokers.get_mut(&id) else { return };
        if broker.epoch != epoch {
            return;
        }
        broker.last_heard = now;
        if broker.is_fenced && version + 5 >= current {
            broker.is_fenced = false;
            self.image.version += 1;
            self.elect_where_nobody_leads();
        }
    }

    pub fn tick(&mut self, now: Millis) {
        let silent =
            |broker: &Registration| !broker.is_fenced && now - broker.last_heard > SESSION_TIMEOUT;
        let silent = self.image.brokers.iter().find(|(_, broker)| silent(broker));
        if let Some((&id, _)) = silent {
            self.image.brokers.get_mut(&id).expect("it was found").is_fenced = true;
            self.leave(id);
        }
    }

    /// Another member of the ISR leads, as after an election of the preferred leader.
    pub fn move_leader(&mut self, partition: usize, rng: &mut Rng) {
        let at = rng.below(3) as usize;
        let to = self.image.partitions[partition].isr.get(at).copied();
        let Some(to) = to.filter(|id| self.image.active_epoch(*id).is_some()) else { return };
        let state = &mut self.image.partitions[partition];
        if state.leader != Some(to) {
            state.set_leader(Some(to));
            self.image.version += 1;
        }
    }

    pub fn alter(
        &mut self,
        from: (BrokerId, i64),
        partition: usize,
        alter: &AlterPartition,
    ) -> AlterAnswer {
        let (id, epoch) = from;
        let Image { brokers, partitions, version } = &mut self.image;
        if brokers.get(&id).is_none_or(|broker| broker.epoch != epoch) {
            return AlterAnswer::Refused(ErrorCode::StaleBrokerEpoch);
        }
        *version += 1;
        partitions[partition].alter(id, alter, |id| active_epoch(brokers, id))
    }

    /// A broker is in no ISR any more and leads nothing.
    fn leave(&mut self, id: BrokerId) {
        for state in &mut self.image.partitions {
            self.image.version += u64::from(state.leave(id));
        }
        self.elect_where_nobody_leads();
    }

    fn elect_where_nobody_leads(&mut self) {
        let Image { brokers, partitions, version } = &mut self.image;
        for state in partitions {
            *version += u64::from(state.elect(|id| active_epoch(brokers, id).is_some()));
        }
    }
}

fn active_epoch(brokers: &BTreeMap<BrokerId, Registration>, id: BrokerId) -> Option<i64> {
    brokers.get(&id).filter(|broker| !broker.is_fenced).map(|broker| broker.epoch)
}
