//! A node's settings as a whole. The expected outcomes are those of Kafka 4.3.0.

use super::*;
use crate::layers::map;
use crate::{Properties, Sources, StaticConfig};

const COMBINED: &str = "process.roles=broker,controller\nnode.id=1\n\
    listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\n\
    controller.quorum.bootstrap.servers=localhost:9093\n";

/// A combined node with these lines behind the usual ones.
fn node(lines: &str) -> Result<NodeConfig, String> {
    let file = Some(Properties::parse(&format!("{COMBINED}{lines}")).unwrap());
    let sources = Sources { file, ..Sources::default() };
    let (fixed, _) = StaticConfig::new(&sources).map_err(|errors| errors.to_string())?;
    NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).map_err(|errors| errors.to_string())
}

fn addresses(listeners: &[Listener]) -> String {
    let one = |listener: &Listener| {
        let host = listener.host.as_deref().unwrap_or("-");
        format!("{} {host} {}", listener.name, listener.port)
    };
    listeners.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_node_without_any_setting_is_broker_and_controller() {
    let (fixed, _) = StaticConfig::new(&Sources::default()).unwrap();
    let node = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
    assert_eq!(node.roles, Roles { broker: true, controller: true });
    assert_eq!(addresses(&node.listeners.bound), "PLAINTEXT - 9092, CONTROLLER - 9093");
    assert_eq!(node.metadata_log_dir, "/tmp/kafka-logs");
    assert_eq!(bootstrap(&[]), "localhost 9093");
    assert_eq!((node.metrics_listener, node.shards), (None, None));
}

fn bootstrap(overrides: &[(&str, &str)]) -> String {
    let fixed = crate::fixed::started_with(overrides);
    let node = NodeConfig::resolve(&BrokerLayers::at_start(&fixed)).unwrap();
    let servers = node.quorum.bootstrap_servers.iter();
    servers.map(|one| format!("{} {}", one.host, one.port)).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_node_without_any_setting_leads_itself_wherever_it_listens() {
    let listeners = |text| bootstrap(&[("listeners", text)]);
    assert_eq!(listeners("PLAINTEXT://:9192,CONTROLLER://:9193"), "localhost 9193");
    assert_eq!(listeners("PLAINTEXT://:1,CONTROLLER://10.0.0.7:2"), "10.0.0.7 2");
    assert_eq!(bootstrap(&[("controller.quorum.bootstrap.servers", "a:1")]), "a 1");
}

#[test]
fn what_is_advertised_follows_from_all_listener_keys() {
    let cases = [
        ("", "PLAINTEXT - 9092", "CONTROLLER - 9093"),
        ("advertised.listeners=PLAINTEXT://x:1", "PLAINTEXT x 1", "CONTROLLER - 9093"),
        (
            "advertised.listeners=PLAINTEXT://x:1,CONTROLLER://y:2",
            "PLAINTEXT x 1",
            "CONTROLLER y 2",
        ),
        (
            "listeners=plaintext://127.0.0.1:9092,controller://[::1]:9092",
            "PLAINTEXT 127.0.0.1 9092",
            "CONTROLLER ::1 9092",
        ),
        (
            "listeners=PLAINTEXT://:9092,CONTROLLER://0.0.0.0:9093",
            "PLAINTEXT - 9092",
            "CONTROLLER - 9093",
        ),
        ("controller.quorum.voters=1@a:5", "PLAINTEXT - 9092", "CONTROLLER a 5"),
        ("listeners=PLAINTEXT://:0,CONTROLLER://:0", "PLAINTEXT - 0", "CONTROLLER - 0"),
    ];
    for (lines, brokers, controllers) in cases {
        let listeners = node(lines).unwrap().listeners;
        assert_eq!(addresses(&listeners.advertised), brokers, "{lines}");
        assert_eq!(addresses(&listeners.advertised_controller), controllers, "{lines}");
    }
}

#[test]
fn listener_settings_that_kafka_refuses_are_refused() {
    let cases = [
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "no client can reach"),
        ("listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://:9093", "no client can reach"),
        ("listeners=PLAINTEXT://:9092,CONTROLLER://:9092", "share port 9092"),
        ("listeners=PLAINTEXT://:9092", "CONTROLLER is not one of listeners"),
        ("listeners=FOO://:9092,CONTROLLER://:9093", "listener FOO has no security protocol"),
        ("listeners=SSL://:9092,CONTROLLER://:9093", "CONTROLLER has no security protocol"),
        ("listeners=PLAINTEXT://a b:9092,CONTROLLER://:9093", "expected NAME://host:port"),
        ("listeners=PLAINTEXT://:99999,CONTROLLER://:9093", "expected NAME://host:port"),
        ("advertised.listeners=OTHER://x:1", "listener OTHER has no security protocol"),
        ("advertised.listeners=CONTROLLER://x:1", "a broker needs a listener"),
        ("advertised.listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", "PLAINTEXT is named twice"),
        ("advertised.listeners=SSL://a:1", "SSL is advertised but is not one of listeners"),
        ("inter.broker.listener.name=X", "X has no security protocol"),
        ("inter.broker.listener.name=SSL", "SSL is not an advertised listener"),
        (
            "inter.broker.listener.name=PLAINTEXT\nsecurity.inter.broker.protocol=PLAINTEXT",
            "only one of them may be set",
        ),
        (
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT",
            "listener CONTROLLER has no security protocol",
        ),
        ("listener.security.protocol.map=PLAINTEXT:FOO", "PLAINTEXT:FOO"),
    ];
    for (lines, part) in cases {
        let error = node(lines).expect_err(lines);
        assert!(error.contains(part), "{lines}\n{error}");
    }
}

#[test]
fn roles_and_quorum_must_fit() {
    let broker = "process.roles=broker\nlisteners=PLAINTEXT://:9092\n";
    let controller = "process.roles=controller\n";
    let voters = "controller.quorum.voters";
    let cases = [
        (format!("{voters}=1@a:1\ncontroller.quorum.bootstrap.servers="), ""),
        ("controller.quorum.bootstrap.servers=".to_owned(), "must name the controllers"),
        (format!("{voters}=2@a:1"), "node 1 has the controller role, so it must be a voter"),
        (format!("{voters}=1@0.0.0.0:5"), "nobody can connect to 0.0.0.0"),
        (format!("{broker}{voters}=2@a:1"), ""),
        (format!("{broker}{voters}=1@a:1"), "node 1 has no controller role"),
        ("process.roles=broker".to_owned(), "CONTROLLER is one of listeners"),
        (format!("{controller}listeners=CONTROLLER://:9093"), ""),
        (controller.to_owned(), "PLAINTEXT is not a controller's"),
        ("broker.id=2".to_owned(), "two names of one number but are 2 and 1"),
    ];
    for (lines, part) in cases {
        let error = node(&lines).err().unwrap_or_default();
        assert_eq!(error.is_empty(), part.is_empty(), "{lines}\n{error}");
        assert!(error.contains(part), "{lines}\n{error}");
    }
}

#[test]
fn times_and_limits_must_fit() {
    let cases = [
        ("log.roll.ms=0", false),
        ("log.retention.ms=0", false),
        ("log.retention.hours=0", false),
        ("log.retention.hours=0\nlog.retention.ms=5", true),
        ("log.retention.hours=-5", true),
        ("connections.max.idle.ms=50", false),
        ("connections.max.idle.ms=-1", true),
        ("replica.fetch.wait.max.ms=40000", false),
        ("max.connections.per.ip=0", false),
        ("max.connections.per.ip=0\nmax.connections.per.ip.overrides=127.0.0.1:5", true),
        ("max.connections.per.ip.overrides=a", false),
        ("max.connections.per.ip.overrides=a:x", false),
        ("max.connections.per.ip.overrides=ba$d:5", false),
        ("listener.name.plaintext.max.connections=5", true),
        ("listener.name.plaintext.max.connections=many", false),
        ("listener.name.plaintext.max.connection.creation.rate=-1", false),
        ("listener.name.controller.max.connections=5", true),
        ("group.consumer.session.timeout.ms=1000", false),
        ("group.consumer.heartbeat.interval.ms=20000", false),
        (
            "group.consumer.heartbeat.interval.ms=70000\n\
             group.consumer.max.heartbeat.interval.ms=80000",
            false,
        ),
        ("group.consumer.assignment.interval.ms=20000", false),
        ("group.share.record.lock.duration.ms=1000", false),
        ("group.streams.num.standby.replicas=5", false),
        ("group.coordinator.rebalance.protocols=consumer", false),
        ("offsets.topic.compression.codec=9", false),
        ("log.dir=", false),
        ("cordoned.log.dirs=/x", false),
        ("cordoned.log.dirs=/tmp/kafka-logs", true),
        ("group.min.session.timeout.ms=9000000", true),
    ];
    for (lines, good) in cases {
        let outcome = node(lines);
        assert_eq!(outcome.is_ok(), good, "{lines}\n{outcome:?}");
    }
}

#[test]
fn secured_listeners_are_read_and_refused_only_when_asked() {
    let node = node(
        "listeners=IN://:1,OUT://:2,CONTROLLER://:9093\ninter.broker.listener.name=IN\n\
         listener.security.protocol.map=IN:PLAINTEXT,OUT:SASL_SSL,CONTROLLER:PLAINTEXT",
    )
    .unwrap();
    assert_eq!(node.listeners.bound[1].protocol, SecurityProtocol::SaslSsl);
    let refusal = node.refuse_secured_listeners().unwrap_err().to_string();
    assert_eq!(refusal, "listeners: listener OUT is SASL_SSL, not supported yet");
}

#[test]
fn limits_are_typed() {
    let node = node(
        "max.connections.per.ip.overrides=127.0.0.1:5,h:6\nqueued.max.request.bytes=1000\n\
         socket.send.buffer.bytes=-1\nconnections.max.idle.ms=-1\n\
         log.dirs=/a,/b\nthalweg.metrics.listener=[::1]:9404\nthalweg.shards=3\n",
    )
    .unwrap();
    assert_eq!(node.limits.connections_per_ip_overrides["h"], 6);
    assert_eq!(node.limits.queued_bytes_max, Some(1000));
    assert_eq!((node.limits.send_buffer_bytes, node.limits.idle_ms_max), (None, None));
    assert_eq!(node.limits.receive_buffer_bytes, Some(102_400));
    assert_eq!((node.log_dirs.len(), node.metadata_log_dir.as_str()), (2, "/a"));
    assert_eq!(node.metrics_listener, Some(HostPort { host: "::1".to_owned(), port: 9404 }));
    assert_eq!(node.shards, Some(3));
}

#[test]
fn a_listener_has_limits_of_its_own_by_its_name_in_lower_case() {
    let node = node(
        "max.connections=7\nlistener.name.plaintext.max.connections=5\n\
         listener.name.PLAINTEXT.max.connection.creation.rate=6",
    )
    .unwrap();
    let own = node.limits.listeners["PLAINTEXT"];
    assert_eq!((own.connections_max, own.connection_rate_max), (5, u32::MAX));
    assert_eq!(node.limits.listeners["CONTROLLER"].connections_max, u32::MAX);
}

#[test]
fn limits_of_controllers_listeners_have_no_effect_and_keep_others_in_force() {
    let (fixed, _) = StaticConfig::new(&Sources::default()).unwrap();
    let (key, rate) = (
        "listener.name.controller.max.connections",
        "listener.name.controller.max.connection.creation.rate",
    );
    let broker = map(&[(key, "3"), (rate, "many"), ("max.connections", "5")]);
    let layers = BrokerLayers { broker: &broker, ..BrokerLayers::at_start(&fixed) };
    let limits = NodeConfig::resolve(&layers).unwrap().limits;
    assert_eq!(limits.connections_max, 5);
    assert_eq!(limits.listeners["CONTROLLER"].connections_max, u32::MAX);
    assert_eq!(limits.without_effect, [key, rate]);
}

#[test]
fn dynamic_values_change_what_a_node_reads() {
    let (fixed, _) = StaticConfig::new(&Sources::default()).unwrap();
    let broker = map(&[("max.connections", "5"), ("num.partitions", "7")]);
    let layers = BrokerLayers { broker: &broker, ..BrokerLayers::at_start(&fixed) };
    let node = NodeConfig::resolve(&layers).unwrap();
    assert_eq!((node.limits.connections_max, node.topics.num_partitions), (5, 7));
}
