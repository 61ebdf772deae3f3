//! OAuth bearer tokens.

use crate::key::{Check, ConfigKey, keys};

keys! {
    string("sasl.oauthbearer.assertion.algorithm", "RS256")
        .check(Check::OneOfAnyCase(&["ES256", "RS256"])):
        "How an assertion to the identity provider is signed.";
    string("sasl.oauthbearer.assertion.claim.aud", "").unset():
        "Audience of an assertion.";
    int("sasl.oauthbearer.assertion.claim.exp.seconds", "300").range(0, 86_400).low():
        "Seconds that an assertion is valid.";
    string("sasl.oauthbearer.assertion.claim.iss", "").unset():
        "Issuer of an assertion.";
    boolean("sasl.oauthbearer.assertion.claim.jti.include", "false"):
        "Whether each assertion gets an id of its own.";
    int("sasl.oauthbearer.assertion.claim.nbf.seconds", "60").range(0, 3_600).low():
        "Seconds before now from which an assertion is valid.";
    string("sasl.oauthbearer.assertion.claim.sub", "").unset():
        "Subject of an assertion.";
    string("sasl.oauthbearer.assertion.file", "").unset():
        "File with a ready assertion.";
    string("sasl.oauthbearer.assertion.private.key.file", "").unset():
        "File with the key that signs assertions.";
    password("sasl.oauthbearer.assertion.private.key.passphrase", "").unset():
        "Password of that key.";
    string("sasl.oauthbearer.assertion.template.file", "").unset():
        "File with claims to put into assertions.";
    string("sasl.oauthbearer.client.credentials.client.id", "").unset():
        "This node's id at the identity provider.";
    password("sasl.oauthbearer.client.credentials.client.secret", "").unset():
        "This node's secret at the identity provider.";
    int("sasl.oauthbearer.clock.skew.seconds", "30").low():
        "Seconds that the identity provider's clock may differ.";
    list("sasl.oauthbearer.expected.audience", "").low():
        "Audiences of which a token must name one.";
    string("sasl.oauthbearer.expected.issuer", "").unset().low():
        "Issuer that a token must name.";
    long("sasl.oauthbearer.jwks.endpoint.refresh.ms", "3600000").low():
        "Milliseconds between readings of these keys.";
    long("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", "10000").low():
        "Most milliseconds before a failed reading is tried again.";
    long("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", "100").low():
        "Milliseconds before a failed reading is tried again.";
    string("sasl.oauthbearer.jwks.endpoint.url", "").unset():
        "Where the identity provider shows its keys.";
    class(
        "sasl.oauthbearer.jwt.retriever.class",
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"
    ):
        "Java class that gets tokens.";
    class(
        "sasl.oauthbearer.jwt.validator.class",
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"
    ):
        "Java class that checks tokens.";
    string("sasl.oauthbearer.scope", "").unset():
        "Scope to ask for with a token.";
    string("sasl.oauthbearer.scope.claim.name", "scope").low():
        "Claim of a token that holds its scope.";
    string("sasl.oauthbearer.sub.claim.name", "sub").low():
        "Claim of a token that holds the user.";
    string("sasl.oauthbearer.token.endpoint.url", "").unset():
        "Where the identity provider hands out tokens.";
}
