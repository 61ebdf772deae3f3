//! Listeners, connections and their limits.

use crate::key::{Check, ConfigKey, keys};

keys! {
    list("advertised.listeners", "").unset().some_of(&[]).high().acting():
        "Addresses told to clients and other brokers, where they differ from listeners.";
    int("connection.failed.authentication.delay.ms", "100").min(0).low():
        "Milliseconds before a failed authentication is answered.";
    long("connections.max.idle.ms", "600000").acting():
        "Milliseconds without a request after which a connection is closed.";
    list("early.start.listeners", "").unset().high():
        "Listeners that open before the authorizer is ready.";
    string("inter.broker.listener.name", "").unset().acting():
        "Listener that brokers use among each other.";
    string(
        "listener.security.protocol.map",
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"
    )
        .low().per_broker().acting():
        "Security protocol of each listener name, as NAME:PROTOCOL.";
    list("listeners", "PLAINTEXT://:9092").some_of(&[]).high().per_broker().acting():
        "Addresses to listen on, as NAME://host:port; no host means every interface.";
    int("max.connection.creation.rate", "2147483647").min(0).cluster_wide().acting():
        "New connections per second that the node accepts; listeners of controllers, and one for \
         brokers alone, stay open. listener.name.<name>.max.connection.creation.rate is that of one \
         listener.";
    int("max.connections", "2147483647").min(0).cluster_wide().acting():
        "Connections that the node holds at once; listeners of controllers, and one for brokers \
         alone, stay open, so that any value can be undone there. \
         listener.name.<name>.max.connections are those of one listener.";
    int("max.connections.per.ip", "2147483647").min(0).cluster_wide().acting():
        "Connections that one address holds at once; listeners of controllers, and one for brokers \
         alone, stay open.";
    string("max.connections.per.ip.overrides", "").cluster_wide().acting():
        "Other per-address limits, as host:count.";
    int("num.network.threads", "3").min(1).high().cluster_wide().never():
        "Threads that read and write sockets in Apache Kafka; see thalweg.shards.";
    long("queued.max.request.bytes", "-1").acting():
        "Bytes of requests in flight before no more are read, and of answers; -1 is an eighth of the memory, at most 512 MiB.";
    int("queued.max.requests", "500").min(1).high().never():
        "Requests that may wait between Kafka's threads before no more are read; here none is handed \
         from thread to thread, and queued.max.request.bytes bounds what is in flight.";
    string("security.inter.broker.protocol", "PLAINTEXT")
        .check(Check::OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])).acting():
        "Names the inter-broker listener by its protocol, where no name is set.";
    long("socket.connection.setup.timeout.max.ms", "30000"):
        "Most milliseconds to wait for a connection to another node after failed tries.";
    long("socket.connection.setup.timeout.ms", "10000").acting():
        "Milliseconds to wait for a connection to another node at the first try.";
    int("socket.listen.backlog.size", "50").min(1).acting():
        "Connections that may wait to be accepted on a listener.";
    int("socket.receive.buffer.bytes", "102400").high().acting():
        "Bytes of the kernel's receive buffer per connection; -1 is the system's choice.";
    int("socket.request.max.bytes", "104857600").min(1).high().acting():
        "Largest request, in bytes; a larger one closes its connection.";
    int("socket.send.buffer.bytes", "102400").high().acting():
        "Bytes of the kernel's send buffer per connection; -1 is the system's choice.";
}
