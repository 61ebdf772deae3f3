//! Balancing that goes on while the cluster runs (`thalweg.balance.enable`): the active controller
//! looks, plans, and moves a few partitions at a time.
//!
//! Not here: which moves are worth while and when (`core/balance`), how fast they copy (`throttles`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::metadata::Image;
use ::metadata::controller::{Context, alter_partition_reassignments, elect_leaders};
use balance::{Balancer, Goal, Growth, Intake, MOVES_MAX, Move, Next, TOLERANCE, Watched, Why};
use protocol::ApiKey;
use protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use protocol::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use types::{BrokerId, ErrorCode, Millis, TopicPartition};

use crate::controller::NotController;
use crate::peers::LinkOptions;
use crate::shard::Shard;
use crate::{clock, replicas, threads};

/// How often moves under way are looked after; it costs a walk over the metadata.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it rests where there is nothing to do, or nothing may be done.
const REST: Duration = Duration::from_secs(5);
/// How old sizes may be. Asking for them costs every broker a look at its logs.
const SIZES_AGE_MAX: Millis = Millis(60_000);
/// How long a broker may take to tell its sizes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer: some hundred bytes for each of a million partitions.
const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// What one controller knows while it is the active one and balancing is on.
#[derive(Default)]
struct Continuous {
    balancer: Balancer,
    growth: Growth,
    /// Why it waited last, which is told once.
    told: Option<Why>,
}

/// Balances for as long as the node runs, where it is the active controller and balancing is on.
/// For the first shard; ends with it.
pub async fn run(shard: Rc<Shard>) {
    let mut state = Continuous::default();
    let mut pause = LOOK_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        pause = REST;
        if !is_on(&shard) {
            state = Continuous::default();
            continue;
        }
        match state.turn(&shard).await {
            Ok(true) => pause = LOOK_EVERY,
            Ok(false) => {}
            Err(why) => tracing::warn!("cannot balance now: {why}"),
        }
    }
}

fn is_on(shard: &Shard) -> bool {
    let own = shard.shared.broker_resource();
    shard.shared.to_controller.is_here()
        && shard.shared.layers(&shard.image(), &own).boolean("thalweg.balance.enable")
}

impl Continuous {
    /// One turn; whether something is under way.
    async fn turn(&mut self, shard: &Rc<Shard>) -> Result<bool, String> {
        let image = shard.image();
        let is_calm = image.brokers().all(|broker| !broker.in_controlled_shutdown || broker.fenced);
        match self.balancer.next(watched(&image), is_calm) {
            Next::Wait(why) => {
                if self.told.replace(why) != Some(why) && why != Why::Moving {
                    tracing::info!("balancing waits: {}", reason(why));
                }
                Ok(why == Why::Moving)
            }
            Next::Elect(partitions) => {
                elect(shard, &partitions).await.map_err(|no| no.to_string())?;
                Ok(true)
            }
            Next::Plan => {
                self.told = None;
                self.plan(shard, &image).await
            }
        }
    }

    /// Begins with a new plan; whether there was something to do.
    async fn plan(&mut self, shard: &Rc<Shard>, image: &Image) -> Result<bool, String> {
        let now = clock::monotonic();
        if self.growth.looked_at().is_none_or(|before| now - before >= SIZES_AGE_MAX) {
            let sizes = sizes(shard, image).await?;
            self.growth.look(sizes, clock::monotonic());
        }
        let (brokers, partitions) = (brokers(image), partitions(image, &self.growth));
        let goal = Goal::Even { tolerance: TOLERANCE, moves_max: MOVES_MAX };
        let planned = threads::blocking(move || balance::plan(&brokers, &partitions, goal)).await;
        let moves = planned.map_err(|why| why.to_string())?;
        if moves.is_empty() {
            return Ok(false);
        }
        let bytes = balance::bytes_copied(&moves);
        tracing::info!("balancing changes {} partitions and copies {bytes} bytes", moves.len());
        begin(shard, &moves).await.map_err(|no| no.to_string())?;
        self.balancer.began(&moves);
        Ok(true)
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Moving => "its own moves are under way",
        Why::Others => "somebody else moves partitions",
        Why::Unwell => "replicas or leaders are missing, or a broker is leaving",
    }
}

/// All partitions, as balancing watches them.
fn watched(image: &Image) -> impl Iterator<Item = Watched> {
    image.topics().flat_map(|topic| {
        topic.partitions().map(|(index, partition)| Watched {
            name: TopicPartition::new(Arc::clone(&topic.name), index),
            is_moving: partition.is_reassigning(),
            is_well: partition.leader.is_some() && !partition.is_under_replicated(),
            leads_preferred: partition.has_preferred_leader(),
        })
    })
}

fn brokers(image: &Image) -> Vec<balance::Broker> {
    let known = image.brokers().filter(|broker| broker.is_active());
    let known = known.map(|broker| balance::Broker {
        id: broker.id.0,
        rack: broker.rack.clone(),
        intake: if broker.takes_replicas() { Intake::Open } else { Intake::Closed },
    });
    known.collect()
}

fn partitions(image: &Image, growth: &Growth) -> Vec<balance::Partition> {
    let each = image.topics().flat_map(|topic| {
        topic.partitions().map(|(index, partition)| {
            let name = TopicPartition::new(Arc::clone(&topic.name), index);
            let (bytes, rate) = growth.of(&name);
            let replicas: Vec<i32> = partition.replicas.iter().map(|id| id.0).collect();
            let wanted = replicas.len();
            balance::Partition { name, replicas, bytes, rate, wanted }
        })
    });
    each.collect()
}

/// Bytes of each partition: those of its largest replica.
async fn sizes(shard: &Rc<Shard>, image: &Image) -> Result<BTreeMap<TopicPartition, u64>, String> {
    let mut sizes = BTreeMap::new();
    for broker in image.brokers().filter(|broker| broker.is_active()) {
        let told = ask_sizes(shard, broker.id).await;
        let told = told.map_err(|why| format!("broker {} tells no sizes: {why}", broker.id))?;
        for topic in told.results.into_iter().flat_map(|dir| dir.topics) {
            let name: Arc<str> = topic.name.into();
            for one in topic.partitions.into_iter().filter(|one| !one.is_future_key) {
                let name = TopicPartition::new(Arc::clone(&name), one.partition_index);
                let largest: &mut u64 = sizes.entry(name).or_default();
                *largest = (*largest).max(u64::try_from(one.partition_size).unwrap_or(0));
            }
        }
    }
    Ok(sizes)
}

async fn ask_sizes(shard: &Rc<Shard>, broker: BrokerId) -> Result<DescribeLogDirsResponse, String> {
    let endpoint = replicas::endpoint_of(shard, broker)?;
    let options = LinkOptions {
        client_id: format!("{}-balancing", shard.shared.config.node_id),
        request_timeout: REQUEST_TIMEOUT,
        response_bytes_max: RESPONSE_BYTES_MAX,
    };
    let link = shard.shared.peers.link(&endpoint, &options).map_err(|why| why.to_string())?;
    let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
    let answer: DescribeLogDirsResponse = link
        .call(ApiKey::DescribeLogDirs, move |_| request)
        .await
        .map_err(|why| why.to_string())?;
    let code = ErrorCode::from_wire(answer.error_code);
    if code.is_none() { Ok(answer) } else { Err(code.to_string()) }
}

/// Begins with what is still as it was when it was planned: somebody else may have been quicker, and
/// a new reassignment would take the place of theirs.
async fn begin(shard: &Rc<Shard>, moves: &[Move]) -> Result<(), NotController> {
    let moves = moves.to_vec();
    let decide = move |image: &Image, context: &mut Context<'_>| {
        let moves = moves.iter().filter(|one| is_as_planned(image, one));
        let topics = moves.map(|one| ReassignableTopic {
            name: one.partition.topic.to_string(),
            partitions: vec![ReassignablePartition {
                partition_index: one.partition.partition,
                replicas: Some(one.to.clone()),
                ..Default::default()
            }],
            ..Default::default()
        });
        let request = AlterPartitionReassignmentsRequest {
            topics: topics.collect(),
            // A plan has as many replicas as there are.
            allow_replication_factor_change: false,
            ..Default::default()
        };
        alter_partition_reassignments(image, &request, context)
    };
    let answer = shard.shared.controller.decide(decide).await?;
    for topic in answer.responses {
        for one in topic.partitions.into_iter().filter(|one| one.error_code != 0) {
            let (name, index) = (&topic.name, one.partition_index);
            let why = one.error_message.unwrap_or_default();
            tracing::warn!("balancing cannot move {name}-{index}: {why}");
        }
    }
    Ok(())
}

fn is_as_planned(image: &Image, planned: &Move) -> bool {
    let TopicPartition { topic, partition } = &planned.partition;
    let now = image.topic(topic).and_then(|topic| topic.partition(*partition));
    now.is_some_and(|now| {
        let replicas = now.replicas.iter().map(|id| id.0);
        !now.is_reassigning() && replicas.eq(planned.from.iter().copied())
    })
}

async fn elect(shard: &Rc<Shard>, partitions: &[TopicPartition]) -> Result<(), NotController> {
    let topics = partitions.iter().map(|one| TopicPartitions {
        topic: one.topic.to_string(),
        partitions: vec![one.partition],
        ..Default::default()
    });
    let request = ElectLeadersRequest {
        election_type: 0,
        topic_partitions: Some(topics.collect()),
        ..Default::default()
    };
    let decide =
        move |image: &Image, context: &mut Context<'_>| elect_leaders(image, &request, context);
    // A leader that cannot change stays; the look after preferred leaders comes by, too.
    shard.shared.controller.decide(decide).await.map(drop)
}
