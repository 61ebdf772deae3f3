//! SASL, Kerberos and logins.

use crate::key::{ConfigKey, keys};

keys! {
    long("connections.max.reauth.ms", "0"):
        "Milliseconds after which a connection must authenticate again; 0 never asks.";
    class("sasl.client.callback.handler.class", "").unset():
        "Java class that answers the client side's questions.";
    list("sasl.enabled.mechanisms", "GSSAPI").per_broker():
        "SASL mechanisms that clients may use.";
    password("sasl.jaas.config", "").unset().per_broker():
        "Login of a mechanism, in the syntax of Java's JAAS.";
    string("sasl.kerberos.kinit.cmd", "/usr/bin/kinit").per_broker():
        "Program that gets Kerberos tickets.";
    long("sasl.kerberos.min.time.before.relogin", "60000").per_broker():
        "Least milliseconds between two renewals of a ticket.";
    list("sasl.kerberos.principal.to.local.rules", "DEFAULT").per_broker():
        "Rules that turn a Kerberos principal into a user name.";
    string("sasl.kerberos.service.name", "").unset().per_broker():
        "Name of the service in Kerberos.";
    double("sasl.kerberos.ticket.renew.jitter", "0.05").per_broker():
        "Share by which that time varies at random.";
    double("sasl.kerberos.ticket.renew.window.factor", "0.8").per_broker():
        "Share of a ticket's life after which it is renewed.";
    class("sasl.login.callback.handler.class", "").unset():
        "Java class that answers a login's questions.";
    class("sasl.login.class", "").unset():
        "Java class that logs in.";
    int("sasl.login.connect.timeout.ms", "").unset().low():
        "Milliseconds to wait for a connection to the identity provider.";
    int("sasl.login.read.timeout.ms", "").unset().low():
        "Milliseconds to wait for the identity provider's answer.";
    short("sasl.login.refresh.buffer.seconds", "300").per_broker():
        "Seconds of life that a token should have left at its renewal.";
    short("sasl.login.refresh.min.period.seconds", "60").per_broker():
        "Least seconds between two renewals of a token.";
    double("sasl.login.refresh.window.factor", "0.8").per_broker():
        "Share of a token's life after which it is renewed.";
    double("sasl.login.refresh.window.jitter", "0.05").per_broker():
        "Share by which that time varies at random.";
    long("sasl.login.retry.backoff.max.ms", "10000").low():
        "Most milliseconds before the identity provider is asked again.";
    long("sasl.login.retry.backoff.ms", "100").low():
        "Milliseconds before the identity provider is asked again.";
    string("sasl.mechanism.inter.broker.protocol", "GSSAPI").per_broker():
        "SASL mechanism that brokers use among each other.";
    class("sasl.server.callback.handler.class", "").unset():
        "Java class that answers the server side's questions.";
    int("sasl.server.max.receive.size", "524288"):
        "Largest message before authentication, in bytes.";
}
