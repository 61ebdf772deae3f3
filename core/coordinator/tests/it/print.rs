//! Responses and records as one line of text. Parts that say nothing are left out.

use std::fmt::Write;

use bytes::Bytes;
use protocol::messages::describe_groups::DescribedGroup;
use protocol::messages::join_group::JoinGroupResponse;
use protocol::messages::offset_fetch::OffsetFetchResponseGroup;
use protocol::messages::sync_group::SyncGroupResponse;
use thalweg_coordinator::{Logged, Record, Response};
use types::ErrorCode;

/// Member ids end in a UUID with a small number, which is all that is shown of it.
const ID_FILLER: &str = "-00000000-0000-0000-0000-0000000000";

pub fn shorten(text: &str) -> String {
    text.replace(ID_FILLER, "#")
}

pub fn lengthen(text: &str) -> String {
    text.replace('#', ID_FILLER)
}

pub fn response(response: &Response) -> String {
    let line = match response {
        Response::Join(response) => join(response),
        Response::Sync(response) => sync(response),
        Response::Heartbeat(response) => format!("heartbeat {}", code(response.error_code)),
        Response::Leave(response) => {
            let mut line = format!("leave {}", code(response.error_code));
            for member in &response.members {
                let instance = member.group_instance_id.as_deref().unwrap_or_default();
                let error = code(member.error_code);
                _ = write!(line, "; {} {instance} {error}", member.member_id);
            }
            line
        }
        Response::OffsetCommit(response) => {
            let mut line = "commit".to_owned();
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let (index, error) = (partition.partition_index, code(partition.error_code));
                    _ = write!(line, " {}-{index} {error}", topic.name);
                }
            }
            line
        }
        Response::OffsetFetch(response) => fetch(response),
        Response::OffsetDelete(response) => {
            let mut line = format!("delete-offsets {}", code(response.error_code));
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let (index, error) = (partition.partition_index, code(partition.error_code));
                    _ = write!(line, "; {}-{index} {error}", topic.name);
                }
            }
            line
        }
        Response::DeleteGroups(results) => {
            let result = |(id, error): (&str, i16)| format!("{id} {}", code(error));
            let results = results.iter().map(|r| result((&r.group_id, r.error_code)));
            format!("delete-groups {}", results.collect::<Vec<_>>().join("; "))
        }
        Response::DescribeGroups(groups) => {
            groups.iter().map(describe).collect::<Vec<_>>().join("\n")
        }
        Response::ListGroups { groups, .. } => {
            let group = |g: &protocol::messages::list_groups::ListedGroup| {
                format!("{} {} {} {}", g.group_id, g.group_state, g.group_type, g.protocol_type)
            };
            format!("list {}", groups.iter().map(group).collect::<Vec<_>>().join("; "))
        }
    };
    words(&line)
}

/// A record by what it changes in an empty state.
pub fn record(record: &Record) -> String {
    let mut logged = Logged::default();
    logged.replay(record).expect("own records are well-formed");
    let Some((group_id, generation)) = logged.groups().next() else {
        return words(&format!("delete {}", text(&record.key[2..])));
    };
    let mut line = format!("group {group_id}");
    for (topic, partitions) in logged.offsets().of_group(group_id) {
        for (partition, committed) in partitions {
            line = format!("offset {group_id} {topic}-{partition} = {}", committed.offset);
            if let Some(expires_at) = committed.expires_at {
                _ = write!(line, " expires {}", expires_at.get());
            }
        }
    }
    if logged.offsets().of_group(group_id).next().is_none() {
        let or_none = |text: &Option<std::sync::Arc<str>>| {
            text.as_deref().map_or_else(|| "none".to_owned(), str::to_owned)
        };
        _ = write!(
            line,
            " generation {} type {} protocol {} leader {}",
            generation.number,
            or_none(&generation.protocol_type),
            or_none(&generation.protocol_name),
            or_none(&generation.leader),
        );
        for (member_id, member) in &generation.members {
            let instance = member.instance_id.as_deref().unwrap_or_default();
            _ = write!(line, "; {member_id} {instance} = {}", text(&member.assignment));
        }
    }
    words(&line)
}

fn join(response: &JoinGroupResponse) -> String {
    if response.error_code != 0 {
        return format!("join {} {}", code(response.error_code), response.member_id);
    }
    let mut line = format!(
        "join generation {} {}/{} as {} led by {}",
        response.generation_id,
        response.protocol_type.as_deref().unwrap_or_default(),
        response.protocol_name.as_deref().unwrap_or_default(),
        response.member_id,
        response.leader,
    );
    for member in &response.members {
        let instance = member.group_instance_id.as_deref().unwrap_or_default();
        _ = write!(line, "; {} {instance}", member.member_id);
    }
    if response.skip_assignment {
        line.push_str("; skip assignment");
    }
    line
}

fn sync(response: &SyncGroupResponse) -> String {
    if response.error_code != 0 {
        return format!("sync {}", code(response.error_code));
    }
    let protocol = response.protocol_name.as_deref().unwrap_or_default();
    format!("sync {protocol} = {}", text(&response.assignment))
}

fn fetch(response: &OffsetFetchResponseGroup) -> String {
    let mut line = "fetch".to_owned();
    for topic in &response.topics {
        for partition in &topic.partitions {
            let (index, offset) = (partition.partition_index, partition.committed_offset);
            _ = write!(line, " {}-{index} = {offset}", topic.name);
        }
    }
    line
}

fn describe(group: &DescribedGroup) -> String {
    let mut line = format!("describe {} {}", group.group_id, group.group_state);
    if group.error_code != 0 {
        _ = write!(line, " {}", code(group.error_code));
    }
    _ = write!(line, " {} {}", group.protocol_type, group.protocol_data);
    for member in &group.members {
        let instance = member.group_instance_id.as_deref().unwrap_or_default();
        let (host, assignment) = (&member.client_host, text(&member.member_assignment));
        let metadata = member.member_metadata.len();
        let client = &member.client_id;
        _ = write!(line, "; {} {instance} {client} {host} metadata {metadata}", member.member_id);
        _ = write!(line, " = {assignment}");
    }
    line
}

fn code(error_code: i16) -> &'static str {
    match ErrorCode::from_wire(error_code) {
        ErrorCode::None => "ok",
        error => error.name(),
    }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    let is_text = |c: &char| c.is_ascii_graphic();
    Bytes::copy_from_slice(bytes.as_ref()).iter().map(|&b| char::from(b)).filter(is_text).collect()
}

/// Single spaces, and ids made short.
fn words(line: &str) -> String {
    let line = shorten(line).replace(" ;", ";");
    let lines = line.lines().map(|line| line.split(' ').filter(|w| !w.is_empty()));
    let lines: Vec<_> = lines.map(|words| words.collect::<Vec<_>>().join(" ")).collect();
    lines.join("\n").replace(" ;", ";")
}
