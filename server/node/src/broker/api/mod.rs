//! The table of APIs that this node serves, and nothing else.

use bytes::BytesMut;
use net::Served;
use protocol::ApiKey;

use super::request::{Context, later};

mod api_versions;
mod fetch;
mod list_offsets;
mod metadata;
mod produce;

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
    }
}
