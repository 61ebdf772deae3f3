//! `thalweg consume`: reads and prints records, live until Ctrl-C unless told when to stop.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::bail;
use client::{
    Admin, Client, Consumer, ConsumerSettings, IsolationLevel, OffsetReset, OffsetSpec, Record,
    StartAt, TopicPartition,
};

use crate::connect::{Connect, all};
use crate::format::Template;
use crate::offset::Place;
use crate::records::RecordFormat;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) connect: Connect,
    /// Names of the topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Where to begin: start, end, 42, -10 (before the end), @1700000000000 (ms),
    /// @2026-01-31T12:00:00Z or @-1h [default: end, or what the group has committed]
    #[arg(short, long, allow_hyphen_values = true, value_name = "PLACE")]
    offset: Option<Place>,
    /// The same as --offset start
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Only these partitions; may be given many times
    #[arg(short, long = "partition", conflicts_with = "group")]
    partitions: Vec<i32>,
    /// Stops after so many records
    #[arg(short = 'n', long = "count")]
    count: Option<u64>,
    /// Reads as a member of this consumer group, and commits what was printed
    #[arg(short, long)]
    group: Option<String>,
    /// Prints each record so: %t topic, %p partition, %o offset, %k key, %v value, %T timestamp,
    /// %h headers, %K key bytes, %S value bytes; \n is a new line
    #[arg(short, long, conflicts_with = "output")]
    format: Option<Template>,
    /// Stops at the end that the partitions have now
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// Only records of committed transactions
    #[arg(long)]
    read_committed: bool,
    /// Rack of this machine: reads from replicas in it, where the brokers allow that
    #[arg(long)]
    rack: Option<String>,
    /// How to print records
    #[arg(long, value_enum, default_value_t)]
    output: RecordFormat,
}

/// Records that are taken at once.
const RECORDS_AT_ONCE: usize = 1024;
/// How often it is looked whether the end is reached, when no records come.
const LOOK: Duration = Duration::from_millis(100);
/// How often a group's offsets are committed.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// The ends that partitions had in the beginning, or `None` to go on forever.
type Ends = Option<BTreeMap<TopicPartition, i64>>;

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connect.client();
    let admin = client.admin();
    let place = if arguments.from_beginning { Some(Place::Start) } else { arguments.offset };
    let all_partitions = partitions(&admin, &arguments).await?;
    let isolation = match arguments.read_committed {
        true => IsolationLevel::ReadCommitted,
        false => IsolationLevel::ReadUncommitted,
    };
    let ends: Ends = match arguments.exit_at_end {
        true => Some(offsets(&admin, &all_partitions, OffsetSpec::Latest, isolation).await?),
        false => None,
    };
    let settings = ConsumerSettings { isolation, rack: arguments.rack, ..Default::default() };
    let consumer = match &arguments.group {
        Some(group) => member(&client, group, place, settings, &arguments.topics)?,
        None => {
            let place = place.unwrap_or(Place::End);
            reader(&client, place, settings, &all_partitions).await?
        }
    };
    let mut printer = Printer {
        out: BufWriter::new(io::stdout().lock()),
        template: arguments.format,
        format: arguments.output,
        left: arguments.count.unwrap_or(u64::MAX),
    };
    follow(consumer, ends, &mut printer).await
}

/// The partitions that are asked for; an error where a topic does not exist.
async fn partitions(admin: &Admin, arguments: &Arguments) -> anyhow::Result<Vec<TopicPartition>> {
    let mut found = Vec::new();
    for (_, topic) in all(admin.describe_topics(&arguments.topics).await?)? {
        let count = topic.partitions.len() as i32;
        let wanted = match arguments.partitions.is_empty() {
            true => (0..count).collect(),
            false => arguments.partitions.clone(),
        };
        if let Some(absent) = wanted.iter().find(|index| !(0..count).contains(index)) {
            bail!("topic {} has {count} partitions, from 0; {absent} is none of them", topic.name);
        }
        found.extend(wanted.iter().map(|index| TopicPartition::new(topic.name.clone(), *index)));
    }
    Ok(found)
}

async fn offsets(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let places: Vec<_> = partitions.iter().map(|key| (key.clone(), spec)).collect();
    let found = all(admin.list_offsets(&places, isolation).await?)?;
    Ok(found.into_iter().filter_map(|(key, listed)| Some((key, listed.offset?))).collect())
}

fn member(
    client: &Client,
    group: &str,
    place: Option<Place>,
    settings: ConsumerSettings,
    topics: &[String],
) -> anyhow::Result<Consumer> {
    let offset_reset = match place {
        Some(Place::Start) => OffsetReset::Earliest,
        Some(Place::End) | None => OffsetReset::Latest,
        Some(_) => bail!(
            "a group begins where it has committed, or at start or end; \
             `thalweg group seek {group}` moves it elsewhere"
        ),
    };
    let mut consumer = client.consumer(ConsumerSettings {
        group: Some(group.to_owned()),
        offset_reset,
        auto_commit: Some(COMMIT_EVERY),
        ..settings
    });
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

async fn reader(
    client: &Client,
    place: Place,
    settings: ConsumerSettings,
    partitions: &[TopicPartition],
) -> anyhow::Result<Consumer> {
    let admin = client.admin();
    let isolation = settings.isolation;
    let mut starts = Vec::new();
    let is_plain = matches!(place, Place::Start | Place::At(_));
    let found = match is_plain {
        true => BTreeMap::new(),
        false => offsets(&admin, partitions, place.spec(), isolation).await?,
    };
    let is_last = matches!(place, Place::Last(_));
    let begins = match is_last {
        true => offsets(&admin, partitions, OffsetSpec::Earliest, isolation).await?,
        false => BTreeMap::new(),
    };
    for key in partitions {
        let begin = begins.get(key).copied().unwrap_or(0);
        let start = match (place, found.get(key).copied()) {
            (Place::Start, _) => StartAt::Beginning,
            (Place::At(offset), _) => StartAt::Offset(offset),
            (Place::Last(_), Some(end)) => StartAt::Offset(place.resolve(None, begin, end)),
            (_, Some(offset)) => StartAt::Offset(offset),
            (_, None) => StartAt::End,
        };
        starts.push((key.clone(), start));
    }
    let settings = ConsumerSettings { offset_reset: OffsetReset::Fail, ..settings };
    let mut consumer = client.consumer(settings);
    consumer.assign(&starts).await?;
    Ok(consumer)
}

/// Prints until there is a reason to stop, then leaves in order.
async fn follow(
    mut consumer: Consumer,
    ends: Ends,
    printer: &mut Printer<'_>,
) -> anyhow::Result<()> {
    printer.out.write_all(printer.format.head().as_bytes())?;
    let wait = if ends.is_some() { LOOK } else { Duration::from_secs(1) };
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    let result = loop {
        if printer.left == 0 || ends.as_ref().is_some_and(|ends| is_at_end(&mut consumer, ends)) {
            break Ok(());
        }
        // No more than can be printed: what a group was given, it commits.
        let max = usize::try_from(printer.left).unwrap_or(usize::MAX).min(RECORDS_AT_ONCE);
        let records = tokio::select! {
            records = consumer.poll(max, wait) => records,
            _ = &mut stop => break Ok(()),
        };
        let records = match records {
            Ok(records) => records,
            Err(error) => break Err(error.into()),
        };
        if let Err(error) = printer.print(&records, ends.as_ref()) {
            break Err(error.into());
        }
    };
    // A member commits what was printed, and leaves.
    consumer.close().await?;
    result
}

fn is_at_end(consumer: &mut Consumer, ends: &BTreeMap<TopicPartition, i64>) -> bool {
    let positions = consumer.positions();
    let is_done = |(key, position): &(TopicPartition, Option<i64>)| {
        let end = ends.get(key).copied().unwrap_or(0);
        end == 0 || position.is_some_and(|position| position >= end)
    };
    !positions.is_empty() && positions.iter().all(is_done)
}

struct Printer<'a> {
    out: BufWriter<io::StdoutLock<'a>>,
    template: Option<Template>,
    format: RecordFormat,
    /// Records that may still be printed.
    left: u64,
}

impl Printer<'_> {
    /// Prints records that lie before the ends.
    fn print(
        &mut self,
        records: &[Record],
        ends: Option<&BTreeMap<TopicPartition, i64>>,
    ) -> io::Result<()> {
        for record in records {
            if let Some(ends) = ends {
                let key = TopicPartition::new(record.topic.clone(), record.partition);
                if ends.get(&key).is_some_and(|end| record.offset >= *end) {
                    continue;
                }
            }
            match &self.template {
                Some(template) => template.write(record, &mut self.out)?,
                None => self.format.write(record, &mut self.out)?,
            }
            self.left -= 1;
        }
        self.out.flush()
    }
}
