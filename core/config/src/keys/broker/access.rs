//! Users, permissions, delegation tokens.

use crate::key::{ConfigKey, keys};

keys! {
    string("authorizer.class.name", "").low():
        "Class that decides who may do what; empty allows everything.";
    long("delegation.token.expiry.check.interval.ms", "3600000").min(1).low():
        "Milliseconds between looks for expired delegation tokens.";
    long("delegation.token.expiry.time.ms", "86400000").min(1):
        "Milliseconds after which a delegation token must be renewed.";
    long("delegation.token.max.lifetime.ms", "604800000").min(1):
        "Milliseconds after which a delegation token cannot be renewed any more.";
    password("delegation.token.secret.key", "").unset():
        "Secret that signs delegation tokens, the same on all nodes.";
    class(
        "principal.builder.class",
        "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"
    )
        .per_broker():
        "Class that turns an authenticated connection into a user.";
    string("security.providers", "").unset().low():
        "Java security providers to install.";
}
