//! Scripts: commands, and below each what came of it.
//!
//! `UPDATE_SCRIPTS=1 cargo test` writes what comes of it now into the scripts, to be reviewed as
//! a diff. Commands, with what is assumed where a word is left out:
//! ```text
//! > join NAME [v=9] [id=…] [instance=…] [protocols=range(t),sticky(t)] [session=…] [rebalance=…] [type=…]
//! > sync NAME gen=… [assign=NAME:…,NAME:…] [type=…] [protocol=…] [instance=…]
//! > heartbeat NAME gen=… [instance=…]
//! > leave NAME… [instance=…] [v=5]
//! > commit NAME gen=… topic-0=… [v=9] [retention=…]      NAME `-` is nobody, generation -1
//! > fetch topic-0 …    > fetch    > delete-offsets topic-0 …
//! > delete | describe | list [states=…] [types=…]
//! > wait MILLIS        > fail over        > set max=…
//! ```
//! `NAME` is a client, and stands for the member id that it was told last.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::list_groups::ListGroupsRequest;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use thalweg_coordinator::{Outcome, ReplyToken, Request, Response, Settings};

use crate::print;
use crate::world::{Sent, World, join_request, sync_request};

#[test]
fn scripts_say_what_happens() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(scripts())
        .expect("the scripts are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    #[expect(clippy::disallowed_methods, reason = "how the tests are run is not core's business")]
    let update = std::env::var("UPDATE_SCRIPTS").is_ok();
    for path in paths {
        let expected = std::fs::read_to_string(&path).expect("a script can be read");
        let actual = Runner::new().run(&expected);
        if update {
            std::fs::write(&path, actual).expect("a script can be written");
        } else {
            assert_eq!(actual, expected, "{}", path.display());
        }
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

struct Runner {
    world: World,
    /// Member id that each client was told last.
    ids: BTreeMap<String, String>,
    /// Who waits for which reply.
    asked: BTreeMap<ReplyToken, String>,
}

/// The words of a command: plain ones, and those of the form `key=value`.
struct Words<'a> {
    plain: Vec<&'a str>,
    keyed: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn new(command: &'a str) -> Self {
        let (keyed, plain): (Vec<_>, Vec<_>) =
            command.split_whitespace().partition(|word| word.contains('='));
        let keyed = keyed.into_iter().filter_map(|word| word.split_once('=')).collect();
        Self { plain, keyed }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.keyed.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    fn owned(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> T {
        match self.text(key) {
            Some(text) => text.parse().ok().expect("the value is a number"),
            None => default,
        }
    }
}

impl Runner {
    fn new() -> Self {
        Self {
            world: World::new(Settings::default()),
            ids: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    fn run(mut self, script: &str) -> String {
        let mut output = String::new();
        for line in script.lines() {
            if let Some(command) = line.strip_prefix("> ") {
                _ = writeln!(output, "{line}");
                for line in self.command(command) {
                    _ = writeln!(output, "{line}");
                }
            } else if line.is_empty() || line.starts_with("# ") {
                _ = writeln!(output, "{line}");
            }
        }
        output
    }

    fn command(&mut self, command: &str) -> Vec<String> {
        let words = Words::new(command);
        let name = words.plain.get(1).copied().unwrap_or_default();
        match words.plain[0] {
            "join" => self.join(name, &words),
            "sync" => self.sync(name, &words),
            "heartbeat" => self.heartbeat(name, &words),
            "leave" => self.leave(&words),
            "commit" => self.commit(name, &words),
            "fetch" => self.fetch(&words),
            "delete-offsets" => self.delete_offsets(&words),
            "delete" => self.ask("-", Request::DeleteGroups(vec!["g".to_owned()]), 2),
            "describe" => self.ask("-", Request::DescribeGroups(vec!["g".to_owned()]), 6),
            "list" => self.list(&words),
            "wait" => self.wait(name.parse().expect("wait is told for how long")),
            "fail" => {
                let replies = self.world.fail_over();
                self.replies(replies)
            }
            "set" => {
                self.world.settings.group_size_max = words.number("max", 1);
                vec![]
            }
            other => panic!("no command is called {other}"),
        }
    }

    fn join(&mut self, name: &str, words: &Words<'_>) -> Vec<String> {
        let id = match words.text("id") {
            Some(id) => print::lengthen(id),
            None => self.ids.get(name).cloned().unwrap_or_default(),
        };
        let protocols: Vec<(&str, Vec<&str>)> = words
            .text("protocols")
            .unwrap_or("range(t)")
            .split("),")
            .filter_map(|protocol| protocol.trim_end_matches(')').split_once('('))
            .map(|(name, topics)| (name, topics.split(',').collect()))
            .collect();
        let protocols: Vec<_> = protocols.iter().map(|(n, topics)| (*n, &topics[..])).collect();
        let mut request = join_request("g", &id, &protocols);
        request.group_instance_id = words.owned("instance");
        request.session_timeout_ms = words.number("session", request.session_timeout_ms);
        request.rebalance_timeout_ms = words.number("rebalance", request.rebalance_timeout_ms);
        request.protocol_type = words.owned("type").unwrap_or(request.protocol_type);
        let sent = self.world.join(request, words.number("v", 9), name);
        self.sent(name, sent)
    }

    fn sync(&mut self, name: &str, words: &Words<'_>) -> Vec<String> {
        let assign = words.text("assign").unwrap_or_default();
        let assign: Vec<(String, &str)> = assign
            .split(',')
            .filter_map(|entry| entry.split_once(':'))
            .map(|(name, assignment)| (self.id(name), assignment))
            .collect();
        let assign: Vec<_> = assign.iter().map(|(id, what)| (id.as_str(), *what)).collect();
        let mut request = sync_request("g", &self.id(name), words.number("gen", -1), &assign);
        request.group_instance_id = words.owned("instance");
        request.protocol_type = words.owned("type");
        request.protocol_name = words.owned("protocol");
        self.ask(name, Request::Sync(request), 5)
    }

    fn heartbeat(&mut self, name: &str, words: &Words<'_>) -> Vec<String> {
        let request = HeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: self.id(name),
            generation_id: words.number("gen", -1),
            group_instance_id: words.owned("instance"),
            ..Default::default()
        };
        self.ask(name, Request::Heartbeat(request), 4)
    }

    fn leave(&mut self, words: &Words<'_>) -> Vec<String> {
        let api_version = words.number("v", 5);
        let names = &words.plain[1..];
        let mut request = LeaveGroupRequest { group_id: "g".to_owned(), ..Default::default() };
        if api_version < 3 {
            request.member_id = self.id(names[0]);
        }
        let instance = words.owned("instance").map(|instance| MemberIdentity {
            group_instance_id: Some(instance),
            ..Default::default()
        });
        let member =
            |name: &&str| MemberIdentity { member_id: self.id(name), ..Default::default() };
        request.members = names.iter().map(member).chain(instance).collect();
        self.ask("-", Request::Leave(request), api_version)
    }

    fn commit(&mut self, name: &str, words: &Words<'_>) -> Vec<String> {
        let partition = |&(key, offset): &(&str, &str)| {
            let (topic, partition_index) = topic_partition(key)?;
            let committed_offset = offset.parse().ok()?;
            let partition = OffsetCommitRequestPartition {
                partition_index,
                committed_offset,
                ..Default::default()
            };
            let (name, partitions) = (topic.to_owned(), vec![partition]);
            Some(OffsetCommitRequestTopic { name, partitions, ..Default::default() })
        };
        let request = OffsetCommitRequest {
            group_id: "g".to_owned(),
            member_id: self.id(name),
            generation_id_or_member_epoch: words.number("gen", -1),
            group_instance_id: words.owned("instance"),
            retention_time_ms: words.number("retention", -1),
            topics: words.keyed.iter().filter_map(partition).collect(),
            ..Default::default()
        };
        self.ask(name, Request::OffsetCommit(request), words.number("v", 9))
    }

    fn fetch(&mut self, words: &Words<'_>) -> Vec<String> {
        let topic = |(topic, partition): (&str, i32)| OffsetFetchRequestTopics {
            name: topic.to_owned(),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let partitions = words.plain[1..].iter().filter_map(|word| topic_partition(word));
        let topics: Vec<_> = partitions.map(topic).collect();
        let request = OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: (!topics.is_empty()).then_some(topics),
            ..Default::default()
        };
        self.ask("-", Request::OffsetFetch(request), 9)
    }

    fn delete_offsets(&mut self, words: &Words<'_>) -> Vec<String> {
        let topic = |(topic, partition_index): (&str, i32)| OffsetDeleteRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition {
                partition_index,
                ..Default::default()
            }],
            ..Default::default()
        };
        let partitions = words.plain[1..].iter().filter_map(|word| topic_partition(word));
        let request = OffsetDeleteRequest {
            group_id: "g".to_owned(),
            topics: partitions.map(topic).collect(),
            ..Default::default()
        };
        self.ask("-", Request::OffsetDelete(request), 0)
    }

    fn list(&mut self, words: &Words<'_>) -> Vec<String> {
        let filter = |key| words.text(key).into_iter().flat_map(|v| v.split(','));
        let request = ListGroupsRequest {
            states_filter: filter("states").map(str::to_owned).collect(),
            types_filter: filter("types").map(str::to_owned).collect(),
            ..Default::default()
        };
        self.ask("-", Request::ListGroups(request), 5)
    }

    fn wait(&mut self, millis: i64) -> Vec<String> {
        let mut lines = vec![];
        for (at, outcome) in self.world.wait(millis) {
            lines.push(format!("at {}", at.get()));
            lines.extend(self.outcome(outcome));
        }
        lines
    }

    fn ask(&mut self, name: &str, request: Request, api_version: i16) -> Vec<String> {
        let sent = self.world.send(request, api_version, name);
        self.sent(name, sent)
    }

    fn sent(&mut self, name: &str, sent: Sent) -> Vec<String> {
        self.asked.insert(sent.token, name.to_owned());
        self.outcome(sent.outcome)
    }

    fn outcome(&mut self, outcome: Outcome) -> Vec<String> {
        let records = outcome.records.iter();
        let mut lines: Vec<_> = records.map(|r| format!("  log: {}", print::record(r))).collect();
        lines.extend(self.replies(outcome.replies));
        lines
    }

    fn replies(&mut self, replies: Vec<(ReplyToken, Response)>) -> Vec<String> {
        let mut lines = vec![];
        for (token, response) in replies {
            let name = self.asked.remove(&token).expect("a request is answered once");
            if let Response::Join(response) = &response
                && !response.member_id.is_empty()
            {
                self.ids.insert(name.clone(), response.member_id.clone());
            }
            let text = print::response(&response);
            lines.extend(text.lines().map(|line| format!("  {name}: {line}")));
        }
        lines
    }

    fn id(&self, name: &str) -> String {
        match self.ids.get(name) {
            Some(id) => id.clone(),
            None if name == "-" => String::new(),
            None => print::lengthen(name),
        }
    }
}

fn topic_partition(text: &str) -> Option<(&str, i32)> {
    let (topic, partition) = text.rsplit_once('-')?;
    Some((topic, partition.parse().ok()?))
}
