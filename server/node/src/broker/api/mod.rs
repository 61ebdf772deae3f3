//! The table of APIs that this node serves, and nothing else.

use bytes::BytesMut;
use net::Served;
use protocol::ApiKey;

use super::request::{Context, later};

mod api_versions;
mod delete_groups;
mod describe_groups;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod produce;
mod sync_group;

/// Makes the dispatch and the list that ApiVersions advertises from one table, so that they agree.
macro_rules! served {
    (direct { $($hot:ident => $serve:path,)+ } requests { $($key:ident => $handle:path,)+ }) => {
        /// Every API that is served, at the versions of Kafka 4.3.
        pub const SERVED: &[ApiKey] = &[$(ApiKey::$hot,)+ $(ApiKey::$key,)+];

        /// Serves one request; `body` is what follows the header.
        pub fn serve(context: Context, body: BytesMut) -> Served {
            match context.api {
                $(ApiKey::$hot => $serve(context, body),)+
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
    }
    requests {
        ListOffsets => list_offsets::handle,
        Metadata => metadata::handle,
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
