//! What a node learns of a cluster, and what it refuses.

use client::{QuorumEndpoint, QuorumReplica, Uuid};

use super::*;

fn cluster(brokers: &[(i32, u16)], voters: &[i32], observers: &[i32]) -> Cluster {
    let replica = |byte: u8| {
        move |id: &i32| QuorumReplica {
            id: *id,
            directory: Uuid::from_bytes([byte; 16]),
            log_end_offset: 0,
            last_fetch_ms: -1,
            last_caught_up_ms: -1,
        }
    };
    let host = || "one".to_owned();
    let broker =
        |(id, port): &(i32, u16)| Broker { id: *id, host: host(), port: *port, rack: None };
    let endpoint = |id: &i32| QuorumEndpoint {
        id: *id,
        listener: "CONTROLLER".to_owned(),
        host: host(),
        port: 9093,
    };
    Cluster {
        description: ClusterDescription {
            id: "c".to_owned(),
            controller: 1,
            brokers: brokers.iter().map(broker).collect(),
        },
        serving: brokers.iter().map(broker).collect(),
        quorum: QuorumDescription {
            leader: 1,
            leader_epoch: 1,
            high_watermark: 1,
            voters: voters.iter().map(replica(1)).collect(),
            observers: observers.iter().map(replica(2)).collect(),
            endpoints: voters.iter().map(endpoint).collect(),
        },
    }
}

fn given(pairs: &[(&str, &str)]) -> Sources {
    let overrides = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
    Sources { overrides: overrides.collect(), ..Sources::default() }
}

/// `node.id`, `process.roles` and whether the id was picked.
fn learned(cluster: &Cluster, sources: &Sources) -> (String, String, bool) {
    let (known, is_picked) = learn(cluster, sources).unwrap();
    let of = |name: &str| known.iter().find(|(key, _)| key == name).unwrap().1.clone();
    (of("node.id"), of("process.roles"), is_picked)
}

#[test]
fn id_and_roles_follow_from_the_cluster_and_the_settings() {
    let one = cluster(&[(1, 9092)], &[1], &[]);
    let three = cluster(&[(1, 1), (2, 2), (3, 3)], &[1, 2, 3], &[5]);
    let both = "broker,controller";
    let at = "PLAINTEXT://one:7";
    let with_controller = "PLAINTEXT://one:7,CONTROLLER://one:8";
    let own = |port: u16| format!("PLAINTEXT://one:{port}");
    let cases = [
        ("the second of a cluster", &one, given(&[]), ("2", both, true)),
        ("the fourth needs no vote", &three, given(&[]), ("4", "broker", true)),
        ("a number of one's own", &one, given(&[("node.id", "9")]), ("9", both, false)),
        ("the same by its old name", &one, given(&[("broker.id", "9")]), ("9", both, false)),
        ("a listener for clients only", &one, given(&[("listeners", at)]), ("2", "broker", true)),
        ("one for both", &three, given(&[("listeners", with_controller)]), ("4", both, true)),
        ("roles of one's own", &three, given(&[("process.roles", both)]), ("4", both, true)),
        ("a voter again", &three, given(&[("node.id", "2")]), ("2", both, false)),
        (
            "the same address, so the same node",
            &three,
            given(&[("listeners", &own(3))]),
            ("3", "broker", false),
        ),
    ];
    for (name, cluster, sources, (id, roles, is_picked)) in cases {
        let expected = (id.to_owned(), roles.to_owned(), is_picked);
        assert_eq!(learned(cluster, &sources), expected, "{name}");
    }
}

#[test]
fn what_is_learned_makes_a_node() {
    let (known, _) = learn(&cluster(&[(1, 9092)], &[1], &[]), &given(&[])).unwrap();
    let sources = Sources { learned: known, ..Sources::default() };
    let (fixed, warnings) = StaticConfig::new(&sources).unwrap();
    let node = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(node.quorum.bootstrap_servers, [HostPort { host: "one".into(), port: 9093 }]);
    assert!(node.quorum.auto_join && node.roles.controller);
}

#[test]
fn the_directories_are_kafkas() {
    let paths = |sources: &Sources| dirs(sources);
    assert_eq!(paths(&given(&[])), [PathBuf::from("/tmp/kafka-logs")]);
    assert_eq!(paths(&given(&[("log.dirs", "/a, /b")])), ["/a", "/b"].map(PathBuf::from));
    let separate = given(&[("log.dir", "/a"), ("metadata.log.dir", "/m")]);
    assert_eq!(paths(&separate), ["/m", "/a"].map(PathBuf::from));
}

#[test]
fn a_directory_of_another_cluster_is_refused() {
    let file = Path::new("/data/meta.properties");
    let check = |text| refuse_other_cluster(text, "c", (file, "one:9092"));
    check("version=1\ncluster.id=c\n").unwrap();
    let refusal = check("version=1\ncluster.id=d\n").unwrap_err().to_string();
    assert!(refusal.contains("/data/meta.properties belongs to cluster d"), "{refusal}");
}

#[test]
fn a_broker_that_serves_elsewhere_with_the_same_id_is_a_twin() {
    let cluster = cluster(&[(1, 1), (2, 2)], &[1], &[]);
    let twin = |id: &str, port: u16| {
        let listeners = format!("PLAINTEXT://one:{port}");
        let sources = given(&[("node.id", id), ("listeners", &listeners)]);
        find_twin(&cluster, &sources).unwrap().map(|broker| broker.port)
    };
    assert_eq!(twin("2", 7), Some(2));
    assert_eq!(twin("2", 2), None, "it is the same one");
    assert_eq!(twin("3", 2), None);
}
