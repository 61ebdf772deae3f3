//! Three controllers that keep one metadata log: they elect, go on without one, and take back who
//! was away.

use std::path::Path;
use std::thread;
use std::time::Duration;

use protocol::ApiKey;
use protocol::messages::begin_quorum_epoch::{
    self, BeginQuorumEpochRequest, BeginQuorumEpochResponse,
};
use protocol::messages::describe_quorum::ResponsePartitionData;
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use protocol::messages::update_features::{
    FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use types::{ErrorCode, Uuid};

use crate::client::{Client, eventually};
use crate::controllers::{Controllers, all_are_level};

/// Static voters 1, 2 and 3.
fn voters(more: &'static [(&'static str, &'static str)]) -> Controllers {
    let mut quorum = Controllers::new(3, |addresses, _| {
        let voters = addresses.iter().zip(1..).map(|(address, id)| format!("{id}@{address}"));
        let voters = ("controller.quorum.voters", voters.collect::<Vec<_>>().join(","));
        more.iter().map(|(key, value)| (*key, (*value).to_owned())).chain([voters]).collect()
    });
    quorum.start(&[0, 1, 2]);
    quorum
}

/// Waits until a node leads and `holds` of the quorum.
fn leader_when(quorum: &Controllers, holds: impl Fn(&ResponsePartitionData) -> bool) -> usize {
    quorum.leader_when(|at, quorum| holds(quorum).then_some(at))
}

/// Changes a setting of the cluster; the code of the answer.
fn change(quorum: &Controllers, at: usize, value: &str) -> ErrorCode {
    let config = AlterableConfig {
        name: "log.retention.ms".to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let resource =
        AlterConfigsResource { resource_type: 4, configs: vec![config], ..Default::default() };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let mut client = quorum.client(at);
    let answer: IncrementalAlterConfigsResponse =
        client.call(ApiKey::IncrementalAlterConfigs, 1, &request);
    ErrorCode::from_wire(answer.responses[0].error_code)
}

fn checkpoints(log_dir: &Path) -> usize {
    let files = std::fs::read_dir(log_dir.join("__cluster_metadata-0")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".checkpoint")).count()
}

#[test]
fn three_voters_go_on_without_one_and_take_it_back() {
    let mut quorum = voters(&[]);
    let first = leader_when(&quorum, all_are_level);
    assert_eq!(change(&quorum, first, "1000"), ErrorCode::None);
    let other = (first + 1) % 3;
    assert_eq!(change(&quorum, other, "1000"), ErrorCode::NotController);
    assert_eq!(quorum.describe(other).error_code, ErrorCode::NotLeaderOrFollower.to_wire());

    let epoch = quorum.describe(first).leader_epoch;
    quorum.stop(first);
    let second = leader_when(&quorum, |quorum| quorum.leader_epoch > epoch);
    assert_eq!(change(&quorum, second, "2000"), ErrorCode::None);

    quorum.start(&[first]);
    let third = leader_when(&quorum, all_are_level);
    assert_eq!(third, second, "who comes back disturbs nobody");
}

#[test]
fn who_is_far_behind_takes_a_snapshot() {
    let mut quorum = voters(&[
        ("metadata.log.max.record.bytes.between.snapshots", "1"),
        ("metadata.max.retention.bytes", "1"),
        ("metadata.log.segment.ms", "1"),
    ]);
    let leader = leader_when(&quorum, all_are_level);
    let behind = (leader + 1) % 3;
    quorum.stop(behind);
    for number in 0..20 {
        assert_eq!(change(&quorum, leader, &(1000 + number).to_string()), ErrorCode::None);
        // Segments and snapshots go by the millisecond.
        thread::sleep(Duration::from_millis(5));
    }
    quorum.start(&[behind]);
    leader_when(&quorum, all_are_level);
    assert!(checkpoints(&quorum.log_dir(behind)) > 0);
    let segments = std::fs::read_dir(quorum.log_dir(behind).join("__cluster_metadata-0")).unwrap();
    let names = segments.map(|file| file.unwrap().file_name().into_string().unwrap());
    let first = names.filter(|name| name.ends_with(".log")).min().unwrap();
    assert_ne!(first, "00000000000000000000.log", "the log begins with the snapshot");
}

/// KIP-853: the voters of `controller.quorum.voters` go into the log, by their directories.
#[test]
fn static_voters_become_dynamic_ones_while_the_cluster_runs() {
    let mut quorum = voters(&[("controller.quorum.fetch.timeout.ms", "1000")]);
    let leader = leader_when(&quorum, all_are_level);
    let update = FeatureUpdateKey {
        feature: "kraft.version".to_owned(),
        max_version_level: 1,
        upgrade_type: 1,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
    let mut client = quorum.client(leader);
    eventually("every voter to tell its directory", || {
        let answer: UpdateFeaturesResponse = client.call(ApiKey::UpdateFeatures, 2, &request);
        match ErrorCode::from_wire(answer.error_code) {
            ErrorCode::None => Some(()),
            code => {
                assert_eq!(code, ErrorCode::InvalidUpdateVersion, "{answer:?}");
                None
            }
        }
    });
    let is_dynamic = |quorum: &ResponsePartitionData| {
        let voters = &quorum.current_voters;
        all_are_level(quorum) && voters.iter().all(|voter| voter.replica_directory_id != Uuid::ZERO)
    };
    let leader = leader_when(&quorum, is_dynamic);
    // It stays so after a restart, whatever the settings say.
    quorum.stop(leader);
    quorum.start(&[leader]);
    leader_when(&quorum, is_dynamic);
}

#[test]
fn a_quorum_survives_what_strangers_say() {
    let quorum = voters(&[]);
    let leader = leader_when(&quorum, all_are_level);
    let epoch = quorum.describe(leader).leader_epoch;
    let (topic, host) = ("__cluster_metadata".to_owned(), "127.0.0.1".to_owned());
    let begin = |leader_epoch| BeginQuorumEpochRequest {
        voter_id: -1,
        topics: vec![begin_quorum_epoch::TopicData {
            topic_name: topic.clone(),
            partitions: vec![begin_quorum_epoch::PartitionData {
                leader_id: 77,
                leader_epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        leader_endpoints: vec![begin_quorum_epoch::LeaderEndpoint {
            name: "CONTROLLER".to_owned(),
            host: host.clone(),
            port: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let tell = |epoch| {
        for &address in &quorum.addresses {
            let _: BeginQuorumEpochResponse =
                Client::connect(address).call(ApiKey::BeginQuorumEpoch, 1, &begin(epoch));
        }
    };
    tell(i32::MAX);
    tell(-1);
    assert_eq!(change(&quorum, leader, "1000"), ErrorCode::None);
    assert_eq!(quorum.describe(leader).leader_epoch, epoch, "no such epoch can be");
    // One that could be: all of them look for that leader, in vain.
    tell(epoch + 1);
    let next = leader_when(&quorum, |quorum| quorum.leader_epoch > epoch + 1);
    assert_eq!(change(&quorum, next, "2000"), ErrorCode::None);
}
