//! DescribeLogDirs: what lies in each log directory and how much room its volume has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use types::{ErrorCode, TopicPartition};

use crate::broker::Context;
use crate::dirs::{Dir, absolute};
use crate::shard::{Closed, LogSize, Shard, measure_closed};
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
    let mut unopened = Vec::new();
    for index in 0..shard.shared.mailboxes.shards() {
        let here = |shard: &Rc<Shard>| shard.unopened();
        unopened.extend(shard.shared.mailboxes.call(index, here).await);
    }
    let shared = Arc::clone(&shard.shared);
    let describe = move || {
        sizes.extend(unopened.iter().filter_map(|closed| size_unopened(&shared, closed)));
        sizes.retain(|size| wanted.as_ref().is_none_or(|wanted| wanted.contains(&size.partition)));
        describe(&shared, sizes)
    };
    let results = threads::blocking(describe).await;
    DescribeLogDirsResponse { results, ..Default::default() }
}

/// What a log takes up that cannot be opened; `None` where that is not known either.
fn size_unopened(shared: &Shared, closed: &Closed) -> Option<LogSize> {
    let dir = shared.dirs.found(&closed.name).filter(|dir| dir.is_online())?;
    let folder = dir.log_dir.folder(&closed.name);
    Some(LogSize {
        dir: dir.path().to_owned(),
        partition: closed.name.clone(),
        bytes: log::measure(shared.dirs.disk.as_ref(), &folder).ok()?.bytes,
        offset_lag: 0,
        is_future: false,
    })
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
    let dirs = &shared.dirs;
    let paths = shared.config.log_dirs.iter().map(PathBuf::from);
    let described = paths.map(|path| {
        let described = match dirs.data().iter().find(|dir| dir.path() == path) {
            Some(dir) if dir.is_online() => {
                describe_one(dir, by_dir.remove(dir.path()).unwrap_or_default())
            }
            // It could not be opened, or has failed.
            Some(_) | None => DescribeLogDirsResult {
                error_code: ErrorCode::KafkaStorageError.to_wire(),
                ..Default::default()
            },
        };
        DescribeLogDirsResult { log_dir: absolute(&path), ..described }
    });
    described.collect()
}

fn describe_one(
    dir: &Dir,
    topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>>,
) -> DescribeLogDirsResult {
    let topics = topics.into_iter().map(|(name, mut partitions)| {
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
        topics: topics.collect(),
        total_bytes: volume.map_or(-1, |(total, _)| wire(total)),
        usable_bytes: volume.map_or(-1, |(_, usable)| wire(usable)),
        is_cordoned: dir.is_cordoned(),
        ..Default::default()
    }
}
