//! The table of APIs that this node serves, and nothing else.

use bytes::BytesMut;
use net::Served;
use protocol::ApiKey;

use super::request::{Context, later, remembered};

pub(super) use produce::append_here;

mod add_raft_voter;
mod allocate_producer_ids;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod assign_replicas_to_dirs;
mod begin_quorum_epoch;
mod broker_heartbeat;
mod broker_registration;
mod controller_registration;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
mod end_quorum_epoch;
mod envelope;
mod fetch;
mod fetch_snapshot;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod quorum;
mod remove_raft_voter;
mod sync_group;
mod unregister_broker;
mod update_features;
mod update_raft_voter;
mod vote;

/// Whether the listener that a request came in on serves an API.
pub fn is_served_on(on_controller: bool, api: ApiKey) -> bool {
    if on_controller { api.on_controller() } else { api.on_broker() }
}

/// Makes the dispatch and the list that ApiVersions advertises from one table, so that they agree.
macro_rules! served {
    (
        direct { $($hot:ident => $serve:path,)+ }
        remembered { $($same:ident => $describe:path,)+ }
        requests { $($key:ident => $handle:path,)+ }
    ) => {
        /// Every API that is served, at the versions of Kafka 4.3.
        pub const SERVED: &[ApiKey] =
            &[$(ApiKey::$hot,)+ $(ApiKey::$same,)+ $(ApiKey::$key,)+];

        /// Serves one request; `body` is what follows the header.
        pub fn serve(context: Context, body: BytesMut) -> Served {
            let on_controller = context.is_on_controller();
            if !is_served_on(on_controller, context.api) {
                let role = if on_controller { "controller" } else { "broker" };
                let reason = format!("{} is not served by a {role}", context.api.name());
                return Served::Close(reason.into());
            }
            match context.api {
                $(ApiKey::$hot => $serve(context, body),)+
                $(ApiKey::$same => remembered(context, body, $describe),)+
                $(ApiKey::$key => later(context, body, $handle),)+
                other => Served::Close(format!("{} is not served", other.name()).into()),
            }
        }
    };
}

served! {
    direct {
        Produce => produce::serve,
        Fetch => fetch::serve,
        ApiVersions => api_versions::serve,
        Envelope => envelope::serve,
    }
    remembered {
        Metadata => metadata::handle,
        DescribeTopicPartitions => describe_topic_partitions::handle,
    }
    requests {
        ListOffsets => list_offsets::handle,
        CreateTopics => create_topics::handle,
        DeleteTopics => delete_topics::handle,
        CreatePartitions => create_partitions::handle,
        DeleteRecords => delete_records::handle,
        DescribeCluster => describe_cluster::handle,
        DescribeConfigs => describe_configs::handle,
        IncrementalAlterConfigs => incremental_alter_configs::handle,
        AlterConfigs => alter_configs::handle,
        ListConfigResources => list_config_resources::handle,
        DescribeLogDirs => describe_log_dirs::handle,
        AlterReplicaLogDirs => alter_replica_log_dirs::handle,
        DescribeProducers => describe_producers::handle,
        InitProducerId => init_producer_id::handle,
        OffsetForLeaderEpoch => offset_for_leader_epoch::handle,
        DescribeQuorum => describe_quorum::handle,
        UpdateFeatures => update_features::handle,
        ElectLeaders => elect_leaders::handle,
        ListPartitionReassignments => list_partition_reassignments::handle,
        AlterPartitionReassignments => alter_partition_reassignments::handle,
        UnregisterBroker => unregister_broker::handle,
        BrokerRegistration => broker_registration::handle,
        BrokerHeartbeat => broker_heartbeat::handle,
        ControllerRegistration => controller_registration::handle,
        AllocateProducerIds => allocate_producer_ids::handle,
        AssignReplicasToDirs => assign_replicas_to_dirs::handle,
        AlterPartition => alter_partition::handle,
        AddRaftVoter => add_raft_voter::handle,
        RemoveRaftVoter => remove_raft_voter::handle,
        UpdateRaftVoter => update_raft_voter::handle,
        Vote => vote::handle,
        BeginQuorumEpoch => begin_quorum_epoch::handle,
        EndQuorumEpoch => end_quorum_epoch::handle,
        FetchSnapshot => fetch_snapshot::handle,
        FindCoordinator => find_coordinator::handle,
        JoinGroup => join_group::handle,
        SyncGroup => sync_group::handle,
        Heartbeat => heartbeat::handle,
        LeaveGroup => leave_group::handle,
        OffsetCommit => offset_commit::handle,
        OffsetFetch => offset_fetch::handle,
        OffsetDelete => offset_delete::handle,
        ListGroups => list_groups::handle,
        DescribeGroups => describe_groups::handle,
        DeleteGroups => delete_groups::handle,
    }
}
