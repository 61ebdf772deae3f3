//! How the leader of a classic group shares out partitions, as Kafka's Java client does it.

use std::collections::BTreeMap;

use types::TopicPartition;

/// A rule for sharing out partitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Assignor {
    /// Each topic is cut into as many ranges as it has subscribers.
    Range,
    /// All partitions are dealt out one by one.
    RoundRobin,
}

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) topics: Vec<String>,
}

impl Assignor {
    /// Name in the group protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// Shares out the partitions of topics, given by their number. Each goes to one subscriber of
    /// its topic.
    pub(crate) fn assign(
        self,
        mut subscribers: Vec<Subscriber>,
        topics: &BTreeMap<String, i32>,
    ) -> BTreeMap<String, Vec<TopicPartition>> {
        // Static members keep their place across restarts, so they go by their own name.
        subscribers.sort_by(|a, b| {
            let key = |one: &Subscriber| {
                (one.instance.is_none(), one.instance.clone(), one.member.clone())
            };
            key(a).cmp(&key(b))
        });
        let members = subscribers.iter().map(|one| (one.member.clone(), Vec::new()));
        let mut assigned = members.collect();
        match self {
            Self::Range => range(&subscribers, topics, &mut assigned),
            Self::RoundRobin => round_robin(&subscribers, topics, &mut assigned),
        }
        assigned
    }
}

type Assigned = BTreeMap<String, Vec<TopicPartition>>;

fn range(subscribers: &[Subscriber], topics: &BTreeMap<String, i32>, assigned: &mut Assigned) {
    for (topic, count) in topics {
        let wants = |one: &&Subscriber| one.topics.contains(topic);
        let members: Vec<_> = subscribers.iter().filter(wants).collect();
        let Ok(share) = i32::try_from(members.len()) else { continue };
        if share == 0 {
            continue;
        }
        let (each, extra) = (count / share, count % share);
        let mut next = 0;
        for (index, member) in (0..).zip(members) {
            let end = next + each + i32::from(index < extra);
            let partitions = (next..end).map(|p| TopicPartition::new(topic.as_str(), p));
            assigned.entry(member.member.clone()).or_default().extend(partitions);
            next = end;
        }
    }
}

fn round_robin(
    subscribers: &[Subscriber],
    topics: &BTreeMap<String, i32>,
    assigned: &mut Assigned,
) {
    let mut turn = 0;
    for (topic, count) in topics {
        if !subscribers.iter().any(|one| one.topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            while !subscribers[turn % subscribers.len()].topics.contains(topic) {
                turn += 1;
            }
            let member = &subscribers[turn % subscribers.len()].member;
            let partition = TopicPartition::new(topic.as_str(), partition);
            assigned.entry(member.clone()).or_default().push(partition);
            turn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(member: &str, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Subscriber { member: member.to_owned(), instance: None, topics }
    }

    /// `a: x-0 x-1, b: x-2` and so on.
    fn text(assigned: &Assigned) -> String {
        let member = |(name, partitions): (&String, &Vec<TopicPartition>)| {
            let list: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            format!("{name}: {}", list.join(" "))
        };
        assigned.iter().map(member).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn partitions_are_shared_out_as_the_java_client_does() {
        let topics = BTreeMap::from([("x".to_owned(), 3), ("y".to_owned(), 3)]);
        let both = |name| subscriber(name, &["x", "y"]);
        let cases = [
            (Assignor::Range, vec![both("a"), both("b")], "a: x-0 x-1 y-0 y-1, b: x-2 y-2"),
            (Assignor::RoundRobin, vec![both("b"), both("a")], "a: x-0 x-2 y-1, b: x-1 y-0 y-2"),
            (
                Assignor::Range,
                vec![subscriber("a", &["x"]), both("b")],
                "a: x-0 x-1, b: x-2 y-0 y-1 y-2",
            ),
            (
                Assignor::RoundRobin,
                vec![subscriber("a", &["x"]), both("b")],
                "a: x-0 x-2, b: x-1 y-0 y-1 y-2",
            ),
            (Assignor::Range, vec![subscriber("a", &["z"])], "a: "),
        ];
        for (assignor, subscribers, expected) in cases {
            assert_eq!(text(&assignor.assign(subscribers, &topics)), expected, "{assignor:?}");
        }
    }

    #[test]
    fn static_members_go_first_by_instance() {
        let topics = BTreeMap::from([("x".to_owned(), 1)]);
        let fixed = Subscriber { instance: Some("i".to_owned()), ..subscriber("z-member", &["x"]) };
        let assigned = Assignor::Range.assign(vec![subscriber("a", &["x"]), fixed], &topics);
        assert_eq!(text(&assigned), "a: , z-member: x-0");
    }

    #[test]
    fn every_partition_goes_to_exactly_one_subscriber() {
        let mut rng = types::Rng::new(1);
        for _ in 0..200 {
            let names = ["x", "y", "z"];
            let topics: BTreeMap<_, _> =
                names.iter().map(|name| ((*name).to_owned(), rng.below(9) as i32)).collect();
            let subscribers: Vec<_> = (0..=rng.below(5))
                .map(|index| {
                    let mut wanted = names.to_vec();
                    wanted.retain(|_| rng.below(3) > 0);
                    subscriber(&format!("m{index}"), &wanted)
                })
                .collect();
            for assignor in [Assignor::Range, Assignor::RoundRobin] {
                let assigned = assignor.assign(subscribers.clone(), &topics);
                for (topic, count) in &topics {
                    let is_wanted = subscribers.iter().any(|one| one.topics.contains(topic));
                    for partition in 0..*count {
                        let key = TopicPartition::new(topic.as_str(), partition);
                        let owners = assigned.values().filter(|list| list.contains(&key)).count();
                        assert_eq!(owners, usize::from(is_wanted), "{assignor:?} {key}");
                    }
                }
            }
        }
    }
}
