//! The end of a recovery: a leader that was elected uncleanly has taken up its log as it is.
//!
//! Until this is written down no other replica may join the ISR (KIP-704).

use protocol::internal::metadata::PartitionChangeRecord;
use types::BrokerId;

use super::Decision;
use crate::image::Image;
use crate::record::MetadataRecord;

/// Wire number of "recovered".
const RECOVERED: i8 = 0;

/// Notes that all partitions that `leader` leads have recovered: it has opened their logs, and
/// there is nobody else to recover from.
pub fn end_recovery(image: &Image, leader: BrokerId) -> Decision<()> {
    let mut records = Vec::new();
    for topic in image.topics() {
        for (partition_id, partition) in topic.partitions() {
            if partition.recovering && partition.leader == Some(leader) {
                records.push(MetadataRecord::from(PartitionChangeRecord {
                    topic_id: topic.id,
                    partition_id,
                    leader_recovery_state: RECOVERED,
                    ..Default::default()
                }));
            }
        }
    }
    Decision { records, response: () }
}
