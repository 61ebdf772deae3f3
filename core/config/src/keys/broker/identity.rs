//! Who the node is, how it joins its cluster, and what else holds for it as a whole.

use crate::key::{ConfigKey, keys};

keys! {
    class("alter.config.policy.class.name", "").unset().low().never():
        "Java class that may veto a change of configs; no Java class can be loaded here.";
    int("background.threads", "10").min(1).high().cluster_wide().never():
        "Threads for upkeep in Apache Kafka; thalweg does upkeep on its shards.";
    int("broker.heartbeat.interval.ms", "2000").acting():
        "Milliseconds between a broker's reports to the controller.";
    int("broker.id", "-1").high().acting():
        "Older name of node.id; where both are set they must agree.";
    string("broker.rack", "").unset().acting():
        "Rack or zone of the node, for spreading replicas and reading from near ones.";
    int("broker.session.timeout.ms", "9000").acting():
        "Milliseconds without a report after which the controller fences a broker at the latest.";
    list("config.providers", "").low().cluster_wide():
        "Names of the sources that ${name:path:key} in other values refers to.";
    boolean("controlled.shutdown.enable", "true").never():
        "Whether Kafka's broker first hands its partitions to others when it stops; here it always does.";
    class("create.topic.policy.class.name", "").unset().low().never():
        "Java class that may veto a new topic; no Java class can be loaded here.";
    int("initial.broker.registration.timeout.ms", "60000").acting():
        "Milliseconds a starting broker tries to register with the controllers before it gives up.";
    int("node.id", "").required().min(0).high().acting():
        "Number of this node, unique in its cluster.";
    int("num.io.threads", "8").min(1).high().cluster_wide().never():
        "Threads that serve requests in Apache Kafka; see thalweg.shards.";
    list("process.roles", "").required().some_of(&["broker", "controller"]).high().acting():
        "What this node is: broker, controller, or both.";
    int("request.timeout.ms", "30000").high().never():
        "Milliseconds Kafka's node waits for the answer to a request of its own; here each kind of \
         request has a bound of its own.";
    long("server.max.startup.time.ms", "9223372036854775807").min(0).internal():
        "Milliseconds a node may take to start before it gives up.";
    boolean("unstable.api.versions.enable", "false").high().internal():
        "Whether API versions that are still being designed are offered.";
    boolean("unstable.feature.versions.enable", "false").high().internal():
        "Whether feature levels that are still being designed are offered.";
}
