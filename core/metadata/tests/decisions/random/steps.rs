//! One random step: a request of a client, a broker that comes or goes, a leader that shrinks or
//! grows its ISR, a look after the leaders.

use std::collections::BTreeMap;

use protocol::messages::alter_partition::{
    AlterPartitionRequest, BrokerState, PartitionData, TopicData,
};
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use protocol::messages::assign_replicas_to_dirs as assign;
use protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use protocol::messages::create_topics::CreateTopicsRequest;
use protocol::messages::delete_topics::DeleteTopicsRequest;
use protocol::messages::elect_leaders::ElectLeadersRequest;
use protocol::messages::incremental_alter_configs as incremental;
use thalweg_metadata::controller::{
    alter_partition, alter_partition_reassignments, assign_replicas_to_dirs, create_partitions,
    create_topics, delete_topics, elect_leaders, elect_preferred_leaders, elect_unclean_leaders,
    incremental_alter_configs, unregister_broker,
};
use thalweg_metadata::image::directory;
use types::{BrokerId, Rng, Uuid};

use super::BROKERS;
use crate::world::{World, registration, topic};

/// What a step did, as far as the data of replicas is concerned.
#[derive(Debug)]
pub enum Taken {
    /// A leader named who has what it has, by partition.
    InSync(BTreeMap<(Uuid, i32), Vec<BrokerId>>),
    /// A broker came back without saying that it had stopped in order.
    Crashed(BrokerId),
    /// A directory is gone with all that lay in it.
    LostDirectory(BrokerId, Uuid),
    /// Somebody asked for unclean elections.
    Uncleanly,
    Other,
}

/// This broker has two directories.
const DOUBLE: i32 = 4;
const SECOND: Uuid = Uuid::from_bytes([77; 16]);

pub fn join(world: &mut World, id: i32) {
    restart(world, id, 200, &[]);
    world.beat(id, |_| {});
}

pub fn act(world: &mut World, dice: &mut Rng, run: u8) -> Taken {
    let taken = step(world, dice, run);
    place_replicas(world, dice);
    taken
}

fn step(world: &mut World, dice: &mut Rng, run: u8) -> Taken {
    let name = format!("t.{}", dice.below(4));
    let id = number(dice, BROKERS) + 1;
    match dice.below(20) {
        0 | 1 => create(world, dice, &name),
        2 => change_topics(world, dice, name),
        3 => world.fence(id),
        4..=6 => _ = world.beat(id, |ask| ask.want_shut_down = dice.below(4) == 0),
        7 => {
            restart(world, id, run, &[]);
            return Taken::Crashed(BrokerId(id));
        }
        8 => restart_in_order(world, id, run),
        9 => return lose_directory(world, dice, run),
        10 => forget(world, id),
        11 => {
            let election_type = i8::try_from(dice.below(2)).unwrap();
            let request = ElectLeadersRequest { election_type, ..Default::default() };
            world.decide(|image, context| elect_leaders(image, &request, context));
            return if election_type == 1 { Taken::Uncleanly } else { Taken::Other };
        }
        12 => set(world, &name, "min.insync.replicas", (1 + dice.below(3)).to_string()),
        13 => {
            let value = (dice.below(3) == 0).to_string();
            set(world, &name, "unclean.leader.election.enable", value);
        }
        14 => look_after_leaders(world),
        15 => reassign(world, dice, &name),
        _ => return set_isr(world, dice),
    }
    Taken::Other
}

fn number(dice: &mut Rng, below: i32) -> i32 {
    i32::try_from(dice.below(below.unsigned_abs())).unwrap()
}

fn create(world: &mut World, dice: &mut Rng, name: &str) {
    let replicas = i16::try_from(dice.below(5)).unwrap();
    let topics = vec![topic(name, number(dice, 4), replicas)];
    let request = CreateTopicsRequest { topics, ..Default::default() };
    world.decide(|image, context| create_topics(image, &request, context));
}

fn change_topics(world: &mut World, dice: &mut Rng, name: String) {
    if dice.below(4) == 0 {
        let request = DeleteTopicsRequest { topic_names: vec![name], ..Default::default() };
        world.decide(|image, context| delete_topics(image, &request, 5, context));
    } else {
        let count = number(dice, 6);
        let topics = vec![CreatePartitionsTopic { name, count, ..Default::default() }];
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        world.decide(|image, context| create_partitions(image, &request, context));
    }
}

/// Another run of a broker; in good order where it names its former epoch.
fn restart_as(world: &mut World, id: i32, run: u8, previous_epoch: i64, gone: &[Uuid]) {
    let mut request = registration(id, run, None);
    if id == DOUBLE {
        request.log_dirs.push(SECOND);
    }
    request.log_dirs.retain(|dir| !gone.contains(dir));
    request.previous_broker_epoch = previous_epoch;
    world.register_as(&request, false);
}

fn restart(world: &mut World, id: i32, run: u8, gone: &[Uuid]) {
    restart_as(world, id, run, -1, gone);
}

fn restart_in_order(world: &mut World, id: i32, run: u8) {
    let previous = world.image().broker(BrokerId(id)).map_or(-1, |broker| broker.epoch);
    restart_as(world, id, run, previous, &[]);
}

/// The second directory of a broker fails, or is missing after a stop in good order.
fn lose_directory(world: &mut World, dice: &mut Rng, run: u8) -> Taken {
    if world.image().metadata_version() < 17 {
        return Taken::Other;
    }
    if dice.below(2) == 0 {
        let id = BrokerId(DOUBLE);
        let Some(broker) = world.image().broker(id) else { return Taken::Other };
        let previous = broker.epoch;
        restart_as(world, DOUBLE, run, previous, &[SECOND]);
    } else {
        let (code, _) = world.beat(DOUBLE, |ask| ask.offline_log_dirs = vec![SECOND]);
        if code != types::ErrorCode::None {
            return Taken::Other;
        }
    }
    Taken::LostDirectory(BrokerId(DOUBLE), SECOND)
}

fn forget(world: &mut World, id: i32) {
    let image = world.image().clone();
    if image.broker(BrokerId(id)).is_some_and(|broker| broker.fenced) {
        let records = unregister_broker(&image, BrokerId(id), &world.context()).unwrap();
        world.apply(records);
    }
}

fn set(world: &mut World, topic: &str, name: &str, value: String) {
    let config = incremental::AlterableConfig {
        name: name.to_owned(),
        value: Some(value),
        ..Default::default()
    };
    let resource = incremental::AlterConfigsResource {
        resource_type: 2,
        resource_name: topic.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    let request = incremental::IncrementalAlterConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    world.decide(|image, context| incremental_alter_configs(image, &request, context));
}

fn look_after_leaders(world: &mut World) {
    let image = world.image().clone();
    let records = elect_unclean_leaders(&image, 3, &world.context());
    world.apply(records);
    let image = world.image().clone();
    let records = elect_preferred_leaders(&image, 3, &world.context());
    world.apply(records);
}

fn some_brokers(dice: &mut Rng) -> Vec<i32> {
    let mut ids: Vec<i32> = (1..=BROKERS).filter(|_| dice.below(2) == 0).collect();
    let turns = dice.below(4) as usize;
    if !ids.is_empty() {
        let turns = turns % ids.len();
        ids.rotate_left(turns);
    }
    ids
}

fn reassign(world: &mut World, dice: &mut Rng, name: &str) {
    let partitions = (0..3).map(|partition_index| ReassignablePartition {
        partition_index,
        replicas: (dice.below(3) > 0).then(|| some_brokers(dice)),
        ..Default::default()
    });
    let partitions = partitions.collect();
    let topic = ReassignableTopic { name: name.to_owned(), partitions, ..Default::default() };
    let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
    world.decide(|image, context| alter_partition_reassignments(image, &request, context));
}

/// A leader wants another ISR for each partition that it leads.
fn set_isr(world: &mut World, dice: &mut Rng) -> Taken {
    let leader = BrokerId(number(dice, BROKERS) + 1);
    let image = world.image().clone();
    let epoch = |id: BrokerId| image.broker(id).map_or(-1, |broker| broker.epoch);
    let topics = image.topics().map(|topic| {
        let led = topic.partitions().filter(|(_, one)| one.leader == Some(leader));
        let partitions = led.map(|(partition_index, one)| {
            // Now and then one of a broker that may not join.
            let isr = one.replicas.iter().filter(|&&id| {
                let wanted =
                    if image.is_active(id) { dice.below(3) > 0 } else { dice.below(8) == 0 };
                id == leader || wanted
            });
            PartitionData {
                partition_index,
                leader_epoch: one.leader_epoch.0,
                partition_epoch: one.partition_epoch,
                new_isr_with_epochs: isr
                    .map(|&id| BrokerState {
                        broker_id: id.0,
                        broker_epoch: epoch(id),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }
        });
        TopicData { topic_id: topic.id, partitions: partitions.collect(), ..Default::default() }
    });
    let request = AlterPartitionRequest {
        broker_id: leader.0,
        broker_epoch: epoch(leader),
        topics: topics.collect(),
        ..Default::default()
    };
    world.decide(|image, context| alter_partition(image, &request, 3, context));
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|one| {
            let isr = one.new_isr_with_epochs.iter().map(|state| BrokerId(state.broker_id));
            ((topic.topic_id, one.partition_index), isr.collect())
        })
    });
    Taken::InSync(named.collect())
}

/// Brokers with several directories say where they have put new replicas.
fn place_replicas(world: &mut World, dice: &mut Rng) {
    let image = world.image().clone();
    let id = BrokerId(DOUBLE);
    let Some(broker) = image.broker(id).filter(|broker| !broker.directories.is_empty()) else {
        return;
    };
    let count = i32::try_from(broker.directories.len()).unwrap();
    let mut directories = Vec::new();
    for topic in image.topics() {
        for (partition_index, partition) in topic.partitions() {
            let lies = partition.directory_of(id);
            // A broker makes a replica anew whose directory it no longer has.
            let placed = lies.is_none_or(|lies| broker.directories.contains(&lies));
            if placed || (lies != Some(directory::UNASSIGNED) && broker.fenced) {
                continue;
            }
            let partition = assign::PartitionData { partition_index, ..Default::default() };
            let topic_id = topic.id;
            let topics = vec![assign::TopicData {
                topic_id,
                partitions: vec![partition],
                ..Default::default()
            }];
            let at = usize::try_from(number(dice, count)).unwrap();
            let id = broker.directories[at];
            directories.push(assign::DirectoryData { id, topics, ..Default::default() });
        }
    }
    let request = assign::AssignReplicasToDirsRequest {
        broker_id: DOUBLE,
        broker_epoch: broker.epoch,
        directories,
        ..Default::default()
    };
    world.decide(|image, context| assign_replicas_to_dirs(image, &request, context));
}
