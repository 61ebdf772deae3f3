//! DescribeLogDirs: what lies in each log directory and how much room its volume has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use types::{ErrorCode, TopicPartition};

use crate::broker::Context;
use crate::shard::{LogSize, Shard, measure_closed};
use crate::shared::Shared;
use crate::threads;

/// Serves one request.
pub async fn handle(context: Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let shard = &context.shard;
    let wanted: Option<BTreeSet<TopicPartition>> = request.topics.map(|topics| {
        let partitions = topics.into_iter().flat_map(|topic| {
            let name: Arc<str> = topic.topic.into();
            let one = move |index| TopicPartition::new(Arc::clone(&name), index);
            topic.partitions.into_iter().map(one)
        });
        partitions.collect()
    });
    measure_closed(&shard.shared).await;
    let mut sizes = Vec::new();
    for index in 0..shard.shared.mailboxes.shards() {
        let here = |shard: &Rc<Shard>| shard.log_sizes();
        sizes.extend(shard.shared.mailboxes.call(index, here).await);
    }
    sizes.retain(|size| wanted.as_ref().is_none_or(|wanted| wanted.contains(&size.partition)));
    let shared = Arc::clone(&shard.shared);
    let describe = move || describe(&shared, sizes);
    let mut results = threads::blocking(describe).await;
    let image = shard.image();
    let cordoned = image.broker(shard.shared.config.node_id);
    let cordoned = cordoned.and_then(|broker| broker.cordoned.as_deref()).unwrap_or_default();
    if context.version >= 5 {
        for (result, dir) in results.iter_mut().zip(shard.shared.dirs.data()) {
            result.is_cordoned = cordoned.contains(&dir.id);
        }
    }
    DescribeLogDirsResponse { results, ..Default::default() }
}

/// One result per directory, in the order of `log.dirs`.
fn describe(shared: &Shared, sizes: Vec<LogSize>) -> Vec<DescribeLogDirsResult> {
    let mut by_dir: BTreeMap<PathBuf, BTreeMap<Arc<str>, Vec<_>>> = BTreeMap::new();
    for size in sizes {
        let partition = DescribeLogDirsPartition {
            partition_index: size.partition.partition,
            partition_size: i64::try_from(size.bytes).unwrap_or(i64::MAX),
            offset_lag: size.offset_lag,
            is_future_key: size.is_future,
            ..Default::default()
        };
        let topics = by_dir.entry(size.dir).or_default();
        topics.entry(size.partition.topic).or_default().push(partition);
    }
    let dirs = shared.dirs.data().iter();
    dirs.map(|dir| {
        let topics = by_dir.remove(dir.path()).unwrap_or_default().into_iter();
        let topics = topics.map(|(name, mut partitions)| {
            partitions.sort_unstable_by_key(|one| one.partition_index);
            DescribeLogDirsTopic { name: name.to_string(), partitions, ..Default::default() }
        });
        let (code, volume) = match dir.log_dir.volume_bytes() {
            Ok(volume) => (ErrorCode::None, Some(volume)),
            Err(fault) => (fault.code(), None),
        };
        let wire = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        DescribeLogDirsResult {
            error_code: code.to_wire(),
            log_dir: absolute(dir.path()),
            topics: topics.collect(),
            total_bytes: volume.map_or(-1, |(total, _)| wire(total)),
            usable_bytes: volume.map_or(-1, |(_, usable)| wire(usable)),
            ..Default::default()
        }
    })
    .collect()
}

/// A directory as it is named in answers and looked up by in requests.
pub fn absolute(dir: &Path) -> String {
    let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    path.to_string_lossy().into_owned()
}
