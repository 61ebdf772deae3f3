//! `thalweg group`: list, describe, delete, and move offsets.

use clap::Subcommand;
use client::{
    Admin, ErrorCode, GroupDescription, GroupOffset, IsolationLevel, OffsetSpec, TopicPartition,
};
use serde::Serialize;

use crate::connect::{Common, all};
use crate::offset::Place;
use crate::output::{Format, Table, counted, or_dash, print};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists groups
    List,
    /// Tells about members, committed offsets and lag
    Describe {
        /// Id of the group
        group: String,
    },
    /// Deletes groups that have no members
    Delete {
        /// Ids of the groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Moves the committed offsets of a group that has no members
    Seek {
        /// Id of the group
        group: String,
        /// Where to: start, end, 42, -10 (before the end), @1700000000000 (ms) or @-1h
        #[arg(long, allow_hyphen_values = true, value_name = "PLACE")]
        to: Place,
        /// Only this topic, or TOPIC:PARTITION; may be given many times
        /// [default: all that it has committed]
        #[arg(short, long = "topic")]
        topics: Vec<String>,
        /// Only tells what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Serialize)]
struct Listed {
    group: String,
    state: String,
    r#type: String,
    protocol: String,
    coordinator: i32,
}

#[derive(Debug, Serialize)]
struct Described {
    group: String,
    state: String,
    assignor: String,
    coordinator: Option<i32>,
    members: Vec<DescribedMember>,
    offsets: Vec<DescribedOffset>,
}

#[derive(Debug, Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DescribedOffset {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

#[derive(Debug, Serialize)]
struct Moved {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let admin = arguments.common.connect.client().admin();
    let output = arguments.common.output;
    match arguments.action {
        Action::List => list_groups(&admin, output).await,
        Action::Describe { group } => describe(&admin, &group, output).await,
        Action::Delete { groups } => {
            for group in &groups {
                admin.delete_group(group).await?;
            }
            print(output, &groups, || {
                groups.iter().map(|g| format!("group {g} deleted\n")).collect()
            })
        }
        Action::Seek { group, to, topics, dry_run } => {
            seek(&admin, &group, to, &topics, dry_run, output).await
        }
    }
}

async fn list_groups(admin: &Admin, output: Format) -> anyhow::Result<()> {
    let groups = admin.list_groups().await?.into_iter().map(|group| Listed {
        group: group.id,
        state: group.state,
        r#type: group.kind,
        protocol: group.protocol_type,
        coordinator: group.coordinator,
    });
    let groups: Vec<_> = groups.collect();
    print(output, &groups, || {
        let mut table = Table::new(["GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR"]);
        for one in &groups {
            let Listed { group, state, r#type, protocol, coordinator } = one;
            let texts = [group, state, r#type, protocol].map(Clone::clone);
            let [group, state, kind, protocol] = texts;
            table.row([group, state, kind, protocol, coordinator.to_string()]);
        }
        table.text()
    })
}

async fn describe(admin: &Admin, group: &str, output: Format) -> anyhow::Result<()> {
    let offsets = admin.group_offsets(group, None).await?;
    let description = match admin.describe_group(group).await {
        Ok(description) => Some(description),
        // Offsets may outlive what the coordinator knows of members.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) && !offsets.is_empty() => {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let is_dead = description.as_ref().is_some_and(|found| found.state == "Dead");
    if is_dead && offsets.is_empty() {
        anyhow::bail!("there is no group {group:?}; `thalweg group list` names those there are");
    }
    let mut partitions: Vec<_> = offsets.iter().map(|one| one.partition.clone()).collect();
    let members = description.iter().flat_map(|found| &found.members);
    partitions.extend(members.flat_map(|member| member.partitions.clone()));
    partitions.sort();
    partitions.dedup();
    let places: Vec<_> = partitions.iter().map(|key| (key.clone(), OffsetSpec::Latest)).collect();
    let ends = admin.list_offsets(&places, IsolationLevel::ReadUncommitted).await?;
    let end = |key: &TopicPartition| {
        let own = ends.iter().find(|(other, _)| other == key)?;
        own.1.as_ref().ok()?.offset
    };
    let rows =
        partitions.iter().map(|key| offset_row(key, &offsets, end(key), description.as_ref()));
    let rows = rows.collect();
    let described = described(group, description, rows);
    print(output, &described, || text(&described))
}

fn offset_row(
    key: &TopicPartition,
    offsets: &[GroupOffset],
    end: Option<i64>,
    description: Option<&GroupDescription>,
) -> DescribedOffset {
    let committed = offsets.iter().find(|one| one.partition == *key).map(|one| one.offset);
    let mut members = description.iter().flat_map(|found| &found.members);
    let member = members.find(|member| member.partitions.contains(key));
    DescribedOffset {
        topic: key.topic.to_string(),
        partition: key.partition,
        committed,
        end,
        lag: committed.zip(end).map(|(committed, end)| (end - committed).max(0)),
        member: member.map(|member| member.id.clone()),
    }
}

fn described(
    group: &str,
    description: Option<GroupDescription>,
    offsets: Vec<DescribedOffset>,
) -> Described {
    let members = description.iter().flat_map(|found| &found.members).map(|member| {
        let partitions = member.partitions.iter();
        DescribedMember {
            member: member.id.clone(),
            instance: member.instance_id.clone(),
            client: member.client_id.clone(),
            host: member.host.clone(),
            partitions: partitions.map(|key| format!("{}:{}", key.topic, key.partition)).collect(),
        }
    });
    Described {
        group: group.to_owned(),
        members: members.collect(),
        coordinator: description.as_ref().map(|found| found.coordinator),
        assignor: description.as_ref().map_or(String::new(), |found| found.assignor.clone()),
        state: description.map_or_else(|| "Empty".to_owned(), |found| found.state),
        offsets,
    }
}

fn text(group: &Described) -> String {
    let lag: i64 = group.offsets.iter().filter_map(|one| one.lag).sum();
    let members = crate::output::counted(group.members.len(), "member");
    let mut text = format!("{}  {}  {members}  lag {lag}\n", group.group, group.state);
    if !group.members.is_empty() {
        let mut table = Table::new(["MEMBER", "CLIENT", "HOST", "PARTITIONS"]);
        for member in &group.members {
            let DescribedMember { member, client, host, partitions, .. } = member;
            let texts = [member, client, host].map(Clone::clone);
            let [member, client, host] = texts;
            table.row([member, client, host, partitions.join(",")]);
        }
        text += &table.text();
    }
    if !group.offsets.is_empty() {
        let mut table = Table::new(["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"]);
        for one in &group.offsets {
            let (committed, end, lag) =
                (or_dash(one.committed), or_dash(one.end), or_dash(one.lag));
            let partition = one.partition.to_string();
            table.row([
                one.topic.clone(),
                partition,
                committed,
                end,
                lag,
                or_dash(one.member.clone()),
            ]);
        }
        text += &table.text();
    }
    text
}

async fn seek(
    admin: &Admin,
    group: &str,
    to: Place,
    topics: &[String],
    dry_run: bool,
    output: Format,
) -> anyhow::Result<()> {
    let committed = admin.group_offsets(group, None).await?;
    let partitions = match topics.is_empty() {
        true => committed.iter().map(|one| one.partition.clone()).collect(),
        false => named(admin, topics).await?,
    };
    if partitions.is_empty() {
        anyhow::bail!("group {group:?} has committed nothing; name topics with --topic");
    }
    let offsets = resolve(admin, to, &partitions).await?;
    if !dry_run {
        // A group that nobody has described yet may still be given offsets.
        let members = admin.describe_group(group).await.map_or(0, |known| known.members.len());
        if members > 0 {
            anyhow::bail!("group {group:?} has {}: stop them first", counted(members, "member"));
        }
        all(admin.alter_group_offsets(group, &offsets).await?)?;
    }
    let before = |key: &TopicPartition| {
        committed.iter().find(|one| one.partition == *key).map(|one| one.offset)
    };
    let moved = offsets.iter().map(|(key, offset)| Moved {
        topic: key.topic.to_string(),
        partition: key.partition,
        from: before(key),
        to: *offset,
    });
    let moved: Vec<_> = moved.collect();
    print(output, &moved, || {
        let mut table = Table::new(["TOPIC", "PARTITION", "FROM", "TO"]);
        for one in &moved {
            let (partition, to) = (one.partition.to_string(), one.to.to_string());
            table.row([one.topic.clone(), partition, or_dash(one.from), to]);
        }
        table.text()
    })
}

/// The partitions of `TOPIC` and `TOPIC:PARTITION`.
async fn named(admin: &Admin, topics: &[String]) -> anyhow::Result<Vec<TopicPartition>> {
    let mut partitions = Vec::new();
    for name in topics {
        // No topic's name has a colon.
        if let Some((topic, index)) = name.split_once(':') {
            let wrong = |_| anyhow::anyhow!("{index:?} is no partition of {topic}");
            partitions.push(TopicPartition::new(topic, index.parse().map_err(wrong)?));
            continue;
        }
        for (_, topic) in all(admin.describe_topics(std::slice::from_ref(name)).await?)? {
            let indexes = topic.partitions.iter().map(|partition| partition.index);
            partitions.extend(indexes.map(|index| TopicPartition::new(topic.name.clone(), index)));
        }
    }
    Ok(partitions)
}

/// Offsets within what the partitions have.
async fn resolve(
    admin: &Admin,
    to: Place,
    partitions: &[TopicPartition],
) -> anyhow::Result<Vec<(TopicPartition, i64)>> {
    let mut found = Vec::new();
    for spec in [OffsetSpec::Earliest, OffsetSpec::Latest, to.spec()] {
        let places: Vec<_> = partitions.iter().map(|key| (key.clone(), spec)).collect();
        found.push(all(admin.list_offsets(&places, IsolationLevel::ReadUncommitted).await?)?);
    }
    let at = |which: usize, key: &TopicPartition| {
        let own = found[which].iter().find(|(other, _)| other == key);
        own.and_then(|(_, listed)| listed.offset)
    };
    let offset = |key: &TopicPartition| {
        let (start, end) = (at(0, key).unwrap_or(0), at(1, key).unwrap_or(0));
        let asked = to.resolve(at(2, key), start, end);
        let offset = asked.clamp(start, end);
        if offset != asked {
            eprintln!("{key} has offsets from {start} to {end}: {offset} is taken for {asked}");
        }
        offset
    };
    Ok(partitions.iter().map(|key| (key.clone(), offset(key))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_lies_between_the_commit_and_the_end() {
        let key = TopicPartition::new("t", 1);
        let offset = |offset| GroupOffset {
            partition: TopicPartition::new("t", 1),
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let cases = [
            (vec![offset(4)], Some(10), Some(6)),
            (vec![offset(12)], Some(10), Some(0)),
            (vec![], Some(10), None),
            (vec![offset(4)], None, None),
        ];
        for (offsets, end, lag) in cases {
            assert_eq!(offset_row(&key, &offsets, end, None).lag, lag, "{offsets:?} {end:?}");
        }
    }

    #[test]
    fn a_group_without_members_shows_its_offsets() {
        let row = DescribedOffset {
            topic: "t".to_owned(),
            partition: 0,
            committed: Some(4),
            end: Some(10),
            lag: Some(6),
            member: None,
        };
        let expected = "\
            g  Empty  0 members  lag 6\n\
            TOPIC  PARTITION  COMMITTED  END  LAG  MEMBER\n\
            t              0          4   10    6       -\n";
        assert_eq!(text(&described("g", None, vec![row])), expected);
    }
}
